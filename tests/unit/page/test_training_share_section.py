"""Benefit by the share of the training data, where a study varies it."""

import pytest

from analysis import report
from analysis.page.training_share_section import by_training_share
from analysis.results import load
from analysis.statistics.estimates import estimate
from analysis.statistics.pairs import compare
from tests.support.synthetic_results import Truth, write_results

SHARES = {1e-3: 1.0, 1e-4: 0.1, 1e-5: 0.01}
TRUTH = Truth(models={"tiny": 1_000}, datasets={"alpha": 0.7, "beta": 0.8}, seeds=(1, 2, 3), epochs=(2,),
              learning_rates=tuple(SHARES))  # fmt: skip


def changes(row):
    share = SHARES[row["_learning_rate"]]
    return {"learning_rate": 1e-3, "train_fraction": share, "train_examples": int(20_000 * share)}


def test_each_share_is_its_own_comparison(tmp_path):
    results = load(write_results(tmp_path, TRUTH, predictions=False, changes=changes))
    comparison = compare(results)
    found = by_training_share(results, comparison)
    assert [share for share, _ in found] == [0.01, 0.1, 1.0]
    for share, one in found:
        alone = estimate(compare(results, variant=f"train_fraction {share}"))
        assert (one.effect, one.low) == pytest.approx((alone.overall.effect, alone.overall.low))


def test_the_page_shows_the_shares_and_only_where_they_vary(tmp_path):
    page = tmp_path / "page.html"
    folder = write_results(tmp_path / "varied", TRUTH, predictions=False, changes=changes)
    assert report.main([str(folder), "-o", str(page)]) == 0
    assert 'id="figure-shares"' in page.read_text(encoding="utf-8")
    folder = write_results(tmp_path / "rates", TRUTH, predictions=False)
    assert report.main([str(folder), "-o", str(page)]) == 0
    assert 'id="figure-shares"' not in page.read_text(encoding="utf-8")
