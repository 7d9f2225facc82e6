"""What a plan knows about the data sets of a study: from this machine, from an earlier call, or from official figures.

Nothing is downloaded. A data set that is not on this machine is planned by the note that an earlier call left in the
results folder (it includes the digest, so that runs are recognised as done), or else, if it is official, by the
published counts. Next: `workload.py`, the work of its runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hyena.data.catalogue import OFFICIAL, deciles
from hyena.data.datasets import default_data_dir, is_present
from sweep.earlier_notes import DataNote, data_notes
from sweep.study import Study
from sweep.trials import DataFacts, DataSpec, data_spec, facts_of, load_data

#: Bytes in an archive of text files for each sequence, and for each letter: two archives with sequences of 500 and 251
#: letters have 346 and 271 bytes a sequence.
ARCHIVE_BYTES, ARCHIVE_BYTES_A_LETTER = 195, 0.302
#: Bytes of a sequence's offset and label in the cache of tokens; a letter is one more byte.
CACHED_BYTES = 16


@dataclass(frozen=True)
class PlannedData:
    """A data set of a plan.

    Attributes:
        lengths_bp: deciles of the lengths of its sequences, as `hyena.data.catalogue` has them.
        here: whether it is on this machine.
        source: where the facts come from, in words; empty where the data set itself was read.
        missing: why it is not here and what a sweep would do, in words; empty where it is here.
        download: whether a sweep would download it.
    """

    spec: DataSpec
    facts: DataFacts
    lengths_bp: tuple[int, ...]
    here: bool = True
    source: str = ""
    missing: str = ""
    download: bool = False

    @property
    def letters(self) -> float:
        """Letters of all its sequences, approximately."""
        positions = np.linspace(0, 1, len(self.lengths_bp))
        return float(self.sequences * np.trapezoid(self.lengths_bp, positions))

    @property
    def sequences(self) -> int:
        return self.facts.train_examples + self.facts.validation_examples + self.facts.test_examples

    @property
    def archive_bytes(self) -> float:
        """Size of the download."""
        return self.sequences * ARCHIVE_BYTES + self.letters * ARCHIVE_BYTES_A_LETTER

    @property
    def cache_bytes(self) -> float:
        """Size in the cache of tokens."""
        return self.sequences * CACHED_BYTES + self.letters


@dataclass(frozen=True)
class Unknown:
    """A data set about which nothing is known: the user's own, and not on this machine."""

    missing: str


def planned_data(
    study: Study, noted: Mapping[str, Any] | None, data_dir: Path | None
) -> dict[str, PlannedData | Unknown]:
    """All data sets of a study, by name.

    Args:
        noted: the results folder's `study.json`, where an earlier call left it.
        data_dir: where data sets are looked for.

    Raises InputError where one that is here cannot be read.
    """
    return dict(_planned(study, data_notes(noted or {}), data_dir))


def _planned(study: Study, notes: Mapping[str, DataNote], data_dir: Path | None) -> Iterator[tuple[str, Any]]:
    for name in study.grid.datasets:
        spec = data_spec(study, name, data_dir)
        if spec.synthetic is not None or is_present(name, spec.source, data_dir):
            dataset = load_data(spec)
            lengths = np.concatenate([split.lengths for split in dataset.splits.values()])
            yield name, PlannedData(spec, facts_of(dataset), deciles(lengths))
            continue
        missing = "not on this machine, would be downloaded"
        if spec.source is not None:
            place = spec.source.path or (data_dir or default_data_dir()) / name
            missing = f"{place} does not exist"
        if name in notes:
            yield name, _noted(spec, notes[name], missing)
        elif spec.source is None:
            yield name, _official(spec, missing)
        else:
            yield name, Unknown(f"{missing}; its runs are not in this plan's time, cost and bytes")


def _official(spec: DataSpec, missing: str) -> PlannedData:
    """From the published figures. The digest is unknown, so none of its runs is recognised as done."""
    entry = OFFICIAL[spec.name]
    facts = DataFacts(
        digest=f"unknown-{spec.name}",
        classes=entry.classes,
        class_counts=tuple(entry.train[name] for name in entry.classes),
        longest=entry.longest_bp,
        validation_examples=0,
        test_examples=sum(entry.test.values()),
    )
    return PlannedData(spec, facts, entry.lengths_bp, False, "official figures", missing, True)


def _noted(spec: DataSpec, note: DataNote, missing: str) -> PlannedData:
    """From the note of an earlier call, which has only the longest length unless the data set is an official one."""
    classes = note.classes
    entry = OFFICIAL.get(spec.name) if note.official else None
    if entry is not None and set(entry.classes) != set(classes):
        entry = None
    facts = DataFacts(
        digest=note.digest,
        classes=classes,
        class_counts=tuple(entry.train[name] for name in classes) if entry else _evenly(note.train, len(classes)),
        longest=note.longest,
        validation_examples=note.validation or 0,
        test_examples=note.test,
    )
    lengths = entry.lengths_bp if entry else (note.longest,) * 11
    source = "from the notes of an earlier call"
    return PlannedData(spec, facts, lengths, False, source, missing, spec.source is None)


def _evenly(examples: int, classes: int) -> tuple[int, ...]:
    """Counts that are as equal as possible, where only their sum is known."""
    return tuple((examples + place) // classes for place in range(classes))
