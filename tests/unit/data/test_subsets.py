"""A validation split cut from train, and subsets of train: stratified, nested, and reproducible."""

from dataclasses import replace

import numpy as np
import pytest

from hyena.data.subsets import random_keys, too_rare, training_subset, with_validation
from hyena.errors import InputError
from tests.support.dna import letters_of, random_dataset


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


def test_an_existing_validation_split_is_kept():
    dataset = with_validation(random_dataset(), 0.2, 0)
    assert with_validation(dataset, 0.5, 1) is dataset
    plain = random_dataset()
    assert with_validation(plain, 0, 1) is plain


def test_validation_must_leave_training_sequences():
    expected = (
        "data set 'made': class 'positive' has 4 training sequences, and a validation fraction of 0.99 leaves none: "
        "set training.validation_fraction = 0 or provide a validation split"
    )
    with pytest.raises(InputError) as caught:
        with_validation(random_dataset((600, 4)), 0.99, 0)
    assert str(caught.value) == expected
    with pytest.raises(InputError, match="must be at least 0 and less than 1"):
        with_validation(random_dataset(), 1.0, 0)


@pytest.mark.parametrize("count", range(1, 5))
@pytest.mark.parametrize("fraction", [0, 0.01, 0.1, 0.5, 0.9])
def test_too_rare_predicts_whether_the_cut_is_possible(count, fraction):
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
        "set training.validation_fraction = 0 or provide a validation split"
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
    with pytest.raises(InputError, match="must be more than 0"):
        training_subset(dataset, 0, 5)


def test_random_keys_never_change():
    assert random_keys(3, "validation:0").tolist() == [
        408273839425873825,
        12916796067823539737,
        12228824021454121053,
    ]
