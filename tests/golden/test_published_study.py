"""The estimators against the table that an independent analysis of the published 36 runs printed."""

import pytest

from analysis import published
from analysis.statistics.datasets_as_sample import SampleSettings, over_datasets
from analysis.statistics.effect import Estimate
from analysis.statistics.estimates import estimate
from analysis.statistics.pairs import compare

# data set, size, Δ final [95 %], Δ best epoch [95 %]
TABLE = """
human_enhancers_cohn              tiny-1k   +0.09 -1.01 1.18   +1.25  0.23 2.27
human_enhancers_cohn              large-1m  +0.38 -0.72 1.47   +0.73 -0.29 1.75
human_enhancers_ensembl           tiny-1k   +1.82  0.72 2.91   +1.81  0.79 2.84
human_enhancers_ensembl           large-1m  -1.18 -2.27 -0.08  -1.27 -2.29 -0.24
demo_coding_vs_intergenomic_seqs  tiny-1k   +0.54 -0.56 1.63   +0.79 -0.23 1.81
demo_coding_vs_intergenomic_seqs  large-1m  +0.51 -0.59 1.60   +0.55 -0.48 1.57
human_ocr_ensembl                 tiny-1k   +3.80  2.71 4.90   +3.87  2.85 4.90
human_ocr_ensembl                 large-1m  +1.59  0.49 2.68   +1.50  0.48 2.52
"""
EXPECTED = {(row.split()[0], row.split()[1]): [float(x) for x in row.split()[2:]] for row in TABLE.strip().splitlines()}


def printed(estimate):
    return [round(value, 2) for value in (estimate.effect, estimate.low, estimate.high)]


@pytest.fixture(scope="module")
def results():
    return published.load("badici2024")


@pytest.fixture(scope="module")
def final(results):
    return estimate(compare(results))


def test_thirty_six_runs_of_which_four_have_no_control(results):
    assert results.runs.height == 36
    assert results.epochs.height == 32 * 15 + 4 * 50
    assert (compare(results, epochs=50).cells["reason"] == "no scratch run done").all()


@pytest.mark.parametrize(("dataset", "size"), EXPECTED)
def test_benefit_of_each_cell(results, final, dataset, size):
    best = estimate(compare(results, outcome="best_test_accuracy_of_any_epoch", epochs=15))
    for estimates, expected in ((final, EXPECTED[dataset, size][:3]), (best, EXPECTED[dataset, size][3:])):
        (cell,) = [one for one in estimates.cells if (one.dataset, one.size) == (dataset, size)]
        assert printed(cell) == expected


def test_means_over_data_sets_and_growth(final):
    sizes = {one.size: printed(one) for one in final.sizes}
    assert sizes == {"tiny-1k": [1.56, 1.01, 2.11], "large-1m": [0.32, -0.22, 0.87]}
    assert [round(one.effect, 2) for one in final.sizes_random] == [1.56, 0.32]
    assert printed(final.growth) == [-1.24, -2.01, -0.46]
    assert printed(final.largest_minus_smallest) == printed(final.growth)


def test_without_a_prior_data_sets_as_a_sample_are_the_one_sample_t(final):
    settings = SampleSettings(0.5, None)
    for fixed, expected in zip(final.sizes, ([-1.09, 4.21], [-1.49, 2.13]), strict=True):
        cells = [one for one in final.cells if one.model == fixed.model]
        assert printed(over_datasets(Estimate("size"), cells, fixed, fixed, settings))[1:] == expected
    growth = over_datasets(Estimate("growth"), final.dataset_growth, final.growth, final.growth, settings)
    assert printed(growth)[1:] == [-3.81, 1.33]
    low, high = printed(final.growth_random)[1:]
    assert (low > -3.81, high < 1.33) == (True, True), "the prior on the spread narrows it"


def test_spread_is_pooled_over_sixteen_degrees_and_assumed_for_the_pretrained_arm(final):
    assert {one.df for one in (final.overall, final.growth, *final.sizes, *final.cells)} == {16}
    assert round(final.residual_sd, 3) == 0.448
    assert not final.comparison.paired
    assert any("assumed, not measured" in text for text in final.growth.assumptions)
