"""Train and test by position on the genome: the official interval lists of GenomicBenchmarks. Next: `audit.py`.

A coordinates folder holds `NAME/{train,test}/CLASS.csv.gz` with the columns id, region, start, end, strand (counted
from 0, end exclusive), as the folder `datasets` of the repository ML-Bioinfo-CEITEC/genomic_benchmarks does. The strand
is ignored: both strands of a position carry the same information.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from hyena.data.intervals import union
from hyena.data.sequences import Integers
from hyena.errors import InputError, first_line
from hyena.leakage.counts import Comparison, Flags, PartnerClass

MEASURES = ("interval_overlap", "interval_inside", "interval_identical")
_TYPES = {"region": pa.string(), "start": pa.int64(), "end": pa.int64()}


@dataclass(frozen=True, eq=False)
class IntervalList:
    """Intervals of one class of one split: region (text [N]), start and end (int64 [N], base pairs)."""

    regions: NDArray[np.str_]
    starts: Integers
    ends: Integers

    def __len__(self) -> int:
        return len(self.starts)


def read_interval_lists(name: str, coordinates: Path) -> dict[tuple[str, str], IntervalList]:
    """Interval lists by (split, class).

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
                reason = first_line(error)
                raise InputError(f"{file}: not an interval list with columns region, start, end ({reason})") from None
            regions, starts, ends = (table.column(column).to_numpy(zero_copy_only=False) for column in _TYPES)
            found[split, file.name.removesuffix(".csv.gz")] = IntervalList(regions.astype(str), starts, ends)
    return found


def compare(queries: IntervalList, targets: IntervalList) -> dict[str, Flags]:
    """By measure, bool [N of queries]: which query intervals

    interval_overlap: share a base with a target; interval_inside: lie wholly within the union of the targets;
    interval_identical: have the start and the end of a target.
    """
    answers = {measure: np.zeros(len(queries), bool) for measure in MEASURES}
    for region in np.intersect1d(queries.regions, targets.regions):
        ours, theirs = queries.regions == region, targets.regions == region
        begin, end = queries.starts[ours], queries.ends[ours]
        starts, ends = union(np.stack([targets.starts[theirs], targets.ends[theirs]], axis=1)).T
        before_end = np.searchsorted(starts, end, side="left") - 1
        answers["interval_overlap"][ours] = (before_end >= 0) & (ends[before_end] > begin)
        around_start = np.searchsorted(starts, begin, side="right") - 1
        answers["interval_inside"][ours] = (around_start >= 0) & (ends[around_start] >= end)
        answers["interval_identical"][ours] = np.isin(
            begin << 32 | end, targets.starts[theirs] << 32 | targets.ends[theirs]
        )
    return answers


def interval_flags(
    found: dict[tuple[str, str], IntervalList],
) -> tuple[tuple[str, ...], dict[str, Integers], dict[Comparison, Flags]]:
    """Which intervals of train meet those of test, and the other way round.

    Returns:
        The classes; by split the class number of each interval (in the order of the classes); and for each comparison
        which of these intervals meet intervals of the other split, by the measures of `compare`.
    """
    classes = tuple(sorted({label for _, label in found}))
    labels, flags = {}, {}
    for split, against in (("train", "test"), ("test", "train")):
        sizes = [len(found[split, label]) for label in classes]
        labels[split] = np.repeat(np.arange(len(classes)), sizes)
        for partner_class in get_args(PartnerClass):
            answers = []
            for label in classes:
                others = [name for name in classes if name != label]
                partners = {"same": [label], "other": others, "any": list(classes)}[partner_class]
                answers.append(compare(found[split, label], _joined([found[against, name] for name in partners])))
            for measure in MEASURES:
                comparison = Comparison(measure, split, against, partner_class)
                flags[comparison] = np.concatenate([answer[measure] for answer in answers])
    return classes, labels, flags


def _joined(parts: list[IntervalList]) -> IntervalList:
    return IntervalList(
        np.concatenate([part.regions for part in parts]),
        np.concatenate([part.starts for part in parts]),
        np.concatenate([part.ends for part in parts]),
    )
