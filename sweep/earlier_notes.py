"""What an earlier call noted of a study's data sets and weights in `study.json`, for a plan where they are not here.

A note that is not as this version writes it counts as none: whoever reads one need not look at its types again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

T = TypeVar("T")

Count = Annotated[int, Field(ge=0, lt=2**63)]


@dataclass(frozen=True)
class DataNote:
    """A data set as it was read: its digest, the names of its classes, and the examples of its splits.

    Attributes:
        longest: letters of its longest sequence.
        official: whether it is a published one, read whole.
    """

    digest: str
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    train: Count
    validation: Count | None
    test: Count
    longest: Annotated[Count, Field(ge=1)]
    official: bool


@dataclass(frozen=True)
class WeightsNote:
    """Weights as they were found: the digest of their tensors."""

    digest: str


def data_notes(study: Mapping[str, Any]) -> dict[str, DataNote]:
    """By the name of the data set, of a resolved study as the results folder has it."""
    return _sound(DataNote, study.get("data"))


def weights_notes(study: Mapping[str, Any]) -> dict[str, WeightsNote]:
    """By the name of the model."""
    return _sound(WeightsNote, study.get("weights_found"))


def _sound(kind: type[T], notes: Any) -> dict[str, T]:
    """Those of the notes that are of this kind."""
    found, adapter = {}, TypeAdapter(kind)
    for name, note in notes.items() if isinstance(notes, dict) else ():
        try:
            found[name] = adapter.validate_json(json.dumps(note), strict=True)
        except ValidationError:
            continue
    return found
