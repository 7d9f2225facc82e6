"""The state of every run of one sweep: planned, running, done or failed, how far it has got, and whether it is retried.

Events go in, in the order in which they happen; state comes out. Nothing here knows Ray or prints anything.
`tuning.py` makes events from what Ray Tune reports, `progress.py` displays the state, `execution.py` asks after each
call of Tune which runs need another one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sweep.resources import Share
from sweep.store import Store
from sweep.trials import RunSpec

#: Calls of Tune in which a run makes no progress before it is abandoned.
FRUITLESS_ROUNDS = 2


@dataclass(frozen=True)
class Started:
    """A trial with these runs has started on a worker."""

    run_ids: Sequence[str]


@dataclass(frozen=True)
class Advanced:
    """The unfinished runs of a trial have completed this number of epochs, fractions included."""

    run_ids: Sequence[str]
    epochs: float


@dataclass(frozen=True)
class Done:
    """A run has its row, with this final test accuracy."""

    run_id: str
    accuracy: float


@dataclass(frozen=True)
class Failed:
    """A run has a row with status "failed" and this reason."""

    run_id: str
    reason: str


@dataclass(frozen=True)
class CheckpointDamaged:
    """A run starts over, because its checkpoint cannot be read."""

    run_id: str


@dataclass(frozen=True)
class OutOfMemory:
    """A trial needs more GPU memory than its share. Its runs have no row."""

    run_ids: Sequence[str]
    reason: str


@dataclass(frozen=True)
class WorkerDied:
    """The worker or the node of a trial died, and Tune restarts the trial from its checkpoint."""

    run_ids: Sequence[str]


@dataclass(frozen=True)
class TrialDropped:
    """Tune gave up a trial. Its runs are not lost: another call of Tune takes them."""

    run_ids: Sequence[str]


@dataclass(frozen=True)
class StoreRefused:
    """The store did not accept what a trial has to keep; the worker tries again."""

    run_ids: Sequence[str]
    reason: str


@dataclass(frozen=True)
class StoreLost:
    """The store has refused for so long that a worker gave up."""

    run_ids: Sequence[str]
    reason: str


Event = (
    Started | Advanced | Done | Failed | CheckpointDamaged | OutOfMemory | WorkerDied | TrialDropped | StoreRefused
    | StoreLost
)  # fmt: skip


@dataclass(frozen=True)
class NextRound:
    """What remains to do after a call of Tune.

    Attributes:
        retried: runs for another call of Tune.
        abandoned: runs that made no progress in `FRUITLESS_ROUNDS` calls, most likely because they kill their workers.
    """

    retried: list[RunSpec]
    abandoned: list[RunSpec]


@dataclass(frozen=True)
class CellCounts:
    """Runs of one model on one data set."""

    planned: int
    done: int
    failed: int


class RunStates:
    """The runs of one sweep that are not done when it starts.

    Attributes:
        runs: these runs, by `run_id`.
        shares: the resources of each run's trial; `next_round` enlarges them after out-of-memory errors.
        already_done: runs of the study that need not be run.
        running: epochs completed by each run that is on a worker now.
        reached: epochs completed by each run that has reported any; kept across restarts.
        done, failed: runs that have ended; of failed ones the reason.
        store_lost: why no result can be written any more; None while the store accepts writes.
        started_at, idle_since: when the sweep started, and when a run was last in training (`clock`).
    """

    def __init__(
        self,
        runs: Iterable[RunSpec],
        shares: Mapping[str, Share],
        already_done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock`: seconds, never going back."""
        self.runs = {run.run_id: run for run in runs}
        self.shares, self.already_done, self.clock = dict(shares), already_done, clock
        self.running: dict[str, float] = {}
        self.reached: dict[str, float] = {}
        self.done: set[str] = set()
        self.failed: dict[str, str] = {}
        self.store_lost: str | None = None
        self.started_at = self.idle_since = clock()
        self._trials: dict[tuple[str, ...], Share] = {}  # every trial seen, with the share that it started with
        self._restarted: set[str] = set()
        self._out_of_memory: set[str] = set()
        self._died_at: dict[str, float] = {}  # epochs completed when the worker last died
        self._reached_before: dict[str, float] = {}  # `reached` at the end of the last round
        self._fruitless: Counter[str] = Counter()  # rounds without progress
        self._training_s = 0.0
        self._training_since: float | None = None

    def apply(self, event: Event) -> bool:
        """Update the state. Returns whether the event is news; Tune reports failures and restarts repeatedly."""
        match event:
            case Started(run_ids):
                self._start(run_ids)
            case Advanced(run_ids, epochs):
                for run_id in self.running.keys() & set(run_ids):
                    self.running[run_id] = self.reached[run_id] = epochs
            case Done(run_id):
                self.failed.pop(run_id, None)
                self.done.add(run_id)
                self._stop([run_id])
            case Failed(run_id, reason):
                if run_id not in self.running and (run_id in self.done or run_id in self.failed):
                    return False
                self.done.discard(run_id)
                self.failed[run_id] = reason
                self._stop([run_id])
            case CheckpointDamaged(run_id):
                if run_id in self._restarted:
                    return False
                self._restarted.add(run_id)
            case OutOfMemory(run_ids):
                self._out_of_memory.update(run_ids)
                self._stop(run_ids)
            case WorkerDied(run_ids):
                self._died_at[run_ids[0]] = self.reached.get(run_ids[0], 0.0)
                self._stop(run_ids)
            case StoreLost(run_ids, reason):
                self.store_lost = reason
                self._stop(run_ids)
            case TrialDropped(run_ids):
                self._stop(run_ids)
        return True

    def progressed_since_death(self, run_ids: Sequence[str]) -> bool:
        """Whether a trial has got further since its worker last died, so that an earlier death need not count."""
        return self.reached.get(run_ids[0], 0.0) > self._died_at.get(run_ids[0], 0.0)

    def next_round(self, runs: Iterable[RunSpec], stored: Collection[str]) -> NextRound:
        """Which of these runs need another call of Tune, and which are abandoned.

        A run whose worker died is retried from its checkpoint as long as it makes progress. One that ran out of GPU
        memory is retried with a larger share, until it has a whole GPU.

        Args:
            runs: those of the call that has ended.
            stored: ids of runs that have their row.
        """
        enlarged, self._out_of_memory = self._out_of_memory, set()
        self.shares |= {run_id: self.shares[run_id].larger() or self.shares[run_id] for run_id in enlarged}
        before, self._reached_before = self._reached_before, dict(self.reached)
        left = [run for run in runs if run.run_id not in stored]
        upcoming = NextRound([], [])
        for run in left:
            progressed = run.run_id in enlarged or self.reached.get(run.run_id) != before.get(run.run_id)
            self._fruitless[run.run_id] = 0 if progressed else self._fruitless[run.run_id] + 1
            is_hopeless = self._fruitless[run.run_id] >= FRUITLESS_ROUNDS
            (upcoming.abandoned if is_hopeless else upcoming.retried).append(run)
        return upcoming

    def shares_in_use(self) -> list[Share]:
        """The share of each trial that is on a worker now."""
        return [share for run_ids, share in self._trials.items() if self.running.keys() & set(run_ids)]

    def cells(self) -> dict[tuple[str, str], CellCounts]:
        """Counts by model and data set, in the order of the plan."""
        planned, done, failed = (
            Counter((self.runs[run_id].model, self.runs[run_id].data.name) for run_id in run_ids)
            for run_ids in (self.runs, self.done, self.failed)
        )
        return {cell: CellCounts(planned[cell], done[cell], failed[cell]) for cell in planned}

    @property
    def training_s(self) -> float:
        """Seconds in which at least one run was in training, up to now."""
        now = 0.0 if self._training_since is None else self.clock() - self._training_since
        return self._training_s + now

    @property
    def time_left_s(self) -> float | None:
        """Estimated from the work done while runs were in training; None before there is any."""
        finished = sum(self.runs[run_id].work for run_id in self.done)
        under_way = sum(
            self.runs[run_id].work * min(1, epochs / self.runs[run_id].training.epochs)
            for run_id, epochs in self.running.items()
        )
        if finished + under_way == 0:
            return None
        unfinished = self.runs.keys() - self.done - self.failed.keys()
        rest = max(0.0, sum(self.runs[run_id].work for run_id in unfinished) - under_way)
        return rest * self.training_s / (finished + under_way)

    def _start(self, run_ids: Sequence[str]) -> None:
        self._trials[tuple(run_ids)] = self.shares[run_ids[0]]
        self.running |= {run_id: self.reached.get(run_id, 0.0) for run_id in run_ids}
        if self._training_since is None:
            self._training_since = self.clock()

    def _stop(self, run_ids: Iterable[str]) -> None:
        """These runs are on no worker any more."""
        for run_id in run_ids:
            self.running.pop(run_id, None)
        if not self.running and self._training_since is not None:
            self._training_s = self.training_s
            self._training_since = None
            self.idle_since = self.clock()


def done_runs(store: Store, runs: Iterable[RunSpec]) -> set[str]:
    """Ids of those of `runs` that the store holds as done. A failed run is not done: it is tried again."""
    planned = {run.run_id for run in runs}
    return {row["run_id"] for row in store.runs(["run_id", "status"]) if row["status"] == "done"} & planned
