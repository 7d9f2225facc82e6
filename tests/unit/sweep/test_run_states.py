"""States and retries of runs: events in, state out."""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from sweep.resources import Share
from sweep.run_states import (
    FRUITLESS_ROUNDS,
    Advanced,
    CellCounts,
    CheckpointDamaged,
    Done,
    Failed,
    OutOfMemory,
    RunStates,
    Started,
    StoreLost,
    StoreRefused,
    TrialDropped,
    WorkerDied,
    done_runs,
)
from sweep.store import Store
from tests.support.runs import RUN
from tests.support.stored import row

RUNS = [dataclasses.replace(RUN, run_id=str(n), seed=n) for n in range(4)]
QUARTER = Share(1, 0.25, 4)


@pytest.fixture
def clock() -> SimpleNamespace:
    return SimpleNamespace(now=0.0)


@pytest.fixture
def states(clock: SimpleNamespace) -> RunStates:
    return RunStates(RUNS, {run.run_id: QUARTER for run in RUNS}, 2, clock=lambda: clock.now)


def test_time_left_follows_the_work_and_the_time_in_training(states: RunStates, clock: SimpleNamespace) -> None:
    clock.now = 100.0  # nothing was in training until here
    assert states.time_left_s is None
    states.apply(Started(["0"]))
    clock.now = 140.0
    assert states.training_s == 40.0
    states.apply(Done("0", 0.9))
    assert (states.training_s, states.idle_since, states.time_left_s) == (40.0, 140.0, 120.0)
    clock.now = 500.0  # time without a run in training does not count
    states.apply(Started(["1"]))
    clock.now = 520.0
    states.apply(Advanced(["1"], 2.0))
    assert states.training_s == 60.0
    assert states.time_left_s == pytest.approx(100.0)  # half a run and two whole ones, at 40 s each
    clock.now = 530.0
    states.apply(Started(["2"]))  # two at once are in training for as long as either is
    states.apply(TrialDropped(["1"]))
    clock.now = 540.0
    states.apply(TrialDropped(["2"]))
    assert (states.training_s, states.idle_since) == (80.0, 540.0)


def test_failed_runs_are_no_work_that_is_left(states: RunStates, clock: SimpleNamespace) -> None:
    states.apply(Started(["0", "1", "2"]))
    clock.now = 10.0
    states.apply(Done("0", 0.9))
    states.apply(Failed("1", "no"))
    assert states.time_left_s == pytest.approx(20.0)
    for run_id in ("2", "3"):
        states.apply(Failed(run_id, "no"))
    assert states.time_left_s == 0.0


def test_runs_of_one_trial_hold_one_share_and_end_one_by_one(states: RunStates) -> None:
    states.apply(Started(["0", "1", "2"]))
    assert states.shares_in_use() == [QUARTER]
    assert states.apply(Failed("1", "nan"))
    assert not states.apply(Failed("1", "nan"))  # every later report of the trial names it, too
    states.apply(Advanced(["0", "1", "2"], 1.0))
    assert (states.running, states.failed) == ({"0": 1.0, "2": 1.0}, {"1": "nan"})
    assert states.shares_in_use() == [QUARTER]
    states.apply(Done("0", 1.0))
    states.apply(Done("2", 1.0))
    assert (states.running, states.done, states.shares_in_use()) == ({}, {"0", "2"}, [])


def test_runs_are_counted_by_model_and_data_set() -> None:
    other = dataclasses.replace(RUN, run_id="9", model="n")
    states = RunStates([*RUNS, other], {})
    states.apply(Done("0", 1.0))
    states.apply(Failed("1", "no"))
    assert states.cells() == {("m", "d"): CellCounts(4, 1, 1), ("n", "d"): CellCounts(1, 0, 0)}


def test_a_run_counts_once_and_by_its_last_end(states: RunStates) -> None:
    states.apply(Failed("0", "its worker died"))
    states.apply(Started(["0"]))
    states.apply(Done("0", 0.5))
    assert (states.done, states.failed) == ({"0"}, {})
    assert states.apply(Done("0", 0.5))
    assert states.done == {"0"}
    assert not states.apply(Failed("0", "late"))  # not while it is on no worker
    states.apply(Started(["0"]))  # its worker died between the row and the report
    assert (states.done, states.running) == ({"0"}, {"0": 0.0})
    states.apply(Failed("0", "worse"))
    assert (states.done, states.failed, states.running) == (set(), {"0": "worse"}, {})


def test_work_beyond_the_last_epoch_is_not_counted(states: RunStates) -> None:
    for run in RUNS:
        states.apply(Started([run.run_id]))
        states.apply(Done(run.run_id, 0.5))
    states.apply(Started(["2"]))
    states.apply(Advanced(["2"], 9.0))
    assert states.time_left_s == 0.0


def test_a_damaged_checkpoint_is_news_once(states: RunStates) -> None:
    assert [states.apply(CheckpointDamaged("0")) for _ in range(2)] == [True, False]
    assert states.apply(CheckpointDamaged("1"))


def test_a_store_that_is_lost_is_remembered_and_one_that_refuses_is_not(states: RunStates) -> None:
    states.apply(Started(["0", "1"]))
    states.apply(StoreRefused(["0"], "full"))
    assert (states.store_lost, sorted(states.running)) == (None, ["0", "1"])
    states.apply(StoreLost(["0"], "full"))
    assert (states.store_lost, states.failed, sorted(states.running)) == ("full", {}, ["1"])


def test_progress_between_two_deaths_of_a_worker_is_known(states: RunStates) -> None:
    states.apply(Started(["0"]))
    assert not states.progressed_since_death(["0"])
    states.apply(Advanced(["0"], 3.0))
    assert states.progressed_since_death(["0"])
    states.apply(WorkerDied(["0"]))
    assert (states.running, states.reached) == ({}, {"0": 3.0})
    assert not states.progressed_since_death(["0"])
    states.apply(Started(["0"]))
    assert states.running == {"0": 3.0}
    states.apply(Advanced(["0"], 3.5))
    assert states.progressed_since_death(["0"])


def round_of(states: RunStates, *run_ids: str, stored: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
    """Ids of runs that are retried and abandoned after a call of Tune with these."""
    upcoming = states.next_round([states.runs[run_id] for run_id in run_ids], stored)
    return [run.run_id for run in upcoming.retried], [run.run_id for run in upcoming.abandoned]


def test_a_run_without_progress_is_abandoned_after_some_rounds(states: RunStates) -> None:
    assert FRUITLESS_ROUNDS == 2
    assert round_of(states, "0", "1", "2", stored=("2",)) == (["0", "1"], [])
    states.apply(Started(["1"]))
    states.apply(Advanced(["1"], 0.5))
    assert round_of(states, "0", "1") == (["1"], ["0"])  # the second without progress, and one with
    assert round_of(states, "1") == (["1"], [])
    assert round_of(states, "1") == ([], ["1"])


def test_progress_in_between_resets_the_count_of_fruitless_rounds(states: RunStates) -> None:
    for epochs in (1.0, 2.0, 3.0):
        assert round_of(states, "0") == (["0"], [])
        states.apply(Started(["0"]))
        states.apply(Advanced(["0"], epochs))
        assert round_of(states, "0") == (["0"], [])
    assert round_of(states, "0") == (["0"], [])
    assert round_of(states, "0") == ([], ["0"])


def test_a_run_out_of_memory_is_retried_with_twice_the_share_up_to_a_whole_gpu(states: RunStates) -> None:
    shares = []
    for _ in range(2):
        states.apply(Started(["0"]))
        states.apply(OutOfMemory(["0"], "more memory needed"))
        assert (states.running, states.done, states.failed) == ({}, set(), {})
        assert round_of(states, "0", "1", stored=("1",)) == (["0"], [])
        shares.append(states.shares["0"])
    assert shares == [Share(1, 0.5, 2), Share(1, 1.0, 1)]
    assert states.shares["1"] == QUARTER
    states.apply(Started(["0"]))
    assert states.shares_in_use() == [Share(1, 1.0, 1)]
    states.apply(TrialDropped(["0"]))
    assert round_of(states, "0") == (["0"], [])  # out of memory counted as progress, this does not
    assert round_of(states, "0") == ([], ["0"])


def test_done_runs_are_those_of_the_plan_with_a_row_that_says_so(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for run_id, status, failure in (("0", "done", None), ("1", "failed", "no"), ("other", "done", None)):
        store.write_run(row(run_id, status=status, failure=failure, finished_at=datetime.now(UTC)))
    assert done_runs(store, RUNS) == {"0"}
