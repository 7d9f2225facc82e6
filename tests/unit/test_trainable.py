"""One run on one worker, step by step: what it leaves in the store, and what it tells the sweep."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_progress import RUN

from hyena.config import HyenaConfig
from hyena.synthetic import SyntheticConfig
from hyena.training import Run, TrainingConfig
from sweep import trainable as module
from sweep.resources import Share
from sweep.store import Store, StoreError
from sweep.trainable import Assignment, Outcome, RunTrainable
from sweep.trials import DataSpec, facts_of, load_data

SPEC = DataSpec(
    "synthetic_enhancers",
    None,
    SyntheticConfig(genome_bases=10_000, sequence_length=40, train_examples=24, test_examples=8),
    None,
)
CPU = Share(cpus=1, gpus=0.0, concurrent_runs=1)


@pytest.fixture
def spec() -> Any:
    training = TrainingConfig(epochs=3, batch_size=8, max_length=40)
    return dataclasses.replace(
        RUN, data=SPEC, facts=facts_of(load_data(SPEC)), training=training, config=HyenaConfig(8, 1, 42)
    )


@pytest.fixture
def start(spec: Any, tmp_path: Path) -> Callable[..., RunTrainable]:
    def start(share: Share = CPU, **values: Any) -> RunTrainable:
        run = dataclasses.replace(spec, **values)
        assignment = Assignment({run.run_id: run}, {run.run_id: share}, str(tmp_path), None)
        worker = RunTrainable.__new__(RunTrainable)  # without Tune around it
        worker.setup({"run": run.identity()}, assignment)
        return worker

    return start


def outcomes(worker: RunTrainable, most: int = 10) -> list[Outcome]:
    found = []
    for _ in range(most):
        found.append(worker.step()["outcome"])
        if found[-1] not in (Outcome.UNFINISHED, Outcome.REFUSED):
            return found
    return found


def rows(tmp_path: Path) -> list[dict[str, Any]]:
    return Store(str(tmp_path)).runs(["run_id", "status", "failure", "test_loss"])


def test_every_epoch_leaves_a_checkpoint_and_the_last_one_the_rows(start: Any, tmp_path: Path) -> None:
    worker, store = start(), Store(str(tmp_path))
    assert worker.step()["epoch"] == 1
    assert store.names("checkpoints") == [f"{RUN.run_id}.pt"]
    assert outcomes(worker) == [Outcome.UNFINISHED, Outcome.DONE]
    assert store.names("checkpoints") == []
    assert [row["status"] for row in rows(tmp_path)] == ["done"]


def test_another_worker_goes_on_where_the_first_was_and_ends_alike(start: Any, tmp_path: Path) -> None:
    outcomes(start())
    (undisturbed,) = rows(tmp_path)
    Store(str(tmp_path)).delete(f"runs/{RUN.run_id}.parquet")
    start().step()
    assert start().step()["epoch"] == 2
    assert outcomes(start()) == [Outcome.DONE]
    assert rows(tmp_path) == [undisturbed]  # bit for bit


def test_a_store_that_refuses_for_a_while_costs_nothing(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes(start())
    (undisturbed,) = rows(tmp_path)
    Store(str(tmp_path)).delete(f"runs/{RUN.run_id}.parquet")

    calls, write, trained = [0], Store.write, []
    advance = Run.advance

    def sometimes(store: Store, name: str, data: bytes) -> None:
        calls[0] += 1
        if calls[0] in (1, 2, 5, 6, 7):  # of the first checkpoint, of the rows: one after another
            raise StoreError("No space left on device")
        write(store, name, data)

    monkeypatch.setattr(Store, "write", sometimes)
    monkeypatch.setattr(Run, "advance", lambda run: trained.append(1) or advance(run))
    found = outcomes(start(), 40)
    assert found.count(Outcome.REFUSED) == 5
    assert found[-1] == Outcome.DONE
    assert len(trained) == 3  # no epoch was trained twice
    assert rows(tmp_path) == [undisturbed]


def test_a_store_that_refuses_for_good_ends_the_trial(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(store: Store, name: str, data: bytes) -> None:
        raise StoreError("bucket gone")

    monkeypatch.setattr(Store, "write", never)
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    worker = start()
    assert worker.step()["outcome"] == Outcome.REFUSED
    assert worker.step() == {"done": True, "outcome": Outcome.STORE_LOST, "reason": "bucket gone"}


def test_what_goes_wrong_is_a_row_with_its_reason(start: Any, tmp_path: Path, spec: Any) -> None:
    assert outcomes(start(facts=dataclasses.replace(spec.facts, digest="f" * 64))) == [Outcome.FAILED]
    (row,) = rows(tmp_path)
    assert (row["status"], row["test_loss"]) == ("failed", None)
    assert row["failure"].startswith("RuntimeError: data set 'synthetic_enhancers' on ")


def test_a_failed_row_that_is_refused_comes_later_and_nothing_is_trained_meanwhile(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries, write = [0], Store.write

    def broken(run: Run) -> None:
        tries[0] += 1
        raise ValueError("no luck")

    def second_time(store: Store, name: str, data: bytes) -> None:
        if tries[0] and not hasattr(store, "refused"):
            store.refused = True  # type: ignore[attr-defined]
            raise StoreError("full")
        write(store, name, data)

    monkeypatch.setattr(Run, "advance", broken)
    monkeypatch.setattr(Store, "write", second_time)
    assert outcomes(start()) == [Outcome.REFUSED, Outcome.FAILED]
    assert tries == [1]
    assert rows(tmp_path)[0]["failure"] == "ValueError: no luck"


@pytest.mark.parametrize(
    ("share", "outcome"),
    [(Share(1, 0.25, 4), Outcome.TOO_BIG), (Share(1, 1.0, 1), Outcome.FAILED), (CPU, Outcome.FAILED)],
)
def test_a_run_too_big_for_its_share_comes_again_unless_it_had_a_whole_gpu(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: Share, outcome: Outcome
) -> None:
    def too_big(run: Run) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Run, "advance", too_big)
    monkeypatch.setattr(Share, "occupy", lambda share: torch.device("cpu"))
    assert outcomes(start(share=share)) == [outcome]
    assert len(rows(tmp_path)) == (outcome == Outcome.FAILED)
