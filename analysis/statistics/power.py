"""Planning: how wide the interval on the growth would be with more seeds, or with more data sets.

From the variances observed in the study: σ, the residual standard deviation of the pooled model, and τ, the standard
deviation of the growth between data sets beyond σ. Next: `analysis/page/planning_section.py` shows both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import stats
from statsmodels.stats.power import TTestPower

from analysis.statistics.contrasts import CellModel, Estimate
from analysis.statistics.estimates import Estimates, growth_weights, mean_weights

MOST_SEEDS = 1_000
MOST_DATASETS = 1_000


@dataclass(frozen=True)
class PrecisionPlan:
    """Seeds, or data sets, for a 95 % interval on the growth within ± the margin.

    `seeds_now`, `datasets_now`: what the study has (seeds: the fewest pairs, or runs of the smaller arm, in a cell).
    `seeds`: seeds per cell that are enough for these data sets; `seeds_cautious`: the same if σ is at its upper 80 %
    limit; `datasets`: data sets that are enough to generalise to others like these; None if above 1,000 or not
    computable. `detectable`: smallest growth that the present seeds detect with 80 % power.

    Frames: count, half_width, basis, axis.
    """

    seeds_now: int
    datasets_now: int
    seeds: int | None
    seeds_cautious: int | None
    datasets: int | None
    detectable: float | None
    by_seeds: pl.DataFrame
    by_datasets: pl.DataFrame


@dataclass(frozen=True)
class _Design:
    """σ, its degrees of freedom, Σ weight² over cells (arms counted apart where unpaired), cells."""

    sigma: float
    df: int
    weight: float
    groups: int

    def half_width(self, seeds: int, factor: float = 1.0) -> float:
        df = self.groups * (seeds - 1)
        if df < 1:
            return float("inf")
        return float(stats.t.ppf(0.975, df)) * factor * self.sigma * (self.weight / seeds) ** 0.5


def precision_plan(estimates: Estimates) -> PrecisionPlan | None:
    """None where no spread between runs, or no growth, can be estimated.

    Assumes that further seeds and data sets vary like the present ones and that all cells get the same number of seeds.
    """
    comparison = estimates.comparison
    weights, _ = growth_weights(comparison)
    model = CellModel(comparison)
    if not weights or model.sd is None:
        return None
    row = model.row(mean_weights(list(weights.values())))
    design = _Design(model.sd, model.df, float((row**2).sum()), len(model.columns))
    cells = comparison.estimable
    counts = cells["n_pairs"] if comparison.paired else pl.concat([cells["n_treated"], cells["n_control"]])
    now = max(min(counts.to_list()), 1)
    caution = (model.df / float(stats.chi2.ppf(0.2, model.df))) ** 0.5
    datasets, by_datasets = _datasets_needed(estimates)
    return PrecisionPlan(
        seeds_now=now,
        datasets_now=len(weights),
        seeds=_first(lambda n: design.half_width(n) <= estimates.margin, MOST_SEEDS),
        seeds_cautious=_first(lambda n: design.half_width(n, caution) <= estimates.margin, MOST_SEEDS),
        datasets=datasets,
        detectable=_detectable(estimates.growth),
        by_seeds=_by_seeds(design, caution, now),
        by_datasets=by_datasets,
    )


def _first(enough: Callable[[int], bool], most: int) -> int | None:
    """The smallest count from 2 that is enough, by bisection, because half-widths fall with the count."""
    if not enough(most):
        return None
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _by_seeds(design: _Design, caution: float, now: int) -> pl.DataFrame:
    counts = [count for count in (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40) if count <= max(20, 4 * now)]
    rows = [(count, design.half_width(count), "expected") for count in counts]
    rows += [
        (count, design.half_width(count, caution), "if runs vary more than observed (upper 80 % limit)")
        for count in counts
    ]
    return _frame(rows, "seeds per cell")


def _datasets_needed(estimates: Estimates) -> tuple[int | None, pl.DataFrame]:
    """Data sets until the random interval is within ± the margin; needs two data sets, for their spread."""
    growths = np.array([one.effect for one in estimates.dataset_growth], float)
    if len(growths) < 2:
        return None, _frame([], "data sets")
    of_runs = float(np.mean([one.se**2 for one in estimates.dataset_growth if one.se is not None]))
    between = max(float(growths.var(ddof=1)) - of_runs, 0.0)

    def half_width(count: int, run_variance: float) -> float:
        spread: float = (between + run_variance) ** 0.5
        return float(stats.t.ppf(0.975, count - 1)) * spread / count**0.5

    counts = [count for count in (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 40) if count <= max(20, 3 * len(growths))]
    rows = [(count, half_width(count, of_runs), "with the present seeds") for count in counts if count > 2]
    if between > 0:  # otherwise runs explain all the spread observed, and the line would promise certainty
        rows += [(count, half_width(count, 0.0), "with any number of seeds") for count in counts if count > 2]
    return _first(lambda n: n > 1 and half_width(n, of_runs) <= estimates.margin, MOST_DATASETS), _frame(
        rows, "data sets"
    )


def _frame(rows: list[tuple[int, float, str]], axis: str) -> pl.DataFrame:
    schema = {"count": pl.Int64, "half_width": pl.Float64, "basis": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.lit(axis).alias("axis"))


def _detectable(growth: Estimate) -> float | None:
    """Growth that a two-sided 5 % test finds with 80 % power, at the present standard error and degrees of freedom."""
    if growth.se is None or growth.df is None:
        return None
    # A one-sample test of df + 1 values has as many degrees; its effect counts standard errors · √(df + 1).
    nobs = growth.df + 1
    effect = TTestPower().solve_power(nobs=nobs, alpha=0.05, power=0.8, alternative="two-sided")
    return float(np.ravel(effect)[0]) * nobs**0.5 * growth.se
