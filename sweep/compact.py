"""`python -m sweep.compact RESULTS`: merge the many small files of the runs that are done into few large ones.

A part is three files named by a digest of its runs: epochs, predictions, and last the rows, which complete it. Only
then are the small files deleted. If the command is killed, each run's rows are in its small files or in a complete
part, and the next call finishes the work by deleting the small files that a part replaces. It can run beside a sweep,
whose later runs keep their small files. Next: `sweep/ended_runs.py` reads such a folder.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq

from hyena.system import terminal
from sweep.layout import COMPACT, PART_TABLES, TEMPORARY, complete_parts, part_file
from sweep.result_tables import NEEDED
from sweep.schema import EPOCHS, PREDICTIONS, RUNS
from sweep.store import Store, parquet_file, writer_options

#: Bytes of small files that go into one part, which is held in memory.
PART_BYTES = 64_000_000
#: Age from which on an incomplete part or a half-written file cannot be the work of a running process.
ABANDONED = timedelta(days=1)
PATIENCE_S = 60.0
_SCHEMAS = {"epochs": EPOCHS, "predictions": PREDICTIONS, "runs": RUNS}


@dataclass(frozen=True)
class Compaction:
    """A call's result: runs merged into parts, parts written, small files deleted, and runs left in small files."""

    runs: int
    parts: int
    deleted: int
    left: int


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Exit code 0, or 2 where the folder holds no results or the store refuses."""
    parser = argparse.ArgumentParser(prog="python -m sweep.compact", description="Merge many small files into few.")
    parser.add_argument("results", metavar="RESULTS", help="folder, s3:// or gs://")
    return terminal.command(lambda: _compact(parser.parse_args(arguments).results))


def _compact(results: str) -> int:
    store = Store(results, PATIENCE_S)
    store.known_study()
    done = compact(store)
    left = f"; {done.left} left as they are: failed, or with missing or damaged files" if done.left else ""
    print(f"{done.runs} runs merged into {done.parts} parts, {done.deleted} files deleted{left}")
    return terminal.DONE


def compact(store: Store, part_bytes: int = PART_BYTES) -> Compaction:
    """Move the rows of all runs that are done into parts of about `part_bytes` bytes. Raises StoreError.

    Runs that are compared are neighbours, so that whoever reads one data set can skip the rest.
    """
    deleted = _tidy(store)
    sizes = {table: {info.base_name: info.size for info in store.infos(table) if info.is_file} for table in PART_TABLES}
    places = {row["run_id"]: (row["dataset"], row["setting_id"]) for row in store.plan()}
    small = sorted(store.ended() - store.compacted(), key=lambda run_id: (*places.get(run_id, ("", "")), run_id))
    weights = [sum(sizes[table].get(f"{run_id}.parquet", 0) for table in PART_TABLES) for run_id in small]
    written = [_write_part(store, group) for group in _groups(small, weights, part_bytes)]
    deleted += _tidy(store)
    moved = sum(written)
    return Compaction(moved, sum(number > 0 for number in written), deleted, len(small) - moved)


def _groups(run_ids: Sequence[str], weights: Sequence[int], limit: int) -> Iterator[list[str]]:
    """The runs in order, cut where the next one would make a group heavier than `limit` bytes."""
    group: list[str] = []
    total = 0
    for run_id, weight in zip(run_ids, weights, strict=True):
        if group and total + weight > limit:
            yield group
            group, total = [], 0
        group.append(run_id)
        total += weight
    if group:
        yield group


def _write_part(store: Store, run_ids: Sequence[str]) -> int:
    """Write the part of these runs, its rows last; returns the number of runs in it.

    Runs that failed or lack a file are left out. Each row group of predictions holds one run, so that whoever reads a
    few runs can skip the rest.
    """
    rows: list[pa.Table] = []
    epochs: list[pa.Table] = []
    predictions = pa.BufferOutputStream()
    with pq.ParquetWriter(predictions, PREDICTIONS, **writer_options(PREDICTIONS)) as writer:
        for files in store.each(lambda run_id: _files(store, run_id), run_ids):
            tables = _tables(files)
            if tables is not None:
                rows.append(tables["runs"])
                epochs.append(tables["epochs"])
                writer.write_table(tables["predictions"], row_group_size=max(1, tables["predictions"].num_rows))
    if not rows:
        return 0
    whole = pa.concat_tables(rows)
    digest = hashlib.sha256("\n".join(whole["run_id"].to_pylist()).encode()).hexdigest()[:16]
    contents = {
        "epochs": parquet_file(pa.concat_tables(epochs)),
        "predictions": predictions.getvalue(),
        "runs": parquet_file(whole),
    }
    for table in PART_TABLES:
        store.write(part_file(table, digest), contents[table], durable=True)
    return len(rows)


def _files(store: Store, run_id: str) -> dict[str, bytes | None]:
    return {table: store.read(f"{table}/{run_id}.parquet") for table in PART_TABLES}


def _tables(files: dict[str, bytes | None]) -> dict[str, pa.Table] | None:
    """A run's tables as they are declared now; None where it failed, or one is missing, damaged or cannot be that."""
    tables = {}
    for table, data in files.items():
        try:
            found = pq.ParquetFile(pa.BufferReader(data or b"")).read(use_threads=False)
        except (pa.ArrowInvalid, OSError):
            return None
        whole = _as_declared(found, _SCHEMAS[table])
        if whole is None:
            return None
        tables[table] = whole
    return tables if tables["runs"]["status"].to_pylist() == ["done"] else None


def _as_declared(found: pa.Table, schema: pa.Schema) -> pa.Table | None:
    """A table with nulls in the columns that an earlier release did not have; None where it differs in more."""
    lacking = [field for field in schema if field.name not in found.column_names]
    if any(not field.nullable or field.name in NEEDED for field in lacking):
        return None
    for field in lacking:
        found = found.append_column(field, pa.nulls(found.num_rows, field.type))
    if sorted(found.column_names) != sorted(schema.names):
        return None
    found = found.select(schema.names) if lacking else found
    return pa.Table.from_arrays(found.columns, schema=schema) if found.schema.equals(schema) else None


def _tidy(store: Store) -> int:
    """Delete small files whose rows are in a part, and old remains of killed writers; returns the number of files."""
    before = datetime.now(UTC) - ABANDONED
    moved, complete = store.compacted(), complete_parts(store.names(COMPACT))
    obsolete = []
    for info in store.infos("", recursive=True):
        path = info.path.removeprefix(f"{store.root}/")
        folder, _, name = path.rpartition("/")
        stem = name.removesuffix(".parquet").removesuffix(".pt")
        is_moved = folder in (*PART_TABLES, "checkpoints") and stem in moved
        is_remains = name.endswith(TEMPORARY) or (folder == COMPACT and stem.rpartition("-")[2] not in complete)
        if info.is_file and (is_moved or (is_remains and info.mtime < before)):
            obsolete.append(path)
    store.each(store.delete, obsolete)
    return len(obsolete)


if __name__ == "__main__":
    sys.exit(main())
