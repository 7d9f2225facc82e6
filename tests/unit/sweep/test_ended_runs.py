"""Which runs of a results folder count: one decision, which the sweep (`Store`) and the report (`load`) share."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from analysis.results import load
from hyena.errors import InputError
from sweep.compact import compact
from sweep.ended_runs import rows_of_runs
from sweep.layout import opened
from sweep.results_folder import FileGoneError, ResultsError, ResultsFolder
from sweep.retries import StoreError
from sweep.schema import PREDICTIONS
from sweep.store import Store
from tests.support.synthetic_results import Truth, write_results

FEW = Truth(models={"net": 1_000}, datasets={"alpha": 0.7}, seeds=(1, 2), epochs=(2,), test_examples=10)
IDS = tuple(f"net-alpha-2-0.0006-{init}-{seed}" for init in ("pretrained", "scratch") for seed in (1, 2))
A, B, C, D = IDS
Seen = dict[str, tuple[str, float | None]]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("few") / "results", FEW, fails=lambda row: row["run_id"] == D)


@pytest.fixture
def store(place: str, few: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if place.startswith("gs:"):  # the emulator is one thread, which ends when one of many connections at once breaks
        monkeypatch.setattr("sweep.results_folder.THREADS", 1)
    _, filesystem, root = opened(place)
    fs.copy_files(str(few), root, destination_filesystem=filesystem, use_threads=False)
    return Store(place)


def seen(store: Store) -> Seen:
    """Status and test accuracy of each run that counts, the same for the sweep and for the report."""
    rows = Store(store.uri).runs(["run_id", "status", "test_accuracy"])
    by_sweep = {row["run_id"]: (row["status"], row["test_accuracy"]) for row in rows}
    assert len(by_sweep) == len(rows)
    frame = load(store.uri).runs.select("run_id", "status", "test_accuracy")
    assert {run_id: (status, accuracy) for run_id, status, accuracy in frame.iter_rows()} == by_sweep
    return by_sweep


def problems(store: Store) -> list[tuple[str, str]]:
    return [(problem.path, problem.reason) for problem in load(store.uri).problems]


def change(store: Store, name: str, changed: Callable[[pa.Table], pa.Table]) -> None:
    """Write a Parquet file anew."""
    sink = pa.BufferOutputStream()
    pq.write_table(changed(pq.read_table(io.BytesIO(store.read(name) or b""))), sink)
    store.write(name, sink.getvalue())


def with_value(column: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    """A change of one column of every row."""

    def changed(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index(column)
        return table.set_column(place, column, pa.array([value] * len(table), table.schema.field(column).type))

    return changed


def part(store: Store, table: str) -> str:
    """The file of that table in the only part."""
    (name,) = (name for name in store.names("compact") if name.startswith(table))
    return f"compact/{name}"


def half_compacted(store: Store) -> None:
    """As a compaction that was killed before it deleted the small files."""
    small = {f"{table}/{name}": store.read(f"{table}/{name}") for table in ("runs", "epochs", "predictions")
             for name in store.names(table)}  # fmt: skip
    compact(store)
    for name, data in small.items():
        store.write(name, data or b"")


def test_small_files_and_parts_hold_the_same_runs(store: Store) -> None:
    before = seen(store)
    assert set(before) == Store(store.uri).ended() == set(IDS)
    assert [before[run_id][0] for run_id in IDS] == ["done", "done", "done", "failed"]
    assert compact(store).runs == 3
    assert store.names("runs") == [f"{D}.parquet"]
    assert seen(store) == before
    assert set(before) == Store(store.uri).ended()
    assert problems(store) == []


def test_a_row_in_a_part_counts_rather_than_the_small_file(store: Store) -> None:
    before = seen(store)
    half_compacted(store)
    change(store, f"runs/{A}.parquet", with_value("test_accuracy", 0.125))
    assert seen(store) == before
    store.delete(part(store, "epochs"))  # a part without all its files does not count
    assert seen(store) == before | {A: ("done", 0.125)}
    assert store.compacted() == set()


def test_the_first_of_two_parts_counts(store: Store) -> None:
    before = seen(store)
    compact(store)
    for table in ("epochs", "predictions", "runs"):
        store.write(f"compact/{table}-0000.parquet", store.read(part(store, table)) or b"")
    seen_before = seen(store)
    change(store, "compact/runs-0000.parquet", with_value("test_accuracy", 0.125))
    assert seen_before == before
    assert {seen(store)[run_id] for run_id in (A, B, C)} == {("done", 0.125)}
    assert problems(store) == []


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-40], lambda data: b"text"])
def test_a_damaged_small_file_counts_as_missing(store: Store, damage: Callable[[bytes], bytes]) -> None:
    before = seen(store)
    store.write(f"runs/{A}.parquet", damage(store.read(f"runs/{A}.parquet") or b""))
    assert seen(store) == {run_id: before[run_id] for run_id in (B, C, D)}
    ((path, reason),) = problems(store)
    assert path == f"runs/{A}.parquet"
    assert reason.startswith("not a readable Parquet file (")


def test_a_damaged_part_leaves_the_runs_whose_small_files_remain(store: Store) -> None:
    before = seen(store)
    half_compacted(store)
    store.write(part(store, "runs"), b"PAR1")
    assert seen(store) == before
    for run_id in (A, B):
        store.delete(f"runs/{run_id}.parquet")
    assert seen(store) == {run_id: before[run_id] for run_id in (C, D)}
    assert [path for path, _ in problems(store)] == [part(store, "runs")]
    assert Store(store.uri).ended() == {C, D}


def test_files_of_other_names_do_not_count(store: Store) -> None:
    before = seen(store)
    for name in (f"runs/{A}.parquet.0123.tmp", "runs/notes.txt", "compact/notes.txt", "compact/runs-x.parquet"):
        store.write(name, store.read(f"runs/{A}.parquet") or b"")
    assert seen(store) == before
    assert Store(store.uri).ended() == set(IDS)
    assert problems(store) == []


def test_a_run_in_two_small_files_counts_once(store: Store) -> None:
    before = seen(store)
    store.write("runs/copy.parquet", store.read(f"runs/{A}.parquet") or b"")
    assert seen(store) == before
    assert problems(store) == [(f"run {A}", "is in the tables more than once; one row kept")]


@pytest.mark.parametrize("column", ["run_id", "setting_id", "epochs", "schema_version", "status"])
def test_a_row_without_a_value_that_every_row_needs_does_not_count(store: Store, column: str) -> None:
    before = seen(store)
    change(store, f"runs/{A}.parquet", with_value(column, None))
    assert seen(store) == {run_id: before[run_id] for run_id in (B, C, D)}
    path = "runs/" if column == "run_id" else f"runs/{A}.parquet"
    assert problems(store) == [(path, f"a row without a value in the column {column!r}")]


def test_a_column_that_an_older_file_lacks_is_unknown(store: Store) -> None:
    before = seen(store)
    change(store, f"runs/{A}.parquet", lambda table: table.drop_columns(["test_auroc", "host"]))
    assert seen(store) == before
    assert Store(store.uri).runs(["run_id", "test_auroc"])[0] == {"run_id": A, "test_auroc": None}
    assert problems(store) == []
    change(store, f"runs/{A}.parquet", lambda table: table.drop_columns(["init"]))
    assert seen(store) == {run_id: before[run_id] for run_id in (B, C, D)}
    assert problems(store) == [(f"runs/{A}.parquet", "lacks the column 'init'")]


def refusals(store: Store) -> set[str]:
    """What the sweep and the report say when they refuse a folder; one message where they say the same."""
    said = set()
    for read in (lambda: Store(store.uri).known_study() and Store(store.uri).runs(["run_id"]), lambda: load(store.uri)):
        with pytest.raises(ResultsError) as refusal:
            read()
        said.add(str(refusal.value))
    return said


@pytest.mark.parametrize("compacted", [False, True])
def test_another_version_of_the_tables_is_refused_in_one_message(store: Store, compacted: bool) -> None:
    if compacted:
        compact(store)
    name = part(store, "runs") if compacted else f"runs/{A}.parquet"
    change(store, name, with_value("schema_version", 99))
    assert refusals(store) == {
        f"runs/{A}.parquet: written under version 99 of the result tables; this release reads version 1; use the "
        "release of the project that wrote it"
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"{", "not valid JSON: "),
        (b"[]", "expected a JSON object, found list"),
        (b'{"analysis": {}}', "'name' must be text, found None"),
    ],
)
def test_a_damaged_study_is_refused_in_one_message(store: Store, content: bytes, reason: str) -> None:
    store.write("study.json", content)
    (message,) = refusals(store)
    assert message.startswith(f"{store.uri}/study.json: the file is damaged ({reason}")
    assert message.endswith("); run the sweep again, which rewrites it")


def test_a_damaged_plan_has_one_reason(store: Store) -> None:
    change(store, "plan.parquet", with_value("epochs", None))
    with pytest.raises(InputError) as refusal:
        store.plan()
    assert f"{store.uri}/plan.parquet: the file is damaged (has empty cells)" in str(refusal.value)
    assert problems(store) == [("plan.parquet", "has empty cells")]
    assert not load(store.uri).plan_known
    assert set(seen(store)) == set(IDS)


def test_a_bucket_that_does_not_exist_is_refused_in_one_message(s3: str) -> None:
    (message,) = refusals(Store(s3.replace("s3://bucket", "s3://no-bucket")))
    assert "there is no bucket of that name" in message


@pytest.mark.parametrize("listed", ["runs", "epochs", "predictions", "compact"])
def test_a_compaction_between_two_listings_hides_nothing(
    store: Store, listed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every run keeps its epochs and predictions, wherever in the listing the compaction takes place."""
    before, epochs = seen(store), load(store.uri).epochs.sort("run_id", "epoch")
    names = ResultsFolder.names

    def and_then_compact(self: ResultsFolder, folder: str) -> list[str]:
        found = names(self, folder)
        if folder == listed:
            monkeypatch.setattr(ResultsFolder, "names", names)
            assert compact(Store(store.uri)).runs == 3
        return found

    monkeypatch.setattr(ResultsFolder, "names", and_then_compact)
    results = load(store.uri)
    assert {row["run_id"]: (row["status"], row["test_accuracy"]) for row in results.runs.to_dicts()} == before
    assert results.epochs.sort("run_id", "epoch").equals(epochs)
    assert results.problems == ()
    assert sorted(results.predictions) == [A, B, C]
    assert all(store.read(name) for name in results.predictions.values())
    if not store.uri.startswith("gs:"):  # several connections at once
        rows = rows_of_runs(store, results.predictions, PREDICTIONS, ["run_id"]).collect()
        counts = rows["run_id"].value_counts().sort("run_id")
        assert counts.to_dicts() == [{"run_id": run_id, "count": 10} for run_id in (A, B, C)]
    assert seen(store) == before


def test_a_compaction_while_the_sweep_reads_hides_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before, run_files = seen(store), ResultsFolder.run_files

    def and_then_compact(self: ResultsFolder, *tables: Any) -> Any:
        found = run_files(self, *tables)
        monkeypatch.setattr(ResultsFolder, "run_files", run_files)
        assert compact(Store(store.uri)).runs == 3
        return found

    monkeypatch.setattr(ResultsFolder, "run_files", and_then_compact)
    rows = store.runs(["run_id", "status", "test_accuracy"])
    assert {row["run_id"]: (row["status"], row["test_accuracy"]) for row in rows} == before


def test_a_folder_that_keeps_changing_is_an_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> pl.DataFrame:
        raise FileGoneError("moved")

    monkeypatch.setattr("sweep.ended_runs.read_table", gone)
    for read in (lambda: store.runs(["run_id"]), lambda: load(store.uri)):
        with pytest.raises(StoreError, match="the files change faster than they can be read"):
            read()


@pytest.mark.parametrize(
    ("modules", "without"),
    [
        ("sweep.ended_runs, sweep.status, sweep.compact", {"torch", "ray"}),
        ("sweep.store", {"torch", "ray", "polars"}),
    ],
)
def test_reading_loads_nothing_heavy(modules: str, without: set[str]) -> None:
    """Every worker opens a store, and would pay for the import of Polars."""
    code = f"import sys, {modules}; print(sorted({without!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
