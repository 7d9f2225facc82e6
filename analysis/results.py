"""From a results folder to frames: reads what a sweep wrote, and names what it could not read.

Source: the tables of `sweep/schema.py`, in small files or in compacted parts. A file that cannot be read is
skipped and named in `Results.problems`, so that one truncated file among good ones costs its own run and no other.
Predictions are located here and read only where a test needs them. Next: `analysis/pairs.py`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from hyena.errors import InputError
from sweep.layout import COMPACT, complete_parts, opened, part_file
from sweep.schema import EPOCHS, PLAN, PRETRAINING, RUNS, SCHEMA_VERSION

#: Smallest difference that matters where a study does not say, in percentage points.
DEFAULT_MARGIN = 0.5

#: Columns of RUNS that no part of the report reads.
_UNREAD_RUNS = {"warmup_learning_rate", "d_model", "n_layer", "l_max"} | {
    f"validation_{score}" for score in ("confusion", "loss", "mcc", "f1", "precision", "recall", "auroc")
}

#: Columns without which a row says nothing; a column that an older file lacks otherwise counts as unknown.
_NEEDED = {*PLAN.names, "schema_version", "status", "test_accuracy", "epoch", "step", "tokens", "train_bits_per_base"}


#: How often reading starts again where a compaction moves files away meanwhile.
_SNAPSHOTS = 5
_UNREADABLE = "not a readable Parquet file"
#: What Polars, pyarrow and the store raise where a file cannot be read.
READ_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, OSError)


class ResultsError(InputError):
    """Results that cannot be reported on; the message is one line: what, where, and what would be right."""


@dataclass(frozen=True)
class Problem:
    """A file or a row that was left out of every number, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Results:
    """What a results folder holds, ready to be paired.

    `runs` holds the runs of the present plan that ended (done or failed), without any that `problems` names;
    `unplanned` counts the runs that stand in the folder and not in the plan. Accuracies stay fractions here.
    """

    location: str
    study: Mapping[str, Any]
    plan: pl.DataFrame
    runs: pl.DataFrame
    epochs: pl.DataFrame
    pretraining: pl.DataFrame
    unplanned: int = 0
    plan_known: bool = True
    problems: tuple[Problem, ...] = ()
    predictions: Mapping[str, str] = field(default_factory=dict)
    source: Folder | None = None

    @property
    def name(self) -> str:
        """Name of the study, or the folder's own where study.json has none."""
        return str(self.study.get("name") or Path(self.location.rstrip("/")).name or "study")

    @property
    def margin(self) -> float:
        """Smallest difference that matters, in percentage points: `analysis.margin` of the study."""
        return float((self.study.get("analysis") or {}).get("margin") or DEFAULT_MARGIN)

    @property
    def done(self) -> pl.DataFrame:
        return self.runs.filter(pl.col("status") == "done")

    @property
    def failed(self) -> pl.DataFrame:
        return self.runs.filter(pl.col("status") == "failed")


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

    def rows_of(self, files: Mapping[str, str], columns: Sequence[str]) -> pl.LazyFrame:
        """Some columns of the rows of runs, each from its file (run_id to path); of a part only what holds them."""
        runs: dict[str, list[str]] = {}
        for run_id, path in files.items():
            runs.setdefault(path, []).append(run_id)
        parts = [path for path in runs if path.startswith(f"{self.root}/{COMPACT}/")]
        singles = [path for path in runs if path not in parts]
        frames = [pl.scan_parquet(self.sources(singles), glob=False).select(columns)] if singles else []
        return pl.concat([*frames, *(self._of_part(path, runs[path], columns) for path in parts)])

    def _of_part(self, path: str, run_ids: Sequence[str], columns: Sequence[str]) -> pl.LazyFrame:
        """Row groups are chosen by their statistics; Polars would take twice as long to choose among hundreds."""
        with self.filesystem.open_input_file(path) as file:
            part = pq.ParquetFile(file, pre_buffer=True)
            wanted, place = frozenset(run_ids), part.schema_arrow.get_field_index("run_id")
            bounds = (part.metadata.row_group(group).column(place).statistics for group in range(part.num_row_groups))
            groups = [group for group, bound in enumerate(bounds) if bound.min != bound.max or bound.min in wanted]
            rows = pl.DataFrame(part.read_row_groups(groups, columns=["run_id", *columns]))
        return rows.lazy().filter(pl.col("run_id").is_in(run_ids)).select(columns)


def load(location: str | Path, epoch_columns: Sequence[str] = EPOCHS.names) -> Results:
    """Read a results folder (a path, s3:// or gs://), and of its epochs the columns asked for.

    Raises ResultsError where the folder is missing, holds no study, was written under another version of the tables,
    or its study.json is not valid. Everything less (an unreadable file, a run without its accuracy) is left out and
    named in `problems`.
    """
    folder = Folder.open(location)
    for _ in range(_SNAPSHOTS):
        results = _snapshot(folder, epoch_columns)
        unreadable = [problem.path for problem in results.problems if problem.reason.startswith(_UNREADABLE)]
        if all(map(folder.exists, unreadable)):
            break  # else a compaction has moved one away while it was read
    return results


def _snapshot(folder: Folder, epoch_columns: Sequence[str]) -> Results:
    study = _study(folder)
    run_files = folder.files("runs")
    if not study and not run_files and not folder.exists("plan.parquet"):
        raise ResultsError(f"{folder.location}: holds no study.json, plan.parquet or runs/; is it a results folder?")
    problems: list[Problem] = []
    plan, plan_known = _plan(folder, problems)
    holder: dict[str, str] = {}
    ended = _checked(_ended(folder, run_files, holder, problems), problems)
    runs = ended.join(plan.select("run_id"), on="run_id", how="semi") if plan_known else ended
    if not plan_known:
        plan = runs.select(PLAN.names)
    done = set(runs.filter(pl.col("status") == "done")["run_id"])
    epochs = read_table(folder, _files_of(folder, "epochs", done, holder).values(), EPOCHS, epoch_columns, problems)
    pretraining = read_table(folder, folder.files("pretraining"), PRETRAINING, PRETRAINING.names, problems)
    return Results(
        location=folder.location,
        study=study,
        plan=plan,
        runs=runs,
        epochs=epochs.filter(pl.col("run_id").is_in(list(done))).unique(["run_id", "epoch"], maintain_order=True),
        pretraining=pretraining,
        unplanned=ended.height - runs.height,
        plan_known=plan_known,
        problems=tuple(problems),
        predictions=_files_of(folder, "predictions", done, holder),
        source=folder,
    )


def _ended(folder: Folder, singles: Sequence[str], holder: dict[str, str], problems: list[Problem]) -> pl.DataFrame:
    """Rows of the runs that ended, in parts or in single files; fills `holder`, run_id to the part that counts."""
    columns = [name for name in RUNS.names if name not in _UNREAD_RUNS]
    frames = []
    for part in complete_parts(Path(path).name for path in folder.files(COMPACT)):
        rows = read_table(folder, [f"{folder.root}/{part_file('runs', part)}"], RUNS, columns, problems)
        frames.append(rows.filter(~pl.col("run_id").is_in(list(holder))))
        holder |= dict.fromkeys(frames[-1]["run_id"], part)
    left = [path for path in singles if _run_of(path) not in holder]
    return pl.concat([*frames, read_table(folder, left, RUNS, columns, problems)])


def _files_of(folder: Folder, table: str, run_ids: set[str], holder: Mapping[str, str]) -> dict[str, str]:
    """run_id to the path of the file that holds its rows of a table."""
    singles = {_run_of(path): path for path in folder.files(table)}
    parts = {run_id: f"{folder.root}/{part_file(table, part)}" for run_id, part in holder.items()}
    both = singles | parts
    return {run_id: both[run_id] for run_id in sorted(run_ids & both.keys())}


def _run_of(path: str) -> str:
    """Name of a run's file without its ending. `Path(path).stem` takes 20 times as long: 0.3 s for 20,000 files."""
    return path.rpartition("/")[2].removesuffix(".parquet")


def read_table(
    folder: Folder, paths: Iterable[str], schema: pa.Schema, columns: Sequence[str], problems: list[Problem]
) -> pl.DataFrame:
    """All rows of a table's files in one scan; unreadable files are appended to `problems` and skipped."""
    empty = pl.DataFrame(schema.empty_table().select(list(columns)))
    paths = list(dict.fromkeys(paths))
    if not paths:
        return empty
    try:
        return _clean(_scan(folder.sources(paths), columns))
    except READ_ERRORS:
        parts = [_read_one(folder, path, empty, problems) for path in paths]
    good = [part for part in parts if part is not None]
    return _clean(pl.concat(good)) if good else empty


def _scan(sources: Any, columns: Sequence[str]) -> pl.DataFrame:
    # in one piece: with one for each of thousands of files, all that follows would take longer
    return pl.scan_parquet(sources, glob=False, extra_columns="ignore").select(columns).collect().rechunk()


def _read_one(folder: Folder, path: str, empty: pl.DataFrame, problems: list[Problem]) -> pl.DataFrame | None:
    """One file, cast to the table's types; None (and a problem) where it cannot be read."""
    relative = path.removeprefix(folder.root + "/")
    try:
        source = folder.sources([path])
        present = pl.scan_parquet(source, glob=False).collect_schema()
        if "schema_version" in empty.columns:
            _refuse_other_version(_scan(folder.sources([path]), ["schema_version"])["schema_version"], relative)
        missing = [name for name in empty.columns if name not in present]
        needed = [name for name in missing if name in _NEEDED]
        if needed:
            problems.append(Problem(relative, f"lacks the column {needed[0]!r}"))
            return None
        found = _scan(folder.sources([path]), [name for name in empty.columns if name in present])
        absent = [pl.lit(None, empty.schema[name]).alias(name) for name in missing]
        return found.with_columns(absent).select(empty.columns).cast(empty.schema)
    except READ_ERRORS as error:
        problems.append(Problem(relative, f"{_UNREADABLE} ({one_line(error)})"))
        return None


def _refuse_other_version(versions: pl.Series, where: str) -> None:
    others = versions.filter(versions != SCHEMA_VERSION)
    if len(others):
        raise ResultsError(
            f"{where}: written under version {others[0]} of the result tables; this report reads version "
            f"{SCHEMA_VERSION}; use the release of the project that wrote it"
        )


def _clean(frame: pl.DataFrame) -> pl.DataFrame:
    """NaN means "could not be computed" and becomes null, so that no chart or table can show one."""
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


def _checked(runs: pl.DataFrame, problems: list[Problem]) -> pl.DataFrame:
    """Runs that can be counted: one row a run, this version, and an accuracy in [0, 1] where done."""
    other = runs.filter(pl.col("schema_version") != SCHEMA_VERSION)
    if other.height:
        _refuse_other_version(other["schema_version"], f"runs/{other['run_id'][0]}.parquet")
    accuracy = pl.col("test_accuracy")
    wrong = (pl.col("status") == "done") & (accuracy.is_null() | ~accuracy.is_between(0, 1))
    for run_id, value in runs.filter(wrong).select("run_id", "test_accuracy").iter_rows():
        shown = "no test accuracy" if value is None else f"test accuracy {value:g}, which is no fraction"
        problems.append(Problem(f"runs/{run_id}.parquet", f"marked done with {shown}"))
    twice = runs.filter(pl.col("run_id").is_duplicated())["run_id"].unique().sort()
    problems.extend(Problem(f"run {run_id}", "stands in the tables more than once; one row kept") for run_id in twice)
    return runs.filter(~wrong.fill_null(value=False)).unique("run_id", keep="last").sort("run_id")


def _study(folder: Folder) -> Mapping[str, Any]:
    if not folder.exists("study.json"):
        return {}
    where = f"{folder.location.rstrip('/')}/study.json"
    try:
        study = json.loads(folder.bytes_of(f"{folder.root}/study.json"))
    except (ValueError, OSError) as error:
        raise ResultsError(f"{where}: not valid JSON ({one_line(error)})") from error
    if not isinstance(study, dict):
        raise ResultsError(f"{where}: expected a JSON object, found {type(study).__name__}")
    analysis = study.get("analysis")
    if analysis is not None and not isinstance(analysis, dict):
        raise ResultsError(f"{where}: 'analysis' must be an object, found {analysis!r}")
    margin = (analysis or {}).get("margin", DEFAULT_MARGIN)
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin <= 100:
        raise ResultsError(f"{where}: 'analysis.margin' must be percentage points above 0, found {margin!r}")
    epochs = (analysis or {}).get("epochs")
    if epochs is not None and (isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1):
        raise ResultsError(f"{where}: 'analysis.epochs' must be a whole number from 1, or null, found {epochs!r}")
    return study


def _plan(folder: Folder, problems: list[Problem]) -> tuple[pl.DataFrame, bool]:
    """The plan, and whether there is one; an unreadable plan is a problem, and then every run found counts."""
    empty = pl.DataFrame(PLAN.empty_table())
    if not folder.exists("plan.parquet"):
        return empty, False
    plan = read_table(folder, [f"{folder.root}/plan.parquet"], PLAN, PLAN.names, problems)
    readable = not any(problem.path == "plan.parquet" for problem in problems)
    return plan.unique("run_id", keep="first", maintain_order=True), readable


def one_line(error: BaseException) -> str:
    """What an error says, on one line of at most 160 characters."""
    return " ".join(str(error).split())[:160]
