"""The record of an estimate and the model behind it: cell means, pooled residual variance, linear contrasts.

Method: ordinary least squares on cell indicators (statsmodels) for fixed data sets; one value per data set (scipy,
one-sample t) for random ones. Next: `analysis/statistics/estimates.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from scipy import stats
from statsmodels.regression.linear_model import OLS, OLSResults

from analysis.statistics.pairs import Comparison
from analysis.statistics.verdicts import Equivalence, Interval, Verdict, decide, equivalence, equivalence_p

Weights = Mapping[str, float]


@dataclass(frozen=True)
class Estimate:
    """An effect with its intervals. `low`, `high`: 95 %; `low90`, `high90`: 90 %, for two one-sided tests.

    An interval that is not warranted is None, and `reason` says why. `n` counts pairs (paired) or runs (unpaired),
    or data sets where these are the unit. `verdict`, `equivalence` and `p_equivalence` are None until `judged`.
    """

    label: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    low90: float | None = None
    high90: float | None = None
    se: float | None = None
    df: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    n: int = 0
    n_datasets: int = 0
    model: str | None = None
    size: str | None = None
    dataset: str | None = None
    parameters: int | None = None
    method: str = ""
    reason: str = ""
    assumptions: tuple[str, ...] = ()
    verdict: Verdict | None = None
    equivalence: Equivalence | None = None
    p_equivalence: float | None = None

    def scaled(self, factor: float, label: str) -> Estimate:
        """The same estimate in another unit; not judged, for the margin has the old unit."""

        def times(value: float | None) -> float | None:
            return None if value is None else float(value * factor)

        return replace(
            self,
            label=label,
            effect=times(self.effect),
            low=times(self.low),
            high=times(self.high),
            low90=times(self.low90),
            high90=times(self.high90),
            se=times(self.se),
            verdict=None,
            equivalence=None,
            p_equivalence=None,
        )

    def judged(self, margin: float) -> Estimate:
        """The same estimate with its verdict; margin: smallest difference that matters, in the estimate's unit."""
        return replace(
            self,
            verdict=decide(self.interval95, self.interval90, margin),
            equivalence=equivalence(self.interval90, margin),
            p_equivalence=equivalence_p(self.effect, self.se, self.df, margin),
        )

    @property
    def interval95(self) -> Interval:
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def interval90(self) -> Interval:
        return None if self.low90 is None or self.high90 is None else (self.low90, self.high90)

    @property
    def has_interval(self) -> bool:
        return self.low is not None


class CellModel:
    """Means of cells with a pooled residual variance; contrasts of them with t intervals.

    Estimand: Σ weight · (treated − control) over cells, for the training randomness that the seeds sample. Resampling
    unit: the pair (paired) or the run (unpaired). Assumes independent, near-normal residuals of equal spread in all
    cells.
    """

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        control = comparison.arms[1]
        if comparison.paired:
            keys, values = comparison.pairs["setting_id"].to_list(), comparison.pairs["difference"]
            self.sign: dict[str, tuple[tuple[int, float], ...]] = dict.fromkeys(keys, ((0, 1.0),))
            names = [(key, 0) for key in keys]
        else:
            both = comparison.runs.filter(pl.col("init").n_unique().over("setting_id") == 2)
            names = [(key, int(init == control)) for key, init in both.select("setting_id", "init").iter_rows()]
            values = both["value"]
            self.sign = dict.fromkeys((key for key, _ in names), ((0, 1.0), (1, -1.0)))
        self.columns = {name: index for index, name in enumerate(dict.fromkeys(names))}
        self.codes = np.array([self.columns[name] for name in names], dtype=int)
        self.values = values.to_numpy().astype(float)
        self.n = len(self.values)
        self.df = self.n - len(self.columns)
        self.counts = np.bincount(self.codes, minlength=len(self.columns)) if self.n else np.zeros(0, int)
        self.means = np.bincount(self.codes, self.values) / self.counts if self.n else np.zeros(0)
        residual = self.values - self.means[self.codes] if self.n else self.values
        spread = float((residual**2).sum())
        scale = float(np.abs(self.values).max(initial=0.0))
        self.has_spread = self.df >= 1 and spread > (1e-9 * max(scale, 1e-9)) ** 2
        self.sd = float(np.sqrt(spread / self.df)) if self.has_spread else None

    @cached_property
    def _fit(self) -> Any:
        """Least squares on cell indicators.

        The columns are orthogonal, so the solution and its covariance are known: the means, and one over the number of
        runs. `OLS.fit` would compute the same from singular values, in 30 s for the nine fits of a page of 5,000 runs;
        a test compares the two.
        """
        model = OLS(self.values, np.eye(len(self.columns))[self.codes], hasconst=True)
        model.df_model, model.df_resid = len(self.columns) - 1, self.df
        return OLSResults(model, self.means, normalized_cov_params=np.diag(1 / self.counts))

    @property
    def method(self) -> str:
        kind = "differences of pairs" if self.comparison.paired else "accuracies of runs, arms unpaired"
        return f"contrast of cell means ({kind}), pooled residual variance, t with {self.df} degrees of freedom"

    def row(self, weights: Weights) -> np.ndarray:
        """Weights over settings as a row over the model's columns."""
        row = np.zeros(len(self.columns))
        for setting, weight in weights.items():
            for arm, sign in self.sign[setting]:
                row[self.columns[setting, arm]] += sign * weight
        return row

    def no_interval(self) -> str:
        """Why no spread can be estimated."""
        if self.df < 1:
            return "no interval: every cell has one run per arm, so the spread between runs is unknown"
        return "no interval: the runs of every cell agree exactly, so no spread can be estimated"

    def contrasts(self, many: Sequence[tuple[Estimate, Weights]]) -> list[Estimate]:
        """Fill in each estimate from its weights; only its effect where no spread can be estimated."""
        if not many:
            return []
        rows = np.array([self.row(weights) for _, weights in many])
        effects = rows @ self.means
        counts = [int(self.counts[row != 0].sum()) for row in rows]
        method, assumed = self.method, assumptions(self.comparison)
        described = [
            replace(shell, effect=float(effect), n=count, method=method, assumptions=assumed)
            for (shell, _), effect, count in zip(many, effects, counts, strict=True)
        ]
        if not self.has_spread:
            return [replace(one, reason=self.no_interval(), method="difference of means") for one in described]
        test = self._fit.t_test(rows)
        wide, narrow = np.atleast_2d(test.conf_int(alpha=0.05)), np.atleast_2d(test.conf_int(alpha=0.10))
        errors, p_values = np.atleast_1d(test.sd).ravel(), np.atleast_1d(test.pvalue).ravel()
        return [
            replace(
                one,
                low=float(wide[i, 0]),
                high=float(wide[i, 1]),
                low90=float(narrow[i, 0]),
                high90=float(narrow[i, 1]),
                se=float(errors[i]),
                df=float(self.df),
                p_value=float(p_values[i]),
            )
            for i, one in enumerate(described)
        ]

    def welch(self, shell: Estimate, weights: Weights) -> Estimate:
        """The same contrast with each cell's own spread and Satterthwaite degrees of freedom."""
        row = self.row(weights)
        used = row != 0
        if not self.n or (self.counts[used] < 2).any():
            return replace(shell, reason="no interval: a cell has one run per arm, so its own spread is unknown")
        residual = self.values - self.means[self.codes]
        variance = np.bincount(self.codes, residual**2)[used] / (self.counts[used] - 1)
        parts = row[used] ** 2 * variance / self.counts[used]
        total = float(parts.sum())
        if total <= 0:
            return replace(shell, effect=float(row @ self.means), reason=self.no_interval())
        df = total**2 / float((parts**2 / (self.counts[used] - 1)).sum())
        return t_estimate(shell, float(row @ self.means), total**0.5, df, "own spread of each cell, Satterthwaite t")


def t_estimate(shell: Estimate, effect: float, se: float, df: float, method: str) -> Estimate:
    """effect ± t · se, both intervals and the two-sided p."""
    wide, narrow = (float(stats.t.ppf(level, df)) * se for level in (0.975, 0.95))
    return replace(
        shell,
        effect=effect,
        low=effect - wide,
        high=effect + wide,
        low90=effect - narrow,
        high90=effect + narrow,
        se=se,
        df=df,
        p_value=float(2 * stats.t.sf(abs(effect) / se, df)),
        method=method,
    )


def assumptions(comparison: Comparison) -> tuple[str, ...]:
    """What the pooled contrasts assume, one string each."""
    unit = "differences of pairs" if comparison.paired else "runs"
    common: tuple[str, ...] = (
        f"{unit} are independent and near-normal within a cell",
        "their spread is the same in all cells",
    )
    counts = comparison.estimable
    if comparison.paired and counts.height and "n_pairs" in counts.columns:
        single = counts.filter(pl.col("n_pairs") == 1).height
        if 0 < single < counts.height:
            common = (*common, f"{single} of {counts.height} cells have one pair and use the spread of the others")
    if not comparison.paired and counts.height and (counts["n_treated"] < 2).all() and (counts["n_control"] > 1).any():
        return (
            *common,
            f"the {comparison.arms[0]} arm has one run per cell: its spread is assumed, not measured, to "
            f"equal that of {comparison.arms[1]}",
        )
    if not comparison.paired and counts.height and (counts["n_control"] < 2).all() and (counts["n_treated"] > 1).any():
        return (
            *common,
            f"the {comparison.arms[1]} arm has one run per cell: its spread is assumed, not measured, to "
            f"equal that of {comparison.arms[0]}",
        )
    return common


def over_datasets(shell: Estimate, values: Sequence[float]) -> Estimate:
    """Mean over data sets as a sample of data sets: one value each, one-sample t.

    Estimand: the mean over the population that these data sets represent. Resampling unit: the data set.
    """
    shell = replace(shell, n=len(values), n_datasets=len(values), method="one value per data set, one-sample t")
    shell = replace(
        shell,
        assumptions=(
            "the data sets are a random sample of those to which the answer is applied",
            "benefits are near-normal over data sets",
        ),
    )
    if not values:
        return replace(shell, reason="no data set has an estimate")
    if len(values) < 2:
        reason = "no interval for a new data set: with one data set the spread between data sets is unknown"
        return replace(shell, effect=float(values[0]), reason=reason)
    if np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())):
        return replace(shell, effect=float(np.mean(values)), reason="no interval: all data sets agree exactly")
    test = stats.ttest_1samp(values, 0)
    wide, narrow = test.confidence_interval(0.95), test.confidence_interval(0.90)
    return replace(
        shell,
        effect=float(np.mean(values)),
        low=float(wide.low),
        high=float(wide.high),
        low90=float(narrow.low),
        high90=float(narrow.high),
        se=float(stats.sem(values)),
        df=float(len(values) - 1),
        p_value=float(test.pvalue),
    )
