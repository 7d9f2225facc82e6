"""The plan and the rows of the runs that ended, each run once, from small files and compacted parts.

Which rows count is decided here, for the sweep and for the report. `sweep/schema.py` describes the files, and
`sweep/compact.py` moves them. Next: `sweep/store.py`, `analysis/results.py`.
"""

from __future__ import annotations

import io
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from sweep.layout import COMPACT, PLAN_FILE, part_file
from sweep.result_tables import NEEDED, NEEDED_OF_PLAN, Problem, read_file, read_table, refuse_other_version
from sweep.results_folder import DamagedError, ResultsFolder, RunFiles
from sweep.schema import PLAN, RUNS, SCHEMA_VERSION

#: Columns that every row which counts has, and those of them that are never null.
_NEEDED = [name for name in RUNS.names if name in NEEDED]
_NEVER_NULL = [name for name in _NEEDED if not RUNS.field(name).nullable]


@dataclass(frozen=True)
class EndedRuns:
    """The runs that ended.

    Attributes:
        rows: the columns asked for and those that every row needs, one row a run, sorted by run_id.
        part_of: run_id → digest of the part that holds the run, for those that a part holds.
        files: what was listed.
    """

    rows: pl.DataFrame
    part_of: Mapping[str, str]
    files: RunFiles

    def files_of(self, table: str, run_ids: Iterable[str]) -> dict[str, str]:
        """run_id → name of the file that holds its rows of a listed table; without runs that have no such file."""
        parts = {run_id: part_file(table, part) for run_id, part in self.part_of.items()}
        both = {**self.files.singles[table], **parts}
        return {run_id: both[run_id] for run_id in sorted(run_ids) if run_id in both}


def read_runs(
    folder: ResultsFolder, columns: Sequence[str], problems: list[Problem], tables: Sequence[str] = ("runs",)
) -> EndedRuns:
    """Read some columns of all runs that ended; what is left out is appended to `problems`.

    A row in a complete part counts rather than the small file of its run, and the first part rather than a later one.
    A row without a value in a column that every row needs does not count.

    Args:
        tables: of which the small files are listed, `runs` first.

    Raises FileGoneError where a compaction moves a file meanwhile (see `ResultsFolder.consistently`), and ResultsError
    where a row was written under another version of the tables.
    """
    wanted = list(dict.fromkeys([*_NEEDED, *columns]))
    files = folder.run_files(tables)
    frames, part_of = _rows_of_parts(folder, files.parts, wanted, problems)
    left = [name for run_id, name in files.singles["runs"].items() if run_id not in part_of]
    frames.append(_counted(read_table(folder, left, RUNS, wanted, problems), problems))
    rows = pl.concat(frames)
    twice = rows.filter(pl.col("run_id").is_duplicated())["run_id"].unique().sort()
    problems.extend(Problem(f"run {run_id}", "is in the tables more than once; one row kept") for run_id in twice)
    return EndedRuns(rows.unique("run_id", keep="last").sort("run_id"), part_of, files)


def compacted_runs(folder: ResultsFolder) -> dict[str, str]:
    """run_id → digest of the complete part that holds its row. Raises as `read_runs`."""
    return _rows_of_parts(folder, folder.run_files(()).parts, _NEEDED, [])[1]


def _rows_of_parts(
    folder: ResultsFolder, parts: Sequence[str], columns: Sequence[str], problems: list[Problem]
) -> tuple[list[pl.DataFrame], dict[str, str]]:
    """The rows of each part without those of an earlier one, and run_id → digest of its part."""
    frames: list[pl.DataFrame] = []
    part_of: dict[str, str] = {}
    for part in parts:
        rows = _counted(read_table(folder, [part_file("runs", part)], RUNS, columns, problems), problems)
        frames.append(rows.filter(~pl.col("run_id").is_in(list(part_of))))
        part_of |= dict.fromkeys(frames[-1]["run_id"], part)
    return frames, part_of


def _counted(rows: pl.DataFrame, problems: list[Problem]) -> pl.DataFrame:
    """The rows with a value in every column that needs one, of this version of the tables."""
    for row in rows.filter(pl.any_horizontal(pl.col(_NEVER_NULL).is_null())).iter_rows(named=True):
        lacking = next(name for name in _NEVER_NULL if row[name] is None)
        path = "runs/" if row["run_id"] is None else f"runs/{row['run_id']}.parquet"
        problems.append(Problem(path, f"a row without a value in the column {lacking!r}"))
    rows = rows.drop_nulls(_NEVER_NULL)
    others = rows.filter(pl.col("schema_version") != SCHEMA_VERSION)
    if others.height:
        refuse_other_version(others["schema_version"], f"runs/{others['run_id'][0]}.parquet")
    return rows


def read_plan(folder: ResultsFolder) -> pl.DataFrame | None:
    """The planned runs, each once; None where there is no plan. Raises DamagedError where it cannot be read."""
    data = folder.read_essential(PLAN_FILE)
    if data is None:
        return None
    problems: list[Problem] = []
    plan = read_file(PLAN_FILE, data, PLAN, PLAN.names, problems)
    if problems:
        raise DamagedError(folder.uri, PLAN_FILE, problems[0].reason)
    if any(plan.select(NEEDED_OF_PLAN).null_count().row(0)):
        raise DamagedError(folder.uri, PLAN_FILE, "has empty cells")
    return plan.unique("run_id", keep="first", maintain_order=True)


def rows_of_runs(
    folder: ResultsFolder, files: Mapping[str, str], schema: pa.Schema, columns: Sequence[str]
) -> pl.LazyFrame:
    """Some columns of a table's rows of runs, each from its file (run_id to name), in the table's types.

    Of a part only the row groups of these runs are read. Raises FileNotFoundError where a file no longer exists.
    """
    runs: dict[str, list[str]] = {}
    for run_id, name in files.items():
        runs.setdefault(name, []).append(run_id)
    parts = [name for name in runs if name.startswith(f"{COMPACT}/")]
    singles = [name for name in runs if name not in parts]
    frames = [pl.scan_parquet(_sources(folder, singles), glob=False).select(columns)] if singles else []
    frames += [_rows_of_part(folder, name, runs[name], columns) for name in parts]
    kinds = pl.DataFrame(schema.empty_table().select(list(columns))).schema
    return pl.concat([frame.cast(kinds) for frame in frames])


def _sources(folder: ResultsFolder, names: Sequence[str]) -> list[Any]:
    """What Polars can scan: the paths of local files, the bytes of remote ones."""
    if folder.local:
        return [folder.path(name) for name in names]
    contents = folder.each(folder.read, names)
    if None in contents:
        raise FileNotFoundError(names[contents.index(None)])
    return [io.BytesIO(content or b"") for content in contents]


def _rows_of_part(folder: ResultsFolder, name: str, run_ids: Sequence[str], columns: Sequence[str]) -> pl.LazyFrame:
    """Row groups are chosen by their statistics; Polars would take twice as long to choose among hundreds."""
    with folder.files.open_input_file(folder.path(name)) as file:
        part = pq.ParquetFile(file, pre_buffer=True)
        groups = [group for group in range(part.num_row_groups) if _may_hold(part.metadata, group, sorted(run_ids))]
        rows = pl.DataFrame(part.read_row_groups(groups, columns=list(dict.fromkeys(["run_id", *columns]))))
    return rows.lazy().filter(pl.col("run_id").cast(pl.String).is_in(run_ids)).select(columns)


def _may_hold(metadata: pq.FileMetaData, group: int, run_ids: Sequence[str]) -> bool:
    """Whether a row group can hold one of these runs (sorted); without statistics it can."""
    chunks = (metadata.row_group(group).column(place) for place in range(metadata.num_columns))
    bounds = next((chunk.statistics for chunk in chunks if chunk.path_in_schema == "run_id"), None)
    if bounds is None or not bounds.has_min_max or not isinstance(bounds.min, str) or not isinstance(bounds.max, str):
        return True
    place = bisect_left(run_ids, bounds.min)
    return place < len(run_ids) and run_ids[place] <= bounds.max
