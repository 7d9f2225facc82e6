"""Benefit against the share of the training data, for studies that vary it.

Next: `analysis/statistics/training_share.py`.
"""

from __future__ import annotations

import polars as pl

from analysis.findings import Findings
from analysis.page import charts
from analysis.page.document import Block, Figure
from analysis.page.html import table
from analysis.page.number_text import interval, p_text, signed


def blocks(findings: Findings) -> list[Block]:
    """The figure and its table; nothing with fewer than two shares."""
    shares, comparison = findings.shares, findings.comparison
    if len(shares) < 2:
        return []
    rows = [(share, one.effect, one.low, one.high) for share, one in shares]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(("share", "effect", "low", "high"), pl.Float64), orient="row")
    listing = [[f"{share:.4g}", signed(one.effect), interval(one), p_text(one.p_value), one.n] for share, one in shares]
    headers = ["share of the training data", "benefit", "95 % interval", "p", "pairs" if comparison.paired else "runs"]
    caption = (
        "Mean benefit over all cells against the share of the training data, with 95 % intervals for these data sets. "
        "Each share is estimated separately; the p-values are not adjusted for multiple comparisons."
    )
    chart = charts.shares(frame, comparison.unit)
    return [Figure("shares", chart, caption, table(headers, listing, "Benefit by share"))]
