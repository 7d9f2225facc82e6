"""Parts of a training split: a validation split cut from it, and a smaller training split. Next: `batches.py`.

Which examples are chosen depends on a seed and on their positions in train, and on nothing else.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hyena.data.sequences import Dataset, Integers
from hyena.errors import InputError


def with_validation(dataset: Dataset, fraction: float, split_seed: int) -> Dataset:
    """Cut a validation split out of train: `fraction` of each class, rounded, at least one per class.

    A data set that has its own validation split is returned unchanged, and so is any data set if `fraction` is 0.
    Which examples are taken depends only on `split_seed` and on their positions in train; the order of the rest is
    kept. The examples of a smaller fraction are among those of a larger one.

    Raises:
        InputError: `fraction` outside [0, 1), or a class so small that no training sequence of it would be left.
    """
    if not 0 <= fraction < 1:
        raise InputError(f"validation fraction {fraction}: must be at least 0 and less than 1")
    if dataset.validation is not None or fraction == 0:
        return dataset
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.classes))
    if fault := too_rare(dataset.classes, counts.tolist(), fraction):
        raise InputError(f"data set {dataset.name!r}: {fault}")
    chosen = _choose(dataset, fraction, f"validation:{split_seed}")
    train, validation = (dataset.train.take(np.flatnonzero(part)) for part in (~chosen, chosen))
    return replace(dataset, train=train, validation=validation)


def too_rare(classes: Sequence[str], counts: Sequence[int], fraction: float) -> str | None:
    """Why no validation split can be cut: the class of which no training sequence would be left. None if it can be cut.

    Args:
        counts: training sequences of each class.
        fraction: as in `with_validation`.

    Returns:
        The end of an error message: the class, its count, and what to change.
    """
    if fraction == 0:
        return None
    for name, count, cut in zip(classes, counts, quota(counts, fraction).tolist(), strict=True):
        if count <= cut:
            return (
                f"class {name!r} has {count:,} training sequence{'s' * (count != 1)}, and a validation fraction of "
                f"{fraction} leaves none: set training.validation_fraction = 0 or provide a validation split"
            )
    return None


def training_subset(dataset: Dataset, fraction: float, split_seed: int) -> Dataset:
    """Reduce train to `fraction` of each class (rounded, at least one per class); the other splits stay.

    With the same `split_seed`, the examples of a smaller fraction are among those of a larger one. Apply this after
    `with_validation`, so that the validation split is the same for all fractions.

    Raises:
        InputError: `fraction` outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise InputError(f"train fraction {fraction}: must be more than 0 and at most 1")
    if fraction == 1:
        return dataset
    chosen = _choose(dataset, fraction, f"training_subset:{split_seed}")
    return replace(dataset, train=dataset.train.take(np.flatnonzero(chosen)))


def _choose(dataset: Dataset, fraction: float, stream: str) -> NDArray[np.bool_]:
    """bool [N] over train: in each class the max(1, round(fraction × n)) examples with the smallest random keys."""
    labels = np.asarray(dataset.train.labels)
    keys = random_keys(len(labels), stream)
    order = np.lexsort((keys, labels))
    counts = np.bincount(labels, minlength=len(dataset.classes))
    rank = np.empty(len(labels), np.int64)
    rank[order] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank < quota(counts, fraction)[labels]


def quota(counts: Sequence[int] | Integers, fraction: float) -> Integers:
    """int64 [C]: number of examples of each class that a fraction is: rounded, at least one."""
    return np.maximum(1, np.floor(fraction * np.asarray(counts, np.int64) + 0.5)).astype(np.int64)


def random_keys(n: int, stream: str) -> NDArray[np.uint64]:
    """uint64 [n]: element i is SplitMix64 of (SHA-256 of `stream`) + i.

    Hashes, unlike the streams of NumPy's generators, are the same for every version of NumPy, and they make subsets
    of different sizes nested.
    """
    origin = np.frombuffer(hashlib.sha256(stream.encode()).digest()[:8], "<u8")
    return splitmix64(origin + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def splitmix64(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64, a permutation of the 64-bit integers."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
