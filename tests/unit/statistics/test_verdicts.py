"""The rule of verdicts and the test of equivalence behind it."""

from dataclasses import replace

import pytest
from scipy import stats

from analysis.statistics.effect import Estimate, t_estimate
from analysis.statistics.estimates import estimate
from analysis.statistics.verdicts import Equivalence, Verdict
from tests.support.comparisons import BALANCED, by_hand


@pytest.mark.parametrize(
    ("effect", "se", "expected"),
    [
        (1.0, 0.2, Verdict.POSITIVE),
        (-1.0, 0.2, Verdict.NEGATIVE),
        (0.0, 0.1, Verdict.EQUIVALENT),
        (0.3, 0.2, Verdict.UNRESOLVED),
        (0.0, 0.4, Verdict.UNRESOLVED),
        (0.2, 0.05, Verdict.POSITIVE),
    ],
)
def test_verdict_rule(effect, se, expected):
    assert t_estimate(Estimate("x"), effect, se, 12, "").judged(0.5).verdict is expected


def test_the_adjusted_p_value_decides_where_there_is_one():
    one = t_estimate(Estimate("x"), 1.0, 0.4, 12, "")
    assert one.judged(0.5).verdict is Verdict.POSITIVE
    assert replace(one, p_adjusted=0.06).judged(0.5).verdict is Verdict.UNRESOLVED


def test_no_interval_no_verdict():
    assert Estimate("", effect=1.0).judged(0.5).verdict is Verdict.NOT_ESTIMABLE
    assert Estimate("", effect=1.0).judged(0.5).equivalence is Equivalence.NOT_ESTIMABLE
    assert Estimate("", effect=1.0).judged(0.5).p_equivalence is None


@pytest.mark.parametrize(
    ("effect", "se", "df", "expected"),
    [
        (0.1, 0.1, 8, Equivalence.INSIDE),
        (0.3, 0.2, 8, Equivalence.OPEN),
        (1.2, 0.2, 8, Equivalence.OUTSIDE),
        (-1.2, 0.2, 8, Equivalence.OUTSIDE),
    ],
)
def test_two_one_sided_tests_agree_with_the_90_percent_interval(effect, se, df, expected):
    one = t_estimate(Estimate("x"), effect, se, df, "").judged(0.5)
    assert one.equivalence is expected
    lower, upper = stats.t.sf((effect + 0.5) / se, df), stats.t.cdf((effect - 0.5) / se, df)
    assert one.p_equivalence == pytest.approx(max(lower, upper))
    assert (one.p_equivalence < 0.05) == (expected is Equivalence.INSIDE)


def test_every_estimate_is_judged_by_the_margin_after_its_p_value_is_adjusted():
    found = estimate(by_hand(BALANCED), margin=0.7)
    for one in (
        found.overall, found.overall_random, found.growth, found.growth_random, found.context,
        *found.sizes, *found.sizes_random, *found.cells, *found.datasets, *found.dataset_growth,
    ):  # fmt: skip
        assert one.verdict is not None
        assert one == one.judged(0.7)
    assert all(one.p_adjusted is not None for one in (*found.sizes, *found.cells))
    assert found.per_tenfold.verdict is None, "the margin is of the growth over all sizes, not of a tenfold"
