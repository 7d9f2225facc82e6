"""What a results folder holds, told from the store alone."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from test_store import row

from sweep.schema import PLAN
from sweep.status import main
from sweep.store import Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def planned(run_id: str, init: str, seed: int) -> dict[str, Any]:
    values: dict[str, Any] = dict.fromkeys(PLAN.names, "x")
    return {**values, "run_id": run_id, "init": init, "seed": seed, "epochs": 5, "trainable_parameters": 9,
            "model": "m", "dataset": "d"}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path))
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
    assert "2/6 done, 1 failed, 3 to go (1 begun, last checkpoint 0:00 ago); 100 runs/h, 1:48 left at that rate" in text
    assert "failed: m, d, scratch, seed 1, 5 epochs: OutOfMemoryError: no" in text


def test_everything_done_is_exit_code_0(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for run in store.plan():
        store.write_run(row(run["run_id"], status="done", failure=None))
    assert "6/6 done, 0 failed, 0 to go" in said(store, capsys, 0)


def test_a_folder_without_results_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nothing")]) == 2
    assert "holds no results" in capsys.readouterr().err
