"""The tables that a sweep fills and a report reads: one place per column.

A results folder (local, S3 or GCS) holds

    study.json             the resolved study: every value that the file left to its default written out
    plan.parquet           PLAN: the runs that the study asks for, done or not
    runs/RUN_ID.parquet    RUNS: one row a run that ended, well or not
    epochs/RUN_ID.parquet  EPOCHS: one row per epoch of a finished run
    predictions/RUN_ID.parquet   PREDICTIONS: one row per test example of a finished run
    pretraining/KEY.parquet      PRETRAINING: one row per logged step of a pretraining that the study asked for
    leakage/DIGEST.parquet       hyena.leakage.audit.SCHEMA: how much of a test split stands in its training split
    compact/TABLE-PART.parquet   RUNS, EPOCHS, PREDICTIONS (TABLE: runs, epochs, predictions) of many runs that are done
    models/RUN_ID/               the fine-tuned model of a finished run, where the study keeps them (docs/weights.md)
    at-work-HOST-PID.json        a sign of life of a sweep that is at work in the folder (sweep/heartbeat.py)
    checkpoints/RUN_ID.pt        where an unfinished run stands; weights/ and memory/ hold what a sweep made for itself

`runs/RUN_ID.parquet` is written last, so a run that has its row has all its files; `compact/runs-PART.parquet` is the
last of a part's three, and the small files of its runs are deleted after it. So the rows of a results folder are those
of the parts that have all three files, each run once, and those of the small files of every other run
(`sweep/layout.py`). List the small files first, then the parts: a run that moves between them is then seen.

Every field carries its meaning and its unit as metadata. This module needs pyarrow alone, so that the analysis can
import it without torch and Ray. Next: `sweep/store.py` and `sweep/compact.py` write these tables,
`analysis/results.py` reads them.
"""

from __future__ import annotations

import pyarrow as pa

#: Raised with every change that makes older files unreadable; a reader refuses other versions.
SCHEMA_VERSION = 1

#: The arms that a study can compare. Two are controls: `shuffled` has the pretrained tensors, each permuted (the same
#: statistics without the knowledge); `frozen` keeps the pretrained backbone as it is and trains the head alone.
INITIALISATIONS = ("pretrained", "scratch", "shuffled", "frozen")

#: The arms that start from pretrained weights.
FROM_WEIGHTS = ("pretrained", "shuffled", "frozen")

#: Values of `RUNS.status`.
STATUSES = ("done", "failed")


def _field(name: str, kind: pa.DataType, meaning: str, unit: str = "", nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"meaning": meaning, "unit": unit})


def _measure(name: str, meaning: str, unit: str = "", kind: pa.DataType | None = None) -> pa.Field:
    """A field that a failed run leaves null."""
    return _field(name, kind or pa.float64(), meaning, unit, nullable=True)


def _scores(split: str) -> list[pa.Field]:
    what = f"after the last epoch, on the {split} split"
    return [
        _measure(f"{split}_accuracy", f"share of examples classified correctly {what}", "fraction"),
        _measure(f"{split}_loss", f"mean cross-entropy {what}", "nats"),
        _measure(f"{split}_mcc", f"Matthews correlation coefficient (multi-class R_K) {what}"),
        _measure(f"{split}_f1", f"F1, unweighted mean over classes, {what}", "fraction"),
        _measure(f"{split}_precision", f"precision, unweighted mean over classes, {what}", "fraction"),
        _measure(f"{split}_recall", f"recall, unweighted mean over classes, {what}", "fraction"),
        _measure(f"{split}_auroc", f"area under the ROC curve; over two classes, mean of one against rest; {what}"),
        _measure(
            f"{split}_confusion",
            f"counts [true class][predicted class] {what}",
            "examples",
            pa.list_(pa.list_(pa.int64())),
        ),
    ]


_IDENTITY = [
    _field("run_id", pa.string(), "digest of all that determines the run's result"),
    _field(
        "setting_id",
        pa.string(),
        "digest of the same less initialisation, weights and seed: the runs of one "
        "setting are the two arms of a comparison, paired by seed",
    ),
    _field("study", pa.string(), "name of the study"),
    _field("model", pa.string(), "name of the model size"),
    _field("dataset", pa.string(), "name of the data set"),
    _field("init", pa.string(), f"initialisation: one of {', '.join(INITIALISATIONS)}"),
    _field("seed", pa.int64(), "seed of head initialisation, data order, augmentation and dropout (named streams)"),
    _field("epochs", pa.int32(), "epochs that the run is trained for", "epochs"),
    _field(
        "trainable_parameters",
        pa.int64(),
        "trainable parameters of the size, the head included (the frozen arm trains the head only)",
        "parameters",
    ),
]

#: What a study asks for; written before the first run starts.
PLAN = pa.schema(_IDENTITY)

#: One row a run that ended.
RUNS = pa.schema(
    [
        *_IDENTITY,
        _field("schema_version", pa.int32(), "version of these tables"),
        _field("status", pa.string(), f"one of {', '.join(STATUSES)}"),
        _field("failure", pa.string(), "why the run failed; null when it is done", nullable=True),
        # what determines the result
        _field("d_model", pa.int32(), "width of the model", "channels"),
        _field("n_layer", pa.int32(), "depth of the model", "layers"),
        _field("l_max", pa.int32(), "longest input the filters are defined for", "positions"),
        _field("data_digest", pa.string(), "SHA-256 of the data set's tokens and labels"),
        _field("num_classes", pa.int32(), "classes of the data set"),
        _field("train_examples", pa.int64(), "examples trained on", "examples"),
        _field("validation_examples", pa.int64(), "examples held out of training for choices", "examples"),
        _field("test_examples", pa.int64(), "examples of the test split", "examples"),
        _field("weights_digest", pa.string(), "SHA-256 of the pretrained tensors; null for scratch", nullable=True),
        _field("split_seed", pa.int64(), "seed of the cut between training and validation"),
        _field("batch_size", pa.int32(), "sequences per optimisation step", "sequences"),
        _field("learning_rate", pa.float64(), "peak learning rate"),
        _field("final_learning_rate", pa.float64(), "learning rate at the end of the cosine"),
        _field("warmup_learning_rate", pa.float64(), "learning rate of the first step"),
        _field("warmup_fraction", pa.float64(), "share of all steps spent in the linear warm-up", "fraction"),
        _field("weight_decay", pa.float64(), "AdamW weight decay (0 on the implicit filter's parameters)"),
        _field("gradient_clip", pa.float64(), "largest gradient norm; larger ones are scaled down to it"),
        _field("max_length", pa.int32(), "length that every sequence is padded or cut to", "positions"),
        _field("padding", pa.string(), "side of the padding: left (as published) or right"),
        _field("pooling", pa.string(), "positions that the head averages: all (as published) or real"),
        _field(
            "reverse_complement", pa.float64(), "probability of reverse-complementing a training sequence", "fraction"
        ),
        _field("batching", pa.string(), "shuffled, or like_length: batches of sequences of like length, cut to it"),
        _field("split", pa.string(), "official, or regroup: cut anew so that no overlapping sequences face each other"),
        _field("validation_fraction", pa.float64(), "share of the training split cut off for validation", "fraction"),
        _field(
            "train_fraction", pa.float64(), "share of the rest that is trained on, nested by split_seed", "fraction"
        ),
        _field("precision", pa.string(), "arithmetic of matrix products: float32 or bfloat16"),
        # what came out
        *_scores("validation"),
        *_scores("test"),
        _measure(
            "best_epoch",
            "epoch with the highest validation accuracy (the first of equals), from 1",
            "epoch",
            pa.int32(),
        ),
        _measure("best_epoch_test_accuracy", "test accuracy at best_epoch: never chosen on the test split", "fraction"),
        # what it cost and where
        _measure("train_s", "time in training epochs, evaluation not included", "s"),
        _measure("evaluate_s", "time in evaluation", "s"),
        _measure("examples_per_s", "training examples per second of train_s", "examples/s"),
        _measure(
            "peak_memory_bytes",
            "peak memory of the accelerator's allocator, or on a CPU the resident memory of the worker process",
            "bytes",
            pa.int64(),
        ),
        _field("gpu_fraction", pa.float64(), "share of one GPU given to the run; 0 on a CPU", "fraction"),
        _field("cpus", pa.float64(), "CPU cores given to the run", "cores"),
        _field(
            "concurrent_runs",
            pa.int32(),
            "runs that the same accelerator (on a CPU: the same node) could hold at once",
            "runs",
        ),
        _field(
            "stacked_runs", pa.int32(), "runs of the cell that were trained as one model, this one included", "runs"
        ),
        _field("device", pa.string(), "name of the accelerator or the CPU"),
        _field("host", pa.string(), "name of the node"),
        _field("versions", pa.map_(pa.string(), pa.string()), "versions of Python and of the packages that matter"),
        _field("commit", pa.string(), "commit of the project's code; null where it is unknown", nullable=True),
        _field("started_at", pa.timestamp("ms", tz="UTC"), "when the run started (or was last taken up again)"),
        _field("finished_at", pa.timestamp("ms", tz="UTC"), "when the run ended"),
    ]
)

#: One row per run and epoch.
EPOCHS = pa.schema(
    [
        _field("run_id", pa.string(), "the run"),
        _field("epoch", pa.int32(), "epoch, from 1", "epoch"),
        _field("learning_rate", pa.float64(), "learning rate of the epoch's last step"),
        _field(
            "train_loss",
            pa.float64(),
            "mean cross-entropy over the epoch's own training batches (dropout and augmentation on)",
            "nats",
        ),
        _field("train_accuracy", pa.float64(), "accuracy over the same batches", "fraction"),
        _measure(
            "validation_loss",
            "mean cross-entropy on validation after the epoch; null without a validation split",
            "nats",
        ),
        _measure("validation_accuracy", "accuracy on validation after the epoch", "fraction"),
        _field("test_loss", pa.float64(), "mean cross-entropy on test after the epoch", "nats"),
        _field("test_accuracy", pa.float64(), "accuracy on test after the epoch", "fraction"),
        _field("train_s", pa.float64(), "time in training steps", "s"),
        _field("evaluate_s", pa.float64(), "time in evaluation", "s"),
    ]
)

#: One row per run and test example, after the last epoch.
PREDICTIONS = pa.schema(
    [
        _field("run_id", pa.string(), "the run"),
        _field("example", pa.int32(), "index into the test split"),
        _field("label", pa.int16(), "true class"),
        _field("logits", pa.list_(pa.float32()), "one logit a class"),
    ]
)

#: One row per logged step of a pretraining.
PRETRAINING = pa.schema(
    [
        _field("model", pa.string(), "name of the model size"),
        _field("weights_key", pa.string(), "digest of all that determines the weights"),
        _field("step", pa.int32(), "optimisation steps done", "steps"),
        _field("tokens", pa.int64(), "nucleotides seen", "tokens"),
        _field(
            "train_bits_per_base", pa.float64(), "mean next-nucleotide loss since the last logged step", "bits/base"
        ),
        _measure(
            "validation_bits_per_base",
            "next-nucleotide loss on held-out sequence; null between evaluations",
            "bits/base",
        ),
        _field("seconds", pa.float64(), "time since the start of the pretraining", "s"),
    ]
)
