"""Whether the benefit grows with size: its slope over parameters, and the benefit of each size.

Next: `analysis/page/charts.py` for the figure.
"""

from __future__ import annotations

from analysis.findings import Findings
from analysis.page.charts import scaling
from analysis.page.document import Block, Figure
from analysis.page.html import Markup, chip, details, number, paragraphs, table
from analysis.page.number_text import interval, interval90, p_text, parameters_text, signed
from analysis.page.wording import pretraining_note
from analysis.statistics.estimates import Estimates
from analysis.statistics.verdicts import LEVEL


def blocks(findings: Findings) -> list[Block]:
    estimates = findings.estimates
    if not estimates.sizes:
        return []
    if len(estimates.sizes) < 2:
        return [
            paragraphs(["Only one model size has results; estimating growth needs at least two."]),
            _sizes_table(findings),
        ]
    caption = (
        "Mean benefit (diamonds, 95 % intervals for these data sets) against trainable parameters on a logarithmic "
        "axis. Thin lines: data sets; click one to highlight it in every figure."
    )
    return [
        Figure("scaling", scaling(estimates), caption, _growth_table(estimates)),
        paragraphs([pretraining_note(estimates), _fit_sentence(estimates)]),
        _sizes_table(findings),
        details("Every two sizes", _differences_table(estimates)),
    ]


def _fit_sentence(estimates: Estimates) -> str:
    """Whether a line is the right shape, and whether context length matters at equal size."""
    found = []
    if estimates.fit is not None:
        fits = "a line fits" if estimates.fit.p_value >= LEVEL else "a line is the wrong shape"
        found.append(f"Test of lack of fit over sizes: p {p_text(estimates.fit.p_value)}; {fits}.")
    if estimates.context.effect is not None:
        change = f"{signed(estimates.context.effect)} {interval(estimates.context)}"
        found.append(f"Models of one size that differ in context length: longest minus shortest {change}.")
    return " ".join(found)


def _sizes_table(findings: Findings) -> str:
    estimates, again = findings.estimates, findings.new_test_sequences
    new = again.sizes if again is not None else (None,) * len(estimates.sizes)
    rows = [
        [
            fixed.size,
            parameters_text(fixed.parameters),
            Markup(number(fixed.effect, signed(fixed.effect))),
            interval(fixed),
            p_text(fixed.p_adjusted),
            chip(fixed.verdict),
            "–" if test is None else interval(test),
            interval(random),
            f"{fixed.n_datasets}",
            f"{fixed.n_pretrainings or '–'}",
        ]
        for fixed, random, test in zip(estimates.sizes, estimates.sizes_random, new, strict=True)
    ]
    headers = [
        "size",
        "parameters",
        "mean Δ",
        "95 %, these data sets",
        "p (Holm)",
        "verdict",
        "95 %, new test sequences",
        "95 %, data sets like these",
        "data sets",
        "pretrainings",
    ]
    note = "Verdicts follow the adjusted p; the intervals are not adjusted, so one may exclude 0 beside “unresolved”."
    return "<h3>By size</h3>" + table(headers, rows, "Benefit by size") + paragraphs([note])


def _differences_table(estimates: Estimates) -> str:
    rows = [
        [one.label, Markup(number(one.effect, signed(one.effect))), interval(one), interval90(one), one.n_datasets]
        for one in estimates.size_differences
    ]
    note = (
        "The benefit counts as the same at all sizes only if every one of these 90 % intervals lies within "
        f"±{estimates.margin:g} {estimates.comparison.unit}."
    )
    headers = ["larger − smaller", "Δ", "95 % interval", "90 % (equivalence)", "data sets"]
    return table(headers, rows, "Difference of the benefit between every two sizes") + paragraphs([note])


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
