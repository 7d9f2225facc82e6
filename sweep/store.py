"""Where results live: one folder, on a local disk, S3 or GCS, through pyarrow's file systems.

Files are named by run, written whole or not at all, and never changed after: a local file is written under a
temporary name and renamed, an object appears when its upload is complete. The row in `runs/` is written last, so it
vouches for the rest. `sweep/schema.py` says what the files hold.

A store can refuse for a while: a disk is full until somebody clears it, a bucket throttles. Whoever has something to
lose opens it with patience, and each operation is tried again until that is spent.
"""

from __future__ import annotations

import io
import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from hyena.errors import InputError
from sweep.schema import EPOCHS, PLAN, PREDICTIONS, PRETRAINING, RUNS

T = TypeVar("T")

STUDY, PLAN_FILE = "study.json", "plan.parquet"
LONGEST_WAIT_S = 30.0
READERS = 32  # an answer of S3 takes tens of milliseconds, and a study has thousands of rows
#: What another attempt does not mend: no such thing, or no right to it.
_FINAL = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
_REFUSED = re.compile(r"ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY|SIGNATURE|NO_SUCH_UPLOAD|PermissionDenied")


class StoreError(OSError):
    """The store did not answer, or refused, for as long as patience lasted."""


class Store:
    """A results folder. Cheap to open; every worker opens its own."""

    def __init__(self, uri: str, patience_s: float = 0.0) -> None:
        """Open a store; nothing is read or written.

        Args:
            uri: a path, `file://…`, `s3://bucket/prefix` or `gs://bucket/prefix`; InputError for anything else.
            patience_s: how long an operation that fails is tried again before it raises StoreError.
        """
        if re.search("://[^/]*@", uri):
            raise InputError(
                "results: an address must not hold credentials, for it is shown and stored; "
                "give them by the environment (AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS)"
            )
        self.uri = uri if "://" in uri else str(Path(uri).resolve())
        self.patience_s = patience_s
        try:
            self.files, self.root = fs.FileSystem.from_uri(self.uri)
        except (pa.ArrowInvalid, OSError, ValueError) as error:
            raise InputError(f"results '{uri}': not a folder, s3:// or gs:// address: {error}") from None
        self.local = isinstance(self.files, fs.LocalFileSystem)

    def claim(self, study: Mapping[str, Any]) -> None:
        """Make this the results folder of a study. InputError where it belongs to another, or holds something else."""
        owner = self.study()
        if owner is not None and owner["name"] != study["name"]:
            raise InputError(
                f"results '{self.uri}' belong to the study '{owner['name']}', not to '{study['name']}': "
                "choose another folder with --results"
            )
        if owner is None and self.names(""):
            raise InputError(f"results '{self.uri}': the folder holds other files; choose an empty or a new one")

    def write_plan(self, study: Mapping[str, Any], plan: Sequence[Mapping[str, Any]]) -> None:
        """Store the resolved study and the plan, in place of those of an earlier call."""
        self.write(STUDY, json.dumps(study, indent=2).encode())
        self.write(PLAN_FILE, _parquet(plan, PLAN))

    def study(self) -> dict[str, Any] | None:
        """The resolved study, or None in a new folder."""
        data = self.read(STUDY)
        return json.loads(data) if data is not None else None

    def plan(self) -> list[dict[str, Any]]:
        """Rows of the plan; empty in a new folder."""
        data = self.read(PLAN_FILE)
        return pq.read_table(io.BytesIO(data)).to_pylist() if data is not None else []

    def runs(self, columns: Sequence[str]) -> list[dict[str, Any]]:
        """The given columns of all runs that ended. An unreadable file counts as missing, so its run runs again."""

        def read(name: str) -> list[dict[str, Any]]:
            data = self.read(f"runs/{name}")
            try:
                return pq.read_table(io.BytesIO(data or b""), columns=list(columns)).to_pylist()
            except (pa.ArrowInvalid, OSError, KeyError):
                return []

        with ThreadPoolExecutor(1 if self.local else READERS) as readers:
            return [row for rows in readers.map(read, self.names("runs")) for row in rows]

    def write_run(
        self,
        row: Mapping[str, Any],
        epochs: Sequence[Mapping[str, Any]] = (),
        predictions: Mapping[str, Any] | None = None,
    ) -> None:
        """Store a run that ended, its row last; then drop its checkpoint. Writing it twice leaves it there once."""
        run_id = row["run_id"]
        if epochs:
            self.write(f"epochs/{run_id}.parquet", _parquet(epochs, EPOCHS))
        if predictions is not None:
            self.write(f"predictions/{run_id}.parquet", _parquet(predictions, PREDICTIONS))
        self.write(f"runs/{run_id}.parquet", _parquet([row], RUNS))
        self.delete(f"checkpoints/{run_id}.pt")

    def write_leakage(self, digest: str, table: pa.Table) -> None:
        """An audit of a data set, as `hyena.leakage` makes it."""
        self.write(f"leakage/{digest}.parquet", _bytes(table))

    def write_pretraining(self, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self.write(f"pretraining/{key}.parquet", _parquet(rows, PRETRAINING))

    def write(self, name: str, data: bytes) -> None:
        """A whole file or none."""
        self._patiently(f"write {name}", lambda: self._write(f"{self.root}/{name}", data))

    def _write(self, path: str, data: bytes) -> None:
        target = path
        if self.local:
            self.files.create_dir(str(Path(path).parent), recursive=True)
            target = f"{path}.{uuid.uuid4().hex}.tmp"
        try:
            with self.files.open_output_stream(target) as sink:
                sink.write(data)
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

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        path = f"{self.root}/{name}"

        def delete() -> None:
            if self.files.get_file_info(path).type == fs.FileType.File:
                self.files.delete_file(path)

        self._patiently(f"delete {name}", delete)

    def names(self, folder: str) -> list[str]:
        """Names of the whole files in a folder (and, at the top, of the folders), sorted."""
        selector = fs.FileSelector(f"{self.root}/{folder}".rstrip("/"), allow_not_found=True)
        found = self._patiently(f"list {folder}/", lambda: self.files.get_file_info(selector))
        return sorted(info.base_name for info in found if not info.base_name.endswith(".tmp"))

    def _patiently(self, what: str, operation: Callable[[], T]) -> T:
        """Do it, again and again while it fails in a way that may pass, with growing waits."""
        attempts = Retrying(
            retry=retry_if_exception(_may_pass),
            wait=wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT_S),
            stop=stop_after_delay(self.patience_s),
            reraise=True,
        )
        try:
            return attempts(operation)
        except _FINAL:
            raise
        except OSError as error:
            raise StoreError(f"{self.uri}: cannot {what}: {error}") from error


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, OSError) and not isinstance(error, _FINAL) and not _REFUSED.search(str(error))


def _parquet(rows: Sequence[Mapping[str, Any]] | Mapping[str, Any], schema: pa.Schema) -> bytes:
    """Rows, or columns by name, as a Parquet file of that schema; a missing or unknown column is an error."""
    if isinstance(rows, Mapping):
        table = pa.table(dict(rows), schema=schema)
    else:
        wanted, given = set(schema.names), {key for row in rows for key in row}
        if rows and wanted != given:
            raise KeyError(f"columns {sorted(wanted ^ given)} are not both in the row and in the schema")
        table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    table.validate(full=True)
    return _bytes(table)


def _bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()
