"""The spread of runs within cells: of its own, pooled, or moderated by the spread of the other cells.

The variance of one cell with three runs is known badly, and the cells of a study do not share one variance. So a
single cell borrows from the others as far as they resemble each other: a scaled inverse χ² prior is fitted to the
variances of all cells (empirical Bayes), as limma does for genes. Two changes make the interval of *every* cell cover,
not of cells on average: a cell that varies more than the prior says is drawn towards it less than one that varies
less, and hardly at all where the prior makes it implausible (as limma's robust version does).

Source: Smyth, Linear models and empirical Bayes methods for assessing differential expression (2004), section 6;
Phipson et al., Robust hyperparameter estimation (2016), for cells that are outliers. Next:
`analysis/statistics/contrasts.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

Array = NDArray[np.float64]

#: A variance below this share of the median counts as this share, because its logarithm enters the fit.
_LEAST_SHARE = 1e-5
#: Probability, under the prior, of a larger variance, below which a cell borrows less and less.
_IMPLAUSIBLE = 0.1


@dataclass(frozen=True)
class Prior:
    """What the cells say of the variance of a further one: σ² ~ scale · df / χ²(df). df may be infinite."""

    df: float
    scale: float


def trigamma_inverse(value: float) -> float:
    """The y > 0 at which the trigamma function equals `value` > 0."""
    # 1/y < trigamma(y) < 1/y + 1/y² bounds the root
    low, high = 1 / value, 1 / value + 1 / value**0.5 + 1
    return float(brentq(lambda y: float(polygamma(1, y)) - value, low * 0.5, high * 2, xtol=1e-12 * low))


def fit_prior(variances: Array, df: Array) -> Prior:
    """Moment estimates from the logarithms of the cells' variances (Smyth 2004, section 6.2).

    variances, df: [cells], df at least 1. Where the variances differ by no more than chance, `df` of the prior is
    infinite and its scale the pooled variance, as it is with fewer than two cells.
    """
    pooled = float((variances * df).sum() / df.sum())
    middle = float(np.median(variances)) or pooled
    if len(variances) < 2 or middle <= 0:
        return Prior(np.inf, pooled)
    logs = np.log(np.maximum(variances, _LEAST_SHARE * middle)) - digamma(df / 2) + np.log(df / 2)
    excess = float(logs.var(ddof=1) - polygamma(1, df / 2).mean())
    if excess <= 1e-9:
        return Prior(np.inf, pooled)
    prior_df = 2 * trigamma_inverse(excess)
    return Prior(prior_df, float(np.exp(logs.mean() + digamma(prior_df / 2) - np.log(prior_df / 2))))


def moderated(variances: Array, df: Array, prior: Prior) -> tuple[Array, Array]:
    """Variances drawn towards the prior's, and the degrees of freedom with which they are then known.

    variances, df: [cells]. The share λ borrowed is d₀ / (d₀ + d) for a cell below the prior's scale, as in limma; its
    square for one above; less still, in proportion to the probability of a larger variance under the prior, where that
    is below 0.1; and all of it times (k − 2) / (k − 1) of k cells, for the prior itself is an estimate. The result has
    d / (1 − λ) degrees of freedom, at most those of the pooled variance.
    """
    cells = len(variances)
    if not prior.scale > 0 or cells < 2:
        return variances, df
    share = np.ones(cells) if np.isinf(prior.df) else prior.df / (prior.df + df)
    share = share * (cells - 2) / (cells - 1)
    above = variances > prior.scale
    plausible = stats.f.sf(variances / prior.scale, df, min(prior.df, 1e6)) / _IMPLAUSIBLE
    share = np.where(above, share**2 * np.minimum(plausible, 1.0), share)
    return variances + share * (prior.scale - variances), np.minimum(df / (1 - np.minimum(share, 1 - 1e-9)), df.sum())
