"""`python -m sweep.run STUDY --plan`: time, cost and bytes before anything runs; nothing is written or downloaded."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hyena.cost.speed_probe import SpeedProbe
from hyena.cost.step_rates import Jobs, Sample
from hyena.model.hyenadna import Backbone
from hyena.weights.checkpoint import save_weights
from sweep.earlier_notes import data_note
from sweep.planned_data import PlannedData, planned_data
from sweep.run import main
from sweep.shipped_studies import study_file
from sweep.store import Store
from sweep.study import load_study
from sweep.study_weights import prepared_keys
from sweep.trials import RESULT_VERSION, load_data, plan
from tests.support.places import ROOT
from tests.support.stored import row

STUDIES = ROOT / "studies"
OWN = """
[grid]
models = ["small"]
datasets = ["mine"]
seeds = [1, 2]
epochs = [1]
[models.small]
d_model = 8
n_layer = 1
l_max = 64
[datasets.mine]
format = "csv"
path = "mine"
[weights.paths]
small = "made"
"""


#: What an earlier call noted of a data set.
NOTE = {
    "digest": "d",
    "classes": ["0", "1"],
    "train": 8,
    "validation": None,
    "test": 8,
    "longest": 40,
    "official": False,
    "notes": [],
}


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without data, weights and caches, whose probe finds 10 GFLOP/s for everything."""

    def steady(self: SpeedProbe, jobs: Jobs, processes: int, threads: int, device_type: str = "cpu") -> list[Sample]:
        return [Sample(work, 1e10) for work, _ in jobs]

    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setattr(SpeedProbe, "rates", steady)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def say(bare: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Exit code, output and errors of a call."""

    def said(*words: str) -> tuple[int, str, str]:
        code = main([*words, "--weights", str(bare / "weights")])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return said


@pytest.mark.parametrize(("name", "runs"), [("quickstart", 24), ("replication", 48), ("benchmark", 630)])
def test_the_shipped_studies_are_planned_on_a_bare_machine(name: str, runs: int, say, bare: Path) -> None:
    code, out, err = say(str(STUDIES / f"{name}.toml"), "--plan", "--set", "resources.price_per_hour=0.05")
    assert (code, err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in out.splitlines()[:10])
    assert lines["runs"] == f"{runs} planned, 0 done already, {runs} to do"
    assert lines["time"].startswith("about ")
    assert " core hours, cost " in lines["time"]
    assert lines["bytes"].startswith("about ")
    assert lines["forecast"].startswith("from training steps measured here (")
    assert "nothing is left" not in out
    assert not (bare / "results").exists()
    assert not (bare / "home" / ".genomic_benchmarks").exists()
    assert ("download   about " in out) == (name != "quickstart")


def test_a_plan_for_another_gpu_by_name(say) -> None:
    code, out, err = say("--plan", "--gpu", "rtx 4090", "--set", "resources.price_per_hour=0.4")
    assert (code, err) == (0, "")
    assert " on one RTX 4090, " in out
    assert " GPU hours, cost " in out


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--plan", "--gpu", "voodoo"], "--gpu voodoo: unknown GPU; known: T4, V100"),
        (["--plan", "--gpu", ""], "--gpu : unknown GPU; known: T4, V100"),
        (["--gpu", "A100"], "--gpu A100: it is for --plan only; a sweep runs on the machine or cluster it is on"),
        (
            ["--plan", "--gpu", "A100", "--set", "resources.gpus=0"],
            "--gpu A100: resources.gpus = 0 keeps the study's runs off GPUs",
        ),
    ],
)
def test_a_wrong_gpu_is_an_error_of_one_line(words: list[str], fault: str, say) -> None:
    code, out, err = say(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {fault}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("earlier", [False, True])
def test_runs_are_recognised_as_done_without_data_and_weights(say, bare: Path, earlier: bool) -> None:
    """An earlier call has noted the digests of both in the results folder."""
    folder, study_path = bare / "mine", bare / "own.toml"
    folder.mkdir()
    for split in ("train", "test"):
        lines = [f"{letters * 10},{label}" for label in (0, 1) for letters in ("ACGT", "GATT", "CCCA", "TTAG")]
        (folder / f"{split}.csv").write_text("\n".join(["sequence,label", *lines]) + "\n")
    study_path.write_text(OWN)
    study, store = load_study(study_path), Store(str(bare / "results" / "own"))
    save_weights(Backbone(study.model("small")), study.model("small"), bare / "made")
    keys, pretrainings = prepared_keys(study, store, None)
    data = planned_data(study, None, None)["mine"]
    assert isinstance(data, PlannedData)
    runs = plan(study, {"mine": (data.spec, data.facts)}, keys)
    note = data_note(load_data(data.spec))
    noted = {**study.resolved(), "data": {"mine": note}, "pretrainings": pretrainings}
    if earlier:  # as releases wrote it that had one set of weights of a size
        noted |= {"weights": {"revision": None, "paths": {"small": str(bare / "made")}}, "pretrainings": None}
        noted |= {"weights_found": {"small": {name: pretrainings[0][name] for name in ("path", "digest")}}}
    store.write_plan(noted, [r.identity() for r in runs])
    for run in runs[:3]:
        store.write_run(row(run.run_id, status="done", failure=None, finished_at=datetime.now(UTC), train_s=1.0,
                            evaluate_s=1.0, cpus=1.0, gpu_fraction=0.0))  # fmt: skip
    for place in (folder, bare / "made"):
        place.rename(place.with_name(f"moved-{place.name}"))
    load_data.cache_clear()

    code, out, _ = say(str(study_path), "--plan")
    assert code == 0
    assert "runs       4 planned, 3 done already, 1 to do" in out
    assert "data set   mine: 8 training sequences, 2 classes, longest 40 (from the notes of an earlier call)" in out
    assert f"missing    data set mine: {folder} does not exist" in out
    assert f"missing    weights of small: [weights.paths] names {bare / 'made'}, which does not exist" in out
    assert "corrected by the 3 runs done" in out
    moved = f'weights.paths.small="{bare / "elsewhere"}"'
    assert "4 planned, 1 done already, 3 to do" in say(str(study_path), "--plan", "--set", moved)[1]


@pytest.mark.parametrize("noted", [{}, {"result_version": RESULT_VERSION - 1}])
def test_runs_of_a_release_with_other_results_are_kept_and_planned_anew(noted: dict[str, int], say, bare: Path) -> None:
    overrides = ("grid.models=['hyenadna-tiny-1k-seqlen']",)
    study, store = load_study(study_file("quickstart"), overrides), Store(str(bare / "results"))
    request = ("quickstart", "--set", overrides[0], "--results", store.uri, "--plan")
    store.write_plan({**study.resolved(), **noted}, [])
    assert "other results" not in say(*request)[1]  # there are no runs yet
    ended = row("of-then", study=study.name, status="done", failure=None)
    store.write_run(ended)
    code, out, _ = say(*request)
    assert code == 0
    assert ", 0 done already" in out
    assert f"note       {store.uri} holds 1 run of a release with other results: kept, but every run is made" in out
    assert store.ended() == {"of-then"}
    store.write_plan({**study.resolved(), "result_version": RESULT_VERSION}, [])
    assert "other results" not in say(*request)[1]


@pytest.mark.parametrize(
    "spoilt",
    [
        {"data": [1]},
        {"data": "x"},
        {"data": {"mine": None}},
        {"data": {"mine": ["digest", "classes", "train", "validation", "test", "longest", "official"]}},
        {"data": {"mine": {**NOTE, "classes": 5}}},
        {"data": {"mine": {**NOTE, "classes": []}}},
        {"data": {"mine": {**NOTE, "digest": 7}}},
        {"data": {"mine": {**NOTE, "train": None}}},
        {"data": {"mine": {**NOTE, "longest": -5}}},
        {"weights_found": "x"},
        {"weights_found": [1]},
        {"weights_found": None},
        {"weights_found": {"small": "x"}},
        {"weights_found": {"small": {"path": "x"}}},
        {"weights_found": {"small": {"digest": ["x"]}}},
        {"weights_found": {"small": {"digest": "0" * 64}}, "weights": "x"},
        {"pretrainings": "x"},
        {"pretrainings": ["x", {"model": "small"}, {"model": "small", "corpus": "files", "seed": "1", "key": "k"}]},
    ],
    ids=str,
)
def test_a_note_of_the_wrong_type_is_ignored(spoilt: dict[str, object], say, bare: Path) -> None:
    """Neither the data set nor the weights are on this machine, so the plan has only the notes."""
    (bare / "own.toml").write_text(OWN)
    study = load_study(bare / "own.toml")
    notes = {"data": {"mine": NOTE}, "weights_found": {"small": {"path": "x", "digest": "0" * 64}}, **spoilt}
    Store(str(bare / "results" / "own")).write_plan({**study.resolved(), **notes}, [])
    code, out, err = say(str(bare / "own.toml"), "--plan")
    assert (code, err) == (0, "")
    known = "data" not in spoilt
    assert ("(from the notes of an earlier call)" in out) == known
    assert ("its runs are not in this plan's time, cost and bytes" in out) != known


def test_an_official_note_with_other_classes_is_taken_as_noted(bare: Path) -> None:
    study = load_study(study_file("replication"))
    name = study.grid.datasets[0]
    noted = {"data": {name: {**NOTE, "official": True}}}
    data = planned_data(study, noted, bare / "nowhere")[name]
    assert isinstance(data, PlannedData)
    assert (data.facts.classes, data.facts.class_counts, data.source) == (
        ("0", "1"),
        (4, 4),
        "from the notes of an earlier call",
    )
