"""Comparisons for the tests of the statistics: from a synthetic study, or from differences given by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from analysis.results import Results, load
from analysis.statistics.pairs import Comparison, compare
from tests.support.synthetic_results import Truth, write_results

TWO_BY_TWO = Truth(
    models={"net-a": 1_000, "net-b": 100_000},
    datasets={"alpha": 0.7, "beta": 0.8},
    seeds=(1, 2, 3),
    epochs=(2,),
    test_examples=300,
)

#: {(data set, model): [Δ of each pair]}, for `by_hand`.
BALANCED = {
    ("a", "s"): [1.0, 2.0, 3.0],
    ("a", "l"): [3.0, 4.0, 5.0],
    ("b", "s"): [0.0, 1.0, 2.0],
    ("b", "l"): [4.0, 6.0, 8.0],
}


def from_study(folder: Path, truth: Truth = TWO_BY_TWO, **options: Any) -> tuple[Results, Comparison]:
    """Results written to `folder / "results"` and read again, and their comparison."""
    results = load(write_results(folder / "results", truth, **options))
    return results, compare(results)


def from_shares(folder: Path) -> Results:
    """A study that varies the share of the training data alone: 1 %, 10 % and all of it."""
    shares = {1e-3: 1.0, 1e-4: 0.1, 1e-5: 0.01}  # a learning rate stands for each share in the synthetic plan

    def changes(row: dict[str, Any]) -> dict[str, Any]:
        share = shares[row["_learning_rate"]]
        return {"learning_rate": 1e-3, "train_fraction": share, "train_examples": int(20_000 * share)}

    truth = Truth(
        models={"tiny": 1_000},
        datasets={"alpha": 0.7, "beta": 0.8},
        seeds=(1, 2, 3),
        epochs=(2,),
        learning_rates=tuple(shares),
    )
    return load(write_results(folder, truth, predictions=False, changes=changes))


def crossed(results: Results, pretrainings: Sequence[str], gains: Sequence[float]) -> Results:
    """The results with every pretrained run once from each pretraining; `gains`: points added to its accuracy."""
    is_pretrained = pl.col("init") == "pretrained"
    copies = [
        results.runs.filter(is_pretrained).with_columns(
            run_id=pl.format("{}-{}", "run_id", pl.lit(name)),
            weights_digest=pl.lit(name),
            test_accuracy=pl.col("test_accuracy") + gain / 100,
        )
        for name, gain in zip(pretrainings, gains, strict=True)
    ]
    return replace(results, runs=pl.concat([results.runs.filter(~is_pretrained), *copies]))


def by_hand(
    differences: Mapping[tuple[str, str], Sequence[float]],
    parameters: Mapping[str, int] | None = None,
    control: float = 70.0,
    weights: Callable[[str, int], tuple[int, str | None]] = lambda model, place: (place, None),
) -> Comparison:
    """A paired comparison from {(data set, model): [Δ of each pair]}.

    weights: seed and pretraining of a model's pair, by its place in the list.
    """
    models = list(dict.fromkeys(model for _, model in differences))
    parameters = parameters or {model: 10 ** (3 + index) for index, model in enumerate(models)}
    rows = [
        {"setting_id": f"{dataset}/{model}", "dataset": dataset, "model": model, "size": model,
         "parameters": parameters[model], "seed": seed, "pretraining": pretraining, "difference": value,
         "treated": control + value, "control": control}
        for (dataset, model), values in differences.items()
        for place, value in enumerate(values)
        for seed, pretraining in [weights(model, place)]
    ]  # fmt: skip
    pairs = pl.DataFrame(rows, schema_overrides={"pretraining": pl.String})
    runs = pairs.with_columns(run_id=pl.format("{}/{}", "setting_id", "seed"), init=pl.lit("pretrained"))
    keys = ("setting_id", "dataset", "model", "size", "parameters")
    cells = pairs.group_by(keys, maintain_order=True).agg(pl.col("difference").mean().alias("effect"))
    cells = cells.with_columns(
        pl.lit(None, pl.String).alias("reason"), l_max=pl.lit(None, pl.Int64), n_treated=2, n_control=2
    ).sort("dataset", "parameters")
    return Comparison(
        "test_accuracy", "points", ("pretrained", "scratch"), 10, "", ("",), cells, runs, pairs, True, "", None
    )
