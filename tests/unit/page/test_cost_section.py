"""The cost section sets the price of pretraining beside that of one run."""

from analysis.findings import gather
from analysis.page import cost_section
from tests.support.comparisons import from_study


def test_pretraining_is_counted_in_runs(tmp_path):
    findings = gather(from_study(tmp_path, predictions=False)[0])
    page = "".join(block for block in cost_section.blocks(findings) if isinstance(block, str))
    for minutes, pretraining in findings.prices.select("minutes", "pretraining_minutes").iter_rows():
        assert f"{pretraining / minutes:.3g}</td>" in page
