"""The top of the page warns of what limits the answer."""

from analysis.findings import gather
from analysis.page.masthead import masthead
from analysis.page.wording import headline
from tests.support.comparisons import from_study
from tests.support.synthetic_results import Truth


def test_cells_whose_control_arm_only_guesses_are_counted(tmp_path):
    truth = Truth(models={"net": 1_000}, datasets={"guessed": 0.5, "learnt": 0.7}, seeds=(1, 2, 3), epochs=(2,))
    results, _ = from_study(tmp_path, truth)
    findings = gather(results)
    page = masthead(findings, headline(findings))
    assert "In 1 of 2 cells the scratch arm ends no better than always predicting the largest class" in page
