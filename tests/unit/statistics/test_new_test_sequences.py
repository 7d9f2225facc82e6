"""The second reading: new test sequences of the same kind."""

import numpy as np
import pytest

from analysis.statistics.estimates import estimate
from analysis.statistics.example_tests import TestSetVariance, example_tests
from analysis.statistics.new_test_sequences import for_new_test_sequences
from analysis.statistics.verdicts import Verdict
from tests.support.comparisons import BALANCED, by_hand, from_study


def test_the_variance_of_the_test_sets_is_added_to_that_of_the_seeds():
    found = estimate(by_hand(BALANCED))
    settings = found.comparison.estimable["setting_id"].to_list()
    # Data sets of 1,000 examples; the sizes of one have equal variances 0.3 and a covariance of 0.1.
    covariance = {
        (one, other): 0.3 if one == other else 0.1
        for one in settings
        for other in settings
        if one.split("/")[0] == other.split("/")[0]
    }
    again = for_new_test_sequences(found, TestSetVariance(covariance, {"a": 1_000, "b": 1_000}))
    assert again.overall.effect == found.overall.effect
    assert again.overall.se**2 == pytest.approx(found.overall.se**2 + (4 * 0.3 + 4 * 0.1) / 16)
    assert again.growth.se**2 == pytest.approx(found.growth.se**2 + (4 * 0.3 - 4 * 0.1) / 4)
    assert again.sizes[0].se ** 2 == pytest.approx(found.sizes[0].se ** 2 + 2 * 0.3 / 4)


def test_a_slope_near_0_does_not_make_sizes_the_same():
    found = estimate(by_hand({key: [1.0, 1.01, 0.99] for key in BALANCED}))
    assert found.growth.verdict is Verdict.EQUIVALENT
    settings = found.comparison.estimable["setting_id"].to_list()
    nothing = TestSetVariance({(one, one): 1e-9 for one in settings}, {"a": 100, "b": 100})
    assert for_new_test_sequences(found, nothing).growth.verdict is Verdict.UNRESOLVED


def test_without_predictions_there_is_no_second_reading(tmp_path):
    results, comparison = from_study(tmp_path, predictions=False)
    tested = example_tests(results, comparison).test_sets
    assert for_new_test_sequences(estimate(comparison), tested) is None


def test_intervals_cover_what_new_test_sequences_would_give():
    rng = np.random.default_rng(8)
    hits, reps, n = 0, 300, 150
    for _ in range(reps):
        # Each example has a benefit of its own, of mean 2 points; a cell's seeds add noise of 0.5 points.
        examples = 2 + 40 * rng.standard_normal((2, n))
        means = examples.mean(axis=1)
        comparison = by_hand({("a", "s"): list(means[0] + rng.normal(0, 0.5, 4)),
                              ("b", "s"): list(means[1] + rng.normal(0, 0.5, 4))})  # fmt: skip
        own = {"a/s": examples[0].var(ddof=1) / n, "b/s": examples[1].var(ddof=1) / n}
        test_sets = TestSetVariance({(one, one): v for one, v in own.items()}, {"a": n, "b": n})
        found = for_new_test_sequences(estimate(comparison), test_sets)
        hits += found.overall.low <= 2 <= found.overall.high
    assert 0.91 <= hits / reps <= 0.985
