"""Train and test by their places on the genome: the official interval lists of GenomicBenchmarks. Next: `audit.py`.

A coordinates folder holds `NAME/{train,test}/CLASS.csv.gz` with columns id, region, start, end, strand (counted from
0, end exclusive), as the folder `datasets` of the repository ML-Bioinfo-CEITEC/genomic_benchmarks does. The strand is
left aside: both strands of a place say the same.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from hyena.data.sequences import Integers
from hyena.errors import InputError

_TYPES = {"region": pa.string(), "start": pa.int64(), "end": pa.int64()}


@dataclass(frozen=True, eq=False)
class Intervals:
    """Places of one class of one split: region (text [N]), start and end (int64 [N], base pairs)."""

    regions: NDArray[np.str_]
    starts: Integers
    ends: Integers

    def __len__(self) -> int:
        return len(self.starts)


def read_intervals(name: str, coordinates: Path) -> dict[tuple[str, str], Intervals]:
    """Intervals by (split, class).

    Raises:
        InputError: the folder does not hold the data set, or a file is not an interval list.
    """
    found = {}
    for split in ("train", "test"):
        files = sorted((coordinates / name / split).glob("*.csv.gz"))
        if not files:
            raise InputError(f"{coordinates / name / split}: no interval lists; expected CLASS.csv.gz")
        for file in files:
            try:
                table = pa_csv.read_csv(
                    file, convert_options=pa_csv.ConvertOptions(include_columns=list(_TYPES), column_types=_TYPES)
                )
            except (pa.ArrowException, KeyError, OSError) as error:
                reason = str(error).splitlines()[0]
                raise InputError(f"{file}: not an interval list with columns region, start, end ({reason})") from None
            regions, starts, ends = (table.column(column).to_numpy(zero_copy_only=False) for column in _TYPES)
            found[split, file.name.removesuffix(".csv.gz")] = Intervals(regions.astype(str), starts, ends)
    return found


MEASURES = ("interval_overlap", "interval_inside", "interval_identical")


def compare(queries: Intervals, targets: Intervals) -> dict[str, NDArray[np.bool_]]:
    """By measure, bool [N of queries]: which query intervals

    interval_overlap: have a base in common with a target; interval_inside: lie wholly in the union of the targets;
    interval_identical: start and end where a target does.
    """
    answers = {measure: np.zeros(len(queries), bool) for measure in MEASURES}
    for region in np.intersect1d(queries.regions, targets.regions):
        ours, theirs = queries.regions == region, targets.regions == region
        begin, end = queries.starts[ours], queries.ends[ours]
        starts, ends = _union(targets.starts[theirs], targets.ends[theirs])
        before_end = np.searchsorted(starts, end, side="left") - 1
        answers["interval_overlap"][ours] = (before_end >= 0) & (ends[before_end] > begin)
        around_start = np.searchsorted(starts, begin, side="right") - 1
        answers["interval_inside"][ours] = (around_start >= 0) & (ends[around_start] >= end)
        answers["interval_identical"][ours] = np.isin(
            begin << 32 | end, targets.starts[theirs] << 32 | targets.ends[theirs]
        )
    return answers


def _union(starts: Integers, ends: Integers) -> tuple[Integers, Integers]:
    """The stretches that intervals cover, apart from each other and in order; intervals that touch are one."""
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum.accumulate(ends[order])
    opens = np.concatenate([[True], starts[1:] > reach[:-1]])
    closes = np.concatenate([opens[1:], [True]])
    return starts[opens], reach[closes]


def interval_flags(
    found: dict[tuple[str, str], Intervals],
) -> tuple[tuple[str, ...], dict[str, Integers], dict[tuple[str, str, str, str], NDArray[np.bool_]]]:
    """Which intervals of train meet those of test, and the other way round.

    Returns:
        classes; by split the class number of each interval (classes in order); and by (measure, split, against,
        partner class) which of them meet the other split's intervals of the same class, of the others, of any, in
        the ways that `compare` knows.
    """
    classes = tuple(sorted({label for _, label in found}))
    labels, flags = {}, {}
    for split, against in (("train", "test"), ("test", "train")):
        sizes = [len(found[split, label]) for label in classes]
        labels[split] = np.repeat(np.arange(len(classes)), sizes)
        for relation in ("same", "other", "any"):
            answers = []
            for label in classes:
                wanted = {"same": [label], "other": [c for c in classes if c != label], "any": list(classes)}[relation]
                answers.append(compare(found[split, label], _joined([found[against, c] for c in wanted])))
            for measure in MEASURES:
                flags[measure, split, against, relation] = np.concatenate([answer[measure] for answer in answers])
    return classes, labels, flags


def _joined(parts: list[Intervals]) -> Intervals:
    return Intervals(
        np.concatenate([part.regions for part in parts]),
        np.concatenate([part.starts for part in parts]),
        np.concatenate([part.ends for part in parts]),
    )
