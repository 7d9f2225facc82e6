"""Families and looks against statsmodels and published tables."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.statistics.effect import Estimate, t_estimate
from analysis.statistics.multiplicity import adjusted, holm, level_of_a_look
from analysis.statistics.verdicts import Verdict

#: Jennison and Turnbull, Group Sequential Methods (2000), table 2.1: Pocock's constants at 5 %, two-sided.
POCOCK = {1: 1.960, 2: 2.178, 3: 2.289, 4: 2.361, 5: 2.413, 6: 2.453, 8: 2.512, 10: 2.555, 20: 2.672}


@pytest.mark.parametrize(("looks", "limit"), POCOCK.items())
def test_the_level_of_a_look_is_pococks(looks, limit):
    assert stats.norm.isf(level_of_a_look(looks) / 2) == pytest.approx(limit, abs=6e-4)


def test_holm_is_statsmodels():
    p_values = np.random.default_rng(0).uniform(0, 0.2, 12).tolist()
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_a_family_is_judged_by_its_adjusted_p_values():
    family = [t_estimate(Estimate(str(z)), z, 1.0, 1e6, "") for z in (2.1, 2.2, 4.0)]
    assert [one.verdict for one in adjusted(family, 0.5, "none")] == [Verdict.POSITIVE] * 3
    kinds = [one.verdict for one in adjusted(family, 0.5, "holm")]
    assert kinds == [Verdict.UNRESOLVED, Verdict.UNRESOLVED, Verdict.POSITIVE]


def test_equivalence_of_a_family_is_adjusted_too():
    family = [t_estimate(Estimate(str(se)), 0.0, se, 1e6, "") for se in (0.26, 0.29, 0.1)]
    alone, together = adjusted(family, 0.5, "none"), adjusted(family, 0.5, "holm")
    assert [one.verdict for one in alone] == [Verdict.EQUIVALENT] * 3
    assert [one.verdict for one in together] == [Verdict.UNRESOLVED, Verdict.UNRESOLVED, Verdict.EQUIVALENT]


def test_members_without_an_interval_do_not_stop_the_others():
    family = [Estimate("none", effect=1.0), t_estimate(Estimate("some"), 4.0, 1.0, 50, "")]
    found = adjusted(family, 0.5, "holm")
    assert [one.verdict for one in found] == [Verdict.NOT_ESTIMABLE, Verdict.POSITIVE]
