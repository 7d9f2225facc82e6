"""A results folder that a sweep writes: claiming it for a study, and storing plan, rows and files.

Files are named by run, written completely or not at all, and never changed afterwards: a local file is written under a
temporary name and renamed; an object appears when its upload is complete. The row in `runs/` is written last, so a run
that has its row has all its files. `sweep/schema.py` lists the files. Next: `sweep/compact.py`.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from hyena.errors import InputError
from sweep.layout import AT_WORK, PLAN_FILE, STUDY, TEMPORARY
from sweep.results_folder import DamagedError, ResultsFolder
from sweep.retries import RefusedError, StoreError
from sweep.schema import (
    EPOCHS,
    PLAN,
    PREDICTIONS,
    PRETRAINING,
    RUNS,
    EpochRow,
    PlanRow,
    PredictionColumns,
    PretrainingRow,
    RunRow,
)

__all__ = ["Store", "StoreError", "parquet_file", "writer_options"]

Row = PlanRow | RunRow | EpochRow | PretrainingRow

#: Written and deleted again, to see whether an object store may be written to.
_WRITE_TEST = "may-write.tmp"


class Store(ResultsFolder):
    """A results folder, for reading and writing. Cheap to open; every worker opens its own."""

    def claim(self, study: Mapping[str, Any]) -> list[str]:
        """Check that the folder is new or belongs to this study; returns the names of damaged files to rewrite.

        Raises InputError where the folder belongs to another study, or holds something else.
        """
        damaged = []
        try:
            found = self.study()
            owner = found["name"] if found is not None else None
            is_new = found is None
        except DamagedError:
            damaged.append(STUDY)
            owner, is_new = self._owner_of_rows(), False
        if owner not in (None, study["name"]):
            raise InputError(
                f"results '{self.uri}' belong to the study '{owner}', not to '{study['name']}': "
                "choose another folder with --results"
            )
        names = [name for name in self.names("") if not name.startswith(AT_WORK)] if is_new else []
        if PLAN_FILE in names and self._owner_of_rows() == study["name"]:
            damaged.append(STUDY)  # it was deleted
        elif names:
            raise InputError(f"results '{self.uri}': the folder holds other files; choose an empty or a new one")
        try:
            self.plan()
        except DamagedError:
            damaged.append(PLAN_FILE)
        return damaged

    def _owner_of_rows(self) -> str | None:
        """Name of the study that wrote the runs of this folder; None without runs. Raises InputError if unclear."""
        studies = {row["study"] for row in self.runs(["study"])}
        if len(studies) > 1 or (not studies and self.ended()):
            raise InputError(
                f"{self.uri}/{STUDY}: the file is damaged or missing, and the runs do not show which study the folder "
                "belongs to: choose another folder with --results"
            )
        return studies.pop() if studies else None

    def require_right_to_write(self) -> None:
        """Raise InputError where nothing may be written here, before any work is done. Leaves nothing behind."""
        if self.local:
            there = next(folder for folder in (Path(self.root), *Path(self.root).parents) if folder.exists())
            if not os.access(there, os.W_OK | os.X_OK):
                raise InputError(f"results '{self.uri}': nothing may be written in '{there}'")
            return
        try:
            self.write(_WRITE_TEST, b"")
            self.delete(_WRITE_TEST)
        except (RefusedError, PermissionError) as error:
            raise InputError(f"results '{self.uri}': {error}") from None

    def write_plan(self, study: Mapping[str, Any], plan: Sequence[PlanRow]) -> None:
        """Store the resolved study and the plan, in place of those of an earlier call."""
        self.write(STUDY, json.dumps(study, indent=2).encode())
        self.write(PLAN_FILE, _parquet(plan, PLAN))

    def noted_study(self) -> dict[str, Any]:
        """The study as an earlier call stored it; empty in a new folder, or where the file is damaged."""
        try:
            return self.study() or {}
        except DamagedError:
            return {}

    # Polars is imported where rows are read: a worker only writes rows, and would pay for the import.

    def plan(self) -> list[PlanRow]:
        """Rows of the plan; empty in a new folder. Raises DamagedError where they cannot be read."""
        from sweep.ended_runs import read_plan

        plan = read_plan(self)
        return [] if plan is None else cast(list[PlanRow], plan.to_dicts())

    def runs(self, columns: Sequence[str]) -> list[RunRow]:
        """The given columns (and no others) of all runs that ended, each run once, sorted by run_id.

        A damaged file counts as missing, and so does a run whose file lacks a value in one of these columns that is not
        nullable. Raises StoreError where compactions keep changing the folder.
        """
        from sweep.ended_runs import read_runs

        rows = self.consistently(lambda: read_runs(self, columns, [])).rows.select(columns)
        required = [name for name in columns if not RUNS.field(name).nullable]
        return cast(list[RunRow], rows.drop_nulls(required).to_dicts())

    def ended(self) -> set[str]:
        """Ids of all runs that have their row, done or failed."""
        singles = self.run_files().singles["runs"].keys()  # before the parts: see `run_files`
        return singles | self.compacted()

    def compacted(self) -> set[str]:
        """Ids of the runs whose rows are in a complete compacted part."""
        from sweep.ended_runs import compacted_runs

        return set(compacted_runs(self))

    def write_run(
        self, row: RunRow, epochs: Sequence[EpochRow] = (), predictions: PredictionColumns | None = None
    ) -> None:
        """Store a run that ended, its row last, then delete its checkpoint. A run written twice is stored once."""
        run_id = row["run_id"]
        if epochs:
            self.write(f"epochs/{run_id}.parquet", _parquet(epochs, EPOCHS), durable=True)
        if predictions is not None:
            self.write(f"predictions/{run_id}.parquet", _parquet(predictions, PREDICTIONS), durable=True)
        self.write(f"runs/{run_id}.parquet", _parquet([row], RUNS), durable=True)
        self.delete(f"checkpoints/{run_id}.pt")

    def write_leakage(self, digest: str, table: pa.Table) -> None:
        """Store an audit of a data set, as `hyena.leakage.audit` makes it; `digest` is that of the data."""
        self.write(f"leakage/{digest}.parquet", parquet_file(table))

    def write_pretraining(self, key: str, rows: Sequence[PretrainingRow]) -> None:
        """Store the logged steps of a pretraining; `key` is the digest of all that determines its weights."""
        self.write(f"pretraining/{key}.parquet", _parquet(rows, PRETRAINING))

    def write(self, name: str, data: bytes | pa.Buffer, durable: bool = False) -> None:
        """Write a whole file or nothing.

        Args:
            name: path within the folder.
            durable: on a local disk, flush the file, so that it outlasts a power cut.
        """
        self._retried(f"write {name}", lambda: self._write(self.path(name), data, durable))

    def _write(self, path: str, data: bytes | pa.Buffer, durable: bool) -> None:
        target = path
        if self.local:
            self.files.create_dir(str(Path(path).parent), recursive=True)
            target = f"{path}.{uuid.uuid4().hex}{TEMPORARY}"
        try:
            with self.files.open_output_stream(target) as sink:
                sink.write(data)
            if self.local and durable:
                _flush(target)
            if target != path:
                self.files.move(target, path)
        except BaseException:
            if target != path and self.files.get_file_info(target).type == fs.FileType.File:
                self.files.delete_file(target)
            raise

    def delete(self, name: str) -> None:
        """Delete a file, if it exists."""

        def delete() -> None:
            with suppress(FileNotFoundError):
                self.files.delete_file(self.path(name))

        self._retried(f"delete {name}", delete)


def _flush(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parquet(rows: Sequence[Row] | PredictionColumns, schema: pa.Schema) -> pa.Buffer:
    """Rows, or columns by name, as a Parquet file of that schema. Raises KeyError for a missing or unknown column."""
    if isinstance(rows, dict):
        table = pa.table(dict(rows), schema=schema)
    else:
        wanted, given = set(schema.names), {key for row in rows for key in row}
        if rows and wanted != given:
            raise KeyError(f"columns {sorted(wanted ^ given)}: in the rows or in the schema, but not in both")
        table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    table.validate(full=True)
    return parquet_file(table)


def writer_options(schema: pa.Schema) -> dict[str, Any]:
    """Compression and encodings. Numbers seldom repeat: a dictionary of logits made predictions 1.4 times as large."""
    return {"compression": "zstd", "use_dictionary": [field.name for field in schema if field.type == pa.string()]}


def parquet_file(table: pa.Table) -> pa.Buffer:
    """A table as a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **writer_options(table.schema))
    return sink.getvalue()
