"""The sections that show runs rather than estimates: learning curves, every run, accuracy and cost, pretraining.

Next: `analysis/page/charts.py` for the figures, `analysis/statistics/curves.py` for their rows.
"""

from __future__ import annotations

from collections.abc import Callable

import altair as alt
import numpy as np
import polars as pl

from analysis.page import charts
from analysis.page.html import Page, Panel, paragraphs, table, text
from analysis.page.wording import interval, signed
from analysis.results import Results
from analysis.statistics.curves import ENOUGH_FOR_BANDS, cost_table, epochs_to_target, milestones, price_table
from analysis.statistics.estimates import Estimates
from analysis.statistics.pairs import Comparison

#: Rows of single runs that a table under a figure may have.
MOST_ROWS = 1_000
_TOO_MANY = f"More than {MOST_ROWS:,} runs: they stand one a row in runs.parquet, under “Take the numbers away”."


def arms_key(arms: tuple[str, str]) -> str:
    """What colour, dash and shape mean, once for all panels of a figure."""
    path = '<path d="M1 6H33" stroke="currentColor" stroke-width="2.5" fill="none"{}/>'
    line = f'<svg width="34" height="12" aria-hidden="true">{path}{{}}</svg>'
    dot, box = (
        '<circle cx="17" cy="6" r="4" fill="currentColor"/>',
        '<rect x="13" y="2" width="8" height="8" fill="currentColor"/>',
    )
    treated, control = line.format("", dot), line.format(' stroke-dasharray="5 3"', box)
    return (
        f'<ul class="key"><li><span class="treated">{treated}</span>{text(arms[0])}</li>'
        f'<li><span class="control">{control}</span>{text(arms[1])}</li></ul>'
    )


def learning_curves(page: Page, curves: pl.DataFrame, comparison: Comparison) -> str:
    """`curves`: the rows of `curve_table`."""
    if curves.is_empty():
        return ""
    members = []
    for (dataset, size), part in curves.group_by("dataset", "size", maintain_order=True):
        last = part.drop_nulls("mean").group_by("init", maintain_order=True).agg(pl.col("mean").last())
        ends = ", ".join(f"{init} {value:.2f} %" for init, value in last.iter_rows())
        members.append(
            Panel(
                str(dataset),
                str(size),
                part.select("init", "epoch", "mean", "low", "high", "n", "run", "value"),
                f"Learning curves, {dataset}, {size}; last epoch: {ends}",
                *_curve_template(part, comparison.arms),
            )
        )
    caption = (
        "Test accuracy after each epoch: mean over runs, with a pointwise 95 % t band where an arm has "
        f"{ENOUGH_FOR_BANDS} or "
        "more runs and every run as a thin line where it has fewer. Vertical axes differ between panels."
    )
    figure = page.panels("curves", members, caption, _curve_numbers(curves), arms_key(comparison.arms))
    return figure + _targets(curves, comparison)


def _curve_numbers(curves: pl.DataFrame) -> str:
    """Mean accuracy after a few epochs, one row a cell and arm; the download has every epoch."""
    means = curves.drop_nulls("mean")
    if means.is_empty():
        return ""
    epochs = milestones(int(means["epoch"].max()))  # type: ignore[arg-type]
    rows = []
    for (dataset, size, init), part in means.group_by("dataset", "size", "init", maintain_order=True):
        value = dict(part.select("epoch", "mean").iter_rows())
        runs = max(part["n"].to_list())
        shown = (f"{value[epoch]:.2f}" if epoch in value else "–" for epoch in epochs)
        rows.append([dataset, size, init, runs, *shown])
    headers = ["data set", "size", "arm", "runs", *(f"epoch {epoch}" for epoch in epochs)]
    return table(headers, rows, "Mean test accuracy, %, after some epochs", 3)


def _targets(curves: pl.DataFrame, comparison: Comparison) -> str:
    """How many epochs pretraining saves: when its mean curve reaches what the control ends with."""
    found = epochs_to_target(curves, comparison)
    if found.is_empty():
        return ""
    treated, control = comparison.arms
    rows = [
        [
            row["dataset"],
            row["size"],
            f"{row['target']:.2f}",
            row["treated_epoch"] or "never",
            row["control_epoch"] or "never",
        ]
        for row in found.iter_rows(named=True)
    ]
    headers = [
        "data set",
        "size",
        f"{control}'s last accuracy, %",
        f"{treated} reaches it at epoch",
        f"{control} first at epoch",
    ]
    reached = found["treated_epoch"].drop_nulls()
    soon = f", at the median after {np.median(reached):g} of {comparison.epochs} epochs" if len(reached) else ""
    cells = f"{len(reached)} of {found.height} cells{soon}"
    what = (
        f"The mean curve of {treated} reaches what {control} ends with in {cells}. "
        "Descriptive: epochs are read off mean curves, which are noisy, and have no interval."
    )
    return "<h3>Epochs to target</h3>" + paragraphs([what]) + table(headers, rows, "Epochs to target", 2)


def _curve_template(part: pl.DataFrame, arms: tuple[str, str]) -> tuple[str, Callable[[], charts.Chart]]:
    """The template's name, and what draws it: with or without bands and single runs, as the rows have them."""
    bands, raw = part["low"].null_count() < part.height, part["value"].null_count() < part.height
    name = f"curves{'-bands' if bands else ''}{'-runs' if raw else ''}"
    return name, lambda: charts.learning_curve(alt.NamedData("panel"), arms, bands=bands, raw_lines=raw)


def every_run(page: Page, comparison: Comparison) -> str:
    if comparison.runs.is_empty():
        return ""
    runs = comparison.runs.sort("dataset", "parameters", "init", "seed")
    sizes = runs.sort("parameters")["size"].unique(maintain_order=True).to_list()
    members = [
        Panel(
            str(dataset),
            None,
            part.select("size", "init", "seed", "value"),
            f"Accuracy of every run on {dataset}, by size and arm; lines join runs of one seed",
            "pairs",
            lambda: charts.paired_runs(alt.NamedData("panel"), comparison.arms, sizes),
        )
        for (dataset,), part in runs.group_by("dataset", maintain_order=True)
    ]
    note = ""
    if comparison.paired and comparison.correlation is not None:
        note = f" Over seeds, within cells, the two arms correlate by {signed(comparison.correlation)}."
    caption = "Test accuracy of every run after its last epoch." + (
        " A line joins the two runs of one seed." + note if comparison.paired else ""
    )
    rows = [
        [row["dataset"], row["size"], row["init"], row["seed"], f"{row['value']:.2f}"]
        for row in runs.iter_rows(named=True)
    ]
    headers = ["data set", "size", "arm", "seed", "accuracy, %"]
    listing = table(headers, rows, "Every run", 3) if len(rows) <= MOST_ROWS else paragraphs([_TOO_MANY])
    return page.panels("pairs", members, caption, listing, arms_key(comparison.arms))


def worth_the_compute(page: Page, results: Results, estimates: Estimates) -> str:
    """What each arm costs and reaches, what the benefit costs by size, and the pretraining where the study did it."""
    comparison = estimates.comparison
    costs = cost_table(results, comparison)
    if costs.is_empty():
        return ""
    minutes = costs["minutes"].to_list()
    wide = max(minutes) > 5 * min(minutes)
    members = [
        Panel(
            str(dataset),
            None,
            part.select("size", "init", "minutes", "accuracy", "runs", "label"),
            f"Mean accuracy against mean training time by size and arm, {dataset}",
            "cost",
            lambda: charts.cost(alt.NamedData("panel"), comparison.arms, logarithmic=wide),
        )
        for (dataset,), part in costs.group_by("dataset", maintain_order=True)
    ]
    caption = (
        "Mean test accuracy against the mean time of one fine-tuning run (training steps alone; a share of a device is "
        "counted as the run saw it). The time of pretraining itself is not in it."
    )
    rows = [
        [row["dataset"], row["size"], row["init"], f"{row['minutes']:.3g}", f"{row['accuracy']:.2f}", row["runs"]]
        for row in costs.iter_rows(named=True)
    ]
    listing = table(["data set", "size", "arm", "minutes a run", "accuracy, %", "runs"], rows, "Accuracy and time", 3)
    content = page.panels("cost", members, caption, listing, arms_key(comparison.arms))
    content += cost_of_benefit(results, estimates)
    if not results.pretraining.is_empty():
        content += pretraining(page, results)
    return content


def cost_of_benefit(results: Results, estimates: Estimates) -> str:
    """By size: what fine-tuning and pretraining take, and what the pretraining buys."""
    found = price_table(results, estimates.comparison)
    if found.is_empty() or not estimates.sizes:
        return ""
    benefit = {one.size: one for one in estimates.sizes}
    rows = []
    for row in found.iter_rows(named=True):
        one, known = benefit.get(row["size"]), row["pretraining_minutes"] is not None
        rows.append(
            [
                row["size"],
                f"{row['minutes']:.3g}",
                f"{row['pretraining_minutes']:.3g}" if known else "–",
                f"{row['pretraining_minutes'] / row['minutes']:.3g}" if known else "–",
                "–" if one is None else f"{signed(one.effect)} {interval(one)}",
            ]
        )
    known = found["pretraining_minutes"].null_count() < found.height
    what = (
        "Pretraining is paid once a size and serves every data set after; fine-tuning is paid by every run of either "
        "arm."
        + ("" if known else " The weights of this study were taken as they are, so their own price is not known here.")
    )
    unit = estimates.comparison.unit
    headers = [
        "size",
        "minutes of one run",
        "minutes of pretraining",
        "pretraining, in runs",
        f"benefit, {unit} [95 %]",
    ]
    return "<h3>What the benefit costs</h3>" + paragraphs([what]) + table(headers, rows, "What the benefit costs")


def pretraining(page: Page, results: Results) -> str:
    frame = results.pretraining.sort("model", "step").select(
        "model", "step", "tokens", "train_bits_per_base", "validation_bits_per_base", "seconds"
    )
    last = frame.group_by("model", maintain_order=True).agg(
        pl.col("step").last(),
        pl.col("tokens").last(),
        pl.col("train_bits_per_base").last(),
        pl.col("validation_bits_per_base").drop_nulls().last(),
        pl.col("seconds").last(),
    )
    rows = [
        [
            row["model"],
            f"{row['step']:,}",
            f"{row['tokens']:,}",
            f"{row['train_bits_per_base']:.4f}",
            "–" if row["validation_bits_per_base"] is None else f"{row['validation_bits_per_base']:.4f}",
            f"{row['seconds'] / 60:.1f}",
        ]
        for row in last.iter_rows(named=True)
    ]
    headers = ["model", "steps", "nucleotides", "train bits/base", "held-out bits/base", "minutes"]
    caption = "What pretraining cost and reached. Guessing every base alike scores 2 bits; points: held-out sequence."
    return "<h3>The pretraining itself</h3>" + page.figure(
        "pretraining", charts.pretraining(frame), caption, table(headers, rows, "Pretraining at its last step")
    )
