"""The simulator's studies have the truth that they say they have, in memory as in files."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.results import load
from analysis.statistics.example_tests import example_tests
from analysis.statistics.pairs import compare
from tests.support.scenario import Scenario, TestSets, contrasts, layout
from tests.support.simulated_folders import write_study
from tests.support.simulated_studies import draw
from tests.support.study_scenarios import FOUR_ARMS, SCENARIOS

SMALL = Scenario("small", "two by two", 2, (1_000, 100_000), 3, benefit=((0.0, 1.0), (2.0, 4.0)), pretrainings=3)
#: So many seeds that means are known to a tenth.
LARGE = replace(SMALL, seeds=400, pretrainings=1)


@pytest.fixture
def rng():
    return np.random.default_rng(8)


def effects(study):
    """Effects of the cells as the comparison finds them, by data set and model."""
    return {row[:2]: row[2] for row in compare(study.results()).cells.select("dataset", "model", "effect").iter_rows()}


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_every_scenario_draws_accuracies_that_can_be(scenario, rng):
    study = draw(scenario, rng)
    assert study.accuracy.shape == (layout(scenario).runs.height,)
    assert study.accuracy.min() > 0
    assert study.accuracy.max() < 1
    assert all(weights.sum() == pytest.approx(1) for weights in contrasts(scenario).sizes.values())


def test_many_seeds_give_the_true_benefits(rng):
    study = draw(LARGE, rng)
    assert study.cells == {
        ("data-1", "model-1"): 0.0,
        ("data-1", "model-2"): 1.0,
        ("data-2", "model-1"): 2.0,
        ("data-2", "model-2"): 4.0,
    }
    assert (study.overall, study.growth, study.sizes) == (1.75, pytest.approx(1.5), {1_000: 1.0, 100_000: 2.5})
    assert effects(study) == pytest.approx(study.cells, abs=5 * 0.45 * (2 / 400) ** 0.5)


def test_many_seeds_give_the_spread_and_what_seeds_share(rng):
    study = draw(replace(LARGE, spread=(0.3, 0.9), seed_share=0.4), rng)
    pairs = compare(study.results()).pairs
    wide = pairs.pivot("setting_id", index="seed", values="difference").drop("seed")
    assert wide.columns == [f"model-{m}-data-{d}" for d in (1, 2) for m in (1, 2)]
    correlation = np.corrcoef(wide.to_numpy().T)
    assert wide.to_numpy().std(0) == pytest.approx(2**0.5 * np.array([0.3, 0.9, 0.3, 0.9]), rel=0.15)
    assert correlation[0, 2] == pytest.approx(0.4, abs=0.18)  # one size, two data sets
    assert correlation[0, 1] == pytest.approx(0.0, abs=0.2)  # two sizes


def test_arms_share_the_effect_of_a_seed_on_their_cell(rng):
    assert compare(draw(LARGE, rng).results()).correlation == pytest.approx(0.25 / 1.25, abs=0.1)
    assert compare(draw(replace(LARGE, shared_by_arms=0.0), rng).results()).correlation == pytest.approx(0, abs=0.1)


def test_luck_belongs_to_a_pretraining_and_moves_all_data_sets_of_its_size(rng):
    scenario = replace(LARGE, benefit=0.0, pretrainings=2, luck=3.0)
    pairs = compare(draw(scenario, rng).results()).pairs
    means = {
        key: group["difference"].to_numpy().mean()
        for key, group in pairs.group_by("dataset", "model", pairs["seed"] % 2)
    }
    for model in scenario.models:
        for odd in (0, 1):
            assert means["data-1", model, odd] == pytest.approx(means["data-2", model, odd], abs=0.3)
        assert abs(means["data-1", model, 0] - means["data-1", model, 1]) > 0.3


def test_nested_seeds_take_turns_with_the_pretrainings_and_crossed_ones_have_all():
    def starts(design):
        rows = layout(replace(SMALL, design=design)).runs
        found = rows.filter(dataset="data-1", model="model-2").select("init", "seed", "weights_digest").rows()
        return [(init, seed, digest and digest[-1]) for init, seed, digest in found]

    scratch = [("scratch", seed, None) for seed in (1, 2, 3)]
    assert starts("nested") == [*(("pretrained", seed, str(seed)) for seed in (1, 2, 3)), *scratch]
    assert starts("crossed") == [*(("pretrained", seed, p) for seed in (1, 2, 3) for p in "123"), *scratch]


def test_collapses_hit_scratch_runs_of_the_largest_size_and_count_where_they_should(rng):
    study = draw(replace(LARGE, collapse=0.1), rng)
    runs = study.results().runs
    fallen = runs.filter(runs["test_accuracy"] == 0.5)
    assert set(fallen.select("init", "model").rows()) == {("scratch", "model-2")}
    assert fallen.height == pytest.approx(0.1 * 800, abs=30)
    assert study.sizes[100_000] == 2.5
    counted = draw(replace(LARGE, collapse=0.1, collapses_count=True), rng)
    assert counted.sizes[100_000] == pytest.approx(2.5 + 0.1 * 17.5)
    assert effects(counted) == pytest.approx(counted.cells, abs=1.2)


def test_the_benefits_of_data_sets_differ_by_tau_around_the_same_mean(rng):
    drawn = [draw(replace(SMALL, tau=2.0, tau_growth=1.0), rng) for _ in range(500)]
    tilts = np.array([np.diff(study.benefit, axis=1).ravel() for study in drawn]) - [1.0, 2.0]
    levels = np.array([study.benefit.mean(1) for study in drawn]) - [0.5, 3.0]
    assert (levels.mean(), levels.std()) == (pytest.approx(0, abs=0.3), pytest.approx(2, rel=0.1))
    assert (tilts.mean(), tilts.std()) == (pytest.approx(0, abs=0.15), pytest.approx(1, rel=0.1))
    assert {study.overall_random for study in drawn} == {1.75}


def test_test_examples_are_drawn_anew_around_the_true_benefit(rng):
    scenario = replace(SMALL, benefit=(0.0, 1.0), test_sets=TestSets((2_000, 500), (0.2, 0.1)))
    found = np.array([list(effects(draw(scenario, rng)).values()) for _ in range(150)])
    truth = list(draw(scenario, rng).cells.values())
    # of each example: (share of three runs right) − (the same of the other arm); separating ones always differ by one
    variance = np.array([0.3 * error + 2 * (1.7 * error / 4) / 3 for error in (0.2, 0.2, 0.1, 0.1)])
    se = 100 * (variance / [2_000, 2_000, 500, 500]) ** 0.5
    assert np.abs(found.mean(0) - truth).max() < 5 * se.max() / 150**0.5
    assert found.std(0) == pytest.approx(se, rel=0.25)


def test_missing_cells_leave_the_truth_to_those_that_are_there(rng):
    study = draw(SCENARIOS["incomplete"], rng)
    assert study.growth == pytest.approx(1.0)
    assert study.sizes == {100_000: 0.0, 800_000: pytest.approx(0.5), 6_400_000: pytest.approx(1.0)}
    cells = compare(study.results()).cells
    assert cells["n_pairs"].to_list() == [5, 5, 5, 5, 5, 0, 5, 1, 5, 5, 0, 0, 5, 5, 5, 4, 5, 3]


@pytest.mark.parametrize(
    "scenario",
    [
        SMALL,
        replace(SMALL, arms=FOUR_ARMS, luck=0.5, design="crossed"),
        replace(SMALL, pairs=((3, 1), (0, 2))),
        replace(SMALL, benefit=(0.0, 1.0), test_sets=TestSets((400, 300), (0.2, 0.1))),
    ],
    ids=["pairs", "crossed arms", "incomplete", "examples"],
)
def test_a_written_study_is_read_as_the_one_in_memory(scenario, rng, tmp_path):
    study = draw(scenario, rng)
    mine, read = study.results(), load(write_study(tmp_path, study, rng))
    assert read.problems == ()
    assert (read.study, read.margin, read.name) == (mine.study, mine.margin, mine.name)
    assert read.plan.equals(mine.plan)
    runs = mine.runs.select(read.runs.columns)
    assert read.runs.sort("run_id").equals(runs.sort("run_id"))
    assert len(read.predictions) == (runs.height if scenario.test_sets else 0)
    assert read.epochs.height == 2 * runs.height


def test_written_predictions_give_the_accuracies(rng, tmp_path):
    scenario = replace(SMALL, benefit=(0.0, 1.0), test_sets=TestSets((400, 300), (0.2, 0.1)))
    read = load(write_study(tmp_path, draw(scenario, rng), rng))
    tested = example_tests(read, compare(read))
    assert tested.problems == ()
    assert tested.cells["n"].to_list() == [400, 400, 300, 300]


def test_a_look_sees_the_first_seeds_alone(rng):
    study = draw(SCENARIOS["looks"], rng)
    early, late = study.results(2), study.results()
    assert early.study["analysis"]["looks"] == 9
    assert sorted(early.runs["seed"].unique()) == [1, 2]
    assert early.runs.equals(late.runs.filter(late.runs["seed"] <= 2))
