"""Robustness checks against enumeration and the textbook."""

import itertools

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.estimates import estimate
from analysis.statistics.pairs import compare
from analysis.statistics.robustness import (
    cells_at_chance,
    control_arms,
    other_outcomes,
    other_settings,
    probability_of_improvement,
    robustness,
    seeds_as_units,
    sign_flip,
    with_failures,
)
from tests.support.comparisons import TWO_BY_TWO, by_hand, from_study
from tests.support.synthetic_results import Truth


def test_sign_flip_equals_full_enumeration(tmp_path):
    _, comparison = from_study(tmp_path, missing=lambda row: row["dataset"] == "beta", predictions=False)
    found = sign_flip(comparison)
    values = comparison.pairs["difference"].to_numpy()
    means = [abs(np.dot(signs, values)) for signs in itertools.product((-1, 1), repeat=len(values))]
    seen = abs(values.sum())
    assert found.is_exact
    assert found.p_value == pytest.approx(np.mean([mean >= seen * (1 - 1e-9) for mean in means]))
    assert found.smallest == 2 / 2 ** len(values)


def test_pairs_of_one_seed_flip_together():
    values = [1.0, 2.0, -0.5, 1.5, 2.5, 0.5]  # three seeds, two pretrainings of each
    together = sign_flip(by_hand({("a", "s"): values}, weights=lambda _, place: (place // 2, f"w{place % 2}")))
    means = sign_flip(by_hand({("a", "s"): [1.5, 0.5, 1.5]}))
    assert (together.n, together.p_value) == (3, means.p_value)


def test_probability_of_improvement_counts_couples_and_halves_ties(tmp_path):
    accuracy = {("pretrained", 1): 0.8, ("pretrained", 2): 0.7, ("scratch", 1): 0.7, ("scratch", 2): 0.6}
    truth = Truth(models={"net": 1_000}, datasets={"alpha": 0.7}, seeds=(1, 2), epochs=(1,))
    _, comparison = from_study(
        tmp_path, truth, predictions=False, changes=lambda row: {"test_accuracy": accuracy[row["init"], row["seed"]]}
    )
    # 0.8 beats both; 0.7 beats 0.6 and ties with 0.7: (1 + 1 + 1 + 0.5) / 4.
    assert probability_of_improvement(comparison)["probability"].to_list() == [0.875]


def test_every_other_metric_is_there_for_every_cell(tmp_path):
    results, comparison = from_study(tmp_path, predictions=False)
    (check,) = [one for one in other_outcomes(results, comparison) if one.label.startswith("Matthews")]
    expected = estimate(compare(results, "test_mcc")).cells
    assert [(one.dataset, one.size, one.effect, one.low) for one in check.cells] == [
        (one.dataset, one.size, one.effect, one.low) for one in expected
    ]


def test_other_metrics_and_epochs_are_asked_the_same(tmp_path):
    truth = Truth(models=TWO_BY_TWO.models, datasets=TWO_BY_TWO.datasets, seeds=(1, 2, 3), epochs=(2, 5))
    results, comparison = from_study(tmp_path, truth, predictions=False)
    checks = {check.label: check for check in other_outcomes(results, comparison)}
    primary = estimate(comparison)
    # The synthetic F1 equals the accuracy, and MCC is 2 · accuracy − 1.
    assert checks["F1 on test"].benefit.effect == pytest.approx(primary.overall.effect)
    assert checks["Matthews correlation on test"].growth.effect == pytest.approx(2 * primary.growth.effect)
    (setting,) = other_settings(results, comparison)
    assert setting.label == "2 epochs"
    assert setting.benefit.effect == pytest.approx(estimate(compare(results, epochs=2)).overall.effect)


def test_cells_whose_control_arm_only_guesses_are_found(tmp_path):
    truth = Truth(models={"net": 1_000}, datasets={"guessed": 0.5, "learnt": 0.7}, seeds=(1, 2, 3), epochs=(2,))
    results, comparison = from_study(tmp_path, truth)
    assert cells_at_chance(results, comparison).rows() == [("guessed", "net")]
    without, comparison = from_study(tmp_path / "more", truth, predictions=False)
    assert cells_at_chance(without, comparison).is_empty(), "without confusion matrices nothing is claimed"


def test_control_arms_are_compared_with_both_others(tmp_path):
    truth = Truth(models=TWO_BY_TWO.models, datasets=TWO_BY_TWO.datasets, seeds=(1, 2, 3), epochs=(2,),
                  inits=("pretrained", "scratch", "shuffled"))  # fmt: skip
    results, comparison = from_study(tmp_path, truth, predictions=False)
    effects = {check.label: check.benefit.effect for check in control_arms(results, comparison)}
    assert set(effects) == {"shuffled − scratch", "pretrained − shuffled"}
    assert sum(effects.values()) == pytest.approx(estimate(comparison).overall.effect)


def test_one_value_per_seed_allows_for_seeds_that_all_cells_share():
    values = {("a", "s"): [0.0, 1.0, 3.0], ("b", "s"): [0.5, 1.0, 2.5], ("a", "l"): [2.0, 3.0, 4.5],
              ("b", "l"): [2.5, 3.0, 4.0]}  # fmt: skip
    benefit, growth = seeds_as_units(by_hand(values))
    table = np.array(list(values.values()))
    theirs = stats.ttest_1samp(table.mean(axis=0), 0)
    assert (benefit.effect, benefit.p_value, benefit.df) == pytest.approx((table.mean(), theirs.pvalue, 2))
    theirs = stats.ttest_1samp((table[2] + table[3] - table[0] - table[1]) / 2, 0)
    assert (growth.p_value, growth.df) == pytest.approx((theirs.pvalue, 2))
    assert seeds_as_units(by_hand({**values, ("b", "l"): [2.5, 3.0]})) is None, "a cell lacks a seed"


def test_failed_runs_are_a_check_of_their_own(tmp_path):
    fails = lambda row: row["init"] == "scratch" and row["seed"] == 1  # noqa: E731
    results, comparison = from_study(tmp_path, predictions=False, fails=fails)
    (check,) = with_failures(results, estimate(comparison))
    assert "4 scratch" in check.label
    assert check.benefit.effect > estimate(comparison).overall.effect + 5, "a scratch run at chance helps pretraining"
    clean, comparison = from_study(tmp_path / "clean", predictions=False)
    assert with_failures(clean, estimate(comparison)) == []


def test_checks_are_judged_by_the_margin_of_the_study_but_for_other_metrics(tmp_path):
    truth = Truth(models=TWO_BY_TWO.models, datasets=TWO_BY_TWO.datasets, seeds=(1, 2, 3), epochs=(2, 5),
                  inits=("pretrained", "scratch", "shuffled"))  # fmt: skip
    results, comparison = from_study(tmp_path, truth, predictions=False)
    found = robustness(results, estimate(comparison, margin=0.2))
    for check in (*found.assumptions, *found.control_arms, *found.settings):
        assert check.benefit == check.benefit.judged(0.2)
        assert check.growth == check.growth.judged(0.2)
    assert all(check.benefit.verdict is check.growth.verdict is None for check in found.outcomes)
