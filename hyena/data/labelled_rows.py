"""Labelled rows of a table or FASTA file, checked and collected into the examples of each split.

Columns of a table and KEY=VALUE words of a FASTA header are treated alike. Next: `table_datasets.py` and
`fasta_datasets.py`, which read the files.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, compress
from pathlib import Path

from hyena.data.examples import Examples
from hyena.data.labels import MISSING
from hyena.data.sequences import SPLIT_NAMES
from hyena.data.split_files import SPLIT_OF_WORD, split_of_word
from hyena.errors import InputError

#: Texts for a missing value that happen to be letters of DNA.
_MISSING_SEQUENCES = frozenset((b"NA", b"na", b"NaN", b"nan"))
#: A column that tells the tasks of a table apart, as in the Nucleotide Transformer's downstream tasks.
TASK = "task"


@dataclass(frozen=True)
class Columns:
    """Names of columns, or of the KEY=VALUE words in FASTA headers, and which rows are read.

    Attributes:
        sequence, label: required (in FASTA files, sequences have no name).
        split: required in a file that holds all splits; its values are words for train, validation and test.
        id: optional; no two rows of a split may share a value.
        where: (column, value) pairs; rows with another value are skipped.
        na_is_a_class: whether labels such as NA and None are classes; otherwise they are missing labels, an error.
    """

    sequence: str = "sequence"
    label: str = "label"
    split: str = "split"
    id: str = "id"
    where: tuple[tuple[str, str], ...] = ()
    na_is_a_class: bool = False

    def required(self, split: str) -> list[str]:
        """The columns that a file must have; `split` is the split of the whole file, if it has one."""
        names = [self.sequence, self.label, *([] if split else [self.split]), *(name for name, _ in self.where)]
        return list(dict.fromkeys(names))

    def optional(self, split: str) -> list[str]:
        """The columns that are read if the file has them."""
        return [name for name in dict.fromkeys((self.split, self.id, TASK)) if name not in self.required(split)]


@dataclass
class Rows:
    """The rows of one file.

    Attributes:
        unit: what `numbers` count, "line" or "row".
        numbers: the line or row at which each record begins.
        cells: the other columns, as text without surrounding white space.
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


def collect(files: list[Rows], columns: Columns, split: str, source: Path) -> dict[str, Examples]:
    """The examples of each split, in the order of the files and of their rows."""
    refuse_empty(files, source)
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


def refuse_empty(files: list[Rows], source: Path) -> None:
    if not any(rows.numbers for rows in files):
        raise InputError(f"{source}: no sequences; expected at least one of each class")


def _check_splits(rows: Rows, columns: Columns, split: str) -> None:
    """Raise InputError for a row whose split is unknown, or differs from that of its file."""
    stated = rows.cells.get(columns.split, [])
    for word in dict.fromkeys(stated):
        of_word = split_of_word(word)
        if not split and of_word is None:
            place, known = rows.place(stated.index(word)), ", ".join(SPLIT_OF_WORD)
            raise InputError(f"{place}: split {word!r} is unknown; expected one of {known}")
        if split and of_word not in (None, split):
            raise InputError(
                f"{rows.place(stated.index(word))}: {columns.split} is {word!r} in the file of the {split} split; "
                "if this column does not name splits, set another split_column"
            )


def _kept(files: list[Rows], column: str, value: str, source: Path) -> list[Rows]:
    """The rows that have a value in a column. Raises InputError if there are none."""
    kept = [rows.where(column, {value}) for rows in files]
    if not any(rows.numbers for rows in kept):
        there = sorted(set(chain.from_iterable(rows.cells[column] for rows in files)))
        raise InputError(f"{source}: where: no row has {column} = {value!r}; found {shown_names(there)}")
    return kept


def _examples(files: list[Rows], columns: Columns, source: str) -> Examples:
    """The rows of one split, checked."""
    starts = list(accumulate((len(rows.numbers) for rows in files), initial=0))

    def place(i: int) -> str:
        at = bisect_right(starts, i) - 1
        return files[at].place(i - starts[at])

    def column(name: str) -> list[str]:
        """A column of all files; empty texts for a file without it."""
        return list(chain.from_iterable(rows.cells.get(name) or [""] * len(rows.numbers) for rows in files))

    labels = column(columns.label)
    for label in set(labels):
        if not label or (label in MISSING and not columns.na_is_a_class):
            fault = f"label {label!r} means a missing label (for a class of that name, set na_is_a_class = true)"
            raise InputError(f"{place(labels.index(label))}: {fault if label else 'the label is empty'}")
    refuse_second_ids(column(columns.id), place)
    examples = Examples(place, source, list(chain.from_iterable(rows.sequences for rows in files)), labels)
    for i, sequence in enumerate(examples.sequences):
        if len(sequence) < 4 and sequence in _MISSING_SEQUENCES:
            raise InputError(f"{place(i)}: sequence {sequence.decode()!r} means a missing sequence; remove the row")
    if TASK in columns.optional("train"):
        tasks = sorted(set(column(TASK)))
        if len(tasks) > 1:
            examples.notes.append(
                f"{len(tasks)} tasks are read as one ({shown_names(tasks)}); where = {{ {TASK} = … }} selects one"
            )
    return examples


def refuse_second_ids(ids: list[str], place: Callable[[int], str]) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: dict[str, int] = {}
    for i, id in enumerate(ids):
        if id and (first := seen.setdefault(id, i)) != i:
            file, _, also = place(first).rpartition(", ")
            also = also if place(i).startswith(f"{file}, ") else place(first)
            raise InputError(f"{place(i)}: duplicate id {id!r} (also {also})")


def shown_names(names: list[str]) -> str:
    """Names for an error message, shortened: a file without a header may begin with a sequence or binary data."""
    short = [name if name.isprintable() else ascii(name)[1:-1] for name in names[:8]]
    short = [name if len(name) <= 40 else f"{name[:36]}…" for name in short]
    return (", ".join(short) or "none") + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def chosen_columns(header: list[str], columns: Columns, split: str, place: str) -> list[str]:
    """The columns to read. Raises InputError if a required one is missing, or one exists twice."""
    names = columns.required(split) + [name for name in columns.optional(split) if name in header]
    for name in names:
        if name not in header:
            raise InputError(f"{place}: no column {name!r}; found {shown_names(header)}")
        if header.count(name) > 1:
            raise InputError(f"{place}: column {name!r} exists twice; keep one")
    return names
