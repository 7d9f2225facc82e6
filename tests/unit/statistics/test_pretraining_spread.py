"""The spread between pretrainings, and the spread that a verdict survives."""

import numpy as np
import pytest

from analysis.statistics.estimates import estimate
from analysis.statistics.verdicts import Verdict
from tests.support.comparisons import BALANCED, by_hand


def test_the_spread_between_pretrainings_is_recovered():
    rng = np.random.default_rng(6)
    pretrainings, found = 400, []
    for sd in (0.0, 0.5, 2.0):
        luck = rng.normal(0, sd, (2, pretrainings))
        values = {
            (name, size): list(luck[index] + rng.normal(0, 1, pretrainings))
            for name in "abc"
            for index, size in enumerate(("s", "l"))
        }
        comparison = by_hand(values, weights=lambda model, place: (place, f"{model} {place}"))
        found.append(estimate(comparison).pretraining_sd)
    assert found[0] < 0.25
    assert found[1:] == pytest.approx([0.5, 2.0], rel=0.15)


def test_one_pretraining_a_size_says_nothing_of_their_spread():
    found = estimate(by_hand(BALANCED, weights=lambda model, place: (place, model)))
    assert found.pretraining_sd is None
    assert found.pretrainings == {"s": 1, "l": 1}


def test_at_the_tipping_point_the_interval_reaches_0():
    found = estimate(by_hand(BALANCED, weights=lambda model, place: (place, model)))
    for one, tipping, luck in (
        (found.overall, found.conditional.overall_tipping, 0.5),  # two sizes, each with half of the weight
        (found.growth, found.conditional.growth_tipping, 2.0),  # the larger size minus the smaller one
    ):
        assert one.verdict is Verdict.POSITIVE
        quantile = (one.high - one.effect) / one.se
        assert one.effect - quantile * (one.se**2 + luck * tipping**2) ** 0.5 == pytest.approx(0.0, abs=1e-9)


def test_nothing_tips_where_nothing_is_decided_or_pretrainings_are_replicated():
    open_question = {key: [-1.0, 0.2, 1.0] for key in BALANCED}
    found = estimate(by_hand(open_question, weights=lambda model, place: (place, model))).conditional
    assert (found.overall_tipping, found.growth_tipping) == (None, None)
    several = estimate(by_hand(BALANCED, weights=lambda model, place: (place, f"{model} {place}"))).conditional
    assert (several.overall_tipping, several.growth_tipping) == (None, None)
