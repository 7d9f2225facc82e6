"""How much of a test set stands in the training set. Next: `regroup.py`.

A model that remembers scores on such sequences what one that understands scores, and a pretrained model of another
size remembers more or less. So every data set should be audited before its accuracies are compared.

Three measures between sequences, each for every pair of splits and within each split, per class, and separately for
partners of the same and of another class (which a model cannot get right both):

    exact_duplicate      the same letters
    reverse_complement   the same letters on the other strand
    shared_kmer          k letters in a row (60 unless told) in common, on either strand; sequences shorter than k
                         and windows with an ambiguous letter share none

For the official data sets three more, by place on the genome (`intervals.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hyena.data.datasets import Dataset
from hyena.data.sequences import Integers
from hyena.leakage.intervals import interval_flags, read_intervals
from hyena.leakage.kmers import SharedKmers, find_shared, letters_of, pool_of

Flags = NDArray[np.bool_]
RELATIONS = ("same", "other", "any")
SCHEMA = pa.schema(
    [
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("digest", pa.string(), metadata={"is": "SHA-256 of the data set; empty for intervals"}),
        pa.field("measure", pa.string(), nullable=False),
        pa.field("k", pa.int32(), metadata={"unit": "letters", "is": "null where the measure has none"}),
        pa.field("split", pa.string(), nullable=False, metadata={"is": "the split whose sequences are counted"}),
        pa.field("against", pa.string(), nullable=False, metadata={"is": "the split their partners are in"}),
        pa.field("class", pa.string(), nullable=False, metadata={"is": "class of the counted; 'all' for the total"}),
        pa.field("partner_class", pa.string(), nullable=False, metadata={"is": "same, other or any"}),
        pa.field("count", pa.int64(), nullable=False, metadata={"unit": "sequences"}),
        pa.field("of", pa.int64(), nullable=False, metadata={"unit": "sequences", "is": "all of that class"}),
    ]
)


@dataclass(frozen=True, eq=False)
class Audit:
    """What the audit of one data set found.

    Attributes:
        table: rows of `SCHEMA`.
        flags: by (measure, split, against, partner class): bool [N of split], which sequences have a partner.
    """

    table: pa.Table
    flags: dict[tuple[str, str, str, str], Flags]


def audit(dataset: Dataset, k: int = 60) -> Audit:
    """Find duplicates, reverse complements and shared k-mers within and between all splits of a data set.

    Time and memory: about 30 s and 2 GiB on one core for 300,000 sequences of 500 letters.
    """
    flags: dict[tuple[str, str, str, str], Flags] = {}
    for measure, partners in (
        ("exact_duplicate", _identical(dataset, other_strand=False)),
        ("reverse_complement", _identical(dataset, other_strand=True)),
        ("shared_kmer", _sharing(dataset, find_shared(pool_of(dataset.splits.values()), k))),
    ):
        for split, against, same, other in partners:
            for relation, found in zip(RELATIONS, (same, other, same | other), strict=True):
                flags[measure, split, against, relation] = found
    labels = {name: np.asarray(split.labels) for name, split in dataset.splits.items()}
    rows = [row for key, found in flags.items() for row in _rows(dataset.classes, labels, key, found)]
    for row in rows:
        row |= {"dataset": dataset.name, "digest": dataset.digest, "k": k if row["measure"] == "shared_kmer" else None}
    return Audit(pa.Table.from_pylist(rows, SCHEMA), flags)


def sequence_table(dataset: Dataset, flags: dict[tuple[str, str, str, str], Flags]) -> pa.Table:
    """Which sequences of validation and test have a partner in train: to score a model without them.

    Columns: split, example (place in the split, as in the predictions table), label, and for each measure
    `MEASURE` and `MEASURE_other_class`.
    """
    parts = []
    for name, split in dataset.splits.items():
        if name != "train":
            columns = {"split": pa.array([name] * len(split)), "example": pa.array(np.arange(len(split)))}
            columns["label"] = pa.array(np.asarray(split.labels))
            for (measure, of, against, relation), found in flags.items():
                if (of, against) == (name, "train") and relation != "same":
                    columns[measure if relation == "any" else f"{measure}_other_class"] = pa.array(found)
            parts.append(pa.table(columns))
    return pa.concat_tables(parts)


def audit_intervals(name: str, coordinates: Path) -> pa.Table:
    """Rows of `SCHEMA` for an official data set, from a folder of interval lists: train against test and back."""
    classes, labels, flags = interval_flags(read_intervals(name, coordinates))
    rows = [{"dataset": name, **row} for key, found in flags.items() for row in _rows(classes, labels, key, found)]
    return pa.Table.from_pylist(rows, SCHEMA)


def _rows(
    classes: tuple[str, ...], labels_of: dict[str, Integers], key: tuple[str, str, str, str], found: Flags
) -> Iterator[dict[str, object]]:
    """One row a class and one for all of them."""
    measure, split, against, relation = key
    labels = labels_of[split]
    counts = np.bincount(labels[found], minlength=len(classes)).tolist()
    totals = np.bincount(labels, minlength=len(classes)).tolist()
    place = {"measure": measure, "split": split, "against": against, "partner_class": relation}
    for name, count, of in zip((*classes, "all"), [*counts, sum(counts)], [*totals, sum(totals)], strict=True):
        yield {**place, "class": name, "count": count, "of": of}


Partners = Iterator[tuple[str, str, Flags, Flags]]
"""Split, other split, and which sequences of the first have a partner in the other of the same, of another class."""


def _identical(dataset: Dataset, other_strand: bool) -> Partners:
    """Partners with exactly the same letters, or exactly those of the other strand."""
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


# --- the command ---


def describe(table: pa.Table) -> str:
    """The counts as text: test against train first. Directions that say the same again are left to the Parquet file."""
    rows = [row for row in table.to_pylist() if row["partner_class"] != "same"]
    order = {"test": 0, "validation": 1, "train": 2}
    lines = []
    for what in ("sequences", "official intervals"):
        kind = [row for row in rows if row["measure"].startswith("interval") == (what != "sequences")]
        places = sorted(
            dict.fromkeys((row["split"], row["against"]) for row in kind),
            key=lambda place: (place[0] == place[1], order[place[0]], -order[place[1]]),
        )
        for split, against in places:
            if what == "sequences" and order[split] > order[against]:
                continue
            chosen = [row for row in kind if (row["split"], row["against"]) == (split, against)]
            title = f"{split} {what} with a partner " + ("in the same split" if split == against else f"in {against}")
            lines += ["", title, *_grid(chosen)]
    return "\n".join(lines)


def _grid(rows: list[dict[str, Any]]) -> list[str]:
    """One line a measure, one column a class; measures that are zero throughout share one line."""
    names = list(dict.fromkeys(row["class"] for row in rows))
    width = max(18, *(len(name) + 2 for name in names))
    lines, none = [], []
    for measure in dict.fromkeys(row["measure"] for row in rows):
        for relation in ("any", "other"):
            cells = {r["class"]: r for r in rows if (r["measure"], r["partner_class"]) == (measure, relation)}
            label = f"  {measure}" if relation == "any" else "    in another class"
            if any(cell["count"] for cell in cells.values()):
                lines.append(f"{label:24}" + "".join(f"{_share(cells[name]):>{width}}" for name in names))
            elif relation == "any":
                none.append(measure)
    if lines:
        lines.insert(0, " " * 24 + "".join(f"{name:>{width}}" for name in names))
    return [*lines, f"  none by {', '.join(none)}"] if none else lines


def _share(row: dict[str, Any]) -> str:
    return f"{row['count']:,} of {row['of']:,}" if row["count"] else "0"
