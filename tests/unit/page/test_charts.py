"""Charts as specifications: valid Vega-Lite, the right numbers, never colour alone; and the rows of curves."""

import altair as alt
import polars as pl
import pytest
from scipy import stats

from analysis.page import charts
from analysis.page.run_sections import cost_of_benefit
from analysis.results import load
from analysis.statistics.curves import cost_table, curve_table, epochs_to_target, milestones, price_table
from analysis.statistics.estimates import estimate
from analysis.statistics.pairs import compare
from analysis.statistics.power import what_next
from tests.support.synthetic_results import Truth, write_results

ARMS = ("pretrained", "scratch")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    truth = Truth(models={"net-a": 1_000, "net-b": 100_000}, seeds=(1, 2, 3, 4, 5), epochs=(4,))
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, truth, predictions=False, missing=lambda row: row["seed"] > 2 and row["model"] == "net-a")
    return load(folder)


@pytest.fixture(scope="module")
def found(results):
    return estimate(compare(results))


def layers(spec):
    return spec.get("layer", [spec])


def test_every_chart_is_valid_and_described(results, found):
    panel = alt.NamedData("panel")
    plan = what_next(found)
    made = [
        charts.forest(found),
        charts.scaling(found),
        charts.learning_curve(panel, ARMS),
        charts.paired_runs(panel, ARMS, ["a", "b"]),
        charts.cost(panel, ARMS),
        charts.half_widths(plan.by_seeds, 0.5, 3),
        charts.half_widths(plan.by_datasets, 0.5, 3),
        charts.pretraining(results.pretraining),
        charts.shares(
            pl.DataFrame({"share": [0.1, 1.0], "effect": [2.0, 1.0], "low": [1.0, 0.5], "high": [3.0, 1.5]}), "p"
        ),
    ]
    for chart in made:
        spec = chart.to_dict(validate=True)
        assert len(spec["description"]) > 20
        assert spec["width"] == "container"


def test_the_forest_plot_draws_the_estimates(found):
    spec = charts.forest(found).to_dict()
    (mark,) = [one for one in layers(spec) if one["mark"]["type"] == "point"]
    rows = spec["datasets"][mark["data"]["name"]]
    cells = [row for row in rows if row["kind"] == "cell"]
    assert [row["effect"] for row in cells] == [one.effect for one in found.cells]
    assert [row["low"] for row in cells] == [one.low for one in found.cells]
    assert mark["encoding"]["color"]["field"] == mark["encoding"]["shape"]["field"] == "verdict"
    fixed = [row["effect"] for row in rows if row["kind"] == "fixed"]
    assert fixed == [*(one.effect for one in found.sizes), found.overall.effect]


def test_arms_differ_in_dash_and_shape_as_well_as_colour():
    spec = charts.learning_curve(alt.NamedData("panel"), ARMS).to_dict()
    dashes = [
        one["encoding"]["strokeDash"]["scale"]["range"] for one in layers(spec) if "strokeDash" in one["encoding"]
    ]
    assert dashes
    assert all(one[0] != one[1] for one in dashes)
    spec = charts.paired_runs(alt.NamedData("panel"), ARMS, ["a"]).to_dict()
    shapes = [one["encoding"]["shape"]["scale"]["range"] for one in layers(spec) if "shape" in one["encoding"]]
    assert shapes == [["circle", "square"]]


def test_the_size_axis_is_logarithmic(found):
    spec = charts.scaling(found).to_dict()
    scales = [one["encoding"]["x"]["scale"]["type"] for one in layers(spec) if "x" in one["encoding"]]
    assert set(scales) == {"log"}


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
    row = price_table(results, comparison).row(0, named=True)
    assert row["pretraining_minutes"] == pytest.approx(results.pretraining["seconds"].max() / 60)
    runs = results.runs.filter((pl.col("model") == "net-a") & (pl.col("status") == "done"))
    assert row["minutes"] == pytest.approx(runs["train_s"].mean() / 60)
    page = cost_of_benefit(results, estimate(comparison))
    assert f"{row['pretraining_minutes'] / row['minutes']:.3g}</td>" in page


def test_headers_of_the_forest_plot_start_where_its_labels_do(found):
    spec = charts.forest(found).to_dict()
    (header,) = [one for one in layers(spec) if one["mark"]["type"] == "text"]
    assert header["encoding"]["x"]["value"] == -6.0 * len("one new data set")


def test_cost_is_minutes_of_training(results):
    row = cost_table(results, compare(results)).filter(pl.col("size") == "a").row(0, named=True)
    runs = results.runs.filter((pl.col("model") == "net-a") & (pl.col("dataset") == row["dataset"]))
    assert row["minutes"] == pytest.approx(runs.filter(pl.col("init") == row["init"])["train_s"].mean() / 60)
