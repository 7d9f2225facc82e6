"""The section on shares of the training data is there only where a study varies them."""

from dataclasses import replace

from analysis.findings import gather
from analysis.page import shares_section
from analysis.page.document import Figure
from analysis.results import load
from tests.support.comparisons import TWO_BY_TWO, from_shares
from tests.support.synthetic_results import write_results


def test_the_page_shows_the_shares_and_only_where_they_vary(tmp_path):
    (figure,) = shares_section.blocks(gather(from_shares(tmp_path / "varied")))
    assert isinstance(figure, Figure)
    assert figure.key == "shares"
    truth = replace(TWO_BY_TWO, learning_rates=(1e-3, 1e-4, 1e-5))
    rates = load(write_results(tmp_path / "rates", truth, predictions=False))
    assert shares_section.blocks(gather(rates)) == []
