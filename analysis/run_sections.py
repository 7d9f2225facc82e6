"""The sections that show runs rather than estimates: learning curves, every run, accuracy and cost, pretraining.

Next: `analysis/charts.py` for the figures, `analysis/curves.py` for their rows.
"""

from __future__ import annotations

from collections.abc import Callable

import altair as alt
import polars as pl

from analysis import charts
from analysis.curves import ENOUGH_FOR_BANDS, cost_table, curve_table, epochs_to_target
from analysis.page import Page, Panel, table, text
from analysis.pairs import Comparison
from analysis.results import Results
from analysis.words import signed


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


def learning_curves(page: Page, results: Results, comparison: Comparison) -> str:
    curves = curve_table(results, comparison)
    if curves.is_empty():
        return ""
    members = []
    for (dataset, size), part in curves.group_by("dataset", "size", maintain_order=True):
        last = part.drop_nulls("mean").group_by("init", maintain_order=True).agg(pl.col("mean").last())
        ends = ", ".join(f"{init} {value:.2f} %" for init, value in last.iter_rows())
        members.append(
            Panel(
                f"{dataset} · {size}",
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
    rows = [
        [
            row["dataset"],
            row["size"],
            f"{row['target']:.2f}",
            row["treated_epoch"] or "never",
            row["control_epoch"] or "never",
        ]
        for row in epochs_to_target(results, comparison).iter_rows(named=True)
    ]
    treated, control = comparison.arms
    headers = [
        "data set",
        "size",
        f"{control}'s last accuracy, %",
        f"{treated} reaches it at epoch",
        f"{control} first at epoch",
    ]
    listing = table(headers, rows, "Epochs to target", 2) if rows else ""
    return page.panels("curves", members, caption, listing, arms_key(comparison.arms))


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
    listing = (
        table(["data set", "size", "arm", "seed", "accuracy, %"], rows, "Every run", 3) if len(rows) <= 1000 else ""
    )
    return page.panels("pairs", members, caption, listing, arms_key(comparison.arms))


def worth_the_compute(page: Page, results: Results, comparison: Comparison) -> str:
    costs = cost_table(results, comparison)
    if costs.is_empty():
        return ""
    minutes = costs["minutes"].to_list()
    wide = max(minutes) > 5 * min(minutes)
    members = [
        Panel(
            str(dataset),
            part.select("size", "init", "minutes", "accuracy", "runs"),
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
    if not results.pretraining.is_empty():
        content += pretraining(page, results)
    return content


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
