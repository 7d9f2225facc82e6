"""The top of the page warns of what limits the answer."""

from dataclasses import replace

import pytest

from analysis.findings import gather
from analysis.page import methods_section
from analysis.page.masthead import masthead
from analysis.page.wording import headline
from tests.support.comparisons import from_shares, from_study
from tests.support.synthetic_results import Truth


def test_cells_whose_control_arm_only_guesses_are_counted(tmp_path):
    truth = Truth(models={"net": 1_000}, datasets={"guessed": 0.5, "learnt": 0.7}, seeds=(1, 2, 3), epochs=(2,))
    results, _ = from_study(tmp_path, truth)
    findings = gather(results)
    page = masthead(findings, headline(findings))
    assert "In 1 of 2 cells the scratch arm ends no better than always predicting the largest class" in page


@pytest.mark.parametrize(
    ("group", "named", "reason"),
    [
        ({}, "train_fraction 1.0", "of the groups that can be compared the one with the most training examples"),
        ({"train_fraction": 0.1}, "train_fraction 0.1", "the group that the study names"),
    ],
)
def test_the_page_says_which_group_the_answer_is_about_and_why(tmp_path, group, named, reason):
    results = from_shares(tmp_path)
    findings = gather(replace(results, study={**results.study, "analysis": {"group": group}}))
    page = masthead(findings, headline(findings))
    assert (
        f"The study has 3 groups of hyperparameters, which are never averaged. The answer above is about {named};"
        in page
    )
    assert "cover 2 other groups" in page
    assert f"The answer is about {named}, {reason}" in methods_section.blocks(findings)[0]


def test_a_named_group_without_runs_is_not_answered_by_another(tmp_path):
    results = from_shares(tmp_path)
    findings = gather(replace(results, study={**results.study, "analysis": {"group": {"train_fraction": 0.5}}}))
    page = masthead(findings, headline(findings))
    assert "The answer is about runs of 2 epochs with train_fraction 0.5, and none of them is done." in page
    assert "about train_fraction 0.5; the sections below cover 3 other groups" in page
