"""The catalogue says what the official interval lists say."""

import csv
import gzip

import numpy as np
import pytest

from hyena.catalogue import OFFICIAL


@pytest.mark.parametrize("name", OFFICIAL)
def test_counts_and_lengths_are_those_of_the_official_intervals(shared_data, name):
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
    assert (min(lengths), int(np.median(lengths)), max(lengths)) == (
        entry.shortest_bp,
        entry.median_bp,
        entry.longest_bp,
    )


def test_the_nine_names():
    assert len(OFFICIAL) == 9
