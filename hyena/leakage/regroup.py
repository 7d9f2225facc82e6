"""Splits cut anew so that nothing of the test set stands in the training set. Next: `audit.py`, which tells whether.

Sequences that have k letters in a row in common on either strand, or are the same, belong to one group, and so do
those linked by others in between; each group goes to one split as a whole. Accuracies on such a cut compare with no
published ones: that is its point.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from hyena.data.sequences import Dataset, Integers, content_digest
from hyena.data.subsets import quota, random_keys
from hyena.errors import InputError
from hyena.leakage.kmers import find_shared, first_copies, groups, pool_of


def regroup(dataset: Dataset, split_seed: int, k: int = 60, validation_fraction: float = 0.0) -> Dataset:
    """Cut all splits anew, with about the sizes and class shares they have, no group on two sides.

    Args:
        split_seed: another seed gives another cut.
        k: letters in a row that two sequences of different splits must not share, 32 … 64.
        validation_fraction: where the data set has no validation split, cut one of this share of train (0: none).

    Returns:
        a data set with a digest of its own and a note that says how it was cut; examples keep their order.

    Raises:
        InputError: the groups are so large that a class would be missing in a split.
    """
    if not 0 <= validation_fraction < 1:
        raise InputError(f"validation fraction {validation_fraction}: must lie in 0 ≤ fraction < 1")
    everything = pool_of(dataset.splits.values())
    group = _groups(dataset, k)
    wanted = _wanted(dataset, validation_fraction)
    side = _assign(group, np.asarray(everything.labels), np.array(list(wanted.values())), split_seed)
    splits = {name: everything.take(np.flatnonzero(side == i)) for i, name in enumerate(wanted)}
    for name, split in splits.items():
        missing = np.flatnonzero(np.bincount(split.labels, minlength=len(dataset.classes)) == 0)
        if len(missing):
            raise InputError(
                f"data set {dataset.name!r}: cannot be cut anew without shared {k}-mers, class "
                f"{dataset.classes[missing[0]]!r} would be missing in {name}: its sequences hang together"
            )
    sizes = np.bincount(group)
    note = (
        f"cut anew with split seed {split_seed}: no two splits share a {k}-mer; {np.count_nonzero(sizes):,} groups, "
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


@lru_cache(maxsize=4)  # by identity: the cuts of one data set by many seeds find the groups once
def _groups(dataset: Dataset, k: int) -> Integers:
    """int64 [N]: the smallest number in each sequence's group; copies too short to share a k-mer are together too."""
    everything = pool_of(dataset.splits.values())
    return groups(find_shared(everything, k), len(everything))[first_copies(everything)]


def _wanted(dataset: Dataset, validation_fraction: float) -> dict[str, Integers]:
    """Sequences of each class (int64 [C]) that each split should get."""
    wanted = {name: np.bincount(split.labels, minlength=len(dataset.classes)) for name, split in dataset.splits.items()}
    if "validation" not in wanted and validation_fraction > 0:
        cut = quota(wanted["train"], validation_fraction)
        wanted = {"train": wanted["train"] - cut, "validation": cut, "test": wanted["test"]}
    return wanted


def _assign(group: Integers, labels: Integers, wanted: Integers, split_seed: int) -> Integers:
    """int64 [N]: the number of the split of each sequence.

    Groups of several go first, the largest first, each to the split whose wanted classes it fills the most (as a
    share of what it wants in all); then single sequences fill up what is left, class by class in random order.

    Args:
        wanted: [splits, classes], sequences.
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
