"""New splits of a data set without overlap between them. Next: `audit.py`, which verifies this.

Sequences that share k consecutive letters on either strand, or are identical, form a group, directly or through a chain
of other sequences; each group goes to one split as a whole. Accuracies on such splits are not comparable with published
ones, which is intended.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from hyena.data.sequences import Dataset, Integers, content_digest
from hyena.data.subsets import quota, random_keys
from hyena.errors import InputError
from hyena.leakage.kmers import find_shared, first_copies, groups, pool_of


def regroup(dataset: Dataset, split_seed: int, k: int = 60, validation_fraction: float = 0.0) -> Dataset:
    """Split a data set anew, with about the same sizes and class shares, so that no group is in two splits.

    Args:
        split_seed: different seeds give different splits.
        k: number of consecutive letters that sequences of different splits must not share, 32 … 64.
        validation_fraction: if the data set has no validation split, the share of train to make one of (0: none).

    Returns:
        A data set with its own digest and a note on how it was split; examples keep their order.

    Raises:
        InputError: the groups are so large that a class would be missing in a split.
    """
    if not 0 <= validation_fraction < 1:
        raise InputError(f"validation fraction {validation_fraction}: must be at least 0 and less than 1")
    everything = pool_of(dataset.splits.values())
    group = _groups(dataset, k)
    wanted = _wanted(dataset, validation_fraction)
    side = _assign(group, np.asarray(everything.labels), np.array(list(wanted.values())), split_seed)
    splits = {name: everything.take(np.flatnonzero(side == i)) for i, name in enumerate(wanted)}
    for name, split in splits.items():
        missing = np.flatnonzero(np.bincount(split.labels, minlength=len(dataset.classes)) == 0)
        if len(missing):
            raise InputError(
                f"data set {dataset.name!r}: cannot be split without shared {k}-mers; class "
                f"{dataset.classes[missing[0]]!r} would be missing in {name}, because too many of its sequences overlap"
            )
    sizes = np.bincount(group)
    note = (
        f"split anew with split seed {split_seed}: no two splits share a {k}-mer; {np.count_nonzero(sizes):,} groups, "
        f"the largest of {sizes.max():,} sequences"
    )
    return replace(
        dataset,
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits["test"],
        digest=content_digest(dataset.classes, splits),
        official=False,
        notes=(*dataset.notes, note),
    )


@lru_cache(maxsize=4)  # by identity: splits of one data set by many seeds compute the groups once
def _groups(dataset: Dataset, k: int) -> Integers:
    """int64 [N]: the smallest index in each sequence's group; copies too short for a k-mer are grouped, too."""
    everything = pool_of(dataset.splits.values())
    return groups(find_shared(everything, k), len(everything))[first_copies(everything)]


def _wanted(dataset: Dataset, validation_fraction: float) -> dict[str, Integers]:
    """By split, the number of sequences of each class that it should get, int64 [C]."""
    wanted = {name: np.bincount(split.labels, minlength=len(dataset.classes)) for name, split in dataset.splits.items()}
    if "validation" not in wanted and validation_fraction > 0:
        cut = quota(wanted["train"], validation_fraction)
        wanted = {"train": wanted["train"] - cut, "validation": cut, "test": wanted["test"]}
    return wanted


def _assign(group: Integers, labels: Integers, wanted: Integers, split_seed: int) -> Integers:
    """int64 [N]: the index of the split of each sequence.

    Groups of several sequences are assigned first, the largest first, each to the split that still needs the largest
    share of these classes relative to its size. Single sequences then fill the splits, class by class in random order.

    Args:
        wanted: int64 [splits, C], numbers of sequences.
    """
    keys = random_keys(len(group), f"regroup:{split_seed}")
    sizes = np.bincount(group, minlength=len(group))
    left = wanted.astype(np.float64)
    side = np.full(len(group), -1)
    members = np.argsort(group, kind="stable")
    first = np.cumsum(sizes) - sizes
    several = np.flatnonzero(sizes > 1)
    for number in several[np.lexsort((keys[several], -sizes[several]))]:
        of_group = members[first[number] : first[number] + sizes[number]]
        classes = np.bincount(labels[of_group], minlength=wanted.shape[1])
        chosen = int(np.argmax((left / np.maximum(wanted.sum(axis=1, keepdims=True), 1)) @ classes))
        side[of_group] = chosen
        left[chosen] -= classes
    for label in range(wanted.shape[1]):
        single = np.flatnonzero((side < 0) & (labels == label))
        room = np.maximum(left[:, label], 0)
        share = room / room.sum() if room.sum() else wanted[:, label] / wanted[:, label].sum()
        ends = np.floor(np.cumsum(share) * len(single) + 0.5).astype(np.int64)
        ends[-1] = len(single)
        side[single[np.argsort(keys[single])]] = np.repeat(np.arange(len(share)), np.diff(ends, prepend=0))
    return side
