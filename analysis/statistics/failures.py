"""Failed runs are not missing at random: the comparison with each of them counted at chance.

A run that diverges or dies is left out of the estimates, which flatters the arm that fails more often. Here it counts
as a model that learnt nothing. Next: `analysis/statistics/robustness.py`, which estimates from it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from analysis.results import Results
from analysis.statistics.pairs import Comparison, compare


@dataclass(frozen=True)
class Failures:
    """`treated`, `control`: failed runs of each arm. `comparison`: the same one with them at chance."""

    treated: int
    control: int
    comparison: Comparison


def failures(results: Results, comparison: Comparison) -> Failures | None:
    """The failed runs of a comparison of test accuracies; None without any.

    Chance is the share of the largest class in the test split, by a confusion matrix of the data set, or one over the
    number of classes where no run has a matrix.
    """
    settings = comparison.cells["setting_id"].to_list()
    concerned = pl.col("setting_id").is_in(settings) & pl.col("init").is_in(comparison.arms)
    failed = results.failed.filter(concerned)
    if failed.is_empty() or comparison.outcome != "test_accuracy":
        return None
    filled = results.runs.join(_chance(results), on="dataset", how="left", maintain_order="left")
    at_chance = pl.coalesce("chance", 1 / pl.col("num_classes"))
    is_failed = (pl.col("status") == "failed") & concerned
    filled = filled.with_columns(
        pl.when(is_failed).then(at_chance).otherwise("test_accuracy").alias("test_accuracy"),
        pl.when(is_failed).then(pl.lit("done")).otherwise("status").alias("status"),
    ).drop("chance")
    counts = [failed.filter(pl.col("init") == arm).height for arm in comparison.arms]
    again = compare(
        replace(results, runs=filled), comparison.outcome, comparison.epochs, comparison.variant, comparison.arms
    )
    return Failures(counts[0], counts[1], again)


def _chance(results: Results) -> pl.DataFrame:
    """dataset, chance: the largest class's share of the test examples."""
    matrices = results.done.select("dataset", "test_confusion").drop_nulls().unique("dataset", maintain_order=True)
    of_class = pl.col("test_confusion").list.eval(pl.element().list.sum())
    return matrices.select("dataset", (of_class.list.max() / of_class.list.sum()).alias("chance"))
