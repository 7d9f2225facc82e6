"""Notes on a study's data sets and weights in `study.json`, for a later plan on a machine that has neither.

A note whose types are not those that this version writes is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from hyena.data.sequences import Dataset

T = TypeVar("T")

Count = Annotated[int, Field(ge=0, lt=2**63)]


@dataclass(frozen=True)
class DataNote:
    """A data set as it was read: its digest, the names of its classes, and the number of examples of its splits.

    Attributes:
        longest: letters of its longest sequence.
        official: whether it is a published data set, complete.
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
    """Weights as they were found, by the digest of their tensors."""

    digest: str


def data_note(dataset: Dataset) -> dict[str, Any]:
    """The note of a data set, as JSON; the report reads it too."""
    return {
        "digest": dataset.digest,
        "classes": list(dataset.classes),
        "train": len(dataset.train),
        "validation": len(dataset.validation) if dataset.validation else None,
        "test": len(dataset.test),
        "longest": dataset.longest,
        "official": dataset.official,
        "notes": list(dataset.notes),
    }


def data_notes(study: Mapping[str, Any]) -> dict[str, DataNote]:
    """The notes in a `study.json`, by the name of the data set."""
    return _valid(DataNote, study.get("data"))


def weights_notes(study: Mapping[str, Any]) -> dict[str, WeightsNote]:
    """The notes in a `study.json`, by the name of the model."""
    return _valid(WeightsNote, study.get("weights_found"))


def _valid(kind: type[T], notes: Any) -> dict[str, T]:
    """Those of the notes that have the types of `kind`."""
    found, adapter = {}, TypeAdapter(kind)
    for name, note in notes.items() if isinstance(notes, dict) else ():
        try:
            found[name] = adapter.validate_json(json.dumps(note), strict=True)
        except ValidationError:
            continue
    return found
