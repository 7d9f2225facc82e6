"""Failed runs counted at chance: a bound on what leaving them out can do to the answer.

Runs do not fail at random (a size may run out of memory, or diverge, in one arm only), so that the mean of those that
are done can be too favourable. The comparison made here gives every failed run of both arms the accuracy of always
predicting the largest class. Next: `analysis/statistics/estimates.py`, which estimates from any comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from analysis.results import Results
from analysis.statistics.pairs import Comparison, compare


@dataclass(frozen=True)
class FailuresAtChance:
    """`comparison`: of all runs that ended, the failed ones at chance; `n_treated`, `n_control`: failed runs an arm."""

    comparison: Comparison
    n_treated: int
    n_control: int


def failures_at_chance(results: Results, comparison: Comparison) -> FailuresAtChance | None:
    """The comparison with every failed run of its epochs and hyperparameters at chance; None where no run failed.

    Chance is the largest class's share of the test examples, from any confusion matrix of the data set, or 1 / number
    of classes where there is none. Estimand: Δ if failing means learning nothing. A seed that failed in one arm becomes
    a pair; one that failed in both has Δ = 0. Only for test accuracy: raises ValueError for another outcome.
    """
    if comparison.outcome != "test_accuracy":
        raise ValueError(f"failed runs have no {comparison.outcome} at chance; the outcome must be test_accuracy")
    of_comparison = comparison.cells.select("setting_id")
    failed = results.failed.filter(pl.col("init").is_in(comparison.arms)).join(
        of_comparison, on="setting_id", how="semi"
    )
    if failed.is_empty():
        return None
    chance = failed.join(_largest_shares(results), on="dataset", how="left").select(
        "run_id", pl.coalesce("share", 1 / pl.col("num_classes")).alias("chance")
    )
    # in the order that they had, because groups are named by the first run of each setting
    runs = results.runs.join(chance, on="run_id", how="left", maintain_order="left").with_columns(
        pl.coalesce("chance", "test_accuracy").alias("test_accuracy"),
        pl.when(pl.col("chance").is_not_null()).then(pl.lit("done")).otherwise("status").alias("status"),
    )
    everything = replace(results, runs=runs.drop("chance"))
    bound = compare(everything, comparison.outcome, comparison.epochs, comparison.variant, comparison.arms)
    treated, control = (failed.filter(pl.col("init") == arm).height for arm in comparison.arms)
    return FailuresAtChance(bound, treated, control)


def _largest_shares(results: Results) -> pl.DataFrame:
    """The largest class's share of the test examples of each data set that has a confusion matrix: dataset, share."""
    classes = pl.col("test_confusion").list.eval(pl.element().list.sum())
    known = results.done.select("dataset", classes.list.max() / classes.list.sum()).drop_nulls()
    return known.group_by("dataset").agg(pl.col("test_confusion").first().alias("share"))
