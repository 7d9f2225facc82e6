"""Splits in memory: packing, choosing, cutting a validation split, the digest."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from hyena.data.sequences import (
    Dataset,
    Split,
    dataset_from_sequences,
    pack,
    random_keys,
    too_rare,
    training_subset,
    with_validation,
)
from hyena.data.tokenizer import decode
from hyena.errors import InputError

LETTERS = np.frombuffer(b"ACGT", np.uint8)


def letters_of(split: Split) -> list[bytes]:
    return [decode(split.tokens[a:b]) for a, b in pairwise(split.offsets)]


def random_dataset(counts=(60, 40), seed=0) -> Dataset:
    rng = np.random.default_rng(seed)

    def examples(scale):
        return [
            (LETTERS[rng.integers(0, 4, rng.integers(1, 30))].tobytes(), label)
            for label, count in enumerate(counts)
            for _ in range(count // scale)
        ]

    return dataset_from_sequences("made", ("negative", "positive"), examples(1), examples(4))


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


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_validation_is_stratified_and_nothing_is_lost(fraction):
    dataset = random_dataset((60, 40))
    cut = with_validation(dataset, fraction, split_seed=3)
    assert np.bincount(cut.validation.labels).tolist() == [round(60 * fraction), round(40 * fraction)]
    assert sorted(letters_of(cut.train) + letters_of(cut.validation)) == sorted(letters_of(dataset.train))
    remaining = iter(letters_of(dataset.train))
    assert all(sequence in remaining for sequence in letters_of(cut.train)), "the order changed"
    assert cut.test is dataset.test
    assert cut.digest == dataset.digest


def test_validation_takes_at_least_one_of_each_class():
    cut = with_validation(random_dataset((60, 5)), 0.01, split_seed=0)
    assert np.bincount(cut.validation.labels).tolist() == [1, 1]


def test_validation_depends_on_the_seed_only():
    dataset = random_dataset((600, 400))
    first, again, other = (with_validation(dataset, 0.2, seed).validation for seed in (1, 1, 2))
    assert np.array_equal(first.tokens, again.tokens)
    assert not np.array_equal(first.tokens, other.tokens)


def test_validation_that_is_there_is_kept():
    dataset = with_validation(random_dataset(), 0.2, 0)
    assert with_validation(dataset, 0.5, 1) is dataset
    plain = random_dataset()
    assert with_validation(plain, 0, 1) is plain


def test_validation_must_leave_something_to_learn_from():
    expected = (
        "data set 'made': class 'positive' has 4 training sequences, and a validation fraction of 0.99 leaves none: "
        "set training.validation_fraction = 0 or bring a validation split"
    )
    with pytest.raises(InputError) as caught:
        with_validation(random_dataset((600, 4)), 0.99, 0)
    assert str(caught.value) == expected
    with pytest.raises(InputError, match="0 ≤ fraction < 1"):
        with_validation(random_dataset(), 1.0, 0)


@pytest.mark.parametrize("count", range(1, 5))
@pytest.mark.parametrize("fraction", [0, 0.01, 0.1, 0.5, 0.9])
def test_too_rare_says_beforehand_what_the_cut_would_do(count, fraction):
    dataset = random_dataset((40, 4))  # class 1: some of 4
    rows = np.flatnonzero(np.cumsum(dataset.train.labels) <= count)
    dataset = replace(dataset, train=dataset.train.take(rows))
    counts = np.bincount(dataset.train.labels, minlength=2).tolist()
    fault = too_rare(dataset.classes, counts, fraction)
    if fault is None:
        assert np.bincount(with_validation(dataset, fraction, 0).train.labels, minlength=2).all()
    else:
        with pytest.raises(InputError, match=r"leaves none: set training\.validation_fraction = 0"):
            with_validation(dataset, fraction, 0)


def test_a_single_sequence_of_a_class_is_too_rare_to_cut():
    assert too_rare(("0", "1", "2"), (50, 2, 1), 0.1) == (
        "class '2' has 1 training sequence, and a validation fraction of 0.1 leaves none: "
        "set training.validation_fraction = 0 or bring a validation split"
    )
    assert too_rare(("0", "1"), (50, 2), 0.1) is None
    assert too_rare(("0", "1"), (50, 1), 0) is None


def test_training_subsets_are_stratified_and_nested():
    dataset = random_dataset((600, 400))
    small, middle = (training_subset(dataset, fraction, split_seed=5) for fraction in (0.01, 0.1))
    assert np.bincount(small.train.labels).tolist() == [6, 4]
    assert np.bincount(middle.train.labels).tolist() == [60, 40]
    remaining = iter(letters_of(middle.train))
    assert all(sequence in remaining for sequence in letters_of(small.train)), "not nested, or the order changed"
    assert training_subset(dataset, 1, 5) is dataset
    with pytest.raises(InputError, match="0 < fraction"):
        training_subset(dataset, 0, 5)


def test_random_keys_are_the_same_for_ever():
    assert random_keys(3, "validation:0").tolist() == [
        408273839425873825,
        12916796067823539737,
        12228824021454121053,
    ]


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
