"""Parquet files of a results folder as tables in their schema's types, whatever tool wrote them.

A file that cannot be read, or lacks what it needs, is left out and named as a Problem. Next: `sweep/ended_runs.py`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from hyena.errors import whole_message
from sweep.results_folder import ResultsError, ResultsFolder
from sweep.schema import PLAN, SCHEMA_VERSION

#: Columns of the plan that are never null.
NEEDED_OF_PLAN = [field.name for field in PLAN if not field.nullable]
#: Columns without which a row says nothing; any other column that an older file lacks counts as unknown.
NEEDED = {
    *NEEDED_OF_PLAN,
    "schema_version",
    "status",
    "test_accuracy",
    "epoch",
    "step",
    "tokens",
    "train_bits_per_base",
}
#: How the reason of a file that cannot be read begins.
UNREADABLE = "not a readable Parquet file"
#: What Polars, pyarrow and the store raise where a file cannot be read.
READ_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, OSError)
#: Files of an object store held in memory at once.
_AT_ONCE = 500
#: Into how many groups files are divided to find the damaged ones among them.
_GROUPS = 16


@dataclass(frozen=True)
class Problem:
    """A file or a row that was left out of every number, and why."""

    path: str
    reason: str


def read_table(
    folder: ResultsFolder, names: Iterable[str], schema: pa.Schema, columns: Sequence[str], problems: list[Problem]
) -> pl.DataFrame:
    """All rows of some of a table's files, in the schema's types, NaN as null.

    Files that cannot be read are appended to `problems` and left out. Raises FileGoneError where a file no longer
    exists, StoreError or PermissionError where the store does not give it, and ResultsError where it was written under
    another version of the tables.
    """
    empty = pl.DataFrame(schema.empty_table().select(list(columns)))
    names = list(dict.fromkeys(names))
    at_once = max(1, len(names)) if folder.local else _AT_ONCE
    frames: list[pl.DataFrame] = []
    for first in range(0, len(names), at_once):
        some = names[first : first + at_once]
        sources: Sequence[str | bytes] = (
            [folder.path(name) for name in some] if folder.local else folder.each(folder.read_listed, some)
        )
        frames += _frames(folder, list(zip(some, sources, strict=True)), empty, problems)
    # in one piece: with one for each of thousands of files, all that follows would take longer
    whole = pl.concat(frames).rechunk() if frames else empty
    return whole.with_columns(pl.col(pl.Float64).fill_nan(None))


def _frames(
    folder: ResultsFolder, sources: Sequence[tuple[str, str | bytes]], empty: pl.DataFrame, problems: list[Problem]
) -> list[pl.DataFrame]:
    """The rows in one scan; where that fails, in smaller and smaller groups, down to single files."""
    for scan in (_scan, _scan_older):
        with suppress(*READ_ERRORS):
            found = scan([source for _, source in sources], empty)
            if found.schema == empty.schema:
                return [found]
    if len(sources) == 1:
        name, source = sources[0]
        # Read by the folder first: a disk that fails for a while does not make its files damaged.
        data = source if isinstance(source, bytes) else folder.read_listed(name)
        return _read_one(name, data, empty, problems)
    size = -(-len(sources) // _GROUPS)
    groups = [sources[first : first + size] for first in range(0, len(sources), size)]
    return [frame for group in groups for frame in _frames(folder, group, empty, problems)]


def _scan(sources: Sequence[str | bytes], empty: pl.DataFrame) -> pl.DataFrame:
    """The columns of `empty`, of files that have all of them."""
    return (
        pl.scan_parquet(_readable(sources), glob=False, extra_columns="ignore")
        .select(empty.columns)
        .collect()
        .rechunk()
    )


def _scan_older(sources: Sequence[str | bytes], empty: pl.DataFrame) -> pl.DataFrame:
    """The same of files of an earlier release, which all lack the same columns; those are null."""
    files = pl.scan_parquet(_readable(sources), glob=False, extra_columns="raise")
    lacking = [name for name in empty.columns if name not in files.collect_schema() and name not in NEEDED]
    found = files.select(name for name in empty.columns if name not in lacking).collect()
    return found.with_columns(pl.lit(None, empty.schema[name]).alias(name) for name in lacking).select(empty.columns)


def _readable(sources: Sequence[str | bytes]) -> list[Any]:
    return [io.BytesIO(source) if isinstance(source, bytes) else source for source in sources]


def read_file(
    name: str, data: bytes, schema: pa.Schema, columns: Sequence[str], problems: list[Problem]
) -> pl.DataFrame:
    """The rows of one file of a table from its bytes, as `read_table` gives them; none where it cannot be read."""
    empty = pl.DataFrame(schema.empty_table().select(list(columns)))
    return pl.concat([empty, *_read_one(name, data, empty, problems)])


def _read_one(name: str, data: bytes, empty: pl.DataFrame, problems: list[Problem]) -> list[pl.DataFrame]:
    """The rows of one file, cast to the table's types; nothing (and a problem) where it cannot be read."""
    try:
        present = pl.scan_parquet(io.BytesIO(data), glob=False).collect_schema()
        if "schema_version" in empty.columns and "schema_version" in present:
            refuse_other_version(_scan([data], empty.select("schema_version"))["schema_version"], name)
        missing = next((column for column in empty.columns if column not in present and column in NEEDED), None)
        if missing is not None:
            problems.append(Problem(name, f"lacks the column {missing!r}"))
            return []
        found = _scan([data], empty.select(column for column in empty.columns if column in present))
    except READ_ERRORS as error:
        problems.append(Problem(name, f"{UNREADABLE} ({whole_message(error)[:160]})"))
        return []
    table = _as_table(found, empty, name, problems)
    return [] if table is None else [table]


def _as_table(found: pl.DataFrame, empty: pl.DataFrame, where: str, problems: list[Problem]) -> pl.DataFrame | None:
    """A file's columns in the table's order and types; a column that it lacks is unknown.

    None (and a problem) where a needed column holds values of another kind; any other such column counts as unknown,
    and is a problem, too.
    """
    columns = []
    for name, kind in empty.schema.items():
        column = found[name] if name in found.columns else pl.Series(name, [None] * found.height, kind)
        try:
            columns.append(_exactly(_pairs_as_map(column), kind))
        except READ_ERRORS:
            what = f"its column {name!r} holds values of the type {column.dtype}, which cannot be read as {kind}"
            if name in NEEDED:
                problems.append(Problem(where, what))
                return None
            problems.append(Problem(where, f"{what}; it counts as unknown"))
            columns.append(pl.Series(name, [None] * found.height, kind))
    return pl.DataFrame(columns)


def _exactly(column: pl.Series, kind: pl.DataType) -> pl.Series:
    """A column in another type. Raises a PolarsError where a value cannot be represented, as a fraction in integers."""
    if column.dtype.is_float() and kind.is_integer() and not column.drop_nulls().eq(column.drop_nulls().round()).all():
        raise pl.exceptions.InvalidOperationError("fractions")
    return column.cast(kind)


def _pairs_as_map(column: pl.Series) -> pl.Series:
    """Key and value of each pair by name, where pandas wrote a map as lists of two; other columns unchanged."""
    if column.dtype != pl.List(pl.List(pl.String)):
        return column
    key, value = (pl.element().list.get(place, null_on_oob=True) for place in (0, 1))
    return column.list.eval(pl.struct(key.alias("key"), value.alias("value")))


def refuse_other_version(versions: pl.Series, where: str) -> None:
    """Raise ResultsError where a row was written under another version of the tables."""
    others = versions.filter(versions != SCHEMA_VERSION)
    if len(others):
        raise ResultsError(
            f"{where}: written under version {others[0]} of the result tables; this release reads version "
            f"{SCHEMA_VERSION}; use the release of the project that wrote it"
        )
