"""The rows of a run that ended, as `schema.py` declares them, from its specification and its result."""

from __future__ import annotations

import dataclasses
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch

from hyena.training.loop import RunResult
from hyena.training.metrics import Scores
from sweep import environment
from sweep.resources import Share
from sweep.schema import RUNS, SCHEMA_VERSION, EpochRow, PredictionColumns, RunRow
from sweep.trials import RunSpec


@dataclass(frozen=True)
class Circumstances:
    """Where and how a run was executed.

    Attributes:
        stacked_runs: number of runs that were trained as one model, this one included.
        started: time of its start, or of its last resumption.
        commit: commit of the project's code; None where it is unknown.
    """

    share: Share
    device: torch.device
    stacked_runs: int
    started: datetime
    commit: str | None


def failed_row(spec: RunSpec, reason: str, where: Circumstances) -> RunRow:
    """The row of a run that failed: its specification and the reason, every measure None."""
    row = {
        **{field.name: None for field in RUNS if field.nullable},
        **_row(spec, where),
        "status": "failed",
        "failure": reason,
        "train_examples": spec.facts.train_examples,
        "validation_examples": 0,
        "test_examples": 0,
    }
    return cast(RunRow, row)


def done_row(
    spec: RunSpec, result: RunResult, examples: dict[str, int], weights_digest: str | None, where: Circumstances
) -> RunRow:
    """The row of a run that is done. `examples`: number of examples of each split, as it was cut."""
    train_s = sum(record.train_s for record in result.epochs)
    row = {
        **_row(spec, where),
        "status": "done",
        "failure": None,
        **{f"{split}_examples": examples.get(split, 0) for split in ("train", "validation", "test")},
        "weights_digest": weights_digest,
        **_scores("validation", result.validation),
        **_scores("test", result.test),
        "best_epoch": result.best_epoch,
        "best_epoch_test_accuracy": result.best_epoch_test_accuracy,
        "train_s": train_s,
        "evaluate_s": sum(record.evaluate_s for record in result.epochs),
        "examples_per_s": examples["train"] * spec.training.epochs / train_s,
    }
    return cast(RunRow, row)


def epoch_rows(spec: RunSpec, result: RunResult) -> list[EpochRow]:
    """The rows of a finished run's epochs, in order."""
    return [cast(EpochRow, {"run_id": spec.run_id, **dataclasses.asdict(record)}) for record in result.epochs]


def prediction_columns(spec: RunSpec, result: RunResult) -> PredictionColumns:
    """The predictions of a finished run, one value per test example."""
    number = len(result.test_labels)
    return {
        "run_id": [spec.run_id] * number,
        "example": np.arange(number, dtype=np.int32),
        "label": result.test_labels.astype(np.int16),
        "logits": pa.array(list(result.test_logits.astype(np.float32)), pa.list_(pa.float32())),
    }


def _row(spec: RunSpec, where: Circumstances) -> dict[str, Any]:
    """The columns that rows of done and of failed runs share."""
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
        "peak_memory_bytes": environment.peak_memory_bytes(where.device),
        "gpu_fraction": where.share.gpus,
        "cpus": float(where.share.cpus),
        "concurrent_runs": where.share.concurrent_trials * where.stacked_runs,
        "stacked_runs": where.stacked_runs,
        "device": environment.device_name(where.device),
        "host": socket.gethostname(),
        "versions": list(environment.versions().items()),
        "commit": where.commit,
        "started_at": where.started,
        "finished_at": datetime.now(UTC),
    }


def _scores(split: str, scores: Scores | None) -> dict[str, Any]:
    return {
        f"{split}_{field.name}": getattr(scores, field.name) if scores is not None else None
        for field in dataclasses.fields(Scores)
    }
