"""Failed runs at chance: which runs count, at which accuracy, and in which pairs."""

from dataclasses import replace

import polars as pl
import pytest

from analysis.statistics.failures import failures_at_chance
from analysis.statistics.pairs import compare
from tests.support.comparisons import TWO_BY_TWO, from_study
from tests.support.synthetic_results import Truth

LARGE_SCRATCH = {"model": "net-b", "dataset": "alpha", "init": "scratch", "seed": 3}


def large_scratch_fails(row):
    return all(row[key] == value for key, value in LARGE_SCRATCH.items())


def test_without_a_failed_run_there_is_no_bound(tmp_path):
    results, comparison = from_study(tmp_path, missing=large_scratch_fails)
    assert failures_at_chance(results, comparison) is None


def test_a_run_that_failed_counts_at_the_share_of_the_largest_class(tmp_path):
    results, comparison = from_study(tmp_path, fails=large_scratch_fails)
    skewed = pl.Series([[[70, 20], [5, 5]]] * results.runs.height)
    confusion = pl.when(pl.col("status") == "done").then(pl.lit(skewed)).alias("test_confusion")
    results = replace(results, runs=results.runs.with_columns(confusion))
    found = failures_at_chance(results, comparison)
    assert (found.n_treated, found.n_control) == (0, 1)
    assert found.comparison.pairs.height == comparison.pairs.height + 1
    (new,) = found.comparison.pairs.join(comparison.pairs, on="treated_run", how="anti").iter_rows(named=True)
    assert (new["setting_id"], new["seed"]) == ("net-b-alpha-2-0.0006", 3)
    assert new["control"] == pytest.approx(90.0)
    assert found.comparison.variants == comparison.variants


def test_without_a_confusion_matrix_chance_is_one_in_the_number_of_classes(tmp_path):
    results, comparison = from_study(tmp_path, fails=large_scratch_fails, predictions=False,
                                     changes=lambda row: {"num_classes": 4})  # fmt: skip
    found = failures_at_chance(results, comparison)
    failed = found.comparison.runs.join(comparison.runs, on="run_id", how="anti")
    assert failed["value"].to_list() == pytest.approx([25.0])


def test_a_seed_that_failed_in_both_arms_makes_a_pair_of_no_difference(tmp_path):
    results, comparison = from_study(tmp_path, fails=lambda row: row["seed"] == 2)
    found = failures_at_chance(results, comparison)
    assert (found.n_treated, found.n_control) == (4, 4)
    new = found.comparison.pairs.filter(pl.col("seed") == 2)
    assert new["difference"].to_list() == [0.0] * 4
    assert found.comparison.cells["n_pairs"].to_list() == [3] * 4


def test_a_cell_whose_arm_failed_throughout_gets_an_estimate(tmp_path):
    results, comparison = from_study(
        tmp_path, fails=lambda row: (row["model"], row["init"]) == ("net-b", "scratch"), predictions=False
    )
    assert comparison.estimable.height == 2
    assert failures_at_chance(results, comparison).comparison.estimable.height == 4


def test_failures_of_other_epochs_and_groups_change_nothing(tmp_path):
    truth = Truth(models={"net": 1_000}, datasets={"alpha": 0.7}, seeds=(1, 2), epochs=(2, 4),
                  learning_rates=(1e-3, 1e-4))  # fmt: skip
    results, comparison = from_study(
        tmp_path, truth, fails=lambda row: row["seed"] == 2 and (row["epochs"], row["_learning_rate"]) != (4, 1e-3)
    )
    assert (comparison.epochs, comparison.variant) == (4, "learning_rate 0.001")
    assert failures_at_chance(results, comparison) is None
    other = failures_at_chance(results, compare(results, variant="learning_rate 0.0001"))
    assert (other.n_treated, other.n_control) == (1, 1)
    assert other.comparison.variant == "learning_rate 0.0001"
    assert other.comparison.runs.height == 4


def test_only_test_accuracy_has_a_value_at_chance(tmp_path):
    results, _ = from_study(tmp_path, TWO_BY_TWO, predictions=False)
    with pytest.raises(ValueError, match="test_loss at chance"):
        failures_at_chance(results, compare(results, "test_loss"))
