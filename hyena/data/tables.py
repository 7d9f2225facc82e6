"""Labelled sequences from CSV, TSV and Parquet tables and from FASTA files. Next: `labels.py`, then `datasets.py`.

A split is a file, shards of one, or a folder of its parts, in a folder with the other splits (`splits.py`). Or one file
holds all of them, and a column says which row belongs to which. Text files may be compressed (`system/text.py`).

In FASTA files the words `label=CLASS` (and `split=SPLIT`) of a header take the place of columns, the first word is
the id, and a sequence may run over several lines. Or a folder per split holds a file per class, `train/CLASS.fa`.

Every fault is told by file and by the line where its record begins (Parquet: by row, counted from 1).
"""

import csv
import io
import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain, compress
from operator import itemgetter
from pathlib import Path
from typing import Any

from hyena.data.fasta import fasta_records
from hyena.data.folders import Examples, in_order, natural_key
from hyena.data.labels import MISSING
from hyena.data.parquet_columns import parquet_columns
from hyena.data.sequences import SPLIT_NAMES
from hyena.data.splits import (
    SPLIT_OF_WORD,
    Name,
    find_splits,
    holds_splits,
    in_shard_order,
    sorted_entries,
    split_of_word,
)
from hyena.errors import InputError
from hyena.system.text import line_at, read_text

#: Texts for a missing value that happen to be letters of DNA.
_MISSING_SEQUENCES = frozenset((b"NA", b"na", b"NaN", b"nan"))
#: A column that tells the tasks of a table apart, as in the Nucleotide Transformer's downstream tasks.
TASK = "task"


@dataclass(frozen=True)
class Columns:
    """Names in the header of a table, or the KEY of KEY=VALUE words in FASTA headers, and which rows are read.

    Attributes:
        sequence, label: must be there (FASTA has no name for its sequences).
        split: must be there in a file that holds all splits: train, validation (or a word for it) or test.
        id: where a table has it, no two rows of a split may share a value.
        where: (column, value) pairs; rows with another value are left out.
        na_is_a_class: whether labels such as NA and None are classes; else they are missing, which is an error.
    """

    sequence: str = "sequence"
    label: str = "label"
    split: str = "split"
    id: str = "id"
    where: tuple[tuple[str, str], ...] = ()
    na_is_a_class: bool = False

    def required(self, split: str) -> list[str]:
        """The columns that a file must have; `split` is the file's own, where it has one."""
        names = [self.sequence, self.label, *([] if split else [self.split]), *(name for name, _ in self.where)]
        return list(dict.fromkeys(names))

    def optional(self, split: str) -> list[str]:
        """The columns that are read where they are there."""
        return [name for name in dict.fromkeys((self.split, self.id, TASK)) if name not in self.required(split)]


@dataclass
class Rows:
    """What was read of one file.

    Attributes:
        unit: what `numbers` count, "line" or "row".
        numbers: where each record begins.
        cells: the other columns, as text without white space around it.
    """

    path: Path
    unit: str
    numbers: Sequence[int]
    sequences: list[bytes]
    cells: dict[str, list[str]]

    def place(self, i: int) -> str:
        return f"{self.path}, {self.unit} {self.numbers[i]}"

    def where(self, column: str, values: Collection[str]) -> "Rows":
        """The rows whose cell in a column is one of some values."""
        keep = [cell in values for cell in self.cells[column]]
        if all(keep):
            return self
        cells = {name: list(compress(of_column, keep)) for name, of_column in self.cells.items()}
        return Rows(
            self.path, self.unit, list(compress(self.numbers, keep)), list(compress(self.sequences, keep)), cells
        )


def read_tables(path: Path, format: str, columns: Columns) -> dict[str, Examples]:
    """Splits of one table that holds all, or of a folder that holds those of each split.

    Args:
        format: "csv", "tsv" or "parquet".
    """
    if path.is_file() or _is_folder_of_parts(path, format):
        return _collect([_table(file, format, columns, "") for file in _parts(path, format)], columns, "", path)
    found: dict[str, Examples] = {}
    for split, files in in_order(find_splits(path, format)):
        parts = [part for file in files for part in _parts(file, format)]
        rows = [_table(part, format, columns, split) for part in parts]
        found |= _collect(rows, columns, split, files[0])
    return found


def _is_folder_of_parts(path: Path, format: str) -> bool:
    """Whether a folder is one table, as `all.parquet/`, and not one of splits."""
    return path.is_dir() and Name.of(path.name).format == format and not holds_splits(path)


def _parts(path: Path, format: str) -> list[Path]:
    """A file, or those of a folder of parts as Spark and Dask write it, in the natural order of their names."""
    if not path.is_dir():
        return [path]
    parts = []
    for entry in sorted_entries(path):
        if Name.of(entry.name).format == format and not entry.is_dir():
            parts.append(Path(entry.path))
        elif not Name.of(entry.name).is_beside:
            raise InputError(f"{entry.path}: unexpected in a folder of {format} files, whose parts end in .{format}")
    if not parts:
        raise InputError(f"{path}: no part in this folder; expected files that end in .{format}")
    return in_shard_order(parts, "") or sorted(parts, key=lambda part: natural_key(part.name))


def _table(path: Path, format: str, columns: Columns, split: str) -> Rows:
    if format == "parquet":
        count, sequences, cells = parquet_columns(
            path,
            lambda header: _chosen(header, columns, split, str(path)),
            columns.sequence,
            optional=columns.optional(split),
        )
        return Rows(path, "row", range(1, count + 1), sequences, cells)
    return _delimited(path, "\t" if format == "tsv" else ",", columns, split)


def read_fasta(path: Path, columns: Columns) -> dict[str, Examples]:
    """Splits of one FASTA file, of a folder with one file a split, or of a folder with one file a class a split."""
    if path.is_file():
        return _collect([_fasta(path, columns, "")], columns, "", path)
    found: dict[str, Examples] = {}
    for split, files in in_order(find_splits(path, "fasta")):
        if files[0].is_dir():
            rows = [_class_file(label, file, columns, split) for label, file in _class_files(files[0], split)]
            found |= _collect(rows, replace(columns, na_is_a_class=True), split, files[0])  # a file's name is meant
        else:
            found |= _collect([_fasta(file, columns, split) for file in files], columns, split, files[0])
    return found


def _class_files(folder: Path, split: str) -> list[tuple[str, Path]]:
    """The `CLASS.fa` files of a split, in the order of the classes' names."""
    found: dict[str, Path] = {}
    for entry in sorted_entries(folder):
        name = Name.of(entry.name)
        if name.is_beside and not entry.is_dir():
            continue
        if name.format != "fasta" or entry.is_dir():
            raise InputError(f"{entry.path}: unexpected file; expected CLASS.fa (or .fasta, .fna; or compressed)")
        label = entry.name[: len(name.stem)]
        if label in found:
            raise InputError(f"{entry.path}: a second file for class {label!r} of {split}, beside {found[label].name}")
        found[label] = Path(entry.path)
    if not found:
        raise InputError(f"{folder}: no file in this folder; expected CLASS.fa (or .fasta, .fna; or compressed)")
    return sorted(found.items(), key=lambda item: (item[1].name.split(".")[0], item[0]))


def _class_file(label: str, path: Path, columns: Columns, split: str) -> Rows:
    """The records of a file of one class, whose ids need not differ from those of another class."""
    rows = _fasta(path, columns, split, label)
    _refuse_empty([rows], path)
    _refuse_second_ids(rows.cells.pop(columns.id), rows.place)
    return rows


def _collect(files: list[Rows], columns: Columns, split: str, source: Path) -> dict[str, Examples]:
    """The examples of each split, in the order of the files and of their rows."""
    _refuse_empty(files, source)
    for rows in files:
        _check_splits(rows, columns, split)
    for name, value in columns.where:
        files = _kept(files, name, value, source)
    if split:
        return {split: _examples(files, columns, str(source))}
    found = {}
    for name in SPLIT_NAMES:
        words = {word for rows in files for word in rows.cells[columns.split] if split_of_word(word) == name}
        if words:
            found[name] = _examples([rows.where(columns.split, words) for rows in files], columns, str(source))
    return found


def _refuse_empty(files: list[Rows], source: Path) -> None:
    if not any(rows.numbers for rows in files):
        raise InputError(f"{source}: no sequences in it; at least one of each class is needed")


def _check_splits(rows: Rows, columns: Columns, split: str) -> None:
    """Raise InputError for a row whose split is unknown, or another than the file's."""
    stated = rows.cells.get(columns.split, [])
    for word in dict.fromkeys(stated):
        of_word = split_of_word(word)
        if not split and of_word is None:
            place, known = rows.place(stated.index(word)), ", ".join(SPLIT_OF_WORD)
            raise InputError(f"{place}: split {word!r} is unknown; expected one of {known}")
        if split and of_word not in (None, split):
            raise InputError(
                f"{rows.place(stated.index(word))}: {columns.split} is {word!r} in the file of the {split} split; "
                "where the column means another thing, name another split_column"
            )


def _kept(files: list[Rows], column: str, value: str, source: Path) -> list[Rows]:
    """The rows with a value. Raises InputError where none has it."""
    kept = [rows.where(column, {value}) for rows in files]
    if not any(rows.numbers for rows in kept):
        there = sorted(set(chain.from_iterable(rows.cells[column] for rows in files)))
        raise InputError(f"{source}: where: no row has {column} = {value!r}; there are {_shown(there)}")
    return kept


def _examples(files: list[Rows], columns: Columns, source: str) -> Examples:
    """The rows of one split, checked."""
    starts = list(accumulate((len(rows.numbers) for rows in files), initial=0))

    def place(i: int) -> str:
        at = bisect_right(starts, i) - 1
        return files[at].place(i - starts[at])

    def column(name: str) -> list[str]:
        """Empty texts for a file that lacks it."""
        return list(chain.from_iterable(rows.cells.get(name) or [""] * len(rows.numbers) for rows in files))

    labels = column(columns.label)
    for label in set(labels):
        if not label or (label in MISSING and not columns.na_is_a_class):
            fault = f"label {label!r} means that it is missing (a class of that name needs na_is_a_class = true)"
            raise InputError(f"{place(labels.index(label))}: {fault if label else 'the label is empty'}")
    _refuse_second_ids(column(columns.id), place)
    examples = Examples(place, source, list(chain.from_iterable(rows.sequences for rows in files)), labels)
    for i, sequence in enumerate(examples.sequences):
        if len(sequence) < 4 and sequence in _MISSING_SEQUENCES:
            raise InputError(f"{place(i)}: sequence {sequence.decode()!r} means that it is missing; leave the row out")
    if TASK in columns.optional("train"):
        tasks = sorted(set(column(TASK)))
        if len(tasks) > 1:
            examples.notes.append(
                f"{len(tasks)} tasks are read as one ({_shown(tasks)}); where = {{ {TASK} = … }} keeps one"
            )
    return examples


def _refuse_second_ids(ids: list[str], place: Callable[[int], str]) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: dict[str, int] = {}
    for i, id in enumerate(ids):
        if id and (first := seen.setdefault(id, i)) != i:
            file, _, also = place(first).rpartition(", ")
            also = also if place(i).startswith(f"{file}, ") else place(first)
            raise InputError(f"{place(i)}: id {id!r} is there twice (also {also})")


# --- text tables ---


def _chosen(header: list[str], columns: Columns, split: str, place: str) -> list[str]:
    """The columns to read. Raises InputError where one that is needed is missing or is there twice."""
    names = columns.required(split) + [name for name in columns.optional(split) if name in header]
    for name in names:
        if name not in header:
            raise InputError(f"{place}: no column {name!r}; the columns are {_shown(header)}")
        if header.count(name) > 1:
            raise InputError(f"{place}: column {name!r} is there twice")
    return names


def _shown(names: list[str]) -> str:
    """Names for an error; what is no header (a sequence, binary data) must not fill the screen."""
    short = [name if name.isprintable() else ascii(name)[1:-1] for name in names[:8]]
    short = [name if len(name) <= 40 else f"{name[:36]}…" for name in short]
    return (", ".join(short) or "none") + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _delimited(path: Path, delimiter: str, columns: Columns, split: str) -> Rows:
    text = read_text(path)
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))  # the default refuses more than 131,072 letters
    stream = io.StringIO(text, newline="")
    reader = csv.reader(stream, delimiter=delimiter, strict=True, skipinitialspace=delimiter == ",")
    begins = 1  # the line on which the record begins that is read
    kept, numbers = [], []
    try:
        header, begins = _header(text, reader, delimiter, path)
        names = _chosen(header, columns, split, f"{path}, line {begins}")
        take = itemgetter(*(header.index(name) for name in names))
        begins = reader.line_num + 1
        for cells in reader:
            if len(cells) == len(header):
                kept.append(take(cells))
                numbers.append(begins)
            elif cells and not (len(cells) == 1 and not cells[0].strip()):  # as blank as an empty line
                count = f"{len(cells)} column{'s' * (len(cells) > 1)}"
                raise InputError(f"{path}, line {begins}: {count} where the header has {len(header)}")
            begins = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {begins}: not a table row ({error}); the row begins on this line") from None
    sequences = [cells[0].strip().encode() for cells in kept]
    return Rows(
        path,
        "line",
        numbers,
        sequences,
        {name: [cells[i].strip() for cells in kept] for i, name in enumerate(names) if i},
    )


def _header(text: str, reader: Any, delimiter: str, path: Path) -> tuple[list[str], int]:
    """The names of the columns, and the line on which they begin: the first one that is not blank."""
    found = re.search(r"\S[^\r\n]*", text)
    first = found[0].strip() if found else ""
    begins = line_at((before := text[: found.start()].encode()), len(before)) if found else 1
    fault = _other_delimiter(first, delimiter)
    if re.fullmatch(r'"?sep=.?"?', first, re.IGNORECASE):
        fault = f"{first!r} is a line for Excel: remove it, so that the header stands first"
    if fault:
        raise InputError(f"{path}, line {begins}: {fault}")
    header: list[str] = next((cells for cells in reader if any(cell.strip() for cell in cells)), [])
    return [name.strip() for name in header], begins


def _other_delimiter(header: str, delimiter: str) -> str | None:
    """What to do about a header that another separator parts."""
    for other, what, advice in (
        ("\t", "tabs", 'call the file .tsv, and set format = "tsv"'),
        (",", "commas", 'call the file .csv, and set format = "csv"'),
        (";", "semicolons", "write the table with commas or tabs"),
        ("|", "vertical bars", "write the table with commas or tabs"),
    ):
        if other in header and delimiter not in header:
            names = [name.strip().strip('"') for name in header.split(other)]
            return f"the columns are {_shown(names)}, and {what} part them: {advice}"
    return None


# --- FASTA ---


def _fasta(path: Path, columns: Columns, split: str, label: str = "") -> Rows:
    """Records of a FASTA file; `label` is that of all records, where it is not read from the headers."""
    required = [
        name for name in columns.required(split) if name != columns.sequence and not (label and name == columns.label)
    ]
    optional = [name for name in columns.optional(split) if name != columns.id]
    cells: dict[str, list[str]] = {name: [] for name in (columns.id, *required, *optional)}
    numbers, sequences = [], []
    for record in fasta_records(path):
        numbers.append(record.line)
        sequences.append(record.letters)
        cells[columns.id].append(record.words[0])
        for name in required:
            value = record.value(name, free=name != columns.split)
            if value is None:
                raise InputError(f"{record.place}: no '{name}=…' in the header; expected '>ID {name}=VALUE'")
            cells[name].append(value)
        for name in optional:
            cells[name].append(record.value(name, free=False) or "")
    if label:
        cells[columns.label] = [label] * len(numbers)
    return Rows(path, "line", numbers, sequences, cells)
