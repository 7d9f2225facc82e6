"""Estimates against numbers worked out by hand or by another route than the one in the package."""

import numpy as np
import polars as pl
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.meta_analysis import combine_effects

from analysis.results import load
from analysis.statistics.contrasts import CellModel, Estimate, over_datasets
from analysis.statistics.estimates import estimate, heterogeneity, over_datasets_weighted
from analysis.statistics.pairs import compare
from tests.support.comparisons import BALANCED, by_hand
from tests.support.synthetic_results import Truth, write_results


def test_pooled_contrasts_by_hand():
    # Sums of squares within cells: 2, 2, 2, 8 → 14 on 4 · 2 = 8 degrees; variance 1.75.
    found = estimate(by_hand(BALANCED))
    assert found.df == 8
    assert found.residual_sd == pytest.approx(1.75**0.5)
    assert [one.effect for one in found.cells] == pytest.approx([2, 4, 1, 6])
    reach = stats.t.ppf(0.975, 8) * (1.75 / 3) ** 0.5
    assert found.cells[0].high - found.cells[0].effect == pytest.approx(reach)
    # Mean of four cells: (2 + 4 + 1 + 6) / 4, variance of the mean 1.75 / 12.
    assert found.overall.effect == pytest.approx(3.25)
    assert found.overall.se == pytest.approx((1.75 / 12) ** 0.5)
    # Growth: ((4 − 2) + (6 − 1)) / 2 over one decade; variance (4 cells · 1/4) · 1.75 / 3.
    assert found.growth.effect == pytest.approx(3.5)
    assert found.growth.se == pytest.approx((1.75 / 3) ** 0.5)
    assert found.per_tenfold.effect == pytest.approx(3.5)
    assert found.largest_minus_smallest.effect == pytest.approx(3.5)


def test_the_shortcut_past_least_squares_gives_what_least_squares_gives():
    comparison = by_hand(BALANCED)
    found = estimate(comparison)
    indicators = (comparison.pairs["setting_id"].to_numpy()[:, None] == comparison.cells["setting_id"].to_numpy()) * 1.0
    fit = OLS(comparison.pairs["difference"].to_numpy(), indicators).fit()
    growth = fit.t_test([-0.5, 0.5, -0.5, 0.5])
    assert (found.growth.effect, found.growth.se) == pytest.approx((growth.effect.item(), growth.sd.item()))
    assert (found.growth.low, found.growth.high) == pytest.approx(tuple(growth.conf_int()[0]))
    assert found.growth.p_value == pytest.approx(growth.pvalue.item())


def test_new_data_sets_take_one_value_each_as_the_unit():
    found = estimate(by_hand(BALANCED))
    # Growth on a is 2, on b 5: mean 3.5, standard error 1.5, one degree of freedom (t = 12.706).
    assert found.growth_random.effect == pytest.approx(3.5)
    assert found.growth_random.low == pytest.approx(3.5 - 12.7062 * 1.5, abs=1e-3)
    assert found.growth_random.df == 1


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


def test_one_pair_a_cell_gives_effects_without_intervals():
    found = estimate(by_hand({key: values[:1] for key, values in BALANCED.items()}))
    assert found.overall.effect == pytest.approx((1 + 3 + 0 + 4) / 4)
    for one in (found.overall, found.growth, *found.cells, *found.sizes):
        assert (one.low, one.high, one.p_value, one.se) == (None, None, None, None)
        assert "spread between runs is unknown" in one.reason
    assert found.growth_random.low is not None, "the spread between data sets is still seen"


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


def test_unpaired_contrast_equals_the_classical_two_sample_test(tmp_path):
    truth = Truth(models={"tiny": 1_000}, datasets={"alpha": 0.7}, seeds=tuple(range(8)), epochs=(1,))
    results = load(
        write_results(tmp_path, truth, predictions=False, missing=lambda r: (r["seed"] < 5) == (r["init"] == "scratch"))
    )
    found = estimate(compare(results))
    arms = [results.runs.filter(pl.col("init") == init)["test_accuracy"] * 100 for init in ("pretrained", "scratch")]
    classical = stats.ttest_ind(*arms)
    assert found.overall.p_value == pytest.approx(classical.pvalue)
    assert found.overall.low == pytest.approx(classical.confidence_interval().low)


def test_welch_contrast_equals_scipys(tmp_path):
    model = CellModel(by_hand({("a", "s"): [1.0, 2.0, 4.0], ("a", "l"): [3.0, 9.0, 1.0, 2.0]}))
    ours = model.welch(Estimate("difference"), {"a/l": 1.0, "a/s": -1.0})
    theirs = stats.ttest_ind([3.0, 9.0, 1.0, 2.0], [1.0, 2.0, 4.0], equal_var=False)
    assert (ours.effect, ours.p_value, ours.df) == pytest.approx((3.75 - 7 / 3, theirs.pvalue, theirs.df))


def test_heterogeneity_sees_data_sets_that_differ_and_those_that_do_not():
    def estimates(values, se):
        return [Estimate(str(index), effect=value, se=se) for index, value in enumerate(values)]

    apart = heterogeneity(estimates([0.0, 2.0, 4.0], 0.1))
    assert apart.tau == pytest.approx((4.0 - 0.01) ** 0.5, rel=1e-6)
    assert apart.i2 > 0.99
    assert apart.prediction_high - 2.0 == pytest.approx(stats.t.ppf(0.975, 2) * 2.0 * (4 / 3) ** 0.5)
    assert heterogeneity(estimates([1.0, 1.1, 0.9], 1.0)).tau == 0
    assert heterogeneity(estimates([1.0, 2.0], 0.1)) is None


@pytest.mark.filterwarnings("ignore:`use_t=True` requires")  # of the single data sets' intervals, unused here
def test_data_sets_weighted_by_precision_are_hartung_and_knapps():
    def estimates(errors):
        return [
            Estimate(str(index), effect=value, se=se)
            for index, (value, se) in enumerate(zip(values, errors, strict=True))
        ]

    values = [0.4, 1.9, 1.1, 0.2]
    found = over_datasets_weighted(Estimate("all"), estimates([0.2, 0.9, 0.4, 0.3]))
    table = combine_effects(np.array(values), np.array([0.2, 0.9, 0.4, 0.3]) ** 2, method_re="iterated", use_t=True)
    row = table.summary_frame().loc["random effect wls"]
    assert [found.effect, found.se, found.low, found.high] == pytest.approx(
        list(row[["eff", "sd_eff", "ci_low", "ci_upp"]])
    )
    assert found.df == 3
    plain = over_datasets(Estimate("all"), values)
    equal = over_datasets_weighted(Estimate("all"), estimates([0.3] * 4))
    assert [equal.effect, equal.low, equal.high] == pytest.approx([plain.effect, plain.low, plain.high])


def test_data_sets_of_unknown_precision_get_no_weighted_interval():
    found = over_datasets_weighted(Estimate("all"), [Estimate("a", effect=1.0, se=0.1), Estimate("b", effect=2.0)])
    assert not found.has_interval
    assert "two data sets" in found.reason
