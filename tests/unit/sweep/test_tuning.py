"""What Tune reports becomes events; restarts that follow progress cost a trial none of its lives."""

from types import SimpleNamespace
from typing import Any

import pytest

from sweep.resources import Share
from sweep.run_states import (
    Advanced,
    CheckpointDamaged,
    Done,
    Event,
    Failed,
    OutOfMemory,
    RunStates,
    Started,
    StoreLost,
    StoreRefused,
    TrialDropped,
    WorkerDied,
)
from sweep.tuning import InOrder, StopWithStore, SweepCallback, events_of
from tests.support.runs import RUN


class Shown:
    """A display that remembers what it was given."""

    is_live = False

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.pretrainings: list[str] = []

    def show(self, event: Event) -> None:
        self.events.append(event)

    def show_pretraining(self, model: str) -> None:
        self.pretrainings.append(model)

    def show_idleness(self) -> None:
        pass


@pytest.fixture
def shown() -> Shown:
    return Shown()


@pytest.fixture
def callback(shown: Shown) -> SweepCallback:
    jobs = SimpleNamespace(poll=lambda wait_s: ["m"])
    return SweepCallback(RunStates([RUN], {"0": Share(1, 0.0, 1)}), jobs, shown)  # type: ignore[arg-type]


def trial() -> Any:
    return SimpleNamespace(config={"trial": {"run_ids": ["0"]}}, run_metadata=SimpleNamespace(num_failures=1))


@pytest.mark.parametrize(
    ("result", "events"),
    [
        (
            {"outcome": "unfinished", "epoch": 2, "part": 0.5, "failures": {"1": "nan"}, "begun_anew": ["0"]},
            [CheckpointDamaged("0"), Failed("1", "nan"), Advanced(["0", "1"], 2.5)],
        ),
        (
            {"outcome": "ended", "failures": {"1": "nan"}, "accuracies": {"0": 0.5}},
            [Done("0", 0.5), Failed("1", "nan")],
        ),
        ({"outcome": "refused", "reason": "full"}, [StoreRefused(["0", "1"], "full")]),
        ({"outcome": "store_lost", "reason": "full"}, [StoreLost(["0", "1"], "full")]),
        ({"outcome": "too_big", "reason": "more"}, [OutOfMemory(["0", "1"], "more")]),
    ],
    ids=lambda value: value["outcome"] if isinstance(value, dict) else "",
)
def test_each_outcome_of_a_step_is_an_event(result: dict[str, Any], events: list[Event]) -> None:
    assert list(events_of(["0", "1"], result)) == events


def test_what_is_news_is_displayed(callback: SweepCallback, shown: Shown) -> None:
    report = {"outcome": "unfinished", "epoch": 1, "part": 0.0, "begun_anew": ["0"]}
    callback.on_trial_start(0, [], trial())
    callback.on_trial_result(0, [], trial(), report)
    callback.on_trial_result(0, [], trial(), report)
    callback.on_trial_error(0, [], trial())
    assert shown.events == [
        Started(["0"]), CheckpointDamaged("0"), Advanced(["0"], 1.0), Advanced(["0"], 1.0), TrialDropped(["0"])
    ]  # fmt: skip
    callback.on_step_begin(0, [])
    assert shown.pretrainings == ["m"]


def test_a_death_after_progress_does_not_count(callback: SweepCallback, shown: Shown) -> None:
    callback.on_trial_start(0, [], trial())
    callback.on_trial_result(0, [], trial(), {"outcome": "unfinished", "epoch": 3, "part": 0.0})
    further, again = trial(), trial()
    callback.on_trial_recover(0, [], further)
    assert further.run_metadata.num_failures == 0  # it is restarted as often as it gets further
    callback.on_trial_recover(0, [], again)
    assert again.run_metadata.num_failures == 1
    assert shown.events[-2:] == [WorkerDied(["0"])] * 2


def test_trials_are_suggested_in_order_and_none_once_the_store_is_lost(callback: SweepCallback) -> None:
    search = InOrder([{"run_ids": ["0"]}, {"run_ids": ["1"]}])
    assert [search.suggest(name) for name in "ab"] == [{"trial": {"run_ids": ["0"]}}, {"trial": {"run_ids": ["1"]}}]
    stop = StopWithStore(callback.states)
    assert not stop.stop_all()
    callback.on_trial_result(0, [], trial(), {"outcome": "store_lost", "reason": "full"})
    assert stop.stop_all()
    assert not stop("t", {})
