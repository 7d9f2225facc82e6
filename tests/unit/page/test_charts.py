"""Charts as specifications: valid Vega-Lite, the right numbers, never colour alone."""

import altair as alt
import polars as pl
import pytest

from analysis.page import charts
from analysis.results import load
from analysis.statistics.estimates import estimate
from analysis.statistics.pairs import compare
from analysis.statistics.power import precision_plan
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
    plan = precision_plan(results, found)
    made = [
        charts.forest(found),
        charts.scaling(found),
        charts.learning_curve(panel, ARMS),
        charts.paired_runs(panel, ARMS, ["a", "b"]),
        charts.cost(panel, ARMS),
        charts.half_widths(plan.seeds.half_widths, 0.5, 3),
        charts.half_widths(plan.datasets.half_widths, 0.5, 3),
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


def test_headers_of_the_forest_plot_start_where_its_labels_do(found):
    spec = charts.forest(found).to_dict()
    (header,) = [one for one in layers(spec) if one["mark"]["type"] == "text"]
    assert header["encoding"]["x"]["value"] == -6.0 * len("one new data set")
