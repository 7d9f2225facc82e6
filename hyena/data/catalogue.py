"""The nine GenomicBenchmarks data sets as published: classes, counts and lengths. Next: `datasets.py`.

The numbers come from the interval lists in the official repository, ML-Bioinfo-CEITEC/genomic_benchmarks, folder
`datasets` (version 0 of each, the only version).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from hyena.data.sequences import Dataset


@dataclass(frozen=True)
class OfficialDataset:
    """The published facts of one data set.

    Attributes:
        train, test: number of sequences of each class, by class name.
        lengths_bp: the deciles of the lengths over both splits, in base pairs: the shortest, the first decile, … the
            median, … the longest.
    """

    train: Mapping[str, int]
    test: Mapping[str, int]
    lengths_bp: tuple[int, ...]

    @property
    def shortest_bp(self) -> int:
        return self.lengths_bp[0]

    @property
    def longest_bp(self) -> int:
        return self.lengths_bp[-1]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted(self.train))

    def difference(self, dataset: Dataset) -> str:
        """The first difference of a data set from this one in classes, counts and lengths; "" if there is none."""
        if dataset.classes != self.classes:
            return f"classes {', '.join(dataset.classes)} where {', '.join(self.classes)} are published"
        if dataset.validation is not None:
            return "it has a validation split, and none is published"
        for split_name, split, published in (("train", dataset.train, self.train), ("test", dataset.test, self.test)):
            for name, count in zip(dataset.classes, np.bincount(split.labels), strict=True):
                if count != published[name]:
                    return f"{count:,} {split_name} sequences of class {name} where {published[name]:,} are published"
        lengths = np.concatenate([split.lengths for split in dataset.splits.values()])
        if lengths.min() < self.shortest_bp or lengths.max() > self.longest_bp:
            return (
                f"lengths of {lengths.min()} to {lengths.max()} bp where {self.shortest_bp} to {self.longest_bp} "
                "are published"
            )
        return ""


def deciles(lengths: NDArray[np.int64]) -> tuple[int, ...]:
    """The eleven deciles from the shortest to the longest length, rounded down."""
    return tuple(int(value) for value in np.quantile(lengths, np.linspace(0, 1, 11)))


def _entry(counts: dict[str, tuple[int, int]], lengths_bp: tuple[int, ...]) -> OfficialDataset:
    train = MappingProxyType({name: count[0] for name, count in counts.items()})
    test = MappingProxyType({name: count[1] for name, count in counts.items()})
    return OfficialDataset(train, test, lengths_bp)


def _halves(train: int, test: int) -> dict[str, tuple[int, int]]:
    return {"negative": (train, test), "positive": (train, test)}


OFFICIAL: Mapping[str, OfficialDataset] = MappingProxyType(
    {
        "demo_coding_vs_intergenomic_seqs": _entry(
            {"coding_seqs": (37_500, 12_500), "intergenomic_seqs": (37_500, 12_500)}, (200,) * 11
        ),
        "demo_human_or_worm": _entry({"human": (37_500, 12_500), "worm": (37_500, 12_500)}, (200,) * 11),
        "drosophila_enhancers_stark": _entry(
            _halves(2_592, 865), (236, 2_079, 2_098, 2_108, 2_124, 2_142, 2_165, 2_191, 2_215, 2_265, 3_237)
        ),
        "dummy_mouse_enhancers_ensembl": _entry(
            _halves(484, 121), (331, 1_029, 1_404, 1_755, 2_040, 2_381, 2_669, 2_901, 3_246, 3_694, 4_776)
        ),
        "human_enhancers_cohn": _entry({"negative": (10_422, 3_474), "positive": (10_421, 3_474)}, (500,) * 11),
        "human_enhancers_ensembl": _entry(
            _halves(61_936, 15_485), (2, 112, 157, 195, 232, 269, 305, 343, 379, 423, 573)
        ),
        "human_ensembl_regulatory": _entry(
            {"enhancer": (85_512, 21_378), "ocr": (69_902, 17_476), "promoter": (75_934, 18_859)},
            (71, 200, 202, 283, 388, 401, 500, 599, 601, 656, 802),
        ),
        "human_nontata_promoters": _entry({"negative": (12_355, 4_119), "positive": (14_742, 4_915)}, (251,) * 11),
        "human_ocr_ensembl": _entry(_halves(69_902, 17_476), (71, 189, 229, 262, 286, 315, 345, 380, 422, 483, 593)),
    }
)
"""The official data sets by name."""
