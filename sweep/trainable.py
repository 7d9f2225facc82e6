"""One run on one worker: the Tune trainable that wraps HyenaDNA training.

A worker (an actor that Tune reuses) takes run after run: it trains an epoch a step, keeps a checkpoint in the store
while the run is unfinished, and writes the run's rows itself before it reports the run as done. What goes wrong inside
a run becomes a failed row with its reason; a worker that dies is Tune's to replace, and the run goes on from its
checkpoint. Two things are the sweep's to mend and leave no row: a GPU share that is too small, and a store that has
refused for longer than its patience. Next: `store.py`.
"""

from __future__ import annotations

import dataclasses
import io
import os
import socket
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum, auto
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from ray import tune

from hyena.checkpoint import load_backbone
from hyena.metrics import Scores
from hyena.model import Classifier, initialise, shuffle
from hyena.training import EpochRecord, PreparedData, Run, RunResult
from sweep import provenance
from sweep.resources import Share
from sweep.schema import RUNS, SCHEMA_VERSION
from sweep.store import Store, StoreError
from sweep.trials import RunSpec, load_data

#: How long a worker and the driver go on trying where the store refuses, and how often a worker says that it does.
PATIENCE_S, SAY_AFTER_S = 600.0, 20.0
#: Columns of the epochs table that go to Tune and to whoever listens there.
REPORTED = ("epoch", "train_loss", "validation_accuracy", "test_accuracy")


class Outcome(StrEnum):
    """What a step left: all but the first two end the trial; DONE and FAILED have their row."""

    UNFINISHED = auto()
    REFUSED = auto()
    DONE = auto()
    FAILED = auto()
    TOO_BIG = auto()
    STORE_LOST = auto()


@dataclasses.dataclass(frozen=True)
class Assignment:
    """What every worker of a sweep gets once: where results go, and all runs and what each may use, by `run_id`."""

    runs: Mapping[str, RunSpec]
    shares: Mapping[str, Share]
    results: str
    commit: str | None

    def larger(self, run_ids: Iterable[str]) -> Assignment:
        """The same with larger shares for these runs, where there is anything larger."""
        grown = {run_id: self.shares[run_id].larger() or self.shares[run_id] for run_id in run_ids}
        return dataclasses.replace(self, shares={**self.shares, **grown})


class RunTrainable(tune.Trainable):
    """Tune's view of a run: `config` names it, for trackers to show; what is read of that is its id alone."""

    run: Run | None  # None until its first epoch, and after its rows are written
    kept: bool  # whether the store holds all that the run has found
    failure: Exception | None  # whose row the store has not taken yet
    refused_since: float | None

    def setup(self, config: dict[str, Any], assignment: Assignment | None = None) -> None:
        assert assignment is not None
        self.assignment = assignment
        self.store = Store(assignment.results, SAY_AFTER_S)
        share = assignment.shares[config["run"]["run_id"]]  # Tune reuses a worker for runs of equal shares
        self.device = share.occupy()
        self.prepared: tuple[Any, PreparedData] | None = None
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next run in the same process. Nothing of the last one is left but data that both use."""
        self._take(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """One epoch, kept before Tune hears of it: the last one as rows, the others as a checkpoint.

        Where the store refuses, the next step tries to keep it again, until patience is spent.
        """
        try:
            try:
                report = self._advance()
            except StoreError:
                raise
            except Exception as error:
                self.failure = error.with_traceback(None)  # its frames would hold the run's memory
                report = self._fail(self.failure)
            self.refused_since = None
        except StoreError as error:
            return self._refused(str(error))
        else:
            return report
        finally:
            if self.run is None and self.device.type == "cuda":
                torch.cuda.empty_cache()

    @property
    def share(self) -> Share:
        return self.assignment.shares[self.spec.run_id]

    def _take(self, config: dict[str, Any]) -> None:
        self.spec = self.assignment.runs[config["run"]["run_id"]]
        self.run = None
        self.kept, self.failure, self.refused_since = True, None, None
        self.started = datetime.now(UTC)

    def _advance(self) -> dict[str, Any]:
        if self.failure is not None:
            raise self.failure
        if self.run is None:
            self.run = self._begin()
        if self.kept and not self.run.finished:
            self.run.advance()
            self.kept = False
        last = self.run.history[-1]
        if self.run.finished:
            self._write(self.run.result())
            return self._end(Outcome.DONE, **_report(last))
        buffer = io.BytesIO()
        torch.save(self.run.state(), buffer)
        self.store.write(f"checkpoints/{self.spec.run_id}.pt", buffer.getvalue())
        self.kept = True
        return {"done": False, "outcome": Outcome.UNFINISHED, **_report(last)}

    def _fail(self, error: Exception) -> dict[str, Any]:
        """What goes wrong with a run becomes its row, unless a larger share may mend it."""
        self.run = None
        if isinstance(error, torch.OutOfMemoryError) and self.share.larger() is not None:
            return self._end(Outcome.TOO_BIG, reason=f"more memory needed than {self.share.gpus:g} of a GPU has")
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0][:500]
        self.store.write_run(failed_row(self.spec, reason, self.assignment, self.started, self.device))
        return self._end(Outcome.FAILED, reason=reason)

    def _refused(self, reason: str) -> dict[str, Any]:
        """The store did not take it (or give it): say so, and after much patience give up."""
        now = time.monotonic()
        if self.refused_since is None:
            self.refused_since = now
        if now - self.refused_since > PATIENCE_S:
            return self._end(Outcome.STORE_LOST, reason=reason)
        return {"done": False, "outcome": Outcome.REFUSED, "reason": reason}

    def _end(self, outcome: Outcome, **report: Any) -> dict[str, Any]:
        """Let go of the run, and tell Tune."""
        self.run = None
        return {"done": True, "outcome": outcome, **report}

    def _begin(self) -> Run:
        """Model, data and streams as the specification says; then, if the run was begun before, where it was left."""
        spec = self.spec
        self.started = datetime.now(UTC)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        data = self._data()
        model = Classifier(spec.config, spec.facts.num_classes, spec.training.pooling, spec.training.padding)
        initialise(model, spec.seed)
        self.weights_digest = None
        if spec.weights_key is not None:
            self.weights_digest = load_backbone(model.backbone, fetched_weights(self.store, spec.weights_key))
        if spec.init == "shuffled":
            shuffle(model.backbone, spec.seed)
        if spec.init == "frozen":
            model.backbone.requires_grad_(False)
        run = Run(model.to(self.device), data, spec.training, spec.seed)
        saved = self.store.read(f"checkpoints/{spec.run_id}.pt")
        if saved is not None:
            run.resume(torch.load(io.BytesIO(saved), map_location=self.device, weights_only=True))
        return run

    def _data(self) -> PreparedData:
        """The run's data on the device, kept for the next run that needs the same."""
        spec, training = self.spec, self.spec.training
        cut = (spec.split_seed, training.split, training.validation_fraction, training.train_fraction)
        key = (spec.data, *cut, training.max_length, training.padding)
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

    def _write(self, result: RunResult) -> None:
        spec, data = self.spec, self._data()
        epochs = [{"run_id": spec.run_id, **dataclasses.asdict(record)} for record in result.epochs]
        number = len(result.test_labels)
        predictions = {
            "run_id": [spec.run_id] * number,
            "example": np.arange(number, dtype=np.int32),
            "label": result.test_labels.astype(np.int16),
            "logits": pa.array(list(result.test_logits.astype(np.float32)), pa.list_(pa.float32())),
        }
        train_s = sum(record.train_s for record in result.epochs)
        row = {
            **_row(spec, self.assignment, self.started, self.device),
            "status": "done",
            "failure": None,
            "train_examples": len(data.train.labels),
            "validation_examples": len(data.validation.labels) if data.validation else 0,
            "test_examples": number,
            "weights_digest": self.weights_digest,
            **_scores("validation", result.validation),
            **_scores("test", result.test),
            "best_epoch": result.best_epoch,
            "best_epoch_test_accuracy": result.best_epoch_test_accuracy,
            "train_s": train_s,
            "evaluate_s": sum(record.evaluate_s for record in result.epochs),
            "examples_per_s": len(data.train.labels) * spec.training.epochs / train_s,
        }
        self.store.write_run(row, epochs, predictions)


def _report(record: EpochRecord) -> dict[str, Any]:
    """What Tune hears of an epoch: little, for it keeps what it hears."""
    return {name: getattr(record, name) for name in REPORTED}


def failed_row(
    spec: RunSpec, reason: str, assignment: Assignment, started: datetime, device: torch.device
) -> dict[str, Any]:
    """The row of a run that failed: what it was and why it failed, every measure null."""
    return {
        **_row(spec, assignment, started, device),
        "status": "failed",
        "failure": reason,
        "train_examples": spec.facts.train_examples,
        "validation_examples": 0,
        "test_examples": 0,
        "weights_digest": None,
        **{field.name: None for field in RUNS if field.name.startswith(("validation_", "test_", "best_"))
           and field.nullable},
        "train_s": None,
        "evaluate_s": None,
        "examples_per_s": None,
    }  # fmt: skip


def _row(spec: RunSpec, assignment: Assignment, started: datetime, device: torch.device) -> dict[str, Any]:
    """The columns that every row has."""
    return {
        **spec.identity(),
        **dataclasses.asdict(spec.training),
        "schema_version": SCHEMA_VERSION,
        "d_model": spec.config.d_model,
        "n_layer": spec.config.n_layer,
        "l_max": spec.config.l_max,
        "data_digest": spec.facts.digest,
        "num_classes": spec.facts.num_classes,
        "split_seed": spec.split_seed,
        "peak_memory_bytes": provenance.peak_memory_bytes(device),
        "gpu_fraction": assignment.shares[spec.run_id].gpus,
        "cpus": float(assignment.shares[spec.run_id].cpus),
        "concurrent_runs": assignment.shares[spec.run_id].concurrent_runs,
        "device": provenance.device_name(device),
        "host": socket.gethostname(),
        "versions": list(provenance.versions().items()),
        "commit": assignment.commit,
        "started_at": started,
        "finished_at": datetime.now(UTC),
    }


def _scores(split: str, scores: Scores | None) -> dict[str, Any]:
    return {
        f"{split}_{field.name}": getattr(scores, field.name) if scores is not None else None
        for field in dataclasses.fields(Scores)
    }


def fetched_weights(store: Store, key: str) -> Path:
    """The folder of pretrained weights on this node: the store's own if it is local, else a copy made once."""
    if store.local:
        return Path(store.root) / "weights" / key
    folder = Path(gettempdir()) / f"hyenadna-sweep-{os.getuid()}" / "weights" / key
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).exists():
            data = store.read(f"weights/{key}/{name}")
            if data is None:
                raise FileNotFoundError(f"{store.uri}/weights/{key}/{name} is missing")
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial = folder / f"{name}.{os.getpid()}"
            partial.write_bytes(data)
            partial.replace(folder / name)
    return folder
