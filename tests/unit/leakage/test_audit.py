"""The audit finds what was planted, nothing else, and the known findings in published data."""

import numpy as np
import pytest

from hyena.data.datasets import DatasetSource, load_dataset
from hyena.data.sequences import Dataset, dataset_from_sequences
from hyena.leakage.audit import audit
from hyena.leakage.counts import SCHEMA
from hyena.leakage.summary import summary
from tests.support.dna import other_strand, random_dna

MEASURES = ("exact_duplicate", "reverse_complement", "shared_kmer")


def found(dataset: Dataset, measure: str, relation: str = "any", split="test", against="train") -> list[int]:
    return np.flatnonzero(audit(dataset).flags[measure, split, against, relation]).tolist()


def test_planted_sharing_is_found_and_nothing_else(dna):
    first, second, kept = dna(200), dna(150), dna(60)
    train = [(first, 0), (second, 1), (dna(70) + kept + dna(30), 0), (dna(300), 1)]
    test = [
        (dna(200), 0),  # nothing
        (first, 0),  # a duplicate
        (first, 1),  # a duplicate in another class
        (other_strand(second), 1),  # the other strand
        (dna(10) + kept + dna(90), 0),  # 60 letters in common
        (dna(90) + other_strand(kept), 1),  # the same on the other strand, in another class
        (dna(40) + kept[:59] + dna(40), 0),  # one letter too few
        (first[:59], 0),  # shorter than 60
        (first[:60], 1),  # 60 and no more
    ]
    dataset = dataset_from_sequences("d", ("a", "b"), train, test)
    assert found(dataset, "exact_duplicate") == [1, 2]
    assert found(dataset, "exact_duplicate", "same") == [1]
    assert found(dataset, "exact_duplicate", "other") == [2]
    assert found(dataset, "reverse_complement") == [3]
    assert found(dataset, "shared_kmer") == [1, 2, 3, 4, 5, 8]
    assert found(dataset, "shared_kmer", "same") == [1, 3, 4]
    assert found(dataset, "shared_kmer", "other") == [2, 5, 8]
    assert found(dataset, "shared_kmer", split="train", against="test") == [0, 1, 2]


def test_within_a_split_a_sequence_is_not_its_own_partner(dna):
    twice, palindrome = dna(100), dna(50)
    palindrome += other_strand(palindrome)
    repeat = dna(60)
    train = [(twice, 0), (twice, 1), (palindrome, 0), (repeat * 3, 1), (dna(80), 0)]
    dataset = dataset_from_sequences("d", ("a", "b"), train, [(dna(100), 0), (dna(100), 1)])
    inside = {"split": "train", "against": "train"}
    assert found(dataset, "exact_duplicate", **inside) == [0, 1]
    assert found(dataset, "exact_duplicate", "same", **inside) == []
    assert found(dataset, "reverse_complement", **inside) == []
    assert found(dataset, "shared_kmer", **inside) == [0, 1]
    assert found(dataset, "shared_kmer", "other", **inside) == [0, 1]


def test_ambiguous_letters_and_short_sequences_share_no_kmer(dna):
    shared = dna(100)
    masked = shared[:50] + b"N" + shared[51:]
    dataset = dataset_from_sequences(
        "d", ("a", "b"), [(masked, 0), (shared[:30], 1)], [(masked, 0), (shared[:30], 1), (shared, 1)]
    )
    assert found(dataset, "shared_kmer") == []
    assert found(dataset, "exact_duplicate") == [0, 1]


def test_sharing_does_not_cross_from_one_sequence_to_the_next(dna):
    left, right = dna(40), dna(40)
    dataset = dataset_from_sequences("d", ("a", "b"), [(left, 0), (right, 1)], [(left + right, 0), (dna(80), 1)])
    assert found(dataset, "shared_kmer") == []


@pytest.mark.parametrize("seed", range(4))
def test_sharing_with_copies_equals_a_plain_comparison(seed):
    rng = np.random.default_rng(seed)
    genome = random_dna(rng, 250)
    examples = []
    for start in rng.integers(0, 150, 30).tolist() * 2:  # everything twice, in random classes and on random strands
        piece = genome[start : start + rng.integers(35, 38)]
        examples.append((other_strand(piece) if rng.integers(2) else piece, int(rng.integers(2))))
    examples += [(b"A", 0), (b"C", 1), (b"A", 0), (b"C", 1)]
    parts = {"train": examples[:40] + examples[-4:-2], "test": examples[40:60] + examples[-2:]}
    flags = audit(dataset_from_sequences("d", ("a", "b"), parts["train"], parts["test"]), k=35).flags

    def windows(sequence: bytes) -> set[bytes]:
        return {min(w := sequence[i : i + 35], other_strand(w)) for i in range(len(sequence) - 34)}

    sets = {name: [(windows(sequence), label) for sequence, label in part] for name, part in parts.items()}
    for split, against in (("train", "train"), ("train", "test"), ("test", "train"), ("test", "test")):
        for relation, wanted in (("same", (True,)), ("other", (False,)), ("any", (True, False))):
            expected = [
                any(
                    ours & theirs and (label == partner) in wanted and (split != against or i != j)
                    for j, (theirs, partner) in enumerate(sets[against])
                )
                for i, (ours, label) in enumerate(sets[split])
            ]
            assert flags["shared_kmer", split, against, relation].tolist() == expected


def test_the_table_has_the_documented_columns_and_adds_up(dna):
    same = dna(80)
    train = [(same, 0), (dna(90), 1), (dna(90), 1)]
    dataset = dataset_from_sequences("d", ("a", "b"), train, [(same, 1), (dna(90), 0), (same, 0)], [(same, 0)])
    table = audit(dataset).table
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    assert {row["measure"] for row in rows} == set(MEASURES)
    assert {row["k"] for row in rows if row["measure"] == "shared_kmer"} == {60}
    assert len(rows) == len(MEASURES) * 9 * 3 * 3  # pairs of splits, partner classes, classes and their total
    for row in rows:
        if row["class"] == "all":
            parts = [r for r in rows if r | {"class": "all", "count": 0, "of": 0} == row | {"count": 0, "of": 0}]
            assert sum(r["count"] for r in parts if r["class"] != "all") == row["count"]
            assert sum(r["of"] for r in parts if r["class"] != "all") == row["of"]


# --- real data ---


@pytest.mark.parametrize(("name", "duplicates"), [("prom_core_tata", 16), ("prom_300_tata", 6)])
def test_known_duplicates_between_official_splits(shared_data, tmp_path, name, duplicates):
    dataset = load_dataset(name, DatasetSource("csv", shared_data / "gue" / name), cache_dir=tmp_path)
    assert len(found(dataset, "exact_duplicate")) == duplicates
    assert len(found(dataset, "exact_duplicate", split="train", against="test")) == duplicates


def test_archives_made_without_shared_60mers(shared_data, tmp_path):
    for name in ("human_nontata_promoters", "human_enhancers_cohn"):
        result = audit(load_dataset(name, None, shared_data / "genomic_benchmarks", tmp_path))
        for measure in MEASURES:
            assert not result.flags[measure, "test", "train", "any"].any()
            assert not result.flags[measure, "train", "test", "any"].any()
        if name == "human_nontata_promoters":
            assert result.flags["shared_kmer", "train", "train", "any"].sum() == 2_972
        assert "test sequences with a partner in train\n  none by exact_duplicate, " in summary(result.counts)
