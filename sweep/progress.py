"""The display of a running sweep: live on a terminal, a line now and then elsewhere. It shows state and holds none.

Next: `run_states.py`, the state that it shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweep.formatting import duration, run_name
from sweep.pretraining_jobs import PretrainingJobs
from sweep.pretrainings import PretrainingId
from sweep.retries import ENDING
from sweep.run_states import (
    Advanced,
    CellCounts,
    CheckpointDamaged,
    Done,
    Event,
    Failed,
    OutOfMemory,
    RunStates,
    StoreRefused,
    WorkerDied,
)

SECONDS_BETWEEN_LINES = 15.0
#: Seconds without a run in training after which a line says what the sweep waits for.
IDLE_S = 20.0
#: Latest events that the live display shows.
RECENT = 6


class ProgressDisplay:
    """Runs done, running and failed, the time left, the pretrainings and the latest events.

    A context manager around the whole sweep: within it, the display on a terminal is live.

    Attributes:
        cluster: Ray resources of the cluster, once they have been queried; for the resources in use.
    """

    def __init__(self, states: RunStates, pretrainings: PretrainingJobs, console: Console) -> None:
        self.states, self.pretrainings, self.console = states, pretrainings, console
        self.cluster: Mapping[str, float] = {}
        self._recent: list[Text] = []
        self._last_line_at = self._busy_at = self.states.clock()
        self._idleness_shown_at: float | None = None
        self._live = Live(console=console, get_renderable=self.render, refresh_per_second=4, transient=True)

    @property
    def is_live(self) -> bool:
        return self.console.is_terminal

    def __enter__(self) -> ProgressDisplay:
        if self.is_live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self.is_live:
            self._live.stop()

    def show(self, event: Event) -> None:
        """Show an event that `states` has applied."""
        match event:
            case Done(run_id, accuracy):
                self._note("done    ", "green", run_id, f"accuracy {accuracy:.3f}", always=False)
            case Failed(run_id, reason):
                self._note("failed  ", "bold red", run_id, reason)
            case CheckpointDamaged(run_id):
                self._note("retry   ", "yellow", run_id, "its checkpoint is damaged; starting over")
            case OutOfMemory(run_ids, reason):
                self._note("retry   ", "yellow", run_ids[0], f"{reason}; retrying with more")
            case WorkerDied(run_ids):
                self._note("retry   ", "yellow", run_ids[0], f"its worker died; resuming {self._position(run_ids[0])}")
            case StoreRefused(run_ids, reason):
                self._note("waiting ", "yellow", run_ids[0], reason)
        if isinstance(event, Advanced | Done | Failed):
            self._line(self._summary)

    def show_pretraining(self, pretraining: PretrainingId) -> None:
        """Show the latest report of a pretraining."""
        record = self.pretrainings.latest[pretraining]
        is_last = record is not None and record.step >= self.pretrainings.steps
        self._line(partial(self._pretraining_line, pretraining), now=is_last or record is None)

    def show_idleness(self) -> None:
        """After `IDLE_S` seconds without training, and then every minute, say what the sweep waits for."""
        now = self.states.clock()
        if self.states.running or self.pretrainings.training:
            self._busy_at, self._idleness_shown_at = now, None
            return
        since, shown_at = max(self._busy_at, self.states.idle_since), self._idleness_shown_at
        if now >= (since + IDLE_S if shown_at is None else max(since, shown_at) + 3 * IDLE_S):
            self._idleness_shown_at = now
            share = next(iter(self.states.shares.values()))
            self._add(Text(
                f"waiting for {share.words()} to be free on one node and for a worker process to start there: nothing "
                f"has been in training for {duration(now - since)}; {ENDING}", "yellow"
            ))  # fmt: skip

    def _position(self, run_id: str) -> str:
        """Where a run resumes."""
        part, epochs = math.modf(self.states.reached.get(run_id, 0.0))
        return f"within epoch {epochs + 1:.0f}" if part else f"after epoch {epochs:.0f}"

    def _note(self, word: str, style: str, run_id: str, text: str, always: bool = True) -> None:
        """Show an event of a run; `always`: also where the display is not live."""
        name = run_name(self.states.runs[run_id].identity())
        self._add(Text.assemble((word, style), f"{name}: {text}"), always)

    def _add(self, event: Text, always: bool = True) -> None:
        self._recent.append(event)
        del self._recent[:-RECENT]
        if always and not self.is_live:
            self.console.print(event, soft_wrap=True)

    def _line(self, text: Callable[[], str], now: bool = False) -> None:
        """Print a line where the display is not live: at once, or if none was printed for a while."""
        if self.is_live or (not now and self.states.clock() - self._last_line_at < SECONDS_BETWEEN_LINES):
            return
        self._last_line_at = self.states.clock()
        self.console.print(text(), soft_wrap=True, highlight=False)

    def _summary(self) -> str:
        states, left = self.states, self.states.time_left_s
        parts = [
            f"{states.already_done + len(states.done)}/{states.already_done + len(states.runs)} runs done",
            f"{len(states.running)} running",
            f"{len(states.failed)} failed",
            *self._in_use(),
            f"{duration(states.clock() - states.started_at)} elapsed",
        ]
        if states.done and states.training_s:
            parts.append(f"{len(states.done) / states.training_s * 3600:.0f} runs/h")
        return " · ".join([*parts, f"{duration(left)} left"] if left is not None else parts)

    def _in_use(self) -> list[str]:
        """The part of the cluster that the runs occupy, once its resources have been queried."""
        shares, gpus, cores = self.states.shares_in_use(), self.cluster.get("GPU", 0), self.cluster.get("CPU", 0)
        if gpus:
            return [f"{sum(share.gpus for share in shares):.3g} of {gpus:g} GPUs in use"]
        return [f"{sum(share.cpus for share in shares)} of {cores:g} cores in use"] if cores else []

    def _pretraining_line(self, pretraining: PretrainingId) -> str:
        jobs = self.pretrainings
        record = jobs.latest[pretraining]
        if pretraining in jobs.failed:
            state = jobs.failed[pretraining]
        elif record is None:
            state = jobs.notes.get(pretraining, "starting")
        else:
            state = f"step {record.step}/{jobs.steps}, {record.train_bits_per_base:.3f} bits per base"
        return f"{pretraining.name}: {state}"

    def render(self) -> RenderableType:
        """The live display: pretrainings, totals, counts by model and data set, the latest events."""
        states, jobs = self.states, self.pretrainings
        grid = Table.grid(padding=(0, 2))
        for pretraining, record in jobs.latest.items():
            bar = ProgressBar(total=jobs.steps, completed=record.step if record else 0, width=30)
            grid.add_row(Text(self._pretraining_line(pretraining)), bar)
        total, ended = len(states.runs), len(states.done) + len(states.failed)
        bar = ProgressBar(total=states.already_done + total, completed=states.already_done + ended, width=30)
        grid.add_row(Text(self._summary()), bar)
        return Group(grid, self._cells(), *(Text("  ").append_text(line) for line in self._recent))

    def _cells(self) -> Table:
        """Runs of this sweep that are done, of those that are planned, by model and data set; failures beside them."""
        counts = self.states.cells()
        models, datasets = (list(dict.fromkeys(names)) for names in zip(*counts, strict=True))
        table = Table("", *datasets, box=None, padding=(0, 2), header_style="dim")
        for model in models:
            cells = [counts.get((model, dataset), CellCounts(0, 0, 0)) for dataset in datasets]
            table.add_row(Text(model, "dim"), *map(_cell, cells))
        return table


def _cell(counts: CellCounts) -> Text:
    done = f"{counts.done}/{counts.planned}"
    failed = f" {counts.failed} failed" if counts.failed else ""
    return Text.assemble((done, "green" if counts.done == counts.planned else ""), (failed, "bold red"))
