"""Splits in memory: packing, taking sequences, the digest, and what makes a data set unusable."""

from dataclasses import replace

import numpy as np
import pytest

from hyena.data.sequences import Split, dataset_from_sequences, pack
from hyena.errors import InputError
from tests.support.dna import letters_of, random_dataset


def test_packing_keeps_sequences_and_order():
    split = pack([b"ACGT", b"n", b"GGR"], [1, 0, 1], str)
    assert letters_of(split) == [b"ACGT", b"N", b"GG?"]
    assert split.labels.tolist() == [1, 0, 1]
    assert split.lengths.tolist() == [4, 1, 3]
    assert (split.tokens.dtype, split.offsets.dtype, split.labels.dtype) == (np.uint8, np.int64, np.int64)
    assert len(split) == 3


def test_packing_names_the_sequence_at_fault():
    with pytest.raises(InputError, match=r"^row 1: letter 'Z' .* at position 2 of the sequence$"):
        pack([b"AC", b"GZT", b"Z"], [0, 0, 0], lambda i: f"row {i}")
    with pytest.raises(InputError, match=r"^row 2: the sequence is empty"):
        pack([b"AC", b"GT", b""], [0, 0, 0], lambda i: f"row {i}")


@pytest.mark.parametrize("indices", [[0, 2, 5], [5, 0, 2], [1, 1, 1], [], [4]])
def test_take_gives_the_sequences_asked_for(indices):
    split = random_dataset().train
    taken = split.take(np.array(indices, np.int64))
    assert letters_of(taken) == [letters_of(split)[i] for i in indices]
    assert taken.labels.tolist() == [int(split.labels[i]) for i in indices]
    assert taken.offsets[0] == 0


def test_take_is_the_same_in_order_and_in_chunks():
    n = 40_000  # more than two chunks
    split = Split(np.resize(np.arange(7, 12, dtype=np.uint8), 3 * n), np.arange(0, 3 * n + 1, 3), np.arange(n))
    order = np.random.default_rng(1).permutation(n)
    assert np.array_equal(split.take(order).take(np.argsort(order)).tokens, split.tokens)


def test_digest_tells_contents_apart_and_names_not():
    base = random_dataset()
    assert base.digest == random_dataset().digest == replace(base, name="other").digest
    assert base.digest != random_dataset(seed=1).digest
    pairs = [(b"ACGT", 0), (b"GG", 1)]
    digests = {
        dataset_from_sequences("d", ("a", "b"), pairs, pairs).digest,
        dataset_from_sequences("d", ("a", "c"), pairs, pairs).digest,
        dataset_from_sequences("d", ("a", "b"), pairs, pairs, pairs).digest,
        dataset_from_sequences("d", ("a", "b"), pairs[::-1], pairs).digest,
        dataset_from_sequences("d", ("a", "b"), [(b"ACG", 0), (b"TGG", 1)], pairs).digest,
        dataset_from_sequences("d", ("a", "b"), [(b"ACGT", 1), (b"GG", 0)], pairs).digest,
    }
    assert len(digests) == 6


def test_longest_looks_at_all_splits():
    assert dataset_from_sequences("d", ("a", "b"), [(b"A", 0), (b"CC", 1)], [(b"ACGT", 0), (b"G", 1)]).longest == 4


@pytest.mark.parametrize(
    ("classes", "train", "test", "message"),
    [
        (("a",), [(b"A", 0)], [(b"A", 0)], "only one class"),
        (("a", "b"), [(b"A", 0), (b"C", 1)], [(b"A", 0)], "class 'b' has no sequences in the test split"),
        (("a", "b"), [(b"A", 1)], [(b"A", 0), (b"C", 1)], "class 'a' has no sequences in the train split"),
        (("a", "b"), [], [(b"A", 0), (b"C", 1)], "no sequences in the train split"),
        (("a", "b"), [(b"A", 2)], [(b"A", 0)], "class numbers"),
        (("a", "b"), [(b"A", 0), (b"", 1)], [(b"A", 0)], "train sequence 2: the sequence is empty"),
    ],
)
def test_unusable_data_sets_are_refused(classes, train, test, message):
    with pytest.raises(InputError, match=message):
        dataset_from_sequences("d", classes, train, test)


def test_ambiguous_letters_are_noted():
    dataset = dataset_from_sequences("d", ("a", "b"), [(b"ARN", 0), (b"C", 1)], [(b"A", 0), (b"UC", 1)])
    assert dataset.notes == ("2 of 7 letters are ambiguous (or U) and are read as [UNK]",)
