"""What the choice of the weights contributes: the spread between pretrainings, and how much of it a verdict survives.

Next: `analysis/statistics/contrasts.py`, whose intervals include the spread where a study has several pretrainings.
"""

from __future__ import annotations

import numpy as np

from analysis.statistics.contrasts import CellModel, Weights
from analysis.statistics.effect import Estimate
from analysis.statistics.verdicts import Verdict


def luck_of_sizes(model: CellModel, weights: Weights) -> float:
    """Variance of a contrast for a variance of 1 between pretrainings, one a size: Σ over sizes of (its weight)²."""
    of_model: dict[str, float] = {}
    for setting, weight in weights.items():
        name = model.models[setting]
        of_model[name] = of_model.get(name, 0.0) + weight
    return float(sum(weight**2 for weight in of_model.values()))


def between_pretrainings_sd(model: CellModel) -> float | None:
    """SD, over pretrainings of a size, of what one adds to the benefit of all data sets alike; None if unknown.

    Moment estimate, pooled over the sizes that have several: the variance of the pretrainings' means beyond what the
    spread of seeds explains, and 0 where it explains all. In a nested design the spread of seeds within a cell holds
    that of pretrainings, which is divided out; one data set alone then cannot tell the two apart.
    """
    found = []
    for name, one in model.replicates.items():
        settings = list(dict.fromkeys(setting for setting, arm in model.columns if model.models[setting] == name))
        rows = model.row(dict.fromkeys(settings, 1 / len(settings)))[np.newaxis]
        of_pretrainings = one.count * float(one.variance(rows)[0])
        if not one.is_nested:
            found.append(of_pretrainings)
            continue
        seeds = float(model.units[one.columns].mean())
        share = (one.count - 1) / (len(settings) * (seeds - 1)) if seeds > 1 else 1.0
        if share < 1:
            kept = np.where(np.isin(np.arange(rows.shape[1]), one.columns), rows, 0.0)
            found.append((of_pretrainings - one.count * float(model.of_seeds(kept).variance[0])) / (1 - share))
    return max(float(np.mean(found)), 0.0) ** 0.5 if found else None


def tipping_point(one: Estimate, luck: float, margin: float) -> float | None:
    """SD between pretrainings, in the estimate's unit, from which on the verdict would be "unresolved".

    For an estimate that is conditional on one set of weights a size. luck: `luck_of_sizes` of its contrast. None where
    there is no verdict to overturn.
    """
    if one.effect is None or not one.se or one.high is None or one.high90 is None or luck <= 0:
        return None
    if one.verdict in (Verdict.POSITIVE, Verdict.NEGATIVE):
        reach, quantile = abs(one.effect), (one.high - one.effect) / one.se
    elif one.verdict is Verdict.EQUIVALENT:
        reach, quantile = margin - abs(one.effect), (one.high90 - one.effect) / one.se
    else:
        return None
    return float((max((reach / quantile) ** 2 - one.se**2, 0.0) / luck) ** 0.5)
