"""The audit finds what was planted, nothing else, and the known findings in published data."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hyena.data.catalogue import OFFICIAL
from hyena.data.datasets import DatasetSource, load_dataset
from hyena.data.sequences import Dataset, dataset_from_sequences, pack
from hyena.errors import InputError
from hyena.leakage.__main__ import guess_source, main
from hyena.leakage.audit import SCHEMA, audit, audit_intervals, describe
from hyena.leakage.intervals import Intervals, compare
from hyena.leakage.kmers import find_shared, groups
from tests.support.places import ROOT

COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")
MEASURES = ("exact_duplicate", "reverse_complement", "shared_kmer")


def other_strand(sequence: bytes) -> bytes:
    return sequence.translate(COMPLEMENT)[::-1]


def random_dna(rng: np.random.Generator, length: int) -> bytes:
    return np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, length)].tobytes()


@pytest.fixture
def dna():
    rng = np.random.default_rng(7)
    return lambda length: random_dna(rng, length)


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


def test_kmer_lengths_that_do_not_fit_are_refused(dna):
    split = pack([dna(100)], [0], str)
    for k in (31, 65):
        with pytest.raises(InputError, match="32 … 64"):
            find_shared(split, k)


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


def test_overlap_with_a_union_of_intervals():
    def intervals(*rows):
        regions, starts, ends = zip(*rows, strict=True)
        return Intervals(np.array(regions), np.array(starts), np.array(ends))

    targets = intervals(("1", 10, 20), ("1", 15, 30), ("1", 30, 40), ("1", 5, 8), ("2", 0, 5))
    queries = intervals(
        ("1", 0, 5),
        ("1", 0, 6),
        ("1", 8, 10),
        ("1", 10, 40),
        ("1", 39, 41),
        ("1", 40, 50),
        ("2", 1, 2),
        ("3", 1, 2),
        ("1", 15, 30),
    )
    answers = {measure: np.flatnonzero(answer).tolist() for measure, answer in compare(queries, targets).items()}
    assert answers == {"interval_overlap": [1, 3, 4, 6, 8], "interval_inside": [3, 6, 8], "interval_identical": [8]}


def test_bad_coordinates_are_told_by_file(tmp_path):
    with pytest.raises(InputError, match="no interval lists"):
        audit_intervals("d", tmp_path)
    for split in ("train", "test"):
        (tmp_path / "d" / split).mkdir(parents=True)
        (tmp_path / "d" / split / "a.csv.gz").write_bytes(gzip.compress(b"id,region,start\n1,chr1,2\n"))
    with pytest.raises(InputError, match=r"a\.csv\.gz: not an interval list"):
        audit_intervals("d", tmp_path)


# --- the command ---


def write_tables(folder: Path, dna) -> Path:
    same = dna(80)
    folder.mkdir()
    (folder / "train.csv").write_text(f"sequence,label\n{same.decode()},0\n{dna(80).decode()},1\n")
    (folder / "test.csv").write_text(f"sequence,label\n{same.decode()},0\n{dna(80).decode()},1\n")
    return folder


def test_command_prints_and_writes_what_it_finds(tmp_path, dna, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    output = tmp_path / "deep" / "audit.parquet"
    sequences = tmp_path / "sequences.parquet"
    arguments = [str(write_tables(tmp_path / "mine", dna)), "-o", str(output), "--sequences", str(sequences)]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "mine: 2 train, 2 test" in text
    assert "1 of 2" in text
    assert "train sequences with a partner in the same split\n  none by exact_duplicate, reverse_complement" in text
    rows = pq.read_table(sequences).to_pylist()
    assert [(row["split"], row["example"], row["label"], row["exact_duplicate"]) for row in rows] == [
        ("test", 0, 0, True),
        ("test", 1, 1, False),
    ]
    assert not any(row["shared_kmer_other_class"] for row in rows)
    assert pq.read_table(output).schema.equals(SCHEMA)
    metadata = pq.read_schema(output).field("count").metadata
    assert json.dumps({k.decode(): v.decode() for k, v in metadata.items() if k == b"unit"}) == '{"unit": "sequences"}'


@pytest.mark.parametrize("arguments", [["human_nontata"], ["human_ocr_ensembl", "--intervals-only"]])
def test_command_tells_a_wrong_request_in_one_line(arguments, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1


def test_command_tells_bad_kmers_in_one_line(tmp_path, dna, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main([str(write_tables(tmp_path / "mine", dna)), "--kmer", "10"]) == 2
    assert "32 … 64" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["train.csv", "test.csv"], "csv"),
        (["train.tsv.gz"], "tsv"),
        (["train.parquet"], "parquet"),
        (["train.fa"], "fasta"),
        (["train/a.fasta.gz"], "fasta"),
        (["train/a/1.txt"], "genomic_benchmarks"),
    ],
)
def test_formats_are_guessed_from_what_lies_there(tmp_path, files, expected):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert guess_source(tmp_path).format == expected


# --- real data ---


@pytest.mark.parametrize(("name", "duplicates"), [("prom_core_tata", 16), ("prom_300_tata", 6)])
def test_known_duplicates_between_official_splits(shared_data, tmp_path, name, duplicates):
    dataset = load_dataset(name, DatasetSource("csv", shared_data / "gue" / name), cache_dir=tmp_path)
    assert len(found(dataset, "exact_duplicate")) == duplicates
    assert len(found(dataset, "exact_duplicate", split="train", against="test")) == duplicates


def test_archives_cut_without_shared_60mers(shared_data, tmp_path):
    for name in ("human_nontata_promoters", "human_enhancers_cohn"):
        result = audit(load_dataset(name, None, shared_data / "genomic_benchmarks", tmp_path))
        for measure in MEASURES:
            assert not result.flags[measure, "test", "train", "any"].any()
            assert not result.flags[measure, "train", "test", "any"].any()
        if name == "human_nontata_promoters":
            assert result.flags["shared_kmer", "train", "train", "any"].sum() == 2_972
        assert "test sequences with a partner in train\n  none by exact_duplicate, " in describe(result.table)


def count(table, measure: str, label: str, split: str = "train", relation: str = "any") -> tuple[int, int]:
    [row] = [
        row
        for row in table.to_pylist()
        if (row["measure"], row["class"], row["split"], row["partner_class"]) == (measure, label, split, relation)
    ]
    return row["count"], row["of"]


def test_official_intervals_of_the_promoters(shared_data):
    table = audit_intervals("human_nontata_promoters", shared_data / "coordinates")
    assert count(table, "interval_overlap", "negative") == (11_700, 12_355)
    assert count(table, "interval_inside", "negative") == (6_670, 12_355)
    assert count(table, "interval_overlap", "positive") == (351, 14_742)
    assert count(table, "interval_inside", "positive") == (3, 14_742)


@pytest.mark.parametrize(
    ("name", "negative", "positive"),
    [("human_enhancers_cohn", 47, 0), ("drosophila_enhancers_stark", 108, 411)],
)
def test_official_intervals_of_other_sets(shared_data, name, negative, positive):
    table = audit_intervals(name, shared_data / "coordinates")
    assert count(table, "interval_overlap", "negative")[0] == negative
    assert count(table, "interval_overlap", "positive")[0] == positive


def test_three_of_four_test_enhancers_stand_in_the_training_set(shared_data):
    """The official split of human_enhancers_ensembl: the same place on the same chromosome on both sides."""
    table = audit_intervals("human_enhancers_ensembl", shared_data / "coordinates")
    assert count(table, "interval_identical", "positive", "test") == (11_694, 15_485)
    assert count(table, "interval_identical", "negative", "test") == (0, 15_485)


def test_the_documented_table_is_what_the_audit_finds(shared_data):
    text = (ROOT / "docs" / "data.md").read_text()
    for name, entry in OFFICIAL.items():
        table = audit_intervals(name, shared_data / "coordinates")
        for label in entry.classes:
            cells = [f"{count(table, 'interval_overlap', label, 'test')[1]:,}"]
            for measure in ("interval_overlap", "interval_inside", "interval_identical"):
                cells.append(f"{count(table, measure, label, 'test')[0]:,}")
            cells.append(f"{count(table, 'interval_overlap', label, 'train')[1]:,}")
            for measure in ("interval_overlap", "interval_inside"):
                cells.append(f"{count(table, measure, label, 'train')[0]:,}")
            assert f"| {name} | {label} | {' | '.join(cells)} |" in text
