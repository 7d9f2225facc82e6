"""Columns of a Parquet table as text, whatever type a tool wrote them in. Next: `table_datasets.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hyena.errors import InputError, first_line
from hyena.system.text import opened, refuse_unreadable_kind

_TEXT = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)
_NUMBER = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_floating, pa.types.is_decimal)


def parquet_columns(
    path: Path, choose: Callable[[list[str]], list[str]], sequence: str, optional: Collection[str]
) -> tuple[int, list[bytes], dict[str, list[str]]]:
    """Sequences and other columns of a table.

    Args:
        choose: selects the columns to read from the names of all columns; raises InputError if one is missing.
        sequence: the column that is returned as bytes.
        optional: columns in which a missing value, or a type other than text, becomes an empty text.

    Returns:
        The number of rows, the sequences, and the other columns as text without surrounding white space.

    Raises InputError for a missing value, text that is not UTF-8, or another type; it names file, column and row.
    """
    refuse_unreadable_kind(path)
    try:
        with path.open("rb") as file:
            source: Any = file
            if file.read(4) != b"PAR1":
                # a Parquet file that was compressed as a whole, or not a table, for which `opened` raises
                with opened(path, binary=b"PAR1") as content:
                    source = pa.BufferReader(content.read())
            file.seek(0)
            table = pq.ParquetFile(source)
            names = choose(table.schema_arrow.names)
            columns = table.read(columns=names)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError(f"{path}: not a readable Parquet table ({first_line(error)})") from None
    sequences: list[bytes] = []
    cells = {}
    for name in names:
        place = f"{path}, column {name!r}"
        try:
            values = _values(columns.column(name), place, name in optional)
        except pa.ArrowException as error:  # a type that Arrow cannot convert
            raise InputError(
                f"{place}: type {columns.column(name).type} ({first_line(error)}); expected text"
            ) from None
        if name == sequence:
            sequences = [value.encode() if isinstance(value, str) else value.strip() for value in values]
        else:
            cells[name] = [
                value if isinstance(value, str) else _text(value, place, i) for i, value in enumerate(values)
            ]
    return columns.num_rows, sequences, cells


def _values(column: pa.ChunkedArray, place: str, optional: bool) -> list[Any]:
    """The values of a column: text as bytes, numbers as text."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_text, is_number = (any(is_kind(kind) for is_kind in kinds) for kinds in (_TEXT, _NUMBER))
    if not is_text and not is_number and not pa.types.is_null(kind):
        if optional:
            return [""] * len(column)
        raise InputError(f"{place}: type {column.type}; expected text (or numbers, for labels)")
    if is_text:
        values = column.cast(kind).cast(pa.large_binary()).to_pylist()
    elif pa.types.is_floating(kind):
        values = [None if value is None or math.isnan(value) else str(value) for value in column.to_pylist()]
    else:
        values = column.cast(pa.large_string()).to_pylist()
    if None in values:
        if not optional:
            raise InputError(f"{place}, row {values.index(None) + 1}: missing value")
        values = ["" if value is None else value for value in values]
    return values


def _text(value: bytes, place: str, i: int) -> str:
    try:
        return value.decode().strip()
    except UnicodeDecodeError as error:
        byte = value[error.start]
        raise InputError(
            f"{place}, row {i + 1}: not UTF-8 text (byte 0x{byte:02X}); convert the column to UTF-8"
        ) from None
