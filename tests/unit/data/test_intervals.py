"""Union and intersection of intervals are those of the positions that they cover."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hyena.data.intervals import intersection, union

flags = st.lists(st.booleans(), min_size=1, max_size=60)
pairs = st.tuples(st.integers(0, 50), st.integers(1, 9)).map(lambda pair: (pair[0], sum(pair)))


def runs(marked: np.ndarray) -> np.ndarray:
    edges = np.flatnonzero(np.diff(marked.astype(int), prepend=0, append=0))
    return edges.reshape(-1, 2)


@given(flags, flags)
def test_intersection_is_that_of_the_positions(one: list[bool], other: list[bool]) -> None:
    length = max(len(one), len(other))
    a, b = (np.array(marks + [False] * (length - len(marks))) for marks in (one, other))
    assert intersection(runs(a), runs(b)).tolist() == runs(a & b).tolist()


@given(st.lists(pairs, min_size=1, max_size=8))
def test_union_is_that_of_the_positions(intervals: list[tuple[int, int]]) -> None:
    covered = np.zeros(70, bool)
    for first, end in intervals:
        covered[first:end] = True
    assert union(np.array(intervals)).tolist() == runs(covered).tolist()
