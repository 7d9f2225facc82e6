"""Shared k-mers and their groups equal those of a naive search."""

import numpy as np
import pytest

from hyena.data.sequences import pack
from hyena.errors import InputError
from hyena.leakage.kmers import find_shared, groups
from tests.support.dna import other_strand, random_dna


@pytest.mark.parametrize("chunk", [64, 1 << 18])
@pytest.mark.parametrize("k", [32, 47, 60, 64])
def test_shared_kmers_equal_a_plain_search(monkeypatch, k, chunk):
    monkeypatch.setattr("hyena.leakage.kmers._CHUNK", chunk)
    rng = np.random.default_rng(k)
    genome = random_dna(rng, 700)
    sequences = []
    for _ in range(40):
        start, length = rng.integers(0, 600), rng.integers(20, 100)
        piece = genome[start : start + length]
        sequences.append(other_strand(piece) if rng.integers(2) else piece)
    holders: dict[bytes, set[int]] = {}
    for i, sequence in enumerate(sequences):
        for j in range(len(sequence) - k + 1):
            window = sequence[j : j + k]
            holders.setdefault(min(window, other_strand(window)), set()).add(i)
    expected = sorted(tuple(sorted(places)) for places in holders.values() if len(places) > 1)
    shared = find_shared(pack(sequences, [0] * 40, str), k)
    answer = sorted(
        tuple(shared.sequences[shared.kmers == kmer].tolist())
        for kmer in range(shared.n_kmers)
        if np.count_nonzero(shared.kmers == kmer) > 1
    )
    assert answer == expected

    linked = {i: {i} for i in range(40)}
    for places in expected:
        union = set().union(*(linked[i] for i in places))
        for i in union:
            linked[i] = union
    assert groups(shared, 40).tolist() == [min(linked[i]) for i in range(40)]


def test_kmer_lengths_that_do_not_fit_are_refused(dna):
    split = pack([dna(100)], [0], str)
    for k in (31, 65):
        with pytest.raises(InputError, match="from 32 to 64"):
            find_shared(split, k)
