"""Which files of a data folder belong to which split; data that would be ignored is an error. Next: `datasets.py`.

A split is named by one of the words below, in any letter case. It is a table or FASTA file `WORD.ENDING`, or shards
`WORD-00000-of-00002.ENDING`, or a folder of parts `WORD.ENDING/`, or a folder `WORD/`. The folder may also hold entries
that are not data: read-mes, licences, scripts, checksums, indexes, hidden files, other folders. An entry that would not
be read is an error if

- its name begins with the word of a split, as in `val2`, `test_old.csv`, `train (1).csv`, `train.npz`, or
- it has the ending of a table or FASTA file, as `more.csv` does, or `dev.tsv` beside `train.csv`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from hyena.errors import InputError
from hyena.system.text import refuse_unreadable_kind

Format = Literal["genomic_benchmarks", "csv", "tsv", "parquet", "fasta"]

SPLIT_OF_WORD = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "eval": "validation",
    "test": "test",
    "testing": "test",
}
#: Endings of the files of each format, without the ending of a compression.
ENDINGS: dict[Format, tuple[str, ...]] = {
    "csv": ("csv",),
    "tsv": ("tsv", "tab"),
    "parquet": ("parquet", "pq"),
    "fasta": ("fa", "fasta", "fna", "ffn", "frn", "fas", "fsa"),
}
FORMAT_OF_ENDING = {ending: format for format, endings in ENDINGS.items() for ending in endings}
#: Endings of compressed files. The first bytes, not the ending, decide how a file is decompressed.
COMPRESSIONS = ("gz", "bgz", "bgzf", "gzip", "bz2", "xz", "lzma", "zst", "zstd", "lz4", "z", "zip")
#: Endings of files that are not data, whatever their stem: documents, code, checksums, indexes of FASTA files.
_BESIDE = frozenset(
    (
        *("md", "rst", "pdf", "html", "htm", "tex", "doc", "docx", "log", "png", "jpg", "jpeg", "svg"),
        *("py", "ipynb", "sh", "r", "rmd", "yaml", "yml", "toml", "cfg", "ini"),
        *("md5", "sha1", "sha256", "sha512", "md5sum", "sha1sum", "sha256sum", "sha512sum", "asc", "sig", "crc"),
        *("fai", "gzi", "dict", "tbi"),
    )
)
#: Files of operating systems, Spark and Dask, which are ignored like names that begin with a dot.
_LITTER = frozenset(("__MACOSX", "_SUCCESS", "_metadata", "_common_metadata", "Thumbs.db", "desktop.ini", "Icon\r"))
#: Copies and metadata that editors, version control, download tools and Windows keep beside a file. They are ignored
#: only if that file exists: `dev.csv.dvc` alone means that `dev.csv` was not downloaded.
_COMPANION = re.compile(
    r"(?P<of>.+?)(~|\.~\d+~|\.(dvc|license|licence|lock|swp|swo|meta|torrent|url)|:Zone\.Identifier)",
    re.IGNORECASE | re.DOTALL,
)
_LIKE_A_SPLIT = re.compile(rf"({'|'.join(SPLIT_OF_WORD)}|devel|development|evaluation|holdout)(?![a-z])")
_SHARD = re.compile(r"(?P<word>[a-z]+)[-_.](?P<number>\d{1,9})[-_]of[-_](?P<count>\d{1,9})(?P<hash>[-_.][0-9a-f]+)?")


def split_of_word(word: str) -> str | None:
    """The split that a word names, in any letter case; None if it names none."""
    return SPLIT_OF_WORD.get(word.lower())


class Name(NamedTuple):
    """The `stem` and the `ending` of a file name, in lower case and without the ending of a compression."""

    stem: str
    ending: str

    @classmethod
    def of(cls, name: str) -> Name:
        words = name.lower().split(".")
        while len(words) > 1 and words[-1] in COMPRESSIONS:
            words.pop()
        return cls(".".join(words[:-1]), words[-1]) if len(words) > 1 else cls(words[0], "")

    @property
    def format(self) -> Format | None:
        return FORMAT_OF_ENDING.get(self.ending)

    @property
    def split(self) -> str | None:
        """The split that the stem names, also as one of several shards."""
        shard = _SHARD.fullmatch(self.stem)
        return split_of_word(shard["word"] if shard else self.stem)

    @property
    def is_beside(self) -> bool:
        """Whether this is not data: by its ending, or as a lock file of Microsoft Office."""
        return self.ending in _BESIDE or self.stem.startswith("~$")

    @property
    def is_left_out(self) -> bool:
        """Whether an entry of this name looks like data, so that it must not be ignored."""
        return not self.is_beside and (self.format is not None or _LIKE_A_SPLIT.match(self.stem) is not None)


@lru_cache(maxsize=1024)
def split_of(name: str) -> str | None:
    """The split of a file or folder of this name; cached, because an archive has up to 289,061 members."""
    return Name.of(name).split


def is_litter(name: str) -> bool:
    """Whether an entry of this name is ignored in every data set."""
    return name.startswith(".") or name in _LITTER


def visible(folder: os.PathLike[str] | str) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder that are not ignored, in no particular order."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_litter(entry.name):
                yield entry


def sorted_entries(folder: os.PathLike[str] | str) -> list[os.DirEntry[str]]:
    return sorted(visible(folder), key=lambda entry: entry.name)


def holds_splits(folder: Path) -> bool:
    """Whether a folder exists and an entry in it has the name of a split."""
    return folder.is_dir() and any(split_of(entry.name) for entry in visible(folder))


@dataclass
class _Scan:
    """The contents of a folder: the entries of each split, and the data that would be ignored."""

    found: dict[str, list[Path]] = field(default_factory=dict)
    left_out: list[Path] = field(default_factory=list)


def find_splits(folder: Path, format: Format) -> dict[str, list[Path]]:
    """The files, or the folder, of each split in a folder, in the order in which they are read.

    A folder without splits is searched in its `data/`, the layout of repositories on the Hugging Face hub.

    Args:
        format: of `DatasetSource`. Splits of "genomic_benchmarks" are folders; those of other formats may be.

    Returns:
        By split: one file, or shards in order, or one folder.

    Raises InputError if train or test is missing, a split exists twice, or data would be ignored.
    """
    scan = _scan(folder, format)
    inner = folder / "data"
    if format != "genomic_benchmarks" and inner.is_dir():
        below = _scan(inner, format)
        if scan.found and below.found:
            one, other = (next(iter(found.found.values()))[0] for found in (scan, below))
            raise InputError(f"{folder}: splits in two places, {one.name} and data/{other.name}; keep one of them")
        scan = _Scan(scan.found or below.found, scan.left_out + below.left_out)
    ending = f".{ENDINGS[format][0]}" if format in ENDINGS else ""
    others = [path.name for path in scan.left_out]
    require_train_and_test(scan.found, folder, "files" if ending else "folders", ending, others)
    read = [path.name for paths in scan.found.values() for path in paths]
    refuse_left_out([str(path) for path in scan.left_out], read)
    return {split: _one_or_shards(split, paths) for split, paths in scan.found.items()}


def _scan(folder: Path, format: Format) -> _Scan:
    scan = _Scan()
    entries = sorted_entries(folder)
    names = {entry.name for entry in entries}
    for entry in entries:
        companion = _COMPANION.fullmatch(entry.name)
        if companion and companion["of"] in names:
            continue
        name, path = Name.of(entry.name), Path(entry.path)
        if name.split is not None and _is_read(name, entry.is_dir(), format):
            refuse_unreadable_kind(path)
            scan.found.setdefault(name.split, []).append(path)
        elif name.is_left_out:
            scan.left_out.append(path)
    return scan


def _is_read(name: Name, is_folder: bool, format: Format) -> bool:
    """Whether an entry that has the name of a split is one in this format."""
    if not is_folder:
        return name.format == format
    return not name.ending or (name.format == format and format != "fasta")


def require_train_and_test(
    found: Collection[str], place: Path, what: str, ending: str = "", others: Iterable[str] = ()
) -> None:
    """Raise InputError unless both train and test were found.

    Args:
        what: the kind of entry that was expected: "folders", "files" or "splits".
        others: names of entries that may have been meant.
    """
    missing = [f"{split}{ending}" for split in ("train", "test") if split not in found]
    if missing:
        there = f" (there is {_listed(others)})" if [*others] else ""
        raise InputError(
            f"{place}: no {' and no '.join(missing)}; expected the {what} train{ending} and test{ending}{there}"
        )


def refuse_left_out(paths: list[str], read: Iterable[str]) -> None:
    """Raise InputError for the first of these entries, which would be ignored; it names those that are read."""
    if paths:
        more = f" (nor are {len(paths) - 1} more)" if len(paths) > 1 else ""
        raise InputError(
            f"{paths[0]}: looks like data and is not read{more}; read are {_listed(read)}. "
            "Rename or convert it, or move it out of the folder"
        )


def _listed(names: Iterable[str]) -> str:
    given = sorted(names)
    return ", ".join(given[:6]) + (f" and {len(given) - 6} more" if len(given) > 6 else "")


def second_of(split: str, one: str, other: str, what: str = "file") -> InputError:
    """The error for a split that exists under two names."""
    return InputError(f"{other}: a second {what} for the {split} split, beside {one}; keep one")


def _one_or_shards(split: str, paths: list[Path]) -> list[Path]:
    """The one file or folder of a split, or all its shards in their order."""
    shards = in_shard_order(paths, f" of the {split} split")
    if shards is None and len(paths) > 1:
        raise second_of(split, paths[0].name, str(paths[1]), "folder" if paths[1].is_dir() else "file")
    return shards or paths


def in_shard_order(paths: list[Path], of: str) -> list[Path] | None:
    """Shards in the order of their numbers, which start at 0; None unless all of the names are those of shards.

    Args:
        of: what they are shards of, for error messages.

    Raises InputError if a shard is missing or duplicated.
    """
    shards = [_SHARD.fullmatch(Name.of(path.name).stem) for path in paths]
    numbered: dict[int, Path] = {}
    for path, shard in zip(paths, shards, strict=True):
        if shard is None:
            return None
        if (one := numbered.setdefault(int(shard["number"]), path)) != path:
            raise InputError(f"{path}: duplicate shard {shard['number']}{of}, beside {one.name}; keep one")
    counts = {int(shard["count"]) for shard in shards if shard}
    missing = next((number for number in range(max(counts)) if number not in numbered), None)
    if missing is not None or counts != {len(paths)}:
        fault = f"number {missing}{of} is missing" if missing is not None else f"the names{of} state different counts"
        found = _listed(path.name for path in paths)
        raise InputError(f"{paths[0].parent}: shards: {fault}; found {found}, expected all numbers from 0")
    return [numbered[number] for number in range(len(paths))]


def format_of(path: Path) -> Format | None:
    """The format of a user's own data set, from the names of its files; None if they have no known ending.

    Raises InputError if the splits have several formats.
    """
    if not path.is_dir():
        return Name.of(path.name).format or ("genomic_benchmarks" if path.suffix.lower() == ".zip" else None)
    found = _formats_in(path)
    if not found and (path / "data").is_dir():
        found = _formats_in(path / "data")
    if len(found) > 1:
        each = " and ".join(f"{format} ({_listed(names)})" for format, names in found.items())
        raise InputError(f"{path}: splits in {len(found)} formats, {each}; keep one of them")
    return next(iter(found), Name.of(path.name).format)


def _formats_in(folder: Path) -> dict[Format, list[str]]:
    """Names of the splits in a folder by their format."""
    found: dict[Format, list[str]] = {}
    for entry in sorted_entries(folder):
        name = Name.of(entry.name)
        format = name.format
        if format is None and entry.is_dir() and name.split:
            within = sorted_entries(entry)
            format = next((Name.of(below.name).format for below in within if not below.is_dir()), None)
            format = "genomic_benchmarks" if any(below.is_dir() for below in within) else format
        if name.split and format:
            found.setdefault(format, []).append(entry.name)
    return found
