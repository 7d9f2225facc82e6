"""From pairs to estimates: benefit per cell, size and study, and whether it grows with size.

Method: ordinary least squares on cell indicators (statsmodels), linear contrasts of cell means, pooled residual degrees
of freedom. "On these data sets" keeps the data sets fixed; "on a new data set" takes one value per data set as the
unit (scipy, one-sample t). Nothing is imputed: a contrast uses the cells that exist and names those it lacks. Next:
`analysis/statistics/verdicts.py` for the verdicts, `analysis/statistics/robustness.py` for other assumptions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from scipy import stats
from scipy.stats import false_discovery_control
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.multitest import multipletests

from analysis.statistics.contrasts import CellModel, Estimate, Weights, over_datasets, t_estimate
from analysis.statistics.pairs import Comparison

#: Columns of a frame of estimates.
_COLUMNS = pl.Schema(
    dict.fromkeys(("label", "model", "size", "dataset", "method", "reason"), pl.String)
    | dict.fromkeys(("effect", "low", "high", "low90", "high90", "se", "df", "p_value", "p_adjusted"), pl.Float64)
    | dict.fromkeys(("n", "n_datasets", "parameters"), pl.Int64)
)


@dataclass(frozen=True)
class Heterogeneity:
    """How much the benefit differs between data sets: `tau` in points, `i2` the share of variance not due to runs."""

    tau: float
    i2: float
    prediction_low: float | None
    prediction_high: float | None


@dataclass(frozen=True)
class Estimates:
    """The estimates of one comparison, with verdicts; `growth` is the only primary one.

    growth: change of the benefit from the smallest to the largest size along the fitted slope on log10(parameters).
    """

    comparison: Comparison
    margin: float
    overall: Estimate
    overall_random: Estimate
    growth: Estimate
    growth_random: Estimate
    per_tenfold: Estimate
    largest_minus_smallest: Estimate
    sizes: tuple[Estimate, ...]
    sizes_random: tuple[Estimate, ...]
    cells: tuple[Estimate, ...]
    datasets: tuple[Estimate, ...]
    dataset_growth: tuple[Estimate, ...]
    heterogeneity: Heterogeneity | None
    residual_sd: float | None
    df: int

    def judged(self) -> Estimates:
        """With the verdict of every estimate, by the margin: the last step, after p-values have been adjusted."""

        def each(estimates: tuple[Estimate, ...]) -> tuple[Estimate, ...]:
            return tuple(one.judged(self.margin) for one in estimates)

        return replace(
            self,
            overall=self.overall.judged(self.margin),
            overall_random=self.overall_random.judged(self.margin),
            growth=self.growth.judged(self.margin),
            growth_random=self.growth_random.judged(self.margin),
            largest_minus_smallest=self.largest_minus_smallest.judged(self.margin),
            sizes=each(self.sizes),
            sizes_random=each(self.sizes_random),
            cells=each(self.cells),
            datasets=each(self.datasets),
            dataset_growth=each(self.dataset_growth),
        )

    @property
    def sample_is_informative(self) -> bool:
        """Whether the interval over data sets as a sample stays within ±100 points, the range of any difference."""
        limits = self.overall_random.interval95
        return limits is not None and (self.comparison.unit != "points" or (limits[0] >= -100 and limits[1] <= 100))

    def frame(self, which: str = "cells") -> pl.DataFrame:
        """A Polars frame of `cells`, `sizes`, `sizes_random`, `datasets` or `dataset_growth`, one row an estimate."""
        return to_frame(getattr(self, which))


def growth_weights(comparison: Comparison) -> tuple[dict[str, dict[str, float]], str]:
    """Per data set, the weights of slope × range on centred log10(parameters); and which data sets were left out.

    Uses the data sets that have every size; where none has, those with at least two.
    """
    sizes = comparison.sizes
    position = {model: float(np.log10(parameters)) for model, parameters in sizes if parameters > 0}
    if len(set(position.values())) < 2:
        return {}, "growth needs two sizes with a different number of parameters"
    reach = max(position.values()) - min(position.values())
    members: dict[str, dict[str, float]] = {}
    for setting, model, dataset in comparison.estimable.select("setting_id", "model", "dataset").iter_rows():
        members.setdefault(dataset, {})[setting] = position[model]
    complete = {name: cells for name, cells in members.items() if len(cells) == len(sizes)}
    used = complete or {name: cells for name, cells in members.items() if len(set(cells.values())) > 1}
    if not used:
        return {}, "growth needs a data set with results at two sizes"
    weights = {}
    for dataset, cells in used.items():
        x = np.array(list(cells.values()))
        centred = x - x.mean()
        weights[dataset] = dict(zip(cells, reach * centred / (centred**2).sum(), strict=True))
    missing = sorted(set(comparison.cells["dataset"]) - set(used))
    note = f"without {', '.join(missing)}, which lack a size" if missing else ""
    return weights, note


def mean_weights(groups: Sequence[Weights]) -> dict[str, float]:
    """The plain mean of contrasts over disjoint groups of cells."""
    return {setting: weight / len(groups) for group in groups for setting, weight in group.items()}


def estimate(comparison: Comparison, margin: float = 0.5) -> Estimates:
    """All estimates of a comparison. margin: the smallest difference that matters, above 0, in the outcome's unit."""
    model = CellModel(comparison)
    rows = comparison.estimable
    datasets = _grouped(model, rows, "dataset")
    sizes = _adjusted(_sizes(model, comparison), "holm")
    sizes_random = tuple(
        over_datasets(
            Estimate(one.label, model=one.model, size=one.size, parameters=one.parameters),
            rows.filter(pl.col("model") == one.model)["effect"].to_list(),
        )
        for one in sizes
    )
    growth, growth_random, dataset_growth = _growth(model, comparison)
    span = comparison.sizes
    decades = np.log10(span[-1][1] / span[0][1]) if len(span) > 1 and span[0][1] > 0 else 0.0
    estimates = Estimates(
        comparison=comparison,
        margin=margin,
        overall=_overall(model, rows, len(datasets)),
        overall_random=over_datasets(Estimate("all data sets, random"), [one.effect or 0.0 for one in datasets]),
        growth=growth,
        growth_random=growth_random,
        per_tenfold=growth.scaled(1 / decades, "growth per tenfold parameters") if decades else growth,
        largest_minus_smallest=_extremes(model, comparison),
        sizes=sizes,
        sizes_random=sizes_random,
        cells=_adjusted(_cell_estimates(model, rows), "bh"),
        datasets=datasets,
        dataset_growth=dataset_growth,
        heterogeneity=heterogeneity(datasets),
        residual_sd=model.sd,
        df=model.df,
    )
    return estimates.judged()


def benefit_and_growth(comparison: Comparison) -> tuple[Estimate, Estimate]:
    """Only the two main estimates, for the data sets of the study: mean over all cells, and growth; not judged."""
    model = CellModel(comparison)
    rows = comparison.estimable
    return _overall(model, rows, rows["dataset"].n_unique()), _fixed_growth(model, comparison)[0]


def cell_benefits(comparison: Comparison) -> tuple[Estimate, ...]:
    """The benefit of each estimable cell, with p-values not adjusted; not judged."""
    return _cell_estimates(CellModel(comparison), comparison.estimable)


def over_datasets_weighted(shell: Estimate, datasets: Sequence[Estimate]) -> Estimate:
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


def _overall(model: CellModel, rows: pl.DataFrame, n_datasets: int) -> Estimate:
    weights = dict.fromkeys(rows["setting_id"], 1 / rows.height) if rows.height else {}
    return _one(model, Estimate("all cells", n_datasets=n_datasets), weights, "no cell has both arms")


def _one(model: CellModel, shell: Estimate, weights: Weights, reason: str) -> Estimate:
    return model.contrasts([(shell, weights)])[0] if weights else replace(shell, reason=reason)


def _cell_estimates(model: CellModel, rows: pl.DataFrame) -> tuple[Estimate, ...]:
    columns = rows.select("setting_id", "model", "size", "dataset", "parameters").iter_rows()
    return tuple(
        model.contrasts(
            [
                (
                    Estimate(
                        f"{dataset}, {size}",
                        n_datasets=1,
                        model=name,
                        size=size,
                        dataset=dataset,
                        parameters=parameters,
                    ),
                    {setting: 1.0},
                )
                for setting, name, size, dataset, parameters in columns
            ]
        )
    )


def _grouped(model: CellModel, rows: pl.DataFrame, by: str) -> tuple[Estimate, ...]:
    groups = rows.group_by(by, maintain_order=True).agg("setting_id")
    many = [
        (Estimate(name, dataset=name, n_datasets=1), dict.fromkeys(settings, 1 / len(settings)))
        for name, settings in groups.iter_rows()
    ]
    return tuple(model.contrasts(many))


def _sizes(model: CellModel, comparison: Comparison) -> tuple[Estimate, ...]:
    many = []
    for name, parameters in comparison.sizes:
        rows = comparison.estimable.filter(pl.col("model") == name)
        shell = Estimate(
            rows["size"][0], model=name, size=rows["size"][0], parameters=parameters, n_datasets=rows.height
        )
        many.append((shell, dict.fromkeys(rows["setting_id"], 1 / rows.height)))
    return tuple(model.contrasts(many))


def _fixed_growth(model: CellModel, comparison: Comparison) -> tuple[Estimate, Mapping[str, Weights]]:
    """Growth for the data sets of the study, and each data set's weights."""
    weights, note = growth_weights(comparison)
    shell = Estimate("growth from the smallest to the largest size", n_datasets=len(weights))
    if not weights:
        return replace(shell, reason=note), {}
    fixed = model.contrasts([(shell, mean_weights(list(weights.values())))])[0]
    return replace(fixed, reason=", ".join(part for part in (fixed.reason, note) if part)), weights


def _growth(model: CellModel, comparison: Comparison) -> tuple[Estimate, Estimate, tuple[Estimate, ...]]:
    fixed, weights = _fixed_growth(model, comparison)
    if not weights:
        return fixed, replace(fixed, label="growth, random"), ()
    per_dataset = model.contrasts(
        [(Estimate(name, dataset=name, n_datasets=1), group) for name, group in weights.items()]
    )
    shell = Estimate("growth, random", n_datasets=len(weights))
    return fixed, over_datasets(shell, [one.effect or 0.0 for one in per_dataset]), tuple(per_dataset)


def _extremes(model: CellModel, comparison: Comparison) -> Estimate:
    """Largest − smallest size over the data sets that have both: a check on the slope, which uses all sizes."""
    shell, sizes = Estimate("largest − smallest size"), comparison.sizes
    if len(sizes) < 2:
        return replace(shell, reason="growth needs two sizes with a different number of parameters")
    ends = (sizes[-1][0], sizes[0][0])
    rows = comparison.estimable.filter(pl.col("model").is_in(ends))
    rows = rows.filter(pl.len().over("dataset") == 2)
    n = rows["dataset"].n_unique()
    weights = {
        setting: (1 if name == ends[0] else -1) / n for setting, name in rows.select("setting_id", "model").iter_rows()
    }
    return _one(model, replace(shell, n_datasets=n), weights, "no data set has both the largest and the smallest size")


def _adjusted(estimates: tuple[Estimate, ...], method: str) -> tuple[Estimate, ...]:
    """With p-values adjusted for multiple comparisons: `holm` (family-wise error) or `bh` (false discovery rate)."""
    p_values = [one.p_value for one in estimates if one.p_value is not None]
    if not p_values or len(p_values) < len(estimates):
        return estimates
    adjusted = false_discovery_control(p_values) if method == "bh" else multipletests(p_values, method=method)[1]
    return tuple(replace(one, p_adjusted=float(value)) for one, value in zip(estimates, adjusted, strict=True))


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


def to_frame(estimates: Sequence[Estimate]) -> pl.DataFrame:
    """One row per estimate, with the fields of the record as columns; without assumptions and verdicts."""
    return pl.DataFrame({name: [getattr(one, name) for one in estimates] for name in _COLUMNS}, schema=_COLUMNS)
