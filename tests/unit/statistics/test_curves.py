"""The rows of learning curves and of costs."""

import dataclasses

import polars as pl
import pytest
from scipy import stats

from analysis.results import load
from analysis.statistics.curves import (
    cost_table,
    curve_table,
    epochs_to_target,
    milestones,
    pretraining_ends,
    pretraining_table,
    price_table,
)
from analysis.statistics.pairs import compare
from tests.support.comparisons import crossed
from tests.support.synthetic_results import Truth, pretraining_rows, write_results


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    truth = Truth(models={"net-a": 1_000, "net-b": 100_000}, seeds=(1, 2, 3, 4, 5), epochs=(4,))
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, truth, predictions=False, missing=lambda row: row["seed"] > 2 and row["model"] == "net-a")
    return load(folder)


def test_bands_need_five_runs_and_single_runs_stand_in_below(results):
    table = curve_table(results, compare(results))
    large, small = table.filter(pl.col("size") == "b"), table.filter(pl.col("size") == "a")
    assert small["low"].null_count() == small.height
    assert small["run"].n_unique() == 3  # two seeds, and null on the rows of means
    assert large["run"].null_count() == large.height
    row = large.filter((pl.col("init") == "scratch") & (pl.col("epoch") == 4)).row(0, named=True)
    runs = results.runs.filter(
        (pl.col("model") == "net-b") & (pl.col("init") == "scratch") & (pl.col("dataset") == row["dataset"])
    )
    values = runs["test_accuracy"] * 100
    assert row["mean"] == pytest.approx(values.mean())
    assert row["high"] - row["mean"] == pytest.approx(stats.t.ppf(0.975, 4) * values.std() / 5**0.5)


def test_epochs_to_target_finds_the_first_epoch_at_or_above(results):
    comparison = compare(results)
    curves = curve_table(results, comparison)
    found = epochs_to_target(curves, comparison).filter(pl.col("size") == "b").row(0, named=True)
    table = curves.filter((pl.col("size") == "b") & (pl.col("dataset") == found["dataset"]))
    means = dict(table.filter(pl.col("init") == "pretrained").drop_nulls("mean").select("epoch", "mean").iter_rows())
    reached = [epoch for epoch in sorted(means) if means[epoch] >= found["target"]]
    assert found["treated_epoch"] == (reached[0] if reached else None)


@pytest.mark.parametrize(
    ("last", "expected"), [(1, [1]), (3, [1, 2, 3]), (6, [1, 2, 3, 4, 5, 6]), (15, [1, 4, 7, 9, 12, 15])]
)
def test_milestones_are_few_and_hold_both_ends(last, expected):
    assert milestones(last) == expected


def test_each_size_is_labelled_once_in_a_cost_panel(results):
    costs = cost_table(results, compare(results))
    labelled = costs.drop_nulls("label")
    assert labelled.height == costs.select("dataset", "size").n_unique()
    for row in labelled.iter_rows(named=True):
        both = costs.filter((pl.col("dataset") == row["dataset"]) & (pl.col("size") == row["size"]))
        assert row["accuracy"] == both["accuracy"].min(), "on the lower point, away from the upper line"


def test_the_price_by_size_sets_pretraining_beside_one_run(results):
    comparison = compare(results)
    row = price_table(results, comparison, cost_table(results, comparison)).row(0, named=True)
    assert row["pretraining_minutes"] == pytest.approx(results.pretraining["seconds"].max() / 60)
    runs = results.runs.filter((pl.col("model") == "net-a") & (pl.col("status") == "done"))
    assert row["minutes"] == pytest.approx(runs["train_s"].mean() / 60)


def test_cost_is_minutes_of_training(results):
    row = cost_table(results, compare(results)).filter(pl.col("size") == "a").row(0, named=True)
    runs = results.runs.filter((pl.col("model") == "net-a") & (pl.col("dataset") == row["dataset"]))
    assert row["minutes"] == pytest.approx(runs.filter(pl.col("init") == row["init"])["train_s"].mean() / 60)


def test_runs_of_one_seed_and_several_pretrainings_are_lines_of_their_own(results):
    several = crossed(results, ["one", "two"], [0.0, 5.0])
    of_each = [
        results.epochs.with_columns(run_id=pl.format("{}-{}", "run_id", pl.lit(name))) for name in ("one", "two")
    ]
    several = dataclasses.replace(several, epochs=pl.concat([results.epochs, *of_each]))
    table = curve_table(several, compare(several)).drop_nulls("run")
    small = (
        table.filter((pl.col("size") == "a") & (pl.col("epoch") == 4))
        .group_by("init")
        .agg(pl.col("run").unique().sort())
    )
    assert dict(small.iter_rows()) == {"pretrained": [1, 2, 3, 4], "scratch": [1, 2]}
    assert table.group_by("setting_id", "init", "run", "epoch").len()["len"].unique().to_list() == [1]


def test_each_pretraining_of_a_size_has_its_own_steps_end_and_time(results):
    several = [*pretraining_rows("net-a", 1), *pretraining_rows("net-a", 2, step_seconds=0.3)]
    replicated = dataclasses.replace(results, pretraining=pl.DataFrame(several))
    steps = pretraining_table(replicated)
    assert steps["pretraining_seed"].to_list() == [1] * 20 + [2] * 20
    assert steps["step"].to_list() == [*range(100, 2_001, 100)] * 2
    ends = pretraining_ends(steps)
    assert ends.select("model", "pretraining_seed", "step", "seconds").rows() == [
        ("net-a", 1, 2_000, pytest.approx(200)),
        ("net-a", 2, 2_000, pytest.approx(600)),
    ]
    comparison = compare(replicated)
    row = price_table(replicated, comparison, cost_table(replicated, comparison)).row(0, named=True)
    assert row["pretraining_minutes"] == pytest.approx(400 / 60)
    assert row["pretraining_minutes"] == pytest.approx(ends["seconds"].mean() / 60)
