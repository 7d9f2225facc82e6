"""An audit of a data set: how many sequences of each split have a partner in another split. Next: `kmers.py`.

A model that has memorised its training set scores as well on such test sequences as one that generalises, and models
of different sizes memorise to different degrees. So audit a data set before comparing accuracies on it.

Three measures, each between every pair of splits and within each split, per class, and separately for partners of the
same class and of another class (a model cannot get both of those right):

    exact_duplicate      the same letters
    reverse_complement   the same letters on the other strand
    shared_kmer          k consecutive letters in common (60 by default) on either strand; sequences shorter than k and
                         windows with an ambiguous letter share none

For the official data sets there are three more, by position on the genome (`interval_lists.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from hyena.data.sequences import Dataset, Integers
from hyena.leakage.counts import Comparison, Flags, PartnerCount, counts_table
from hyena.leakage.interval_lists import interval_flags, read_interval_lists
from hyena.leakage.kmers import SharedKmers, find_shared, letters_of, pool_of


@dataclass(frozen=True, eq=False)
class Audit:
    """What the audit of one data set found.

    Attributes:
        counts: sequences with a partner, for each comparison and class.
        flags: for each comparison, bool [N of its split]: which sequences have a partner.
    """

    counts: list[PartnerCount]
    flags: dict[Comparison, Flags]

    @property
    def table(self) -> pa.Table:
        """The counts as a table of `hyena.leakage.counts.SCHEMA`."""
        return counts_table(self.counts)


def audit(dataset: Dataset, k: int = 60) -> Audit:
    """Find duplicates, reverse complements and shared k-mers within and between all splits of a data set.

    Time and memory: about 30 s and 2 GiB on one core for 300,000 sequences of 500 letters.

    Args:
        k: consecutive letters that count as shared, 32 … 64.
    """
    flags: dict[Comparison, Flags] = {}
    for measure, partners in (
        ("exact_duplicate", _identical(dataset, other_strand=False)),
        ("reverse_complement", _identical(dataset, other_strand=True)),
        ("shared_kmer", _sharing(dataset, find_shared(pool_of(dataset.splits.values()), k))),
    ):
        for split, against, same, other in partners:
            flags[Comparison(measure, split, against, "same")] = same
            flags[Comparison(measure, split, against, "other")] = other
            flags[Comparison(measure, split, against, "any")] = same | other
    counts = []
    for comparison, found in flags.items():
        labels = np.asarray(dataset.splits[comparison.split].labels)
        k_of_measure = k if comparison.measure == "shared_kmer" else None
        for of_class in _by_class(dataset.classes, labels, found):
            counts.append(PartnerCount(dataset.name, dataset.digest, k_of_measure, comparison, *of_class))
    return Audit(counts, flags)


def sequence_table(dataset: Dataset, flags: dict[Comparison, Flags]) -> pa.Table:
    """Which sequences of validation and test have a partner in train, so that a model can be scored without them.

    Columns: split, example (position in the split, as in the predictions table), label, and for each measure
    `MEASURE` and `MEASURE_other_class`.
    """
    parts = []
    for name, split in dataset.splits.items():
        if name != "train":
            columns = {"split": pa.array([name] * len(split)), "example": pa.array(np.arange(len(split)))}
            columns["label"] = pa.array(np.asarray(split.labels))
            for (measure, of, against, partner_class), found in flags.items():
                if (of, against) == (name, "train") and partner_class != "same":
                    columns[measure if partner_class == "any" else f"{measure}_other_class"] = pa.array(found)
            parts.append(pa.table(columns))
    return pa.concat_tables(parts)


def audit_intervals(name: str, coordinates: Path) -> list[PartnerCount]:
    """Counts for an official data set from a folder of interval lists: train against test, and test against train."""
    classes, labels, flags = interval_flags(read_interval_lists(name, coordinates))
    return [
        PartnerCount(name, None, None, comparison, *of_class)
        for comparison, found in flags.items()
        for of_class in _by_class(classes, labels[comparison.split], found)
    ]


def _by_class(classes: tuple[str, ...], labels: Integers, found: Flags) -> Iterator[tuple[str, int, int]]:
    """Each class, its flagged sequences and all its sequences; then the same for "all"."""
    counts = np.bincount(labels[found], minlength=len(classes)).tolist()
    totals = np.bincount(labels, minlength=len(classes)).tolist()
    yield from zip((*classes, "all"), [*counts, sum(counts)], [*totals, sum(totals)], strict=True)


Partners = Iterator[tuple[str, str, Flags, Flags]]
"""Split, other split, and which sequences of the first have a partner of the same, and of another, class there."""


def _identical(dataset: Dataset, other_strand: bool) -> Partners:
    """Partners with exactly the same letters, or exactly the letters of the other strand."""
    keys = {name: letters_of(split) for name, split in dataset.splits.items()}
    sought = {name: letters_of(split, other_strand) for name, split in dataset.splits.items()}
    for against, partners in dataset.splits.items():
        counts: dict[bytes, dict[int, int]] = {}  # letters -> class -> how many
        for key, label in zip(keys[against], partners.labels.tolist(), strict=True):
            of_key = counts.setdefault(key, {})
            of_key[label] = of_key.get(label, 0) + 1
        for name, split in dataset.splits.items():
            same, other = np.zeros(len(split), bool), np.zeros(len(split), bool)
            for i, (key, label) in enumerate(zip(sought[name], split.labels.tolist(), strict=True)):
                if held := counts.get(key):
                    itself = name == against and key == keys[name][i]
                    same[i] = held.get(label, 0) > itself
                    other[i] = len(held) > (label in held)
            yield name, against, same, other


def _sharing(dataset: Dataset, shared: SharedKmers) -> Partners:
    """Partners with a k-mer in common. A sequence that repeats a k-mer within itself is not its own partner."""
    first = 0
    bounds = {}
    for name, split in dataset.splits.items():
        bounds[name] = (first, first + len(split))
        first += len(split)
    labels = np.concatenate([split.labels for split in dataset.splits.values()])[shared.sequences]
    for against, (low, high) in bounds.items():
        inside = (shared.sequences >= low) & (shared.sequences < high)
        cells = shared.kmers[inside] * len(dataset.classes) + labels[inside]
        # [k-mers, classes]: how many sequences of `against` of that class hold that k-mer
        holders = np.bincount(cells, minlength=shared.n_kmers * len(dataset.classes)).astype(np.int32)
        holders_of_kmer = holders.reshape(-1, len(dataset.classes)).sum(axis=1, dtype=np.int32)
        for name, (start, end) in bounds.items():
            ours = (shared.sequences >= start) & (shared.sequences < end)
            kmers, sequences = shared.kmers[ours], shared.sequences[ours] - start
            of_class = holders[kmers * len(dataset.classes) + labels[ours]]
            same, other = np.zeros(end - start, bool), np.zeros(end - start, bool)
            same[sequences[of_class > (1 if name == against else 0)]] = True
            other[sequences[holders_of_kmer[kmers] > of_class]] = True
            yield name, against, same, other
