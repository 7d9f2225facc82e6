"""What would settle the growth: how narrow its interval gets with more seeds, pretrainings or data sets, and the time.

From the spreads observed in the study: σ of runs within cells, the SD between pretrainings of a size, and τ, the SD of
the growth between data sets. Reading the answer and then adding to the study is one more look at it, so the half-widths
are those of a study that is read at least twice. Next: `analysis/page/planning_section.py` shows them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import stats
from statsmodels.stats.power import TTestPower

from analysis.results import Results
from analysis.statistics.contrasts import CellModel
from analysis.statistics.effect import Estimate
from analysis.statistics.estimates import Estimates
from analysis.statistics.growth import growth_weights
from analysis.statistics.multiplicity import level_of_a_look
from analysis.statistics.pairs import Comparison
from analysis.statistics.pretraining_spread import luck_of_sizes

#: Largest number of seeds, pretrainings or data sets that is proposed.
MOST = 1_000
_COUNTS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40)


@dataclass(frozen=True)
class Need:
    """How many of one kind bring the 95 % interval on the growth within ± the margin.

    Attributes:
        now: how many the study has; 0 where it is unknown.
        enough: how many are enough if further ones vary as observed; None if above 1,000 or not computable.
        cautious: the same if runs vary as much as the upper 80 % limit of their spread.
        hours: time of this machine for those that are lacking; None where the study does not tell.
        half_widths: expected half-width by number; columns count, half_width, basis, axis.
    """

    now: int
    enough: int | None
    cautious: int | None
    hours: float | None
    half_widths: pl.DataFrame


@dataclass(frozen=True)
class PrecisionPlan:
    """What a study needs of each kind; each is computed with the other kinds as they are.

    Attributes:
        seeds: seeds per cell, for these data sets and weights.
        pretrainings: pretrainings per size, each with a seed of its own; None where no size has two yet, so that their
            spread is unknown.
        datasets: data sets, to generalise to others like these; None with fewer than two.
        looks: number of looks for which the half-widths are corrected.
        detectable: smallest growth that the study as it is detects with 80 % power.
    """

    seeds: Need
    pretrainings: Need | None
    datasets: Need | None
    looks: int
    detectable: float | None


@dataclass(frozen=True)
class _Design:
    """Variance of the growth with one seed a cell, and with one pretraining a size; degrees of freedom of one more."""

    of_seeds: float
    of_pretrainings: float
    seed_df: float
    pretraining_df: float
    pretrainings: int
    level: float

    def reach(self, df: float) -> float:
        return float(stats.t.ppf(1 - self.level / 2, df)) if df > 0 else float("inf")

    def by_seeds(self, seeds: int, factor: float = 1.0) -> float:
        """Half-width with this many seeds, for the present weights."""
        variance = factor**2 * self.of_seeds / seeds
        own = self.reach(self.seed_df * (seeds - 1)) * variance**0.5
        if not self.pretrainings:
            return own
        total = variance + self.of_pretrainings / self.pretrainings
        return max(own, self.reach(self.pretraining_df * (self.pretrainings - 1)) * total**0.5)

    def by_pretrainings(self, count: int, factor: float = 1.0) -> float:
        """Half-width with this many pretrainings a size, each with one seed."""
        total = (factor**2 * self.of_seeds + self.of_pretrainings) / count
        return self.reach(self.pretraining_df * (count - 1)) * total**0.5


def precision_plan(results: Results, estimates: Estimates) -> PrecisionPlan | None:
    """None where no spread between runs, or no growth, can be estimated.

    Assumes that further seeds, pretrainings and data sets vary like the present ones and that all cells get as many.
    """
    comparison = estimates.comparison
    looks = max(estimates.looks, 2)
    model = CellModel(comparison)
    weights = growth_weights(comparison)
    if not weights.all_data or estimates.growth.df is None:
        return None
    row = model.row(weights.all_data)
    seeds_now, df = int(model.units[row != 0].min()), float(model.of_seeds(row[np.newaxis]).df[0])
    has_several = not estimates.growth.is_conditional
    design = _Design(
        of_seeds=float(model.of_seeds(row[np.newaxis]).variance[0]) * seeds_now,
        of_pretrainings=(estimates.pretraining_sd or 0.0) ** 2 * luck_of_sizes(model, weights.all_data),
        seed_df=df / max(seeds_now - 1, 1),
        pretraining_df=len(model.replicates),
        pretrainings=estimates.growth.n_pretrainings if has_several else 0,
        level=level_of_a_look(looks),
    )
    caution = (df / float(stats.chi2.ppf(0.2, df))) ** 0.5
    hours = _hours(results, comparison)
    return PrecisionPlan(
        seeds=_need(design.by_seeds, seeds_now, estimates.margin, caution, hours.seed, "seeds per cell"),
        pretrainings=_need(
            design.by_pretrainings,
            estimates.growth.n_pretrainings,
            estimates.margin,
            caution,
            None if hours.pretraining is None or hours.seed is None else hours.seed + hours.pretraining,
            "pretrainings per size",
        )
        if has_several
        else None,
        datasets=_datasets_needed(estimates, hours.dataset, level_of_a_look(looks)),
        looks=looks,
        detectable=_detectable(estimates.growth),
    )


def _need(
    half_width: Callable[..., float], now: int, margin: float, caution: float, hours: float | None, axis: str
) -> Need:
    """hours: of one more."""
    enough = _first(lambda n: half_width(n) <= margin, MOST)
    counts = [count for count in _COUNTS if count <= max(20, 4 * now)]
    rows = [(count, half_width(count), "expected") for count in counts]
    rows += [
        (count, half_width(count, caution), "if runs vary more than observed (upper 80 % limit)") for count in counts
    ]
    lacking = None if hours is None or enough is None else hours * max(enough - now, 0)
    return Need(now, enough, _first(lambda n: half_width(n, caution) <= margin, MOST), lacking, _frame(rows, axis))


def _first(enough: Callable[[int], bool], most: int) -> int | None:
    """The smallest count from 2 that is enough, by bisection, because half-widths fall with the count."""
    if not enough(most):
        return None
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _datasets_needed(estimates: Estimates, hours: float | None, level: float) -> Need | None:
    """Data sets until the random interval is within ± the margin; needs two data sets, for their spread."""
    growths = np.array([one.effect for one in estimates.dataset_growth], float)
    if len(growths) < 2:
        return None
    of_runs = float(np.mean([one.se**2 for one in estimates.dataset_growth if one.se is not None]))
    between = max(float(growths.var(ddof=1)) - of_runs, 0.0)

    def half_width(count: int, run_variance: float) -> float:
        spread: float = (between + run_variance) ** 0.5
        return float(stats.t.ppf(1 - level / 2, count - 1)) * spread / count**0.5

    counts = [count for count in _COUNTS if 2 < count <= max(20, 3 * len(growths))]
    rows = [(count, half_width(count, of_runs), "with the present seeds") for count in counts]
    if between > 0:  # otherwise runs explain all the spread observed, and the line would promise certainty
        rows += [(count, half_width(count, 0.0), "with any number of seeds") for count in counts]
    enough = _first(lambda n: n > 1 and half_width(n, of_runs) <= estimates.margin, MOST)
    lacking = None if hours is None or enough is None else hours * max(enough - len(growths), 0)
    return Need(len(growths), enough, None, lacking, _frame(rows, "data sets"))


@dataclass(frozen=True)
class _Hours:
    """Hours of this machine for one more seed in every cell, pretraining of every size, and data set."""

    seed: float | None
    pretraining: float | None
    dataset: float | None


def _hours(results: Results, comparison: Comparison) -> _Hours:
    """From the recorded times, with as many runs at once as the study had.

    A data set takes as many seeds as the present ones have, at their mean time.
    """
    names = ("train_s", "evaluate_s", "concurrent_runs")
    runs = comparison.runs.join(results.done.select("run_id", *names), on="run_id")
    alone = ((pl.col("train_s") + pl.col("evaluate_s")) / pl.col("concurrent_runs").clip(1) / 3600).alias("hours")
    cells = runs.select("dataset", "setting_id", "init", alone).drop_nulls()
    if cells.is_empty():
        return _Hours(None, None, None)
    seed = float(cells.group_by("setting_id", "init").agg(pl.col("hours").mean())["hours"].sum())
    dataset = float(cells["hours"].sum()) / cells["dataset"].n_unique()
    took = results.pretraining.group_by("model", "weights_key").agg(pl.col("seconds").max())
    took = took.filter(pl.col("model").is_in(comparison.runs["model"].unique().to_list()))
    if took.is_empty():
        return _Hours(seed, None, dataset)
    at_once = float(runs["concurrent_runs"].clip(1).mean() or 1)  # type: ignore[arg-type]
    pretraining = float(took.group_by("model").agg(pl.col("seconds").mean())["seconds"].sum()) / 3600 / at_once
    return _Hours(seed, pretraining, dataset)


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
