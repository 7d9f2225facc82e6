"""What a sweep looks like while it runs: a live display on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any

import ray
from ray import tune
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweep.formatting import duration, run_name
from sweep.resources import Share
from sweep.retries import ENDING
from sweep.study_weights import Making
from sweep.trainable import Outcome
from sweep.trials import RunSpec

SECONDS_BETWEEN_LINES, SECONDS_BETWEEN_LOOKS = 15.0, 5.0
#: Seconds without a run in training after which a line says what is waited for.
IDLE_S = 20.0
RECENT = 6


class Progress(tune.Callback):
    """Counts of runs done, running and failed, the time left, and the latest results.

    A context manager around the whole sweep, and a Tune callback within it.
    """

    def __init__(
        self,
        runs: Sequence[RunSpec],
        already_done: int,
        shares: Mapping[str, Share],
        making: Making,
        console: Console,
    ) -> None:
        self.runs = {run.run_id: run for run in runs}
        self.already_done, self.shares, self.making, self.console = already_done, shares, making, console
        self.running: dict[str, float] = {}
        self.trials: dict[tuple[str, ...], Share] = {}  # those that were seen, and what each holds while it runs
        self.reached: dict[str, float] = {}  # epochs done of every run that was seen
        self.died_at: dict[str, float] = {}  # where they stood when their worker last died
        self.cluster: Mapping[str, float] = {}
        self.looked_at = -math.inf  # the cluster, when
        self.done: dict[str, RunSpec] = {}
        self.failed: dict[str, str] = {}  # reasons
        self.too_big: set[str] = set()  # runs that left no row, for their share of a GPU was too small
        self.store_lost: str | None = None  # why no row can be written any more
        self.recent: list[Text] = []
        self.started = self.last_line = self.idle_since = time.monotonic()
        self.said_idle: float | None = None  # when it was said that nothing is in training
        self.told_anew: set[str] = set()  # runs of which it was said that they begin anew
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

    def pretrained(self, wait_s: float = 0.0) -> None:
        """Take note of how the pretrainings have moved, or what comes first within `wait_s`."""
        self._tell_idleness()
        for model in self.making.poll(wait_s):
            record = self.making.latest[model]
            last = record is not None and record.step >= self.making.steps
            self._line(partial(self._pretraining_line, model), now=last or record is None)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.pretrained()
        if self.console.is_terminal and time.monotonic() - self.looked_at > SECONDS_BETWEEN_LOOKS:
            self.looked_at, self.cluster = time.monotonic(), ray.cluster_resources()

    def _tell_idleness(self) -> None:
        """Where nothing trains for long, say what is waited for: nodes that are busy, or that are yet to come."""
        now = time.monotonic()
        if self.running or len(self.making.pending) < len(self.making.streams):
            self.idle_since, self.said_idle = now, None
        elif now - max(self.idle_since, self.said_idle or 0.0) >= (IDLE_S if self.said_idle is None else 3 * IDLE_S):
            self.said_idle = now
            self.recent.append(Text(f"waiting {self._idleness()}", "yellow"))
            del self.recent[:-RECENT]
            if not self.console.is_terminal:
                self.console.print(self.recent[-1], soft_wrap=True)

    def _idleness(self) -> str:
        share, idle = next(iter(self.shares.values())), duration(time.monotonic() - self.idle_since)
        return (
            f"for {share.words()} to be free on one node, and a process to start there: nothing has been in training "
            f"for {idle}; {ENDING}"
        )

    def gave_up(self, run: RunSpec, reason: str) -> None:
        """A run that no worker could end."""
        self._ended(run, reason)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        run_ids = trial.config["trial"]["run_ids"]
        self.trials[tuple(run_ids)] = self.shares[run_ids[0]]
        for run_id in run_ids:
            self.running[run_id] = self.reached.get(run_id, 0)
        if self.training_since is None:
            self.training_since = time.monotonic()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        run_ids, outcome, reason = trial.config["trial"]["run_ids"], result["outcome"], str(result.get("reason"))
        for run_id in result.get("begun_anew", ()):
            if run_id not in self.told_anew:
                self.told_anew.add(run_id)
                self._note("again   ", "yellow", self.runs[run_id], "its checkpoint is damaged; it begins anew")
        for run_id in run_ids:
            if run_id in result.get("failures", {}) and run_id in self.running:
                self._ended(self.runs[run_id], result["failures"][run_id])
            elif run_id in result.get("accuracies", {}):
                self._ended(self.runs[run_id], None, result["accuracies"][run_id])
        if outcome == Outcome.UNFINISHED:
            for run_id in self.running.keys() & set(run_ids):
                self.running[run_id] = self.reached[run_id] = result["epoch"] + result["part"]
            self._line(self._summary)
        elif outcome == Outcome.REFUSED:
            self._note("waiting ", "yellow", self.runs[run_ids[0]], reason)
        elif outcome == Outcome.STORE_LOST:
            self.store_lost = reason
            self._leave(run_ids)
        elif outcome == Outcome.TOO_BIG:
            self.too_big.update(run_ids)
            self._leave(run_ids)
            self._note("again   ", "yellow", self.runs[run_ids[0]], f"{reason}; it comes again with more")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker or a node died, and Tune takes the trial up again: as often as it gets further in between."""
        run_ids = trial.config["trial"]["run_ids"]
        self._leave(run_ids)
        reached = self.reached.get(run_ids[0], 0)
        if reached > self.died_at.get(run_ids[0], 0):
            trial.run_metadata.num_failures = 0
        self.died_at[run_ids[0]] = reached
        part, epochs = math.modf(reached)
        where = f"within epoch {epochs + 1:.0f}" if part else f"after epoch {epochs:.0f}"
        self._note("again   ", "yellow", self.runs[run_ids[0]], f"its worker died; it goes on {where}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune gave a trial up; the run is not lost, for another round will take it."""
        self._leave(trial.config["trial"]["run_ids"])

    def _ended(self, run: RunSpec, reason: str | None, accuracy: float | None = None) -> None:
        """Count a run, once: what ended last is how it ended."""
        self._leave([run.run_id])
        if reason is None:
            self.failed.pop(run.run_id, None)
            self.done[run.run_id] = run
            self._note("done    ", "green", run, f"accuracy {accuracy:.3f}", always=False)
        else:
            self.done.pop(run.run_id, None)
            self.failed[run.run_id] = reason
            self._note("failed  ", "bold red", run, reason)
        self._line(self._summary)

    def _leave(self, run_ids: Iterable[str]) -> None:
        """These runs are on no worker any more."""
        for run_id in run_ids:
            self.running.pop(run_id, None)
        if not self.running and self.training_since is not None:
            self.training_s += time.monotonic() - self.training_since
            self.training_since = None
            self.idle_since = time.monotonic()

    def _note(self, word: str, style: str, run: RunSpec, text: str, always: bool = True) -> None:
        """Among the latest events; where there is no terminal, a line if it matters always."""
        self.recent.append(Text.assemble((word, style), f"{run_name(run.identity())}: {text}"))
        del self.recent[:-RECENT]
        if always and not self.console.is_terminal:
            self.console.print(self.recent[-1], soft_wrap=True)

    def _time_left(self) -> float | None:
        """From the work done while runs were in training; None before there is any."""
        finished = sum(run.work for run in self.done.values())
        under_way = sum(
            self.runs[i].work * min(1, epoch / self.runs[i].training.epochs) for i, epoch in self.running.items()
        )
        if finished + under_way == 0:
            return None
        to_do = [run for run_id, run in self.runs.items() if run_id not in self.done and run_id not in self.failed]
        rest = max(0.0, sum(run.work for run in to_do) - under_way)
        return rest * self._training_s() / (finished + under_way)

    def _training_s(self) -> float:
        """Time in which at least one run was in training, up to now."""
        return self.training_s + (time.monotonic() - self.training_since if self.training_since is not None else 0.0)

    def _summary(self) -> str:
        left = self._time_left()
        parts = [
            f"{self.already_done + len(self.done)}/{self.already_done + len(self.runs)} runs done",
            f"{len(self.running)} running",
            f"{len(self.failed)} failed",
            *self._in_use(),
            f"{duration(time.monotonic() - self.started)} elapsed",
        ]
        if self.done and self._training_s():
            parts.append(f"{len(self.done) / self._training_s() * 3600:.0f} runs/h")
        return " · ".join([*parts, f"{duration(left)} left"] if left is not None else parts)

    def _in_use(self) -> list[str]:
        """What the runs hold of the cluster, once it was looked at."""
        shares = [share for run_ids, share in self.trials.items() if self.running.keys() & set(run_ids)]
        gpus, cores = self.cluster.get("GPU", 0), self.cluster.get("CPU", 0)
        if gpus:
            return [f"{sum(share.gpus for share in shares):.3g} of {gpus:g} GPUs in use"]
        return [f"{sum(share.cpus for share in shares)} of {cores:g} cores in use"] if cores else []

    def _pretraining_line(self, model: str) -> str:
        record = self.making.latest[model]
        if model in self.making.broken:
            return f"pretraining {model}: {self.making.broken[model]}"
        if record is None:
            return f"pretraining {model}: {self.making.notes.get(model, 'starting')}"
        return (
            f"pretraining {model}: step {record.step}/{self.making.steps}, "
            f"{record.train_bits_per_base:.3f} bits per base"
        )

    def _line(self, text: Callable[[], str], now: bool = False) -> None:
        """A plain line, where there is no terminal and none was printed for a while; made only then."""
        if self.console.is_terminal or (not now and time.monotonic() - self.last_line < SECONDS_BETWEEN_LINES):
            return
        self.last_line = time.monotonic()
        self.console.print(text(), soft_wrap=True, highlight=False)

    def _render(self) -> RenderableType:
        total = self.already_done + len(self.runs)
        grid = Table.grid(padding=(0, 2))
        for model, record in self.making.latest.items():
            bar = ProgressBar(total=self.making.steps, completed=record.step if record else 0, width=30)
            grid.add_row(Text(self._pretraining_line(model)), bar)
        bar = ProgressBar(total=total, completed=self.already_done + len(self.done) + len(self.failed), width=30)
        grid.add_row(Text(self._summary()), bar)
        return Group(grid, self._cells(), *(Text("  ").append_text(line) for line in self.recent))

    def _cells(self) -> Table:
        """Runs of this call that ended, of all, by model and data set; failures beside them."""
        planned = Counter((run.model, run.data.name) for run in self.runs.values())
        done = Counter((run.model, run.data.name) for run in self.done.values())
        failed = Counter((self.runs[i].model, self.runs[i].data.name) for i in self.failed)
        models, datasets = (list(dict.fromkeys(names)) for names in zip(*planned, strict=True))
        table = Table("", *datasets, box=None, padding=(0, 2), header_style="dim")
        for model in models:
            cells = [(model, dataset) for dataset in datasets]
            table.add_row(
                Text(model, "dim"),
                *(
                    Text.assemble(
                        (f"{done[cell]}/{planned[cell]}", "green" if done[cell] == planned[cell] else ""),
                        (f" {failed[cell]} failed" if failed[cell] else "", "bold red"),
                    )
                    for cell in cells
                ),
            )
        return table
