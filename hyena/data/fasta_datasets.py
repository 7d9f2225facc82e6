"""Labelled sequences from FASTA files. Next: `labelled_rows.py`, then `datasets.py`.

The words `label=CLASS` (and `split=SPLIT`) of a header take the place of a table's columns, the first word is the id,
and a sequence may run over several lines. Or a folder per split holds a file per class, `train/CLASS.fa`.
"""

from dataclasses import replace
from pathlib import Path

from hyena.data.examples import Examples, in_order
from hyena.data.fasta import fasta_records
from hyena.data.labelled_rows import Columns, Rows, collect, refuse_empty, refuse_second_ids
from hyena.data.split_files import Name, find_splits, sorted_entries
from hyena.errors import InputError


def read_fasta(path: Path, columns: Columns) -> dict[str, Examples]:
    """Splits of one FASTA file, of a folder with a file per split, or of a folder with a file per split and class."""
    if path.is_file():
        return collect([_fasta(path, columns, "")], columns, "", path)
    found: dict[str, Examples] = {}
    for split, files in in_order(find_splits(path, "fasta")):
        if files[0].is_dir():
            rows = [_class_file(label, file, columns, split) for label, file in _class_files(files[0], split)]
            found |= collect(rows, replace(columns, na_is_a_class=True), split, files[0])  # the class is a file's name
        else:
            found |= collect([_fasta(file, columns, split) for file in files], columns, split, files[0])
    return found


def _class_files(folder: Path, split: str) -> list[tuple[str, Path]]:
    """The `CLASS.fa` files of a split, sorted by the names of the classes."""
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
        raise InputError(f"{folder}: no files in this folder; expected CLASS.fa (or .fasta, .fna; or compressed)")
    return sorted(found.items(), key=lambda item: (item[1].name.split(".")[0], item[0]))


def _class_file(label: str, path: Path, columns: Columns, split: str) -> Rows:
    """The records of a file of one class, whose ids may occur in other classes."""
    rows = _fasta(path, columns, split, label)
    refuse_empty([rows], path)
    refuse_second_ids(rows.cells.pop(columns.id), rows.place)
    return rows


def _fasta(path: Path, columns: Columns, split: str, label: str = "") -> Rows:
    """Records of a FASTA file; a `label` is that of all records and is not read from the headers."""
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
