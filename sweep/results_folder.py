"""A results folder on a local disk, S3 or GCS, as it is read: its files, its study, and where each run's rows are.

The sweep (`sweep/store.py`) and the analysis (`analysis/results.py`) both read through this class, which needs pyarrow
alone. A store can fail for a while: a folder opened with patience retries each operation until that is spent. Next:
`sweep/ended_runs.py` reads the rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from pyarrow import fs

from hyena.errors import InputError
from sweep.layout import COMPACT, PLAN_FILE, STUDY, TEMPORARY, complete_parts, opened
from sweep.retries import RefusedError, StoreError, with_retries

T = TypeVar("T")
S = TypeVar("S")

THREADS = 32  # a request to S3 takes tens of milliseconds, and a study has thousands of rows
#: How often a snapshot is started again because a compaction moved a file away.
SNAPSHOTS = 10


class ResultsError(InputError):
    """Results that cannot be used; the message is one line: what, where, and what would be right."""


class DamagedError(ResultsError):
    """study.json or plan.parquet cannot be read; a sweep rewrites it."""

    def __init__(self, uri: str, name: str, reason: str) -> None:
        super().__init__(f"{uri}/{name}: the file is damaged ({reason}); run the sweep again, which rewrites it")
        self.reason = reason


class FileGoneError(StoreError):
    """A file that was listed no longer exists: a compaction has moved its rows."""


@dataclass(frozen=True)
class RunFiles:
    """Where the rows of runs are, by name of the file.

    Attributes:
        singles: table → run_id → the small file of that run.
        parts: digests of the complete compacted parts, sorted.
    """

    singles: Mapping[str, Mapping[str, str]]
    parts: tuple[str, ...]


class ResultsFolder:
    """A results folder, for reading. Cheap to open: nothing is read or written then."""

    def __init__(self, uri: str, patience_s: float = 0.0) -> None:
        """Open a folder.

        Args:
            uri: a path, `file://…`, `s3://bucket/prefix` or `gs://bucket/prefix`; ResultsError for anything else.
            patience_s: seconds for which an operation that fails is retried before it raises StoreError.
        """
        self.uri, self.patience_s = uri, patience_s
        try:
            self.uri, self.files, self.root = self._retried("be opened", lambda: opened(uri))
        except ValueError as error:
            raise ResultsError(f"results: {error}") from None
        self.local = isinstance(self.files, fs.LocalFileSystem)

    # --------------------------------------------------------------------------------------------------------- files

    def path(self, name: str) -> str:
        """Path of a file in the file system of this folder."""
        return f"{self.root}/{name}"

    def read(self, name: str) -> bytes | None:
        """A file's bytes, or None where it does not exist."""

        def read() -> bytes:
            with self.files.open_input_stream(self.path(name)) as source:
                return source.read()

        try:
            return self._retried(f"read {name}", read)
        except FileNotFoundError:
            return None

    def read_listed(self, name: str) -> bytes:
        """Bytes of a file that was listed; FileGoneError where it no longer exists."""
        data = self.read(name)
        if data is None:
            raise FileGoneError(f"{self.uri}: {name} no longer exists")
        return data

    def read_json(self, name: str) -> Any:
        """The content of a JSON file; None where it does not exist or is not valid JSON."""
        try:
            return json.loads(self.read(name) or b"")
        except (ValueError, RecursionError):
            return None

    def names(self, folder: str) -> list[str]:
        """Names of the complete files in a folder (at the top also of the folders), sorted."""
        counted = [info for info in self.infos(folder) if info.is_file or not folder]
        return sorted(info.base_name for info in counted if not info.base_name.endswith(TEMPORARY))

    def infos(self, folder: str, recursive: bool = False) -> list[fs.FileInfo]:
        """The content of a folder, half-written files included: path, name, size in bytes, time of the last change."""
        selector = fs.FileSelector(self.path(folder).rstrip("/"), allow_not_found=True, recursive=recursive)
        try:
            return self._retried(f"list {folder}/", lambda: self.files.get_file_info(selector))
        except NotADirectoryError:
            raise self._file_for_folder(folder) from None

    def each(self, operation: Callable[[S], T], items: Iterable[S]) -> list[T]:
        """Apply an operation to each item: in threads on an object store, where each request takes its time."""
        with ThreadPoolExecutor(1 if self.local else THREADS) as threads:
            return list(threads.map(operation, items))

    def signature(self) -> tuple[tuple[str, int, int], ...]:
        """Names, sizes and times of the files that a report depends on; it changes when a run ends."""
        found = [info for info in self.infos("") if info.base_name in (STUDY, PLAN_FILE)]
        for table in ("runs", COMPACT, "pretraining"):
            found += self.infos(table)
        return tuple(sorted((info.path, info.size or 0, info.mtime_ns or 0) for info in found))

    # ------------------------------------------------------------------------------------------------------ protocol

    def run_files(self, tables: Sequence[str] = ("runs",)) -> RunFiles:
        """List the small files of these tables, then the compacted parts.

        In this order a run is listed even while a compaction moves it, and the other tables of a run that is listed in
        `runs`, which comes first, are complete.
        """
        singles = {table: {run_of(name): f"{table}/{name}" for name in self.tables_in(table)} for table in tables}
        return RunFiles(singles, tuple(complete_parts(self.names(COMPACT))))

    def tables_in(self, folder: str) -> list[str]:
        """Names of the complete Parquet files in a folder, sorted."""
        return [name for name in self.names(folder) if name.endswith(".parquet")]

    def consistently(self, read: Callable[[], T]) -> T:
        """Call a function that lists files and reads them, again where a compaction deletes one of them in between.

        Raises StoreError where that happens many times in a row.
        """
        for _ in range(SNAPSHOTS):
            try:
                return read()
            except FileGoneError:
                continue
        raise StoreError(f"{self.uri}: the files change faster than they can be read")

    def study(self) -> dict[str, Any] | None:
        """The resolved study; None in a new folder.

        Raises DamagedError where study.json is not a JSON object with a name, ResultsError where it may not be read or
        the bucket does not exist.
        """
        data = self.read_essential(STUDY)
        if data is None:
            if not self._has_bucket():
                raise ResultsError(f"results '{self.uri}': there is no bucket of that name, or you have no right to it")
            return None
        try:
            study = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise DamagedError(self.uri, STUDY, f"not valid JSON: {error}") from None
        if not isinstance(study, dict):
            raise DamagedError(self.uri, STUDY, f"expected a JSON object, found {type(study).__name__}")
        if not isinstance(study.get("name"), str):
            raise DamagedError(self.uri, STUDY, f"'name' must be text, found {study.get('name')!r}")
        return study

    def known_study(self) -> dict[str, Any]:
        """The resolved study. Raises ResultsError where there is none, so that the folder holds no results."""
        study = self.study()
        if study is None:
            raise ResultsError(f"results '{self.uri}': there is no study.json in it, so it holds no results")
        return study

    def read_essential(self, name: str) -> bytes | None:
        """Bytes of a file without which the folder cannot be used; None where it is missing.

        Raises ResultsError where it may not be read, DamagedError where it is empty.
        """
        try:
            data = self.read(name)
        except NotADirectoryError:
            raise self._file_for_folder() from None
        except (RefusedError, PermissionError) as error:
            raise ResultsError(f"results '{self.uri}': {error}") from None
        if data == b"":
            raise DamagedError(self.uri, name, "empty")
        return data

    def _has_bucket(self) -> bool:
        """False where an object store says that the bucket does not exist."""
        if self.local:
            return True
        try:
            bucket = self.files.get_file_info(self.root.partition("/")[0])
        except OSError:  # a right to the prefix alone is enough
            return True
        return bool(bucket.type != fs.FileType.NotFound)

    def _file_for_folder(self, folder: str = "") -> ResultsError:
        place = f"'{folder}' in it" if folder else "it"
        return ResultsError(f"results '{self.uri}': {place} is a file, where a folder is expected")

    def _retried(self, what: str, operation: Callable[[], T]) -> T:
        return with_retries(operation, what, self.uri, self.patience_s)


def run_of(name: str) -> str:
    """The run_id that a small file is named by. `Path(name).stem` takes 20 times as long: 0.3 s for 20,000 files."""
    return name.removesuffix(".parquet")
