"""Benefit of pretraining at each share of the training data, for studies that vary `train_fraction`.

Next: `analysis/page/shares_section.py`.
"""

from __future__ import annotations

from typing import NamedTuple

from analysis.results import Results
from analysis.statistics.effect import Estimate
from analysis.statistics.estimates import benefit_and_growth
from analysis.statistics.pairs import Comparison, compare

_NAME = "train_fraction "


class ShareBenefit(NamedTuple):
    """share: of the training data, in (0, 1]; benefit: mean over all cells."""

    share: float
    benefit: Estimate


def by_training_share(results: Results, comparison: Comparison) -> tuple[ShareBenefit, ...]:
    """The benefit at each share, smallest share first.

    Each share is its own comparison with its own spread. Empty unless groups differ in the share alone.
    """
    if len(comparison.variants) < 2 or not all(one.startswith(_NAME) and "," not in one for one in comparison.variants):
        return ()
    found = []
    for variant in comparison.variants:
        one = compare(results, comparison.outcome, comparison.epochs, variant, comparison.arms)
        benefit, _ = benefit_and_growth(one)
        if benefit.effect is not None:
            found.append(ShareBenefit(float(variant.removeprefix(_NAME)), benefit))
    return tuple(sorted(found, key=lambda one: one.share))
