"""A results folder on a local disk or an object store: its files, and rows of runs out of them.

Next: `analysis/tables.py`.
"""

from __future__ import annotations

import io
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from hyena.errors import InputError
from sweep.layout import COMPACT, opened


class ResultsError(InputError):
    """Results that cannot be reported on; the message is one line: what, where, and what would be right."""


@dataclass(frozen=True)
class Folder:
    """A folder on a local disk or an object store."""

    location: str
    filesystem: fs.FileSystem
    root: str

    @classmethod
    def open(cls, location: str | Path) -> Folder:
        """Raises ResultsError where there is no such folder or no such kind of store."""
        text = str(location)
        try:
            _, filesystem, root = opened(text)
            kind = filesystem.get_file_info(root).type
        except ValueError as error:
            raise ResultsError(f"cannot be opened as a results folder: {one_line(error)}") from None
        except OSError as error:
            raise ResultsError(f"{text}: cannot be opened as a results folder ({one_line(error)})") from error
        if kind == fs.FileType.File:
            raise ResultsError(f"{text}: is a file; expected the results folder that a sweep wrote")
        if kind == fs.FileType.NotFound and isinstance(filesystem, fs.LocalFileSystem):
            raise ResultsError(f"{text}: no such folder; expected the results folder that a sweep wrote")
        return cls(text, filesystem, root.rstrip("/"))

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def files(self, table: str) -> list[str]:
        """Paths of the Parquet files of a table, sorted; none where the table's folder is missing."""
        found = self.filesystem.get_file_info(fs.FileSelector(f"{self.root}/{table}", allow_not_found=True))
        return sorted(one.path for one in found if one.type == fs.FileType.File and one.path.endswith(".parquet"))

    def exists(self, name: str) -> bool:
        return bool(self.filesystem.get_file_info(f"{self.root}/{name}").type == fs.FileType.File)

    def relative(self, path: str) -> str:
        """A file's path as it is named to a reader: from this folder on."""
        return path.removeprefix(f"{self.root}/")

    def bytes_of(self, path: str) -> bytes:
        with self.filesystem.open_input_file(path) as file:
            return bytes(file.read())

    def signature(self) -> tuple[tuple[str, int, int], ...]:
        """Names, sizes and times of the files that a report depends on; it changes when a run lands."""
        tables = [("", "study.json"), ("", "plan.parquet")]
        found = self.filesystem.get_file_info([f"{self.root}/{name}" for _, name in tables])
        for table in ("runs", COMPACT, "pretraining"):
            found += self.filesystem.get_file_info(fs.FileSelector(f"{self.root}/{table}", allow_not_found=True))
        return tuple(sorted((one.path, one.size or 0, one.mtime_ns or 0) for one in found))

    def sources(self, paths: Sequence[str]) -> list[Any]:
        """What Polars can scan: the paths of local files, the bytes of remote ones."""
        if self.is_local:
            return list(paths)
        with ThreadPoolExecutor(max_workers=32) as pool:
            return [io.BytesIO(content) for content in pool.map(self.bytes_of, paths)]

    def rows_of(self, files: Mapping[str, str], schema: pa.Schema, columns: Sequence[str]) -> pl.LazyFrame:
        """Some columns of a table's rows of runs, each from its file (run_id to path), in the table's types.

        Of a part only what holds them is read.
        """
        runs: dict[str, list[str]] = {}
        for run_id, path in files.items():
            runs.setdefault(path, []).append(run_id)
        parts = [path for path in runs if path.startswith(f"{self.root}/{COMPACT}/")]
        singles = [path for path in runs if path not in parts]
        frames = [pl.scan_parquet(self.sources(singles), glob=False).select(columns)] if singles else []
        frames += [self._of_part(path, runs[path], columns) for path in parts]
        kinds = pl.DataFrame(schema.empty_table().select(list(columns))).schema
        return pl.concat([frame.cast(kinds) for frame in frames])

    def _of_part(self, path: str, run_ids: Sequence[str], columns: Sequence[str]) -> pl.LazyFrame:
        """Row groups are chosen by their statistics; Polars would take twice as long to choose among hundreds."""
        with self.filesystem.open_input_file(path) as file:
            part = pq.ParquetFile(file, pre_buffer=True)
            groups = [group for group in range(part.num_row_groups) if _may_hold(part.metadata, group, sorted(run_ids))]
            rows = pl.DataFrame(part.read_row_groups(groups, columns=list(dict.fromkeys(["run_id", *columns]))))
        return rows.lazy().filter(pl.col("run_id").cast(pl.String).is_in(run_ids)).select(columns)


def _may_hold(metadata: pq.FileMetaData, group: int, run_ids: Sequence[str]) -> bool:
    """Whether a row group can hold one of these runs (sorted); where its statistics do not say, it can."""
    chunks = (metadata.row_group(group).column(place) for place in range(metadata.num_columns))
    bounds = next((chunk.statistics for chunk in chunks if chunk.path_in_schema == "run_id"), None)
    if bounds is None or not bounds.has_min_max or not isinstance(bounds.min, str) or not isinstance(bounds.max, str):
        return True
    place = bisect_left(run_ids, bounds.min)
    return place < len(run_ids) and run_ids[place] <= bounds.max


def one_line(error: BaseException) -> str:
    """What an error says, on one line of at most 160 characters."""
    return " ".join(str(error).split())[:160]
