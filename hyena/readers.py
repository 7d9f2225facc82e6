"""Labelled sequences from files, as bytes and label names; nothing is tokenised here. Next: `datasets.py`.

Every fault is told by file, and by line where the file has several sequences. Reading follows a canonical order, so
that the same sequences give the same data set however they are stored: folders and archives by class and then by id,
numbers in ids in their natural order; tables in the order of the file.

Layout of a GenomicBenchmarks folder or archive: `{train,test}/CLASS/ID.txt`, one sequence a file; in an archive below
one folder, `NAME/`. A folder or table named `validation`, `valid` or `dev` is the validation split.
"""

import csv
import gzip
import io
import itertools
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

from hyena.errors import InputError
from hyena.sequences import SPLIT_NAMES

T = TypeVar("T")

SPLIT_OF_STEM = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "dev": "validation",
    "test": "test",
}


@dataclass
class Examples:
    """Sequences of one split in canonical order; `place(i)` names sequence i in an error."""

    place: Callable[[int], str]
    sequences: list[bytes] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


def in_order(splits: Mapping[str, T]) -> list[tuple[str, T]]:
    """Train, validation, test: the order in which faults are looked for."""
    return [(name, splits[name]) for name in SPLIT_NAMES if name in splits]


def natural_key(text: str) -> tuple[list[str | int], str]:
    """Sorts "x2" before "x10"; texts that differ only in leading zeros are told apart by the text itself."""
    parts: list[str | int] = [int(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]+)", text))]
    return parts, text


def read_folder(folder: Path) -> dict[str, Examples]:
    """Splits of a folder in the GenomicBenchmarks layout; files may be gzipped (`ID.txt.gz`)."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for split_dir in _visible(folder):
        split = SPLIT_OF_STEM.get(split_dir.name)
        if split is None or not split_dir.is_dir():
            continue
        if split in found:
            raise InputError(f"{folder}: two folders for the {split} split; keep one of validation, valid and dev")
        found[split] = []
        for class_dir in _visible(split_dir):
            if not class_dir.is_dir():
                raise InputError(f"{class_dir.path}: expected a folder of sequences per class, found a file")
            found[split] += [(class_dir.name, file.name, file.path) for file in _visible(class_dir)]
    _require_train_and_test(found, folder, "folders")
    return {split: _read_members(files, _read_file) for split, files in in_order(found)}


def _visible(folder: os.PathLike[str] | Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                yield entry


def _read_file(path: str) -> bytes:
    # Bare system calls: a data set has up to 289,061 files, and a file object takes three times as long for each.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        blocks = [os.read(descriptor, 1 << 16)]
        while len(blocks[-1]) == 1 << 16:
            blocks.append(os.read(descriptor, 1 << 16))
    except IsADirectoryError:
        raise InputError(f"{path}: expected a text file with one sequence, found a folder") from None
    finally:
        os.close(descriptor)
    content = b"".join(blocks)
    return unzipped(content, path) if path.endswith(".gz") else content


def unzipped(content: bytes, path: object) -> bytes:
    """What a gzip file holds."""
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: not a whole gzip file ({error}); copy or fetch it again") from None


def read_archive(path: Path) -> dict[str, Examples]:
    """Splits of a zip archive in the GenomicBenchmarks layout. Members are read in place; nothing is extracted."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = _archive_members(path, archive)
            _require_train_and_test(members, path, "folders")

            def read(member: str) -> bytes:
                return archive.read(member)

            return {split: _read_members(files, read, f"{path}: ") for split, files in in_order(members)}
    except InputError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"{path}: not a whole zip archive ({error}); copy or fetch it again") from None


def _archive_members(path: Path, archive: zipfile.ZipFile) -> dict[str, list[tuple[str, str, str]]]:
    found: dict[str, list[tuple[str, str, str]]] = {}
    roots = set()
    for info in archive.infolist():
        parts = PurePosixPath(info.filename).parts
        if info.filename.startswith("/") or ".." in parts or "\\" in info.filename or ":" in info.filename:
            raise InputError(f"{path}: unsafe member name {info.filename!r}; expected NAME/SPLIT/CLASS/ID.txt")
        if info.is_dir() or parts[0] == "__MACOSX" or any(part.startswith(".") for part in parts):
            continue
        depth = next((i for i, part in enumerate(parts[:2]) if part in SPLIT_OF_STEM), None)
        if depth is None:  # a read-me or metadata beside the splits
            continue
        if len(parts) != depth + 3:
            raise InputError(f"{path}: unexpected member {info.filename!r}; expected NAME/SPLIT/CLASS/ID.txt")
        roots.add(parts[:depth])
        found.setdefault(SPLIT_OF_STEM[parts[depth]], []).append((parts[-2], parts[-1], info.filename))
    if len(roots) > 1:
        names = " and ".join(sorted("/".join(root) or "." for root in roots)[:2])
        raise InputError(f"{path}: holds several data sets ({names}); expected one folder with train and test")
    return found


def _read_members(files: list[tuple[str, str, str]], read: Callable[[str], bytes], prefix: str = "") -> Examples:
    """Examples of one split from (class, file name, path) triples, in canonical order."""
    keyed = []
    for label, name, path in files:
        stem = name.removesuffix(".gz").removesuffix(".txt")
        if stem == name.removesuffix(".gz"):
            raise InputError(f"{prefix}{path}: unexpected file; sequences are named ID.txt or ID.txt.gz")
        keyed.append((label, natural_key(stem), path))
    keyed.sort()
    for (label, key, path), (next_label, next_key, next_path) in itertools.pairwise(keyed):
        if label == next_label and key[1] == next_key[1]:
            raise InputError(f"{prefix}{next_path}: id {key[1]!r} is there twice in its class (also {path})")
    examples = Examples(lambda i: prefix + keyed[i][2])
    for label, _, path in keyed:
        examples.labels.append(label)
        examples.sequences.append(read(path).strip())
    return examples


def read_tables(folder: Path, sequence_column: str, label_column: str) -> dict[str, Examples]:
    """Splits from a folder with train.csv, test.csv and, where there is one, dev.csv."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        split = SPLIT_OF_STEM.get(path.name.split(".")[0])
        if split is None or path.name.removesuffix(".gz") != f"{path.name.split('.')[0]}.csv":
            continue
        if split in found:
            raise InputError(f"{path}: a second file for the {split} split, beside {found[split].name}; keep one")
        found[split] = path
    _require_train_and_test(found, folder, "files", ".csv")
    return {split: _read_csv(path, sequence_column, label_column) for split, path in in_order(found)}


def _read_csv(path: Path, sequence_column: str, label_column: str) -> Examples:
    content = path.read_bytes()
    text = text_of(unzipped(content, path) if path.suffix == ".gz" else content, path)
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))  # the default refuses more than 131,072 letters
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = next(reader, [])
    for column in (sequence_column, label_column):
        if column not in header:
            raise InputError(f"{path}, line 1: no column {column!r}; the columns are {', '.join(header) or 'none'}")
    sequence_at, label_at = header.index(sequence_column), header.index(label_column)
    lines: list[int] = []
    examples = Examples(lambda i: f"{path}, line {lines[i]}")
    try:
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise InputError(
                    f"{path}, line {reader.line_num}: {len(row)} columns where the header has {len(header)}"
                )
            lines.append(reader.line_num)
            examples.sequences.append(row[sequence_at].strip().encode())
            examples.labels.append(row[label_at].strip())
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not a CSV row ({error})") from None
    if "" in examples.labels:
        raise InputError(f"{examples.place(examples.labels.index(''))}: the label is empty")
    return examples


def text_of(content: bytes, path: object) -> str:
    """UTF-8 text, a byte order mark left out."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 text (byte 0x{content[error.start]:02X}); convert the file to UTF-8"
        ) from None


def class_names(splits: dict[str, Examples]) -> tuple[str, ...]:
    """All labels, sorted: as numbers where all of them are integers, as text otherwise."""
    labels = {label for examples in splits.values() for label in examples.labels}
    if all(re.fullmatch(r"[+-]?[0-9]+", label) for label in labels):
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    return tuple(sorted(labels))


def _require_train_and_test(found: Collection[str], place: Path, what: str, suffix: str = "") -> None:
    missing = [f"{split}{suffix}" for split in ("train", "test") if split not in found]
    if missing:
        raise InputError(f"{place}: no {' and no '.join(missing)}; expected the {what} train{suffix} and test{suffix}")
