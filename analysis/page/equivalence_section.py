"""Whether the difference is too small to matter: two one-sided tests against the margin that the study declared.

Next: `analysis/statistics/verdicts.py` for the tests.
"""

from __future__ import annotations

from analysis.findings import Findings
from analysis.page.document import Block
from analysis.page.html import paragraphs, table
from analysis.page.number_text import interval90, p_text, signed
from analysis.page.wording import EQUIVALENCE
from analysis.statistics.effect import Estimate
from analysis.statistics.estimates import Estimates


def blocks(findings: Findings) -> list[Block]:
    """One row per estimate; nothing where none has an interval."""
    estimates = findings.estimates
    rows = [
        [label, signed(one.effect), interval90(one), p_text(one.p_equivalence), EQUIVALENCE[one.equivalence]]
        for label, one in _tested(estimates)
        if one.interval90 is not None and one.equivalence is not None
    ]
    if not rows:
        return []
    margin, unit = estimates.margin, estimates.comparison.unit
    intro = (
        f"Differences within ±{margin:g} {unit} were declared too small to matter. Where the 90 % interval lies "
        "inside, both one-sided tests reject at 5 % that the difference is as large as the margin; where it lies "
        "wholly outside, the difference matters; otherwise the question is open. For growth, every two sizes must "
        "differ by less than the margin. The p-values of sizes are adjusted by Holm's method."
    )
    headers = ["estimate", f"Δ, {unit}", "90 % interval", "p (two one-sided tests)", "the difference"]
    return [paragraphs([intro]), table(headers, rows, "Equivalence within the margin")]


def _tested(estimates: Estimates) -> list[tuple[str, Estimate]]:
    sizes = estimates.sizes if len(estimates.sizes) > 1 else ()
    return [
        ("benefit, all cells", estimates.overall),
        *((f"benefit, {one.size}", one) for one in sizes),
        ("growth, smallest to largest size", estimates.growth),
        ("benefit, data sets as a sample", estimates.overall_random),
        ("growth, data sets as a sample", estimates.growth_random),
    ]
