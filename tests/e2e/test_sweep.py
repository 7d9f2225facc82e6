"""Sweeps through the command line, on real DNA where it is available: run, kill, resume, report."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from hyena.system.cores import granted_cores
from sweep import status
from sweep.run import main
from sweep.store import Store
from tests.support.places import ROOT
from tests.support.sweeps import WORKER, call, command, measures, processes, rows, wait_for, wait_for_rows

REAL = """
name = "real"
[grid]
models = ["nano"]
datasets = ["mouse_3", "human_enhancers_cohn"]
seeds = [1, 2]
epochs = [3]
[models.nano]
d_model = 16
n_layer = 1
l_max = 202
[datasets.mouse_3]
format = "csv"
path = "{data}/gue/mouse_3"
[datasets.human_enhancers_cohn]
format = "genomic_benchmarks"
path = "{data}/genomic_benchmarks/human_enhancers_cohn_v0.zip"
[training]
batch_size = 64
max_length = 100
train_fraction = 0.3
[pretraining]
corpus = ["{data}/genomes/GCF_000005845.2_ASM584v2_genomic.fna.gz"]
steps = 20
length = 100
batch_size = 32
"""


def test_a_study_runs_and_grows_and_no_run_is_repeated(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    plan = call(small, "--results", results, "--plan")
    assert plan.returncode == 0, plan.stderr
    assert "4 planned, 0 done already, 4 to do" in plan.stdout
    assert not results.exists()

    first = call(small, "--results", results)
    assert first.returncode == 0, first.stderr
    assert "4 of 4 runs done" in first.stdout
    assert first.stderr == ""
    done = {row["run_id"]: row for row in rows(results)}
    assert {(row["init"], row["seed"]) for row in done.values()} == {
        (i, s) for i in ("pretrained", "scratch") for s in (1, 2)
    }
    for row in done.values():
        assert row["status"] == "done"
        assert sum(map(sum, row["test_confusion"])) == row["test_examples"] == 40
        assert row["validation_examples"] == 6
        assert (row["weights_digest"] is None) == (row["init"] == "scratch")
    assert len(rows(results, "epochs")) == 4 * 2
    assert len(rows(results, "predictions")) == 4 * 40
    assert [row["step"] for row in rows(results, "pretraining")] == [5]
    assert list((results / "checkpoints").iterdir()) == []
    found = {(row["measure"], row["split"], row["against"]) for row in rows(results, "leakage")}
    assert ("exact_duplicate", "test", "train") in found

    grown = call(small, "--results", results, "--set", "grid.seeds=[1,2,3]")
    assert "6 of 6 runs done" in grown.stdout
    for row in rows(results):
        if row["run_id"] in done:
            assert row == done.pop(row["run_id"])  # the very row of the first call
    assert done == {}

    monkeypatch.setattr("sweep.api.MANY_RUNS", 6)
    before = Store(str(results)).runs(["run_id", "test_loss"])
    assert main([str(small), "--results", str(results), "--set", "grid.seeds=[1,2,3]"]) == 0
    assert "compacting the small files of 6 runs" in capsys.readouterr().out
    assert rows(results) == []
    assert sorted(map(str, Store(str(results)).runs(["run_id", "test_loss"]))) == sorted(map(str, before))

    other = call(ROOT / "studies" / "quickstart.toml", "--results", results)
    assert other.returncode == 2
    assert "belong to the study 'small'" in other.stderr


@pytest.mark.slow
def test_the_control_arms_start_from_the_same_weights(small: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    ended = call(small, "--results", results, "--set", 'grid.init=["pretrained", "scratch", "shuffled", "frozen"]')
    assert ended.returncode == 0, ended.stderr
    by_init: dict[str, set[str | None]] = {}
    for row in rows(results):
        by_init.setdefault(row["init"], set()).add(row["weights_digest"])
    assert by_init.pop("scratch") == {None}
    assert by_init["pretrained"] == by_init["shuffled"] == by_init["frozen"]
    assert len({tuple(row["logits"]) for row in rows(results, "predictions") if row["example"] == 0}) == 8


def test_a_run_that_fails_is_a_row_and_stops_no_other(small: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    words = ("--results", results, "--set", "grid.init=[scratch]".replace("scratch", '"scratch"'),
             "--set", "grid.learning_rate=[1e-3, 1e30]", "--set", "training.gradient_clip=1e30")  # fmt: skip
    ended = call(small, *words)
    assert ended.returncode == 1, ended.stderr
    by_rate: dict[float, set[str]] = {}
    for row in rows(results):
        by_rate.setdefault(row["learning_rate"], set()).add(row["status"])
        if row["status"] == "failed":
            assert row["failure"].startswith("TrainingError: the training loss became")
            assert row["test_accuracy"] is None
    assert by_rate == {1e-3: {"done"}, 1e30: {"failed"}}
    assert "2 of 4 runs done" in ended.stdout
    assert ended.stdout.count("failed: nano, synthetic_diverged_tracts, scratch") == 2


@pytest.mark.parametrize("way", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupted_sweep_keeps_what_is_done_and_says_how_to_continue(
    small: Path, tmp_path: Path, way: int
) -> None:
    results = tmp_path / "results"
    many = ("--results", results, "--set", "grid.seeds=[1,2,3,4,5,6]", "--set", "grid.epochs=[40]")
    with subprocess.Popen(command(small, *many), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_for_rows(results, 2, process)
        process.send_signal(way)
        said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130
    assert "Go on with: python -m sweep.run" in said
    assert 2 <= len(rows(results)) < 12


@pytest.mark.slow
@pytest.mark.timeout(600)  # five sweeps
def test_a_real_study_survives_sigkill_and_equals_an_undisturbed_one(shared_data: Path, tmp_path: Path) -> None:
    study, whole, killed = tmp_path / "real.toml", tmp_path / "whole", tmp_path / "killed"
    study.write_text(REAL.format(data=shared_data))
    assert call(study, "--results", whole).returncode == 0

    kills = 0
    for target in (1, 3, 5):
        with subprocess.Popen(command(study, "--results", killed), cwd=ROOT, stdout=subprocess.DEVNULL) as process:
            wait_for_rows(killed, target, process)
            time.sleep(0.7)  # into the middle of an epoch
            process.kill()
        kills += process.returncode == -signal.SIGKILL
    assert kills == 3
    last = call(study, "--results", killed)
    assert last.returncode == 0, last.stderr
    assert len(rows(killed)) == len({row["run_id"] for row in rows(killed)}) == 8
    assert all(row["status"] == "done" for row in rows(killed))
    assert measures(killed) == measures(whole)  # bit for bit
    assert not [path for path in killed.rglob("*") if path.name.endswith((".tmp", ".pt"))]


@pytest.mark.slow
def test_killed_within_its_second_pretraining_a_sweep_keeps_the_first(small: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    one_at_a_time = ("--set", f"resources.cpus={granted_cores().count}", "--set", 'grid.init=["pretrained"]')
    words = (small, "--results", results, "--set", "pretraining.seeds=[1,2]", "--set", "pretraining.steps=400",
             "--set", "pretraining.log_every=5", *one_at_a_time)  # fmt: skip

    def made() -> dict[str, float]:
        return {path.parent.name: path.stat().st_mtime for path in results.glob("weights/*/model.safetensors")}

    with subprocess.Popen(command(*words), cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: made() and list(results.glob("checkpoints/*.pt")), process, "a second pretraining")
        process.kill()
    first, (second,) = made(), [path.stem for path in results.glob("checkpoints/*.pt")]
    assert len(first) == 1
    assert rows(results) == []
    assert status.main([str(results)]) == 1
    last = call(*words)
    assert last.returncode == 0, last.stderr
    assert "pretraining seed 1" not in last.stdout
    assert "nano, pretraining seed 2: step 400/400" in last.stdout
    assert made().items() > first.items()  # not written again
    assert made().keys() - first.keys() == {second}
    assert {(row["seed"], row["pretraining_seed"], row["status"]) for row in rows(results)} == {
        (1, 1, "done"),
        (2, 2, "done"),
    }
    assert len({row["weights_digest"] for row in rows(results)}) == 2
    assert {row["pretraining_seed"] for row in rows(results, "pretraining")} == {1, 2}


@pytest.mark.slow
@pytest.mark.soak
def test_a_killed_worker_costs_no_run(small: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    many = ("--results", results, "--set", "grid.seeds=[1,2,3]", "--set", "grid.epochs=[60]")
    environment = {**os.environ, "SWEEP_TEST_MARK": str(tmp_path)}
    with subprocess.Popen(command(small, *many), cwd=ROOT, stdout=subprocess.PIPE, env=environment) as process:
        wait_for_rows(results, 1, process)
        victims = processes(str(tmp_path), WORKER)
        assert victims
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        said = process.communicate(timeout=200)[0].decode()
    assert process.returncode == 0, said
    assert "6 of 6 runs done" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", 'grid.models=["nanoo"]'), "unknown model 'nanoo'; did you mean 'nano'?"),
        (("--set", 'grid.datasets=["human_enhancers_con"]'), "did you mean 'human_enhancers_cohn'?"),
        (("--set", "grid.sedes=[1]"), "grid: unknown key 'sedes'; did you mean 'seeds'?"),
        (("--set", "training.batch_size=0"), "training.batch_size = 0: it must be from 1 to 2147483647"),
        (("--results", "nowhere://x"), "nowhere://x"),
        (("--set", "resources.cpus=4096"), "resources.cpus = 4096: no node has more than "),
        (("--set", "resources.cpus=4096", "--plan"), "resources.cpus = 4096: no node has more than "),
        (("--address", "garbage"), "--address garbage: not the address of a Ray cluster"),
        (("--address", ""), "--address '': not the address of a Ray cluster"),
        (("--address", "127.0.0.1:1025"), "no Ray cluster answers at 127.0.0.1:1025"),
        (("--set", 'datasets.synthetic_diverged_tracts={format="csv", path="absent"}'), "absent"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    results = () if "--results" in words else ("--results", str(tmp_path / "results"))
    assert main([str(small), *results, *words]) == 2
    fault = capsys.readouterr().err
    assert said in fault
    assert fault.startswith("error: ")
    assert fault.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_only_granted_cores_are_counted(small: Path, tmp_path: Path) -> None:
    if os.cpu_count() == 1 or shutil.which("taskset") is None:
        pytest.skip("a machine of several cores and taskset are needed")
    core = min(os.sched_getaffinity(0))
    words = command(small, "--results", tmp_path / "results", "--plan")
    planned = subprocess.run(["taskset", "-c", str(core), *words], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "; 1 at once on this machine" in planned.stdout
    assert f"cores      1 of this machine's {os.cpu_count()} are granted (CPU affinity)" in planned.stdout


def test_a_temporary_folder_that_ray_cannot_use_is_replaced(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "é" / ("a-long-name-of-a-job" * 5)
    folder.mkdir(parents=True)
    words = ("--set", 'grid.init=["scratch"]', "--set", "grid.seeds=[1]")
    ended = call(small, "--results", tmp_path / "results", *words, TMPDIR=str(folder))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "1 of 1 runs done" in ended.stdout
    assert not (folder / "ray").exists()


def test_a_damaged_results_folder_is_reported_and_repaired(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    words = [str(small), "--results", str(results), "--set", 'grid.init=["scratch"]', "--set", "grid.seeds=[1]"]
    assert call(*words).returncode == 0
    before = rows(results)
    for name in ("study.json", "plan.parquet"):
        (results / name).write_bytes(b"")
        assert status.main([str(results)]) == 2
        assert capsys.readouterr().err == (
            f"error: {results}/{name}: the file is damaged (empty); run the sweep again, which rewrites it\n"
        )
        (results / "at-work-elsewhere-1.json").write_text('{"host": "elsewhere", "pid": 1, "since": 0}')
        assert main(words) == 0
        said = capsys.readouterr().out.splitlines()
        assert said[0] == f"{results}/{name} is damaged; a sweep writes it anew"
        assert said[1].startswith(
            "another sweep has been running in this folder since 1970-01-01 00:00 UTC (process 1 on"
        )
        assert said[1].endswith(" ago): both will run what is missing")
        assert said[2].startswith("1 of 1 runs done")
        assert status.main([str(results)]) == 0
        capsys.readouterr()
    assert rows(results) == before


@pytest.mark.slow
def test_the_sweep_says_that_it_waits_for_a_node(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    cluster = Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        few = ("--set", "grid.seeds=[1]", "--set", "resources.gpus=0")
        words = (small, "--results", tmp_path / "results", "--address", cluster.address, *few)
        with subprocess.Popen(command(*words), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            cluster.add_node(num_cpus=1)
            said = process.communicate(timeout=200)[0]
        assert first.startswith("waiting for 1 core to be free on one node and for a worker process to start there")
        assert first.endswith("; Ctrl-C ends the sweep, and what is done is kept\n")
        assert process.returncode == 0, said
        assert "2 of 2 runs done" in said
        refused = call(*words, "--set", "resources.cpus=3", "--set", "grid.epochs=[3]")
        assert (refused.returncode, refused.stderr) == (2, "error: resources.cpus = 3: no node has more than 1 core\n")
    finally:
        cluster.shutdown()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda folder: [p.unlink() for p in (folder / "test" / "b").iterdir()] and (folder / "test" / "b").rmdir(),
            "'b'",
        ),
        (lambda folder: (folder / "train" / "a" / "1.txt").write_text(""), "1.txt"),
        (lambda folder: (folder / "train" / "a" / "1.txt").write_text("hello, world"), "1.txt"),
    ],
    ids=["class missing in one split", "empty file", "no DNA"],
)
def test_data_that_cannot_be_used_is_named(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Any, said: str
) -> None:
    folder = tmp_path / "own"
    for split in ("train", "test"):
        for label in ("a", "b"):
            (folder / split / label).mkdir(parents=True)
            for n in range(5):
                (folder / split / label / f"{n}.txt").write_text("ACGTAC" * 3)
    spoil(folder)
    own = f'datasets.own={{format="genomic_benchmarks", path="{folder}"}}'
    results = str(tmp_path / "results")
    assert main([str(small), "--results", results, "--set", own, "--set", 'grid.datasets=["own"]']) == 2
    fault = capsys.readouterr().err
    assert said in fault
    assert fault.count("\n") == 1
