"""Tables over epochs and over time: learning curves, epochs to target, training time, the course of pretraining.

Next: `analysis/page/curves_section.py` and `analysis/page/cost_section.py`.
"""

from __future__ import annotations

import polars as pl
from scipy import stats

from analysis.results import Results
from analysis.statistics.pairs import Comparison

#: Least number of runs for a band; with fewer, each run is drawn.
ENOUGH_FOR_BANDS = 5


def curve_table(results: Results, comparison: Comparison) -> pl.DataFrame:
    """Test accuracy (%) by epoch: rows with mean, low, high and n per cell and epoch, and rows with run and value.

    Band: pointwise 95 % t interval of the mean over the runs of a cell (its own spread). A cell with fewer than five
    runs has rows of single runs instead.

    Columns: setting_id, dataset, size, parameters, init, epoch, mean, low, high, n, run, value; `run` numbers the runs
    of an arm, of which several can have the same seed.
    """
    names = ("setting_id", "dataset", "size", "parameters", "init")
    number = pl.col("run_id").rank("dense").over("setting_id", "init").cast(pl.Int64)
    runs = comparison.runs.select("run_id", *names, number.alias("run"))
    rows = results.epochs.select("run_id", "epoch", (pl.col("test_accuracy") * 100).alias("value"))
    rows = rows.join(runs, on="run_id").drop_nulls("value").with_columns(pl.col("epoch").cast(pl.Int64))
    grouped = rows.group_by(*names, "epoch").agg(
        pl.col("value").mean().alias("mean"), pl.col("value").std().alias("sd"), pl.len().cast(pl.Int64).alias("n")
    )
    quantile = {int(n): float(stats.t.ppf(0.975, n - 1)) for n in grouped["n"].unique() if n >= ENOUGH_FOR_BANDS}
    reach = (
        pl.col("n").replace_strict(quantile, default=None, return_dtype=pl.Float64) * pl.col("sd") / pl.col("n").sqrt()
    )
    means = grouped.with_columns((pl.col("mean") - reach).alias("low"), (pl.col("mean") + reach).alias("high")).drop(
        "sd"
    )
    few = rows.filter(pl.col("run_id").n_unique().over("setting_id", "init") < ENOUGH_FOR_BANDS).drop("run_id")
    table = pl.concat([means, few], how="diagonal_relaxed")
    return table.sort("dataset", "parameters", "size", "init", "run", "epoch", nulls_last=True)


def milestones(last: int, most: int = 6) -> list[int]:
    """At most `most` epochs from 1 to `last`, evenly spread, both ends included: the columns of a table.

    >>> milestones(3), milestones(100)
    ([1, 2, 3], [1, 21, 41, 60, 80, 100])
    """
    count = min(most, last)
    return sorted({1 + round(index * (last - 1) / max(count - 1, 1)) for index in range(count)})


def epochs_to_target(curves: pl.DataFrame, comparison: Comparison) -> pl.DataFrame:
    """First epoch at which each arm reaches the control arm's last accuracy: descriptive, on the mean curves of a cell.

    Columns: dataset, size, target (the control's mean accuracy after its last epoch, %), treated_epoch and
    control_epoch (first epoch at which the arm's mean curve is at or above the target; null if never).
    """
    table = curves.drop_nulls("mean")
    treated, control = comparison.arms
    last = table.filter((pl.col("init") == control) & (pl.col("epoch") == (comparison.epochs or 0)))
    targets = last.select("setting_id", "dataset", "size", "parameters", pl.col("mean").alias("target"))
    reached = table.join(targets.select("setting_id", "target"), on="setting_id").filter(
        pl.col("mean") >= pl.col("target")
    )
    first = reached.group_by("setting_id", "init").agg(pl.col("epoch").min())
    for arm, name in ((treated, "treated_epoch"), (control, "control_epoch")):
        one = first.filter(pl.col("init") == arm).select("setting_id", pl.col("epoch").alias(name))
        targets = targets.join(one, on="setting_id", how="left")
    present = table.filter(pl.col("init") == treated)["setting_id"].unique().to_list()
    return (
        targets.filter(pl.col("setting_id").is_in(present))
        .sort("dataset", "parameters")
        .drop("setting_id", "parameters")
    )


def cost_table(results: Results, comparison: Comparison) -> pl.DataFrame:
    """Mean training time (minutes) and accuracy (%) per cell and arm, over the runs that record their time.

    Columns: dataset, size, parameters, init, minutes, accuracy, runs, label (the size, on the less accurate arm only).
    """
    times = results.done.select("run_id", "train_s", "device", "concurrent_runs")
    rows = comparison.runs.join(times, on="run_id").drop_nulls("train_s").filter(pl.col("train_s") > 0)
    lower = pl.struct("accuracy", "init").rank("ordinal").over("dataset", "size") == 1
    return (
        rows.group_by("dataset", "size", "parameters", "init")
        .agg(
            (pl.col("train_s").mean() / 60).alias("minutes"),
            pl.col("value").mean().alias("accuracy"),
            pl.len().cast(pl.Int64).alias("runs"),
        )
        .with_columns(pl.when(lower).then("size").alias("label"))
        .sort("dataset", "parameters", "init")
    )


def price_table(results: Results, comparison: Comparison, costs: pl.DataFrame) -> pl.DataFrame:
    """Minutes by size: of one fine-tuning run (mean over data sets and arms) and of its pretraining where known.

    costs: the rows of `cost_table`. Columns: size, parameters, minutes, pretraining_minutes (of one pretraining, the
    mean of them; null where the study did not pretrain the weights itself).
    """
    mean = costs.group_by("size", "parameters").agg(pl.col("minutes").mean())
    names = comparison.cells.select("model", "size").unique()
    of_each = results.pretraining.group_by("model", "weights_key").agg(pl.col("seconds").max() / 60)
    took = of_each.group_by("model").agg(pl.col("seconds").mean().alias("pretraining_minutes"))
    took = took.join(names, on="model").select("size", "pretraining_minutes")
    return mean.join(took, on="size", how="left").sort("parameters", "size")


def pretraining_table(results: Results) -> pl.DataFrame:
    """The logged steps of each pretraining, in the order of models and of the seeds of their pretrainings.

    Columns: model, pretraining_seed, weights_key, step, tokens, train and validation bits per base, seconds.
    """
    return results.pretraining.sort("model", "pretraining_seed", "weights_key", "step").select(
        "model", "pretraining_seed", "weights_key",
        "step", "tokens", "train_bits_per_base", "validation_bits_per_base", "seconds",
    )  # fmt: skip


def pretraining_ends(steps: pl.DataFrame) -> pl.DataFrame:
    """The last value of each column of `pretraining_table`, one row per pretraining, without its key."""
    return (
        steps.group_by("model", "pretraining_seed", "weights_key", maintain_order=True)
        .agg(
            pl.col("step").last(),
            pl.col("tokens").last(),
            pl.col("train_bits_per_base").last(),
            pl.col("validation_bits_per_base").drop_nulls().last(),
            pl.col("seconds").last(),
        )
        .drop("weights_key")
    )
