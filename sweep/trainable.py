"""One trial on one worker: the Tune trainable that wraps HyenaDNA training.

A worker (an actor that Tune reuses) takes trial after trial, each of one run or of several that differ in their seed
alone: it trains an epoch a step, keeps a checkpoint of each run in the store while it is unfinished, and writes the
rows itself before it reports them. A long epoch is kept in parts; one that SIGTERM interrupts, as it stands, before the
worker ends. What goes wrong inside a run becomes a failed row with its reason; a worker that dies is Tune's to replace,
and the run goes on from its checkpoint. Two things are the sweep's to mend and leave no row: a GPU share that is too
small, and a store that has refused for longer than its patience.
Next: `group.py`, what is trained; `rows.py`, what is written.
"""

from __future__ import annotations

import dataclasses
import signal
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum, auto
from statistics import fmean
from types import FrameType
from typing import Any

import torch
from ray import tune

from hyena.device import is_out_of_memory
from hyena.training.loop import PreparedData
from hyena.training.recipe import values_affecting
from hyena.weights.classifiers import classifier_files
from sweep.group import Group, reason_of
from sweep.resources import Share
from sweep.rows import Circumstances, done_row, epoch_rows, failed_row, prediction_columns
from sweep.store import Store, StoreError
from sweep.trials import RunSpec, load_data

#: How long a worker and the driver go on trying where the store refuses, and how often a worker says that it does.
PATIENCE_S, SAY_AFTER_S = 600.0, 20.0
#: How long a worker trains at most before it keeps what it has, be it within an epoch.
CHECKPOINT_AFTER_S = 600.0
#: Columns of the epochs table that go to Tune and to whoever listens there.
REPORTED = ("train_loss", "validation_accuracy", "test_accuracy")


class Outcome(StrEnum):
    """What a step left: all but the first two end the trial; where it ENDED, all its runs have their rows."""

    UNFINISHED = auto()
    REFUSED = auto()
    ENDED = auto()
    TOO_BIG = auto()
    STORE_LOST = auto()


@dataclasses.dataclass(frozen=True)
class Assignment:
    """What every worker of a sweep gets once: all runs and what each may use, by `run_id`, and where results go.

    `keep_models`: whether the fine-tuned models are results, too.
    """

    runs: Mapping[str, RunSpec]
    shares: Mapping[str, Share]
    results: str
    commit: str | None
    keep_models: bool = False


class TrialTrainable(tune.Trainable):
    """Tune's view of a trial: `config` names its runs; the rest of it is for trackers to show."""

    group: Group | None  # None until its first epoch, and after its rows are written
    kept: bool  # whether the store holds all that the runs have found
    failure: Exception | None  # what went wrong with all runs of the trial, while the store does not take their rows
    written: set[str]  # runs that have their row
    refused_since: float | None
    kept_at: float  # when the store last held all, or the trial began
    told_to_end: bool = False  # by SIGTERM

    def setup(self, config: dict[str, Any], assignment: Assignment | None = None) -> None:
        assert assignment is not None
        self.assignment = assignment
        self.store = Store(assignment.results, SAY_AFTER_S)
        share = assignment.shares[config["trial"]["run_ids"][0]]  # Tune reuses a worker for trials of equal shares
        self.device = share.occupy()
        self.prepared: tuple[Any, PreparedData] | None = None
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in the same process. Nothing of the last one is left but data that both use."""
        self._take(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """One epoch or a part of it, kept before Tune hears of it: the last one as rows, the others as checkpoints.

        Where the store refuses, the next step tries to keep it again, until patience is spent. After SIGTERM a step
        keeps what there is and says how far that is; the next one does to the process what the signal does by itself.
        """
        if self.told_to_end and self.kept:
            signal.raise_signal(signal.SIGTERM)
        own = signal.signal(signal.SIGTERM, self._note_the_end)
        try:
            return self._kept_step()
        finally:
            signal.signal(signal.SIGTERM, own)

    def _note_the_end(self, signum: int, frame: FrameType | None) -> None:
        self.told_to_end = True

    def _kept_step(self) -> dict[str, Any]:
        try:
            try:
                report = self._advance()
            except StoreError:
                raise
            except Exception as error:
                self.failure = error.with_traceback(None)  # its frames would hold the runs' memory
                report = self._fail(self.failure)
            self.refused_since = None
        except StoreError as error:
            return self._refused(str(error))
        else:
            return report
        finally:
            if self.group is None and self.device.type == "cuda":
                torch.cuda.empty_cache()

    @property
    def where(self) -> Circumstances:
        share = self.assignment.shares[self.specs[0].run_id]
        return Circumstances(share, self.device, len(self.specs), self.started, self.assignment.commit)

    def _take(self, config: dict[str, Any]) -> None:
        self.specs = [self.assignment.runs[run_id] for run_id in config["trial"]["run_ids"]]
        self.group, self.written = None, set()
        self.kept, self.failure, self.refused_since = True, None, None
        self.kept_at = time.monotonic()
        self.started = datetime.now(UTC)

    def _advance(self) -> dict[str, Any]:
        if self.failure is not None:
            raise self.failure
        if self.group is None:
            self.group = self._begin()
        if self.kept and not self.group.finished:
            self.group.advance()
            self.kept = False
        report = self._report(self.group)
        for spec in self.specs:
            if spec.run_id in self.group.failed:
                self._write_failure(spec, self.group.failed[spec.run_id])
        if self.group.finished:
            if self.assignment.keep_models:
                self._write_models(self.group)
            for spec, result in self.group.results():
                examples = {name: len(split.labels) for name, split in self._splits().items()}
                row = done_row(spec, result, examples, self.group.weights_digests[spec.run_id], self.where)
                self.store.write_run(row, epoch_rows(spec, result), prediction_columns(spec, result))
                report["accuracies"][spec.run_id] = result.test.accuracy
            return self._end(Outcome.ENDED, **report)
        for name, state in self.group.checkpoints():
            self.store.write(name, state)
        self.kept, self.kept_at = True, time.monotonic()
        return {"done": False, "outcome": Outcome.UNFINISHED, **report}

    def _write_models(self, group: Group) -> None:
        """Before the rows, so that a row means that the model is there."""
        classes = load_data(self.specs[0].data).classes
        for spec, model in group.models():
            for name, content in classifier_files(model, classes).items():
                self.store.write(f"models/{spec.run_id}/{name}", content, durable=True)

    def _report(self, group: Group) -> dict[str, Any]:
        """What Tune hears of an epoch: means over the runs that go on, and what ended."""
        latest = group.latest()
        means = {name: [getattr(record, name) for record in latest] for name in REPORTED}
        return {
            "epoch": group.epoch,
            "part": group.part,
            **{name: fmean(values) for name, values in means.items() if values and None not in values},
            "failures": dict(group.failed),
            "begun_anew": list(group.begun_anew),
            "accuracies": {},
        }

    def _fail(self, error: Exception) -> dict[str, Any]:
        """What goes wrong with the whole trial becomes its runs' rows, unless a larger share may mend it."""
        group, self.group = self.group, None
        share = self.where.share
        if is_out_of_memory(error) and share.larger() is not None:
            return self._end(Outcome.TOO_BIG, reason=f"more memory needed than {share.gpus:g} of a GPU has")
        failures = {spec.run_id: reason_of(error) for spec in self.specs} | (group.failed if group else {})
        for spec in self.specs:
            self._write_failure(spec, failures[spec.run_id])
        return self._end(Outcome.ENDED, failures=failures, accuracies={})

    def _write_failure(self, spec: RunSpec, reason: str) -> None:
        """Once."""
        if spec.run_id not in self.written:
            self.store.write_run(failed_row(spec, reason, self.where))
            self.written.add(spec.run_id)

    def _refused(self, reason: str) -> dict[str, Any]:
        """The store did not take it (or give it): say so, and after much patience give up."""
        now = time.monotonic()
        if self.refused_since is None:
            self.refused_since = now
        if now - self.refused_since > PATIENCE_S:
            return self._end(Outcome.STORE_LOST, reason=reason)
        return {"done": False, "outcome": Outcome.REFUSED, "reason": reason}

    def _end(self, outcome: Outcome, **report: Any) -> dict[str, Any]:
        """Let go of the runs, and tell Tune."""
        self.group = None
        return {"done": True, "outcome": outcome, **report}

    def _begin(self) -> Group:
        self.started = datetime.now(UTC)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        captured = self.where.share.captured
        return Group(self.specs, self._data(), self.store, self.device, self._pause, captured)

    def _pause(self) -> bool:
        """Whether training stops for a moment, to keep what there is."""
        return self.told_to_end or time.monotonic() - self.kept_at > CHECKPOINT_AFTER_S

    def _splits(self) -> dict[str, Any]:
        data = self._data()
        return {"train": data.train, **data.evaluated}

    def _data(self) -> PreparedData:
        """The trial's data on the device, kept for the next one that needs the same."""
        spec, training = self.specs[0], self.specs[0].training
        key = (spec.data, spec.split_seed, *(getattr(training, name) for name in values_affecting("data")))
        if self.prepared is None or self.prepared[0] != key:
            self.prepared = None  # let go of the old data before the new is made
            dataset = load_data(spec.data)
            if dataset.digest != spec.facts.digest:
                raise RuntimeError(
                    f"data set '{spec.data.name}' on {socket.gethostname()} is not the planned one: "
                    f"digest {dataset.digest[:12]}, planned {spec.facts.digest[:12]}"
                )
            self.prepared = key, PreparedData.of(dataset, training, spec.split_seed, self.device)
        return self.prepared[1]
