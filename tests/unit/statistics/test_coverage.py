"""Simulated studies with a known truth: intervals cover at their nominal rate, verdicts err at most at theirs.

Fast: a few studies of one scenario. Slow: rates to a percentage point. Soak: the acceptance of the whole table.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.estimates import estimate
from analysis.statistics.pairs import compare
from benchmarks.coverage_summary import summary
from benchmarks.statistics_coverage import read
from tests.support.simulated_studies import draw
from tests.support.study_scenarios import BEYOND_ONE_STUDY, SCENARIOS

SMALL = SCENARIOS["equal-4x2x3"]
#: What the acceptance of the methods asks of every scenario that a study can answer.
COVERAGE, FALSE, WIDTH = 0.93, 0.06, 1.1


def at_least(rate, studies):
    """A share that so many studies of this rate fall short of once in 1,000 times."""
    return stats.binom.ppf(0.001, studies, rate) / studies


def at_most(rate, studies):
    return stats.binom.ppf(0.999, studies, rate) / studies


def measured(scenario, studies):
    return summary(scenario, [read(scenario, index) for index in range(studies)])


def test_intervals_of_equal_spread_cover_and_verdicts_hold():
    found = measured(SMALL, 40)
    assert found["refused"] == found["without_interval"] == 0
    low, lowest = at_least(COVERAGE, 40), at_least(0.95, 40)
    assert min(found["coverage"][name] for name in ("overall", "growth", "all cells", "new data set")) >= low
    assert min(found["coverage"][name] for name in ("lowest size", "lowest cell")) >= lowest - 0.05
    assert max(found["false_verdicts"][name] for name in ("overall", "growth", "any cell")) <= at_most(FALSE, 40)
    assert 0.9 < found["width"]["overall"] < 1.5


def test_a_benefit_of_the_margin_is_hardly_ever_too_small_to_matter():
    found = measured(replace(SMALL, name="margin-4x2x3", benefit=0.5), 25)
    assert max(found["false_equivalent"][name] for name in ("overall", "cells")) <= at_most(0.05, 25)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("paired", [True, False])
def test_intervals_cover_at_their_nominal_rate(paired):
    """Unpaired, too: arms that share nothing are compared as two samples."""
    studies, hits = 1_000, np.zeros(3)
    scenario = replace(SMALL, benefit=(0.5, 0.9), shared_by_arms=0.0)
    for index in range(studies):
        study = draw(scenario, np.random.default_rng([7, index]))
        found = estimate(replace(compare(study.results()), paired=paired))
        smallest = next(iter(study.sizes.values()))
        truths = ((found.overall, study.overall), (found.growth, study.growth), (found.sizes[0], smallest))
        hits += [one.low <= truth <= one.high for one, truth in truths]
    assert at_least(0.95, studies) <= (hits / studies).min() <= (hits / studies).max() <= at_most(0.95, studies)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_random_intervals_cover_the_growth_over_all_data_sets():
    studies, hits = 1_000, 0
    scenario = replace(SMALL, datasets=6, benefit=(0.5, 0.9), tau_growth=0.8)
    for index in range(studies):
        found = estimate(compare(draw(scenario, np.random.default_rng([11, index])).results())).growth_random
        hits += found.low <= 0.4 <= found.high
    assert hits / studies >= at_least(0.94, studies)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", [name for name in SCENARIOS if name not in BEYOND_ONE_STUDY])
def test_every_scenario_that_a_study_can_answer_is_accepted(name):
    studies = 400
    found = measured(SCENARIOS[name], studies)
    assert found["refused"] == 0
    slack = COVERAGE - at_least(COVERAGE, studies)
    # where the verdicts are read at every look, they are held to their rate, and the last interval stays nominal
    assert min(found["coverage"][target] for target in ("overall", "growth", "new data set")) >= COVERAGE - slack
    for target, chance in found["lowest_by_chance"].items():
        assert found["coverage"][target] >= min(COVERAGE, chance) - slack
    assert max(found["false_verdicts"].values()) <= at_most(FALSE, studies)
    assert max(rate or 0 for rate in found["false_equivalent"].values()) <= at_most(FALSE, studies)
    if name == "equal-9x7x5":
        assert max(found["width"].values()) <= WIDTH
