"""The result of an audit does not depend on strands, order or which split comes first."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hyena.data.sequences import Dataset, dataset_from_sequences
from hyena.leakage.audit import audit

COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")
GENOME = np.frombuffer(b"ACGT", np.uint8)[np.random.default_rng(3).integers(0, 4, 400)].tobytes()
pieces = st.tuples(st.integers(0, 300), st.integers(30, 100), st.booleans(), st.integers(0, 1))


def sequences(drawn) -> list[tuple[bytes, int]]:
    found = []
    for start, length, flipped, label in drawn:
        piece = GENOME[start : start + length]
        found.append((piece.translate(COMPLEMENT)[::-1] if flipped else piece, label))
    return [*found, (b"A", 0), (b"C", 1)]  # so that both classes are there


def made(train, test) -> Dataset:
    return dataset_from_sequences("d", ("a", "b"), train, test)


@settings(max_examples=40, deadline=None)
@given(st.lists(pieces, max_size=8), st.lists(pieces, min_size=1, max_size=8), st.data())
def test_symmetries(train, test, data):
    train, test = sequences(train), sequences(test)
    flags = audit(made(train, test), k=40).flags

    swapped = audit(made(test, train), k=40).flags
    for (measure, split, against, relation), found in flags.items():
        other = {"train": "test", "test": "train"}
        assert np.array_equal(found, swapped[measure, other[split], other[against], relation])

    order = data.draw(st.permutations(range(len(test))))
    shuffled = audit(made(train, [test[i] for i in order]), k=40).flags
    for key, found in flags.items():
        assert np.array_equal(found[order] if key[1] == "test" else found, shuffled[key])

    flipped = audit(made(train, [(s.translate(COMPLEMENT)[::-1], label) for s, label in test]), k=40).flags
    for relation in ("same", "other", "any"):
        between = ("test", "train", relation)
        assert np.array_equal(flipped["shared_kmer", *between], flags["shared_kmer", *between])
        assert np.array_equal(flipped["exact_duplicate", *between], flags["reverse_complement", *between])


@settings(max_examples=40, deadline=None)
@given(st.lists(pieces, max_size=8), st.lists(pieces, min_size=1, max_size=8))
def test_the_measures_are_ordered(train, test):
    """Long identical sequences share k-mers; a partner of any class is one of the same or of another."""
    dataset = made(sequences(train), sequences(test))
    flags = audit(dataset, k=40).flags
    long = dataset.test.lengths >= 40
    shared = flags["shared_kmer", "test", "train", "any"]
    for measure in ("exact_duplicate", "reverse_complement"):
        assert not (flags[measure, "test", "train", "any"] & long & ~shared).any()
    for (measure, split, against, relation), found in flags.items():
        if relation == "any":
            same, other = (flags[measure, split, against, part] for part in ("same", "other"))
            assert np.array_equal(found, same | other)
