"""The robustness section lists what the checks found."""

from analysis.page.number_text import interval, signed
from analysis.page.robustness_section import metric_cells
from analysis.statistics.estimates import estimate
from analysis.statistics.pairs import compare
from analysis.statistics.robustness import other_outcomes
from tests.support.comparisons import from_study


def test_every_other_metric_is_listed_for_every_cell(tmp_path):
    results, comparison = from_study(tmp_path, predictions=False)
    (check,) = [one for one in other_outcomes(results, comparison) if one.label.startswith("Matthews")]
    listing = metric_cells([check])
    for one in estimate(compare(results, "test_mcc")).cells:
        assert f"{signed(one.effect)} {interval(one)}" in listing
