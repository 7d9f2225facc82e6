"""The tables that a sweep writes and a report reads: one place per column.

A results folder (local, S3 or GCS) holds

    study.json             the resolved study, with all defaults filled in
    plan.parquet           PLAN: all runs of the study, done or not
    runs/RUN_ID.parquet    RUNS: one row per run that is done or failed
    epochs/RUN_ID.parquet  EPOCHS: one row per epoch of a run that is done
    predictions/RUN_ID.parquet   PREDICTIONS: one row per test example of a run that is done
    pretraining/KEY.parquet      PRETRAINING: one row per logged step of one of the study's pretrainings
    leakage/DIGEST.parquet       hyena.leakage.counts.SCHEMA: overlap of a data set's test split with its training split
    compact/TABLE-PART.parquet   RUNS, EPOCHS, PREDICTIONS (TABLE: runs, epochs, predictions) of many runs that are done
    models/RUN_ID/               the fine-tuned model of a run that is done, if the study keeps models (docs/weights.md)
    at-work-HOST-PID.json        heartbeat of a sweep that is running in the folder (sweep/heartbeat.py)
    checkpoints/RUN_ID.pt        state of an unfinished run
    weights/, memory/            pretrained weights, and memory measurements, for the sweep's own use

`runs/RUN_ID.parquet` is written last, so a run that has its row has all its files. `compact/runs-PART.parquet` is the
last of a part's three files, and the small files of its runs are deleted after it. The rows of a results folder are
therefore those of the parts that have all three files, each run once, and those of the small files of all other runs
(`sweep/layout.py`). A reader lists the small files first, then the parts, so that it misses no run that moves from one
to the other.

Each table is declared as the type of its rows, a TypedDict whose keys are the columns in order; its pyarrow schema is
derived from that, with the meaning and the unit of each column as metadata. The columns of the training values are
derived from `hyena/training/recipe.py`. Loads neither torch nor Ray, so that the analysis can import it. Next:
`sweep/rows.py` makes the rows, `sweep/store.py` and `sweep/compact.py` write them, `analysis/results.py` reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypedDict, Union, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hyena.training.recipe import TRAINING_VALUES, TrainingConfig, Value

#: Incremented with every change that makes older files unreadable; a reader refuses other versions.
SCHEMA_VERSION = 1

#: The arms that a study can compare. Two are controls: `shuffled` permutes each of the pretrained tensors (the same
#: statistics without what was learned); `frozen` keeps the pretrained backbone unchanged and trains only the head.
INITIALISATIONS = ("pretrained", "scratch", "shuffled", "frozen")

#: The arms that start from pretrained weights.
FROM_WEIGHTS = ("pretrained", "shuffled", "frozen")

#: Values of `RUNS.status`.
STATUSES = ("done", "failed")


@dataclass(frozen=True)
class Column:
    """The meaning of a column, and the unit of its values ("" where they have none)."""

    meaning: str
    unit: str = ""


Int64 = Annotated[int, pa.int64()]
Confusion = list[list[int]]
Pairs = list[tuple[str, str]]

#: Column types of the Python types that are not annotated with one.
_TYPES = {
    str: pa.string(),
    int: pa.int32(),
    float: pa.float64(),
    datetime: pa.timestamp("ms", tz="UTC"),
    Confusion: pa.list_(pa.list_(pa.int64())),
    Pairs: pa.map_(pa.string(), pa.string()),
}

_SCORES = {
    "accuracy": Column("share of examples classified correctly", "fraction"),
    "loss": Column("mean cross-entropy", "nats"),
    "mcc": Column("Matthews correlation coefficient (multi-class R_K)"),
    "f1": Column("F1 (unweighted mean over classes)", "fraction"),
    "precision": Column("precision (unweighted mean over classes)", "fraction"),
    "recall": Column("recall (unweighted mean over classes)", "fraction"),
    "auroc": Column("area under the ROC curve (with more than two classes: mean of one against the rest)"),
    "confusion": Column("counts [true class][predicted class]", "examples"),
}


def _score(name: str, split: str) -> Column:
    score = _SCORES[name]
    return Column(f"{score.meaning} on the {split} split, after the last epoch", score.unit)


class PlanRow(TypedDict):
    """A run that the study asks for, done or not."""

    run_id: Annotated[str, Column("digest of all that determines the run's result")]
    setting_id: Annotated[
        str,
        Column(
            "digest of the same without initialisation, weights and seed: the runs of one setting are the arms of a "
            "comparison, paired by seed; random streams are salted with it"
        ),
    ]
    study: Annotated[str, Column("name of the study")]
    model: Annotated[str, Column("name of the model size")]
    dataset: Annotated[str, Column("name of the data set")]
    init: Annotated[str, Column(f"initialisation: one of {', '.join(INITIALISATIONS)}")]
    corpus: Annotated[
        str | None,
        Column(
            "what the pretrained weights were trained on: synthetic, or the names of FASTA files; published where they "
            "were found by the model's name, files where the study names them; null for scratch"
        ),
    ]
    pretraining_seed: Annotated[
        Int64 | None,
        Column(
            "seed of the pretraining, or the position (from 1) of a file that the study names; null for scratch and "
            "published weights"
        ),
    ]
    seed: Annotated[Int64, Column("seed of head initialisation, data order, augmentation and dropout (named streams)")]
    epochs: Annotated[int, TRAINING_VALUES["epochs"]]
    trainable_parameters: Annotated[
        Int64,
        Column(
            "trainable parameters of the size, the head included (the frozen arm trains the head only)", "parameters"
        ),
    ]


class RunRow(PlanRow):
    """A run that is done or failed; a failed run has None in the columns of its results.

    A row also holds the `SETTING_VALUES`, the other fields of `TrainingConfig`, after `split_seed`.
    """

    schema_version: Annotated[int, Column("version of these tables")]
    status: Annotated[str, Column(f"one of {', '.join(STATUSES)}")]
    failure: Annotated[str | None, Column("why the run failed; null when it is done")]
    # what determines the result
    d_model: Annotated[int, Column("width of the model", "channels")]
    n_layer: Annotated[int, Column("depth of the model", "layers")]
    l_max: Annotated[int, Column("longest input that the filters are defined for", "positions")]
    data_digest: Annotated[str, Column("SHA-256 of the data set's tokens and labels")]
    num_classes: Annotated[int, Column("classes of the data set")]
    train_examples: Annotated[Int64, Column("examples trained on", "examples")]
    validation_examples: Annotated[Int64, Column("examples held out of training for choices", "examples")]
    test_examples: Annotated[Int64, Column("examples of the test split", "examples")]
    weights_digest: Annotated[str | None, Column("SHA-256 of the pretrained tensors; null for scratch")]
    split_seed: Annotated[Int64, Column("seed of the cut between training and validation")]
    # results
    validation_accuracy: Annotated[float | None, _score("accuracy", "validation")]
    validation_loss: Annotated[float | None, _score("loss", "validation")]
    validation_mcc: Annotated[float | None, _score("mcc", "validation")]
    validation_f1: Annotated[float | None, _score("f1", "validation")]
    validation_precision: Annotated[float | None, _score("precision", "validation")]
    validation_recall: Annotated[float | None, _score("recall", "validation")]
    validation_auroc: Annotated[float | None, _score("auroc", "validation")]
    validation_confusion: Annotated[Confusion | None, _score("confusion", "validation")]
    test_accuracy: Annotated[float | None, _score("accuracy", "test")]
    test_loss: Annotated[float | None, _score("loss", "test")]
    test_mcc: Annotated[float | None, _score("mcc", "test")]
    test_f1: Annotated[float | None, _score("f1", "test")]
    test_precision: Annotated[float | None, _score("precision", "test")]
    test_recall: Annotated[float | None, _score("recall", "test")]
    test_auroc: Annotated[float | None, _score("auroc", "test")]
    test_confusion: Annotated[Confusion | None, _score("confusion", "test")]
    best_epoch: Annotated[
        int | None, Column("epoch with the highest validation accuracy (the first of equals), from 1", "epoch")
    ]
    best_epoch_test_accuracy: Annotated[
        float | None, Column("test accuracy at best_epoch: never chosen on the test split", "fraction")
    ]
    # cost and provenance
    train_s: Annotated[float | None, Column("time in training epochs, evaluation not included", "s")]
    evaluate_s: Annotated[float | None, Column("time in evaluation", "s")]
    examples_per_s: Annotated[float | None, Column("training examples per second of train_s", "examples/s")]
    peak_memory_bytes: Annotated[
        Int64 | None,
        Column(
            "peak memory of the accelerator's allocator, or on a CPU the resident memory of the worker process", "bytes"
        ),
    ]
    gpu_fraction: Annotated[float, Column("share of one GPU given to the run; 0 on a CPU", "fraction")]
    cpus: Annotated[float, Column("CPU cores given to the run", "cores")]
    concurrent_runs: Annotated[
        int, Column("runs that the same accelerator (on a CPU: the same node) could hold at once", "runs")
    ]
    stacked_runs: Annotated[int, Column("runs of the cell that were trained as one model, this one included", "runs")]
    device: Annotated[str, Column("name of the accelerator or the CPU")]
    host: Annotated[str, Column("name of the node")]
    versions: Annotated[Pairs, Column("versions of Python and of the packages that can change a number")]
    commit: Annotated[str | None, Column("commit of the project's code; null where it is unknown")]
    started_at: Annotated[datetime, Column("when the run started (or was last resumed)")]
    finished_at: Annotated[datetime, Column("when the run ended")]


class EpochRow(TypedDict):
    """One epoch of a finished run."""

    run_id: Annotated[str, Column("the run")]
    epoch: Annotated[int, Column("epoch, from 1", "epoch")]
    learning_rate: Annotated[float, Column("learning rate of the epoch's last step")]
    train_loss: Annotated[
        float,
        Column("mean cross-entropy over the epoch's own training batches (dropout and augmentation on)", "nats"),
    ]
    train_accuracy: Annotated[float, Column("accuracy over the same batches", "fraction")]
    validation_loss: Annotated[
        float | None,
        Column("mean cross-entropy on validation after the epoch; null without a validation split", "nats"),
    ]
    validation_accuracy: Annotated[float | None, Column("accuracy on validation after the epoch", "fraction")]
    test_loss: Annotated[float, Column("mean cross-entropy on test after the epoch", "nats")]
    test_accuracy: Annotated[float, Column("accuracy on test after the epoch", "fraction")]
    train_s: Annotated[float, Column("time in training steps", "s")]
    evaluate_s: Annotated[float, Column("time in evaluation", "s")]


class PredictionColumns(TypedDict):
    """The predictions of a finished run after its last epoch: whole columns, one value per test example."""

    run_id: Annotated[list[str], pa.string(), Column("the run")]
    example: Annotated[NDArray[np.int32], pa.int32(), Column("index into the test split")]
    label: Annotated[NDArray[np.int16], pa.int16(), Column("true class")]
    logits: Annotated[pa.Array, pa.list_(pa.float32()), Column("one logit per class")]


class PretrainingRow(TypedDict):
    """One logged step of a pretraining."""

    model: Annotated[str, Column("name of the model size")]
    pretraining_seed: Annotated[Int64 | None, Column("seed of the pretraining; null in results of older releases")]
    weights_key: Annotated[str, Column("digest of all that determines the weights")]
    step: Annotated[int, Column("optimisation steps done", "steps")]
    tokens: Annotated[Int64, Column("nucleotides seen", "tokens")]
    train_bits_per_base: Annotated[float, Column("mean next-nucleotide loss since the last logged step", "bits/base")]
    validation_bits_per_base: Annotated[
        float | None, Column("next-nucleotide loss on held-out sequence; null between evaluations", "bits/base")
    ]
    seconds: Annotated[float, Column("time since the start of the pretraining", "s")]


def _parts(annotation: Any) -> Iterator[Any]:
    """The types that a value may have, and the metadata of `Annotated`, at any depth."""
    if get_origin(annotation) in (Annotated, Union, UnionType):
        for part in get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation


def _field(name: str, annotation: Any) -> pa.Field:
    """A column as its type and metadata declare it; nullable where its value may be None."""
    parts = list(_parts(annotation))
    column = next(part for part in parts if isinstance(part, Column | Value))
    declared = [part for part in parts if isinstance(part, pa.DataType)]
    python = str if get_origin(parts[0]) is Literal else parts[0]
    kind = declared[0] if declared else _TYPES[python]
    metadata = {"meaning": column.meaning, "unit": column.unit}
    return pa.field(name, kind, nullable=NoneType in parts, metadata=metadata)


def _fields(row: type) -> list[pa.Field]:
    return [_field(name, annotation) for name, annotation in get_type_hints(row, include_extras=True).items()]


def _run_fields() -> list[pa.Field]:
    """The columns of RUNS. No training value is null: the plan replaces max_length = None by a number."""
    fields = _fields(RunRow)
    training = [field.with_nullable(False) for field in _fields(TrainingConfig) if field.name in SETTING_VALUES]
    place = 1 + [field.name for field in fields].index("split_seed")
    return [*fields[:place], *training, *fields[place:]]


#: Training values other than `epochs`, which is a column of the plan, too.
SETTING_VALUES = tuple(name for name in TRAINING_VALUES if name != "epochs")
#: Columns of RUNS that tell two settings of one model, data set and number of epochs apart; never averaged over.
HYPERPARAMETERS = (*SETTING_VALUES, "split_seed")

PLAN = pa.schema(_fields(PlanRow))
RUNS = pa.schema(_run_fields())
EPOCHS = pa.schema(_fields(EpochRow))
PREDICTIONS = pa.schema(_fields(PredictionColumns))
PRETRAINING = pa.schema(_fields(PretrainingRow))
