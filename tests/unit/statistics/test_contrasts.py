"""Contrasts of cells against the classical tests that they generalise."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS

from analysis.results import load
from analysis.statistics.contrasts import CellModel
from analysis.statistics.effect import Estimate
from analysis.statistics.estimates import estimate
from analysis.statistics.pairs import compare
from tests.support.comparisons import BALANCED, by_hand
from tests.support.synthetic_results import Truth, write_results


def contrast(comparison, weights, **options):
    return CellModel(comparison, **options).contrasts([(Estimate("x"), weights)])[0]


def test_a_contrast_of_two_cells_is_welchs_test():
    ours = contrast(by_hand({("a", "s"): [1.0, 2.0, 4.0], ("a", "l"): [3.0, 9.0, 1.0, 2.0]}), {"a/l": 1.0, "a/s": -1.0})
    theirs = stats.ttest_ind([3.0, 9.0, 1.0, 2.0], [1.0, 2.0, 4.0], equal_var=False)
    assert (ours.effect, ours.p_value, ours.df) == pytest.approx((3.75 - 7 / 3, theirs.pvalue, theirs.df))
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval()))


def test_a_single_cell_alone_is_the_one_sample_test():
    values = [1.0, 2.0, 4.0, 0.5]
    ours = contrast(by_hand({("a", "s"): values}), {"a/s": 1.0})
    theirs = stats.ttest_1samp(values, 0)
    assert (ours.p_value, ours.df) == pytest.approx((theirs.pvalue, 3))


def test_an_unpaired_cell_is_the_two_sample_test(tmp_path):
    truth = Truth(models={"tiny": 1_000}, datasets={"alpha": 0.7}, seeds=tuple(range(8)), epochs=(1,))
    results = load(
        write_results(tmp_path, truth, predictions=False, missing=lambda r: (r["seed"] < 5) == (r["init"] == "scratch"))
    )
    comparison = compare(results)
    assert not comparison.paired
    arms = [results.runs.filter(pl.col("init") == init)["test_accuracy"] * 100 for init in ("pretrained", "scratch")]
    weights = {comparison.cells["setting_id"][0]: 1.0}
    classical = stats.ttest_ind(*arms)
    pooled = contrast(comparison, weights, one_spread=True)
    assert (pooled.p_value, pooled.low) == pytest.approx((classical.pvalue, classical.confidence_interval().low))
    # Two columns borrow nothing from each other: (k − 2) / (k − 1) is 0, and the contrast is Welch's.
    own = stats.ttest_ind(*arms, equal_var=False)
    assert contrast(comparison, weights).p_value == pytest.approx(own.pvalue)


def test_with_one_spread_contrasts_are_least_squares_on_cell_indicators():
    comparison = by_hand(BALANCED)
    indicators = (comparison.pairs["setting_id"].to_numpy()[:, None] == comparison.cells["setting_id"].to_numpy()) * 1.0
    fit = OLS(comparison.pairs["difference"].to_numpy(), indicators).fit()
    growth = fit.t_test([-0.5, 0.5, -0.5, 0.5])
    ours = contrast(comparison, {"a/s": -0.5, "a/l": 0.5, "b/s": -0.5, "b/l": 0.5}, one_spread=True)
    assert (ours.effect, ours.se) == pytest.approx((growth.effect.item(), growth.sd.item()))
    assert (ours.low, ours.high) == pytest.approx(tuple(growth.conf_int()[0]))
    assert ours.p_value == pytest.approx(growth.pvalue.item())


def test_satterthwaites_degrees_of_freedom_by_hand():
    # Variances of the four means: 1/3, 1/3, 1/3, 4/3; each has 2 degrees of freedom; weights 1/4.
    found = estimate(by_hand(BALANCED)).overall
    parts = np.array([1, 1, 1, 4]) / 3 / 16
    assert found.se == pytest.approx(parts.sum() ** 0.5)
    assert found.df == pytest.approx(parts.sum() ** 2 / (parts**2 / 2).sum())


def test_a_cell_with_one_pair_takes_the_spread_of_the_others_and_says_so():
    found = estimate(by_hand({**BALANCED, ("b", "l"): [6.0]}))
    (cell,) = [one for one in found.cells if (one.dataset, one.size) == ("b", "l")]
    assert cell.se == pytest.approx(1.0)  # the other three cells have a variance of 1
    assert any("have one run" in text for text in found.overall.assumptions)


def test_an_arm_with_one_run_in_every_cell_shares_the_spread_of_the_other(tmp_path):
    truth = Truth(models={"tiny": 1_000}, datasets={"alpha": 0.7, "beta": 0.8}, seeds=(1, 2, 3), epochs=(1,))
    results = load(
        write_results(
            tmp_path, truth, predictions=False, missing=lambda r: r["init"] == "pretrained" and r["seed"] != 1
        )
    )
    runs = results.runs.with_columns(pl.when(pl.col("init") == "pretrained").then(99).otherwise("seed").alias("seed"))
    found = estimate(compare(replace(results, runs=runs)))
    assert found.overall.df == 4
    assert any("assumed, not measured" in text for text in found.overall.assumptions)


#: Two sizes and two data sets, three pairs each.
VALUES = {
    ("a", "s"): [1.0, 2.0, 4.0],
    ("b", "s"): [0.0, 2.0, 3.0],
    ("a", "l"): [3.0, 9.0, 1.0],
    ("b", "l"): [2.0, 8.0, 4.0],
}


class TestPretrainings:
    """Two sizes, three pretrainings each, nested: seed i starts from pretraining i."""

    def nested(self, values=None):
        return by_hand(values or VALUES, weights=lambda model, place: (place, f"{model} {place}"))

    def test_a_size_is_the_test_of_its_pretrainings_means(self):
        small = estimate(self.nested()).sizes[0]
        theirs = stats.ttest_1samp([0.5, 2.0, 3.5], 0)
        assert (small.effect, small.df, small.p_value) == pytest.approx((2.0, 2, theirs.pvalue))
        assert small.n_pretrainings == 3

    def test_growth_is_welchs_test_between_the_means_of_pretrainings(self):
        growth = estimate(self.nested()).growth
        theirs = stats.ttest_ind([2.5, 8.5, 2.5], [0.5, 2.0, 3.5], equal_var=False)
        assert (growth.effect, growth.df, growth.p_value) == pytest.approx((2.5, theirs.df, theirs.pvalue))

    def test_intervals_are_never_narrower_than_without_the_spread_of_pretrainings(self):
        # Pretrainings that cancel: their means agree exactly, but seeds do not.
        found = estimate(self.nested({("a", "s"): [0.0, 2.0, 4.0], ("b", "s"): [4.0, 2.0, 0.0]}))
        assert found.overall.high == pytest.approx(found.conditional.overall.high)

    def test_one_set_of_weights_makes_an_estimate_conditional(self):
        found = estimate(by_hand(VALUES, weights=lambda model, place: (place, model)))
        assert found.is_conditional
        without = found.conditional.overall
        assert (found.overall.low, found.overall.high) == (without.low, without.high)
        assert not estimate(self.nested()).is_conditional

    def test_crossed_pretrainings_add_to_the_spread_of_seeds(self):
        # Cell means over seeds by pretraining: 0 and 2; over pretrainings by seed: 0.5, 1, 1.5.
        table = {(p, s): 2.0 * p + 0.5 * s - 0.5 for p in (0, 1) for s in (1, 2, 3)}
        keys = list(table)
        found = estimate(
            by_hand({("a", "s"): list(table.values())}, weights=lambda _, place: (keys[place][1], f"w{keys[place][0]}"))
        ).overall
        of_pretrainings, of_seeds = np.var([0.5, 2.5], ddof=1) / 2, np.var([1.0, 1.5, 2.0], ddof=1) / 3
        assert found.se == pytest.approx((of_pretrainings + of_seeds) ** 0.5)
        assert found.n_pretrainings == 2
