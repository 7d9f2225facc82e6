"""Results rewritten by another tool: read with the same values where that is safe, named as a problem where not."""

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.results import load
from analysis.statistics.example_tests import example_tests
from analysis.statistics.pairs import compare
from sweep.compact import compact
from sweep.result_tables import read_table
from sweep.results_folder import ResultsFolder
from sweep.schema import RUNS
from sweep.store import Store
from tests.support.synthetic_results import Truth, write_results

SMALL = Truth(models={"a": 1_000, "b": 9_000}, datasets={"alpha": 0.7}, seeds=(1, 2), epochs=(2,), test_examples=60)


def of_types(change):
    """A rewriting of each column by its type, with pyarrow's defaults otherwise."""

    def rewrite(table, path):
        columns = [change(column) for column in table.columns]
        pq.write_table(pa.table(dict(zip(table.column_names, columns, strict=True))), path)

    return rewrite


def text_as(kind):
    return of_types(lambda column: column.cast(kind) if pa.types.is_string(column.type) else column)


def integers_as(kind):
    def change(column):
        fits = pa.types.is_integer(column.type) and (column.null_count < len(column))
        return column.cast(kind) if fits else column

    return of_types(change)


def fixed_lists(column):
    return column.combine_chunks().cast(pa.list_(pa.float32(), 2)) if column.type == pa.list_(pa.float32()) else column


def dictionaries(column):
    return column.dictionary_encode() if pa.types.is_string(column.type) else column


def narrow_floats(column):
    """As pandas downcasts; numbers of `SMALL` keep their meaning, not their last digits."""
    return column.cast(pa.float32()) if pa.types.is_floating(column.type) else column


#: Who rewrote → how a table is written anew.
TOOLS = {
    "polars": lambda table, path: pl.DataFrame(table).write_parquet(path),
    "pandas": lambda table, path: table.to_pandas().to_parquet(path),
    "dictionaries": of_types(dictionaries),
    "string views": text_as(pa.string_view()),
    "large strings": text_as(pa.large_string()),
    "binary": text_as(pa.binary()),
    "wide integers": integers_as(pa.int64()),
    "unsigned integers": integers_as(pa.uint64()),
    "numbers as floats": integers_as(pa.float64()),
    "lists of fixed length": of_types(fixed_lists),
    "another order": lambda table, path: pq.write_table(table.select(table.column_names[::-1]), path),
    "no statistics": lambda table, path: pq.write_table(table, path, write_statistics=False),
    "more columns": lambda table, path: pq.write_table(table.append_column("note", pa.array([1] * len(table))), path),
    "small row groups": lambda table, path: pq.write_table(table, path, row_group_size=7),
    "page statistics": lambda table, path: pq.write_table(table, path, write_page_index=True),
}


def facts(folder: Path):
    """All that a page shows of the results."""
    results = load(folder)
    comparison = compare(results)
    tests = example_tests(results, comparison)
    frames = (results.runs, results.epochs.sort("run_id", "epoch"), results.plan, results.pretraining, comparison.cells)
    return [frame.to_dicts() for frame in frames], tests.cells.to_dicts(), results.problems + tests.problems


def rewritten(folder: Path, tool: str, *, one_of_each: bool) -> None:
    for table in ("runs", "epochs", "predictions", "pretraining", "compact", "."):
        files = sorted((folder / table).glob("*.parquet"))
        for path in files[: 1 if one_of_each else None]:
            TOOLS[tool](pq.read_table(path), path)


@pytest.mark.parametrize("one_of_each", [True, False])
@pytest.mark.parametrize("tool", TOOLS)
def test_rewritten_by_another_tool_the_results_are_the_same(tool, one_of_each, tmp_path):
    folder = write_results(tmp_path / "results", SMALL)
    before = facts(folder)
    rewritten(folder, tool, one_of_each=one_of_each)
    assert facts(folder) == before
    assert before[2] == ()
    assert [row["n"] for row in before[1]] == [60, 60]


@pytest.mark.parametrize("tool", TOOLS)
def test_a_rewritten_part_is_read_the_same(tool, tmp_path):
    folder = write_results(tmp_path / "results", SMALL)
    before = facts(folder)
    assert compact(Store(str(folder))).runs == 8
    rewritten(folder, tool, one_of_each=False)
    assert facts(folder) == before


def without_pretraining(table: pa.Table, path: Path) -> None:
    """As releases wrote it whose sizes had one set of weights each."""
    later = [name for name in ("corpus", "pretraining_seed") if name in table.column_names]
    pq.write_table(table.drop_columns(later), path)


@pytest.mark.parametrize("older", ["none", "some", "all"])
@pytest.mark.parametrize("compacted", [False, True])
def test_tables_without_the_pretraining_are_read_with_nulls(older, compacted, tmp_path):
    folder = write_results(tmp_path / "results", SMALL)
    before, whole = load(folder), facts(folder)
    for table in ("runs", "pretraining", "."):
        files = sorted((folder / table).glob("*.parquet"))
        for path in files[: {"none": 0, "some": 3, "all": 8}[older]]:
            without_pretraining(pq.read_table(path), path)
    number = {"none": 0, "some": 3, "all": 8}[older]
    lacking = {path.stem for path in sorted((folder / "runs").iterdir())[:number]}
    if compacted:
        assert compact(Store(str(folder))).left == 0
    after = load(folder)
    assert after.problems == ()
    corpora = dict(before.runs.select("run_id", "corpus").iter_rows())
    assert {"published", None} == set(corpora.values())
    assert dict(after.runs.select("run_id", "corpus").iter_rows()) == {
        run_id: None if run_id in lacking else corpus for run_id, corpus in corpora.items()
    }
    assert after.plan["corpus"].null_count() == (after.plan.height if older != "none" else 4)
    later = ("corpus", "pretraining_seed")
    assert after.runs.drop(later).equals(before.runs.drop(later))
    assert Store(str(folder)).plan()[0]["pretraining_seed"] is None
    assert facts(folder)[1:] == whole[1:]


def test_older_tables_are_read_in_one_scan(tmp_path, monkeypatch):
    folder = write_results(tmp_path / "results", SMALL)
    for path in (folder / "runs").iterdir():
        without_pretraining(pq.read_table(path), path)
    monkeypatch.setattr("sweep.result_tables._read_one", None)  # one file at a time would take minutes for thousands
    names = [f"runs/{path.name}" for path in (folder / "runs").iterdir()]
    rows = read_table(ResultsFolder(str(folder)), names, RUNS, RUNS.names, [])
    assert (rows.height, rows["corpus"].null_count(), rows["pretraining_seed"].null_count()) == (8, 8, 8)


def test_narrow_floats_lose_digits_and_nothing_else(tmp_path):
    folder = write_results(tmp_path / "results", SMALL)
    before = load(folder).runs["test_accuracy"].to_list()
    for path in (folder / "runs").iterdir():
        of_types(narrow_floats)(pq.read_table(path), path)
    loaded = load(folder)
    assert loaded.problems == ()
    assert loaded.runs["test_accuracy"].to_list() == pytest.approx(before, rel=1e-6)


def test_a_part_without_rows_costs_no_other_run(tmp_path):
    folder = write_results(tmp_path / "results", SMALL)
    before = facts(folder)
    empty = {table: sorted((folder / table).iterdir())[0] for table in ("runs", "epochs", "predictions")}
    (folder / "compact").mkdir()
    for table, path in empty.items():
        pq.write_table(pq.read_table(path).slice(0, 0), folder / "compact" / f"{table}-0123456789abcdef.parquet")
    assert facts(folder) == before


def test_predictions_without_rows_are_named(tmp_path):
    folder = write_results(tmp_path / "results", SMALL)
    compact(Store(str(folder)))
    (path,) = (folder / "compact").glob("predictions-*.parquet")
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    results = load(folder)
    tests = example_tests(results, compare(results))
    assert tests.cells["n"].drop_nulls().is_empty()
    assert [problem.path for problem in tests.problems] == [
        f"predictions/{run}.parquet" for run in results.runs["run_id"]
    ]
    assert {problem.reason for problem in tests.problems} == {
        "no predictions of this run in its file; left out of the per-example tests"
    }
    assert results.runs.height == 8


@pytest.mark.parametrize(
    ("column", "value", "counts"),
    [
        ("host", pa.array([[1, 2]]), True),
        ("started_at", pa.array(["at noon"]), True),
        ("test_accuracy", pa.array(["high"]), False),
        ("seed", pa.array([1.5]), False),
        ("seed", pa.array([[1]]), False),
    ],
)
def test_a_column_of_another_kind_is_named(column, value, counts, tmp_path):
    folder = write_results(tmp_path / "results", SMALL)
    path = sorted((folder / "runs").iterdir())[0]
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index(column), column, value), path)
    loaded = load(folder)
    (problem,) = loaded.problems
    assert problem.path == f"runs/{path.name}"
    assert problem.reason.startswith(f"its column '{column}' ")
    assert problem.reason.endswith("it counts as unknown") == counts
    assert loaded.runs.height == (8 if counts else 7)
    if counts:
        assert loaded.runs[column].null_count() == 1


@pytest.mark.parametrize("table", ["runs", "epochs", "predictions", "pretraining", "."])
@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"PAR1" * 9])
def test_a_damaged_file_is_named(table, damage, tmp_path):
    folder = write_results(tmp_path / "results", SMALL)
    path = sorted((folder / table).glob("*.parquet"))[0]
    path.write_bytes(damage(path.read_bytes()))
    results = load(folder)
    problems = results.problems + example_tests(results, compare(results)).problems
    assert [problem.path for problem in problems] == [path.relative_to(folder).as_posix()]
    is_empty_plan = table == "." and not path.stat().st_size
    assert problems[0].reason.startswith("empty" if is_empty_plan else "not a readable Parquet file")
