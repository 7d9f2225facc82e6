"""Means of cells, and contrasts of them with intervals that hold where cells and pretrainings vary differently.

A contrast over several cells adds up each cell's own variance (Welch), with Satterthwaite's degrees of freedom; a
single cell takes its moderated variance. Where the sizes of a study have several pretrainings, these are the unit: what
one pretraining is worth is shared by all data sets, so no number of seeds or data sets averages it out.
Next: `analysis/statistics/spread.py` and `analysis/statistics/variance_parts.py` for the variances,
`analysis/statistics/estimates.py` for the contrasts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from analysis.statistics.effect import Estimate
from analysis.statistics.pairs import Comparison
from analysis.statistics.spread import Prior, fit_prior, moderated
from analysis.statistics.variance_parts import Replicates, Spread, added
from analysis.statistics.verdicts import LEVEL

Weights = Mapping[str, float]
Array = NDArray[np.float64]


class CellModel:
    """Means of cells; contrasts of them with t intervals.

    Estimand: Σ weight · (treated − control) over cells. Resampling units: the seed, and where a size has several
    pretrainings the pretraining (with one, an estimate is conditional on the weights there are). Assumes near-normal
    values that are independent between cells but for the pretraining; no cell needs the spread of another, except one
    with a single run.

    Attributes:
        columns: (setting, arm) → index; the arm is 0 for pairs and for treated runs, 1 for control runs.
        counts, means: [columns], values and their mean.
        variance, df: [columns], of the mean, with the seed as the unit; NaN and 0 for a column with one seed.
        replicates: by model, where it has at least two pretrainings.
        pretrainings: number of pretrainings by model; 0 where no run says which weights it started from.
    """

    def __init__(self, comparison: Comparison, alpha: float = LEVEL, *, one_spread: bool = False) -> None:
        """Read the values of a comparison.

        alpha: 1 − the level of the wider interval; less than 0.05 where a study is read several times. one_spread:
        whether all cells are taken to have the same spread, for comparison.
        """
        self.comparison, self.alpha = comparison, alpha
        frame = self._values(comparison)
        keys = list(frame.select("setting_id", "arm").iter_rows())
        self.columns = {key: index for index, key in enumerate(dict.fromkeys(keys))}
        self.models = dict(frame.select("setting_id", "model").iter_rows())
        self.codes = np.array([self.columns[key] for key in keys], dtype=np.int64)
        self.values: Array = frame["value"].to_numpy().astype(float)
        self.n = len(self.values)
        size = len(self.columns)
        self.counts = np.bincount(self.codes, minlength=size)
        self.means: Array = np.bincount(self.codes, self.values, size) / np.maximum(self.counts, 1)
        self.residuals = self.values - self.means[self.codes]
        self.units, self.variance = self._of_seeds(frame["seed"].to_list())
        self.df: Array = self.units.astype(np.float64) - 1
        self.replicates, self.pretrainings = self._pretrainings(frame)
        self._set_stand_ins(one_spread=one_spread)

    @staticmethod
    def _values(comparison: Comparison) -> pl.DataFrame:
        """setting_id, model, arm, seed, pretraining, value: one row per pair, or per run where arms are unpaired."""
        names = ("setting_id", "model", "arm", "seed", "pretraining", "value")
        if comparison.paired:
            return comparison.pairs.with_columns(pl.lit(0).alias("arm"), pl.col("difference").alias("value")).select(
                names
            )
        both = comparison.runs.filter(pl.col("init").n_unique().over("setting_id") == 2)
        is_control = pl.col("init") == comparison.arms[1]
        return both.with_columns(
            is_control.cast(pl.Int32).alias("arm"), pl.when(~is_control).then("pretraining").alias("pretraining")
        ).select(names)

    def _clusters(self, labels: Sequence[object]) -> tuple[list[tuple[int, object]], Array]:
        """(column, label) of each cluster of values, and what it adds to the mean of its column."""
        keys = list(zip(self.codes.tolist(), labels, strict=True))
        place = {key: index for index, key in enumerate(dict.fromkeys(keys))}
        sums = np.bincount([place[key] for key in keys], self.residuals, len(place)) if keys else np.zeros(0)
        columns = np.array([column for column, _ in place], dtype=np.int64)
        return list(place), sums / self.counts[columns]

    def _of_seeds(self, seeds: Sequence[object]) -> tuple[NDArray[np.int64], Array]:
        """Number of seeds of each column, and the variance of its mean with the seed as the unit."""
        clusters, shifts = self._clusters(seeds)
        columns = np.array([column for column, _ in clusters], dtype=np.int64)
        size = len(self.columns)
        units = np.bincount(columns, minlength=size)
        squares = np.bincount(columns, shifts**2, size)
        with np.errstate(invalid="ignore", divide="ignore"):
            return units, np.where(units > 1, squares * units / (units - 1), np.nan)

    def _pretrainings(self, frame: pl.DataFrame) -> tuple[dict[str, Replicates], dict[str, int]]:
        known = frame.filter(pl.col("pretraining").is_not_null())
        unknown = set(frame.filter((pl.col("arm") == 0) & pl.col("pretraining").is_null())["model"])
        counts = {str(name): 0 for name in frame["model"].unique()}
        counts |= dict(known.group_by("model").agg(pl.col("pretraining").n_unique()).iter_rows())
        counts |= dict.fromkeys(unknown, 0)
        clusters, shifts = self._clusters(frame["pretraining"].to_list())
        settings = [setting for setting, _ in self.columns]
        replicates = {}
        for model in [name for name, count in counts.items() if count > 1]:
            mine = [(i, column, label) for i, (column, label) in enumerate(clusters)
                    if label is not None and self.models[settings[column]] == model]  # fmt: skip
            labels = {label: row for row, label in enumerate(dict.fromkeys(label for *_, label in mine))}
            matrix = np.zeros((len(labels), len(self.columns)))
            for index, column, label in mine:
                matrix[labels[label], column] = shifts[index]
            of_model = known.filter(pl.col("model") == model)
            numbers = dict(of_model.group_by("pretraining").len().iter_rows())
            shares = np.array([numbers[label] for label in labels]) / of_model.height
            is_nested = not of_model.select(pl.struct("setting_id", "seed").is_duplicated().any()).item()
            columns = np.unique([column for _, column, _ in mine])
            replicates[model] = Replicates(columns, matrix, shares, is_nested)
        return replicates, counts

    def _set_stand_ins(self, *, one_spread: bool) -> None:
        """Variances of single cells, and what stands in for that of a column with one seed."""
        own = self.units > 1
        per_value = np.where(own, self.variance * self.units, 0.0)  # variance of one seed
        total = float(self.df[own].sum())
        self.sd = float(np.sqrt((per_value * self.df)[own].sum() / total)) if total >= 1 else None
        if self.sd is not None and self.sd <= 1e-9 * max(float(np.abs(self.values).max(initial=0.0)), 1e-9):
            self.sd = None
        self.prior = fit_prior(per_value[own], self.df[own]) if own.any() else Prior(np.inf, 0.0)
        self.cell_variance, self.cell_df = self.variance.copy(), self.df.copy()
        if own.any():
            found, df = moderated(per_value[own], self.df[own], self.prior)
            self.cell_variance[own], self.cell_df[own] = found / self.units[own], df
        self.singles = ~own
        self.single_df = min(total, self.prior.df)
        # An arm of which no cell has two runs tells nothing of its spread: then all cells share the one there is.
        arms = np.array([arm for _, arm in self.columns], dtype=np.int64)
        an_arm_lacks = any(own.any() and not own[arms == arm].any() for arm in set(arms.tolist()))
        self.shares_one_spread = one_spread or an_arm_lacks
        if self.shares_one_spread:
            self.singles, self.single_df = np.ones(len(self.columns), bool), total
        single = self.sd if self.shares_one_spread else self.prior.scale**0.5
        self.single_variance = (single or 0.0) ** 2 / np.maximum(self.units, 1)

    def row(self, weights: Weights) -> Array:
        """Weights over settings as a row over the model's columns."""
        row = np.zeros(len(self.columns))
        for setting, weight in weights.items():
            for arm, sign in ((0, 1.0), (1, -1.0)):
                if (setting, arm) in self.columns:
                    row[self.columns[setting, arm]] += sign * weight
        return row

    def no_interval(self) -> str:
        """Why no spread can be estimated."""
        if not (self.units > 1).any():
            return "no interval: every cell has one run per arm, so the spread between runs is unknown"
        return "no interval: the runs of every cell agree exactly, so no spread can be estimated"

    def of_seeds(self, rows: Array) -> Spread:
        """Spread of contrasts [M, columns] over seeds, for the weights there are."""
        is_cell = np.array([len(self._settings(row)) == 1 for row in rows])[:, np.newaxis]
        variance = np.where(is_cell, self.cell_variance, self.variance)
        df = np.where(is_cell, self.cell_df, self.df)
        parts = np.where(self.singles, 0.0, rows**2 * np.nan_to_num(variance))
        shared = (rows**2 * self.single_variance)[:, self.singles].sum(axis=1)
        total = parts.sum(axis=1) + shared
        inverse = (parts**2 / np.maximum(df, 1e-9)).sum(axis=1) + shared**2 / max(self.single_df, 1e-9)
        with np.errstate(invalid="ignore", divide="ignore"):
            return Spread(total, np.where(inverse > 0, total**2 / inverse, 0.0))

    def spread(self, rows: Array) -> Spread:
        """Spread of contrasts over seeds and, where sizes have several, over pretrainings; never below the former."""
        seeds = self.of_seeds(rows)
        if not self.replicates:
            return seeds
        rest, of_crossed = rows.copy(), np.zeros(len(rows), dtype=bool)
        total, inverse = np.zeros(len(rows)), np.zeros(len(rows))
        for one in self.replicates.values():
            part = one.variance(rows)
            total, inverse = total + part, inverse + part**2 / one.df
            if one.is_nested:
                rest[:, one.columns] = 0.0
            else:
                of_crossed |= part > 0
        with np.errstate(invalid="ignore", divide="ignore"):
            pretrainings = Spread(total, np.where(inverse > 0, total**2 / inverse, 0.0))
        wide = added(pretrainings, self.of_seeds(rest), keep_quantiles=of_crossed)
        use = (wide.half_width() > seeds.half_width()) & ~self._holds_every_pretraining(rows)
        return Spread(np.where(use, wide.variance, seeds.variance), np.where(use, wide.df, seeds.df))

    def _holds_every_pretraining(self, rows: Array) -> NDArray[np.bool_]:
        """Whether a contrast is of one cell whose seeds have a pretraining each: their spread is that of both."""
        found = []
        for row in rows:
            settings = self._settings(row)
            column = self.columns.get((next(iter(settings)), 0)) if len(settings) == 1 else None
            found.append(
                column is not None
                and any(
                    one.is_nested and (one.shifts[:, column] != 0).sum() >= self.units[column] > 1
                    for one in self.replicates.values()
                    if column in one.columns
                )
            )
        return np.array(found, dtype=bool)

    def _settings(self, row: Array) -> set[str]:
        used = np.flatnonzero(row)
        names = list(self.columns)
        return {names[index][0] for index in used}

    def contrasts(self, many: Sequence[tuple[Estimate, Weights]], *, conditional: bool = False) -> list[Estimate]:
        """Fill in each estimate from its weights; only its effect where no spread can be estimated.

        conditional: whether the spread between pretrainings is left out.
        """
        if not many:
            return []
        rows = np.array([self.row(weights) for _, weights in many])
        spread = self.of_seeds(rows) if conditional else self.spread(rows)
        known = (spread.variance > 0) & (spread.df > 0) & (self.sd is not None)
        errors = np.sqrt(spread.variance)
        df = np.where(known, spread.df, 1.0)
        wide, narrow = (stats.t.ppf(1 - level, df) * errors for level in (self.alpha / 2, self.alpha))
        effects = rows @ self.means
        with np.errstate(invalid="ignore", divide="ignore"):
            p_values = 2 * stats.t.sf(np.abs(effects) / errors, df)
        found = []
        for i, (shell, _) in enumerate(many):
            one = self._described(shell, rows[i], float(effects[i]), conditional=conditional)
            if not known[i]:
                found.append(replace(one, reason=self.no_interval(), method="difference of means"))
                continue
            found.append(
                replace(
                    one,
                    low=float(effects[i] - wide[i]),
                    high=float(effects[i] + wide[i]),
                    low90=float(effects[i] - narrow[i]),
                    high90=float(effects[i] + narrow[i]),
                    se=float(errors[i]),
                    df=float(df[i]),
                    p_value=float(p_values[i]),
                )
            )
        return found

    def _described(self, shell: Estimate, row: Array, effect: float, *, conditional: bool) -> Estimate:
        used = row != 0
        models = {self.models[setting] for setting in self._settings(row)}
        pretrainings = min((self.pretrainings.get(model, 0) for model in models), default=0)
        return replace(
            shell,
            effect=effect,
            n=int(self.counts[used].sum()),
            n_pretrainings=min(pretrainings, 1) if conditional else pretrainings,
            method=self._method(is_cell=len(self._settings(row)) == 1, replicated=not conditional and pretrainings > 1),
            assumptions=self.assumptions(),
        )

    def _method(self, *, is_cell: bool, replicated: bool) -> str:
        kind = "differences of pairs" if self.comparison.paired else "accuracies of runs, arms unpaired"
        if self.shares_one_spread:
            return f"means of {kind}, one spread for all cells, t"
        spread = "variance moderated over cells" if is_cell else "each cell's own variance (Welch–Satterthwaite)"
        return f"means of {kind}, {spread}, t" + (", pretrainings as the unit" if replicated and not is_cell else "")

    def assumptions(self) -> tuple[str, ...]:
        """What the contrasts assume, one string each."""
        unit = "differences of pairs" if self.comparison.paired else "runs"
        found = [f"{unit} are independent and near-normal within a cell"]
        if self.shares_one_spread:
            known = [arm for arm in (0, 1) if (self.units[[a == arm for _, a in self.columns]] > 1).any()]
            names = self.comparison.arms
            found.append("the spread is the same in all cells")
            if len(known) == 1 and not self.comparison.paired:
                found.append(
                    f"the {names[1 - known[0]]} arm has one run per cell: its spread is assumed, not measured, to "
                    f"equal that of {names[known[0]]}"
                )
        elif self.singles.any() and not self.singles.all():
            found.append(
                f"{int(self.singles.sum())} of {len(self.columns)} cells or arms have one run, and take the spread of "
                "the others"
            )
        return tuple(found)
