"""From pairs to estimates: benefit per cell, size and study, and whether it grows with size.

"On these data sets" keeps the data sets fixed; "on a new data set" takes one value per data set as the unit. Growth is
the primary test and stands alone, as does the mean benefit; sizes are adjusted by Holm's method and cells by Benjamini
and Hochberg's. Nothing is imputed: a contrast uses the cells that exist and names those it lacks. Next:
`analysis/statistics/contrasts.py` for the intervals, `analysis/statistics/growth.py` for the slope,
`analysis/statistics/robustness.py` for other assumptions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.results import DEFAULT_TAU_SCALE
from analysis.statistics.contrasts import CellModel, Weights
from analysis.statistics.datasets_as_sample import (
    Heterogeneity,
    SampleSettings,
    heterogeneity,
    over_datasets,
)
from analysis.statistics.effect import Estimate
from analysis.statistics.growth import (
    GrowthWeights,
    LineFit,
    context_growth,
    equivalent_growth,
    fixed_growth,
    line_fit,
    size_differences,
)
from analysis.statistics.multiplicity import adjusted, level_of_a_look
from analysis.statistics.pairs import Comparison
from analysis.statistics.pretraining_spread import between_pretrainings_sd, luck_of_sizes, tipping_point

#: Columns of a frame of estimates.
_COLUMNS = pl.Schema(
    dict.fromkeys(("label", "model", "size", "dataset", "method", "reason", "verdict"), pl.String)
    | dict.fromkeys(("effect", "low", "high", "low90", "high90", "se", "df", "p_value", "p_adjusted"), pl.Float64)
    | dict.fromkeys(("n", "n_datasets", "n_pretrainings", "parameters"), pl.Int64)
)


@dataclass(frozen=True)
class ConditionalEstimates:
    """Benefit and growth without the spread between pretrainings: they hold for the weights of this study only.

    `overall_tipping`, `growth_tipping`: SD between pretrainings that would overturn the verdict, in points; None where
    a study has several pretrainings, so that its intervals include theirs, or where there is no verdict to overturn.
    """

    overall: Estimate
    growth: Estimate
    overall_tipping: float | None
    growth_tipping: float | None


@dataclass(frozen=True)
class Estimates:
    """The estimates of one comparison, with verdicts; `growth` is the only primary one.

    Attributes:
        margin: the smallest difference that matters, in the outcome's unit.
        looks: how many times the study may be read while it grows; intervals and p-values are corrected for it.
        growth: change of the benefit from the smallest to the largest size along the fitted slope on log10(parameters).
        size_differences: larger − smaller for every two sizes, not judged; the last is of the extremes.
        context: longest − shortest context among models of one size.
        fit: test that the benefit lies on a line; None under three sizes.
        pretrainings: number of pretrainings by model; 0 where it is unknown.
        pretraining_sd: SD between pretrainings of a size, in points; None where no size has two.
        residual_sd: SD of one run, or pair, pooled over cells: a description, which no interval uses where every cell
            has its own.
    """

    comparison: Comparison
    margin: float
    looks: int
    overall: Estimate
    overall_random: Estimate
    growth: Estimate
    growth_random: Estimate
    per_tenfold: Estimate
    size_differences: tuple[Estimate, ...]
    context: Estimate
    fit: LineFit | None
    sizes: tuple[Estimate, ...]
    sizes_random: tuple[Estimate, ...]
    cells: tuple[Estimate, ...]
    datasets: tuple[Estimate, ...]
    dataset_growth: tuple[Estimate, ...]
    heterogeneity: Heterogeneity | None
    conditional: ConditionalEstimates
    pretrainings: Mapping[str, int]
    pretraining_sd: float | None
    residual_sd: float | None

    @property
    def largest_minus_smallest(self) -> Estimate:
        """A check on the slope, which uses all sizes."""
        shell = Estimate(
            "largest − smallest size", reason="growth needs two sizes with a different number of parameters"
        )
        return next((one for one in self.size_differences if one.label == shell.label), shell)

    @property
    def is_conditional(self) -> bool:
        """Whether some size has one set of weights, so that no interval says what another pretraining would give."""
        return self.overall.is_conditional

    @property
    def sample_is_informative(self) -> bool:
        """Whether the interval over data sets as a sample stays within ±100 points, the range of any difference."""
        limits = self.overall_random.interval95
        return limits is not None and (self.comparison.unit != "points" or (limits[0] >= -100 and limits[1] <= 100))

    def frame(self, which: str = "cells") -> pl.DataFrame:
        """A Polars frame of `cells`, `sizes`, `sizes_random`, `datasets` or `dataset_growth`, one row an estimate."""
        return to_frame(getattr(self, which))


def estimate(
    comparison: Comparison, margin: float = 0.5, looks: int = 1, tau_scale: float = DEFAULT_TAU_SCALE
) -> Estimates:
    """All estimates of a comparison.

    Args:
        margin: the smallest difference that matters, above 0, in the outcome's unit.
        looks: how many times the study may be read while it grows.
        tau_scale: scale of the prior on the spread between data sets, in points.
    """
    model = CellModel(comparison, level_of_a_look(looks))
    sample = SampleSettings(margin, tau_scale, level_of_a_look(looks))

    def alone(one: Estimate) -> Estimate:
        return adjusted([one], margin, "none", looks)[0]

    overall, growth, weights = primary(model, margin)
    overall, growth = alone(overall), alone(growth)
    conditional = _conditional(model, overall, growth, weights, margin)
    datasets, sizes = _datasets(model), _sizes(model)
    within = _datasets(model, conditional=True)
    dataset_growth = _own_growth(model, weights)
    cells = cell_benefits(comparison, model)
    decades = _decades(comparison)
    return Estimates(
        comparison=comparison,
        margin=margin,
        looks=looks,
        overall=overall,
        overall_random=alone(
            over_datasets(Estimate("all data sets, random"), within, overall, conditional.overall, sample)
        ),
        growth=growth,
        growth_random=alone(
            over_datasets(
                Estimate("growth, random"),
                _own_growth(model, weights, conditional=True),
                growth,
                conditional.growth,
                sample,
            )
            if weights.of_dataset
            else replace(growth, label="growth, random")
        ),
        per_tenfold=growth.scaled(1 / decades, "growth per tenfold parameters") if decades else growth,
        size_differences=size_differences(model),
        context=alone(context_growth(model)),
        fit=line_fit(model),
        sizes=adjusted(sizes, margin, "holm", looks),
        sizes_random=adjusted(_sizes_random(model, sizes, cells, sample), margin, "holm", looks),
        cells=adjusted(cells, margin, "bh", looks),
        datasets=adjusted(datasets, margin, "holm", looks),
        dataset_growth=adjusted(dataset_growth, margin, "holm", looks),
        heterogeneity=heterogeneity(within),
        conditional=conditional,
        pretrainings=model.pretrainings,
        pretraining_sd=between_pretrainings_sd(model),
        residual_sd=model.sd,
    )


def benefit_and_growth(comparison: Comparison, margin: float = 0.5) -> tuple[Estimate, Estimate]:
    """Only the two main estimates, for the data sets of the study: mean over all cells, and growth; not judged."""
    overall, growth, _ = primary(CellModel(comparison), margin)
    return overall, growth


def cell_benefits(comparison: Comparison, model: CellModel | None = None) -> tuple[Estimate, ...]:
    """The benefit of each estimable cell, with p-values not adjusted; not judged."""
    model = model or CellModel(comparison)
    columns = comparison.estimable.select("setting_id", "model", "size", "dataset", "parameters").iter_rows()
    many = []
    for setting, name, size, dataset, parameters in columns:
        shell = Estimate(f"{dataset}, {size}", model=name, size=size, dataset=dataset, parameters=parameters)
        many.append((replace(shell, n_datasets=1), {setting: 1.0}))
    return tuple(model.contrasts(many))


def overall_weights(comparison: Comparison) -> Weights:
    """The plain mean over cells."""
    settings = comparison.estimable["setting_id"].to_list()
    return dict.fromkeys(settings, 1 / len(settings)) if settings else {}


def size_weights(comparison: Comparison) -> dict[str, Weights]:
    """By model, the plain mean over its data sets."""
    groups = comparison.estimable.group_by("model").agg("setting_id")
    return {name: dict.fromkeys(settings, 1 / len(settings)) for name, settings in groups.iter_rows()}


def primary(model: CellModel, margin: float, *, conditional: bool = False) -> tuple[Estimate, Estimate, GrowthWeights]:
    """Mean over all cells, growth, and the weights of growth; not judged."""
    comparison = model.comparison
    weights = overall_weights(comparison)
    shell = Estimate("all cells", n_datasets=comparison.estimable["dataset"].n_unique())
    if weights:
        overall = model.contrasts([(shell, weights)], conditional=conditional)[0]
    else:
        overall = replace(shell, reason="no cell has both arms")
    growth, of_growth = fixed_growth(model, conditional=conditional)
    if growth.se is not None:
        growth = equivalent_growth(growth, size_differences(model), margin)
    return overall, growth, of_growth


def _conditional(
    model: CellModel, overall: Estimate, growth: Estimate, weights: GrowthWeights, margin: float
) -> ConditionalEstimates:
    def tipping(one: Estimate, weights: Weights) -> float | None:
        return tipping_point(one, luck_of_sizes(model, weights), margin) if one.is_conditional else None

    without, growth_without, _ = primary(model, margin, conditional=True)
    return ConditionalEstimates(
        overall=without.judged(margin),
        growth=growth_without.judged(margin),
        overall_tipping=tipping(overall, overall_weights(model.comparison)),
        growth_tipping=tipping(growth, weights.all_data),
    )


def _datasets(model: CellModel, *, conditional: bool = False) -> tuple[Estimate, ...]:
    groups = model.comparison.estimable.group_by("dataset", maintain_order=True).agg("setting_id")
    many = [
        (Estimate(name, dataset=name, n_datasets=1), dict.fromkeys(settings, 1 / len(settings)))
        for name, settings in groups.iter_rows()
    ]
    return tuple(model.contrasts(many, conditional=conditional))


def _sizes(model: CellModel) -> tuple[Estimate, ...]:
    weights, estimable = size_weights(model.comparison), model.comparison.estimable
    names = dict(estimable.select("model", "size").iter_rows())
    many = []
    for name, parameters in model.comparison.sizes:
        shell = Estimate(names[name], model=name, size=names[name], parameters=parameters)
        many.append((replace(shell, n_datasets=len(weights[name])), weights[name]))
    return tuple(model.contrasts(many))


def _sizes_random(
    model: CellModel, sizes: Sequence[Estimate], cells: Sequence[Estimate], sample: SampleSettings
) -> list[Estimate]:
    weights = size_weights(model.comparison)
    found = []
    for fixed in sizes:
        assert fixed.model is not None
        within = model.contrasts([(fixed, weights[fixed.model])], conditional=True)[0]
        shell = Estimate(fixed.label, model=fixed.model, size=fixed.size, parameters=fixed.parameters)
        of_size = [one for one in cells if one.model == fixed.model]
        found.append(over_datasets(shell, of_size, fixed, within, sample))
    return found


def _own_growth(model: CellModel, weights: GrowthWeights, *, conditional: bool = False) -> tuple[Estimate, ...]:
    many = [(Estimate(name, dataset=name, n_datasets=1), group) for name, group in weights.of_dataset.items()]
    return tuple(model.contrasts(many, conditional=conditional))


def _decades(comparison: Comparison) -> float:
    """log10 of the ratio of the largest to the smallest size; 0 with one size."""
    sizes = [parameters for _, parameters in comparison.sizes if parameters > 0]
    return float(np.log10(sizes[-1] / sizes[0])) if len(sizes) > 1 else 0.0


def to_frame(estimates: Sequence[Estimate]) -> pl.DataFrame:
    """One row per estimate, with the fields of the record as columns; without assumptions."""
    return pl.DataFrame({name: [getattr(one, name) for one in estimates] for name in _COLUMNS}, schema=_COLUMNS)
