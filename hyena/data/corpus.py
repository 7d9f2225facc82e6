"""Genomes for pretraining: FASTA files become one memory-mapped file of tokens in the user's cache folder.

The file holds the tokens of all records end to end, one byte each; beside it are the offsets of the records and of
their stretches without gaps. All are made in one pass over the FASTA files, a few megabytes at a time. So a genome of
3 Gb takes 3 GB of disk, and only the pages that its windows touch take memory. Next: `training/pretraining.py`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hyena.data.fasta import CHUNK_BYTES
from hyena.data.fasta_tokens import token_pieces
from hyena.data.intervals import Intervals, intersection, union
from hyena.data.sequences import AMBIGUOUS_FRACTION
from hyena.data.tokenizer import TOKENIZER_VERSION, A, T
from hyena.errors import InputError, nearest
from hyena.system.paths import cache_folder
from hyena.system.waiting import locked

Tokens = NDArray[np.uint8]
#: At least so many consecutive letters other than A, C, G and T are a gap between stretches; windows do not span gaps.
GAP_BP = 50
FORMAT_VERSION = 2  # increase when the format of the files below changes
_log = logging.getLogger(__name__)


class Corpus:
    """Tokens of all records end to end, and the bounds of each record and of each stretch without gaps.

    Attributes:
        tokens: uint8 [total]; may be a memory map.
        offsets: int64 [records + 1]: bounds of the records.
        names: of the records: the first word of each header.
        stretches: the intervals between gaps, each within a record.
        digest: SHA-256 of tokens and offsets.
    """

    tokens: Tokens
    offsets: NDArray[np.int64]
    names: tuple[str, ...]
    stretches: Intervals
    digest: str

    def __init__(self, records: Iterable[Tokens], names: Iterable[str] = ()) -> None:
        """A corpus in memory, from the tokens of each record as `encode` returns them. Empty records are skipped."""
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
        """Stretches to train on, and stretches to hold out.

        Args:
            validation_fraction: share of every record, at its end, that is held out if `hold_out` is empty.
            hold_out: records to hold out instead, or parts of them as RECORD:FIRST-LAST (from 1, both included).

        Raises InputError for a record or a part that does not exist.
        """
        named = [place for text in hold_out for place in self._places(text)]
        if named:
            held = union(np.array(named, dtype=np.int64))
            self._refuse_copies(held)
        else:
            start, end = self.offsets[:-1], self.offsets[1:]
            held = np.stack([end - np.round((end - start) * validation_fraction).astype(np.int64), end], axis=1)
        bounds = np.concatenate([[0], held.ravel(), [len(self.tokens)]])
        return intersection(self.stretches, bounds.reshape(-1, 2)), intersection(self.stretches, held)

    def _places(self, text: str) -> list[tuple[int, int]]:
        """First and past-the-end positions of an entry of `hold_out`; the name of a record may contain a colon."""
        part = re.fullmatch(r"(.+):(\d{1,18})-(\d{1,18})", text)
        name = text if part is None or text in self.names else part[1]
        records = [number for number, of_record in enumerate(self.names) if of_record == name]
        if not records:
            raise InputError(f"hold_out: no record '{name}' in the corpus; {nearest(name, self.names[:20])}")
        places = [(int(self.offsets[number]), int(self.offsets[number + 1])) for number in records]
        if part is None or name == text:
            return places
        if len(places) > 1:
            raise InputError(
                f"hold_out: '{text}': {len(places)} records are called '{name}'; "
                "hold out all of them by that name, or rename them"
            )
        (start, end), first, last = places[0], int(part[2]), int(part[3])
        if not 1 <= first <= last <= end - start:
            raise InputError(f"hold_out: '{text}': must lie within 1-{end - start}, the bases of that record")
        return [(start + first - 1, start + last)]

    def _refuse_copies(self, held: Intervals) -> None:
        """Raise InputError if a record that is held out as a whole is also in the training part under another name."""
        lengths = np.diff(self.offsets)
        around = np.maximum(np.searchsorted(held[:, 0], self.offsets[:-1], side="right") - 1, 0)
        is_held = (held[around, 0] <= self.offsets[:-1]) & (self.offsets[1:] <= held[around, 1])
        shared = np.intersect1d(lengths[is_held], lengths[~is_held])
        alike = np.flatnonzero(np.isin(lengths, shared))
        name_of = {self.digest_of(i, i + 1): self.names[i] for i in alike.tolist() if is_held[i]}
        for i in alike.tolist():
            if not is_held[i] and (name := name_of.get(self.digest_of(i, i + 1))):
                raise InputError(
                    f"hold_out: record '{self.names[i]}' has the same letters as '{name}', which is held out; "
                    "hold out both, or remove one from the corpus"
                )

    def digest_of(self, first: int, last: int) -> bytes:
        """SHA-256 of the tokens of records first … last − 1, end to end."""
        return hashlib.sha256(np.ascontiguousarray(self.tokens[self.offsets[first] : self.offsets[last]]).data).digest()


class StoredCorpus(Corpus):
    """A corpus whose tokens are memory-mapped from a folder that `store` wrote."""

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "corpus.json").read_text())
        self.names, self.digest = tuple(about["names"]), about["digest"]
        self.offsets, self.stretches = (np.load(folder / f"{name}.npy") for name in ("offsets", "stretches"))
        self.tokens = np.memmap(folder / "tokens.bin", np.uint8, "r")
        if len(self.tokens) != self.offsets[-1]:
            raise OSError(f"{folder}: found {len(self.tokens)} tokens, expected {self.offsets[-1]}")


def read_corpus(
    paths: Iterable[Path], cache_dir: Path | None = None, ambiguous_fraction: float = AMBIGUOUS_FRACTION
) -> Corpus:
    """All records of FASTA files, plain or compressed, in order; stored in the cache once and memory-mapped from there.

    Safe with many processes at once. If the cache is not writable, the corpus is held in memory.

    Args:
        ambiguous_fraction: largest share of a record that may be letters other than A, C, G, T and N, 0 … 1.

    Raises InputError that names the file, and the record or line: a file that is not FASTA of DNA, has no sequence, or
    is given twice.
    """
    files = list(paths)
    for one, other in combinations(files, 2):
        if one.resolve() == other.resolve():
            raise InputError(f"{other}: the corpus names this file twice, also as {one}; expected each file once")
    folder = cache_dir if cache_dir is not None else cache_folder() / "corpora"
    try:
        entry = folder / _fingerprint(files, ambiguous_fraction)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(f"{entry}.lock", "storing the same corpus"):
            return _stored(files, entry, ambiguous_fraction)
    except (OSError, NotImplementedError) as error:
        _log.warning("the corpus is held in memory: %s is not usable (%s)", folder, error)
    records: list[tuple[str, list[Tokens]]] = []
    ends: list[int] = []
    for file in files:
        for piece in token_pieces(file, ambiguous_fraction):
            if piece.begins:
                records.append((piece.name, []))
            records[-1][1].append(piece.tokens)
        ends.append(len(records))
    corpus = Corpus([np.concatenate(pieces) for _, pieces in records], [name for name, _ in records])
    _refuse_same_content(corpus, files, ends)
    return corpus


def _stored(files: list[Path], entry: Path, ambiguous_fraction: float) -> Corpus:
    try:
        return StoredCorpus(entry)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError) as error:
        _log.warning("%s: the stored corpus is damaged and will be rebuilt (%s)", entry, error)
    store(files, entry, ambiguous_fraction)
    return StoredCorpus(entry)


def store(files: Sequence[Path], folder: Path, ambiguous_fraction: float = AMBIGUOUS_FRACTION) -> None:
    """Write tokens and index of FASTA files to `folder`, atomically."""
    temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}.writing-", dir=folder.parent))
    try:
        names: list[str] = []
        ends: list[int] = []
        lengths, digest = [0], hashlib.sha256()
        with (temporary / "tokens.bin").open("wb") as stream:
            for file in files:
                for piece in token_pieces(file, ambiguous_fraction):
                    if piece.begins:
                        names.append(piece.name)
                        lengths.append(0)
                    lengths[-1] += len(piece.tokens)
                    digest.update(piece.tokens.data)
                    stream.write(piece.tokens.data)
                ends.append(len(names))
        if not names:
            raise InputError("the corpus holds no sequence")
        offsets = np.cumsum(lengths, dtype=np.int64)
        digest.update(offsets.tobytes())
        stretches = stretches_of(np.memmap(temporary / "tokens.bin", np.uint8, "r"), offsets)
        np.save(temporary / "offsets.npy", offsets)
        np.save(temporary / "stretches.npy", stretches)
        about = {"names": names, "digest": digest.hexdigest()}
        (temporary / "corpus.json").write_text(json.dumps(about))
        _refuse_same_content(StoredCorpus(temporary), files, ends)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fingerprint(files: list[Path], ambiguous_fraction: float) -> str:
    """A name that changes whenever the tokens of these files may change."""
    try:
        facts = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None
    told = [FORMAT_VERSION, TOKENIZER_VERSION, GAP_BP, ambiguous_fraction, facts]
    return hashlib.sha256(repr(told).encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _refuse_same_content(corpus: Corpus, files: Sequence[Path], ends: Sequence[int]) -> None:
    """Raise InputError if two files hold the same letters in the same records, whatever their names.

    Args:
        ends: number of records up to the end of each file.
    """
    lengths = np.diff(corpus.offsets)
    bounds = list(pairwise([0, *ends]))
    for (first, last), (other_first, other_last) in combinations(bounds, 2):
        alike = np.array_equal(lengths[first:last], lengths[other_first:other_last])
        if alike and corpus.digest_of(first, last) == corpus.digest_of(other_first, other_last):
            one, other = (files[bounds.index(place)] for place in ((first, last), (other_first, other_last)))
            raise InputError(f"{other}: the same sequences as in {one}; remove one of the two files")


def stretches_of(tokens: Tokens, offsets: NDArray[np.int64]) -> Intervals:
    """The parts of each record between gaps: GAP_BP or more consecutive letters other than A, C, G and T."""
    gaps = np.concatenate([np.zeros((0, 2), np.int64), *_unknown_runs(tokens)])
    gaps = gaps[gaps[:, 1] - gaps[:, 0] >= GAP_BP]
    bounds = np.concatenate([[0], gaps.ravel(), [len(tokens)]]).reshape(-1, 2)
    return intersection(np.stack([offsets[:-1], offsets[1:]], axis=1), bounds)


def _unknown_runs(tokens: Tokens) -> Iterator[Intervals]:
    """Runs of letters other than A, C, G and T, found chunk by chunk."""
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
