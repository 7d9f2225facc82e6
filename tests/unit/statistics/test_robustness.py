"""The other ways of asking, and the planning, against enumeration and the textbook."""

import itertools
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from analysis.page.main_sections import masthead
from analysis.page.robustness_section import metric_cells
from analysis.page.wording import interval, signed
from analysis.results import load
from analysis.statistics.estimates import estimate
from analysis.statistics.pairs import compare
from analysis.statistics.power import what_next
from analysis.statistics.robustness import (
    cells_at_chance,
    chosen_class,
    control_arms,
    example_tests,
    other_outcomes,
    other_settings,
    probability_of_improvement,
    sign_flip,
)
from sweep.compact import compact
from sweep.store import Store
from tests.support.synthetic_results import Truth, write_results

TWO = Truth(
    models={"net-a": 1_000, "net-b": 100_000},
    datasets={"alpha": 0.7, "beta": 0.8},
    seeds=(1, 2, 3),
    epochs=(2,),
    test_examples=300,
)


def comparison_of(tmp_path, truth=TWO, **options):
    results = load(write_results(tmp_path / "results", truth, **options))
    return results, compare(results)


def test_sign_flip_equals_full_enumeration(tmp_path):
    _, comparison = comparison_of(tmp_path, missing=lambda row: row["dataset"] == "beta", predictions=False)
    found = sign_flip(comparison)
    values = comparison.pairs["difference"].to_numpy()
    means = [abs(np.dot(signs, values)) for signs in itertools.product((-1, 1), repeat=len(values))]
    seen = abs(values.sum())
    assert found.is_exact
    assert found.p_value == pytest.approx(np.mean([mean >= seen * (1 - 1e-9) for mean in means]))
    assert found.smallest == 2 / 2 ** len(values)


def test_probability_of_improvement_counts_couples_and_halves_ties(tmp_path):
    accuracy = {("pretrained", 1): 0.8, ("pretrained", 2): 0.7, ("scratch", 1): 0.7, ("scratch", 2): 0.6}
    truth = Truth(models={"net": 1_000}, datasets={"alpha": 0.7}, seeds=(1, 2), epochs=(1,))
    _, comparison = comparison_of(
        tmp_path, truth, predictions=False, changes=lambda row: {"test_accuracy": accuracy[row["init"], row["seed"]]}
    )
    # 0.8 beats both; 0.7 beats 0.6 and ties with 0.7: (1 + 1 + 1 + 0.5) / 4.
    assert probability_of_improvement(comparison)["probability"].to_list() == [0.875]


def test_example_tests_equal_a_paired_test_on_hand_collected_predictions(tmp_path):
    results, comparison = comparison_of(tmp_path)
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


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_the_chosen_class_is_the_first_with_the_largest_logit(classes):
    logits = np.random.default_rng(classes).integers(0, 4, (400, classes)).astype(np.float32)  # with many ties
    frame = pl.DataFrame({"logits": [*logits.tolist(), [], None]}, schema={"logits": pl.List(pl.Float32)})
    assert frame.select(chosen_class(classes)).to_series().to_list() == [*logits.argmax(axis=1), None, None]


def test_examples_beyond_the_test_split_and_those_that_a_run_lacks_count_nowhere(tmp_path):
    results, comparison = comparison_of(tmp_path)
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


def test_one_pair_of_models_is_compared_by_mcnemars_exact_test(tmp_path):
    truth = Truth(models={"net": 1_000}, datasets={"alpha": 0.7}, seeds=(1,), epochs=(1,), test_examples=300)
    results, comparison = comparison_of(tmp_path, truth)
    folder, right = tmp_path / "results" / "predictions", {}
    for row in results.runs.iter_rows(named=True):
        rows = pl.read_parquet(folder / f"{row['run_id']}.parquet")
        right[row["init"]] = rows["logits"].list.arg_max().to_numpy() == rows["label"].to_numpy()
    better = int((right["pretrained"] & ~right["scratch"]).sum())
    worse = int((right["scratch"] & ~right["pretrained"]).sum())
    cells = example_tests(results, comparison).cells
    assert cells["p_mcnemar"].to_list() == pytest.approx([stats.binomtest(better, better + worse).pvalue])
    _, many = comparison_of(tmp_path / "more", TWO)
    assert example_tests(load(tmp_path / "more" / "results"), many).cells["p_mcnemar"].null_count() == 4


def test_a_cell_without_predictions_is_left_out_of_the_tests_over_examples(tmp_path):
    results, comparison = comparison_of(tmp_path)
    for path in (tmp_path / "results" / "predictions").glob("net-a-alpha-*"):
        path.unlink()
    results = load(tmp_path / "results")
    assert example_tests(results, comparison).cells.select("dataset", "size").rows() == [
        ("alpha", "b"), ("beta", "a"), ("beta", "b"),
    ]  # fmt: skip


def test_every_other_metric_is_there_for_every_cell(tmp_path):
    results, comparison = comparison_of(tmp_path, predictions=False)
    (way,) = [one for one in other_outcomes(results, comparison) if one.label.startswith("Matthews")]
    expected = estimate(compare(results, "test_mcc")).cells
    assert [(one.dataset, one.size, one.effect, one.low) for one in way.cells] == [
        (one.dataset, one.size, one.effect, one.low) for one in expected
    ]
    listing = metric_cells([way])
    for one in expected:
        assert f"{signed(one.effect)} {interval(one)}" in listing


def test_predictions_that_contradict_their_run_are_left_out_and_named(tmp_path):
    results, comparison = comparison_of(tmp_path)
    victim = tmp_path / "results" / "predictions" / "net-a-alpha-2-0.0006-scratch-2.parquet"
    table = pl.read_parquet(victim)
    table.with_columns((1 - pl.col("label")).cast(pl.Int16).alias("label")).write_parquet(victim)
    found = example_tests(results, comparison)
    (problem,) = found.problems
    assert problem.path.endswith("scratch-2.parquet")
    assert "left out" in problem.reason
    assert found.cells.height == 4


def test_a_truncated_prediction_file_costs_its_own_run(tmp_path):
    results, comparison = comparison_of(tmp_path)
    victim = tmp_path / "results" / "predictions" / "net-a-alpha-2-0.0006-scratch-2.parquet"
    victim.write_bytes(victim.read_bytes()[:50])
    found = example_tests(results, comparison)
    assert [problem.path for problem in found.problems] == [f"predictions/{victim.name}"]
    assert found.cells.height == 4


def test_a_truncated_part_is_named_and_costs_its_own_runs(tmp_path):
    comparison_of(tmp_path)
    compact(Store(str(tmp_path / "results")))
    (victim,) = (tmp_path / "results" / "compact").glob("predictions-*")
    victim.write_bytes(victim.read_bytes()[:-50])
    results = load(tmp_path / "results")
    found = example_tests(results, compare(results))
    assert {problem.path for problem in found.problems} == {f"compact/{victim.name}"}
    assert found.cells.is_empty()


def test_other_metrics_and_epochs_are_asked_the_same(tmp_path):
    truth = Truth(models=TWO.models, datasets=TWO.datasets, seeds=(1, 2, 3), epochs=(2, 5))
    results, comparison = comparison_of(tmp_path, truth, predictions=False)
    ways = {way.label: way for way in other_outcomes(results, comparison)}
    primary = estimate(comparison)
    # The synthetic F1 equals the accuracy, and MCC is 2 · accuracy − 1.
    assert ways["F1 on test"].benefit.effect == pytest.approx(primary.overall.effect)
    assert ways["Matthews correlation on test"].growth.effect == pytest.approx(2 * primary.growth.effect)
    (setting,) = other_settings(results, comparison)
    assert setting.label == "2 epochs"
    assert setting.benefit.effect == pytest.approx(estimate(compare(results, epochs=2)).overall.effect)


def test_half_width_with_the_present_seeds_is_the_interval_at_hand(tmp_path):
    _, comparison = comparison_of(tmp_path, predictions=False)
    found = estimate(comparison)
    plan = what_next(found)
    now = plan.by_seeds.filter((pl.col("count") == 3) & (pl.col("basis") == "expected"))["half_width"].item()
    assert now == pytest.approx(found.growth.high - found.growth.effect)


def test_enough_seeds_are_enough_and_one_fewer_is_not(tmp_path):
    _, comparison = comparison_of(tmp_path, predictions=False)
    found = estimate(comparison, margin=0.3)
    seeds = what_next(found).seeds

    def half_width(count):
        # Four cells, weights ±1/2 each: variance σ² / n.
        return stats.t.ppf(0.975, 4 * (count - 1)) * found.residual_sd / count**0.5

    assert half_width(seeds) <= 0.3 < half_width(seeds - 1)


def test_detectable_growth_has_eighty_percent_power(tmp_path):
    _, comparison = comparison_of(tmp_path, predictions=False)
    growth = estimate(comparison).growth
    shift = what_next(estimate(comparison)).detectable / growth.se
    critical = stats.t.ppf(0.975, growth.df)
    power = stats.nct.sf(critical, growth.df, shift) + stats.nct.cdf(-critical, growth.df, shift)
    assert power == pytest.approx(0.8, abs=1e-4)


def test_nothing_can_be_planned_from_one_seed_or_one_size(tmp_path):
    _, comparison = comparison_of(tmp_path, missing=lambda row: row["seed"] > 1, predictions=False)
    assert what_next(estimate(comparison)) is None
    _, comparison = comparison_of(tmp_path / "b", missing=lambda row: row["model"] == "net-b", predictions=False)
    assert what_next(estimate(comparison)) is None


def test_cells_whose_control_arm_only_guesses_are_found(tmp_path):
    truth = Truth(models={"net": 1_000}, datasets={"guessed": 0.5, "learnt": 0.7}, seeds=(1, 2, 3), epochs=(2,))
    results, comparison = comparison_of(tmp_path, truth)
    assert cells_at_chance(results, comparison).rows() == [("guessed", "net")]
    page = masthead(results, estimate(comparison))
    assert "In 1 of 2 cells the scratch arm ends no better than naming the largest class" in page
    without, comparison = comparison_of(tmp_path / "more", truth, predictions=False)
    assert cells_at_chance(without, comparison).is_empty(), "without confusion matrices nothing is claimed"


def test_control_arms_are_compared_with_both_others(tmp_path):
    truth = Truth(models=TWO.models, datasets=TWO.datasets, seeds=(1, 2, 3), epochs=(2,),
                  inits=("pretrained", "scratch", "shuffled"))  # fmt: skip
    results, comparison = comparison_of(tmp_path, truth, predictions=False)
    ways = {way.label: way.benefit.effect for way in control_arms(results, comparison)}
    assert set(ways) == {"shuffled − scratch", "pretrained − shuffled"}
    assert sum(ways.values()) == pytest.approx(estimate(comparison).overall.effect)
