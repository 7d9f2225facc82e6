"""Whether the benefit grows with size: its slope over parameters, and the benefit of each size.

Next: `analysis/page/charts.py` for the figure.
"""

from __future__ import annotations

from analysis.findings import Findings
from analysis.page.charts import scaling
from analysis.page.document import Block, Figure
from analysis.page.html import Markup, chip, number, paragraphs, table
from analysis.page.number_text import interval, interval90, p_text, parameters_text, signed
from analysis.page.wording import one_pretraining
from analysis.statistics.estimates import Estimates


def blocks(findings: Findings) -> list[Block]:
    estimates = findings.estimates
    if not estimates.sizes:
        return []
    if len(estimates.sizes) < 2:
        return [
            paragraphs(["Only one model size has results; estimating growth needs at least two."]),
            _sizes_table(estimates),
        ]
    caption = (
        "Mean benefit (diamonds, 95 % intervals for these data sets) against trainable parameters on a logarithmic "
        "axis. Thin lines: data sets; click one to highlight it in every figure."
    )
    return [
        Figure("scaling", scaling(estimates), caption, _growth_table(estimates)),
        paragraphs([one_pretraining(findings)]),
        _sizes_table(estimates),
    ]


def _sizes_table(estimates: Estimates) -> str:
    rows = [
        [
            fixed.size,
            parameters_text(fixed.parameters),
            Markup(number(fixed.effect, signed(fixed.effect))),
            interval(fixed),
            p_text(fixed.p_adjusted),
            chip(fixed.verdict),
            interval(random),
            f"{fixed.n_datasets}",
        ]
        for fixed, random in zip(estimates.sizes, estimates.sizes_random, strict=True)
    ]
    headers = [
        "size",
        "parameters",
        "mean Δ",
        "95 %, these data sets",
        "p (Holm)",
        "verdict",
        "95 %, data sets like these",
        "data sets",
    ]
    return "<h3>By size</h3>" + table(headers, rows, "Benefit by size")


def _growth_table(estimates: Estimates) -> str:
    lines = [
        estimates.growth,
        estimates.per_tenfold,
        estimates.largest_minus_smallest,
        estimates.growth_random,
        *estimates.dataset_growth,
    ]
    rows = [
        [
            one.label if one.dataset is None else f"growth on {one.dataset}",
            signed(one.effect),
            interval(one),
            interval90(one),
            p_text(one.p_value),
            "–" if one.df is None else f"{one.df:.0f}",
            one.method or one.reason,
        ]
        for one in lines
    ]
    headers = ["estimate", "Δ", "95 % interval", "90 % (equivalence)", "p", "df", "method"]
    return table(headers, rows, "Growth of the benefit with size")
