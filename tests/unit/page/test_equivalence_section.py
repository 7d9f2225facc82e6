"""The equivalence section: one row per estimate with an interval."""

from analysis.findings import gather
from analysis.page import equivalence_section
from tests.support.comparisons import from_study


def test_equivalence_is_said_of_every_estimate_with_an_interval(tmp_path):
    results, _ = from_study(tmp_path, predictions=False)
    page = "".join(map(str, equivalence_section.blocks(gather(results))))
    assert page.count("<tr>") == 1 + 2 + 2 + 2, "head, benefit and growth, sizes, both over data sets"
