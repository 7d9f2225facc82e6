"""The rule of verdicts and the test of equivalence behind it."""

import pytest
from scipy import stats

from analysis.statistics.effect import Estimate, t_estimate
from analysis.statistics.estimates import estimate
from analysis.statistics.verdicts import Equivalence, Verdict
from tests.support.comparisons import BALANCED, by_hand


@pytest.mark.parametrize(
    ("effect", "half95", "half90", "expected"),
    [
        (1.0, 0.5, 0.4, Verdict.POSITIVE),
        (-1.0, 0.5, 0.4, Verdict.NEGATIVE),
        (0.0, 0.3, 0.25, Verdict.EQUIVALENT),
        (0.3, 0.4, 0.35, Verdict.UNRESOLVED),
        (0.0, 0.6, 0.5, Verdict.UNRESOLVED),
        (0.2, 0.1, 0.08, Verdict.POSITIVE),
    ],
)
def test_verdict_rule(effect, half95, half90, expected):
    one = Estimate(
        "", effect=effect, low=effect - half95, high=effect + half95, low90=effect - half90, high90=effect + half90
    )
    assert one.judged(0.5).verdict is expected


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
        found.overall, found.overall_random, found.growth, found.growth_random, found.largest_minus_smallest,
        *found.sizes, *found.sizes_random, *found.cells, *found.datasets, *found.dataset_growth,
    ):  # fmt: skip
        assert one.verdict is not None
        assert one == one.judged(0.7)
    assert all(one.p_adjusted is not None for one in (*found.sizes, *found.cells))
    assert found.per_tenfold.verdict is None, "the margin is of the growth over all sizes, not of a tenfold"
