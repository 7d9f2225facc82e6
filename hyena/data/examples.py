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
    """Sequences of one split in canonical order.

    Attributes:
        place: the location of sequence i for error messages.
        source: the file or folder of the split, for error messages.
        notes: what a reader of the results should know about how the split was read, one sentence each.
    """

    place: Callable[[int], str]
    source: str
    sequences: list[bytes] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def in_order(splits: Mapping[str, T]) -> list[tuple[str, T]]:
    """The splits in the order train, validation, test, in which they are checked."""
    return [(name, splits[name]) for name in SPLIT_NAMES if name in splits]


def natural_key(text: str) -> tuple[list[str | int], str]:
    """A sort key that puts "x2" before "x10"; the text itself orders texts that differ only in leading zeros."""
    if text.isdecimal() and text.isascii():  # the result of the general rule in a fifth of its time
        return ["", whole_number(text), ""], text
    parts: list[str | int] = [
        whole_number(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]+)", text))
    ]
    return parts, text


def whole_number(digits: str) -> int:
    """An integer that sorts like these decimal digits with their sign, however many there are."""
    if len(digits) <= _MOST_DIGITS:
        return int(digits)
    sign, plain = (-1 if digits[0] == "-" else 1), digits.lstrip("+-").lstrip("0") or "0"
    # Read as hexadecimal, long numbers keep their order and stay larger than the short ones.
    return sign * int(plain, 10 if len(plain) <= _MOST_DIGITS else 16)
