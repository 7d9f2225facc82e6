"""The second reading of the estimates: what new test sequences of the same kind would give, not these test sets alone.

The interval over seeds holds for the test sequences there are; a small test set is itself a draw. Here the variance of
the mean per-example difference is added to that of the seeds. Part of it is the spread of seeds over examples, which is
counted twice: the intervals are a little too wide rather than too narrow. Next:
`analysis/statistics/example_tests.py`, which computes that variance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from analysis.statistics.contrasts import Weights
from analysis.statistics.effect import Estimate, t_estimate
from analysis.statistics.estimates import Estimates, overall_weights, size_weights
from analysis.statistics.example_tests import TestSetVariance
from analysis.statistics.growth import growth_weights
from analysis.statistics.multiplicity import adjusted, level_of_a_look


@dataclass(frozen=True)
class NewTestSequences:
    """Benefit, growth and the benefit of each size, for new test sequences of the same kind."""

    overall: Estimate
    growth: Estimate
    sizes: tuple[Estimate, ...]


def for_new_test_sequences(estimates: Estimates, test_sets: TestSetVariance) -> NewTestSequences | None:
    """The estimates with the variance of the test sets added; None where predictions of a cell are lacking."""
    comparison, margin, looks = estimates.comparison, estimates.margin, estimates.looks
    of_size = size_weights(comparison)
    examples = min(test_sets.examples.values(), default=0)

    def widened(one: Estimate, weights: Weights) -> Estimate | None:
        added = test_sets.variance(weights) if weights else None
        if added is None or one.se is None or one.df is None or one.effect is None:
            return None
        total = one.se**2 + added
        df = total**2 / (one.se**4 / one.df + added**2 / max(examples - 1, 1))
        found = t_estimate(one, one.effect, total**0.5, df, one.method, level_of_a_look(looks))
        return replace(found, p_adjusted=None, p_equivalence=None, verdict=None, equivalence=None)

    overall = widened(estimates.overall, overall_weights(comparison))
    growth = widened(estimates.growth, growth_weights(comparison).all_data)
    sizes = [widened(one, of_size[one.model or ""]) for one in estimates.sizes]
    if overall is None or any(one is None for one in sizes):
        return None
    judged = adjusted([one for one in sizes if one is not None], margin, "holm", looks)
    return NewTestSequences(
        overall=adjusted([overall], margin, "none", looks)[0],
        growth=_growth(growth, estimates, margin, looks),
        sizes=judged,
    )


def _growth(growth: Estimate | None, estimates: Estimates, margin: float, looks: int) -> Estimate:
    """Never "the same at all sizes" from the slope alone: that claim is about every two sizes."""
    if growth is None:
        return replace(estimates.growth, low=None, high=None, low90=None, high90=None, se=None, df=None, p_value=None)
    return adjusted([replace(growth, p_equivalence=1.0)], margin, "none", looks)[0]
