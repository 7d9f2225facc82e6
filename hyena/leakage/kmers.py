"""Sequences that share k consecutive letters on either strand, by hashing. Next: `regroup.py`.

Every window of k letters has a 64-bit hash that is the same for both strands; windows with a letter other than
A, C, G and T are skipped. Two different windows have the same hash with probability 2⁻⁶⁴: among the 130 million windows
of 300,000 sequences of 500 letters, the chance of a single false match is below 0.1 %.

Method: a window of 32 letters is exactly one 64-bit integer (two bits per letter, packed by doubling), and its reverse
complement takes a few bit operations; a window of k = 32 … 64 letters is represented by its first and its last 32. All
hashes are sorted once, and a second pass finds the sequences of those that occur more than once.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyena.data.sequences import Integers, Split
from hyena.data.subsets import splitmix64
from hyena.data.tokenizer import COMPLEMENT, A, C, G, T
from hyena.errors import InputError

Hashes = NDArray[np.uint64]
_CHUNK = 1 << 18  # windows hashed at once: the intermediate arrays stay in the processor's cache
_FILTER_BITS = 26
_FILTER_SHIFT = np.uint64(64 - _FILTER_BITS)
_BASES = np.full(256, 4, np.uint8)
_BASES[[A, C, G, T]] = 0, 1, 2, 3


@dataclass(frozen=True, eq=False)
class SharedKmers:
    """The distinct pairs (k-mer, sequence), sorted, of k-mers that occur in at least two sequences.

    kmers, sequences: int64 [P]; k-mers are numbered 0 … n_kmers − 1, sequences as in the pool that was searched.
    """

    kmers: Integers
    sequences: Integers
    n_kmers: int


def find_shared(pool: Split, k: int) -> SharedKmers:
    """All k-mers that occur in two or more sequences of a pool, with these sequences.

    Copies (the same letters on either strand) are searched once, and everything that they share counts as one k-mer.

    Args:
        k: 32 … 64 letters.

    Memory: 8 bytes per window, and 24 per window that occurs more than once. Time: about 0.2 µs per window on one
    core, and up to 0.5 µs if most windows are shared.
    """
    if not 32 <= k <= 64:
        raise InputError(f"k-mer length {k}: must be from 32 to 64")
    copy_of = first_copies(pool)
    distinct = np.flatnonzero(copy_of == np.arange(len(pool)))
    found = _find_in_distinct(pool.take(distinct), k)
    if len(distinct) == len(pool):
        return found
    return _with_copies(replace(found, sequences=distinct[found.sequences]), copy_of, _copied(pool, copy_of, k))


def first_copies(pool: Split) -> Integers:
    """int64 [N]: the first sequence of the pool with the same letters on the same or the other strand."""
    first: dict[bytes, int] = {}
    both = zip(letters_of(pool), letters_of(pool, other_strand=True), strict=True)
    return np.array([first.setdefault(min(pair), i) for i, pair in enumerate(both)], np.int64)


def letters_of(split: Split, other_strand: bool = False) -> list[bytes]:
    """The tokens of each sequence, or of its reverse complement, as bytes."""
    if not other_strand:
        content = split.tokens.tobytes()
        return [content[a:b] for a, b in pairwise(split.offsets.tolist())]
    content = COMPLEMENT[split.tokens[::-1]].tobytes()
    return [content[len(content) - b : len(content) - a] for a, b in pairwise(split.offsets.tolist())]


def pool_of(splits: Iterable[Split]) -> Split:
    """Several splits as one."""
    parts = list(splits)
    lengths = np.concatenate([part.lengths for part in parts])
    return Split(
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([part.labels for part in parts]),
    )


def _copied(pool: Split, copy_of: Integers, k: int) -> Integers:
    """Sequences that have copies and contain at least one window, which they then share."""
    copied = np.flatnonzero(np.bincount(copy_of, minlength=len(pool)) > 1)
    part = pool.take(copied)
    holds = np.zeros(len(copied), bool)
    for positions, _ in window_hashes(part, k):
        holds[np.searchsorted(part.offsets, positions, side="right") - 1] = True
    return copied[holds]


def _with_copies(found: SharedKmers, copy_of: Integers, copied: Integers) -> SharedKmers:
    """The pairs of each sequence repeated for its copies, and one more k-mer for each of `copied` and its copies."""
    kmers = np.concatenate([found.kmers, found.n_kmers + np.arange(len(copied))])
    holders = np.concatenate([found.sequences, copied])
    members = np.argsort(copy_of, kind="stable")
    counts = np.bincount(copy_of, minlength=len(copy_of))
    first = np.cumsum(counts) - counts
    sizes = counts[holders]
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    sequences = members[np.repeat(first[holders], sizes) + within]
    pairs = np.repeat(kmers, sizes) << 32 | sequences
    pairs.sort()
    return SharedKmers(pairs >> 32, pairs & 0xFFFFFFFF, found.n_kmers + len(copied))


def _find_in_distinct(pool: Split, k: int) -> SharedKmers:
    windows = int(np.maximum(pool.lengths - k + 1, 0).sum())
    hashes, filled = np.empty(windows, np.uint64), 0
    for _, part in window_hashes(pool, k):
        hashes[filled : filled + len(part)] = part
        filled += len(part)
    hashes = hashes[:filled]
    hashes.sort()
    possible = np.zeros(1 << _FILTER_BITS, bool)  # by the first bits of a hash: may it occur twice?
    possible[hashes[1:][hashes[1:] == hashes[:-1]] >> _FILTER_SHIFT] = True
    del hashes
    return _pairs(*_occurrences(pool, k, possible))


def _occurrences(pool: Split, k: int, possible: NDArray[np.bool_]) -> tuple[Hashes, NDArray[np.uint32]]:
    """Hashes that pass the filter, and the indices of the sequences in which they occur."""
    hashes, sequences = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint32)]
    if possible.any():
        for positions, part in window_hashes(pool, k):
            hit = possible[part >> _FILTER_SHIFT]
            hashes.append(part[hit])
            sequences.append((np.searchsorted(pool.offsets, positions[hit], side="right") - 1).astype(np.uint32))
    return np.concatenate(hashes), np.concatenate(sequences)


def _pairs(hashes: Hashes, sequences: NDArray[np.uint32]) -> SharedKmers:
    order = np.argsort(hashes)
    hashes = hashes[order]
    number = np.cumsum(_first_of_run(hashes), dtype=np.uint64)
    pairs = number << np.uint64(32) | sequences[order]
    del hashes, order, number
    pairs.sort()
    pairs = pairs[_first_of_run(pairs)]  # a k-mer that is repeated within a sequence counts once
    number = pairs >> np.uint64(32)
    first = _first_of_run(number)
    lonely = first & np.concatenate([first[1:], [True]]) if len(first) else first
    pairs, first = pairs[~lonely], first[~lonely]
    kmers = np.cumsum(first) - 1
    return SharedKmers(kmers, (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64), int(first.sum()))


def _first_of_run(values: NDArray[Any]) -> NDArray[np.bool_]:
    """bool [N]: in sorted values, the first of each run of equal ones."""
    first = np.ones(len(values), bool)
    first[1:] = values[1:] != values[:-1]
    return first


def window_hashes(pool: Split, k: int) -> Iterator[tuple[Integers, Hashes]]:
    """Start positions (in `pool.tokens`) and hashes of all windows of k letters, in order and in chunks."""
    total = len(pool.tokens)
    starts = np.asarray(pool.offsets[:-1])
    for first in range(0, total - k + 1, _CHUNK):
        last = min(first + _CHUNK, total - k + 1)
        bases = _BASES[pool.tokens[first : last + k - 1]]
        begins = np.zeros(len(bases), np.int32)
        inside = slice(*np.searchsorted(starts, [first, first + len(bases)]))
        begins[starts[inside] - first] = 1
        faults = np.concatenate([[0], np.cumsum(bases > 3, dtype=np.int32)])
        begun = np.concatenate([[0], np.cumsum(begins, dtype=np.int32)])
        n = last - first
        whole = (faults[k:] == faults[:n]) & (begun[k:] == begun[1 : n + 1])
        yield np.flatnonzero(whole) + first, _strandless_hashes((bases & 3).astype(np.uint64), k, n)[whole]


def _strandless_hashes(bases: Hashes, k: int, n: int) -> Hashes:
    packed = bases
    for width in (1, 2, 4, 8, 16):
        packed = (packed[:-width] << np.uint64(2 * width)) | packed[width:]
    other = _reverse_complement(packed)
    step = k - 32
    factor = np.uint64(0xD6E8FEB86659FD93)
    forward = packed[:n] * factor + splitmix64(packed)[step : step + n]
    backward = other[step : step + n] * factor + splitmix64(other)[:n]
    return splitmix64(np.minimum(forward, backward))


def _reverse_complement(packed: Hashes) -> Hashes:
    """Reverse complement of 32 letters packed in 64 bits: complement all bits, then reverse the order of the pairs."""
    x = ~packed
    for bits, mask in ((2, 0x3333333333333333), (4, 0x0F0F0F0F0F0F0F0F)):
        x = ((x >> np.uint64(bits)) & np.uint64(mask)) | ((x & np.uint64(mask)) << np.uint64(bits))
    return x.byteswap()


def groups(shared: SharedKmers, n: int) -> Integers:
    """int64 [n]: for each sequence, the smallest index in its group, which chains of shared k-mers link."""
    same = shared.kmers[1:] == shared.kmers[:-1]
    pairs = shared.sequences[:-1][same] << 32 | shared.sequences[1:][same]
    pairs.sort()
    pairs = pairs[_first_of_run(pairs)]
    edges = np.stack([pairs >> 32, pairs & 0xFFFFFFFF])
    parent = np.arange(n)
    while True:
        low, high = np.sort(parent[edges], axis=0)
        apart = low != high
        if not apart.any():
            return parent
        np.minimum.at(parent, high[apart], low[apart])
        while not np.array_equal(parent[parent], parent):
            parent = parent[parent]
