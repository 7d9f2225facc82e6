"""The rule that turns a test into a verdict, and the test of equivalence behind it.

The rule is fixed before any result is seen. In order: p below 0.05 is POSITIVE or NEGATIVE by the sign of the effect;
both one-sided tests against the margin below 0.05 is EQUIVALENT; anything else is UNRESOLVED; no p is NOT_ESTIMABLE.
The p-values are the adjusted ones where an estimate is one of a family (`analysis/statistics/multiplicity.py`).

Source of the equivalence test: Schuirmann, A comparison of the two one-sided tests procedure (1987). Next:
`analysis/statistics/effect.py`, whose `Estimate.judged` applies the rule; `analysis/page/wording.py` for the words.
"""

from __future__ import annotations

from enum import StrEnum

from scipy import stats

#: Lower and upper limit, or None where no interval is warranted.
Interval = tuple[float, float] | None

#: Largest p-value that decides.
LEVEL = 0.05


class Verdict(StrEnum):
    """What the tests say of a difference."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    EQUIVALENT = "equivalent"
    UNRESOLVED = "unresolved"
    NOT_ESTIMABLE = "not estimable"


class Equivalence(StrEnum):
    """Whether a difference is known to be smaller, or larger, than the margin, whatever its sign."""

    INSIDE = "inside"
    OUTSIDE = "outside"
    OPEN = "open"
    NOT_ESTIMABLE = "not estimable"


def decide(effect: float | None, p_value: float | None, p_equivalence: float | None) -> Verdict:
    """The verdict on one difference, from its (adjusted) p-values."""
    if effect is None or p_value is None:
        return Verdict.NOT_ESTIMABLE
    if p_value < LEVEL:
        return Verdict.POSITIVE if effect > 0 else Verdict.NEGATIVE
    is_inside = p_equivalence is not None and p_equivalence < LEVEL
    return Verdict.EQUIVALENT if is_inside else Verdict.UNRESOLVED


def equivalence(interval90: Interval, p_equivalence: float | None, margin: float) -> Equivalence:
    """INSIDE exactly where the two one-sided tests (adjusted) reject that the difference is as large as the margin."""
    if interval90 is None:
        return Equivalence.NOT_ESTIMABLE
    if p_equivalence is not None and p_equivalence < LEVEL:
        return Equivalence.INSIDE
    low, high = interval90
    return Equivalence.OUTSIDE if low > margin or high < -margin else Equivalence.OPEN


def equivalence_p(effect: float | None, se: float | None, df: float | None, margin: float) -> float | None:
    """The larger p-value of the two one-sided t tests of |effect| ≥ margin; None without a standard error.

    Below 0.05 exactly where the 90 % interval lies inside ±margin.
    """
    if effect is None or not se or df is None:
        return None
    return float(stats.t.sf((margin - abs(effect)) / se, df))
