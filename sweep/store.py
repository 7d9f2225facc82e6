"""Where results live: one folder, on a local disk, S3 or GCS, through pyarrow's file systems.

Files are named by run, written whole or not at all, and never changed after: a local file is written under a
temporary name and renamed, an object appears when its upload is complete. The row in `runs/` is written last, so it
vouches for the rest. `sweep/schema.py` says what the files hold, `sweep/compact.py` puts many of them into few.

A store can refuse for a while: a disk is full until somebody clears it, a bucket throttles. Whoever has something to
lose opens it with patience, and each operation is tried again until that is spent.
"""

from __future__ import annotations

import io
import json
import os
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from hyena.errors import InputError
from hyena.system.waiting import waiting_for
from sweep.layout import AT_WORK, COMPACT, complete_parts, opened, part_file
from sweep.schema import EPOCHS, PLAN, PREDICTIONS, PRETRAINING, RUNS

T = TypeVar("T")
S = TypeVar("S")

#: How a sweep that waits is ended.
ENDING = "Ctrl-C ends the sweep, and what is done is kept"
STUDY, PLAN_FILE = "study.json", "plan.parquet"
#: Columns of the plan without which nothing can be told of a run.
PLAN_NEEDED = {"run_id", "setting_id", "model", "dataset", "init", "seed", "epochs"}
TEMPORARY = ".tmp"
RIGHT = "may-write.tmp"
LONGEST_WAIT_S = 30.0
THREADS = 32  # an answer of S3 takes tens of milliseconds, and a study has thousands of rows
#: Small files read at once, and how often reading starts again where a compaction moves them away meanwhile.
AT_ONCE, SNAPSHOTS = 500, 10
#: What another attempt does not mend: no such thing, or no right to it.
_FINAL = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
_REFUSED = re.compile(
    r"ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|SIGNATURE|NO_SUCH_UPLOAD"
    r"|Bucket '.*' not found|PERMISSION_DENIED|PermissionDenied|UNAUTHENTICATED"
    r"|[Ii]s a directory"
)


class StoreError(OSError):
    """The store did not answer, or refused, for as long as patience lasted."""


class RefusedError(StoreError):
    """The store refused what another attempt would not mend: no such bucket, or no right to it."""


class DamagedError(InputError):
    """A file that says what the folder holds cannot be read; a sweep writes it anew."""


class Store:
    """A results folder. Cheap to open; every worker opens its own."""

    def __init__(self, uri: str, patience_s: float = 0.0) -> None:
        """Open a store; nothing is read or written.

        Args:
            uri: a path, `file://…`, `s3://bucket/prefix` or `gs://bucket/prefix`; InputError for anything else.
            patience_s: how long an operation that fails is tried again before it raises StoreError.
        """
        self.uri, self.patience_s = uri, patience_s
        try:
            self.uri, self.files, self.root = self._patiently("be opened", lambda: opened(uri))
        except ValueError as error:
            raise InputError(f"results: {error}") from None
        self.local = isinstance(self.files, fs.LocalFileSystem)

    def claim(self, study: Mapping[str, Any]) -> list[str]:
        """Make this the results folder of a study; returns the names of damaged files that it is to write anew.

        InputError where the folder belongs to another study, or holds something else.
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
            damaged.append(STUDY)  # somebody deleted it
        elif names:
            raise InputError(f"results '{self.uri}': the folder holds other files; choose an empty or a new one")
        try:
            self.plan()
        except DamagedError:
            damaged.append(PLAN_FILE)
        return damaged

    def _owner_of_rows(self) -> str | None:
        """Name of the study that wrote the runs of this folder; None where there are none. InputError if unclear."""
        studies = {row["study"] for row in self.runs(["study"])}
        if len(studies) > 1 or (not studies and self.ended()):
            raise InputError(
                f"{self.uri}/{STUDY}: the file is damaged, and the runs do not tell whose it is: choose another "
                "folder with --results"
            )
        return studies.pop() if studies else None

    def require_right_to_write(self) -> None:
        """Before much is done for nothing. InputError where nothing may be written here; nothing is left behind."""
        if self.local:
            there = next(folder for folder in (Path(self.root), *Path(self.root).parents) if folder.exists())
            if not os.access(there, os.W_OK | os.X_OK):
                raise InputError(f"results '{self.uri}': nothing may be written in '{there}'")
            return
        try:
            self.write(RIGHT, b"")
            self.delete(RIGHT)
        except (RefusedError, PermissionError) as error:
            raise InputError(f"results '{self.uri}': {error}") from None

    def write_plan(self, study: Mapping[str, Any], plan: Sequence[Mapping[str, Any]]) -> None:
        """Store the resolved study and the plan, in place of those of an earlier call."""
        self.write(STUDY, json.dumps(study, indent=2).encode())
        self.write(PLAN_FILE, _parquet(plan, PLAN))

    def study(self) -> dict[str, Any] | None:
        """The resolved study, or None in a new folder. InputError where it cannot be read or has no bucket."""
        try:
            data = self.read(STUDY)
            if data is None and not self._has_bucket():
                raise InputError(f"results '{self.uri}': there is no bucket of that name, or none that you may see")
        except NotADirectoryError:
            raise self._file_for_folder() from None
        except (RefusedError, PermissionError) as error:
            raise InputError(f"results '{self.uri}': {error}") from None
        if data is None:
            return None
        study = _json(data)
        if not isinstance(study, dict) or not isinstance(study.get("name"), str):
            raise self._damaged(STUDY, data)
        return study

    def _damaged(self, name: str, data: bytes) -> DamagedError:
        what = "damaged" if data else "empty"
        return DamagedError(f"{self.uri}/{name}: the file is {what}; run the sweep again: it writes this file anew")

    def noted_study(self) -> dict[str, Any]:
        """What an earlier call noted of the study; nothing in a new folder, or where the file is damaged."""
        try:
            return self.study() or {}
        except DamagedError:
            return {}

    def known_study(self) -> dict[str, Any]:
        """The resolved study. InputError where there is none, so that the folder holds no results."""
        study = self.study()
        if study is None:
            raise InputError(f"results '{self.uri}': there is no study.json in it, so it holds no results")
        return study

    def _has_bucket(self) -> bool:
        """False where an object store says that the bucket is not there."""
        if self.local:
            return True
        try:
            bucket = self.files.get_file_info(self.root.partition("/")[0])
        except OSError:  # a right to the prefix alone is enough
            return True
        return bool(bucket.type != fs.FileType.NotFound)

    def plan(self) -> list[dict[str, Any]]:
        """Rows of the plan; empty in a new folder. DamagedError where they cannot be read."""
        try:
            data = self.read(PLAN_FILE)
        except (RefusedError, PermissionError) as error:
            raise InputError(f"results '{self.uri}': {error}") from None
        if data is None:
            return []
        try:
            plan = pq.read_table(io.BytesIO(data))
            columns = [plan[name].cast(PLAN.field(name).type) for name in PLAN_NEEDED]
        except (pa.ArrowException, OSError, ValueError, KeyError):
            raise self._damaged(PLAN_FILE, data) from None
        if any(column.null_count for column in columns):
            raise self._damaged(PLAN_FILE, data)
        return plan.to_pylist()

    def runs(self, columns: Sequence[str]) -> list[dict[str, Any]]:
        """The given columns of all runs that ended, each once. A file that cannot be read counts as missing.

        Raises StoreError where a compaction goes on and on under the reader.
        """
        wanted = list(dict.fromkeys(["run_id", *columns]))
        for _ in range(SNAPSHOTS):
            singles = self.names("runs")
            rows = self._rows(self._parts(), wanted)
            if rows is not None:
                held = {row["run_id"]: row for row in reversed(rows)}
                rows = self._rows([f"runs/{name}" for name in singles if _stem(name) not in held], wanted)
                if rows is not None:
                    return [{name: row[name] for name in columns} for row in (*held.values(), *rows)]
        raise StoreError(f"{self.uri}: runs/ changes faster than it can be read")

    def ended(self) -> set[str]:
        """Ids of all runs that have their row, done or failed."""
        singles = {_stem(name) for name in self.names("runs")}  # before the parts: see sweep/schema.py
        return singles | self.compacted()

    def compacted(self) -> set[str]:
        """Ids of the runs whose rows are in a compacted part."""
        return {row["run_id"] for row in self._rows(self._parts(), ["run_id"]) or []}

    def _parts(self) -> list[str]:
        return [part_file("runs", digest) for digest in complete_parts(self.names(COMPACT))]

    def _rows(self, names: Sequence[str], columns: Sequence[str]) -> list[dict[str, Any]] | None:
        """Rows of these files of RUNS; None where one is gone."""
        rows: list[dict[str, Any]] = []
        for first in range(0, len(names), AT_ONCE):
            data = self.each(self.read, names[first : first + AT_ONCE])
            whole = [one for one in data if one is not None]
            if len(whole) < len(data):
                return None
            rows += _decoded(whole, columns)
        return rows

    def each(self, operation: Callable[[S], T], items: Iterable[S]) -> list[T]:
        """An operation on each: many at once on an object store, whose answers take their time."""
        with ThreadPoolExecutor(1 if self.local else THREADS) as threads:
            return list(threads.map(operation, items))

    def write_run(
        self,
        row: Mapping[str, Any],
        epochs: Sequence[Mapping[str, Any]] = (),
        predictions: Mapping[str, Any] | None = None,
    ) -> None:
        """Store a run that ended, its row last; then drop its checkpoint. Writing it twice leaves it there once."""
        run_id = row["run_id"]
        if epochs:
            self.write(f"epochs/{run_id}.parquet", _parquet(epochs, EPOCHS), durable=True)
        if predictions is not None:
            self.write(f"predictions/{run_id}.parquet", _parquet(predictions, PREDICTIONS), durable=True)
        self.write(f"runs/{run_id}.parquet", _parquet([row], RUNS), durable=True)
        self.delete(f"checkpoints/{run_id}.pt")

    def write_leakage(self, digest: str, table: pa.Table) -> None:
        """An audit of a data set, as `hyena.leakage.audit` makes it."""
        self.write(f"leakage/{digest}.parquet", parquet_file(table))

    def write_pretraining(self, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self.write(f"pretraining/{key}.parquet", _parquet(rows, PRETRAINING))

    def write(self, name: str, data: bytes | pa.Buffer, durable: bool = False) -> None:
        """A whole file or none; `durable`: on a local disk not before it would outlast a power cut."""
        self._patiently(f"write {name}", lambda: self._write(f"{self.root}/{name}", data, durable))

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

    def read(self, name: str) -> bytes | None:
        """A file's bytes, or None where it does not exist."""

        def read() -> bytes:
            with self.files.open_input_stream(f"{self.root}/{name}") as source:
                return source.read()

        try:
            return self._patiently(f"read {name}", read)
        except FileNotFoundError:
            return None

    def read_json(self, name: str) -> Any:
        """What a JSON file holds; None where it does not exist or is no JSON."""
        return _json(self.read(name) or b"")

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""

        def delete() -> None:
            with suppress(FileNotFoundError):
                self.files.delete_file(f"{self.root}/{name}")

        self._patiently(f"delete {name}", delete)

    def names(self, folder: str) -> list[str]:
        """Names of the whole files in a folder (and, at the top, of the folders), sorted."""
        counted = [info for info in self.infos(folder) if info.is_file or not folder]
        return sorted(info.base_name for info in counted if not info.base_name.endswith(TEMPORARY))

    def infos(self, folder: str, recursive: bool = False) -> list[fs.FileInfo]:
        """What is in a folder, half-written files too: path, name, size in bytes, time of the last change."""
        selector = fs.FileSelector(f"{self.root}/{folder}".rstrip("/"), allow_not_found=True, recursive=recursive)
        try:
            return self._patiently(f"list {folder}/", lambda: self.files.get_file_info(selector))
        except NotADirectoryError:
            raise self._file_for_folder(folder) from None

    def _file_for_folder(self, folder: str = "") -> InputError:
        place = f"'{folder}' in it" if folder else "it"
        return InputError(f"results '{self.uri}': {place} is a file, where a folder is expected")

    def _patiently(self, what: str, operation: Callable[[], T]) -> T:
        """Do it, again and again while it fails in a way that may pass, with growing waits."""
        place = f"{self.uri} (to {what})"

        def note(state: RetryCallState) -> None:
            reason = state.outcome.exception() if state.outcome else None
            wait.what = f"{place}: {' '.join(str(reason).split())}; it is tried again for {self.patience_s:g} s at most"

        try:
            with waiting_for(place, ENDING) as wait:
                attempts = Retrying(
                    retry=retry_if_exception(_may_pass),
                    wait=wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT_S),
                    stop=stop_after_delay(self.patience_s),
                    before_sleep=note,
                    reraise=True,
                )
                return attempts(operation)
        except _FINAL:
            raise
        except OSError as error:
            kind = StoreError if _may_pass(error) else RefusedError
            raise kind(f"{self.uri}: cannot {what}: {' '.join(str(error).split())}") from error


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, OSError) and not isinstance(error, _FINAL) and not _REFUSED.search(str(error))


def _stem(name: str) -> str:
    return name.removesuffix(".parquet")


def _flush(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _decoded(files: Sequence[bytes], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of Parquet files, less those that cannot be read; halved to find these."""
    import polars as pl  # not at the top: no worker reads rows, and each would pay for the import

    if not files:
        return []
    types = pl.DataFrame(RUNS.empty_table()).schema
    required = [name for name in columns if not RUNS.field(name).nullable]
    try:
        sources: list[Any] = [io.BytesIO(data) for data in files]
        rows = pl.scan_parquet(sources, glob=False, extra_columns="ignore")
        return rows.select(pl.col(name).cast(types[name]) for name in columns).drop_nulls(required).collect().to_dicts()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        if len(files) == 1:
            return []
        middle = len(files) // 2
        return [*_decoded(files[:middle], columns), *_decoded(files[middle:], columns)]


def _parquet(rows: Sequence[Mapping[str, Any]] | Mapping[str, Any], schema: pa.Schema) -> pa.Buffer:
    """Rows, or columns by name, as a Parquet file of that schema; a missing or unknown column is an error."""
    if isinstance(rows, Mapping):
        table = pa.table(dict(rows), schema=schema)
    else:
        wanted, given = set(schema.names), {key for row in rows for key in row}
        if rows and wanted != given:
            raise KeyError(f"columns {sorted(wanted ^ given)} are not both in the row and in the schema")
        table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    table.validate(full=True)
    return parquet_file(table)


def writer_options(schema: pa.Schema) -> dict[str, Any]:
    """How tables are packed. Numbers seldom repeat: a dictionary of logits made predictions 1.4 times as large."""
    return {"compression": "zstd", "use_dictionary": [field.name for field in schema if field.type == pa.string()]}


def parquet_file(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **writer_options(table.schema))
    return sink.getvalue()
