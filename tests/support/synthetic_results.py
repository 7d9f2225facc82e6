"""Results of a study that never ran, with a known truth: what the tests and benchmarks of the report read.

Accuracy of a run = level of its data set + slope per tenfold parameters + the arm's benefit + an effect of the seed
that both arms share + noise of its own. Every table is written through `sweep/schema.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sweep.schema import EPOCHS, PLAN, PREDICTIONS, PRETRAINING, RUNS, SCHEMA_VERSION

MODELS = {"hyenadna-tiny-1k": 436_000, "hyenadna-small-32k": 3_300_000, "hyenadna-medium-160k": 6_600_000}
DATASETS = {"human_enhancers_cohn": 0.72, "human_enhancers_ensembl": 0.87, "human_ocr_ensembl": 0.76}
START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Truth:
    """What the synthetic study is made of; accuracies are fractions, benefits percentage points."""

    models: dict[str, int] = field(default_factory=lambda: dict(MODELS))
    datasets: dict[str, float] = field(default_factory=lambda: dict(DATASETS))
    inits: tuple[str, ...] = ("pretrained", "scratch")
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    epochs: tuple[int, ...] = (10,)
    benefit: Callable[[int, int], float] = lambda parameters, dataset: 1.0 + 0.8 * (np.log10(parameters) - 6)
    shared_sd: float = 0.3
    noise_sd: float = 0.4
    test_examples: int = 400
    learning_rates: tuple[float, ...] = (6e-4,)
    analysis: dict[str, Any] = field(default_factory=lambda: {"margin": 0.5, "epochs": None})
    random_state: int = 7


def plan_rows(truth: Truth) -> list[dict[str, Any]]:
    """One row a run: the identity columns, and the hyperparameters under `_`."""
    rows = []
    for model, parameters in truth.models.items():
        for dataset in truth.datasets:
            for epochs in truth.epochs:
                for rate in truth.learning_rates:
                    setting = f"{model}-{dataset}-{epochs}-{rate:g}"
                    rows += [
                        {
                            "run_id": f"{setting}-{init}-{seed}".replace("/", "-"),
                            "setting_id": setting,
                            "study": "synthetic",
                            "model": model,
                            "dataset": dataset,
                            "init": init,
                            "corpus": "published" if init != "scratch" else None,
                            "pretraining_seed": None,
                            "seed": seed,
                            "epochs": epochs,
                            "trainable_parameters": parameters,
                            "_learning_rate": rate,
                        }
                        for init in truth.inits
                        for seed in truth.seeds
                    ]
    return rows


def write_results(
    folder: Path,
    truth: Truth | None = None,
    *,
    missing: Callable[[dict[str, Any]], bool] = lambda row: False,
    fails: Callable[[dict[str, Any]], bool] = lambda row: False,
    predictions: bool = True,
    changes: Callable[[dict[str, Any]], dict[str, Any]] = lambda row: {},
) -> Path:
    """Write a whole results folder; `missing` and `fails` choose runs, `changes` overrides columns of a run's row."""
    truth = truth or Truth()
    rng = np.random.default_rng(truth.random_state)
    for table in ("runs", "epochs", "predictions", "pretraining"):
        (folder / table).mkdir(parents=True, exist_ok=True)
    study = {"name": "synthetic", "description": "A study that never ran.", "analysis": truth.analysis}
    (folder / "study.json").write_text(json.dumps(study))
    rows = plan_rows(truth)
    pq.write_table(pa.Table.from_pylist(rows, PLAN), folder / "plan.parquet")
    shared = {(row["setting_id"], row["seed"]): rng.normal(0, truth.shared_sd) for row in rows}
    for row in rows:
        noise = rng.normal(0, truth.noise_sd)
        if missing(row):
            continue
        accuracy = _accuracy(truth, row, shared[row["setting_id"], row["seed"]] + noise)
        record = run_row(truth, row, accuracy, failed=fails(row)) | changes(row)
        if record["status"] == "done":
            write_table(folder / "epochs", row["run_id"], epoch_rows(row, accuracy, rng), EPOCHS)
            if predictions:
                correct, labels, logits = _predictions(truth, row, accuracy, rng)
                columns = {
                    "run_id": pa.array([row["run_id"]] * len(labels)),
                    "example": pa.array(np.arange(len(labels)), pa.int32()),
                    "label": pa.array(labels, pa.int16()),
                    "logits": pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), 2).cast(
                        pa.list_(pa.float32())
                    ),
                }
                pq.write_table(pa.table(columns, PREDICTIONS), folder / "predictions" / f"{row['run_id']}.parquet")
                record["test_accuracy"] = float(correct.mean())
                record["test_confusion"] = _confusion(labels, logits.argmax(1))
        write_table(folder / "runs", row["run_id"], [record], RUNS)
    for model in truth.models:
        write_table(folder / "pretraining", model, pretraining_rows(model), PRETRAINING)
    return folder


def write_table(folder: Path, name: str, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / f"{name}.parquet")


def _accuracy(truth: Truth, row: dict[str, Any], noise_points: float) -> float:
    dataset = list(truth.datasets).index(row["dataset"])
    level = truth.datasets[row["dataset"]] + 0.01 * (np.log10(row["trainable_parameters"]) - 6)
    benefit = truth.benefit(row["trainable_parameters"], dataset) if row["init"] == "pretrained" else 0.0
    return float(np.clip(level + (benefit + noise_points) / 100, 0.01, 0.99))


def _predictions(truth: Truth, row: dict[str, Any], accuracy: float, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Correct where an example's difficulty, the same for every run, is small enough."""
    n = truth.test_examples
    fixed = np.random.default_rng(list(truth.datasets).index(row["dataset"]))
    difficulty, labels = fixed.random(n), np.arange(n) % 2
    order = np.argsort(difficulty + rng.normal(0, 0.15, n))
    correct = np.zeros(n, bool)
    correct[order[: round(accuracy * n)]] = True
    chosen = np.where(correct, labels, 1 - labels)
    logits = np.zeros((n, 2), np.float32)
    logits[np.arange(n), chosen] = rng.uniform(0.1, 3, n)
    return correct, labels, logits


def _confusion(labels: np.ndarray, chosen: np.ndarray) -> list[list[int]]:
    return [[int(((labels == true) & (chosen == guess)).sum()) for guess in (0, 1)] for true in (0, 1)]


def epoch_rows(row: dict[str, Any], accuracy: float, rng: np.random.Generator) -> list[dict[str, Any]]:
    pace = 2.0 if row["init"] == "pretrained" else 4.0
    rows = []
    for epoch in range(1, row["epochs"] + 1):
        progress = 1 - np.exp(-epoch / pace)
        last = epoch == row["epochs"]
        test = accuracy if last else accuracy - (accuracy - 0.5) * (1 - progress) * 0.6 + rng.normal(0, 0.003)
        rows.append(
            {
                "run_id": row["run_id"],
                "epoch": epoch,
                "learning_rate": row["_learning_rate"] * (1 - epoch / (row["epochs"] + 1)),
                "train_loss": 0.7 - 0.3 * progress,
                "train_accuracy": float(np.clip(test + 0.02, 0, 1)),
                "validation_loss": 0.7 - 0.25 * progress,
                "validation_accuracy": float(np.clip(test + rng.normal(0, 0.003), 0, 1)),
                "test_loss": 0.7 - 0.25 * progress,
                "test_accuracy": float(np.clip(test, 0, 1)),
                "train_s": 3.0,
                "evaluate_s": 0.5,
            }
        )
    return rows


def run_row(truth: Truth, row: dict[str, Any], accuracy: float, *, failed: bool) -> dict[str, Any]:
    identity = {name: row[name] for name in PLAN.names}
    started = START + timedelta(minutes=row["seed"] % 60)
    record: dict[str, Any] = identity | {
        "schema_version": SCHEMA_VERSION,
        "status": "failed" if failed else "done",
        "failure": "out of memory: 2.1 GiB asked for, 1.3 GiB free" if failed else None,
        "d_model": 128,
        "n_layer": 2,
        "l_max": 1026,
        "data_digest": f"digest-of-{row['dataset']}",
        "num_classes": 2,
        "train_examples": 20_000,
        "validation_examples": 2_000,
        "test_examples": truth.test_examples,
        "weights_digest": f"weights-of-{row['model']}" if row["init"] == "pretrained" else None,
        "split_seed": 0,
        "batch_size": 256,
        "learning_rate": row["_learning_rate"],
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
        "validation_fraction": 0.1,
        "train_fraction": 1.0,
        "precision": "float32",
        "gpu_fraction": 0.25,
        "cpus": 1.0,
        "concurrent_runs": 4,
        "stacked_runs": 1,
        "device": "NVIDIA A100-SXM4-40GB",
        "host": "node-1",
        "versions": [("python", "3.11.9"), ("torch", "2.11.0")],
        "commit": "0123456789abcdef",
        "started_at": started,
        "finished_at": started + timedelta(minutes=5),
    }
    if failed:
        return record
    train_s = 3.0 * row["epochs"] * (row["trainable_parameters"] / 436_000) ** 0.5
    return (
        record
        | scores(accuracy)
        | {
            "best_epoch": row["epochs"],
            "train_s": train_s,
            "evaluate_s": 5.0,
            "examples_per_s": 20_000 * row["epochs"] / train_s,
            "peak_memory_bytes": 2_000_000_000,
        }
    )


def scores(accuracy: Any) -> dict[str, Any]:
    """The scores of a run that follow from its accuracy: a number, or an expression over many runs."""
    found: dict[str, Any] = {"best_epoch_test_accuracy": accuracy}
    for split in ("validation", "test"):
        found |= {f"{split}_{name}": accuracy for name in ("accuracy", "f1", "precision", "recall")}
        found |= {f"{split}_mcc": 2 * accuracy - 1, f"{split}_loss": 1 - accuracy, f"{split}_auroc": accuracy + 0.005}
    return found


def pretraining_rows(model: str, seed: int | None = None, step_seconds: float = 0.1) -> list[dict[str, Any]]:
    return [
        {
            "model": model,
            "pretraining_seed": seed,
            "weights_key": f"key-of-{model}-{seed}",
            "step": step,
            "tokens": step * 65_536,
            "train_bits_per_base": 1.9 + 0.1 * np.exp(-step / 300),
            "validation_bits_per_base": 1.91 + 0.09 * np.exp(-step / 300) if step % 200 == 0 else None,
            "seconds": step * step_seconds,
        }
        for step in range(100, 2_001, 100)
    ]
