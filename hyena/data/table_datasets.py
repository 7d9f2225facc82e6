"""Labelled sequences from CSV, TSV and Parquet tables. Next: `labelled_rows.py`, then `datasets.py`.

A split is a file, the shards of one, or a folder of its parts, in a folder with the other splits (`split_files.py`). Or
one file holds all splits, and a column says which row belongs to which. Text files may be compressed
(`system/text.py`).

Every error names the file and the line on which the record begins (Parquet: the row, counted from 1).
"""

import csv
import io
import re
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

from hyena.data.examples import Examples, in_order, natural_key
from hyena.data.labelled_rows import Columns, Rows, chosen_columns, collect, shown_names
from hyena.data.parquet_columns import parquet_columns
from hyena.data.split_files import Format, Name, find_splits, holds_splits, in_shard_order, sorted_entries
from hyena.errors import InputError
from hyena.system.text import line_at, read_text


def read_tables(path: Path, format: Format, columns: Columns) -> dict[str, Examples]:
    """Splits of one table that holds all of them, or of a folder with the tables of each split.

    Args:
        format: "csv", "tsv" or "parquet".
    """
    if path.is_file() or _is_folder_of_parts(path, format):
        return collect([_table(file, format, columns, "") for file in _parts(path, format)], columns, "", path)
    found: dict[str, Examples] = {}
    for split, files in in_order(find_splits(path, format)):
        parts = [part for file in files for part in _parts(file, format)]
        rows = [_table(part, format, columns, split) for part in parts]
        found |= collect(rows, columns, split, files[0])
    return found


def _is_folder_of_parts(path: Path, format: Format) -> bool:
    """Whether a folder is one table, such as `all.parquet/`, rather than a folder of splits."""
    return path.is_dir() and Name.of(path.name).format == format and not holds_splits(path)


def _parts(path: Path, format: Format) -> list[Path]:
    """A file, or the files of a folder of parts (as Spark and Dask write it) in the natural order of their names."""
    if not path.is_dir():
        return [path]
    parts = []
    for entry in sorted_entries(path):
        if Name.of(entry.name).format == format and not entry.is_dir():
            parts.append(Path(entry.path))
        elif not Name.of(entry.name).is_beside:
            raise InputError(
                f"{entry.path}: unexpected in a folder of {format} files; expected parts that end in .{format}"
            )
    if not parts:
        raise InputError(f"{path}: no parts in this folder; expected files that end in .{format}")
    return in_shard_order(parts, "") or sorted(parts, key=lambda part: natural_key(part.name))


def _table(path: Path, format: Format, columns: Columns, split: str) -> Rows:
    if format == "parquet":
        count, sequences, cells = parquet_columns(
            path,
            lambda header: chosen_columns(header, columns, split, str(path)),
            columns.sequence,
            optional=columns.optional(split),
        )
        return Rows(path, "row", range(1, count + 1), sequences, cells)
    return _delimited(path, "\t" if format == "tsv" else ",", columns, split)


def _delimited(path: Path, delimiter: str, columns: Columns, split: str) -> Rows:
    text = read_text(path)
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))  # the default refuses more than 131,072 letters
    stream = io.StringIO(text, newline="")
    reader = csv.reader(stream, delimiter=delimiter, strict=True, skipinitialspace=delimiter == ",")
    begins = 1  # the line on which the current record begins
    kept, numbers = [], []
    try:
        header, begins = _header(text, reader, delimiter, path)
        names = chosen_columns(header, columns, split, f"{path}, line {begins}")
        take = itemgetter(*(header.index(name) for name in names))
        begins = reader.line_num + 1
        for cells in reader:
            if len(cells) == len(header):
                kept.append(take(cells))
                numbers.append(begins)
            elif cells and not (len(cells) == 1 and not cells[0].strip()):  # not a blank line
                count = f"{len(cells)} column{'s' * (len(cells) > 1)}"
                raise InputError(f"{path}, line {begins}: found {count}, expected {len(header)} as in the header")
            begins = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {begins}: not a table row ({error})") from None
    sequences = [cells[0].strip().encode() for cells in kept]
    return Rows(
        path,
        "line",
        numbers,
        sequences,
        {name: [cells[i].strip() for cells in kept] for i, name in enumerate(names) if i},
    )


def _header(text: str, reader: Iterator[list[str]], delimiter: str, path: Path) -> tuple[list[str], int]:
    """The names of the columns, and the line of the header: the first line that is not blank."""
    found = re.search(r"\S[^\r\n]*", text)
    first = found[0].strip() if found else ""
    begins = line_at((before := text[: found.start()].encode()), len(before)) if found else 1
    fault = _other_delimiter(first, delimiter)
    if re.fullmatch(r'"?sep=.?"?', first, re.IGNORECASE):
        fault = f"{first!r} is a separator line of Excel; remove it, so that the header comes first"
    if fault:
        raise InputError(f"{path}, line {begins}: {fault}")
    header: list[str] = next((cells for cells in reader if any(cell.strip() for cell in cells)), [])
    return [name.strip() for name in header], begins


def _other_delimiter(header: str, delimiter: str) -> str | None:
    """What to do about a header whose columns are separated by something else; None if they are not."""
    for other, what, advice in (
        ("\t", "tabs", 'rename the file to .tsv and set format = "tsv"'),
        (",", "commas", 'rename the file to .csv and set format = "csv"'),
        (";", "semicolons", "write the table with commas or tabs"),
        ("|", "vertical bars", "write the table with commas or tabs"),
    ):
        if other in header and delimiter not in header:
            names = [name.strip().strip('"') for name in header.split(other)]
            return f"the columns {shown_names(names)} are separated by {what}; {advice}"
    return None
