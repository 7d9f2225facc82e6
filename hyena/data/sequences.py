"""Labelled sequences in memory: packed tokens, classes and splits. Next: `subsets.py`, then `batches.py`.

A split holds all its sequences end to end in one uint8 array, sequence i at `tokens[offsets[i]:offsets[i + 1]]`. It can
therefore be memory-mapped, shared by all processes of a machine, and indexed without a Python loop.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hyena.data.tokenizer import UNK, LetterError, encode
from hyena.errors import InputError

Integers = NDArray[np.int64]
SPLIT_NAMES = ("train", "validation", "test")
#: Largest share of a sequence that may be ambiguous letters other than N; above it, the sequence is a protein or RNA.
AMBIGUOUS_FRACTION = 0.1


@dataclass(frozen=True, eq=False)
class Split:
    """Sequences and their class numbers.

    tokens: uint8 [total]; offsets: int64 [N + 1], from 0 to total; labels: int64 [N]. May be read-only memory maps.
    """

    tokens: NDArray[np.uint8]
    offsets: Integers
    labels: Integers

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> Integers:
        """int64 [N]: length of each sequence in base pairs."""
        return np.diff(self.offsets)

    def take(self, indices: Integers) -> "Split":
        """The sequences at `indices` (int64 [M], any order, repeats allowed), copied, in that order."""
        indices = np.asarray(indices, np.int64)
        lengths = self.lengths[indices]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        if len(indices) and np.all(np.diff(indices) > 0):  # a subset in order: a mask is several times faster
            keep = np.zeros(len(self), bool)
            keep[indices] = True
            tokens = np.asarray(self.tokens)[np.repeat(keep, self.lengths)]
        else:
            tokens = np.empty(offsets[-1], np.uint8)
            for first in range(0, len(indices), 16_384):  # bounds the memory of the int64 index
                rows = slice(first, first + 16_384)
                start, end = offsets[first], offsets[min(first + 16_384, len(indices))]
                shift = self.offsets[indices[rows]] - offsets[:-1][rows]
                tokens[start:end] = self.tokens[np.repeat(shift, lengths[rows]) + np.arange(start, end)]
        return Split(tokens, offsets, np.asarray(self.labels)[indices])


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification task: sequences to train on, to select by, and to score on.

    Attributes:
        classes: names; a label is an index into them.
        validation: None if the data set has none and none was cut (`with_validation`).
        digest: SHA-256 of classes, tokens, offsets and labels of all splits as loaded, independent of the location
            and the container of the files. `with_validation` and `training_subset` keep it: the digest identifies the
            data, their arguments identify the part of it.
        official: whether the sequence counts are those published for a data set of this name.
        notes: what a reader of the results should know, one sentence each.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split | None
    test: Split
    digest: str
    official: bool = False
    notes: tuple[str, ...] = ()

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that exist, by name, in the order train, validation, test."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}

    @property
    def longest(self) -> int:
        """Length of the longest sequence of any split, in base pairs."""
        return max(int(split.lengths.max()) for split in self.splits.values())


def pack(
    sequences: list[bytes], labels: Iterable[int], place: Callable[[int], str], ambiguous_fraction: float = 1.0
) -> Split:
    """Tokenise sequences into one split.

    Args:
        place: the location of sequence i for error messages, such as "FILE" or "FILE, line 12".
        ambiguous_fraction: largest share of a sequence that may be letters other than A, C, G, T and N, 0 … 1.

    Raises:
        InputError: an empty sequence, a letter that is not a nucleotide, or too many ambiguous letters.
    """
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    if len(lengths) and not lengths.all():
        raise InputError(f"{place(int(np.argmin(lengths)))}: the sequence is empty; expected at least one letter")
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    try:
        tokens = encode(b"".join(sequences))
    except LetterError as error:
        index = int(np.searchsorted(offsets, error.position, side="right")) - 1
        position = error.position - int(offsets[index]) + 1
        raise InputError(f"{place(index)}: {error.fault}, at position {position} of the sequence") from None
    unknown = np.flatnonzero(tokens == UNK)
    if len(unknown):
        counts = np.bincount(np.searchsorted(offsets, unknown, side="right") - 1, minlength=len(sequences))
        over = np.flatnonzero(counts > ambiguous_fraction * lengths)
        if len(over):
            index = int(over[0])
            fault = ambiguity(int(counts[index]), sequences[index].upper().count(b"U"), int(lengths[index]))
            raise InputError(f"{place(index)}: {fault}; or raise ambiguous_fraction")
    return Split(tokens, offsets, np.fromiter(labels, np.int64, len(sequences)))


def ambiguity(unknown: int, uracils: int, letters: int) -> str:
    """The error for a sequence with too many ambiguous letters: what it seems to be, and what to change.

    Args:
        unknown: number of letters other than A, C, G, T and N; `uracils` of them are U.
    """
    share = 100 * unknown / letters
    percent = f"{share:.0f} %" if share >= 1 else f"{share:.2g} %"
    if 2 * uracils > unknown:
        return f"{percent} of the letters are U or ambiguous; is this RNA? Expected DNA, with T for U"
    return (
        f"{percent} of the letters are not A, C, G, T or N; is this a protein? Expected DNA, with N for unknown letters"
    )


def assemble(name: str, classes: tuple[str, ...], splits: dict[str, Split], place: str = "") -> Dataset:
    """A checked data set from its splits: "train", "test" and, optionally, "validation".

    Raises:
        InputError: fewer than two classes, a class missing in train or test, an empty validation split. The message
            begins with `place` (a path), or else with the name of the data set.
    """
    place = place or f"data set {name!r}"
    if len(classes) < 2:
        found = f"only one class ({classes[0]})" if classes else "no sequences"
        raise InputError(f"{place}: {found}; expected at least two classes")
    for split_name, split in ((key, splits[key]) for key in SPLIT_NAMES if key in splits):
        if len(split) == 0:
            raise InputError(f"{place}: no sequences in the {split_name} split; expected at least one of each class")
        counts = np.bincount(split.labels, minlength=len(classes))
        if split_name != "validation" and not counts.all():
            absent = classes[int(np.argmin(counts))]
            raise InputError(
                f"{place}: class {absent!r} has no sequences in the {split_name} split; "
                "expected sequences of every class in train and in test"
            )
    digest = content_digest(classes, splits)
    validation = splits.get("validation")
    return Dataset(name, classes, splits["train"], validation, splits["test"], digest, notes=_notes(splits))


def dataset_from_sequences(
    name: str,
    classes: Iterable[str],
    train: Iterable[tuple[bytes, int]],
    test: Iterable[tuple[bytes, int]],
    validation: Iterable[tuple[bytes, int]] | None = None,
) -> Dataset:
    """A data set in memory from (sequence, class number) pairs, whose order is kept."""
    classes = tuple(classes)
    splits = {}
    for split_name, pairs in (("train", train), ("validation", validation), ("test", test)):
        if pairs is None:
            continue
        examples = list(pairs)
        labels = [label for _, label in examples]
        if labels and not 0 <= min(labels) <= max(labels) < len(classes):
            raise InputError(f"data set {name!r}: class numbers must be from 0 to {len(classes) - 1}")
        where = f"data set {name!r}, {split_name} sequence "
        splits[split_name] = pack([sequence for sequence, _ in examples], labels, partial(_numbered, where))
    return assemble(name, classes, splits)


def _numbered(prefix: str, i: int) -> str:
    return f"{prefix}{i + 1}"


def content_digest(classes: tuple[str, ...], splits: dict[str, Split]) -> str:
    """SHA-256 (hexadecimal) of classes and splits, the same on every machine."""
    digest = hashlib.sha256(json.dumps(list(classes)).encode())
    for name in SPLIT_NAMES:
        if (split := splits.get(name)) is None:
            continue
        digest.update(f"{name} {len(split)} {len(split.tokens)}".encode())
        for array, dtype in ((split.offsets, "<i8"), (split.labels, "<i8"), (split.tokens, "u1")):
            digest.update(np.ascontiguousarray(array, dtype).data)
    return digest.hexdigest()


def _notes(splits: dict[str, Split]) -> tuple[str, ...]:
    unknown = sum(int(np.count_nonzero(split.tokens == UNK)) for split in splits.values())
    total = sum(len(split.tokens) for split in splits.values())
    if not unknown:
        return ()
    return (f"{unknown:,} of {total:,} letters are ambiguous (or U) and are read as [UNK]",)
