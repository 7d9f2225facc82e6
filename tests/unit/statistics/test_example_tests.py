"""Paired tests over test examples against hand-collected predictions and the textbook."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from analysis.results import load
from analysis.statistics.example_tests import TestSetVariance, chosen_class, example_tests
from analysis.statistics.pairs import compare
from sweep.compact import compact
from sweep.store import Store
from tests.support.comparisons import TWO_BY_TWO, from_study
from tests.support.synthetic_results import Truth


def test_example_tests_equal_a_paired_test_on_hand_collected_predictions(tmp_path):
    results, comparison = from_study(tmp_path)
    found = example_tests(results, comparison)
    assert found.problems == ()
    assert found.cells["n"].to_list() == [300] * 4
    row = found.cells.row(0, named=True)
    files = [tmp_path / "results" / "predictions" / f"net-a-alpha-2-0.0006-{init}-{seed}.parquet"
             for init in ("pretrained", "scratch") for seed in (1, 2, 3)]  # fmt: skip
    right = []
    for file in files:
        table = pl.read_parquet(file)
        right.append(np.array([np.argmax(logits) for logits in table["logits"]]) == table["label"].to_numpy())
    per_example = 100 * (np.mean(right[:3], axis=0) - np.mean(right[3:], axis=0))
    test = stats.ttest_1samp(per_example, 0)
    assert row["effect"] == pytest.approx(per_example.mean())
    assert row["p_value"] == pytest.approx(test.pvalue)
    assert row["low"] == pytest.approx(test.confidence_interval().low)


def per_example_differences(folder, model, dataset):
    """Points, from the files of the three seeds of each arm."""
    right = {"pretrained": [], "scratch": []}
    for init, found in right.items():
        for seed in (1, 2, 3):
            table = pl.read_parquet(folder / f"{model}-{dataset}-2-0.0006-{init}-{seed}.parquet").sort("example")
            found.append(np.array(table["logits"].list.arg_max() == table["label"], float))
    return 100 * (np.mean(right["pretrained"], axis=0) - np.mean(right["scratch"], axis=0))


@pytest.fixture
def two_by_two(tmp_path):
    """Results, their comparison, and by setting the per-example differences collected by hand."""
    results, comparison = from_study(tmp_path)
    folder = tmp_path / "results" / "predictions"
    by_hand = {
        f"{model}-{dataset}-2-0.0006": per_example_differences(folder, model, dataset)
        for dataset in ("alpha", "beta")
        for model in ("net-a", "net-b")
    }
    return results, comparison, by_hand


A, B, OF_BETA = "net-a-alpha-2-0.0006", "net-b-alpha-2-0.0006", "net-a-beta-2-0.0006"


def test_covariances_over_test_examples_are_those_of_numpy(two_by_two):
    results, comparison, by_hand = two_by_two
    found = example_tests(results, comparison).test_sets
    assert found.examples == {"alpha": 300, "beta": 300}
    assert len(found.covariance) == 2 * 4, "cells of different data sets share no examples"
    expected = np.cov(by_hand[A], by_hand[B]) / 300
    assert expected[0, 1] != 0
    assert [[found.covariance[one, other] for other in (A, B)] for one in (A, B)] == pytest.approx(expected, rel=1e-5)


def test_the_variance_of_one_cell_is_that_of_the_paired_t_test(two_by_two):
    results, comparison, by_hand = two_by_two
    found = example_tests(results, comparison)
    error = float(stats.ttest_1samp(by_hand[A], 0).confidence_interval(0.95).high) - by_hand[A].mean()
    quantile = stats.t.ppf(0.975, 299)
    assert found.test_sets.variance({A: 1.0}) == pytest.approx((error / quantile) ** 2, rel=1e-5)
    row = found.cells.row(0, named=True)
    assert row["high"] - row["effect"] == pytest.approx(quantile * found.test_sets.variance({A: 1.0}) ** 0.5, rel=1e-5)


def test_a_contrast_over_two_sizes_equals_the_t_test_of_the_contrast_of_each_example(two_by_two):
    results, comparison, by_hand = two_by_two
    found = example_tests(results, comparison).test_sets
    growth = found.variance({A: -1.0, B: 1.0})
    assert growth == pytest.approx(stats.sem(by_hand[B] - by_hand[A]) ** 2, rel=1e-5)
    assert growth != pytest.approx(found.variance({A: 1.0}) + found.variance({B: 1.0}), rel=0.01)
    mean = found.variance({A: 0.5, OF_BETA: 0.5})
    assert mean == pytest.approx((stats.sem(by_hand[A]) ** 2 + stats.sem(by_hand[OF_BETA]) ** 2) / 4, rel=1e-5)


def test_batches_of_any_size_give_the_same_covariances(two_by_two, monkeypatch):
    results, comparison, _ = two_by_two
    whole = example_tests(results, comparison)
    monkeypatch.setattr("analysis.statistics.example_tests._BATCH_ROWS", 1)
    assert example_tests(results, comparison).test_sets == whole.test_sets


def test_a_contrast_with_a_cell_without_predictions_has_no_variance(tmp_path):
    results, comparison = from_study(tmp_path)
    for path in (tmp_path / "results" / "predictions").glob("net-a-alpha-*"):
        path.unlink()
    found = example_tests(load(tmp_path / "results"), comparison).test_sets
    assert found.variance({A: 0.5, B: 0.5}) is None
    assert found.variance({A: 0.0, B: 1.0}) == pytest.approx(found.covariance[B, B])
    nothing = example_tests(replace(results, source=None), comparison).test_sets
    assert (nothing.variance({B: 1.0}), nothing.examples) == (None, {})


def test_the_test_set_of_a_data_set_without_usable_predictions_counts_no_examples(tmp_path):
    results, comparison = from_study(tmp_path)
    for path in (tmp_path / "results" / "predictions").glob("*-alpha-*"):
        path.write_bytes(path.read_bytes()[:40])
    found = example_tests(results, comparison)
    assert len(found.problems) == 12
    assert found.test_sets.examples == {"beta": 300}, "the smallest one decides how far an interval reaches"


def test_pairs_alone_are_tested_where_a_seed_is_done_in_one_arm(tmp_path):
    results, comparison = from_study(
        tmp_path, missing=lambda row: (row["model"], row["seed"], row["init"]) == ("net-a", 3, "scratch")
    )
    assert comparison.paired
    reduced = replace(results, predictions={k: v for k, v in results.predictions.items() if not k.endswith("-3")})
    found, of_two = example_tests(results, comparison), example_tests(reduced, comparison)
    assert found.test_sets.variance({A: 1.0}) == of_two.test_sets.variance({A: 1.0})
    assert found.test_sets.variance({B: 1.0}) != of_two.test_sets.variance({B: 1.0})


def test_a_control_run_from_weights_that_its_seed_is_not_treated_with_is_left_out(tmp_path):
    def changes(row):
        is_other = row["seed"] == 3 and row["init"] == "frozen"
        return {"seed": 2, "weights_digest": "w2"} if is_other else {"weights_digest": "w1"}

    truth = replace(TWO_BY_TWO, inits=("pretrained", "frozen"))
    results, _ = from_study(tmp_path, truth, changes=changes)
    comparison = compare(results, arms=("pretrained", "frozen"))
    assert comparison.cells.select("n_control", "n_pairs").unique().rows() == [(3, 2)]
    effects = example_tests(results, comparison).cells["effect"].to_list()
    assert effects == pytest.approx(comparison.cells["effect"].to_list())


def test_a_contrast_of_equal_cells_never_varies_by_less_than_nothing():
    rounded = TestSetVariance({("a", "a"): 1.0, ("b", "b"): 1.0, ("a", "b"): 1.0 + 1e-9, ("b", "a"): 1.0 + 1e-9}, {})
    assert rounded.variance({"a": 1.0, "b": -1.0}) == 0.0


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_the_chosen_class_is_the_first_with_the_largest_logit(classes):
    logits = np.random.default_rng(classes).integers(0, 4, (400, classes)).astype(np.float32)  # with many ties
    frame = pl.DataFrame({"logits": [*logits.tolist(), [], None]}, schema={"logits": pl.List(pl.Float32)})
    assert frame.select(chosen_class(classes)).to_series().to_list() == [*logits.argmax(axis=1), None, None]


def test_examples_beyond_the_test_split_and_those_that_a_run_lacks_count_nowhere(tmp_path):
    results, comparison = from_study(tmp_path)
    whole = example_tests(results, comparison).cells
    victim = tmp_path / "results" / "predictions" / "net-a-alpha-2-0.0006-scratch-2.parquet"
    table = pl.read_parquet(victim)
    last = table.tail(1)
    pl.concat([table, last.with_columns(example=pl.lit(-1, pl.Int32)), last.with_columns(
        example=pl.lit(2_000_000_000, pl.Int32))]).write_parquet(victim)  # fmt: skip
    assert example_tests(results, comparison).cells.equals(whole)
    right = table["logits"].list.arg_max() == table["label"]
    some = table.filter(pl.int_range(pl.len()).is_in([right.arg_true()[0], (~right).arg_true()[0]]).not_())
    accuracy = (right.sum() - 1) / some.height
    some.write_parquet(victim)
    mine = pl.col("run_id") == victim.stem
    changed = replace(comparison, runs=comparison.runs.with_columns(
        value=pl.when(mine).then(100 * accuracy).otherwise("value")))  # fmt: skip
    found = example_tests(results, changed)
    assert found.problems == ()
    assert found.cells["n"].to_list() == [298, 300, 300, 300]
    assert found.test_sets.examples == {"alpha": 298, "beta": 300}, "sizes are compared over the examples of both"


def test_one_pair_of_models_is_compared_by_mcnemars_exact_test(tmp_path):
    truth = Truth(models={"net": 1_000}, datasets={"alpha": 0.7}, seeds=(1,), epochs=(1,), test_examples=300)
    results, comparison = from_study(tmp_path, truth)
    folder, right = tmp_path / "results" / "predictions", {}
    for row in results.runs.iter_rows(named=True):
        rows = pl.read_parquet(folder / f"{row['run_id']}.parquet")
        right[row["init"]] = rows["logits"].list.arg_max().to_numpy() == rows["label"].to_numpy()
    better = int((right["pretrained"] & ~right["scratch"]).sum())
    worse = int((right["scratch"] & ~right["pretrained"]).sum())
    cells = example_tests(results, comparison).cells
    assert cells["p_mcnemar"].to_list() == pytest.approx([stats.binomtest(better, better + worse).pvalue])
    _, many = from_study(tmp_path / "more", TWO_BY_TWO)
    assert example_tests(load(tmp_path / "more" / "results"), many).cells["p_mcnemar"].null_count() == 4


def test_a_cell_without_predictions_is_left_out_of_the_tests_over_examples(tmp_path):
    results, comparison = from_study(tmp_path)
    for path in (tmp_path / "results" / "predictions").glob("net-a-alpha-*"):
        path.unlink()
    results = load(tmp_path / "results")
    assert example_tests(results, comparison).cells.select("dataset", "size").rows() == [
        ("alpha", "b"), ("beta", "a"), ("beta", "b"),
    ]  # fmt: skip


def test_predictions_that_contradict_their_run_are_left_out_and_named(tmp_path):
    results, comparison = from_study(tmp_path)
    victim = tmp_path / "results" / "predictions" / "net-a-alpha-2-0.0006-scratch-2.parquet"
    table = pl.read_parquet(victim)
    table.with_columns((1 - pl.col("label")).cast(pl.Int16).alias("label")).write_parquet(victim)
    found = example_tests(results, comparison)
    (problem,) = found.problems
    assert problem.path.endswith("scratch-2.parquet")
    assert "left out" in problem.reason
    assert found.cells.height == 4


def test_a_truncated_prediction_file_costs_its_own_run(tmp_path):
    results, comparison = from_study(tmp_path)
    victim = tmp_path / "results" / "predictions" / "net-a-alpha-2-0.0006-scratch-2.parquet"
    victim.write_bytes(victim.read_bytes()[:50])
    found = example_tests(results, comparison)
    assert [problem.path for problem in found.problems] == [f"predictions/{victim.name}"]
    assert found.cells.height == 4


def test_a_truncated_part_is_named_and_costs_its_own_runs(tmp_path):
    from_study(tmp_path)
    compact(Store(str(tmp_path / "results")))
    (victim,) = (tmp_path / "results" / "compact").glob("predictions-*")
    victim.write_bytes(victim.read_bytes()[:-50])
    results = load(tmp_path / "results")
    found = example_tests(results, compare(results))
    assert {problem.path for problem in found.problems} == {f"compact/{victim.name}"}
    assert found.cells.is_empty()
