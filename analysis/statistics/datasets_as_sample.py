"""Data sets as a sample of data sets: what to expect on a further one, not only on those that were studied.

One effect per data set is the unit. Below ten data sets the spread between them, τ, is hardly known from the data, and
a declared, weakly informative prior on it keeps the interval honest without making it useless: half-normal, with a
scale in the study file. From ten on, the one-sample t needs no prior.

Source: Gelman, Prior distributions for variance parameters in hierarchical models (2006); Röver, Bayesian
random-effects meta-analysis using the bayesmeta R package (2020), for the integral over τ. Next:
`analysis/statistics/estimates.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq
from scipy.special import stdtr
from statsmodels.stats.meta_analysis import combine_effects

from analysis.results import DEFAULT_TAU_SCALE
from analysis.statistics.effect import Estimate, t_estimate
from analysis.statistics.verdicts import LEVEL

Array = NDArray[np.float64]

#: Data sets from which on the one-sample t is used.
ENOUGH_DATASETS = 10
#: Nodes of the integral over τ, and its upper limit in scales of the prior: beyond it are 2e-9 of the prior.
_NODES, _REACH = np.polynomial.legendre.leggauss(160), 6.0
#: Nodes of less weight than this share are left out.
_LEAST_WEIGHT = 1e-10


@dataclass(frozen=True)
class Mixture:
    """A mixture of t distributions, one for each value of τ: the posterior of the mean over data sets.

    weight, location, scale, df: [nodes]; weights sum to 1.
    """

    weight: Array
    location: Array
    scale: Array
    df: Array

    @property
    def mean(self) -> float:
        return float(self.weight @ self.location)

    def cdf(self, value: float) -> float:
        return float(self.weight @ stdtr(self.df, (value - self.location) / self.scale))

    def quantile(self, level: float) -> float:
        step = float(self.scale.max()) * 4 + float(np.ptp(self.location))
        low = high = self.mean
        while self.cdf(low) > level:
            low, step = low - step, step * 2
        while self.cdf(high) < level:
            high, step = high + step, step * 2
        return float(brentq(lambda x: self.cdf(x) - level, low, high, xtol=1e-8)) if high > low else low

    def stretched(self, factor: float) -> Mixture:
        """The same about the mean, `factor` times as wide."""
        location = self.mean + factor * (self.location - self.mean)
        return Mixture(self.weight, location, self.scale * factor, self.df)


def posterior(
    effects: Array, errors: Array, df: Array | None = None, tau_scale: float = DEFAULT_TAU_SCALE, shared: float = 0.0
) -> tuple[Mixture, float]:
    """Posterior of the mean over data sets under a flat prior on it and a half-normal one on τ; and the median of τ.

    Args:
        effects, errors: [K], each data set's effect and its standard error.
        df: [K], degrees of freedom of the errors; None where they are known exactly.
        shared: variance that all data sets share, which more data sets do not average out.
    """
    nodes, weights = _NODES
    root = (nodes + 1) / 2  # τ = reach · root², so that nodes are dense near 0
    tau = _REACH * tau_scale * root**2
    total = errors**2 + tau[:, np.newaxis] ** 2
    precision = 1 / total
    mass = precision.sum(axis=1)
    location = (precision @ effects) / mass
    misfit = (precision * (effects - location[:, np.newaxis]) ** 2).sum(axis=1)
    log_density = -0.5 * (np.log(total).sum(axis=1) + np.log(mass) + misfit) - 0.5 * (tau / tau_scale) ** 2
    density = np.exp(log_density - log_density.max()) * weights * root
    density /= density.sum()
    shares = precision / mass[:, np.newaxis]
    variance = 1 / mass + shared
    if df is None:
        freedom = np.full(len(tau), 1e6)
    else:
        parts = (shares * errors) ** 2
        freedom = np.minimum(variance**2 / (parts**2 / df).sum(axis=1), 1e6)
    median = float(tau[np.searchsorted(np.cumsum(density), 0.5)])
    kept = density > _LEAST_WEIGHT
    mixture = Mixture(density[kept] / density[kept].sum(), location[kept], np.sqrt(variance[kept]), freedom[kept])
    return mixture, median


@dataclass(frozen=True)
class SampleSettings:
    """margin, tau_scale: points. alpha: 1 − the level of the wider interval. Without a tau_scale there is no prior."""

    margin: float
    tau_scale: float | None = DEFAULT_TAU_SCALE
    alpha: float = LEVEL


def over_datasets(
    shell: Estimate, datasets: Sequence[Estimate], fixed: Estimate, conditional: Estimate, settings: SampleSettings
) -> Estimate:
    """Mean over data sets as a sample of data sets.

    Estimand: the mean over the population that these data sets represent. Resampling unit: the data set.

    Args:
        datasets: the effect of each, for the weights there are.
        fixed, conditional: the mean for these data sets only, with and without the spread between pretrainings; the
            interval is never narrower than that of `fixed`.
    """
    values = np.array([one.effect for one in datasets if one.effect is not None], float)
    shell = replace(
        shell,
        n=len(values),
        n_datasets=len(values),
        n_pretrainings=fixed.n_pretrainings,
        method="one value per data set, one-sample t",
        assumptions=(
            "the data sets are a random sample of those to which the answer is applied",
            "benefits are near-normal over data sets",
        ),
    )
    if not len(values):
        return replace(shell, reason="no data set has an estimate")
    if len(values) < 2:
        reason = "no interval for a new data set: with one data set the spread between data sets is unknown"
        return replace(shell, effect=float(values[0]), reason=reason)
    shared = max((fixed.se or 0.0) ** 2 - (conditional.se or 0.0) ** 2, 0.0)
    scale = settings.tau_scale
    if scale is not None and len(values) < ENOUGH_DATASETS and all(one.se for one in datasets):
        errors, df = (np.array([getattr(one, name) for one in datasets], float) for name in ("se", "df"))
        shell = replace(shell, method=f"random effects, half-normal prior on τ with scale {scale:g}")
        return _by_prior(shell, posterior(values, errors, df, scale, shared)[0], fixed, settings)
    if np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())):
        return replace(shell, effect=float(values.mean()), reason="no interval: all data sets agree exactly")
    mean, freedom = float(values.mean()), len(values) - 1
    se = float((stats.sem(values) ** 2 + shared) ** 0.5)
    one = t_estimate(shell, mean, se, freedom, shell.method, settings.alpha)
    if scale is None:
        return one
    return t_estimate(shell, mean, se * _stretch(one, fixed), freedom, shell.method, settings.alpha)


def _stretch(one: Estimate, fixed: Estimate) -> float:
    """Factor by which an interval is widened to be no narrower than the one for these data sets only."""
    if one.low is None or one.high is None or fixed.low is None or fixed.high is None:
        return 1.0
    return max(1.0, (fixed.high - fixed.low) / (one.high - one.low))


def _by_prior(shell: Estimate, mixture: Mixture, fixed: Estimate, settings: SampleSettings) -> Estimate:
    def limits(which: Mixture, alpha: float) -> tuple[float, float]:
        return which.quantile(alpha / 2), which.quantile(1 - alpha / 2)

    low, high = limits(mixture, settings.alpha)
    factor = _stretch(replace(shell, low=low, high=high), fixed)
    if factor > 1:
        mixture = mixture.stretched(factor)
        low, high = limits(mixture, settings.alpha)
    low90, high90 = limits(mixture, 2 * settings.alpha)
    below, margin = mixture.cdf(0.0), settings.margin
    return replace(
        shell,
        effect=mixture.mean,
        low=low,
        high=high,
        low90=low90,
        high90=high90,
        se=(high - low) / (2 * float(stats.norm.ppf(1 - settings.alpha / 2))),
        p_value=2 * min(below, 1 - below),
        p_equivalence=max(mixture.cdf(-margin), 1 - mixture.cdf(margin)),
    )


def weighted_by_precision(shell: Estimate, datasets: Sequence[Estimate]) -> Estimate:
    """Mean over data sets as a sample, each weighted by its precision: Hartung and Knapp's interval.

    For data sets known with different precision (more seeds, larger test sets); with equal precision it equals the
    one-sample t. Between-data-set variance: iterated (Paule and Mandel). Needs two data sets with standard errors.
    """
    known = [one for one in datasets if one.effect is not None and one.se]
    shell = replace(shell, n=len(known), n_datasets=len(known))
    if len(known) < 2 or len(known) < len(datasets):
        return replace(shell, reason="no interval: it needs two data sets whose own spread is known")
    effects = np.array([one.effect for one in known], float)
    variances = np.array([one.se for one in known], float) ** 2
    fitted = combine_effects(effects, variances, method_re="iterated", use_t=True)
    se = float(fitted.sd_eff_w_re_hksj)
    if not se > 0:
        return replace(shell, effect=float(fitted.mean_effect_re), reason="no interval: all data sets agree exactly")
    return t_estimate(shell, float(fitted.mean_effect_re), se, len(known) - 1, "random effects, Hartung and Knapp's t")


@dataclass(frozen=True)
class Heterogeneity:
    """How much the benefit differs between data sets: `tau` in points, `i2` the share of variance not due to runs."""

    tau: float
    i2: float
    prediction_low: float | None
    prediction_high: float | None


def heterogeneity(datasets: Sequence[Estimate]) -> Heterogeneity | None:
    """Spread of the benefit between data sets (iterated Paule-Mandel τ²); None under three data sets.

    The prediction interval is for the benefit that the same study would see on one further data set.
    """
    if len(datasets) < 3 or any(one.se is None for one in datasets):
        return None
    effects = np.array([one.effect for one in datasets], float)
    variances = np.array([one.se for one in datasets], float) ** 2
    fitted = combine_effects(effects, variances, method_re="iterated", use_t=True)
    tau2 = max(float(fitted.tau2), 0.0)
    reach = float(stats.t.ppf(0.975, len(effects) - 1)) * float(np.std(effects, ddof=1)) * (1 + 1 / len(effects)) ** 0.5
    mean = float(effects.mean())
    return Heterogeneity(tau2**0.5, max(float(fitted.i2), 0.0), mean - reach, mean + reach)
