"""The display of a sweep: plain lines where there is no terminal, and the live one."""

import dataclasses
import io
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.text import Text

from hyena.training.pretraining import PretrainingRecord
from sweep.formatting import duration
from sweep.pretrainings import PretrainingId
from sweep.progress import ProgressDisplay
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
    StoreRefused,
    WorkerDied,
)
from tests.support.runs import RUN

RUNS = [dataclasses.replace(RUN, run_id=str(n), seed=n) for n in range(4)]
SHARES = {run.run_id: Share(1, 0.25, 4) for run in RUNS}
NAME = "m, d, scratch, seed 0, 4 epochs"


class NoJobs:
    """Pretrainings of which a test says how far they are."""

    steps = 10

    def __init__(self) -> None:
        self.latest: dict[str, PretrainingRecord | None] = {}
        self.failed: dict[str, str] = {}
        self.notes: dict[str, str] = {}
        self.training = False


class Display(ProgressDisplay):
    """One whose states are changed by the events that it shows."""

    def __init__(self, already_done: int, console: Console) -> None:
        self.time = SimpleNamespace(now=0.0)
        states = RunStates(RUNS, SHARES, already_done, clock=lambda: self.time.now)
        super().__init__(states, NoJobs(), console)  # type: ignore[arg-type]

    def apply(self, event: Event) -> None:
        if self.states.apply(event):
            self.show(event)


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def display(output: io.StringIO) -> Display:
    return Display(2, Console(file=output, width=120))


def test_a_summary_is_printed_now_and_then(display: Display, output: io.StringIO) -> None:
    display.time.now = 100.0  # nothing was in training until here
    display.apply(Started(["0"]))
    display.time.now = 140.0
    display.apply(Done("0", 0.9))
    display.time.now = 500.0  # time without a run in training does not count
    display.apply(Started(["1"]))
    display.time.now = 520.0
    display.apply(Advanced(["1"], 2.0))
    display.apply(Advanced(["1"], 3.0))  # too soon for another line
    assert output.getvalue().splitlines() == [
        "3/6 runs done · 0 running · 0 failed · 2:20 elapsed · 90 runs/h · 2:00 left",
        "3/6 runs done · 1 running · 0 failed · 8:40 elapsed · 60 runs/h · 1:40 left",
    ]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Failed("0", "OutOfMemoryError: x"), f"failed  {NAME}: OutOfMemoryError: x"),
        (
            OutOfMemory(["0"], "more memory needed than 0.25 of a GPU has"),
            f"retry   {NAME}: more memory needed than 0.25 of a GPU has; retrying with more",
        ),
        (StoreRefused(["0"], "disk full"), f"waiting {NAME}: disk full"),
        (CheckpointDamaged("0"), f"retry   {NAME}: its checkpoint is damaged; starting over"),
    ],
)
def test_an_event_that_matters_is_a_line_at_once(
    display: Display, output: io.StringIO, event: Event, line: str
) -> None:
    display.apply(Started(["0"]))
    display.apply(event)
    assert output.getvalue() == f"{line}\n"


def test_the_death_of_a_worker_is_told_with_where_the_run_resumes(display: Display, output: io.StringIO) -> None:
    for epochs in (3.0, 3.5):
        display.apply(Started(["0"]))
        display.apply(Advanced(["0"], epochs))
        display.apply(WorkerDied(["0"]))
    assert output.getvalue().splitlines() == [
        f"retry   {NAME}: its worker died; resuming after epoch 3",
        f"retry   {NAME}: its worker died; resuming within epoch 4",
    ]


def test_lines_are_rare_but_the_end_of_a_pretraining_is_told(display: Display, output: io.StringIO) -> None:
    latest = display.pretrainings.latest
    which = PretrainingId("m", "synthetic", 2)
    latest[which] = PretrainingRecord(5, 100, 1.9, None, 1.0)
    display.show_pretraining(which)
    assert output.getvalue() == ""
    display.time.now = 16.0
    display.show_pretraining(which)
    latest[which] = PretrainingRecord(10, 200, 1.8, 1.85, 2.0)
    display.show_pretraining(which)
    latest[which], display.pretrainings.notes[which] = None, "starts over"
    display.show_pretraining(which)
    assert output.getvalue().splitlines() == [
        "m, pretraining seed 2: step 5/10, 1.900 bits per base",
        "m, pretraining seed 2: step 10/10, 1.800 bits per base",
        "m, pretraining seed 2: starts over",
    ]


def test_the_live_display_draws_everything() -> None:
    output = io.StringIO()
    console = Console(file=output, width=120, force_terminal=True)
    display = Display(0, console)
    one, other = (PretrainingId(model, "synthetic", 1) for model in "mn")
    display.pretrainings.latest |= {one: PretrainingRecord(5, 100, 1.9, None, 1.0), other: None}
    display.pretrainings.failed[other] = "pretraining failed: no corpus"
    display.time.now = 5.0
    display.apply(Started(["0"]))
    display.apply(Done("0", 0.875))
    display.apply(Started(["1"]))
    display.apply(Started(["2"]))
    display.apply(Failed("2", "no"))
    assert output.getvalue() == ""
    display.cluster = {"GPU": 8.0, "CPU": 96.0}
    console.print(display.render())
    text = Text.from_ansi(output.getvalue()).plain
    assert "m, pretraining seed 1: step 5/10" in text
    assert "n, pretraining seed 1: pretraining failed: no corpus" in text
    assert "1/4 runs done" in text
    assert "0.25 of 8 GPUs in use" in text
    assert "accuracy 0.875" in text
    assert "m    1/4 1 failed" in text  # the only cell
    assert "failed  m, d, scratch, seed 2, 4 epochs: no" in text


def test_a_run_that_is_told_of_twice_counts_once(display: Display, output: io.StringIO) -> None:
    for number in "012301":
        display.apply(Started([number]))
        display.time.now += 20.0
        display.apply(Done(number, 0.5))
    assert [line.partition(" runs")[0] for line in output.getvalue().splitlines()] == [
        "3/6", "4/6", "5/6", "6/6", "6/6", "6/6"
    ]  # fmt: skip
    display.apply(Started(["2"]))  # its worker died between the row and the report
    display.time.now += 20.0
    display.apply(Advanced(["2"], 9.0))
    last = output.getvalue().splitlines()[-1]
    assert last.startswith("6/6 runs done · 1 running · 0 failed")
    assert last.endswith(" · 0:00 left")


def test_a_run_that_failed_and_is_done_after_all_is_done(display: Display, output: io.StringIO) -> None:
    display.apply(Failed("0", "its worker died"))
    display.apply(Started(["0"]))
    display.time.now = 20.0
    display.apply(Done("0", 0.5))
    assert "3/6 runs done · 0 running · 0 failed" in output.getvalue().splitlines()[-1]


def test_cores_in_use_are_shown_where_there_is_no_gpu(display: Display, output: io.StringIO) -> None:
    display.cluster = {"CPU": 96.0}
    display.apply(Started(["0", "1"]))
    display.time.now = 20.0
    display.apply(Advanced(["0", "1"], 1.0))
    assert "2 running · 0 failed · 1 of 96 cores in use" in output.getvalue()


def test_waiting_for_a_node_is_said_after_20_seconds_and_every_minute(display: Display, output: io.StringIO) -> None:
    said = []
    for now in range(0, 200, 5):
        display.time.now = float(now)
        display.show_idleness()
        if output.getvalue():
            said.append((now, output.getvalue()))
            output.truncate(0)
            output.seek(0)
    assert [now for now, _ in said] == [20, 80, 140]
    assert said[0][1] == (
        "waiting for 1 core and 0.25 of a GPU to be free on one node and for a worker process to start there: nothing "
        "has been in training for 0:20; Ctrl-C ends the sweep, and what is done is kept\n"
    )
    display.apply(Started(["0"]))
    display.time.now = 500.0
    display.show_idleness()
    assert output.getvalue() == ""
    display.apply(WorkerDied(["0"]))
    output.truncate(0)
    output.seek(0)
    for later in (519.0, 521.0):
        display.time.now = later
        display.show_idleness()
    assert "nothing has been in training for 0:21" in output.getvalue()


def test_a_pretraining_that_runs_is_not_waiting_for_a_node(display: Display, output: io.StringIO) -> None:
    display.pretrainings.training = True  # type: ignore[misc]
    display.time.now = 100.0
    display.show_idleness()
    assert output.getvalue() == ""
    display.pretrainings.training = False  # type: ignore[misc]
    display.time.now = 121.0
    display.show_idleness()
    assert output.getvalue().startswith("waiting for 1 core and 0.25 of a GPU to be free on one node")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (125.4, "2:05"), (3725, "1:02:05"), (-3599.0, "0:00")])
def test_durations_read_as_clocks_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text
