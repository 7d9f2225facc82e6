"""Estimates against numbers worked out by hand."""

import numpy as np
import pytest

from analysis.statistics.estimates import estimate
from analysis.statistics.verdicts import Verdict
from tests.support.comparisons import BALANCED, by_hand


def test_effects_and_spreads_by_hand():
    # Variances within cells: 1, 1, 1, 4; each mean of three pairs.
    found = estimate(by_hand(BALANCED))
    assert found.residual_sd == pytest.approx(1.75**0.5)
    assert [one.effect for one in found.cells] == pytest.approx([2, 4, 1, 6])
    assert found.overall.effect == pytest.approx(3.25)
    assert found.overall.se == pytest.approx((7 / 3 / 16) ** 0.5)
    # Growth: ((4 − 2) + (6 − 1)) / 2 over one decade, each cell with weight ± 1/2.
    assert found.growth.effect == pytest.approx(3.5)
    assert found.growth.se == pytest.approx((7 / 3 / 4) ** 0.5)
    assert found.per_tenfold.effect == pytest.approx(3.5)
    assert found.largest_minus_smallest.effect == pytest.approx(3.5)


def test_new_data_sets_take_one_value_each_as_the_unit():
    found = estimate(by_hand(BALANCED))
    # Growth on a is 2 and on b 5, and b's is known less well: the mean leans towards a's.
    assert 2 < found.growth_random.effect < 3.5
    assert found.growth_random.high - found.growth_random.low > found.growth.high - found.growth.low
    assert found.growth_random.n_datasets == 2


def test_growth_over_three_sizes_is_the_least_squares_slope():
    parameters = {"s": 1_000, "m": 4_000, "l": 100_000}
    differences = {("a", "s"): [0.0, 1.0], ("a", "m"): [2.0, 2.5], ("a", "l"): [2.0, 4.0]}
    found = estimate(by_hand(differences, parameters))
    x = np.log10([1_000, 4_000, 100_000])
    slope = np.polyfit(x, [0.5, 2.25, 3.0], 1)[0]
    assert found.per_tenfold.effect == pytest.approx(slope)
    assert found.growth.effect == pytest.approx(slope * 2)


def test_a_data_set_that_lacks_a_size_is_left_out_of_growth_and_named():
    differences = {key: values for key, values in BALANCED.items() if key != ("b", "l")}
    found = estimate(by_hand(differences))
    assert found.growth.effect == pytest.approx(2.0)
    assert found.growth.n_datasets == 1
    assert "b" in found.growth.reason
    assert found.growth_random.low is None


def test_a_verdict_never_contradicts_its_adjusted_p_value():
    rng = np.random.default_rng(4)
    shapes = {(f"d{d}", f"m{m}"): list(rng.normal(0.4, 0.5, 3)) for d in range(6) for m in range(3)}
    found = estimate(by_hand(shapes))
    decided = (Verdict.POSITIVE, Verdict.NEGATIVE)
    for one in (*found.cells, *found.sizes):
        assert (one.verdict in decided) == (one.p_adjusted < 0.05)
    excluded = [one for one in found.cells if one.low > 0 or one.high < 0]
    assert any(one.verdict not in decided for one in excluded), "an interval alone decides nothing in a family"


def test_looks_widen_every_interval_and_raise_every_p_value():
    once, often = estimate(by_hand(BALANCED)), estimate(by_hand(BALANCED), looks=5)
    for first, other in zip((once.overall, once.growth, *once.cells), (often.overall, often.growth, *often.cells),
                            strict=True):  # fmt: skip
        assert other.low < first.low
        assert other.high > first.high
    assert often.growth.p_adjusted == pytest.approx(once.growth.p_value * 0.05 / 0.0158, rel=1e-2)


def test_one_pair_a_cell_gives_effects_without_intervals():
    found = estimate(by_hand({key: values[:1] for key, values in BALANCED.items()}))
    assert found.overall.effect == pytest.approx((1 + 3 + 0 + 4) / 4)
    for one in (found.overall, found.growth, *found.cells, *found.sizes):
        assert (one.low, one.high, one.p_value, one.se) == (None, None, None, None)
        assert "spread between runs is unknown" in one.reason
    assert found.growth_random.low is not None, "the spread between data sets is still seen"
    assert found.growth_random.low == pytest.approx(3.0 - 12.7062, abs=1e-3), "one-sample t of 2 and 4"


def test_runs_that_agree_exactly_give_no_interval():
    found = estimate(by_hand({key: [values[0]] * 3 for key, values in BALANCED.items()}))
    assert found.overall.low is None
    assert "agree exactly" in found.overall.reason


def test_holm_by_hand():
    found = estimate(by_hand(BALANCED))
    first, second = sorted(found.sizes, key=lambda one: one.p_value)
    assert first.p_adjusted == pytest.approx(2 * first.p_value)
    assert second.p_adjusted == pytest.approx(max(2 * first.p_value, second.p_value))


def test_benjamini_hochberg_by_hand():
    found = estimate(by_hand(BALANCED))
    ordered = sorted(found.cells, key=lambda one: one.p_value)
    stepped = [one.p_value * 4 / rank for rank, one in enumerate(ordered, 1)]
    expected = [min(1.0, *stepped[index:]) for index in range(4)]
    assert [one.p_adjusted for one in ordered] == pytest.approx(expected)
