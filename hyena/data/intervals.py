"""Sets of half-open intervals on one axis, as arrays: their union and their intersection."""

import numpy as np
from numpy.typing import NDArray

Intervals = NDArray[np.int64]
"""int64 [N, 2]: first and past-the-end position of each interval, sorted and disjoint."""


def union(intervals: Intervals) -> Intervals:
    """The union of at least one interval, which may be unsorted and overlap; intervals that touch are joined."""
    ordered = intervals[np.argsort(intervals[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ordered[:, 1])
    opens = np.concatenate([[True], ordered[1:, 0] > reach[:-1]])
    return np.stack([ordered[opens, 0], reach[np.concatenate([opens[1:], [True]])]], axis=1)


def intersection(one: Intervals, other: Intervals) -> Intervals:
    """Every non-empty overlap of an interval of `one` with an interval of `other`, in order."""
    first = np.searchsorted(other[:, 1], one[:, 0], side="right")
    counts = np.maximum(np.searchsorted(other[:, 0], one[:, 1], side="left") - first, 0)
    mine = np.repeat(np.arange(len(one)), counts)
    theirs = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    overlap = np.stack([np.maximum(one[mine, 0], other[theirs, 0]), np.minimum(one[mine, 1], other[theirs, 1])], axis=1)
    return overlap[overlap[:, 0] < overlap[:, 1]]
