"""Coverage, widths and shares of false verdicts over many readings of one scenario.

Next: `benchmarks/coverage_table.py` shows them as tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tests.support.scenario import Scenario

Floats = NDArray[np.float64]

#: Differences below this are rounding.
TINY = 1e-9
#: The verdict that a difference is too small to matter, among 1, -1 and 0.
EQUIVALENT = 2


@dataclass(frozen=True)
class Reading:
    """What one study gave, one value a target: overall, growth, each size, each cell, a new data set; NaN for none.

    verdicts: 1 (helps, grows), -1 (hurts, shrinks), 2 (equivalent) or 0. named: whether the adjusted p-value is at most
    5 %. varies: whether the true benefits of two sizes differ by the margin.
    """

    truth: Floats
    low: Floats
    high: Floats
    pooled_low: Floats
    pooled_high: Floats
    verdicts: NDArray[np.int64]
    named: NDArray[np.bool_]
    varies: bool


@dataclass(frozen=True)
class Targets:
    """Where the targets of a scenario stand in a reading."""

    sizes: slice
    cells: slice

    @staticmethod
    def of(scenario: Scenario) -> Targets:
        first = 2 + len(set(scenario.parameters))
        return Targets(slice(2, first), slice(first, first + int((scenario.pairs_of_cells > 0).sum())))


def summary(scenario: Scenario, readings: Sequence[Reading | None]) -> dict[str, Any]:
    """One row of the results: shares over the studies that the analysis did not refuse, if there are any."""
    kept = [one for one in readings if one is not None]
    row = {
        "scenario": scenario.name,
        "about": scenario.about,
        "studies": len(readings),
        "refused": len(readings) - len(kept),
    }
    if not kept:
        return row
    targets = Targets.of(scenario)
    many = {field.name: np.array([getattr(one, field.name) for one in kept]) for field in fields(Reading)}
    own, reference = many["high"] - many["low"], many["pooled_high"] - many["pooled_low"]
    parts = {"overall": slice(0, 1), "growth": slice(1, 2), "sizes": targets.sizes, "cells": targets.cells}
    lengths = {"lowest size": targets.sizes, "lowest cell": targets.cells}
    return row | {
        "coverage": coverage(targets, many["truth"], many["low"], many["high"]),
        "pooled": coverage(targets, many["truth"], many["pooled_low"], many["pooled_high"]),
        "lowest_by_chance": {
            name: rounded(lowest_by_chance(where.stop - where.start, len(kept))) for name, where in lengths.items()
        },
        "width": {name: rounded(relative_width(own[:, where], reference[:, where])) for name, where in parts.items()},
        "random_width": rounded(np.median(known(own[:, -1]))),
        "without_interval": rounded(float(np.isnan(own).mean())),
        "false_verdicts": false_verdicts(targets, many),
        "false_equivalent": false_equivalent(scenario, targets, many),
    }


def rounded(value: float | np.floating[Any]) -> float | None:
    """Four digits; None for what is not a number."""
    return None if np.isnan(value) else round(float(value), 4)


def known(values: Floats) -> Floats:
    """The values that are numbers; one that is not where there are none."""
    found = values[~np.isnan(values)]
    return found if len(found) else np.array([np.nan])


def coverage(targets: Targets, truth: Floats, low: Floats, high: Floats) -> dict[str, float | None]:
    """Shares of the intervals that hold the truth, of those that there are."""
    hits = np.where(np.isnan(low), np.nan, (low <= truth) & (truth <= high))
    shares = np.array([known(column).mean() for column in hits.T])
    return {
        "overall": rounded(shares[0]),
        "growth": rounded(shares[1]),
        "lowest size": rounded(known(shares[targets.sizes]).min()),
        "lowest cell": rounded(known(shares[targets.cells]).min()),
        "all cells": rounded(known(shares[targets.cells]).mean()),
        "new data set": rounded(shares[-1]),
    }


def lowest_by_chance(count: int, studies: int) -> float:
    """Expected lowest of `count` independent shares over the studies, each truly .95."""
    at_least = stats.binom.sf(np.arange(studies), studies, 0.95)  # P(a share > k / studies)
    return float((at_least**count).sum() / studies)


def relative_width(own: Floats, reference: Floats) -> float:
    """Ratio of mean widths, of the intervals that both methods give."""
    both = ~np.isnan(own) & ~np.isnan(reference)
    return float(own[both].mean() / reference[both].mean()) if both.any() else float("nan")


def false_verdicts(targets: Targets, many: dict[str, NDArray[Any]]) -> dict[str, float | None]:
    """Shares of studies with a verdict of the wrong sign, or of any sign where the truth is 0.

    share of cells: the mean over studies of the false ones among the cells whose adjusted p-value is at most 5 %.
    """
    truth, verdicts = many["truth"], many["verdicts"]
    wrong = ((verdicts == 1) & (truth < TINY)) | ((verdicts == -1) & (truth > -TINY))
    named = many["named"][:, targets.cells]
    effect = (many["low"] + many["high"])[:, targets.cells]
    false = named & (np.sign(effect) * truth[:, targets.cells] < TINY)
    return {
        "overall": rounded(wrong[:, 0].mean()),
        "growth": rounded(wrong[:, 1].mean()),
        "any size": rounded(wrong[:, targets.sizes].any(1).mean()),
        "any cell": rounded(false.any(1).mean()),
        "share of cells": rounded((false.sum(1) / np.maximum(named.sum(1), 1)).mean()),
    }


def false_equivalent(scenario: Scenario, targets: Targets, many: dict[str, NDArray[Any]]) -> dict[str, float | None]:
    """Shares of the verdict "too small to matter" among the estimates whose truth is at least the margin.

    The growth counts where it is, or where the true benefits of two sizes differ by the margin. None without any.
    """
    matters = np.abs(many["truth"]) >= scenario.margin - TINY
    matters[:, 1] |= many["varies"]
    said = np.where(matters, many["verdicts"] == EQUIVALENT, np.nan)
    shares = np.array([known(column).mean() for column in said.T])
    return {
        "overall": rounded(shares[0]),
        "growth": rounded(shares[1]),
        "worst size": rounded(known(shares[targets.sizes]).max()),
        "cells": rounded(known(shares[targets.cells]).mean()),
    }
