"""The catalogue equals the official interval lists."""

import csv
import gzip

import numpy as np
import pytest

from hyena.data.catalogue import OFFICIAL, deciles


@pytest.mark.parametrize("name", OFFICIAL)
def test_counts_and_lengths_equal_those_of_the_official_intervals(shared_data, name):
    entry = OFFICIAL[name]
    lengths = []
    for split, counts in (("train", entry.train), ("test", entry.test)):
        files = {
            path.name.removesuffix(".csv.gz"): path for path in (shared_data / "coordinates" / name / split).iterdir()
        }
        assert tuple(sorted(files)) == entry.classes
        for label, path in files.items():
            with gzip.open(path, "rt") as file:
                rows = list(csv.DictReader(file))
            assert len(rows) == counts[label]
            lengths += [int(row["end"]) - int(row["start"]) for row in rows]
    assert deciles(np.array(lengths)) == entry.lengths_bp
    assert (entry.shortest_bp, entry.longest_bp) == (min(lengths), max(lengths))


def test_the_nine_names():
    assert len(OFFICIAL) == 9


def test_deciles_run_from_the_shortest_to_the_longest():
    assert deciles(np.arange(101)) == (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
    assert deciles(np.array([7])) == (7,) * 11
