"""Learning curves of both arms, and the epochs after which the treated arm reaches the control arm's final accuracy.

Next: `analysis/statistics/curves.py` for their rows.
"""

from __future__ import annotations

from collections.abc import Callable

import altair as alt
import numpy as np
import polars as pl

from analysis.findings import Findings
from analysis.page import charts
from analysis.page.arms_key import arms_key
from analysis.page.chart_style import Chart
from analysis.page.document import Block, Panel, Panels
from analysis.page.html import paragraphs, table
from analysis.statistics.curves import ENOUGH_FOR_BANDS, milestones


def blocks(findings: Findings) -> list[Block]:
    curves, comparison = findings.curves, findings.comparison
    if curves.is_empty():
        return []
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
                *_template(part, comparison.arms),
            )
        )
    caption = (
        "Test accuracy after each epoch: mean over runs, with a pointwise 95 % t band where an arm has "
        f"{ENOUGH_FOR_BANDS} or more runs, and every run as a thin line where it has fewer. Vertical axes differ "
        "between panels."
    )
    panels = Panels("curves", members, caption, _means_table(curves), arms_key(comparison.arms))
    return [panels, _targets(findings)]


def _template(part: pl.DataFrame, arms: tuple[str, str]) -> tuple[str, Callable[[], Chart]]:
    """The template's name and the function that draws it, with bands and single runs only where the rows have any."""
    bands, raw = part["low"].null_count() < part.height, part["value"].null_count() < part.height
    name = f"curves{'-bands' if bands else ''}{'-runs' if raw else ''}"
    return name, lambda: charts.learning_curve(alt.NamedData("panel"), arms, bands=bands, raw_lines=raw)


def _means_table(curves: pl.DataFrame) -> str:
    """Mean accuracy after a few epochs, one row per cell and arm; the download has every epoch."""
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
    return table(headers, rows, "Mean test accuracy, %, at selected epochs", 3)


def _targets(findings: Findings) -> str:
    """How many epochs pretraining saves: when its mean curve reaches the control arm's final accuracy."""
    found = findings.targets
    if found.is_empty():
        return ""
    treated, control = findings.comparison.arms
    rows = [
        [dataset, size, f"{target:.2f}", treated_epoch or "never", control_epoch or "never"]
        for dataset, size, target, treated_epoch, control_epoch in found.select(
            "dataset", "size", "target", "treated_epoch", "control_epoch"
        ).iter_rows()
    ]
    headers = [
        "data set",
        "size",
        f"final {control} accuracy, %",
        f"epoch at which {treated} reaches it",
        f"epoch at which {control} first does",
    ]
    reached = found["treated_epoch"].drop_nulls()
    epochs = findings.comparison.epochs
    soon = f", after a median of {np.median(reached):g} of {epochs} epochs" if len(reached) else ""
    cells = f"{len(reached)} of {found.height} cells{soon}"
    what = (
        f"The mean {treated} curve reaches the final {control} accuracy in {cells}. "
        "This is descriptive: the epochs are read off noisy mean curves and have no interval."
    )
    return "<h3>Epochs to target</h3>" + paragraphs([what]) + table(headers, rows, "Epochs to target", 2)
