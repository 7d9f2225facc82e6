"""Which runs are compared, paired or not, and which hyperparameters stand together."""

from dataclasses import fields, replace

import polars as pl
import pytest

from analysis.results import ResultsError, load
from analysis.statistics.groups import primary_epochs, short_names
from analysis.statistics.pairs import compare
from hyena.training.recipe import TrainingConfig
from sweep.schema import HYPERPARAMETERS, RUNS
from tests.support.comparisons import crossed
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
    with pytest.raises(ResultsError, match="more than once with the same weights"):
        compare(replace(results, runs=pl.concat([results.runs, twin])))
    unknown = results.runs.with_columns(weights_digest=pl.lit(None, pl.String))
    with pytest.raises(ResultsError, match="more than once with the same weights"):
        compare(replace(results, runs=pl.concat([unknown, twin.with_columns(weights_digest=pl.lit(None, pl.String))])))


def test_in_a_crossed_study_each_pretraining_of_a_seed_makes_a_pair_with_its_one_control_run(tmp_path):
    results = study(tmp_path)
    nested, comparison = compare(results), compare(crossed(results, ["w1", "w2"], [0.0, 1.0]))
    assert comparison.paired
    assert comparison.pairs.height == 12
    assert comparison.pairs["treated_run"].n_unique() == 12
    assert comparison.pairs["control_run"].n_unique() == 6
    assert comparison.cells.select("n_treated", "n_control", "n_pairs", "n_pretrainings").rows() == [(6, 3, 6, 2)] * 2
    assert comparison.cells["mean_control"].to_list() == pytest.approx(nested.cells["mean_control"].to_list())
    assert comparison.cells["effect"].to_list() == pytest.approx([one + 0.5 for one in nested.cells["effect"]])
    assert comparison.correlation == pytest.approx(nested.correlation), "means over pretrainings vary as one run did"
    assert "left out" not in comparison.why
    first = comparison.pairs.filter((pl.col("size") == "a") & (pl.col("seed") == 1)).sort("pretraining")
    assert first["pretraining"].to_list() == ["w1", "w2"]
    assert first["control"].n_unique() == 1
    assert first["difference"][1] - first["difference"][0] == pytest.approx(1.0)


def test_runs_that_a_crossed_comparison_leaves_out_are_counted_once_each(tmp_path):
    results = crossed(study(tmp_path), ["w1", "w2"], [0.0, 1.0])
    no_control = (pl.col("seed") == 3) & (pl.col("init") == "scratch")
    without = compare(replace(results, runs=results.runs.filter(~no_control)))
    assert "4 runs whose seed is done in only one arm" in without.why
    one_seed = compare(replace(results, runs=results.runs.filter(pl.col("seed") == 1)))
    assert not one_seed.paired, "two pairs of one seed say nothing about other seeds"


def test_two_arms_that_start_from_weights_are_paired_by_pretraining_too(tmp_path):
    truth = replace(TWO, inits=("pretrained", "frozen"))
    results = study(tmp_path, truth)
    frozen = results.runs.filter(pl.col("init") == "frozen")
    both = pl.concat([
        crossed(results, ["w1", "w2"], [0.0, 1.0]).runs.filter(pl.col("init") == "pretrained"),
        *(frozen.with_columns(weights_digest=pl.lit(name), run_id=pl.col("run_id") + name) for name in ("w1", "w2")),
    ])  # fmt: skip
    pairs = compare(replace(results, runs=both), arms=("pretrained", "frozen")).pairs
    assert pairs.height == 12
    assert all(row["control_run"].endswith(row["pretraining"]) for row in pairs.iter_rows(named=True))


def test_weights_are_identified_by_their_digest_or_by_corpus_and_seed(tmp_path):
    results = study(tmp_path)
    older = compare(results)
    assert older.cells["n_pretrainings"].to_list() == [1, 1]
    assert dict(older.runs.select("init", "pretraining").unique().filter(pl.col("init") == "scratch").iter_rows()) == {
        "scratch": None
    }
    pretrained = pl.col("init") == "pretrained"
    newer = results.runs.with_columns(
        weights_digest=pl.when(pl.col("seed") == 1).then("weights_digest"),  # as of runs that failed for seeds 2, 3
        corpus=pl.when(pretrained).then(pl.lit("synthetic")),
        pretraining_seed=pl.when(pretrained).then(pl.min_horizontal("seed", 2)),
    )
    named = (
        compare(replace(results, runs=newer)).runs.filter(pl.col("size") == "a").select("seed", "init", "pretraining")
    )
    assert set(named.rows()) == {
        *((seed, "scratch", None) for seed in (1, 2, 3)),
        (1, "pretrained", "weights-of-net-a-x"),
        (2, "pretrained", "synthetic 2"),
        (3, "pretrained", "synthetic 2"),
    }
    seedless = newer.with_columns(pretraining_seed=pl.lit(None, pl.Int64))
    one = compare(replace(results, runs=seedless))
    assert one.cells["n_pretrainings"].to_list() == [1, 1], "runs without a digest take that of their pretraining"


def test_cells_name_the_context_length_of_their_model(tmp_path):
    results = study(tmp_path, missing=lambda row: row["model"] == "net-b-x",
                    changes=lambda row: {"l_max": 450_002})  # fmt: skip
    cells = compare(results).cells
    assert dict(cells.select("size", "l_max").iter_rows()) == {"a": 450_002, "b": None}
    assert cells.schema["l_max"] == pl.Int64


def shares(tmp_path, group=None, **options):
    """Two shares of the training data, of which the smaller one has more pairs; vary is as the sweep writes it."""
    truth = Truth(models={"tiny": 1_000}, datasets={"alpha": 0.7}, seeds=(1, 2), epochs=(2,),
                  learning_rates=(1e-4, 1e-3), analysis={"group": group} if group else {})  # fmt: skip

    def changes(row):
        share = 1.0 if row["_learning_rate"] == 1e-3 else 0.2
        return {"learning_rate": 1e-3, "train_fraction": share, "train_examples": int(share * 200)}

    fewer = {"missing": lambda row: row["_learning_rate"] == 1e-3 and row["seed"] == 2}
    return study(tmp_path, truth, changes=changes, **fewer | options)


def test_the_answer_is_about_the_group_with_most_training_examples(tmp_path):
    comparison = compare(shares(tmp_path))
    assert comparison.variants == ("train_fraction 1.0", "train_fraction 0.2")
    assert comparison.variant == "train_fraction 1.0"
    assert comparison.pairs.height == 1


def test_a_group_that_cannot_be_compared_yet_comes_after_one_that_can(tmp_path):
    results = shares(tmp_path, missing=lambda row: row["_learning_rate"] == 1e-3 and row["init"] == "scratch")
    assert compare(results).variant == "train_fraction 0.2"


def test_the_study_may_name_the_group_that_the_answer_is_about(tmp_path):
    comparison = compare(shares(tmp_path, {"train_fraction": 0.2}))
    assert comparison.variant == "train_fraction 0.2"
    assert comparison.pairs.height == 2


def test_no_other_group_is_taken_for_the_one_that_the_study_names(tmp_path):
    results = shares(tmp_path, {"train_fraction": 0.2}, missing=lambda row: row["_learning_rate"] == 1e-4)
    results = replace(results, study={**results.study, "vary": {"train_fraction": [0.2, 1.0]}})
    comparison = compare(results)
    assert comparison.variant == "train_fraction 0.2"
    assert comparison.variants == ("train_fraction 1.0", "not run yet")
    assert comparison.cells.is_empty()


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
