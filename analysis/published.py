"""The 36 runs published in 2024, in this project's tables: a reference study that the report can re-analyse.

Source: M. Badici, "Evaluation of the effect of pre-training on HyenaDNA models of varying sizes on genomic sequence
classification tasks" (2024), repository marcobadici/hyenadna_pretraining_eval, its per-epoch accuracy files (not its
metric tables, whose rows are swapped for three data sets). The numbers are in `badici2024.csv`, one row per run.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

import polars as pl
import pyarrow as pa

from analysis.results import Results, ResultsError
from sweep.schema import EPOCHS, PLAN, PRETRAINING, RUNS, SCHEMA_VERSION

#: Names that `--published` takes.
PUBLISHED = ("badici2024",)

#: Trainable parameters with a head of two classes.
_PARAMETERS = {"hyenadna-tiny-1k-seqlen": 436_354, "hyenadna-large-1m-seqlen": 6_551_042}

#: Means that no seed was set: the pretrained runs. It matches no scratch seed (22, 42, 2222).
NO_SEED = -1

CAVEATS = (
    "Each pretrained cell was run once, with no seed set: the spread of that arm is unknown and is assumed to equal "
    "that of scratch.",
    "If pretrained runs varied three times as much as scratch runs, the 95 % interval of growth would cover the truth "
    "in 56 % of studies only (20,000 simulated ones).",
    "Reverse-complement augmentation was applied, at random, to the test set too.",
    "There was no validation split; best-epoch figures are chosen on the test set and are optimistic for both arms (by "
    "0.29 points for pretrained and 0.07 for scratch at 15 epochs).",
    "The optimiser stepped once more after each evaluation, with stale gradients.",
    "Class numbers came from unsorted directory listings, separately for train and test.",
    "Padding positions were averaged into the pooled vector.",
    "Size is confounded with the context length of pretraining and with depth.",
    "The 50-epoch runs (tiny-1k, pretrained only) have no scratch arm, so nothing can be estimated from them.",
)

SOURCE = (
    "M. Badici, Evaluation of the effect of pre-training on HyenaDNA models of varying sizes on genomic sequence "
    "classification tasks (2024), github.com/marcobadici/hyenadna_pretraining_eval, accuracies after each epoch"
)

_PROTOCOL: dict[str, object] = {
    "batch_size": 256,
    "learning_rate": 6e-4,
    "final_learning_rate": 6e-5,
    "warmup_learning_rate": 1e-6,
    "warmup_fraction": 0.01,
    "weight_decay": 0.1,
    "gradient_clip": 1.0,
    "max_length": 500,
    "padding": "left",
    "pooling": "all",
    "reverse_complement": 0.5,
    "batching": "shuffled",
    "split": "official",
    "validation_fraction": 0.0,
    "train_fraction": 1.0,
    "num_classes": 2,
}


def load(name: str = "badici2024") -> Results:
    """The published runs as Results; unknown columns are null. Raises ResultsError for a name not in PUBLISHED.

    `runs` carries one more column, `best_test_accuracy_of_any_epoch`: the figure as it was first reported, selected on
    the test set.
    """
    if name not in PUBLISHED:
        raise ResultsError(f"no published study {name!r}; there is: {', '.join(PUBLISHED)}")
    published = list(_published_runs())
    rows = [one.row() for one in published]
    plan = pl.DataFrame([{column: row[column] for column in PLAN.names} for row in rows], schema=_schema(PLAN))
    runs = pl.DataFrame(rows, schema={**_schema(RUNS), "best_test_accuracy_of_any_epoch": pl.Float64})
    epochs = [
        {"run_id": one.run_id, "epoch": number, "test_accuracy": value / 100}
        for one in published
        for number, value in enumerate(one.percent, 1)
    ]
    return Results(
        location=f"published: {name}",
        study={
            "name": "Badici 2024, re-analysed",
            "description": "The published per-epoch accuracies of 36 runs: two sizes of HyenaDNA on four data sets.",
            "source": SOURCE,
            "analysis": {"margin": 0.5, "epochs": 15},
        },
        plan=plan,
        runs=runs,
        epochs=pl.DataFrame(epochs, schema=_schema(EPOCHS)),
        pretraining=pl.DataFrame(PRETRAINING.empty_table()),
    )


@dataclass(frozen=True)
class _PublishedRun:
    """One row of the CSV file; `percent`: test accuracy after each epoch."""

    model: str
    dataset: str
    init: str
    seed: int
    epochs: int
    percent: tuple[float, ...]

    @property
    def setting_id(self) -> str:
        return f"{self.model}, {self.dataset}, {self.epochs} epochs"

    @property
    def run_id(self) -> str:
        return f"{self.setting_id}, {self.init} {self.seed}"

    def row(self) -> dict[str, object]:
        """The columns of RUNS that are known, and the best accuracy of any epoch."""
        return _PROTOCOL | {
            "run_id": self.run_id,
            "setting_id": self.setting_id,
            "study": "badici2024",
            "model": self.model,
            "dataset": self.dataset,
            "init": self.init,
            "corpus": "published" if self.init == "pretrained" else None,
            "pretraining_seed": None,
            "seed": self.seed,
            "epochs": self.epochs,
            "trainable_parameters": _PARAMETERS[self.model],
            "schema_version": SCHEMA_VERSION,
            "status": "done",
            "test_accuracy": self.percent[-1] / 100,
            "best_test_accuracy_of_any_epoch": max(self.percent) / 100,
        }


def _published_runs() -> Iterator[_PublishedRun]:
    text = files("analysis").joinpath("badici2024.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        yield _PublishedRun(
            model=row["model"],
            dataset=row["dataset"],
            init=row["init"],
            seed=int(row["seed"] or NO_SEED),
            epochs=int(row["epochs"]),
            percent=tuple(float(value) for value in row["test_accuracy_percent"].split()),
        )


def _schema(schema: pa.Schema) -> pl.Schema:
    return pl.DataFrame(schema.empty_table()).schema
