"""What every reader of labelled sequences returns: the examples of a split in canonical order. Next: `datasets.py`.

Nothing is tokenised yet: sequences are bytes, labels are text. Examples of folders and archives are sorted by class and
then by id (numbers in ids in natural order), those of tables and FASTA files keep the order of the file. So the same
sequences give the same data set whichever container holds them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from hyena.data.sequences import SPLIT_NAMES

T = TypeVar("T")
_MOST_DIGITS = 4_000  # Python refuses to read longer integers


@dataclass
class Examples:
    """Sequences of one split in canonical order; `place(i)` names sequence i in an error.

    Attributes:
        source: the file or folder of the split, for errors.
        notes: what a reader of results should know of how it was read, one sentence each.
    """

    place: Callable[[int], str]
    source: str
    sequences: list[bytes] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def in_order(splits: Mapping[str, T]) -> list[tuple[str, T]]:
    """Train, validation, test: the order in which faults are looked for."""
    return [(name, splits[name]) for name in SPLIT_NAMES if name in splits]


def natural_key(text: str) -> tuple[list[str | int], str]:
    """Sorts "x2" before "x10"; texts that differ only in leading zeros are told apart by the text itself."""
    if text.isdecimal() and text.isascii():  # what the general rule gives, at a fifth of its time
        return ["", whole_number(text), ""], text
    parts: list[str | int] = [
        whole_number(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]+)", text))
    ]
    return parts, text


def whole_number(digits: str) -> int:
    """A number that sorts as these decimal digits (and their sign) do, however many there are."""
    if len(digits) <= _MOST_DIGITS:
        return int(digits)
    sign, plain = (-1 if digits[0] == "-" else 1), digits.lstrip("+-").lstrip("0") or "0"
    # Read as hexadecimal, long numbers keep their order, and stay beyond the short ones.
    return sign * int(plain, 10 if len(plain) <= _MOST_DIGITS else 16)
