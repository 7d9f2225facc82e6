"""Benefit by the share of the training data, where a study varies it."""

import pytest

from analysis.statistics.estimates import estimate
from analysis.statistics.pairs import compare
from analysis.statistics.training_share import by_training_share
from tests.support.comparisons import from_shares


def test_each_share_is_its_own_comparison(tmp_path):
    results = from_shares(tmp_path)
    found = by_training_share(results, compare(results))
    assert [share for share, _ in found] == [0.01, 0.1, 1.0]
    for share, one in found:
        alone = estimate(compare(results, variant=f"train_fraction {share}"))
        assert (one.effect, one.low) == pytest.approx((alone.overall.effect, alone.overall.low))
