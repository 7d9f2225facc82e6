"""The coverage benchmark counts right, whatever the processes, and its table in the documentation is up to date."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from statsmodels.regression.linear_model import OLS

from analysis.statistics.estimates import estimate
from analysis.statistics.pairs import compare
from analysis.statistics.verdicts import Verdict
from benchmarks.coverage_summary import EQUIVALENT, Reading, lowest_by_chance, summary
from benchmarks.coverage_table import BEGIN, END, markdown, rate, with_block
from benchmarks.statistics_coverage import CHUNK, PAGE, RESULTS, chunk_of, pooled_intervals, read
from tests.support.scenario import Scenario
from tests.support.simulated_studies import draw
from tests.support.study_scenarios import SCENARIOS

#: One data set and two sizes: five targets besides the new data set.
PAIR = Scenario("pair", "one data set, two sizes", 1, (1_000, 100_000), 3)
NAN = float("nan")


def reading(**changes):
    """Truth 0, intervals ±1 and pooled ones ±2 for overall, growth, two sizes, two cells; none for a new data set."""
    one, none = np.ones(7), np.array([1.0] * 6 + [NAN])
    usual: dict[str, Any] = {
        "truth": 0 * one, "low": -none, "high": none, "pooled_low": -2 * none, "pooled_high": 2 * none,
        "verdicts": np.zeros(7, int), "named": np.zeros(7, bool), "varies": False,
    }  # fmt: skip
    return Reading(**(usual | changes))


def test_coverage_and_widths_are_shares_of_the_intervals_that_there_are():
    missed = reading(truth=np.array([0.0, 1.5, 0, 3, 0, 0, 0]))
    found = summary(PAIR, [reading(), missed, None])
    assert (found["studies"], found["refused"]) == (3, 1)
    assert found["coverage"] == {
        "overall": 1.0, "growth": 0.5, "lowest size": 0.5, "lowest cell": 1.0, "all cells": 1.0, "new data set": None,
    }  # fmt: skip
    assert found["pooled"]["growth"] == 1.0
    assert found["width"] == dict.fromkeys(("overall", "growth", "sizes", "cells"), 0.5)
    assert found["without_interval"] == pytest.approx(1 / 7, abs=1e-4)
    assert found["random_width"] is None
    assert summary(PAIR, [None]) == {"scenario": "pair", "about": PAIR.about, "studies": 1, "refused": 1}


def test_a_verdict_is_false_against_the_truth_or_without_any():
    truth = np.array([1.0, -1.0, 0, 2, 0, 2, 0])
    verdicts = np.array([1, 1, -1, 1, 0, 0, 0])  # right, wrong sign, nothing there, right
    named = np.array([False] * 4 + [True, True, False])
    of_cells = {"low": np.array([-1.0] * 4 + [0.1, 0.1, NAN]), "high": np.array([1.0] * 6 + [NAN])}
    false = reading(truth=truth, verdicts=verdicts, named=named, **of_cells)
    found = summary(PAIR, [false, reading()])["false_verdicts"]
    assert found == {"overall": 0.0, "growth": 0.5, "any size": 0.5, "any cell": 0.5, "share of cells": 0.25}


def test_equivalence_is_false_at_the_margin_and_where_sizes_differ():
    said = np.full(7, 2)
    small = summary(PAIR, [reading(truth=np.full(7, 0.4), verdicts=said)])["false_equivalent"]
    assert set(small.values()) == {None}
    at_margin = summary(PAIR, [reading(truth=np.full(7, 0.5), verdicts=said)])["false_equivalent"]
    assert set(at_margin.values()) == {1.0}
    hump = summary(PAIR, [reading(varies=True, verdicts=said)])["false_equivalent"]
    assert hump == {"overall": None, "growth": 1.0, "worst size": None, "cells": None}


def test_the_lowest_of_many_shares_by_chance():
    assert lowest_by_chance(1, 400) == pytest.approx(0.95)
    drawn = np.random.default_rng(1).binomial(400, 0.95, (4_000, 63)).min(1).mean() / 400
    assert lowest_by_chance(63, 400) == pytest.approx(drawn, abs=0.001)


def test_the_pooled_intervals_are_those_of_least_squares_on_cell_indicators():
    study = draw(SCENARIOS["incomplete"], np.random.default_rng(3))
    found = estimate(compare(study.results()))
    pairs = found.comparison.pairs
    codes = pairs["setting_id"].to_list()
    names = list(dict.fromkeys(codes))
    fit = OLS(pairs["difference"].to_numpy(), np.eye(len(names))[[names.index(code) for code in codes]]).fit()
    low, high = pooled_intervals(study.scenario, found)
    expected = fit.t_test(np.full((1, len(names)), 1 / len(names))).conf_int()[0]
    assert (low[0], high[0]) == pytest.approx(tuple(expected))
    cells = fit.conf_int()[[names.index(f"{model}-{data}") for data, model in sorted_cells(study)]]
    assert low[5:-1] == pytest.approx(cells[:, 0])


def sorted_cells(study):
    """The cells that are there, data set by data set."""
    done = study.scenario.pairs_of_cells > 0
    names, models = study.scenario.dataset_names, study.scenario.models
    return [(names[d], models[m]) for d, m in np.argwhere(done)]


def test_a_study_is_the_same_in_whatever_chunk_it_is_read():
    name = "equal-4x2x3"
    alone = read(SCENARIOS[name], CHUNK + 1)
    chunk = chunk_of((name, CHUNK, CHUNK + 2))
    assert alone is not None
    assert np.array_equal(chunk[1].low, alone.low)
    assert not np.array_equal(chunk[0].low, alone.low)


def test_a_study_ends_at_the_first_look_that_decides(monkeypatch):
    said = {2: Verdict.UNRESOLVED, 3: Verdict.NEGATIVE, 4: Verdict.POSITIVE, 5: Verdict.EQUIVALENT}

    def by_look(results):
        found = estimate(compare(results))
        return replace(found, overall=replace(found.overall, verdict=said[results.runs["seed"].max()]))

    monkeypatch.setattr("analysis.estimate", by_look)
    ended = [read(replace(SCENARIOS["looks"], looks=looks), 0).verdicts[0] for looks in ((2,), (2, 3, 4, 5), (2, 5))]
    assert ended == [0, -1, EQUIVALENT]


def test_rates_have_two_digits():
    assert [rate(value) for value in (0.948, 0.0, 0.9999, 1.5, None)] == [".95", ".00", "1.00", "1.50", "–"]


def test_the_table_names_refused_studies_and_stands_between_its_markers():
    row = summary(PAIR, [reading(), None])
    table = markdown({"rows": [row, summary(PAIR, [None])]})
    assert "| one data set, two sizes (1 studies refused) | 1.00 / 1.00 | 1.00 / 1.00 | 1.00 (" in table
    assert with_block(f"a\n{BEGIN}\nold\n{END}\nb\n", {"rows": [row]}).startswith(f"a\n{BEGIN}\n\nCoverage of nominal")


def test_the_documentation_shows_the_committed_measurements_of_every_scenario():
    record, page = json.loads(RESULTS.read_text()), PAGE.read_text()
    assert [row["scenario"] for row in record["rows"]] == list(SCENARIOS)
    assert with_block(page, record) == page
