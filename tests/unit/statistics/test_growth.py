"""Growth with size: ties, missing sizes, shapes that are no line."""

import numpy as np
import pytest
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.oneway import anova_oneway

from analysis.statistics.contrasts import CellModel
from analysis.statistics.estimates import estimate
from analysis.statistics.growth import growth_weights, line_fit, welch_james
from analysis.statistics.verdicts import Verdict
from tests.support.comparisons import by_hand

SIZES = {f"m{index}": 10 ** (3 + index) for index in range(7)}


def around(mean, spread=0.1):
    return [mean - spread, mean, mean + spread]


def test_the_slope_is_least_squares_with_an_intercept_for_every_data_set():
    effects = {("a", "m0"): 1.0, ("a", "m1"): 2.0, ("a", "m3"): 2.5, ("b", "m1"): 0.0, ("b", "m2"): 3.0,
               ("c", "m0"): 9.0}  # fmt: skip
    comparison = by_hand({key: around(value) for key, value in effects.items()}, SIZES)
    used = [key for key in effects if key[0] != "c"]
    x = np.log10([SIZES[size] for _, size in used])
    design = np.column_stack([x, [name == "a" for name, _ in used], [name == "b" for name, _ in used]])
    slope = OLS([effects[key] for key in used], design.astype(float)).fit().params[0]
    found = estimate(comparison)
    assert found.growth.effect == pytest.approx(slope * 3)
    assert found.per_tenfold.effect == pytest.approx(slope)
    assert "c" in found.growth.reason
    assert [one.dataset for one in found.dataset_growth] == ["a", "b"]


def test_models_of_one_size_count_once():
    # The two models of the smaller size lie at 0 and 2: their size is at 1, whatever the number of its models.
    parameters = {"short": 1_000, "long": 1_000, "large": 10_000}
    found = estimate(
        by_hand({("a", "short"): around(0.0), ("a", "long"): around(2.0), ("a", "large"): around(3.0)}, parameters)
    )
    assert found.growth.effect == pytest.approx(2.0)
    assert found.largest_minus_smallest.effect == pytest.approx(2.0)
    assert len(found.size_differences) == 1
    assert len(found.sizes) == 3


def test_context_length_is_an_axis_of_its_own():
    parameters = {"short": 1_000, "long": 1_000, "large": 10_000}
    comparison = by_hand(
        {("a", "short"): around(0.0), ("a", "long"): around(2.0), ("a", "large"): around(3.0)}, parameters
    )
    assert estimate(comparison).context.reason == "no two models of one size differ in context length"
    import polars as pl

    lengths = pl.col("model").replace_strict({"short": 1_026, "long": 16_386, "large": 1_026})
    cells = comparison.cells.with_columns(l_max=lengths)
    from dataclasses import replace

    assert estimate(replace(comparison, cells=cells)).context.effect == pytest.approx(2.0)


def test_a_benefit_that_rises_and_falls_is_not_the_same_at_all_sizes():
    hump = dict(zip(SIZES, (0.0, 1.0, 2.0, 3.0, 2.0, 1.0, 0.0), strict=True))
    comparison = by_hand({(name, size): around(hump[size]) for name in "ab" for size in SIZES}, SIZES)
    found = estimate(comparison)
    assert found.growth.effect == pytest.approx(0.0, abs=1e-9)
    assert found.growth.high90 < found.margin, "the slope alone would say so"
    assert found.growth.verdict is Verdict.UNRESOLVED
    assert found.fit.p_value < 1e-6


def test_sizes_that_all_agree_are_the_same():
    comparison = by_hand({(name, size): around(1.0, 0.01) for name in "ab" for size in SIZES}, SIZES)
    assert estimate(comparison).growth.verdict is Verdict.EQUIVALENT


def test_a_line_is_no_lack_of_fit():
    rng = np.random.default_rng(2)
    p_values = []
    for _ in range(200):
        comparison = by_hand(
            {(name, size): list(index + rng.normal(0, 1 + index, 5)) for name in "ab" for index, size in
             enumerate(SIZES)}, SIZES
        )  # fmt: skip
        p_values.append(line_fit(CellModel(comparison)).p_value)
    assert 1 <= sum(p < 0.05 for p in p_values) <= 22, "5 % of 200, four standard errors"


def test_the_test_of_fit_is_welchs_analysis_of_variance_for_all_differences():
    rng = np.random.default_rng(0)
    groups = [rng.normal(size=n) * sd for n, sd in ((4, 1), (6, 3), (5, 0.5))]
    theirs = anova_oneway(groups, use_var="unequal", welch_correction=True)
    ours = welch_james(
        np.array([one.mean() for one in groups]),
        np.array([one.var(ddof=1) / len(one) for one in groups]),
        np.array([len(one) - 1.0 for one in groups]),
        np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]]),
    )
    assert (ours.statistic, ours.p_value) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert (ours.df1, ours.df2) == pytest.approx(theirs.df)


def test_one_size_gives_no_growth():
    weights = growth_weights(by_hand({("a", "m0"): [1.0, 2.0], ("b", "m0"): [1.0, 3.0]}, SIZES))
    assert not weights.all_data
    assert "two sizes" in weights.note
