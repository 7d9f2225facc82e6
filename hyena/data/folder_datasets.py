"""Labelled sequences in the GenomicBenchmarks layout: a folder or a zip archive. Next: `datasets.py`.

The layout is `{train,test}/CLASS/ID.txt`, one sequence a file; in an archive below one folder, `NAME/`. How splits are
named, and what may lie beside them, is in `split_files.py`.
"""

import itertools
import mmap
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from hyena.data.examples import Examples, in_order, natural_key
from hyena.data.split_files import (
    COMPRESSIONS,
    Name,
    find_splits,
    is_litter,
    refuse_left_out,
    require_train_and_test,
    second_of,
    split_of,
    visible,
)
from hyena.errors import InputError
from hyena.system.text import read_bytes, what_it_is

_SEQUENCE_FILE = re.compile(rf"(?P<id>.+)\.txt(\.({'|'.join(COMPRESSIONS)}))*", re.IGNORECASE | re.DOTALL)


class _Member(NamedTuple):
    """One file of a split."""

    label: str
    name: str
    path: str


def read_folder(folder: Path) -> dict[str, Examples]:
    """Splits of a folder in the GenomicBenchmarks layout; files may be compressed (`ID.txt.gz`)."""
    found: dict[str, tuple[str, list[_Member]]] = {}
    for split, [split_folder] in find_splits(folder, "genomic_benchmarks").items():
        members = []
        for class_folder in visible(split_folder):
            if not class_folder.is_dir() and Name.of(class_folder.name).is_beside:
                continue
            if not class_folder.is_dir():
                raise InputError(f"{class_folder.path}: expected a folder of sequences per class, found a file")
            of_class = [_Member(class_folder.name, file.name, file.path) for file in visible(class_folder)]
            if not of_class:
                raise InputError(f"{class_folder.path}: no sequence in this class folder; expected ID.txt files")
            members += of_class
        found[split] = str(split_folder), members
    return {split: _read_members(members, _read_file, source) for split, (source, members) in in_order(found)}


def _read_file(path: str) -> bytes:
    # System calls, because a data set has up to 289,061 files and a file object takes three times as long for each.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe without a writer is empty and does not block
    try:
        blocks = [os.read(descriptor, 1 << 16)]
        while len(blocks[-1]) == 1 << 16:
            blocks.append(os.read(descriptor, 1 << 16))
    except IsADirectoryError:
        raise InputError(f"{path}: expected a text file with one sequence, found a folder") from None
    finally:
        os.close(descriptor)
    return b"".join(blocks)


def read_archive(path: Path) -> dict[str, Examples]:
    """Splits of a zip archive in the GenomicBenchmarks layout, read in place: nothing is extracted to disk."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            members = _archive_members(path, archive)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:

                def read(name: str) -> bytes:
                    return _read_archive_member(content, archive.getinfo(name))

                return {
                    split: _read_members(of_split, read, str(path), f"{path}: ")
                    for split, of_split in in_order(members)
                }
    except (InputError, PermissionError, FileNotFoundError):
        raise
    except (zipfile.BadZipFile, zlib.error, struct.error, OSError, ValueError) as error:
        with path.open("rb") as file:
            other = what_it_is(file.read(512))
        fault = f"; it is {other}" if other else f" ({error}); copy or download it again"
        raise InputError(f"{path}: not a whole zip archive{fault}") from None


def _read_archive_member(content: mmap.mmap, info: zipfile.ZipInfo) -> bytes:
    """The result of `ZipFile.read` in a seventh of its time, which matters for 289,061 members.

    Raises:
        BadZipFile: the member is damaged, encrypted, or compressed by a method other than deflate.
    """
    start = info.header_offset
    signature, flags, method, name_length, extra_length = struct.unpack_from("<4s2xHH16xHH", content, start)
    if signature != b"PK\x03\x04" or flags & 1 or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile(f"member {info.filename!r} is damaged, encrypted, or not compressed with deflate")
    start += 30 + name_length + extra_length
    data = content[start : start + info.compress_size]
    if method == zipfile.ZIP_DEFLATED:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, info.file_size + 1)  # no more than it declares
    if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
        raise zipfile.BadZipFile(f"member {info.filename!r} is damaged: wrong checksum")
    return data


def _archive_members(path: Path, archive: zipfile.ZipFile) -> dict[str, list[_Member]]:
    """The files of each split. Raises InputError for data that would be ignored, as `find_splits` does for a folder."""
    infos = [info for info in archive.infolist() if _is_safe(path, info)]
    files = [info.filename.split("/") for info in infos if not info.is_dir()]
    folders = [info.filename.split("/")[:-1] for info in infos if info.is_dir()]
    # SPLIT/CLASS/ID.txt is at the top or below one folder, whose own name may be that of a split.
    roots = {tuple(parts[:-3]) for parts in files if len(parts) in (3, 4) and split_of(parts[-3])}
    roots = roots or {tuple(parts[:i]) for parts in files for i in (0, 1) if len(parts) > i + 1 and split_of(parts[i])}
    if len(roots) > 1:
        names = " and ".join(sorted("/".join(root) or "." for root in roots)[:2])
        raise InputError(f"{path}: holds several data sets ({names}); expected one folder with train and test")
    root = next(iter(roots), ())
    found: dict[str, list[_Member]] = {}
    names_of: dict[str, str] = {}
    left_out: dict[str, None] = {}
    for parts in files:
        below = parts[len(root) :] if tuple(parts[: len(root)]) == root else parts
        split = split_of(below[0])
        if split is None or len(below) == 1:
            if Name.of(below[0]).is_left_out:
                left_out["/".join(parts[: len(parts) - len(below) + 1])] = None
            continue
        if len(below) != 3:
            raise InputError(f"{path}: unexpected member {'/'.join(parts)!r}; expected NAME/SPLIT/CLASS/ID.txt")
        if names_of.setdefault(split, below[0]) != below[0]:
            raise second_of(split, names_of[split], f"{path}: {below[0]}", "folder")
        found.setdefault(split, []).append(_Member(below[1], below[2], "/".join(parts)))
    require_train_and_test(found, path, "folders", others=left_out)
    refuse_left_out([f"{path}: {name}" for name in left_out], names_of.values())
    _refuse_empty_classes(path, folders, root, found)
    return found


def _is_safe(path: Path, info: zipfile.ZipInfo) -> bool:
    """Whether a member may be data. Raises InputError for a name that leads out of the archive."""
    parts = info.filename.split("/")
    if parts[0] == "" or ".." in parts or "\\" in info.filename or ":" in info.filename:
        raise InputError(f"{path}: unsafe member name {info.filename!r}; expected NAME/SPLIT/CLASS/ID.txt")
    return not any(is_litter(part) for part in parts)


def _refuse_empty_classes(
    path: Path, folders: Iterable[list[str]], root: tuple[str, ...], found: Mapping[str, list[_Member]]
) -> None:
    """Raise InputError for a class folder without files."""
    held = {member.path.rpartition("/")[0] for members in found.values() for member in members}
    for parts in folders:
        below = parts[len(root) :]
        is_class = tuple(parts[: len(root)]) == root and len(below) == 2 and split_of(below[0]) in found
        if is_class and "/".join(parts) not in held:
            raise InputError(f"{path}: {'/'.join(parts)}: no sequence in this class folder; expected ID.txt files")


def _read_members(members: list[_Member], read: Callable[[str], bytes], source: str, prefix: str = "") -> Examples:
    """Examples of one split in canonical order; errors put `prefix` before the path of a member."""
    keyed = []
    for label, name, path in members:
        id = name[:-4] if name.endswith(".txt") and len(name) > 4 else _id_of(name, prefix + path)
        keyed.append((label, natural_key(id), path))
    keyed.sort()
    for (label, key, path), (next_label, next_key, next_path) in itertools.pairwise(keyed):
        if label == next_label and key[1] == next_key[1]:
            raise InputError(f"{prefix}{next_path}: duplicate id {key[1]!r} in this class (also {path})")
    examples = Examples(lambda i: prefix + keyed[i][2], source)
    for label, _, path in keyed:
        content = read(path)
        if content[:1] not in _USUAL:
            content = read_bytes(prefix + path, content)
        examples.labels.append(label)
        examples.sequences.append(content.strip())
    return examples


_USUAL = frozenset((b"A", b"C", b"G", b"T", b"N", b"a", b"c", b"g", b"t", b"n", b""))
"""First bytes of a file that needs no decompression and no check for other kinds of content."""


def _id_of(name: str, place: str) -> str:
    found = _SEQUENCE_FILE.fullmatch(name)
    if found is None:
        raise InputError(f"{place}: unexpected file; expected ID.txt or ID.txt.gz")
    return found["id"]
