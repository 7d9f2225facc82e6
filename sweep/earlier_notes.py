"""Notes in `study.json` for a later plan: on data sets and weights that a machine lacks, and on the results' version.

A note whose types are not those that this version writes is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from hyena.data.sequences import Dataset
from sweep.pretrainings import FILES, PUBLISHED_WEIGHTS, PretrainingId
from sweep.store import Store
from sweep.trials import RESULT_VERSION, RunSpec

T = TypeVar("T")

#: Digits of a digest that name weights in the store and in the identity of a run.
KEY_DIGITS = 16

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
    """Weights as they were found or are made here.

    Attributes:
        model, corpus, seed: of `sweep.pretrainings.PretrainingId`.
        key: what names them in the store; in notes of found weights the beginning of their tensors' digest.
    """

    model: str
    corpus: str
    seed: int | None
    key: str

    @property
    def pretraining(self) -> PretrainingId:
        return PretrainingId(self.model, self.corpus, self.seed)


@dataclass(frozen=True)
class _EarlierWeightsNote:
    """As releases wrote it that had one set of weights of a size, by the model's name."""

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


def weights_notes(study: Mapping[str, Any]) -> dict[PretrainingId, str]:
    """The keys of weights that a `study.json` notes."""
    notes = study.get("pretrainings")
    if notes is None:
        return _earlier_weights_notes(study)
    found = _valid(WeightsNote, dict(enumerate(notes)) if isinstance(notes, list) else None)
    return {note.pretraining: note.key for note in found.values()}


def _earlier_weights_notes(study: Mapping[str, Any]) -> dict[PretrainingId, str]:
    """The same from the notes of earlier releases, whose sizes had one set of weights each."""
    paths = (places_of_weights(study) or {}).get("paths") or {}
    notes = _valid(_EarlierWeightsNote, study.get("weights_found"))
    ids = {name: (FILES, 1) if name in paths else (PUBLISHED_WEIGHTS, None) for name in notes}
    return {PretrainingId(name, *ids[name]): note.digest[:KEY_DIGITS] for name, note in notes.items()}


def results_of_another_version(store: Store, runs: Sequence[RunSpec]) -> list[str]:
    """A line where the folder holds runs made under another `RESULT_VERSION`, which a plan of these runs leaves out."""
    noted = store.noted_study()
    if not noted or noted.get("result_version") == RESULT_VERSION:
        return []
    others = len(store.ended().difference(run.run_id for run in runs))
    line = (
        f"{store.uri} holds {others} {'run' if others == 1 else 'runs'} of a release with other results: kept, but "
        "every run is made anew, and a report will then show the new runs only (to report the earlier ones, too, "
        "choose another folder with --results)"
    )
    return [line] if others else []


def places_of_weights(study: Mapping[str, Any]) -> dict[str, Any] | None:
    """[weights] of a resolved study, for comparison: earlier releases wrote one path where a list of them is now."""
    weights = study.get("weights")
    if not isinstance(weights, dict) or not isinstance(weights.get("paths"), dict):
        return None
    listed = {name: [path] if isinstance(path, str) else path for name, path in weights["paths"].items()}
    return {**weights, "paths": listed}


def _valid(kind: type[T], notes: Any) -> dict[Any, T]:
    """Those of the notes that have the types of `kind`."""
    found, adapter = {}, TypeAdapter(kind)
    for name, note in notes.items() if isinstance(notes, dict) else ():
        try:
            found[name] = adapter.validate_json(json.dumps(note), strict=True)
        except ValidationError:
            continue
    return found
