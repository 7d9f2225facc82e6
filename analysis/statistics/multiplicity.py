"""Adjustment of p-values: for several estimates of one family, and for several looks at a growing study.

Source of the looks: Pocock, Group sequential methods in the design and analysis of clinical trials (1977), by the
recursion of Armitage, McPherson and Rowe (1969); the nominal level is applied to t tests (Jennison and Turnbull, Group
Sequential Methods, 2000, section 11.4). Next: `analysis/statistics/verdicts.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq
from scipy.stats import false_discovery_control

from analysis.statistics.effect import Estimate
from analysis.statistics.verdicts import LEVEL

#: Points of the grid on which the recursion integrates; 201 and 401 give the same four digits.
_GRID = 401


@cache
def level_of_a_look(looks: int) -> float:
    """Level of each of `looks` tests, one after every equal step of a study, so that all err in 5 % together.

    Exact for a normal mean and equal steps; conservative where the first look comes later, as after two seeds.

    >>> [round(level_of_a_look(looks), 4) for looks in (1, 2, 5)]
    [0.05, 0.0294, 0.0158]
    """
    if looks == 1:
        return LEVEL
    return float(2 * stats.norm.sf(brentq(lambda limit: _any_beyond(limit, looks) - LEVEL, 1.9, 5.0, xtol=1e-6)))


def _any_beyond(limit: float, looks: int) -> float:
    """Probability that the standardised mean of normal steps leaves ±limit at one of the looks.

    The sum S_k stays inside ±limit·√k so far: its density on a grid of S_k is carried from look to look.
    """
    nodes, weights = np.polynomial.legendre.leggauss(_GRID)
    density = stats.norm.pdf(nodes * limit) * weights * limit
    for look in range(2, looks + 1):
        before, now = nodes * limit * (look - 1) ** 0.5, nodes * limit * look**0.5
        density = stats.norm.pdf(now[:, np.newaxis] - before) @ density * weights * limit * look**0.5
    return 1 - float(density.sum())


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Holm's adjusted p-values (1979). statsmodels has them, too, and collects garbage in every call (0.1 s)."""
    order = np.argsort(p_values)
    steps = np.asarray(p_values)[order] * np.arange(len(order), 0, -1)
    found = np.empty(len(order))
    found[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return found


def adjusted(
    estimates: Sequence[Estimate], margin: float, method: Literal["none", "holm", "bh"], looks: int = 1
) -> tuple[Estimate, ...]:
    """Estimates with p-values adjusted over the family and for the looks, and judged.

    Args:
        margin: smallest difference that matters, in the estimates' unit.
        method: `holm` (family-wise error), `bh` (false discovery rate), or `none` for a test that stands alone.
        looks: how many times the study may be read while it grows.
    """
    family = [one.with_equivalence(margin) for one in estimates]
    p_values = _adjusted([one.p_value for one in family], method, looks)
    inside = _adjusted([one.p_equivalence for one in family], method, looks)
    is_adjusted = method != "none" or looks > 1
    return tuple(
        replace(one, p_adjusted=p if is_adjusted else None, p_equivalence=q).judged(margin)
        for one, p, q in zip(family, p_values, inside, strict=True)
    )


def _adjusted(
    p_values: Sequence[float | None], method: Literal["none", "holm", "bh"], looks: int
) -> list[float | None]:
    """Each p-value adjusted among those that there are."""
    known = [p for p in p_values if p is not None]
    if not known:
        return list(p_values)
    found = {"none": np.asarray, "holm": holm, "bh": false_discovery_control}[method](known)
    values = iter(np.minimum(found * (LEVEL / level_of_a_look(looks)), 1.0).tolist())
    return [None if p is None else next(values) for p in p_values]
