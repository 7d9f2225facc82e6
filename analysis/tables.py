"""The rows of Parquet files in a table's own types, whatever tool wrote them; what cannot be read is named.

Next: `analysis/results.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from analysis.folder import Folder, ResultsError, one_line
from sweep.schema import PLAN, SCHEMA_VERSION

#: Columns without which a row says nothing; a column that an older file lacks otherwise counts as unknown.
_NEEDED = {*PLAN.names, "schema_version", "status", "test_accuracy", "epoch", "step", "tokens", "train_bits_per_base"}
#: How the reason of a file that cannot be read begins.
UNREADABLE = "not a readable Parquet file"
#: What Polars, pyarrow and the store raise where a file cannot be read.
READ_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, OSError)


@dataclass(frozen=True)
class Problem:
    """A file or a row that was left out of every number, and why."""

    path: str
    reason: str


def read_table(
    folder: Folder, paths: Iterable[str], schema: pa.Schema, columns: Sequence[str], problems: list[Problem]
) -> pl.DataFrame:
    """All rows of a table's files in one scan; unreadable files are appended to `problems` and skipped."""
    empty = pl.DataFrame(schema.empty_table().select(list(columns)))
    paths = list(dict.fromkeys(paths))
    if not paths:
        return empty
    with suppress(*READ_ERRORS):
        found = _scan(folder.sources(paths), columns)
        if found.schema == empty.schema:
            return _clean(found)
    # A file is damaged, or another tool wrote it: each by itself, in the table's own types.
    parts = [_read_one(folder, path, empty, problems) for path in paths]
    good = [part for part in parts if part is not None]
    return _clean(pl.concat(good)) if good else empty


def _scan(sources: Any, columns: Sequence[str]) -> pl.DataFrame:
    # in one piece: with one for each of thousands of files, all that follows would take longer
    return pl.scan_parquet(sources, glob=False, extra_columns="ignore").select(columns).collect().rechunk()


def _read_one(folder: Folder, path: str, empty: pl.DataFrame, problems: list[Problem]) -> pl.DataFrame | None:
    """One file, cast to the table's types; None (and a problem) where it cannot be read."""
    relative = folder.relative(path)
    try:
        source = folder.sources([path])
        present = pl.scan_parquet(source, glob=False).collect_schema()
        if "schema_version" in empty.columns:
            refuse_other_version(_scan(folder.sources([path]), ["schema_version"])["schema_version"], relative)
        missing = [name for name in empty.columns if name not in present]
        needed = [name for name in missing if name in _NEEDED]
        if needed:
            problems.append(Problem(relative, f"lacks the column {needed[0]!r}"))
            return None
        found = _scan(folder.sources([path]), [name for name in empty.columns if name in present])
        return _as_table(found, empty, relative, problems)
    except READ_ERRORS as error:
        problems.append(Problem(relative, f"{UNREADABLE} ({one_line(error)})"))
        return None


def _as_table(found: pl.DataFrame, empty: pl.DataFrame, where: str, problems: list[Problem]) -> pl.DataFrame | None:
    """A file's columns in the table's order and types, whatever tool wrote it; what it lacks is unknown.

    None (and a problem) where a column that is needed holds something else; any other such column counts as unknown,
    and is a problem, too.
    """
    columns = []
    for name, kind in empty.schema.items():
        column = found[name] if name in found.columns else pl.Series(name, [None] * found.height, kind)
        try:
            columns.append(_exactly(_pairs_as_map(column), kind))
        except READ_ERRORS:
            what = f"its column {name!r} holds values of the type {column.dtype} that are no {kind}"
            if name in _NEEDED:
                problems.append(Problem(where, what))
                return None
            problems.append(Problem(where, f"{what}; it counts as unknown"))
            columns.append(pl.Series(name, [None] * found.height, kind))
    return pl.DataFrame(columns)


def _exactly(column: pl.Series, kind: pl.DataType) -> pl.Series:
    """A column in another type. Raises a PolarsError where a value has no place in it; fractions are no integers."""
    if column.dtype.is_float() and kind.is_integer() and not column.drop_nulls().eq(column.drop_nulls().round()).all():
        raise pl.exceptions.InvalidOperationError("fractions")
    return column.cast(kind)


def _pairs_as_map(column: pl.Series) -> pl.Series:
    """Key and value of each pair by name, where pandas wrote a map as lists of two; other columns as they are."""
    if column.dtype != pl.List(pl.List(pl.String)):
        return column
    key, value = (pl.element().list.get(place, null_on_oob=True) for place in (0, 1))
    return column.list.eval(pl.struct(key.alias("key"), value.alias("value")))


def refuse_other_version(versions: pl.Series, where: str) -> None:
    others = versions.filter(versions != SCHEMA_VERSION)
    if len(others):
        raise ResultsError(
            f"{where}: written under version {others[0]} of the result tables; this report reads version "
            f"{SCHEMA_VERSION}; use the release of the project that wrote it"
        )


def _clean(frame: pl.DataFrame) -> pl.DataFrame:
    """NaN means "could not be computed" and becomes null, so that no chart or table can show one."""
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))
