"""The status of a sweep, from its results folder only."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from sweep.compact import compact
from sweep.schema import EPOCHS, PLAN, EpochRow, PlanRow, PredictionColumns
from sweep.status import main
from sweep.store import Store
from tests.support.stored import row

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def planned(run_id: str, init: str, seed: int) -> PlanRow:
    values: dict[str, Any] = dict.fromkeys(PLAN.names, "x")
    values |= {"run_id": run_id, "init": init, "seed": seed, "epochs": 5, "trainable_parameters": 9}
    return cast(PlanRow, {**values, "model": "m", "dataset": "d", "corpus": None, "pretraining_seed": None})


@pytest.fixture
def store(place: str) -> Store:
    store = Store(place)
    plan = [planned(f"{init}{seed}", init, seed) for init in ("pretrained", "scratch") for seed in (1, 2, 3)]
    store.write_plan({"name": "mine"}, plan)
    return store


def said(store: Store, capsys: pytest.CaptureFixture[str], code: int) -> str:
    assert main([store.uri]) == code
    return " ".join(capsys.readouterr().out.split())


def test_done_failed_begun_and_missing_are_counted_by_cell(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    done = {"status": "done", "failure": None}
    store.write_run(row("pretrained1", finished_at=NOW, **done))
    store.write_run(row("pretrained2", finished_at=NOW + timedelta(seconds=36), **done))
    store.write_run(row("scratch1", finished_at=NOW + timedelta(seconds=72), failure="OutOfMemoryError: no"))
    store.write_run(row("of an older plan", finished_at=NOW, **done))
    store.write("checkpoints/scratch2.pt", b"")
    text = said(store, capsys, 1)
    assert "m d 5 pretrained 2 · · 1" in text
    assert "m d 5 scratch · 1 1 1" in text
    assert re.search(r"2/6 done, 1 failed, 3 to go \(1 begun, last checkpoint 0:\d\d ago\)", text)
    assert "; 100 runs/h, 1:48 left at that rate" in text
    assert "failed: m, d, scratch, seed 1, 5 epochs: OutOfMemoryError: no" in text


def test_pretrainings_are_named_by_model_and_seed(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    notes = [{"model": "m", "corpus": "synthetic", "seed": seed, "key": f"key{seed}"} for seed in (1, 2, 3, 4)]
    notes.append({"model": "n", "corpus": "files", "seed": 1, "key": "key5", "path": "/weights", "digest": "d"})
    store.write_plan({"name": "mine", "pretrainings": notes}, store.plan())
    for name in ("key1/config.json", "key1/model.safetensors", "key2/config.json", "key5/model.safetensors"):
        store.write(f"weights/{name}", b"x")
    store.write("checkpoints/key3.pt", b"")
    assert (
        "pretrainings: 1/4 done. begun: m, pretraining seed 3. missing: m, pretraining seed 2; m, pretraining seed 4"
    ) in said(store, capsys, 1)


def test_a_failed_run_names_its_pretraining(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    run = cast(PlanRow, {**planned("one", "pretrained", 1), "corpus": "synthetic", "pretraining_seed": 7})
    store.write_plan({"name": "mine"}, [run])
    store.write_run(row("one", failure="no"))
    assert "failed: m, d, pretrained (pretraining seed 7), seed 1, 5 epochs: no" in said(store, capsys, 1)


def test_everything_done_is_exit_code_0(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for run in store.plan():
        store.write_run(row(run["run_id"], status="done", failure=None))
    assert "6/6 done, 0 failed, 0 to go" in said(store, capsys, 0)


def test_a_folder_without_results_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nothing")]) == 2
    assert "holds no results" in capsys.readouterr().err


def test_many_failures_of_one_kind_are_one_line_with_examples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(str(tmp_path))
    store.write_plan({"name": "mine"}, [planned(f"run-{seed:02}", "scratch", seed) for seed in range(40)])
    for seed in range(20):
        failure = f"OutOfMemoryError: tried to allocate {seed}.5 GiB at 0x{seed:08x} [in /proc/1]"
        store.write_run(row(f"run-{seed:02}", failure=failure))
    for seed in range(20, 38):
        store.write_run(row(f"run-{seed:02}", failure="Error of kind " + "abcdefghijklmnopqr"[seed - 20]))
    assert main([store.uri]) == 1
    lines = capsys.readouterr().out.splitlines()
    failures = [line for line in lines if line.startswith(("failed:", " " * 8))]
    assert failures[0] == "failed: 20 runs: OutOfMemoryError: tried to allocate 0.5 GiB at 0x00000000 [in /proc/1]"
    assert failures[1].endswith("m, d, scratch, seed 2, 5 epochs; and 17 more")
    assert failures[2] == "failed: m, d, scratch, seed 20, 5 epochs: Error of kind a"
    assert failures[-1] == "failed: 9 runs for 9 other reasons"
    assert len(failures) == 2 + 9 + 1


def test_runs_in_compacted_parts_count(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for run in store.plan()[:2]:
        done = row(run["run_id"], status="done", failure=None)
        history = cast(EpochRow, dict.fromkeys(EPOCHS.names, 1) | {"run_id": run["run_id"]})
        prediction = cast(
            PredictionColumns,
            {
                "run_id": [run["run_id"]],
                "example": [0],
                "label": [0],
                "logits": [[0.0, 1.0]],
            },
        )
        store.write_run(done, [history], prediction)
    assert compact(store).runs == 2
    store.write_run(row("scratch1", status="done", failure=None))
    assert "3/6 done, 0 failed, 3 to go" in said(store, capsys, 1)


def test_an_unreachable_store_is_one_line(capsys: pytest.CaptureFixture[str], s3_server: str) -> None:
    assert main(["s3://bucket/x?scheme=http&endpoint_override=127.0.0.1:1"]) == 2
    fault = capsys.readouterr().err
    assert "cannot read study.json" in fault
    assert fault.count("\n") == 1
