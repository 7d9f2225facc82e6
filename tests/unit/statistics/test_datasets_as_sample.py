"""Random effects over data sets against double integrals, limits and statsmodels."""

import numpy as np
import pytest
from scipy import integrate, stats
from statsmodels.stats.meta_analysis import combine_effects

from analysis.statistics.datasets_as_sample import (
    SampleSettings,
    heterogeneity,
    over_datasets,
    posterior,
    weighted_by_precision,
)
from analysis.statistics.effect import Estimate, t_estimate

#: Rubin's eight schools (1981): effects and standard errors.
SCHOOLS = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
ERRORS = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
WIDE = Estimate("fixed")


def of(effects, error=0.1, df=20.0):
    errors = np.broadcast_to(error, np.shape(effects))
    return [
        t_estimate(Estimate(str(i)), float(e), float(s), df, "")
        for i, (e, s) in enumerate(zip(effects, errors, strict=True))
    ]


@pytest.mark.parametrize("scale", [2.0, 10.0])
def test_the_posterior_of_the_eight_schools_is_the_double_integral(scale):
    def density(mean, tau):
        spread = np.sqrt(ERRORS**2 + tau**2)
        return np.exp(stats.norm.logpdf(SCHOOLS, mean, spread).sum() + 31 - 0.5 * (tau / scale) ** 2)

    limits = (-60, 75), (0, 6 * scale)
    total = integrate.nquad(density, limits)[0]
    found, _ = posterior(SCHOOLS, ERRORS, tau_scale=scale)
    below = integrate.nquad(density, ((-60, 3.0), (0, 6 * scale)))[0] / total
    assert found.cdf(3.0) == pytest.approx(below, rel=1e-5)
    mean = integrate.nquad(lambda m, t: m * density(m, t), limits)[0] / total
    assert found.mean == pytest.approx(mean, rel=1e-5)


def test_without_spread_between_data_sets_it_is_the_fixed_effect_mean():
    found, tau = posterior(SCHOOLS, ERRORS, tau_scale=1e-6)
    weights = 1 / ERRORS**2
    assert found.mean == pytest.approx(7.69, abs=0.01), "Gelman et al., Bayesian Data Analysis, table 5.2: 7.7, se 4.1"
    assert found.scale[0] == pytest.approx(weights.sum() ** -0.5)
    assert (found.quantile(0.975) - found.mean) / 1.96 == pytest.approx(4.07, abs=0.01)
    assert tau < 1e-5


def test_quantiles_undo_the_distribution_function():
    found, _ = posterior(SCHOOLS, ERRORS, np.full(8, 3.0), 2.0)
    for level in (0.025, 0.05, 0.5, 0.975):
        assert found.cdf(found.quantile(level)) == pytest.approx(level, abs=1e-7)


def test_errors_that_are_estimates_widen_the_interval():
    known, _ = posterior(SCHOOLS, ERRORS, None, 2.0)
    estimated, _ = posterior(SCHOOLS, ERRORS, np.full(8, 2.0), 2.0)
    assert estimated.quantile(0.975) > known.quantile(0.975)


def test_what_all_data_sets_share_is_not_averaged_out():
    alone, _ = posterior(np.zeros(8), np.full(8, 0.1), tau_scale=0.01)
    shared, _ = posterior(np.zeros(8), np.full(8, 0.1), tau_scale=0.01, shared=1.0)
    assert alone.quantile(0.975) < 0.1
    assert shared.quantile(0.975) == pytest.approx(1.96 * (1 + 0.01 / 8) ** 0.5, abs=0.01)


def test_the_interval_is_never_narrower_than_for_these_data_sets_only():
    fixed = t_estimate(Estimate("fixed"), 1.0, 2.0, 8, "")
    for effects in ([1.0, 1.1, 0.9], [1.0 + 0.01 * i for i in range(12)]):
        found = over_datasets(Estimate("x"), of(effects), fixed, fixed, SampleSettings(0.5))
        assert found.high - found.low == pytest.approx(fixed.high - fixed.low)


def test_from_ten_data_sets_on_it_is_the_one_sample_t():
    values = np.linspace(-1, 2, 10)
    found = over_datasets(Estimate("x"), of(values), WIDE, WIDE, SampleSettings(0.5))
    theirs = stats.ttest_1samp(values, 0)
    assert (found.p_value, found.df) == pytest.approx((theirs.pvalue, 9))
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval()))


def test_a_verdict_of_the_posterior_agrees_with_its_interval():
    for effect in np.linspace(0.0, 3.0, 25):
        one = over_datasets(Estimate("x"), of([effect, effect + 0.2]), WIDE, WIDE, SampleSettings(0.5)).judged(0.5)
        assert (one.p_value < 0.05) == (one.low > 0)
        assert (one.p_equivalence < 0.05) == (one.low90 > -0.5 and one.high90 < 0.5)


def test_one_data_set_gives_no_interval():
    found = over_datasets(Estimate("x"), of([1.0]), WIDE, WIDE, SampleSettings(0.5))
    assert not found.has_interval
    assert "one data set" in found.reason


def test_heterogeneity_sees_data_sets_that_differ_and_those_that_do_not():
    apart = heterogeneity(of([0.0, 2.0, 4.0]))
    assert apart.tau == pytest.approx((4.0 - 0.01) ** 0.5, rel=1e-6)
    assert apart.i2 > 0.99
    assert apart.prediction_high - 2.0 == pytest.approx(stats.t.ppf(0.975, 2) * 2.0 * (4 / 3) ** 0.5)
    assert heterogeneity(of([1.0, 1.1, 0.9], 1.0)).tau == 0
    assert heterogeneity(of([1.0, 2.0])) is None


@pytest.mark.filterwarnings("ignore:`use_t=True` requires")  # of the single data sets' intervals, unused here
def test_data_sets_weighted_by_precision_are_hartung_and_knapps():
    values, errors = [0.4, 1.9, 1.1, 0.2], [0.2, 0.9, 0.4, 0.3]
    found = weighted_by_precision(Estimate("all"), of(values, errors))
    table = combine_effects(np.array(values), np.array(errors) ** 2, method_re="iterated", use_t=True)
    row = table.summary_frame().loc["random effect wls"]
    assert [found.effect, found.se, found.low, found.high] == pytest.approx(
        list(row[["eff", "sd_eff", "ci_low", "ci_upp"]])
    )
    plain = over_datasets(Estimate("all"), of(values), WIDE, WIDE, SampleSettings(0.5, None))
    equal = weighted_by_precision(Estimate("all"), of(values, 0.3))
    assert [equal.effect, equal.low, equal.high] == pytest.approx([plain.effect, plain.low, plain.high])


def test_data_sets_of_unknown_precision_get_no_weighted_interval():
    found = weighted_by_precision(Estimate("all"), [Estimate("a", effect=1.0, se=0.1), Estimate("b", effect=2.0)])
    assert not found.has_interval
    assert "two data sets" in found.reason
