"""Whether the benefit grows with model size: the slope, the differences between sizes, and whether a line fits.

A size is a number of trainable parameters; models that have equally many (and differ in context length) are several
models of one size. The slope of the benefit on log10(parameters) is estimated by least squares with an intercept for
every data set, from all data sets that have two sizes.

Source of the test of fit: Johansen, The Welch–James approximation to the distribution of the residual sum of squares
in a weighted linear regression (1980). Next: `analysis/statistics/estimates.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from analysis.statistics.contrasts import CellModel, Weights
from analysis.statistics.effect import Estimate
from analysis.statistics.pairs import Comparison

_NEEDS_SIZES = "growth needs two sizes with a different number of parameters"


@dataclass(frozen=True)
class GrowthWeights:
    """Weights over settings of the slope times the range of sizes; `note` says what is left out, or what is lacking.

    `of_dataset`: by data set, of its own slope. `all_data`: of the slope common to all.
    """

    of_dataset: Mapping[str, Weights]
    all_data: Weights
    note: str = ""


@dataclass(frozen=True)
class LineFit:
    """Test that the benefit lies on a line over log10(parameters), allowing every size its own spread.

    `p_value` is of an F statistic with `df1` and `df2` degrees of freedom.
    """

    statistic: float
    df1: float
    df2: float
    p_value: float


def _by_size(comparison: Comparison) -> dict[str, dict[int, list[str]]]:
    """By data set and number of parameters: the settings of its models of that size."""
    found: dict[str, dict[int, list[str]]] = {}
    rows = comparison.estimable.filter(pl.col("parameters") > 0).sort("parameters", maintain_order=True)
    for setting, dataset, parameters in rows.select("setting_id", "dataset", "parameters").iter_rows():
        found.setdefault(dataset, {}).setdefault(parameters, []).append(setting)
    return found


def growth_weights(comparison: Comparison) -> GrowthWeights:
    """Least squares of the benefit on log10(parameters), times the distance from the smallest to the largest size."""
    sizes = _by_size(comparison)
    if len({parameters for of_dataset in sizes.values() for parameters in of_dataset}) < 2:
        return GrowthWeights({}, {}, _NEEDS_SIZES)
    used = {dataset: of_dataset for dataset, of_dataset in sizes.items() if len(of_dataset) > 1}
    if not used:
        return GrowthWeights({}, {}, "growth needs a data set with results at two sizes")
    logs = {dataset: np.log10(list(of_dataset)) for dataset, of_dataset in used.items()}
    reach = max(x.max() for x in logs.values()) - min(x.min() for x in logs.values())
    centred = {dataset: x - x.mean() for dataset, x in logs.items()}
    total = sum(float((x**2).sum()) for x in centred.values())

    def weights(dataset: str, squares: float) -> dict[str, float]:
        return {
            setting: float(reach * x / squares / len(settings))
            for x, settings in zip(centred[dataset], used[dataset].values(), strict=True)
            for setting in settings
        }

    own = {dataset: weights(dataset, float((x**2).sum())) for dataset, x in centred.items()}
    common = {setting: weight for dataset in used for setting, weight in weights(dataset, total).items()}
    missing = sorted(set(comparison.cells["dataset"]) - set(used))
    return GrowthWeights(own, common, f"without {', '.join(missing)}, which lack a second size" if missing else "")


def fixed_growth(model: CellModel, *, conditional: bool = False) -> tuple[Estimate, GrowthWeights]:
    """Growth for the data sets of the study, and its weights."""
    weights = growth_weights(model.comparison)
    shell = Estimate("growth from the smallest to the largest size", n_datasets=len(weights.of_dataset))
    if not weights.all_data:
        return replace(shell, reason=weights.note), weights
    fixed = model.contrasts([(shell, weights.all_data)], conditional=conditional)[0]
    return replace(fixed, reason=", ".join(part for part in (fixed.reason, weights.note) if part)), weights


def size_differences(model: CellModel) -> tuple[Estimate, ...]:
    """Larger − smaller for every two sizes, each over the data sets that have both; the last is of the extremes."""
    by_size = _by_size(model.comparison)
    sizes = sorted({parameters for of_dataset in by_size.values() for parameters in of_dataset})
    name = _size_names(model.comparison)
    many, lacking = [], []
    for small, large in sorted(itertools.combinations(sizes, 2), key=lambda pair: pair[1] / pair[0]):
        both = [of_dataset for of_dataset in by_size.values() if small in of_dataset and large in of_dataset]
        label = (
            "largest − smallest size" if (small, large) == (sizes[0], sizes[-1]) else f"{name[large]} − {name[small]}"
        )
        shell = Estimate(label, n_datasets=len(both))
        weights = {
            setting: sign / len(both) / len(of_dataset[parameters])
            for of_dataset in both
            for parameters, sign in ((large, 1.0), (small, -1.0))
            for setting in of_dataset[parameters]
        }
        if both:
            many.append((shell, weights))
        else:
            lacking.append(replace(shell, reason="no data set has both sizes"))
    return (*lacking, *model.contrasts(many))


def _size_names(comparison: Comparison) -> dict[int, str]:
    rows = comparison.estimable.select("parameters", "size").unique(maintain_order=True)
    grouped = rows.group_by("parameters", maintain_order=True).agg("size")
    return {parameters: ", ".join(names) for parameters, names in grouped.iter_rows()}


def equivalent_growth(growth: Estimate, differences: Sequence[Estimate], margin: float) -> Estimate:
    """With the p of "the same at all sizes": the largest over every two sizes, each tested against the margin.

    All must be inside for the claim, so no correction is due (an intersection–union test). A slope alone cannot carry
    the claim: it is 0, too, where the benefit rises and falls again.
    """
    p_values = [one.with_equivalence(margin).p_equivalence for one in differences]
    known = [p for p in p_values if p is not None]
    return replace(growth, p_equivalence=max(known) if known and len(known) == len(p_values) else 1.0)


def context_growth(model: CellModel) -> Estimate:
    """Longest − shortest context among models of one size: the mean over sizes and data sets that have both."""
    shell = Estimate("longest − shortest context, at equal size")
    cells = model.comparison.estimable
    rows = cells.filter(pl.col("l_max").is_not_null() & (pl.col("l_max").n_unique().over("dataset", "parameters") > 1))
    if rows.is_empty():
        return replace(shell, reason="no two models of one size differ in context length")
    groups = rows.partition_by("dataset", "parameters", maintain_order=True)
    weights: dict[str, float] = {}
    for group in groups:
        ends = [
            group.filter(pl.col("l_max") == end)["setting_id"] for end in (group["l_max"].max(), group["l_max"].min())
        ]
        for settings, sign in zip(ends, (1.0, -1.0), strict=True):
            weights |= dict.fromkeys(settings, sign / len(settings) / len(groups))
    return model.contrasts([(replace(shell, n_datasets=rows["dataset"].n_unique()), weights)])[0]


def line_fit(model: CellModel) -> LineFit | None:
    """Lack of fit of the line, over the data sets that have every size; None under three sizes, or without spread."""
    by_size = _by_size(model.comparison)
    sizes = sorted({parameters for of_dataset in by_size.values() for parameters in of_dataset})
    complete = [of_dataset for of_dataset in by_size.values() if len(of_dataset) == len(sizes)]
    if len(sizes) < 3 or not complete:
        return None
    many = []
    for parameters in sizes:
        weights = {
            setting: 1 / len(complete) / len(of_dataset[parameters])
            for of_dataset in complete
            for setting in of_dataset[parameters]
        }
        many.append((Estimate(""), weights))
    means = model.contrasts(many)
    if any(one.se is None or one.df is None for one in means):
        return None
    x = np.log10(sizes)
    design = np.stack([np.ones_like(x), x])
    contrasts = np.linalg.svd(design)[2][2:]  # orthogonal to constant and slope
    return welch_james(
        np.array([one.effect for one in means]),
        np.array([one.se for one in means], float) ** 2,
        np.array([one.df for one in means], float),
        contrasts,
    )


def welch_james(
    means: NDArray[np.float64], variances: NDArray[np.float64], df: NDArray[np.float64], contrasts: NDArray[np.float64]
) -> LineFit:
    """Johansen's F test that all contrasts [q, k] of k independent means are 0, with unequal variances of the means.

    With all k − 1 differences as contrasts it is Welch's analysis of variance.
    """
    q = len(contrasts)
    middle = contrasts.T @ np.linalg.inv(contrasts * variances @ contrasts.T) @ contrasts
    statistic = float(means @ middle @ means)
    diagonal = variances * np.diag(middle)
    # tr{(Σ M Q_j)²} and tr²(Σ M Q_j) are both the square of the j-th diagonal element for a diagonal Σ
    a = float((diagonal**2 / df).sum())
    scale = q + 2 * a - 6 * a / (q + 2)
    df2 = q * (q + 2) / (3 * a)
    return LineFit(statistic / scale, float(q), df2, float(stats.f.sf(statistic / scale, q, df2)))
