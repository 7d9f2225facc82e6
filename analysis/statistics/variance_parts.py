"""The parts of an estimate's variance: what seeds contribute, what pretrainings do, and how the two add up.

Next: `analysis/statistics/contrasts.py`, which takes them from the values of a comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Replicates:
    """The pretrainings of one model, as the unit of what their weights are worth.

    `shifts` [pretrainings, columns]: what each pretraining adds to the mean of each column, relative to the others.
    `shares` [pretrainings]: each one's share of the values. `is_nested`: every seed of a cell starts from one
    pretraining only, so `shifts` holds the spread of seeds, too.
    """

    columns: NDArray[np.int64]
    shifts: Array
    shares: Array
    is_nested: bool

    @property
    def count(self) -> int:
        return len(self.shifts)

    @cached_property
    def _form(self) -> tuple[float, float]:
        """Factor that makes the sum of squared shifts unbiased for the mean's variance, and its degrees of freedom.

        P / (P − 1) and P − 1 for P pretrainings with as many values each; otherwise the moments of the quadratic form
        (Satterthwaite).
        """
        centred = np.eye(self.count) - self.shares
        form = (centred.T * self.shares**2) @ centred
        expected = float(np.trace(form))
        return float((self.shares**2).sum()) / expected, expected**2 / float((form**2).sum())

    @property
    def df(self) -> float:
        return self._form[1]

    def variance(self, rows: Array) -> Array:
        """Variance of contrasts [M, columns] that is due to the choice of these pretrainings."""
        spread: Array = self._form[0] * ((rows @ self.shifts.T) ** 2).sum(axis=1)
        return spread


@dataclass(frozen=True)
class Spread:
    """Variances of M contrasts and their degrees of freedom."""

    variance: Array
    df: Array

    def half_width(self) -> Array:
        found: Array = stats.t.ppf(0.975, np.maximum(self.df, 1e-3)) * np.sqrt(self.variance)
        return found


def added(first: Spread, second: Spread, *, keep_quantiles: NDArray[np.bool_]) -> Spread:
    """Spread of the sum of two independent parts.

    Degrees of freedom are Satterthwaite's or, where `keep_quantiles`, such that the squared half-widths add up: a part
    with two degrees of freedom that happens to be small would otherwise be taken as known.
    """
    total = first.variance + second.variance
    with np.errstate(invalid="ignore", divide="ignore"):
        inverse = sum(np.where(one.df > 0, one.variance**2 / one.df, 0.0) for one in (first, second))
        df = np.where(inverse > 0, total**2 / inverse, 0.0)
        quantiles = np.hypot(first.half_width(), second.half_width()) / np.sqrt(total)
    grid = np.geomspace(0.5, 1e6, 4_000)
    matching = np.interp(-quantiles, -stats.t.ppf(0.975, grid), grid)
    return Spread(total, np.where(keep_quantiles & (total > 0), matching, df))
