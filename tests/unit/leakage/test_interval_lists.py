"""Intervals of train and test on the genome, and the counts for the official lists that docs/data.md gives."""

import gzip
from collections.abc import Sequence

import numpy as np
import pytest

from hyena.data.catalogue import OFFICIAL
from hyena.errors import InputError
from hyena.leakage.audit import audit_intervals
from hyena.leakage.counts import PartnerCount
from hyena.leakage.interval_lists import IntervalList, compare
from tests.support.places import ROOT


def test_overlap_with_a_union_of_intervals():
    def intervals(*rows):
        regions, starts, ends = zip(*rows, strict=True)
        return IntervalList(np.array(regions), np.array(starts), np.array(ends))

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


def test_errors_of_bad_coordinates_name_the_file(tmp_path):
    with pytest.raises(InputError, match="no interval lists"):
        audit_intervals("d", tmp_path)
    for split in ("train", "test"):
        (tmp_path / "d" / split).mkdir(parents=True)
        (tmp_path / "d" / split / "a.csv.gz").write_bytes(gzip.compress(b"id,region,start\n1,chr1,2\n"))
    with pytest.raises(InputError, match=r"a\.csv\.gz: not an interval list"):
        audit_intervals("d", tmp_path)


def count(counts: Sequence[PartnerCount], measure: str, label: str, split: str = "train") -> tuple[int, int]:
    """Intervals of a class with a partner of any class, and all of them."""
    against = "test" if split == "train" else "train"
    [found] = [one for one in counts if (one.comparison, one.label) == ((measure, split, against, "any"), label)]
    return found.count, found.of


def test_official_intervals_of_the_promoters(shared_data):
    counts = audit_intervals("human_nontata_promoters", shared_data / "coordinates")
    assert count(counts, "interval_overlap", "negative") == (11_700, 12_355)
    assert count(counts, "interval_inside", "negative") == (6_670, 12_355)
    assert count(counts, "interval_overlap", "positive") == (351, 14_742)
    assert count(counts, "interval_inside", "positive") == (3, 14_742)


@pytest.mark.parametrize(
    ("name", "negative", "positive"),
    [("human_enhancers_cohn", 47, 0), ("drosophila_enhancers_stark", 108, 411)],
)
def test_official_intervals_of_other_sets(shared_data, name, negative, positive):
    counts = audit_intervals(name, shared_data / "coordinates")
    assert count(counts, "interval_overlap", "negative")[0] == negative
    assert count(counts, "interval_overlap", "positive")[0] == positive


def test_three_of_four_test_enhancers_are_in_the_training_set(shared_data):
    """The official split of human_enhancers_ensembl: the same place on the same chromosome on both sides."""
    counts = audit_intervals("human_enhancers_ensembl", shared_data / "coordinates")
    assert count(counts, "interval_identical", "positive", "test") == (11_694, 15_485)
    assert count(counts, "interval_identical", "negative", "test") == (0, 15_485)


def test_the_documented_table_is_what_the_audit_finds(shared_data):
    text = (ROOT / "docs" / "data.md").read_text()
    for name, entry in OFFICIAL.items():
        counts = audit_intervals(name, shared_data / "coordinates")
        for label in entry.classes:
            cells = [f"{count(counts, 'interval_overlap', label, 'test')[1]:,}"]
            for measure in ("interval_overlap", "interval_inside", "interval_identical"):
                cells.append(f"{count(counts, measure, label, 'test')[0]:,}")
            cells.append(f"{count(counts, 'interval_overlap', label, 'train')[1]:,}")
            for measure in ("interval_overlap", "interval_inside"):
                cells.append(f"{count(counts, measure, label, 'train')[0]:,}")
            assert f"| {name} | {label} | {' | '.join(cells)} |" in text
