"""Weights of a study through the command lines: pretrained on a genome, pinned at a hub, and kept after fine-tuning."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hyena.model.config import PUBLISHED
from hyena.model.hyenadna import Classifier, initialise
from hyena.training.loop import PreparedData
from hyena.training.optimisation import predict
from hyena.weights.checkpoint import save_weights
from hyena.weights.classifiers import load_classifier
from sweep.study import load_study
from sweep.trials import data_spec, facts_of, load_data, plan
from tests.support.hub import COMMITS, Hub, hub_environment
from tests.support.places import ROOT
from tests.support.sweeps import STUDY, call, rows

TINY = "hyenadna-tiny-1k-seqlen"


def said(module: str, *words: object) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", module, *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_custom_weights_go_in_and_fine_tuned_models_come_out(shared_data: Path, tmp_path: Path) -> None:
    study, results, page = tmp_path / "small.toml", tmp_path / "results", tmp_path / "report.html"
    study.write_text("keep_models = true\n" + STUDY[: STUDY.index("[pretraining]")])
    genome = shared_data / "genomes" / "GCF_000005845.2_ASM584v2_genomic.fna.gz"
    said("hyena.pretrain", genome, "--d-model", 8, "--n-layer", 1, "--l-max", 66, "--length", 50, "--batch-size", 8,
         "--steps", 3, "-o", tmp_path / "weights" / "nano")  # fmt: skip
    ended = call(study, "--results", results, "--weights", tmp_path / "weights")
    assert ended.returncode == 0, ended.stderr

    found = json.loads((results / "study.json").read_text())["pretrainings"][0]
    assert found["path"] == str(tmp_path / "weights" / "nano")
    done = {row["run_id"]: row for row in rows(results)}
    assert {row["weights_digest"] for row in done.values()} == {None, found["digest"]}

    asked = load_study(study)
    spec = data_spec(asked, "synthetic_diverged_tracts", None)
    logits: dict[str, list[list[float]]] = {}
    for row in rows(results, "predictions"):
        logits.setdefault(row["run_id"], []).append(row["logits"])
    assert sorted(folder.name for folder in (results / "models").iterdir()) == sorted(done)
    for run in plan(asked, {spec.name: (spec, facts_of(load_data(spec)))}, {asked.pretrainings[0]: found["key"]}):
        model, classes = load_classifier(results / "models" / run.run_id)
        assert classes == load_data(spec).classes
        test = PreparedData.of(load_data(spec), run.training, run.split_seed, torch.device("cpu")).test
        assert torch.equal(predict(model, test, run.training), torch.tensor(logits[run.run_id]))

    assert "4 runs merged into 1 parts" in said("sweep.compact", results)
    assert "4/4 done, 0 failed, 0 to go" in said("sweep.status", results)
    assert sorted(folder.name for folder in (results / "models").iterdir()) == sorted(done)
    said("analysis.report", results, "-o", page)
    assert found["digest"] in page.read_text()
    by_path = (study, "--results", results, "--plan", "--set", f'weights.paths.nano="{tmp_path}/weights/nano"')
    assert "4 planned, 4 done already, 0 to do" in call(*by_path, "--set", "keep_models=false").stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_pinned_revision_is_used(hub: tuple[type[Hub], str], tmp_path: Path) -> None:
    server, endpoint = hub
    digests = {}
    for seed, (revision, commit) in enumerate(COMMITS.items()):
        model = Classifier(PUBLISHED[TINY], 2)
        initialise(model, seed)
        digests[revision] = save_weights(model.backbone, PUBLISHED[TINY], tmp_path / revision)
        file = (tmp_path / revision / "model.safetensors").read_bytes()
        server.files[f"{TINY}-hf", "model.safetensors", commit] = file
    study, results = tmp_path / "small.toml", tmp_path / "results"
    study.write_text(STUDY[: STUDY.index("[pretraining]")].replace('"nano"', f'"{TINY}"'))
    words = (study, "--results", results, "--weights", tmp_path / "hub", "--set", "grid.seeds=[1]",
             "--set", "grid.epochs=[1]", "--set")  # fmt: skip

    def answer(revision: str, *more: str) -> subprocess.CompletedProcess[str]:
        return call(*words, f"weights.revision={revision}", *more, **hub_environment(endpoint))  # type: ignore[arg-type]

    refused = answer("v9")
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: weights '{TINY}' at revision 'v9': found neither locally nor on the hub")
    assert refused.stderr.count("\n") == 1
    assert not results.exists()

    assert f"missing    weights of {TINY}: would be downloaded" in answer("v2", "--plan").stdout
    ended = answer("v2")
    assert ended.returncode == 0, ended.stderr
    stored = json.loads((results / "study.json").read_text())
    assert stored["weights"]["revision"] == "v2"
    (found,) = stored["pretrainings"]
    assert COMMITS["v2"] in found["path"]
    assert found["digest"] == digests["v2"]
    assert {row["weights_digest"] for row in rows(results)} == {None, digests["v2"]}

    assert "2 done already, 0 to do" in answer(COMMITS["v2"], "--plan").stdout  # the same tensors, the same runs
    by_hand = call(study, "--results", results, "--plan", *words[5:], f'weights.paths.{TINY}="{tmp_path / "v2"}"')
    assert "2 done already, 0 to do" in by_hand.stdout
