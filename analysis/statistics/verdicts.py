"""The rule that turns an interval into a verdict, and the test of equivalence behind it.

The rule is fixed before any result is seen and reads the unadjusted intervals; p-values adjusted for multiple
comparisons are reported beside it. With margin m, in order: the 95 % interval above 0 is POSITIVE, below 0 NEGATIVE;
the 90 % interval inside ±m is EQUIVALENT; anything else is UNRESOLVED; no interval is NOT_ESTIMABLE.

Source of the equivalence test: Schuirmann, A comparison of the two one-sided tests procedure (1987). Next:
`analysis/statistics/contrasts.py`, whose `Estimate.judged` applies the rule; `analysis/page/wording.py` for the words.
"""

from __future__ import annotations

from enum import StrEnum

from scipy import stats

#: Lower and upper limit, or None where no interval is warranted.
Interval = tuple[float, float] | None


class Verdict(StrEnum):
    """What the intervals say of a difference."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    EQUIVALENT = "equivalent"
    UNRESOLVED = "unresolved"
    NOT_ESTIMABLE = "not estimable"


class Equivalence(StrEnum):
    """Where the 90 % interval lies relative to ±margin, whatever its sign."""

    INSIDE = "inside"
    OUTSIDE = "outside"
    OPEN = "open"
    NOT_ESTIMABLE = "not estimable"


def decide(interval95: Interval, interval90: Interval, margin: float) -> Verdict:
    """The verdict on one difference. margin: smallest difference that matters, above 0, in the estimate's unit."""
    if interval95 is None or interval90 is None:
        return Verdict.NOT_ESTIMABLE
    if interval95[0] > 0:
        return Verdict.POSITIVE
    if interval95[1] < 0:
        return Verdict.NEGATIVE
    is_inside = equivalence(interval90, margin) is Equivalence.INSIDE
    return Verdict.EQUIVALENT if is_inside else Verdict.UNRESOLVED


def equivalence(interval90: Interval, margin: float) -> Equivalence:
    """INSIDE exactly where both one-sided tests reject at 5 % that the difference is as large as the margin."""
    if interval90 is None:
        return Equivalence.NOT_ESTIMABLE
    low, high = interval90
    if -margin < low and high < margin:
        return Equivalence.INSIDE
    return Equivalence.OUTSIDE if low > margin or high < -margin else Equivalence.OPEN


def equivalence_p(effect: float | None, se: float | None, df: float | None, margin: float) -> float | None:
    """The larger p-value of the two one-sided t tests of |effect| ≥ margin; None without a standard error.

    Below 0.05 exactly where the 90 % interval lies inside ±margin.
    """
    if effect is None or not se or df is None:
        return None
    return float(stats.t.sf((margin - abs(effect)) / se, df))
