"""The store: whole files or none, rows that vouch for the rest, folders that belong to one study."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hyena.errors import InputError
from sweep.schema import EPOCHS, PLAN, PREDICTIONS, PRETRAINING, RUNS
from sweep.store import Store


def row(run_id: str, **values: Any) -> dict[str, Any]:
    """A failed run's row: every nullable column null, the rest anything of its type."""
    blank: dict[Any, Any] = {pa.string(): "x", pa.int64(): 1, pa.int32(): 1, pa.float64(): 0.5}
    cells = {f.name: None if f.nullable else blank.get(f.type) for f in RUNS}
    now = datetime.now(UTC)
    return {**cells, "versions": [("python", "3")], "started_at": now, "finished_at": now, "status": "failed",
            "failure": "because", "run_id": run_id, **values}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "results"))


def files(store: Store) -> list[str]:
    return sorted(str(p.relative_to(store.root)) for p in Path(store.root).rglob("*") if p.is_file())


def test_every_column_says_what_it_means() -> None:
    for schema in (PLAN, RUNS, EPOCHS, PREDICTIONS, PRETRAINING):
        assert all(field.metadata[b"meaning"] for field in schema)
        assert all(b"unit" in field.metadata for field in schema)
        assert len(set(schema.names)) == len(schema.names)


def test_a_run_written_twice_is_there_once(store: Store) -> None:
    store.write_run(row("a"))
    store.write_run(row("a", status="done", failure=None))
    store.write_run(row("b"))
    assert store.runs(["run_id", "status"]) == [
        {"run_id": "a", "status": "done"},
        {"run_id": "b", "status": "failed"},
    ]
    assert pq.read_schema(f"{store.root}/runs/a.parquet").field("train_s").metadata[b"unit"] == b"s"


def test_a_finished_run_leaves_no_checkpoint(store: Store) -> None:
    store.write("checkpoints/a.pt", b"state")
    store.write_run(row("a"))
    assert files(store) == ["runs/a.parquet"]


def test_a_write_that_fails_leaves_nothing_and_spoils_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("file", b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    class Files:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        move = staticmethod(full)

    real = store.files
    monkeypatch.setattr(store, "files", Files())
    with pytest.raises(OSError, match="No space left"):
        store.write("file", b"new")
    assert store.read("file") == b"old"
    assert files(store) == ["file"]


def test_a_row_without_all_its_columns_is_refused(store: Store) -> None:
    bad = row("a")
    del bad["train_s"]
    with pytest.raises(KeyError, match="train_s"):
        store.write_run(bad)
    assert files(store) == []


def test_a_truncated_row_counts_as_missing(store: Store) -> None:
    store.write_run(row("a"))
    store.write_run(row("b"))
    path = Path(store.root) / "runs" / "a.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    assert [r["run_id"] for r in store.runs(["run_id"])] == ["b"]


def test_a_half_written_file_is_not_seen(store: Store) -> None:
    store.write_run(row("a"))
    (Path(store.root) / "runs" / "b.parquet.0123.tmp").write_bytes(b"half")
    assert store.names("runs") == ["a.parquet"]


def test_a_folder_belongs_to_one_study(store: Store) -> None:
    store.claim({"name": "one"})
    store.write_plan({"name": "one"}, [])
    store.claim({"name": "one"})
    with pytest.raises(InputError, match="belong to the study 'one', not to 'two'"):
        store.claim({"name": "two"})


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="holds other files"):
        Store(str(tmp_path)).claim({"name": "one"})


def test_an_address_that_is_no_store_is_refused() -> None:
    with pytest.raises(InputError, match=r"ftp://x"):
        Store("ftp://x/y")


def test_a_new_folder_is_empty(store: Store) -> None:
    assert store.study() is None
    assert store.plan() == []
    assert store.runs(["run_id"]) == []
