"""Planning: half-widths and detectable growth against the textbook."""

from dataclasses import replace

import polars as pl
import pytest
from scipy import stats

from analysis.results import Results
from analysis.statistics.estimates import estimate
from analysis.statistics.multiplicity import level_of_a_look
from analysis.statistics.power import precision_plan
from tests.support.comparisons import by_hand, from_study

#: Pairs of two sizes whose spread is 1, one data set.
TWO_SIZES = {("a", "s"): [0.0, 1.0, 2.0], ("a", "l"): [3.0, 4.0, 5.0]}


@pytest.fixture
def results(tmp_path) -> Results:
    return from_study(tmp_path, predictions=False)[0]


def plan(results, comparison, margin=0.5, **options):
    return precision_plan(results, estimate(comparison, margin, **options))


def width(need, count, basis="expected"):
    return need.half_widths.filter((pl.col("count") == count) & (pl.col("basis") == basis))["half_width"].item()


def test_half_width_with_the_present_seeds_is_the_interval_of_a_second_look(results):
    found = estimate(by_hand(TWO_SIZES), looks=2)
    assert width(precision_plan(results, found).seeds, 3) == pytest.approx(found.growth.high - found.growth.effect)


def test_enough_seeds_are_enough_and_one_fewer_is_not(results):
    seeds = plan(results, by_hand(TWO_SIZES), margin=0.8).seeds.enough

    def half_width(count):  # two cells of variance 1 / n, weights ± 1, 2 degrees of freedom a seed
        return stats.t.ppf(1 - level_of_a_look(2) / 2, 2 * (count - 1)) * (2 / count) ** 0.5

    assert half_width(seeds) <= 0.8 < half_width(seeds - 1)


def test_no_number_of_seeds_answers_for_other_weights(results):
    values = {("a", "s"): [0.0, 2.0, 4.0], ("b", "s"): [0.1, 2.0, 4.1], ("a", "l"): [3.0, 5.0, 7.0],
              ("b", "l"): [3.1, 5.0, 6.9]}  # fmt: skip
    found = plan(results, by_hand(values, weights=lambda model, place: (place, f"{model} {place}")))
    assert found.seeds.enough is None, "pretrainings differ by an SD of 2, and there are three of each"
    assert found.pretrainings.enough > 30
    assert found.pretrainings.now == 3


def test_pretrainings_are_planned_from_two_on(results):
    assert plan(results, by_hand(TWO_SIZES, weights=lambda model, place: (place, model))).pretrainings is None


def test_hours_are_those_of_what_is_lacking(results):
    found = plan(results, by_hand(TWO_SIZES), margin=0.8)
    assert found.seeds.hours is None, "the runs of this comparison are not in the results"
    comparison = replace(
        by_hand(TWO_SIZES), runs=results.done.select("run_id", "dataset", "setting_id", "init", "model")
    )
    seeds = plan(results, comparison, margin=0.8).seeds
    times = results.done.group_by("setting_id", "init").agg(
        ((pl.col("train_s") + pl.col("evaluate_s")) / pl.col("concurrent_runs")).mean().alias("s")
    )
    assert seeds.hours == pytest.approx(times["s"].sum() / 3600 * (seeds.enough - 3))


def test_detectable_growth_has_eighty_percent_power(results):
    growth = estimate(by_hand(TWO_SIZES)).growth
    shift = plan(results, by_hand(TWO_SIZES)).detectable / growth.se
    critical = stats.t.ppf(0.975, growth.df)
    power = stats.nct.sf(critical, growth.df, shift) + stats.nct.cdf(-critical, growth.df, shift)
    assert power == pytest.approx(0.8, abs=1e-4)


def test_nothing_can_be_planned_from_one_seed_or_one_size(results):
    assert plan(results, by_hand({key: values[:1] for key, values in TWO_SIZES.items()})) is None
    assert plan(results, by_hand({("a", "s"): [0.0, 1.0, 2.0]})) is None
