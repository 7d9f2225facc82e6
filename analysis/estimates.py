"""From pairs to estimates: benefit per cell, size and study, and whether it grows with size.

Method: ordinary least squares on cell indicators (statsmodels), linear contrasts of cell means, pooled residual degrees
of freedom. "On these data sets" keeps the data sets fixed; "on a new data set" takes one value per data set as the
unit (scipy, one-sample t). Nothing is imputed: a contrast uses the cells that exist and names what it lacks. Next:
`analysis/robustness.py` for other ways to ask the same, `analysis/words.py` for the sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.multitest import multipletests

from analysis.pairs import Comparison

Weights = Mapping[str, float]


@dataclass(frozen=True)
class Estimate:
    """An effect with what it leans on. `low`, `high`: 95 %; `low90`, `high90`: 90 %, for two one-sided tests.

    An interval that is not warranted is None and `reason` says why. `n` counts pairs (paired) or runs (unpaired),
    or data sets where these are the unit.
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

    def scaled(self, factor: float, label: str) -> Estimate:
        """The same estimate in another unit."""
        names = ("effect", "low", "high", "low90", "high90", "se")
        values = {name: None if getattr(self, name) is None else getattr(self, name) * factor for name in names}
        return replace(self, label=label, **values)

    @property
    def has_interval(self) -> bool:
        return self.low is not None


@dataclass(frozen=True)
class Heterogeneity:
    """How much the benefit differs between data sets: `tau` in points, `i2` the share of variance not due to runs."""

    tau: float
    i2: float
    prediction_low: float | None
    prediction_high: float | None


@dataclass(frozen=True)
class Estimates:
    """All that the page says about one comparison; `growth` is the one primary estimate.

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

    def frame(self, which: str = "cells") -> pl.DataFrame:
        """A Polars frame of `cells`, `sizes`, `sizes_random`, `datasets` or `dataset_growth`, one row an estimate."""
        return to_frame(getattr(self, which))


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
            self.sign = dict.fromkeys(keys, ((0, 1.0),))
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
        self._fit = OLS(self.values, np.eye(len(self.columns))[self.codes]).fit() if self.has_spread else None

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
        if self.df < 1:
            return "no interval: every cell has one run an arm, so the spread between runs is unknown"
        return "no interval: the runs of every cell agree exactly, so no spread can be estimated"

    def contrasts(self, many: Sequence[tuple[Estimate, Weights]]) -> list[Estimate]:
        """Fill in each estimate from its weights; effect alone where no spread can be estimated."""
        if not many:
            return []
        rows = np.array([self.row(weights) for _, weights in many])
        effects = rows @ self.means
        counts = [int(self.counts[row != 0].sum()) for row in rows]
        described = [
            replace(shell, effect=float(effect), n=count, method=self.method, assumptions=assumptions(self.comparison))
            for (shell, _), effect, count in zip(many, effects, counts, strict=True)
        ]
        if self._fit is None:
            return [replace(one, reason=self.no_interval(), method="difference of means") for one in described]
        test = self._fit.t_test(rows)
        wide, narrow = np.atleast_2d(test.conf_int(alpha=0.05)), np.atleast_2d(test.conf_int(alpha=0.10))
        errors, p_values = np.atleast_1d(test.sd).ravel(), np.atleast_1d(test.pvalue).ravel()
        return [
            replace(
                one, low=float(wide[i, 0]), high=float(wide[i, 1]), low90=float(narrow[i, 0]),
                high90=float(narrow[i, 1]), se=float(errors[i]), df=float(self.df), p_value=float(p_values[i]),
            )  # fmt: skip
            for i, one in enumerate(described)
        ]

    def welch(self, shell: Estimate, weights: Weights) -> Estimate:
        """The same contrast with each cell's own spread and Satterthwaite degrees of freedom."""
        row = self.row(weights)
        used = row != 0
        if not self.n or (self.counts[used] < 2).any():
            return replace(shell, reason="no interval: a cell has one run an arm, so its own spread is unknown")
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
        shell, effect=effect, low=effect - wide, high=effect + wide, low90=effect - narrow, high90=effect + narrow,
        se=se, df=df, p_value=float(2 * stats.t.sf(abs(effect) / se, df)), method=method,
    )  # fmt: skip


def assumptions(comparison: Comparison) -> tuple[str, ...]:
    """What the pooled contrasts lean on."""
    unit = "differences of pairs" if comparison.paired else "runs"
    common = (f"{unit} are independent and near-normal within a cell", "their spread is the same in all cells")
    counts = comparison.estimable
    if not comparison.paired and counts.height and (counts["n_treated"] < 2).all() and (counts["n_control"] > 1).any():
        return (*common, f"the {comparison.arms[0]} arm has one run a cell: its spread is assumed, not measured, to "
                f"equal that of {comparison.arms[1]}")  # fmt: skip
    if not comparison.paired and counts.height and (counts["n_control"] < 2).all() and (counts["n_treated"] > 1).any():
        return (*common, f"the {comparison.arms[1]} arm has one run a cell: its spread is assumed, not measured, to "
                f"equal that of {comparison.arms[0]}")  # fmt: skip
    return common


def over_datasets(shell: Estimate, values: Sequence[float]) -> Estimate:
    """Mean over data sets as a sample of data sets: one value each, one-sample t.

    Estimand: the mean over the population that these data sets represent. Resampling unit: the data set.
    """
    shell = replace(shell, n=len(values), n_datasets=len(values), method="one value per data set, one-sample t")
    shell = replace(shell, assumptions=("the data sets are a random sample of those the answer is meant for",
                                        "benefits are near-normal over data sets"))  # fmt: skip
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
        shell, effect=float(np.mean(values)), low=float(wide.low), high=float(wide.high), low90=float(narrow.low),
        high90=float(narrow.high), se=float(stats.sem(values)), df=float(len(values) - 1), p_value=float(test.pvalue),
    )  # fmt: skip


def growth_weights(comparison: Comparison) -> tuple[dict[str, dict[str, float]], str]:
    """Per data set, the weights of slope × range on centred log10(parameters); and what was left out, in words.

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
    """All estimates of a comparison; `margin`: the smallest difference that matters, in the outcome's unit."""
    model = CellModel(comparison)
    rows = comparison.estimable
    cells = _cell_estimates(model, rows)
    datasets = _grouped(model, rows, "dataset")
    sizes = _adjusted(_sizes(model, comparison), "holm")
    sizes_random = tuple(
        over_datasets(
            Estimate(one.label, model=one.model, size=one.size, parameters=one.parameters),
            rows.filter(pl.col("model") == one.model)["effect"].to_list(),
        )
        for one in sizes
    )
    everything = {setting: 1 / rows.height for setting in rows["setting_id"]}
    overall = _one(model, Estimate("all cells", n_datasets=len(datasets)), everything, "no cell has both arms")
    growth, growth_random, dataset_growth = _growth(model, comparison)
    span = comparison.sizes
    decades = np.log10(span[-1][1] / span[0][1]) if len(span) > 1 and span[0][1] > 0 else 0.0
    return Estimates(
        comparison=comparison,
        margin=margin,
        overall=overall,
        overall_random=over_datasets(Estimate("all data sets, random"), [one.effect or 0.0 for one in datasets]),
        growth=growth,
        growth_random=growth_random,
        per_tenfold=growth.scaled(1 / decades, "growth per tenfold parameters") if decades else growth,
        largest_minus_smallest=_extremes(model, comparison),
        sizes=sizes,
        sizes_random=sizes_random,
        cells=_adjusted(cells, "fdr_bh"),
        datasets=datasets,
        dataset_growth=dataset_growth,
        heterogeneity=heterogeneity(datasets),
        residual_sd=model.sd,
        df=model.df,
    )


def _one(model: CellModel, shell: Estimate, weights: Weights, reason: str) -> Estimate:
    return model.contrasts([(shell, weights)])[0] if weights else replace(shell, reason=reason)


def _cell_estimates(model: CellModel, rows: pl.DataFrame) -> tuple[Estimate, ...]:
    columns = rows.select("setting_id", "model", "size", "dataset", "parameters").iter_rows()
    return tuple(
        model.contrasts(
            [
                (Estimate(f"{dataset}, {size}", model=name, size=size, dataset=dataset, parameters=parameters, n_datasets=1),
                 {setting: 1.0})
                for setting, name, size, dataset, parameters in columns
            ]
        )
    )  # fmt: skip


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
        shell = Estimate(rows["size"][0], model=name, size=rows["size"][0], parameters=parameters, n_datasets=rows.height)
        many.append((shell, dict.fromkeys(rows["setting_id"], 1 / rows.height)))
    return tuple(model.contrasts(many))


def _growth(model: CellModel, comparison: Comparison) -> tuple[Estimate, Estimate, tuple[Estimate, ...]]:
    weights, note = growth_weights(comparison)
    shell = Estimate("growth from the smallest to the largest size", n_datasets=len(weights))
    if not weights:
        return replace(shell, reason=note), replace(shell, reason=note), ()
    per_dataset = tuple(
        model.contrasts([(Estimate(name, dataset=name, n_datasets=1), group) for name, group in weights.items()])
    )
    fixed = model.contrasts([(shell, mean_weights(list(weights.values())))])[0]
    fixed = replace(fixed, reason=", ".join(part for part in (fixed.reason, note) if part))
    return fixed, over_datasets(replace(shell, label="growth, random"), [one.effect or 0.0 for one in per_dataset]), per_dataset


def _extremes(model: CellModel, comparison: Comparison) -> Estimate:
    """Largest − smallest size over the data sets that have both: a check on the slope, which uses all sizes."""
    shell, sizes = Estimate("largest − smallest size"), comparison.sizes
    if len(sizes) < 2:
        return replace(shell, reason="growth needs two sizes with a different number of parameters")
    ends = (sizes[-1][0], sizes[0][0])
    rows = comparison.estimable.filter(pl.col("model").is_in(ends))
    rows = rows.filter(pl.len().over("dataset") == 2)
    n = rows["dataset"].n_unique()
    weights = {setting: (1 if name == ends[0] else -1) / n for setting, name in rows.select("setting_id", "model").iter_rows()}
    return _one(model, replace(shell, n_datasets=n), weights, "no data set has both the largest and the smallest size")


def _adjusted(estimates: tuple[Estimate, ...], method: str) -> tuple[Estimate, ...]:
    """With p-values adjusted for their number: `holm` (any false finding) or `fdr_bh` (share of false findings)."""
    p_values = [one.p_value for one in estimates]
    if not estimates or any(value is None for value in p_values):
        return estimates
    adjusted = multipletests(p_values, method=method)[1]
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
    """One row an estimate, the record's fields as columns."""
    floats = ("effect", "low", "high", "low90", "high90", "se", "df", "p_value", "p_adjusted")
    texts = ("label", "model", "size", "dataset", "method", "reason")
    columns = {name: [getattr(one, name) for one in estimates] for name in (*texts, *floats, "n", "n_datasets", "parameters")}
    schema = dict.fromkeys(texts, pl.String) | dict.fromkeys(floats, pl.Float64)
    schema |= dict.fromkeys(("n", "n_datasets", "parameters"), pl.Int64)
    return pl.DataFrame(columns, schema={name: schema[name] for name in columns})
