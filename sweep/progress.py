"""What a sweep looks like while it runs: a live display on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from ray import tune
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweep.trainable import Outcome
from sweep.trials import RunSpec
from sweep.weights import Making
from sweep.words import duration, run_name

SECONDS_BETWEEN_LINES = 15.0
RECENT = 6


class Progress(tune.Callback):
    """Counts of runs done, running and failed, the time left, and the latest results.

    A context manager around the whole sweep, and a Tune callback within it.
    """

    def __init__(self, runs: Sequence[RunSpec], already_done: int, making: Making, console: Console) -> None:
        self.runs = {run.run_id: run for run in runs}
        self.already_done, self.making, self.console = already_done, making, console
        self.running: dict[str, int] = {}
        self.done: list[RunSpec] = []
        self.failed: list[tuple[RunSpec, str]] = []
        self.too_big: set[str] = set()  # runs that left no row, for their share of a GPU was too small
        self.store_lost: str | None = None  # why no row can be written any more
        self.recent: list[Text] = []
        self.started = self.last_line = time.monotonic()
        self.training_s = 0.0  # time in which at least one run was in training
        self.training_since: float | None = None
        self.live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks into a state of its own, from which no sweep resumes."""
        return {}

    def pretrained(self, wait: bool = False) -> None:
        """Take note of how the pretrainings have moved (`wait`: until one has)."""
        for model in self.making.poll(wait):
            record = self.making.latest[model]
            self._line(self._pretraining_line(model), now=record is not None and record.step >= self.making.steps)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.pretrained()

    def gave_up(self, run: RunSpec, reason: str) -> None:
        """A run that no worker could end."""
        self._ended(run, reason)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.running[trial.config["run_id"]] = 0
        if self.training_since is None:
            self.training_since = time.monotonic()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        run_id, outcome, reason = trial.config["run_id"], Outcome(result["outcome"]), result.get("reason")
        if outcome == Outcome.UNFINISHED:
            self.running[run_id] = result["epoch"]
            self._line(self._summary())
        elif outcome in (Outcome.DONE, Outcome.FAILED):
            self._ended(self.runs[run_id], reason, result.get("test_accuracy"))
        else:
            self._comes_again(self.runs[run_id], outcome, str(reason))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune gave a trial up; the run is not lost, for another round will take it."""
        self._left(self.runs[trial.config["run_id"]])

    def _comes_again(self, run: RunSpec, outcome: Outcome, reason: str) -> None:
        """A run that left no row, and why."""
        self._left(run)
        if outcome == Outcome.STORE_LOST:
            self.store_lost = reason
        else:
            self.too_big.add(run.run_id)
            self._note("again   ", "yellow", run, f"{reason}; it comes again with more")

    def _ended(self, run: RunSpec, reason: str | None, accuracy: float | None = None) -> None:
        self._left(run)
        if reason is None:
            self.done.append(run)
            self._note("done    ", "green", run, f"accuracy {accuracy:.3f}", always=False)
        else:
            self.failed.append((run, reason))
            self._note("failed  ", "bold red", run, reason)
        self._line(self._summary())

    def _left(self, run: RunSpec) -> None:
        """The run is on no worker any more."""
        self.running.pop(run.run_id, None)
        if not self.running and self.training_since is not None:
            self.training_s += time.monotonic() - self.training_since
            self.training_since = None

    def _note(self, word: str, style: str, run: RunSpec, text: str, always: bool = True) -> None:
        """Among the latest events; where there is no terminal, a line if it matters always."""
        self.recent.append(Text.assemble((word, style), f"{run_name(run.identity())}: {text}"))
        del self.recent[:-RECENT]
        if always and not self.console.is_terminal:
            self.console.print(self.recent[-1], soft_wrap=True)

    def _time_left(self) -> float | None:
        """From the work done while runs were in training; None before there is any."""
        finished = sum(run.work for run in self.done)
        under_way = sum(self.runs[i].work * epoch / self.runs[i].training.epochs for i, epoch in self.running.items())
        if finished + under_way == 0:
            return None
        failed = sum(run.work for run, _ in self.failed)
        rest = sum(run.work for run in self.runs.values()) - failed - finished - under_way
        since = time.monotonic() - self.training_since if self.training_since is not None else 0.0
        return rest * (self.training_s + since) / (finished + under_way)

    def _summary(self) -> str:
        left = self._time_left()
        parts = [
            f"{self.already_done + len(self.done)}/{self.already_done + len(self.runs)} runs done",
            f"{len(self.running)} running",
            f"{len(self.failed)} failed",
            f"{duration(time.monotonic() - self.started)} elapsed",
        ]
        return " · ".join([*parts, f"{duration(left)} left"] if left is not None else parts)

    def _pretraining_line(self, model: str) -> str:
        record = self.making.latest[model]
        if model in self.making.broken:
            return f"pretraining {model}: {self.making.broken[model]}"
        if record is None:
            return f"pretraining {model}: starting"
        return (
            f"pretraining {model}: step {record.step}/{self.making.steps}, "
            f"{record.train_bits_per_base:.3f} bits per base"
        )

    def _line(self, text: str, now: bool = False) -> None:
        """A plain line, where there is no terminal and none was printed for a while."""
        if self.console.is_terminal or (not now and time.monotonic() - self.last_line < SECONDS_BETWEEN_LINES):
            return
        self.last_line = time.monotonic()
        self.console.print(text, soft_wrap=True, highlight=False)

    def _render(self) -> RenderableType:
        total = self.already_done + len(self.runs)
        grid = Table.grid(padding=(0, 2))
        for model, record in self.making.latest.items():
            bar = ProgressBar(total=self.making.steps, completed=record.step if record else 0, width=30)
            grid.add_row(Text(self._pretraining_line(model)), bar)
        bar = ProgressBar(total=total, completed=self.already_done + len(self.done) + len(self.failed), width=30)
        grid.add_row(Text(self._summary()), bar)
        return Group(grid, *(Text("  ").append_text(line) for line in self.recent))
