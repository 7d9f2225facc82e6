"""Labelled sequences from folders and archives, as bytes and label names. Next: `tables.py`, then `datasets.py`.

Nothing is tokenised here. Every fault is told by file, and by line where a file has several sequences. Reading
follows a canonical order, so that the same sequences give the same data set however they are stored: folders and
archives by class and then by id, numbers in ids in their natural order; tables in the order of the file.

Layout of a GenomicBenchmarks folder or archive: `{train,test}/CLASS/ID.txt`, one sequence a file; in an archive below
one folder, `NAME/`. A folder or table named `validation`, `valid` or `dev` is the validation split.
"""

import gzip
import itertools
import mmap
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
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
    if text.isdecimal() and text.isascii():  # what the general rule gives, at a fifth of its time
        return ["", int(text), ""], text
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
    require_train_and_test(found, folder, "folders")
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
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            members = _archive_members(path, archive)
            require_train_and_test(members, path, "folders")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:

                def read(name: str) -> bytes:
                    member = _read_archive_member(content, archive.getinfo(name))
                    return unzipped(member, f"{path}: {name}") if name.endswith(".gz") else member

                return {split: _read_members(files, read, f"{path}: ") for split, files in in_order(members)}
    except (InputError, PermissionError):
        raise
    except (zipfile.BadZipFile, zlib.error, struct.error, OSError, ValueError) as error:
        raise InputError(f"{path}: not a whole zip archive ({error}); copy or fetch it again") from None


def _read_archive_member(content: mmap.mmap, info: zipfile.ZipInfo) -> bytes:
    """What `ZipFile.read` gives, in a seventh of its time, which counts for 289,061 members.

    Raises:
        BadZipFile: the member is damaged, encrypted, or compressed in another way than the usual one.
    """
    start = info.header_offset
    signature, flags, method, name_length, extra_length = struct.unpack_from("<4s2xHH16xHH", content, start)
    if signature != b"PK\x03\x04" or flags & 1 or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile(f"member {info.filename!r} is damaged, encrypted or of a rare compression")
    start += 30 + name_length + extra_length
    data = content[start : start + info.compress_size]
    if method == zipfile.ZIP_DEFLATED:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, info.file_size + 1)  # no more than it declares
    if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
        raise zipfile.BadZipFile(f"member {info.filename!r} is damaged: its checksum is wrong")
    return data


def _archive_members(path: Path, archive: zipfile.ZipFile) -> dict[str, list[tuple[str, str, str]]]:
    found: dict[str, list[tuple[str, str, str]]] = {}
    roots = set()
    for info in archive.infolist():
        parts = info.filename.split("/")
        if parts[0] == "" or ".." in parts or "\\" in info.filename or ":" in info.filename:
            raise InputError(f"{path}: unsafe member name {info.filename!r}; expected NAME/SPLIT/CLASS/ID.txt")
        if info.is_dir() or parts[0] == "__MACOSX" or any(part.startswith(".") for part in parts):
            continue
        depth = next((i for i, part in enumerate(parts[:2]) if part in SPLIT_OF_STEM), None)
        if depth is None:  # a read-me or metadata beside the splits
            continue
        if len(parts) != depth + 3:
            raise InputError(f"{path}: unexpected member {info.filename!r}; expected NAME/SPLIT/CLASS/ID.txt")
        roots.add(tuple(parts[:depth]))
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


def split_files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """The file of each split in a folder: `train.SUFFIX`, `test.SUFFIX`, `dev.SUFFIX`, each perhaps gzipped."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem, _, suffix = path.name.removesuffix(".gz").partition(".")
        split = SPLIT_OF_STEM.get(stem)
        if split is None or suffix not in suffixes or not path.is_file():
            continue
        if split in found:
            raise InputError(f"{path}: a second file for the {split} split, beside {found[split].name}; keep one")
        found[split] = path
    return found


def read_text(path: Path) -> str:
    """A UTF-8 file, perhaps gzipped, as text."""
    content = path.read_bytes()
    return text_of(unzipped(content, path) if path.suffix == ".gz" else content, path)


def require_train_and_test(found: Collection[str], place: Path, what: str, suffix: str = "") -> None:
    """Raise InputError unless both of them were found; `what` says what they are, "folders" or "files"."""
    missing = [f"{split}{suffix}" for split in ("train", "test") if split not in found]
    if missing:
        raise InputError(f"{place}: no {' and no '.join(missing)}; expected the {what} train{suffix} and test{suffix}")
