"""Compaction: the same rows before, after, and after a kill at any point; on disk and on S3."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import polars as pl
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

import sweep.compact
from analysis.results import Results, load
from analysis.statistics.estimates import estimate
from analysis.statistics.example_tests import example_tests
from analysis.statistics.pairs import compare
from sweep.compact import Compaction, compact, main
from sweep.ended_runs import rows_of_runs
from sweep.layout import PART_TABLES, opened
from sweep.schema import PREDICTIONS, RunRow
from sweep.store import Store
from tests.support.stored import files, row
from tests.support.synthetic_results import Truth, write_results

FEW = Truth(models={"net": 1_000}, datasets={"alpha": 0.7}, seeds=(1, 2), epochs=(2,), test_examples=40)


@dataclass(frozen=True)
class Rows:
    """Everything that a reader gets from a results folder."""

    runs: pl.DataFrame
    epochs: pl.DataFrame
    predictions: pl.DataFrame
    stored: list[RunRow]

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Rows)
        frames = [(self.runs, other.runs), (self.epochs, other.epochs), (self.predictions, other.predictions)]
        return all(one.equals(two) for one, two in frames) and self.stored == other.stored


def read(address: str) -> Rows:
    results = load(address)
    assert results.problems == ()
    store = Store(address)
    stored = sorted(store.runs(["run_id", "status", "test_accuracy"]), key=lambda row: row["run_id"])
    assert store.ended() == {row["run_id"] for row in stored}
    return Rows(results.runs, results.epochs.sort("run_id", "epoch"), predictions(results), stored)


def predictions(results: Results) -> pl.DataFrame:
    assert results.source is not None
    return (
        rows_of_runs(results.source, results.predictions, PREDICTIONS, PREDICTIONS.names)
        .sort("run_id", "example")
        .collect()
    )


def half(store: Store) -> int:
    """A little more than half of the bytes of the runs' small files, so that they make two parts."""
    return sum(info.size for table in PART_TABLES for info in store.infos(table)) * 11 // 20


def fill(address: str, source: Path) -> str:
    _, filesystem, root = opened(address)
    fs.copy_files(str(source), root, destination_filesystem=filesystem)
    return address


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("few") / "results", FEW)


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Without GCS: its emulator is one thread that ends when one of many connections at once breaks."""
    return str(tmp_path / "results") if request.param == "local" else request.getfixturevalue(request.param)


@pytest.fixture
def results(place: str, few: Path) -> str:
    return fill(place, few)


def test_compacted_rows_are_the_same_rows_in_few_files(results: str) -> None:
    before, store = read(results), Store(results)
    assert before.predictions.height == 4 * 40
    assert compact(store, half(store)) == Compaction(runs=4, parts=2, deleted=12, left=0)
    assert len(store.names("compact")) == 6
    assert [store.names(table) for table in ("runs", "epochs", "predictions")] == [[], [], []]
    assert read(results) == before
    assert compact(store) == Compaction(runs=0, parts=0, deleted=0, left=0)
    assert read(results) == before


def test_kept_models_stay_where_they_are(results: str) -> None:
    before, store = read(results), Store(results)
    names = [f"models/{row['run_id']}/{name}" for row in before.stored for name in ("config.json", "model.safetensors")]
    for name in names:
        store.write(name, name.encode())
    assert compact(store).runs == 4
    assert [store.read(name) for name in names] == [name.encode() for name in names]
    assert read(results) == before


def test_younger_runs_stay_until_the_next_compaction(place: str, few: Path, tmp_path: Path) -> None:
    store, whole = Store(fill(place, few)), read(place)
    late = sorted(path.relative_to(few) for path in few.glob("*/*scratch-2.parquet"))
    for path in late:
        store.delete(str(path))
    assert compact(store).runs == 3
    for path in late:
        store.write(str(path), (few / path).read_bytes())
    assert read(place) == whole
    assert compact(store) == Compaction(runs=1, parts=1, deleted=3, left=0)
    assert read(place) == whole


def test_only_runs_that_are_done_and_whole_are_moved(results: str) -> None:
    store = Store(results)
    store.write_run(row("failed"))
    no_epochs, torn = (name.removesuffix(".parquet") for name in store.names("epochs")[:2])
    store.delete(f"epochs/{no_epochs}.parquet")
    data = store.read(f"predictions/{torn}.parquet")
    assert data is not None
    store.write(f"predictions/{torn}.parquet", data[:-9])
    store.write("checkpoints/unfinished.pt", b"state")
    kept = [f"predictions/{no_epochs}.parquet", f"epochs/{torn}.parquet", f"predictions/{torn}.parquet"]
    kept += [f"runs/{run_id}.parquet" for run_id in ("failed", no_epochs, torn)] + ["checkpoints/unfinished.pt"]
    assert compact(store) == Compaction(runs=2, parts=1, deleted=6, left=3)
    tables = ("runs/", "epochs/", "predictions/", "checkpoints/")
    assert [name for name in files(store) if name.startswith(tables)] == sorted(kept)
    assert store.ended() == {"failed", *(row["run_id"] for row in store.runs(["run_id"]))}
    assert len(store.ended()) == 5


class Killed(BaseException):
    """As SIGKILL: nothing more runs, not even clean-up."""


class Mortal:
    """A file system that makes a number of changes and then fails."""

    def __init__(self, real: fs.FileSystem, life: int) -> None:
        self.real, self.life, self.dead = real, life, False

    def __getattr__(self, name: str) -> Any:
        if name in ("create_dir", "open_output_stream", "move", "delete_file"):
            self.life -= 1
            self.dead |= self.life < 0
        if self.dead:
            raise Killed
        return getattr(self.real, name)


@pytest.mark.parametrize("place", ["local", pytest.param("s3", marks=pytest.mark.slow)], indirect=True)
def test_killed_between_any_two_file_operations_it_loses_and_duplicates_nothing(few: Path, place: str) -> None:
    whole, limit = read(str(few)), half(Store(str(few)))
    points = 0
    while True:
        address = place.replace("results", f"results-{points}")
        mortal = Store(fill(address, few))
        mortal.files = Mortal(mortal.files, life=points)
        try:
            compact(mortal, limit)
            break
        except Killed:
            points += 1
        assert read(address) == whole
        compact(Store(address), limit)
        assert read(address) == whole
        assert (
            Store(address).names("runs") == Store(address).names("epochs") == Store(address).names("predictions") == []
        )
    assert points >= 6 + 12  # each file of two parts written, each small file deleted


def test_two_compactions_at_once_duplicate_nothing(results: str, few: Path, tmp_path: Path) -> None:
    """The second begins before the first has deleted anything, and finds one more run."""
    whole, store = read(results), Store(results)
    earlier = Store(fill(str(tmp_path / "earlier"), few))
    for path in few.glob("*/*scratch-2.parquet"):
        earlier.delete(str(path.relative_to(few)))
    later = Store(fill(str(tmp_path / "later"), few))
    for other in (earlier, later):
        compact(other)
        for name in other.names("compact"):
            store.write(f"compact/{name}", other.read(f"compact/{name}") or b"")
    assert len(store.names("compact")) == 6
    assert read(results) == whole
    compact(store)
    assert read(results) == whole
    assert store.names("runs") == []


def test_an_incomplete_part_does_not_count_and_is_deleted_when_it_is_old(
    results: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, store = read(results), Store(results)
    for lacking in ("epochs-0", "predictions-1", "runs-2"):
        table, _, digest = lacking.partition("-")
        for other in {"epochs", "predictions", "runs"} - {table}:
            store.write(f"compact/{other}-{digest}.parquet", store.read(f"{other}/{store.names(other)[0]}") or b"")
    for half in ("runs/x.parquet.1234.tmp", "models/x/model.safetensors.1234.tmp", "weights/y.pt.1234.tmp"):
        store.write(half, b"half")
    assert read(results) == whole
    compact(store)
    assert len(store.names("compact")) == 3 + 6  # perhaps the work of another compaction, at this moment
    assert read(results) == whole
    monkeypatch.setattr(sweep.compact, "ABANDONED", timedelta(seconds=-5))
    compact(store)
    assert len(store.names("compact")) == 3
    assert not [name for name in files(store) if name.endswith(".tmp")]
    assert read(results) == whole


def test_readers_see_every_run_during_a_compaction(results: str) -> None:
    store, names = Store(results), []
    data = {table: store.read(f"{table}/{store.names(table)[0]}") or b"" for table in ("runs", "epochs", "predictions")}
    template = pq.read_table(io.BytesIO(data["runs"])).to_pylist()[0]
    template["versions"] = list(template["versions"])
    for number in range(12):
        names.append(f"extra-{number:02}")
        for table in ("epochs", "predictions"):
            store.write(f"{table}/{names[-1]}.parquet", data[table])
        store.write_run(cast(RunRow, {**template, "run_id": names[-1]}))
    expected = store.ended()
    assert len(expected) == 16
    with ThreadPoolExecutor(1) as threads:
        compaction = threads.submit(compact, Store(results), 1)  # a part a run
        looks = 0
        while not compaction.done():
            assert {one["run_id"] for one in Store(results).runs(["run_id"])} == expected
            assert Store(results).ended() == expected
            looks += 1
        assert compaction.result().runs == 16
    assert looks > 1
    assert store.ended() == expected


def test_one_run_of_a_part_is_read_without_the_others(results: str) -> None:
    """The other runs' pages are overwritten with noise: a reader that touched them would fail."""
    store = Store(results)
    compact(store)
    (name,) = (f"compact/{name}" for name in store.names("compact") if name.startswith("predictions"))
    data = bytearray(store.read(name) or b"")
    found = pq.ParquetFile(io.BytesIO(bytes(data))).metadata
    assert found.num_row_groups == 4
    for group in (found.row_group(index) for index in (0, 1, 3)):
        for column in (group.column(index) for index in range(group.num_columns)):
            first = column.dictionary_page_offset or column.data_page_offset
            data[first : first + column.total_compressed_size] = os.urandom(column.total_compressed_size)
    store.write(name, bytes(data))
    results_read = load(results)
    assert results_read.source is not None
    run_id = sorted(results_read.predictions)[2]
    rows = rows_of_runs(
        results_read.source, {run_id: results_read.predictions[run_id]}, PREDICTIONS, PREDICTIONS.names
    ).collect()
    assert rows["run_id"].to_list() == [run_id] * 40
    with pytest.raises(Exception, match=r".+"):
        predictions(results_read)


def test_the_report_s_estimates_do_not_change(place: str, tmp_path: Path) -> None:
    truth = Truth(models={"a": 1_000, "b": 50_000}, datasets={"alpha": 0.7, "beta": 0.8}, seeds=(1, 2, 3), epochs=(2,))
    fill(place, write_results(tmp_path / "source", truth))

    def numbers() -> tuple[Any, ...]:
        results = load(place)
        comparison = compare(results)
        tests = example_tests(results, comparison)
        return estimate(comparison).frame("sizes").to_dicts(), tests.cells.to_dicts(), tests.problems

    before = numbers()
    assert len(before[1]) == 4
    assert compact(Store(place), 300_000).parts > 1
    assert numbers() == before


def test_the_command_prints_its_result_and_refuses_other_folders(
    results: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([results]) == 0
    assert capsys.readouterr().out == "4 runs merged into 1 parts, 12 files deleted\n"
    assert main([str(tmp_path / "nothing")]) == 2
    assert "holds no results" in capsys.readouterr().err


def copies(few: Path, tmp_path: Path, number: int) -> Iterator[str]:
    for index in range(number):
        yield fill(str(tmp_path / f"copy-{index}"), few)


@pytest.mark.slow
def test_real_kills_lose_and_duplicate_nothing(few: Path, tmp_path: Path) -> None:
    """SIGKILL at moments spread over the command's work, which begins when `compact/` appears."""
    whole, kills = read(str(few)), 0
    for index, address in enumerate(copies(few, tmp_path, 12)):
        with subprocess.Popen([sys.executable, "-m", "sweep.compact", address]) as process:
            while process.poll() is None and not (Path(address) / "compact").exists():
                time.sleep(0.0005)
            time.sleep(index * 0.002)
            process.kill()
        kills += process.returncode != 0
        assert read(address) == whole
        assert main([address]) == 0
        assert read(address) == whole
    assert kills >= 3
    assert json.loads((few / "study.json").read_text())["name"] == "synthetic"
