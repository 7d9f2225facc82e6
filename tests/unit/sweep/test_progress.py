"""The display of a sweep, where there is no terminal: what it counts and how it estimates."""

import dataclasses
import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from hyena.training.pretraining import PretrainingRecord
from sweep import progress as module
from sweep.formatting import duration
from sweep.progress import Progress
from sweep.resources import Share
from tests.support.runs import RUN

RUNS = [dataclasses.replace(RUN, run_id=str(n), seed=n) for n in range(4)]
SHARES = {run.run_id: Share(1, 0.25, 4) for run in RUNS}


class NothingMade:
    steps = 10
    broken: dict[str, str] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.latest: dict[str, PretrainingRecord | None] = {}
        self.streams: dict[str, str] = {}
        self.pending: list[str] = []

    def poll(self, wait_s: float = 0.0) -> list[str]:
        return list(self.latest)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def progress(clock: SimpleNamespace, output: io.StringIO) -> Progress:
    return Progress(RUNS, 2, SHARES, NothingMade(), Console(file=output, width=120))  # type: ignore[arg-type]


def trial(number: int) -> Any:
    return SimpleNamespace(config={"trial": {"run_ids": [str(number)]}}, run_metadata=SimpleNamespace(num_failures=1))


def done(number: int, accuracy: float) -> dict[str, Any]:
    return {"done": True, "outcome": "ended", "accuracies": {str(number): accuracy}, "failures": {}}


def failed(number: int, reason: str) -> dict[str, Any]:
    return {"done": True, "outcome": "ended", "accuracies": {}, "failures": {str(number): reason}}


def test_counts_and_time_left_follow_the_work(progress: Progress, clock: SimpleNamespace, output: io.StringIO) -> None:
    clock.now = 100.0  # nothing was in training until here
    progress.on_trial_start(0, [], trial(0))
    clock.now = 140.0
    progress.on_trial_result(0, [], trial(0), done(0, 0.9))
    assert "3/6 runs done · 0 running · 0 failed · 2:20 elapsed · 90 runs/h · 2:00 left" in output.getvalue()
    clock.now = 500.0  # an idle time is none of training
    progress.on_trial_start(0, [], trial(1))
    clock.now = 520.0
    progress.on_trial_result(0, [], trial(1), {"done": False, "outcome": "unfinished", "epoch": 2, "part": 0.0})
    assert "3/6 runs done · 1 running · 0 failed · 8:40 elapsed · 60 runs/h · 1:40 left" in output.getvalue()


def test_a_failure_is_told_at_once_and_its_work_is_not_to_do(progress: Progress, output: io.StringIO) -> None:
    progress.on_trial_start(0, [], trial(0))
    progress.on_trial_result(0, [], trial(0), failed(0, "OutOfMemoryError: x"))
    assert "failed  m, d, scratch, seed 0, 4 epochs: OutOfMemoryError: x" in output.getvalue()
    progress.gave_up(RUNS[1], "pretraining failed")
    assert list(progress.failed) == ["0", "1"]
    progress.on_trial_start(0, [], trial(2))
    progress.on_trial_error(0, [], trial(2))  # Tune gives it up, the sweep does not
    assert len(progress.failed) == 2
    assert progress.running == {}


def test_runs_of_one_trial_hold_one_share_and_end_one_by_one(progress: Progress) -> None:
    together: Any = SimpleNamespace(config={"trial": {"run_ids": ["0", "1", "2"]}})
    progress.cluster = {"GPU": 1.0}
    progress.on_trial_start(0, [], together)
    report = {
        "done": False,
        "outcome": "unfinished",
        "epoch": 1,
        "part": 0.0,
        "failures": {"1": "nan"},
        "accuracies": {},
    }
    for _ in range(2):  # a failure is told with every report and counts once
        progress.on_trial_result(0, [], together, report)
    assert (sorted(progress.running), len(progress.failed)) == (["0", "2"], 1)
    assert "0.25 of 1 GPUs in use" in progress._summary()
    progress.on_trial_result(
        0, [], together, {**report, "done": True, "outcome": "ended", "accuracies": {"0": 1, "2": 1}}
    )
    assert (progress.running, len(progress.done), len(progress.failed)) == ({}, 2, 1)


def test_a_run_that_comes_again_is_told_and_is_neither_done_nor_failed(progress: Progress, output: io.StringIO) -> None:
    progress.on_trial_start(0, [], trial(0))
    reason = "more memory needed than 0.25 of a GPU has"
    progress.on_trial_result(0, [], trial(0), {"done": True, "outcome": "too_big", "reason": reason})
    assert f"again   m, d, scratch, seed 0, 4 epochs: {reason}; it comes again with more" in output.getvalue()
    assert progress.too_big == {"0"}
    assert (progress.running, progress.done, progress.failed) == ({}, {}, {})


def test_a_store_that_is_lost_is_remembered(progress: Progress) -> None:
    progress.on_trial_start(0, [], trial(0))
    progress.on_trial_result(0, [], trial(0), {"done": True, "outcome": "store_lost", "reason": "full"})
    assert progress.store_lost == "full"
    assert progress.failed == {}


def test_lines_are_rare_but_the_end_of_a_pretraining_is_told(
    progress: Progress, clock: SimpleNamespace, output: io.StringIO
) -> None:
    progress.making.latest["m"] = PretrainingRecord(5, 100, 1.9, None, 1.0)
    progress.pretrained()
    assert output.getvalue() == ""
    clock.now = 16.0
    progress.pretrained()
    progress.making.latest["m"] = PretrainingRecord(10, 200, 1.8, 1.85, 2.0)
    progress.pretrained()
    assert output.getvalue().splitlines() == [
        "pretraining m: step 5/10, 1.900 bits per base",
        "pretraining m: step 10/10, 1.800 bits per base",
    ]


def test_the_live_display_draws_everything(clock: SimpleNamespace) -> None:
    output = io.StringIO()
    console = Console(file=output, width=120, force_terminal=True)
    progress = Progress(RUNS, 0, SHARES, NothingMade(), console)  # type: ignore[arg-type]
    progress.making.latest["m"] = PretrainingRecord(5, 100, 1.9, None, 1.0)
    progress.on_trial_start(0, [], trial(0))
    progress.on_trial_result(0, [], trial(0), done(0, 0.875))
    progress.on_trial_start(0, [], trial(1))
    progress.on_trial_start(0, [], trial(2))
    progress.on_trial_result(0, [], trial(2), failed(2, "no"))
    progress.cluster = {"GPU": 8.0, "CPU": 96.0}
    console.print(progress._render())
    text = Text.from_ansi(output.getvalue()).plain
    assert "pretraining m: step 5/10" in text
    assert "1/4 runs done" in text
    assert "0.25 of 8 GPUs in use" in text
    assert "accuracy 0.875" in text
    assert "m    1/4 1 failed" in text  # the only cell


def test_a_run_whose_worker_died_is_told_with_where_it_goes_on(progress: Progress, output: io.StringIO) -> None:
    progress.on_trial_start(0, [], trial(0))
    progress.on_trial_result(0, [], trial(0), {"done": False, "outcome": "unfinished", "epoch": 3, "part": 0.0})
    progress.on_trial_recover(0, [], trial(0))
    assert "again   m, d, scratch, seed 0, 4 epochs: its worker died; it goes on after epoch 3" in output.getvalue()
    assert (progress.running, progress.failed, progress.reached) == ({}, {}, {"0": 3})
    progress.on_trial_start(0, [], trial(0))
    progress.on_trial_result(0, [], trial(0), {"done": False, "outcome": "unfinished", "epoch": 3, "part": 0.5})
    further = trial(0)
    progress.on_trial_recover(0, [], further)
    assert "it goes on within epoch 4" in output.getvalue()
    assert further.run_metadata.num_failures == 0  # it is taken up as often as it gets further
    again = trial(0)
    progress.on_trial_recover(0, [], again)
    assert again.run_metadata.num_failures == 1


def test_a_run_that_is_told_of_twice_counts_once(
    progress: Progress, clock: SimpleNamespace, output: io.StringIO
) -> None:
    for number in (0, 1, 2, 3, 0, 1):
        progress.on_trial_start(0, [], trial(number))
        clock.now += 20.0
        progress.on_trial_result(0, [], trial(number), done(number, 0.5))
    assert [line.partition(" runs")[0] for line in output.getvalue().splitlines()] == [
        "3/6", "4/6", "5/6", "6/6", "6/6", "6/6"
    ]  # fmt: skip
    progress.on_trial_start(0, [], trial(2))  # its worker died between the row and the report
    progress.on_trial_result(0, [], trial(2), {"done": False, "outcome": "unfinished", "epoch": 9, "part": 0.0})
    assert "6/6 runs done" in progress._summary()
    assert progress._summary().endswith(" · 0:00 left")


def test_a_run_that_failed_and_is_done_after_all_is_done(progress: Progress) -> None:
    progress.gave_up(RUNS[0], "its worker died")
    progress.on_trial_start(0, [], trial(0))
    progress.on_trial_result(0, [], trial(0), done(0, 0.5))
    assert (list(progress.done), progress.failed) == (["0"], {})
    assert "3/6 runs done · 0 running · 0 failed" in progress._summary()


def test_a_run_that_begins_anew_is_told_once(progress: Progress, output: io.StringIO) -> None:
    progress.on_trial_start(0, [], trial(0))
    for epoch in (1, 2):
        report = {"done": False, "outcome": "unfinished", "epoch": epoch, "part": 0.0, "begun_anew": ["0"]}
        progress.on_trial_result(0, [], trial(0), report)
    assert output.getvalue() == ("again   m, d, scratch, seed 0, 4 epochs: its checkpoint is damaged; it begins anew\n")


def test_waiting_for_a_node_is_said_after_20_seconds_and_every_minute(
    progress: Progress, clock: SimpleNamespace, output: io.StringIO
) -> None:
    said = []
    for now in range(0, 200, 5):
        clock.now = float(now)
        progress.on_step_begin(0, [])
        if output.getvalue():
            said.append((now, output.getvalue()))
            output.truncate(0)
            output.seek(0)
    assert [now for now, _ in said] == [20, 80, 140]
    assert said[0][1] == (
        "waiting for 1 core and 0.25 of a GPU to be free on one node, and a process to start there: nothing has been "
        "in training for 0:20; Ctrl-C ends the sweep, and what is done is kept\n"
    )
    progress.on_trial_start(0, [], trial(0))
    clock.now = 500.0
    progress.on_step_begin(0, [])
    assert output.getvalue() == ""


def test_a_pretraining_that_runs_is_not_waiting_for_a_node(
    progress: Progress, clock: SimpleNamespace, output: io.StringIO
) -> None:
    progress.making.streams = {"task": "m"}
    clock.now = 100.0
    progress.pretrained(wait_s=5.0)
    assert output.getvalue() == ""
    progress.making.pending = ["m"]
    clock.now = 121.0
    progress.pretrained(wait_s=5.0)
    assert output.getvalue().startswith("waiting for 1 core and 0.25 of a GPU to be free on one node")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (125.4, "2:05"), (3725, "1:02:05"), (-3599.0, "0:00")])
def test_durations_read_as_clocks_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text
