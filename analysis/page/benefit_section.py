"""Where pretraining helps: the forest plot, the table of cells, and the cells without an estimate.

Next: `analysis/page/forest_plot.py`.
"""

from __future__ import annotations

import polars as pl

from analysis.findings import Findings
from analysis.page.document import Block, Figure
from analysis.page.forest_plot import clips, forest
from analysis.page.html import Markup, chip, number, paragraphs, table
from analysis.page.number_text import interval, p_text, signed
from analysis.statistics.estimates import Estimates
from analysis.statistics.pairs import Comparison

#: Cells without an estimate that are listed by name.
_MOST_NAMED = 12


def blocks(findings: Findings) -> list[Block]:
    estimates = findings.estimates
    if not estimates.cells:
        return []
    figure = Figure("forest", forest(estimates), _caption(estimates), _cells_table(estimates))
    return [figure, paragraphs([_heterogeneity(estimates), _missing(estimates.comparison)])]


def _caption(estimates: Estimates) -> str:
    return (
        "Δ by data set and size. Lines: 95 % intervals; shapes: verdicts, after adjustment for the number "
        "of cells or sizes; "
        + ("small dots: single pairs; " if estimates.comparison.paired else "")
        + f"grey band: ±{estimates.margin:g} {estimates.comparison.unit}, the smallest difference that matters. "
        + ("Intervals that leave the figure continue beyond it. " if clips(estimates) else "")
        + "The first block of means holds for these data sets; the second treats them as a sample of data sets."
    )


def _heterogeneity(estimates: Estimates) -> str:
    spread = estimates.heterogeneity
    if spread is None:
        return ""
    return (
        f"The true benefit varies between data sets with an estimated standard deviation of {spread.tau:.2f} "
        f"{estimates.comparison.unit} (τ); {spread.i2 * 100:.0f} % of the variance between them is not explained by "
        "the spread between runs (I²). On one further data set like these, the same study would observe a benefit "
        f"between {signed(spread.prediction_low)} and {signed(spread.prediction_high)} (95 % prediction interval)."
    )


def _missing(comparison: Comparison) -> str:
    cells = comparison.cells.filter(pl.col("reason").is_not_null()).select("dataset", "size", "reason")
    named = [f"{dataset}, {size}: {reason}" for dataset, size, reason in cells.head(_MOST_NAMED).iter_rows()]
    if cells.height > _MOST_NAMED:
        named.append(f"and {cells.height - _MOST_NAMED} more")
    return f"Not shown, because missing results are not imputed: {'; '.join(named)}." if named else ""


def _cells_table(estimates: Estimates) -> str:
    comparison = estimates.comparison
    rows = []
    found = {(row["dataset"], row["model"]): row for row in comparison.estimable.iter_rows(named=True)}
    for one in estimates.cells:
        cell = found[one.dataset, one.model]
        rows.append(
            [
                one.dataset,
                one.size,
                f"{cell['mean_treated']:.2f} ({cell['n_treated']})",
                f"{cell['mean_control']:.2f} ({cell['n_control']})",
                Markup(number(one.effect, signed(one.effect))),
                interval(one),
                p_text(one.p_adjusted),
                chip(one.verdict),
            ]
        )
    headers = [
        "data set",
        "size",
        f"{comparison.arms[0]} % (runs)",
        f"{comparison.arms[1]} % (runs)",
        "Δ",
        "95 % interval",
        "p (Benjamini–Hochberg)",
        "verdict",
    ]
    return table(headers, rows, "Benefit of each cell", numeric_from=2)
