"""A genome as pretraining reads it: FASTA files become one file of tokens, which is mapped and never held in memory.

The tokens of all records stand end to end, a byte each, in the user's cache folder; beside them lie the index of the
records and of their stretches without gaps. Both are made once, in one pass over the files that holds a few megabytes,
so a genome of 3 Gb costs 3 GB of disk and what its windows touch of memory. Next: `pretraining.py`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from hyena.config import nearest
from hyena.errors import InputError
from hyena.token_cache import default_cache_dir
from hyena.tokenizer import TOKENIZER_VERSION, A, LetterError, T, encode

Tokens = NDArray[np.uint8]
Intervals = NDArray[np.int64]
"""[N, 2]: first and past-the-end position of each, sorted and apart."""

#: So many letters in a row that are no A, C, G or T are a gap between stretches; windows lie within a stretch.
GAP_BP = 50
CHUNK_BYTES = 4 * 2**20
FORMAT_VERSION = 1  # raise it when the files below change meaning
_log = logging.getLogger(__name__)


class Corpus:
    """Tokens of all records end to end, and where each record, and each stretch without gaps, begins and ends.

    Attributes:
        tokens: uint8 [total]; may be a memory map.
        offsets: int64 [records + 1].
        names: of the records: the first word of each header.
        stretches: what lies between gaps, within records.
        digest: SHA-256 of tokens and offsets.
    """

    tokens: Tokens
    offsets: NDArray[np.int64]
    names: tuple[str, ...]
    stretches: Intervals
    digest: str

    def __init__(self, records: Iterable[Tokens], names: Iterable[str] = ()) -> None:
        """In memory, from the tokens of each record, as `encode` gives them. Empty records are left out."""
        given = list(records)
        labels = [*names] or [str(number) for number in range(1, len(given) + 1)]
        held = [(name, record) for name, record in zip(labels, given, strict=True) if len(record)]
        if not held:
            raise InputError("the corpus holds no sequence")
        self.names = tuple(name for name, _ in held)
        self.tokens = np.concatenate([record for _, record in held])
        self.offsets = np.cumsum([0, *(len(record) for _, record in held)])
        self.stretches = stretches_of(self.tokens, self.offsets)
        self.digest = hashlib.sha256(self.tokens.tobytes() + self.offsets.tobytes()).hexdigest()

    def regions(self, validation_fraction: float, hold_out: Iterable[str] = ()) -> tuple[Intervals, Intervals]:
        """Stretches to train on, and stretches held out.

        Args:
            validation_fraction: share of every record, at its end, that is held out where `hold_out` names nothing.
            hold_out: records, or parts of them as RECORD:FIRST-LAST (counted from 1, both included), held out instead.

        Raises InputError for a record or a part that does not exist.
        """
        named = [self._place(text) for text in hold_out]
        if named:
            held = _union(np.array(named, dtype=np.int64))
        else:
            start, end = self.offsets[:-1], self.offsets[1:]
            held = np.stack([end - np.round((end - start) * validation_fraction).astype(np.int64), end], axis=1)
        bounds = np.concatenate([[0], held.ravel(), [len(self.tokens)]])
        return intersection(self.stretches, bounds.reshape(-1, 2)), intersection(self.stretches, held)

    def _place(self, text: str) -> tuple[int, int]:
        """First and past-the-end position of what `hold_out` calls `text`; a name may have a colon of its own."""
        part = re.fullmatch(r"(.+):(\d+)-(\d+)", text)
        name = text if part is None or text in self.names else part[1]
        if name not in self.names:
            raise InputError(f"hold_out: no record '{name}' in the corpus; {nearest(name, self.names[:20])}")
        record = self.names.index(name)
        start, end = int(self.offsets[record]), int(self.offsets[record + 1])
        if part is None or name == text:
            return start, end
        first, last = int(part[2]), int(part[3])
        if not 1 <= first <= last <= end - start:
            raise InputError(f"hold_out: '{text}' does not lie in the {end - start} bases of that record")
        return start + first - 1, start + last


class StoredCorpus(Corpus):
    """A corpus whose tokens are mapped from a folder that `store` wrote."""

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "corpus.json").read_text())
        self.names, self.digest = tuple(about["names"]), about["digest"]
        self.offsets, self.stretches = (np.load(folder / f"{name}.npy") for name in ("offsets", "stretches"))
        self.tokens = np.memmap(folder / "tokens.bin", np.uint8, "r")
        if len(self.tokens) != self.offsets[-1]:
            raise OSError(f"{folder}: {len(self.tokens)} tokens where {self.offsets[-1]} are expected")


def read_corpus(paths: Iterable[Path], cache_dir: Path | None = None) -> Corpus:
    """All records of FASTA files, plain or gzipped, in order; stored in the cache once, and mapped from there.

    Safe with many processes at once. A cache that cannot be written to costs memory and nothing else.

    Raises InputError that names the file, and the record or line, where one is no FASTA.
    """
    files = [path.resolve() for path in paths]
    folder = cache_dir if cache_dir is not None else default_cache_dir().parent / "corpora"
    try:
        entry = folder / _fingerprint(files)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{entry}.lock"):
            return _stored(files, entry)
    except (OSError, NotImplementedError) as error:
        _log.warning("the corpus is held in memory: %s cannot be used (%s)", folder, error)
    records: list[tuple[str, list[Tokens]]] = []
    for name, begins, tokens in fasta_pieces(files):
        if begins:
            records.append((name, []))
        records[-1][1].append(tokens)
    return Corpus([np.concatenate(pieces) for _, pieces in records], [name for name, _ in records])


def _stored(files: list[Path], entry: Path) -> Corpus:
    try:
        return StoredCorpus(entry)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError) as error:
        _log.warning("%s: a damaged corpus is stored anew (%s)", entry, error)
    store(files, entry)
    return StoredCorpus(entry)


def store(files: Iterable[Path], folder: Path) -> None:
    """Write tokens and index of FASTA files into `folder`, whole or not at all."""
    temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}.writing-", dir=folder.parent))
    try:
        names: list[str] = []
        lengths, digest = [0], hashlib.sha256()
        with (temporary / "tokens.bin").open("wb") as stream:
            for name, begins, tokens in fasta_pieces(files):
                if begins:
                    names.append(name)
                    lengths.append(0)
                lengths[-1] += len(tokens)
                digest.update(tokens.tobytes())
                stream.write(tokens.tobytes())
        if not names:
            raise InputError("the corpus holds no sequence")
        offsets = np.cumsum(lengths, dtype=np.int64)
        digest.update(offsets.tobytes())
        stretches = stretches_of(np.memmap(temporary / "tokens.bin", np.uint8, "r"), offsets)
        np.save(temporary / "offsets.npy", offsets)
        np.save(temporary / "stretches.npy", stretches)
        about = {"names": names, "digest": digest.hexdigest()}
        (temporary / "corpus.json").write_text(json.dumps(about))
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fingerprint(files: list[Path]) -> str:
    """A name that changes whenever the tokens of these files may."""
    try:
        facts = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error})") from None
    return hashlib.sha256(repr([FORMAT_VERSION, TOKENIZER_VERSION, GAP_BP, facts]).encode()).hexdigest()[:32]


def fasta_pieces(files: Iterable[Path]) -> Iterator[tuple[str, bool, Tokens]]:
    """Records of FASTA files in pieces of a few megabytes: name, whether the record begins here, tokens.

    Records without a letter are left out. Raises InputError that names the file, and the record or line.
    """
    for path in files:
        try:
            yield from _pieces(path)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: cannot be read ({error})") from error


def _pieces(path: Path) -> Iterator[tuple[str, bool, Tokens]]:
    name, letters, before, begun = "", bytearray(), 0, False

    def piece() -> tuple[str, bool, Tokens]:
        try:
            return name, before == 0, encode(bytes(letters))
        except LetterError as error:
            place = f"position {before + error.position + 1}"
            raise InputError(f"{path}, record '{name}', {place}: {error.fault}") from None

    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.startswith(b">"):
                if letters:
                    yield piece()
                words = line[1:].decode("utf-8", "replace").split()
                name, letters, before, begun = words[0] if words else "", bytearray(), 0, True
            elif not begun:
                raise InputError(f"{path}, line {number}: a FASTA file begins with '>' and a name")
            else:
                letters += line.strip()
                if len(letters) >= CHUNK_BYTES:
                    yield piece()
                    before, letters = before + len(letters), bytearray()
        if not begun:
            raise InputError(f"{path}: the file is empty; a FASTA file was expected")
        if letters:
            yield piece()


def stretches_of(tokens: Tokens, offsets: NDArray[np.int64]) -> Intervals:
    """What of each record lies between gaps of GAP_BP or more letters that are no A, C, G or T."""
    gaps = np.concatenate([np.zeros((0, 2), np.int64), *_unknown_runs(tokens)])
    gaps = gaps[gaps[:, 1] - gaps[:, 0] >= GAP_BP]
    bounds = np.concatenate([[0], gaps.ravel(), [len(tokens)]]).reshape(-1, 2)
    return intersection(np.stack([offsets[:-1], offsets[1:]], axis=1), bounds)


def _unknown_runs(tokens: Tokens) -> Iterator[Intervals]:
    """Runs of letters that are no A, C, G or T, found chunk by chunk."""
    open_since: int | None = None
    for first in range(0, len(tokens), CHUNK_BYTES):
        chunk = tokens[first : first + CHUNK_BYTES]
        unknown = (chunk < A) | (chunk > T)
        edges = (np.flatnonzero(np.diff(unknown, prepend=open_since is not None)) + first).tolist()
        if open_since is not None:
            edges.insert(0, open_since)
        open_since = edges.pop() if len(edges) % 2 else None
        yield np.array(edges, dtype=np.int64).reshape(-1, 2)
    if open_since is not None:
        yield np.array([[open_since, len(tokens)]], dtype=np.int64)


def _union(intervals: Intervals) -> Intervals:
    """Sorted, with what overlaps or touches joined."""
    ordered = intervals[np.argsort(intervals[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ordered[:, 1])
    opens = np.concatenate([[True], ordered[1:, 0] > reach[:-1]])
    return np.stack([ordered[opens, 0], reach[np.concatenate([opens[1:], [True]])]], axis=1)


def intersection(one: Intervals, other: Intervals) -> Intervals:
    """Every non-empty overlap of an interval of `one` with an interval of `other`, in order."""
    first = np.searchsorted(other[:, 1], one[:, 0], side="right")
    counts = np.maximum(np.searchsorted(other[:, 0], one[:, 1], side="left") - first, 0)
    mine = np.repeat(np.arange(len(one)), counts)
    theirs = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    overlap = np.stack([np.maximum(one[mine, 0], other[theirs, 0]), np.minimum(one[mine, 1], other[theirs, 1])], axis=1)
    return overlap[overlap[:, 0] < overlap[:, 1]]
