"""Labelled sequences from CSV, TSV and Parquet tables and from FASTA files. Next: `datasets.py`.

A file holds one split and stands in a folder with the others: train, test and, where there is one, dev (or valid,
validation). Or one file holds all of them, and a column says which row belongs to which. Text files may be gzipped.

In FASTA files the words `label=CLASS` (and `split=SPLIT`) of a header take the place of columns, the first word is
the id, and a sequence may run over several lines. Or a folder per split holds a file per class, `train/CLASS.fa`.

Every fault is told by file and line (Parquet: by row, counted from 1).
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hyena.errors import InputError
from hyena.readers import SPLIT_OF_STEM, Examples, in_order, read_text, require_train_and_test, split_files

FASTA_SUFFIXES = ("fa", "fasta", "fna")


@dataclass(frozen=True)
class Columns:
    """Names in the header of a table, or the KEY of KEY=VALUE words in FASTA headers.

    Attributes:
        sequence, label: must be there (FASTA has no name for its sequences).
        split: must be there in a file that holds all splits: train, validation (or valid, dev) or test.
        id: where a table has it, no two rows of a split may share a value.
    """

    sequence: str = "sequence"
    label: str = "label"
    split: str = "split"
    id: str = "id"


@dataclass(frozen=True)
class _Row:
    number: int  # line of the file, or row of the Parquet table
    sequence: str
    label: str
    split: str
    id: str  # "" where the file has none


def read_tables(path: Path, suffix: str, columns: Columns) -> dict[str, Examples]:
    """Splits of one table that holds all, or of a folder with one table a split.

    Args:
        suffix: "csv", "tsv" or "parquet": what the files are, and how their names end.
    """
    if path.is_file():
        return _read_table(path, suffix, columns, "")
    files = split_files(path, (suffix,))
    require_train_and_test(files, path, "files", f".{suffix}")
    found: dict[str, Examples] = {}
    for split, file in in_order(files):
        found |= _read_table(file, suffix, columns, split)
    return found


def _read_table(path: Path, suffix: str, columns: Columns, split: str) -> dict[str, Examples]:
    if suffix == "parquet":
        return _collect(_parquet_rows(path, columns, split), path, "row")
    return _collect(_delimited_rows(path, "\t" if suffix == "tsv" else ",", columns, split), path, "line")


def read_fasta(path: Path, columns: Columns) -> dict[str, Examples]:
    """Splits of one FASTA file, of a folder with one file a split, or of a folder with one file a class a split."""
    if path.is_file():
        return _collect(_fasta_rows(path, columns, "", ""), path, "line")
    files = split_files(path, FASTA_SUFFIXES)
    folders = {SPLIT_OF_STEM[p.name]: p for p in sorted(path.iterdir()) if p.is_dir() and p.name in SPLIT_OF_STEM}
    require_train_and_test({**files, **folders}, path, "FASTA files (or folders)")
    found: dict[str, Examples] = {}
    for split, file in in_order(files):
        found |= _collect(_fasta_rows(file, columns, split, ""), file, "line")
    for split, folder in in_order(folders):
        if split in files:
            raise InputError(f"{folder}: both a file and a folder for the {split} split; keep one")
        found[split] = _read_fasta_folder(folder, columns, split)
    return found


def _read_fasta_folder(folder: Path, columns: Columns, split: str) -> Examples:
    """One split from `CLASS.fa` files, classes in the order of their names."""
    places: list[tuple[Path, int]] = []
    merged = Examples(lambda i: f"{places[i][0]}, line {places[i][1]}")
    for file in sorted(folder.iterdir(), key=lambda file: file.name.split(".")[0]):
        if file.name.startswith("."):
            continue
        label, _, suffix = file.name.removesuffix(".gz").rpartition(".")
        if suffix not in FASTA_SUFFIXES:
            raise InputError(f"{file}: unexpected file; expected CLASS.fa (or .fasta, .fna; or gzipped)")
        rows = list(_fasta_rows(file, columns, split, label))
        places += [(file, row.number) for row in rows]
        for part in _collect(iter(rows), file, "line").values():
            merged.sequences += part.sequences
            merged.labels += part.labels
    return merged


def _collect(rows: Iterator[_Row], path: Path, unit: str) -> dict[str, Examples]:
    """Rows by split, in their order."""
    numbers: dict[str, list[int]] = {}
    seen: dict[tuple[str, str], int] = {}
    found: dict[str, Examples] = {}
    for row in rows:
        split = SPLIT_OF_STEM.get(row.split)
        if split is None:
            known = ", ".join(SPLIT_OF_STEM)
            raise InputError(f"{path}, {unit} {row.number}: split {row.split!r} is unknown; expected one of {known}")
        if not row.label:
            raise InputError(f"{path}, {unit} {row.number}: the label is empty")
        if row.id and (first := seen.setdefault((split, row.id), row.number)) != row.number:
            raise InputError(f"{path}, {unit} {row.number}: id {row.id!r} is there twice (also {unit} {first})")
        if split not in found:
            numbers[split] = []
            found[split] = Examples(lambda i, split=split: f"{path}, {unit} {numbers[split][i]}")  # type: ignore[misc]
        numbers[split].append(row.number)
        found[split].sequences.append(row.sequence.encode())
        found[split].labels.append(row.label)
    if not found:
        raise InputError(f"{path}: no sequences in it; at least one of each class is needed")
    return found


def _names(header: list[str], columns: Columns, split: str, place: str) -> dict[str, str]:
    """The columns to read, by the part they play; `split` (when it is known) and `id` need not be there."""
    names = {"sequence": columns.sequence, "label": columns.label}
    if not split:
        names["split"] = columns.split
    if columns.id in header:
        names["id"] = columns.id
    for name in names.values():
        if name not in header:
            raise InputError(f"{place}: no column {name!r}; the columns are {_shown(header)}")
        if header.count(name) > 1:
            raise InputError(f"{place}: column {name!r} is there twice")
    return names


def _shown(header: list[str]) -> str:
    """Column names for an error; what is no header (a sequence, binary data) must not fill the screen."""
    names = [name if name.isprintable() and len(name) <= 40 else ascii(name)[1:37] + "…" for name in header[:8]]
    return (", ".join(names) or "none") + (", …" if len(header) > 8 else "")


def _delimited_rows(path: Path, delimiter: str, columns: Columns, split: str) -> Iterator[_Row]:
    text = read_text(path)
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))  # the default refuses more than 131,072 letters
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        names = _names(header, columns, split, f"{path}, line 1")
        at = {part: header.index(name) for part, name in names.items()}
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                count = f"{len(cells)} column{'s' * (len(cells) > 1)}"
                raise InputError(f"{path}, line {reader.line_num}: {count} where the header has {len(header)}")
            parts = {"split": split, "id": ""} | {part: cells[i].strip() for part, i in at.items()}
            yield _Row(reader.line_num, **parts)
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not a table row ({error})") from None


def _parquet_rows(path: Path, columns: Columns, split: str) -> Iterator[_Row]:
    try:
        file = pq.ParquetFile(path)
        names = _names(file.schema_arrow.names, columns, split, str(path))
        table = file.read(columns=list(names.values()))
        cells = {part: _texts(table.column(name), f"{path}, column {name!r}") for part, name in names.items()}
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a Parquet table that can be read ({str(error).splitlines()[0]})") from None
    for i in range(table.num_rows):
        parts = {"split": split, "id": ""} | {part: texts[i].strip() for part, texts in cells.items()}
        yield _Row(i + 1, **parts)


def _texts(column: pa.ChunkedArray, place: str) -> list[str]:
    """Values as text: of strings, integers and booleans, and of dictionaries of them."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    readable = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_boolean)
    if not any(is_kind(kind) for is_kind in readable):
        raise InputError(f"{place}: type {column.type}; expected text (or integers, for labels)")
    if column.null_count:
        row = column.is_null().to_pylist().index(True) + 1
        raise InputError(f"{place}, row {row}: the value is missing")
    return column.cast(pa.large_string()).to_pylist()


def _fasta_rows(path: Path, columns: Columns, split: str, label: str) -> Iterator[_Row]:
    """Records of a FASTA file; `split` and `label` are read from the headers where they are not given."""
    number, header = 0, ""
    lines: list[str] = []
    for at, line in enumerate(read_text(path).split("\n"), start=1):
        if line.startswith(">"):
            if number:
                yield _fasta_row(path, number, header, lines, columns, split, label)
            number, header, lines = at, line[1:], []
        elif line.strip():
            if not number:
                raise InputError(f"{path}, line {at}: not a FASTA file; expected a header line that starts with '>'")
            lines.append(line.strip())
    if number:
        yield _fasta_row(path, number, header, lines, columns, split, label)


def _fasta_row(
    path: Path, number: int, header: str, lines: list[str], columns: Columns, split: str, label: str
) -> _Row:
    words = header.split()
    values = dict(word.split("=", 1) for word in words[1:] if "=" in word)
    for key, given in ((columns.label, label), (columns.split, split)):
        if not given and key not in values:
            raise InputError(f"{path}, line {number}: no '{key}=…' in the header; expected '>ID {key}=VALUE'")
    if not words:
        raise InputError(f"{path}, line {number}: the header has no id; expected '>ID …'")
    return _Row(number, "".join(lines), label or values[columns.label], split or values[columns.split], words[0])
