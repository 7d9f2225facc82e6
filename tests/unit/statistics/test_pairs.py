"""Which runs are compared, paired or not, and which hyperparameters stand together."""

from dataclasses import fields, replace

import polars as pl
import pytest

from analysis.results import ResultsError, load
from analysis.statistics.pairs import compare, primary_epochs, short_names
from hyena.training.recipe import TrainingConfig
from sweep.schema import HYPERPARAMETERS, RUNS
from tests.support.synthetic_results import Truth, write_results

TWO = Truth(models={"net-a-x": 1_000, "net-b-x": 10_000}, datasets={"alpha": 0.7}, seeds=(1, 2, 3), epochs=(2,))


def study(tmp_path, truth=TWO, **changes):
    return load(write_results(tmp_path, truth, predictions=False, **changes))


def test_every_seed_of_both_arms_makes_a_pair(tmp_path):
    comparison = compare(study(tmp_path))
    assert comparison.paired
    assert comparison.pairs.height == 6
    row = comparison.pairs.row(0, named=True)
    assert row["difference"] == pytest.approx(row["treated"] - row["control"])
    assert comparison.cells["reason"].null_count() == 2


def test_differences_are_percentage_points(tmp_path):
    def changes(row):
        return {"test_accuracy": 0.75 if row["init"] == "pretrained" else 0.72}

    comparison = compare(study(tmp_path, changes=changes))
    assert comparison.cells["effect"].to_list() == pytest.approx([3.0, 3.0])


def test_unmatched_seeds_are_left_out_of_a_paired_comparison_and_counted(tmp_path):
    comparison = compare(study(tmp_path, missing=lambda row: row["seed"] == 3 and row["init"] == "scratch"))
    assert comparison.paired
    assert comparison.pairs.height == 4
    assert "2 runs" in comparison.why


def test_without_shared_seeds_the_comparison_is_unpaired_and_says_so(tmp_path):
    comparison = compare(study(tmp_path, missing=lambda row: (row["seed"] == 1) == (row["init"] == "scratch")))
    assert not comparison.paired
    assert "unpaired" in comparison.why
    assert comparison.correlation is None
    assert comparison.estimable.height == 2


def test_a_cell_with_one_arm_says_which_is_lacking(tmp_path):
    results = study(tmp_path, missing=lambda row: row["model"] == "net-b-x" and row["init"] == "scratch")
    reasons = dict(compare(results).cells.select("size", "reason").iter_rows())
    assert reasons == {"a": None, "b": "no scratch run done"}


def test_the_largest_number_of_epochs_with_both_arms_is_primary(tmp_path):
    truth = Truth(models={"tiny": 1_000}, datasets={"alpha": 0.7}, seeds=(1,), epochs=(2, 4))
    results = study(tmp_path, truth)
    assert primary_epochs(results) == 4
    only_short = results.plan.filter((results.plan["epochs"] == 2) | (results.plan["init"] == "pretrained"))
    assert primary_epochs(replace(results, plan=only_short)) == 2


def test_the_study_may_choose_the_primary_epochs(tmp_path):
    truth = Truth(models={"tiny": 1_000}, datasets={"alpha": 0.7}, epochs=(2, 4), analysis={"epochs": 2})
    comparison = compare(study(tmp_path, truth))
    assert comparison.epochs == 2
    assert set(comparison.cells["epochs"]) == {2}


def test_unlike_hyperparameters_are_never_averaged(tmp_path):
    truth = Truth(
        models={"tiny": 1_000}, datasets={"alpha": 0.7}, seeds=(1, 2), epochs=(2,), learning_rates=(1e-3, 1e-4)
    )
    results = study(tmp_path, truth, missing=lambda row: row["_learning_rate"] == 1e-3 and row["seed"] == 2)
    comparison = compare(results)
    assert comparison.variants == ("learning_rate 0.0001", "learning_rate 0.001")
    assert comparison.variant == "learning_rate 0.0001", "the group with the most pairs comes first"
    assert comparison.pairs.height == 2
    assert compare(results, variant="learning_rate 0.001").pairs.height == 1
    with pytest.raises(ResultsError, match="no group of hyperparameters"):
        compare(results, variant="learning_rate 7")


def test_correlation_of_the_arms_is_found_where_seeds_share_an_effect(tmp_path):
    truth = Truth(models={"tiny": 1_000}, datasets={"alpha": 0.7}, seeds=tuple(range(40)), epochs=(1,),
                  shared_sd=3.0, noise_sd=0.3)  # fmt: skip
    assert compare(study(tmp_path, truth)).correlation > 0.9


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["hyenadna-tiny-1k-seqlen", "hyenadna-large-1m-seqlen"], ["tiny-1k", "large-1m"]),
        (["hyenadna-tiny-1k-seqlen"], ["tiny-1k"]),
        (["a", "b"], ["a", "b"]),
        (["nano-32", "nano-64"], ["nano-32", "nano-64"]),
        (["tiny-1k", "tiny-1k-d256"], ["tiny-1k", "tiny-1k-d256"]),
        ([], []),
    ],
)
def test_short_names(names, short):
    assert short_names(names) == dict(zip(names, short, strict=True))


def test_a_training_share_is_one_group_over_data_sets_of_different_size(tmp_path):
    truth = Truth(models={"tiny": 1_000}, datasets={"alpha": 0.7, "beta": 0.8}, seeds=(1, 2), epochs=(2,),
                  learning_rates=(1e-3, 1e-4))  # fmt: skip

    def changes(row):
        share = 1.0 if row["_learning_rate"] == 1e-3 else 0.1
        examples = int(share * (200 if row["dataset"] == "alpha" else 500))
        return {"learning_rate": 1e-3, "train_fraction": share, "train_examples": examples}

    comparison = compare(study(tmp_path, truth, changes=changes))
    assert set(comparison.variants) == {"train_fraction 1.0", "train_fraction 0.1"}
    assert comparison.estimable.height == 2


def test_a_seed_that_stands_twice_in_an_arm_is_refused(tmp_path):
    results = study(tmp_path)
    twin = results.runs.head(1).with_columns(run_id=pl.lit("twin"))
    with pytest.raises(ResultsError, match="more than once"):
        compare(replace(results, runs=pl.concat([results.runs, twin])))


def test_every_training_value_tells_groups_apart():
    """`epochs` is a part of the block within which groups are told apart."""
    values = {field.name for field in fields(TrainingConfig)}
    assert values <= set(RUNS.names)
    assert values - set(HYPERPARAMETERS) == {"epochs"}
    assert set(HYPERPARAMETERS) - values == {"split_seed"}


@pytest.mark.parametrize("name", HYPERPARAMETERS)
def test_groups_are_named_by_what_tells_them_apart(name, tmp_path):
    truth = replace(TWO, learning_rates=(1e-3, 2e-3))
    other = {
        "padding": "right",
        "pooling": "real",
        "batching": "like_length",
        "split": "regroup",
        "precision": "bfloat16",
    }

    def changes(row):
        second = row["_learning_rate"] == 2e-3
        value = other.get(name, 2 if name in ("batch_size", "max_length", "split_seed") else 0.75)
        return {"learning_rate": 1e-3} | ({name: value} if second else {})

    comparison = compare(study(tmp_path, truth, changes=changes))
    assert len(comparison.variants) == 2
    assert all(variant.startswith(f"{name} ") for variant in comparison.variants)
