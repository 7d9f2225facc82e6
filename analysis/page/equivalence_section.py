"""Is the difference too small to matter? Two one-sided tests against the margin that the study declared.

Source: Schuirmann (1987). Next: `analysis/statistics/power.py` for what would settle what stays open.
"""

from __future__ import annotations

from scipy import stats

from analysis.page.html import paragraphs, table
from analysis.page.wording import interval90, is_negligible, p_text, signed
from analysis.statistics.contrasts import Estimate
from analysis.statistics.estimates import Estimates

#: What the 90 % interval says of the margin.
INSIDE, OUTSIDE, OPEN, UNKNOWN = "too small to matter", "matters", "open", "not estimable"


def tost_p(estimate: Estimate, margin: float) -> float | None:
    """The larger p of the two one-sided t tests of |effect| ≥ margin; below 0.05 the effect is equivalent to none.

    Agrees with the 90 % interval: below 0.05 exactly where it lies inside ±margin. None without a standard error.
    """
    if estimate.effect is None or not estimate.se or estimate.df is None:
        return None
    return float(stats.t.sf((margin - abs(estimate.effect)) / estimate.se, estimate.df))


def conclusion(estimate: Estimate, margin: float) -> str:
    """Inside the margin, wholly outside of it, or neither."""
    if estimate.low90 is None or estimate.high90 is None:
        return UNKNOWN
    if is_negligible(estimate, margin):
        return INSIDE
    return OUTSIDE if estimate.low90 > margin or estimate.high90 < -margin else OPEN


def section(estimates: Estimates) -> str:
    """One row an estimate; nothing where none has an interval."""
    rows = [
        (f"benefit, {one.size}" if one.size else label, one)
        for label, one in (
            ("benefit, all cells", estimates.overall),
            *(("", one) for one in estimates.sizes if len(estimates.sizes) > 1),
            ("growth, smallest to largest size", estimates.growth),
            ("benefit, data sets as a sample", estimates.overall_random),
            ("growth, data sets as a sample", estimates.growth_random),
        )
        if one.low90 is not None
    ]
    if not rows:
        return ""
    margin, unit = estimates.margin, estimates.comparison.unit
    intro = (
        f"Differences within ±{margin:g} {unit} were declared not to matter. Where the 90 % interval lies inside, both "
        "one-sided tests reject at 5 % that the difference is as large as the margin; where it lies wholly outside, "
        "the difference matters; otherwise the question is open. These p are not adjusted for their number."
    )
    listing = [
        [label, signed(one.effect), interval90(one), p_text(tost_p(one, margin)), conclusion(one, margin)]
        for label, one in rows
    ]
    headers = ["estimate", f"Δ, {unit}", "90 % interval", "p (two one-sided tests)", "the difference"]
    return paragraphs([intro]) + table(headers, listing, "Equivalence within the margin")
