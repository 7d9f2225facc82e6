"""One trial on one worker: the Tune trainable that wraps HyenaDNA training.

A worker (an actor that Tune reuses) executes one trial after another, each of one run or of several that differ only in
their seed and in the weights that they start from. It trains one epoch per step, writes a checkpoint of each unfinished
run to the store, and writes the rows itself before it reports them. Long epochs are checkpointed in parts, and so is an
epoch that SIGTERM interrupts. An error inside a run becomes a failed row with its reason. Tune replaces a worker that
dies, and its runs resume from their checkpoints. Two failures leave no row, because the driver handles them: a GPU
share that is too small, and a store that could not be written for longer than `PATIENCE_S`.
Next: `group.py`, the runs in training; `rows.py`, their rows.
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
from typing import Any, TypedDict, cast

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

#: How long a worker and the driver retry operations of a store that fails, and how often a worker reports it.
PATIENCE_S, REPORT_AFTER_S = 600.0, 20.0
#: Longest time between two checkpoints; within a longer epoch, training pauses to write one.
CHECKPOINT_AFTER_S = 600.0
#: Columns of the epochs table that are reported to Tune and its trackers.
REPORTED = ("train_loss", "validation_accuracy", "test_accuracy")


class Outcome(StrEnum):
    """The result of a step: all but the first two end the trial. After ENDED, all runs of the trial have their rows."""

    UNFINISHED = auto()
    REFUSED = auto()
    ENDED = auto()
    TOO_BIG = auto()
    STORE_LOST = auto()


class Report(TypedDict, total=False):
    """What a step reports to Tune: `done` and `outcome` always, the rest as far as it applies.

    `epoch` and `part` are the epochs done and the fraction of the next one; the three columns of `REPORTED` are means
    over the trial's unfinished runs. By run_id: `failures` are reasons, `accuracies` those on the test split of the
    runs that are done. `begun_anew` lists the runs whose checkpoint could not be read.
    """

    done: bool
    outcome: Outcome
    reason: str
    epoch: int
    part: float
    train_loss: float
    validation_accuracy: float
    test_accuracy: float
    failures: dict[str, str]
    accuracies: dict[str, float]
    begun_anew: list[str]


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Sent to every worker of a sweep once: all runs and their shares, by `run_id`, and the results folder.

    `keep_models`: whether the fine-tuned models are stored, too.
    """

    runs: Mapping[str, RunSpec]
    shares: Mapping[str, Share]
    results: str
    commit: str | None
    keep_models: bool = False


class TrialTrainable(tune.Trainable):
    """A trial as Tune sees it: `config` names its runs; the rest of `config` is for trackers."""

    group: Group | None  # None before the first epoch and after the rows are written
    kept: bool  # whether the store has everything that the runs have computed
    failure: Exception | None  # the error of all runs of the trial, until their rows are written
    written: set[str]  # failed runs that have their row
    refused_since: float | None
    kept_at: float  # when `kept` was last true, or the trial began
    stop_requested: bool = False  # by SIGTERM

    def setup(self, config: dict[str, Any], assignment: Assignment | None = None) -> None:
        assert assignment is not None
        self.assignment = assignment
        self.store = Store(assignment.results, REPORT_AFTER_S)
        share = assignment.shares[config["trial"]["run_ids"][0]]  # Tune reuses a worker for trials of equal shares
        self.device = share.occupy()
        self.prepared: tuple[tuple[object, ...], PreparedData] | None = None
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start the next trial in the same process. Only the prepared data is kept, if the next trial uses the same."""
        self._take(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train for an epoch or a part of it, write a checkpoint (at the end: the rows), and return a Report.

        Where the store cannot be written, the next steps only try to write again, for up to `PATIENCE_S`. After SIGTERM
        a step still writes its checkpoint and reports; the next step re-raises SIGTERM with the original handler.
        """
        if self.stop_requested and self.kept:
            signal.raise_signal(signal.SIGTERM)
        previous = signal.signal(signal.SIGTERM, self._request_stop)
        try:
            return {**self._guarded_step()}
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _request_stop(self, signum: int, frame: FrameType | None) -> None:
        self.stop_requested = True

    def _guarded_step(self) -> Report:
        """A step whose errors become failed rows, and whose store errors become reports."""
        try:
            try:
                report = self._advance()
            except StoreError:
                raise
            except Exception as error:
                self.failure = error.with_traceback(None)  # the traceback's frames would keep the runs in memory
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
    def circumstances(self) -> Circumstances:
        share = self.assignment.shares[self.specs[0].run_id]
        return Circumstances(share, self.device, len(self.specs), self.started, self.assignment.commit)

    def _take(self, config: dict[str, Any]) -> None:
        self.specs = [self.assignment.runs[run_id] for run_id in config["trial"]["run_ids"]]
        self.group, self.written = None, set()
        self.kept, self.failure, self.refused_since = True, None, None
        self.kept_at = time.monotonic()
        self.started = datetime.now(UTC)

    def _advance(self) -> Report:
        """Train and store; or only store, where the store could not be written in the step before."""
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
                self._write_models(self.group)  # before the rows, so that a run with a row has its model
            report["accuracies"] = self._write_results(self.group)
            return self._end(Outcome.ENDED, report)
        for name, state in self.group.checkpoints():
            self.store.write(name, state)
        self.kept, self.kept_at = True, time.monotonic()
        return {**report, "done": False, "outcome": Outcome.UNFINISHED}

    def _write_results(self, group: Group) -> dict[str, float]:
        """Write the rows of all runs that are done; returns their test accuracies by run_id."""
        data, accuracies = self._data(), {}
        splits = {"train": data.train, **data.evaluated}
        examples = {name: len(split.labels) for name, split in splits.items()}
        for spec, result in group.results():
            row = done_row(spec, result, examples, group.weights_digests[spec.run_id], self.circumstances)
            self.store.write_run(row, epoch_rows(spec, result), prediction_columns(spec, result))
            accuracies[spec.run_id] = result.test.accuracy
        return accuracies

    def _write_models(self, group: Group) -> None:
        classes = load_data(self.specs[0].data).classes
        for spec, model in group.models():
            for name, content in classifier_files(model, classes).items():
                self.store.write(f"models/{spec.run_id}/{name}", content, durable=True)

    def _report(self, group: Group) -> Report:
        """The report on an epoch, with means over the unfinished runs that have all values."""
        latest = group.latest()
        values = {name: [getattr(record, name) for record in latest] for name in REPORTED}
        means = {name: fmean(column) for name, column in values.items() if column and None not in column}
        report: Report = {
            "epoch": group.epoch,
            "part": group.part,
            "failures": dict(group.failed),
            "begun_anew": list(group.begun_anew),
            "accuracies": {},
        }
        return cast(Report, {**report, **means})

    def _fail(self, error: Exception) -> Report:
        """An error of the whole trial becomes its runs' rows, unless it may go away with a larger share of a GPU."""
        group, self.group = self.group, None
        share = self.circumstances.share
        if is_out_of_memory(error) and share.larger() is not None:
            return self._end(Outcome.TOO_BIG, {"reason": f"more memory needed than {share.gpus:g} of a GPU has"})
        failures = {spec.run_id: reason_of(error) for spec in self.specs} | (group.failed if group else {})
        for spec in self.specs:
            self._write_failure(spec, failures[spec.run_id])
        return self._end(Outcome.ENDED, {"failures": failures, "accuracies": {}})

    def _write_failure(self, spec: RunSpec, reason: str) -> None:
        """Write the row of a failed run, unless it is written already."""
        if spec.run_id not in self.written:
            self.store.write_run(failed_row(spec, reason, self.circumstances))
            self.written.add(spec.run_id)

    def _refused(self, reason: str) -> Report:
        """Report that the store could not be read or written; after `PATIENCE_S`, end the trial."""
        now = time.monotonic()
        if self.refused_since is None:
            self.refused_since = now
        if now - self.refused_since > PATIENCE_S:
            return self._end(Outcome.STORE_LOST, {"reason": reason})
        return {"done": False, "outcome": Outcome.REFUSED, "reason": reason}

    def _end(self, outcome: Outcome, report: Report) -> Report:
        """Release the runs' memory, and make the report that ends the trial."""
        self.group = None
        return {**report, "done": True, "outcome": outcome}

    def _begin(self) -> Group:
        self.started = datetime.now(UTC)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        captured = self.circumstances.share.captured
        return Group(self.specs, self._data(), self.store, self.device, self._pause, captured)

    def _pause(self) -> bool:
        """Whether training pauses within an epoch to write a checkpoint."""
        return self.stop_requested or time.monotonic() - self.kept_at > CHECKPOINT_AFTER_S

    def _data(self) -> PreparedData:
        """The trial's data on the device, kept for the next trial if that needs the same."""
        spec, training = self.specs[0], self.specs[0].training
        key = (spec.data, spec.split_seed, *(getattr(training, name) for name in values_affecting("data")))
        if self.prepared is None or self.prepared[0] != key:
            self.prepared = None  # release the old data before the new is loaded
            dataset = load_data(spec.data)
            if dataset.digest != spec.facts.digest:
                raise RuntimeError(
                    f"data set '{spec.data.name}' on {socket.gethostname()} is not the planned one: "
                    f"digest {dataset.digest[:12]}, planned {spec.facts.digest[:12]}"
                )
            self.prepared = key, PreparedData.of(dataset, training, spec.split_seed, self.device)
        return self.prepared[1]
