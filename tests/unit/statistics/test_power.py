"""Planning: half-widths and detectable growth against the textbook."""

import polars as pl
import pytest
from scipy import stats

from analysis.statistics.estimates import estimate
from analysis.statistics.power import precision_plan
from tests.support.comparisons import from_study


def test_half_width_with_the_present_seeds_is_the_interval_at_hand(tmp_path):
    _, comparison = from_study(tmp_path, predictions=False)
    found = estimate(comparison)
    plan = precision_plan(found)
    now = plan.by_seeds.filter((pl.col("count") == 3) & (pl.col("basis") == "expected"))["half_width"].item()
    assert now == pytest.approx(found.growth.high - found.growth.effect)


def test_enough_seeds_are_enough_and_one_fewer_is_not(tmp_path):
    _, comparison = from_study(tmp_path, predictions=False)
    found = estimate(comparison, margin=0.3)
    seeds = precision_plan(found).seeds

    def half_width(count):
        # Four cells, weights ±1/2 each: variance σ² / n.
        return stats.t.ppf(0.975, 4 * (count - 1)) * found.residual_sd / count**0.5

    assert half_width(seeds) <= 0.3 < half_width(seeds - 1)


def test_detectable_growth_has_eighty_percent_power(tmp_path):
    _, comparison = from_study(tmp_path, predictions=False)
    growth = estimate(comparison).growth
    shift = precision_plan(estimate(comparison)).detectable / growth.se
    critical = stats.t.ppf(0.975, growth.df)
    power = stats.nct.sf(critical, growth.df, shift) + stats.nct.cdf(-critical, growth.df, shift)
    assert power == pytest.approx(0.8, abs=1e-4)


def test_nothing_can_be_planned_from_one_seed_or_one_size(tmp_path):
    _, comparison = from_study(tmp_path, missing=lambda row: row["seed"] > 1, predictions=False)
    assert precision_plan(estimate(comparison)) is None
    _, comparison = from_study(tmp_path / "b", missing=lambda row: row["model"] == "net-b", predictions=False)
    assert precision_plan(estimate(comparison)) is None
