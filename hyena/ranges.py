"""Ranges of numbers, declared on the fields of a dataclass and checked when a value is read or the dataclass is built.

    @dataclass(frozen=True)
    class Recipe:
        batch_size: Annotated[int, Range(ge=1, le=INT32)] = 256

        def __post_init__(self) -> None:
            require_ranges(self)

`bounds_of(Recipe)` returns the ranges by field, for documentation and tests.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_type_hints

from hyena.errors import InputError, shown

#: Largest 32-bit and 64-bit integers, which are the types of the integer columns of the result tables.
INT32, INT64 = 2**31 - 1, 2**63 - 1
#: Largest power of ten in float32. A smaller rate may still make the loss NaN: that fails the run, not the request.
FLOAT32 = 1e38
#: Number of positions that float32 can tell apart: the implicit filter computes its features from them in float32.
MOST_POSITIONS = 2**24


@dataclass(frozen=True)
class Range:
    """Finite numbers between two bounds: `ge` and `le` are included in the range, `gt` and `lt` are not.

    `str()` gives the end of a sentence that begins with "it must be".

    >>> str(Range(ge=0, lt=1)), 0 in Range(ge=0, lt=1), 1 in Range(ge=0, lt=1)
    ('at least 0 and less than 1', True, False)
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def __post_init__(self) -> None:
        assert (self.ge is None) != (self.gt is None), "a range has one lower bound"
        assert (self.le is None) != (self.lt is None), "a range has one upper bound"

    def __contains__(self, value: float) -> bool:
        above = value >= self.ge if self.ge is not None else value > self.gt  # type: ignore[operator]
        below = value <= self.le if self.le is not None else value < self.lt  # type: ignore[operator]
        return above and below and (isinstance(value, int) or math.isfinite(value))

    def __str__(self) -> str:
        if self.ge is not None and self.le is not None:
            return f"from {self.ge} to {self.le}"
        lower = f"at least {self.ge}" if self.ge is not None else f"more than {self.gt}"
        upper = f"at most {self.le}" if self.le is not None else f"less than {self.lt}"
        return f"{lower} and {upper}"


Seed = Annotated[int, Range(ge=-INT64 - 1, le=INT64)]
"""Seeds are hashed together with the name of a stream (`randomness.py`), so any integer that fits a column is valid."""

LearningRate = Annotated[float, Range(gt=0, le=FLOAT32)]
WeightDecay = Annotated[float, Range(ge=0, le=FLOAT32)]
GradientClip = Annotated[float, Range(gt=0, le=FLOAT32)]
Fraction = Annotated[float, Range(ge=0, le=1)]
DropoutRate = Annotated[float, Range(ge=0, lt=1)]


def range_in(annotation: Any) -> Range | None:
    """The range declared in a type annotation, at any depth; for `tuple[Seed, ...]`, the range of the elements."""
    if isinstance(annotation, Range):
        return annotation
    return next((found for part in get_args(annotation) if (found := range_in(part)) is not None), None)


@cache
def bounds_of(kind: type) -> dict[str, Range]:
    """The declared ranges of a dataclass by field, in the order of the fields."""
    hints = get_type_hints(kind, include_extras=True)
    found = {field.name: range_in(hints[field.name]) for field in dataclasses.fields(kind)}
    return {name: bounds for name, bounds in found.items() if bounds is not None}


def require(bounds: Range, value: Any, place: str) -> None:
    """InputError where a number, or an element of a list or tuple, is outside its range; `place` names the value.

    >>> require(Range(ge=1, le=8), [2, 9], "grid.seeds")
    Traceback (most recent call last):
    hyena.errors.InputError: grid.seeds.1 = 9: it must be from 1 to 8
    """
    for where, number in _numbers(value, place):
        if number not in bounds:
            raise InputError(f"{where} = {shown(number)}: it must be {bounds}")


def require_ranges(instance: Any) -> None:
    """InputError where a number in a dataclass is outside the range that its field declares."""
    for name, bounds in bounds_of(type(instance)).items():  # type: ignore[arg-type]
        require(bounds, getattr(instance, name), name)


def _numbers(value: Any, place: str) -> Iterator[tuple[str, float]]:
    """The numbers in a value, with their places; strings and None have none."""
    if isinstance(value, list | tuple):
        for index, element in enumerate(value):
            yield from _numbers(element, f"{place}.{index}")
    elif isinstance(value, int | float):
        yield place, value
