"""Does pretraining help more where there is less to train on? For studies that vary `train_fraction`.

Next: `analysis/page/charts.py`.
"""

from __future__ import annotations

import polars as pl

from analysis.page import charts
from analysis.page.html import Page, table
from analysis.page.wording import interval, p_text, signed
from analysis.results import Results
from analysis.statistics.contrasts import Estimate
from analysis.statistics.estimates import benefit_and_growth
from analysis.statistics.pairs import Comparison, compare

_NAME = "train_fraction "


def by_training_share(results: Results, comparison: Comparison) -> list[tuple[float, Estimate]]:
    """(share of the training data, benefit over all cells), smallest share first.

    Each share is its own comparison with its own spread. Empty unless the share is all that tells groups apart.
    """
    if len(comparison.variants) < 2 or not all(one.startswith(_NAME) and "," not in one for one in comparison.variants):
        return []
    found = []
    for variant in comparison.variants:
        one = compare(results, comparison.outcome, comparison.epochs, variant, comparison.arms)
        benefit, _ = benefit_and_growth(one)
        if benefit.effect is not None:
            found.append((float(variant.removeprefix(_NAME)), benefit))
    return sorted(found, key=lambda pair: pair[0])


def section(page: Page, results: Results, comparison: Comparison) -> str:
    """The figure and its table; nothing where the study does not vary the share alone."""
    found = by_training_share(results, comparison)
    if len(found) < 2:
        return ""
    rows = [(share, one.effect, one.low, one.high) for share, one in found]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(("share", "effect", "low", "high"), pl.Float64), orient="row")
    listing = [[f"{share:.4g}", signed(one.effect), interval(one), p_text(one.p_value), one.n] for share, one in found]
    headers = ["share of the training data", "benefit", "95 % interval", "p", "pairs" if comparison.paired else "runs"]
    caption = (
        "Mean benefit over all cells against the share of the training data, 95 % intervals for these data sets. "
        "Each share "
        "is estimated by itself; the p-values are not adjusted for their number."
    )
    return page.figure(
        "shares", charts.shares(frame, comparison.unit), caption, table(headers, listing, "Benefit by share")
    )
