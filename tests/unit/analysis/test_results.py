"""Reading results: what counts, what is skipped and named, what is refused."""

import json
import subprocess
import sys

import polars as pl
import pytest

from analysis.results import ResultsError, load
from tests.support.synthetic_results import Truth, write_results

SMALL = Truth(models={"tiny": 1_000}, datasets={"alpha": 0.7}, seeds=(1, 2), epochs=(2,), test_examples=50)


@pytest.fixture
def results(tmp_path):
    return write_results(tmp_path / "results", SMALL)


def test_import_loads_neither_torch_nor_ray_nor_anything_heavy():
    code = (
        "import sys, analysis; heavy = {'polars', 'altair', 'scipy', 'statsmodels'} & set(sys.modules); assert not "
        "heavy, heavy;"
        "import analysis.report; found = {'torch', 'ray'} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_all_runs_of_the_plan_are_read(results):
    loaded = load(results)
    assert loaded.name == "synthetic"
    assert loaded.margin == 0.5
    assert loaded.runs.height == loaded.plan.height == 4
    assert loaded.epochs.height == 8
    assert loaded.problems == ()
    assert loaded.unplanned == 0


def test_a_file_uri_reads_the_same_as_a_path(results):
    assert load(f"file://{results}").runs.equals(load(results).runs)


def test_a_truncated_file_is_skipped_and_named(results):
    victim = sorted((results / "runs").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:-200])
    loaded = load(results)
    assert loaded.runs.height == 3
    (problem,) = loaded.problems
    assert problem.path == f"runs/{victim.name}"
    assert "not a readable Parquet file" in problem.reason


def test_an_empty_file_among_the_epochs_costs_its_own_curve_alone(results):
    victim = sorted((results / "epochs").iterdir())[0]
    victim.write_bytes(b"")
    loaded = load(results)
    assert loaded.runs.height == 4
    assert loaded.epochs["run_id"].n_unique() == 3
    assert [problem.path for problem in loaded.problems] == [f"epochs/{victim.name}"]


def test_another_schema_version_is_refused(results):
    victim = sorted((results / "runs").iterdir())[0]
    frame = pl.read_parquet(victim).with_columns(pl.lit(99, pl.Int32).alias("schema_version"))
    frame.write_parquet(victim)
    with pytest.raises(ResultsError, match=r"version 99 .* reads version 1"):
        load(results)


def test_another_schema_version_with_other_columns_is_refused_as_such(results):
    victim = sorted((results / "runs").iterdir())[0]
    pl.DataFrame({"schema_version": [2], "something": ["new"]}).write_parquet(victim)
    with pytest.raises(ResultsError, match="version 2"):
        load(results)


@pytest.mark.parametrize(("column", "counts"), [("host", True), ("train_fraction", True), ("test_accuracy", False)])
def test_a_column_that_an_older_file_lacks_is_unknown_unless_it_is_needed(results, column, counts):
    victim = sorted((results / "runs").iterdir())[0]
    pl.read_parquet(victim).drop(column).write_parquet(victim)
    loaded = load(results)
    assert loaded.runs.height == (4 if counts else 3)
    assert [problem.reason for problem in loaded.problems] == ([] if counts else [f"lacks the column {column!r}"])


def test_runs_that_the_plan_does_not_name_are_counted_apart(results):
    plan = pl.read_parquet(results / "plan.parquet")
    plan.filter(pl.col("seed") == 1).write_parquet(results / "plan.parquet")
    loaded = load(results)
    assert loaded.runs.height == 2
    assert loaded.unplanned == 2


def test_without_a_plan_every_run_counts_and_that_is_known(results):
    (results / "plan.parquet").unlink()
    loaded = load(results)
    assert loaded.runs.height == loaded.plan.height == 4
    assert not loaded.plan_known


def test_a_plan_with_empty_cells_is_a_problem_and_every_run_counts(results):
    plan = pl.read_parquet(results / "plan.parquet")
    plan.with_columns(epochs=pl.lit(None, pl.Int32)).write_parquet(results / "plan.parquet")
    loaded = load(str(results))
    assert not loaded.plan_known
    assert [(problem.path, problem.reason) for problem in loaded.problems] == [("plan.parquet", "has empty cells")]


@pytest.mark.parametrize("value", [87.5, None, float("nan"), -0.1])
def test_a_done_run_without_a_fraction_as_accuracy_does_not_count(tmp_path, value):
    folder = write_results(
        tmp_path, SMALL, predictions=False, changes=lambda row: {"test_accuracy": value} if row["seed"] == 1 else {}
    )
    loaded = load(folder)
    assert loaded.runs["seed"].to_list() == [2, 2]
    assert len(loaded.problems) == 2
    assert all("marked done with" in problem.reason for problem in loaded.problems)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not valid JSON"),
        ("", "empty"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "expected a JSON object"),
        ("{}", "'name' must be text"),
        (json.dumps({"name": "x", "analysis": {"margin": -1}}), "margin"),
        (json.dumps({"name": "x", "analysis": {"margin": "wide"}}), "margin"),
        (json.dumps({"name": "x", "analysis": {"epochs": 2.5}}), "epochs"),
        (json.dumps({"name": "x", "analysis": 3}), "must be an object"),
        (json.dumps({"name": "x", "analysis": {"tau_scale": 101}}), "tau_scale"),
        (json.dumps({"name": "x", "analysis": {"looks": 0}}), "'analysis.looks' must be an integer from 1 to 100"),
        (json.dumps({"name": "x", "analysis": {"looks": True}}), "looks"),
        (json.dumps({"name": "x", "analysis": {"group": [1]}}), "'analysis.group' must be an object"),
        (json.dumps({"name": "x", "analysis": {"group": {"seed": 1}}}), "found 'seed': 1"),
        (json.dumps({"name": "x", "analysis": {"group": {"train_fraction": [1]}}}), "found 'train_fraction'"),
    ],
)
def test_a_wrong_study_file_is_one_clear_line(results, content, complaint):
    (results / "study.json").write_text(content)
    with pytest.raises(ResultsError, match=complaint) as caught:
        load(results)
    assert "\n" not in str(caught.value)


def test_the_settings_of_the_analysis_have_defaults_and_are_read(results):
    plain = load(results)
    assert (plain.margin, plain.looks, plain.tau_scale, plain.group) == (0.5, 1, 2.0, {})
    analysis = {"margin": 1, "looks": 3, "tau_scale": 0.5, "group": {"train_fraction": 0.2}}
    (results / "study.json").write_text(json.dumps({"name": "x", "analysis": analysis}))
    found = load(results)
    assert (found.margin, found.looks, found.tau_scale, found.group) == (1.0, 3, 0.5, {"train_fraction": 0.2})


def test_a_folder_that_holds_no_results_is_refused(tmp_path):
    with pytest.raises(ResultsError, match=r"holds no study\.json"):
        load(tmp_path)
    with pytest.raises(ResultsError, match="no such folder"):
        load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="it is a file, where a folder is expected"):
        load(tmp_path / "file")
    with pytest.raises(ResultsError, match="is not a folder, s3:// or gs:// address"):
        load("ftp://example/results")


def test_the_notebook_interface_gives_frames_and_charts(results):
    import altair as alt

    import analysis

    for _ in range(2):  # the first call imports submodules, which must not shadow the functions
        found = analysis.estimate(analysis.load(results))
    assert isinstance(found.frame("sizes"), pl.DataFrame)
    assert isinstance(analysis.charts.forest(found), alt.LayerChart)
    assert analysis.estimate(analysis.compare(analysis.load(results)), margin=2.0).margin == 2.0
    assert analysis.published.load().runs.height == 36
    with pytest.raises(AttributeError, match="it has: charts"):
        _ = analysis.nothing
