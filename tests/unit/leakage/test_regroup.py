"""New splits share nothing and keep sizes, classes and sequences."""

from itertools import pairwise

import numpy as np
import pytest

from hyena.data.datasets import load_dataset
from hyena.data.sequences import Dataset, dataset_from_sequences
from hyena.errors import InputError
from hyena.leakage.audit import audit
from hyena.leakage.regroup import regroup
from tests.support.dna import other_strand, random_dna

MEASURES = ("exact_duplicate", "reverse_complement", "shared_kmer")


def tiled(seed: int = 0, validation: bool = False) -> Dataset:
    """400 sequences cut from few stretches, so that most overlap others, dealt to the splits at random; and copies."""
    rng = np.random.default_rng(seed)
    examples = []
    for number in range(60):
        stretch = random_dna(rng, 300)
        for _ in range(rng.integers(1, 14)):
            start = rng.integers(0, 200)
            piece = stretch[start : start + 100]
            examples.append((other_strand(piece) if rng.integers(2) else piece, number % 2))
    examples += [(b"ACGTTGCA" * 2, i % 2) for i in range(12)]  # copies too short for a 60-mer
    order = rng.permutation(len(examples))
    parts = np.split(order, [int(0.6 * len(order)), int(0.8 * len(order))])
    train, held, test = ([examples[i] for i in part] for part in parts)
    return dataset_from_sequences(
        "d", ("a", "b"), train if validation else train + held, test, held if validation else None
    )


def contents(dataset: Dataset) -> list[tuple[bytes, int]]:
    return sorted(
        (split.tokens[a:b].tobytes(), label)
        for split in dataset.splits.values()
        for (a, b), label in zip(pairwise(split.offsets), split.labels.tolist(), strict=True)
    )


@pytest.mark.parametrize("validation", [False, True])
def test_no_two_splits_share_a_kmer_and_no_sequence_is_lost(validation):
    before = tiled(validation=validation)
    assert audit(before).flags["shared_kmer", "test", "train", "any"].any(), "the test data must leak"
    after = regroup(before, split_seed=1)
    flags = audit(after).flags
    for (measure, split, against, _), found in flags.items():
        assert measure not in MEASURES or split == against or not found.any()
    assert contents(after) == contents(before)
    assert after.splits.keys() == before.splits.keys()
    for name, part in after.splits.items():
        old = np.bincount(before.splits[name].labels)
        assert np.abs(np.bincount(part.labels) - old).max() <= 0.25 * old.max(), f"{name} changed its size"


def test_the_new_splits_depend_only_on_the_seed_and_are_noted():
    before = tiled()
    first, again, other = (regroup(before, seed) for seed in (1, 1, 2))
    assert first.digest == again.digest
    assert len({before.digest, first.digest, other.digest}) == 3
    assert not first.official
    assert "split anew with split seed 1: no two splits share a 60-mer" in first.notes[-1]


def test_a_validation_split_can_be_cut_at_the_same_time():
    after = regroup(tiled(), split_seed=3, validation_fraction=0.25)
    flags = audit(after).flags
    assert not flags["shared_kmer", "validation", "train", "any"].any()
    assert not flags["shared_kmer", "test", "validation", "any"].any()
    assert 0.15 < len(after.validation) / (len(after.validation) + len(after.train)) < 0.35


def test_unlinked_sequences_keep_the_exact_sizes():
    rng = np.random.default_rng(0)

    def examples(n):
        return [(np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, 80)].tobytes(), i % 2) for i in range(n)]

    before = dataset_from_sequences("d", ("a", "b"), examples(60), examples(20))
    after = regroup(before, split_seed=0)
    assert [np.bincount(split.labels).tolist() for split in after.splits.values()] == [[30, 30], [10, 10]]
    assert after.digest != before.digest


def test_a_class_of_one_group_cannot_be_split():
    same = b"ACGTTGCATTGACCA" * 6
    dataset = dataset_from_sequences("d", ("a", "b"), [(same, 0), (same, 1)], [(same, 0), (b"ACG", 1)])
    with pytest.raises(
        InputError, match=r"class 'a' would be missing in (train|test), because too many of its sequences overlap"
    ):
        regroup(dataset, split_seed=0)
    with pytest.raises(InputError, match="must be at least 0 and less than 1"):
        regroup(dataset, split_seed=0, validation_fraction=1)


def test_real_promoters_are_split_anew(shared_data, tmp_path):
    before = load_dataset("human_nontata_promoters", None, shared_data / "genomic_benchmarks", tmp_path)
    after = regroup(before, split_seed=0, validation_fraction=0.1)
    flags = audit(after).flags
    for split, against in (("test", "train"), ("validation", "train"), ("test", "validation")):
        assert not flags["shared_kmer", split, against, "any"].any()
    assert np.abs(np.bincount(after.test.labels) - np.bincount(before.test.labels)).max() < 25


def test_groups_are_found_once_for_many_cuts(monkeypatch):
    """A worker cuts the same data set for every run; finding the groups takes half a minute for the largest."""
    before = tiled()
    regroup(before, split_seed=0)
    monkeypatch.setattr("hyena.leakage.regroup.find_shared", lambda *_: pytest.fail("searched again"))
    assert regroup(before, split_seed=1).digest != regroup(before, split_seed=2).digest
