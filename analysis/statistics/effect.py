"""The record of one estimated effect: its value, its intervals, its p-values and its verdict.

Next: `analysis/statistics/contrasts.py`, which fills it in; `analysis/statistics/verdicts.py`, the rule of the verdict.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from scipy import stats

from analysis.statistics.verdicts import LEVEL, Equivalence, Interval, Verdict, decide, equivalence, equivalence_p


@dataclass(frozen=True)
class Estimate:
    """An effect with its intervals. `low`, `high`: 95 %; `low90`, `high90`: 90 %, for two one-sided tests.

    An interval that is not warranted is None, and `reason` says why. `n` counts pairs (paired) or runs (unpaired),
    or data sets where these are the unit. `n_pretrainings` is the fewest pretrainings of a size that the estimate
    includes; with 1 (or 0: unknown) the estimate is conditional on the weights there are. `p_adjusted` is adjusted for
    multiple comparisons and for repeated looks, and None where there is nothing to adjust. `verdict`, `equivalence` and
    `p_equivalence` are None until `judged`; an estimator with a rule of its own may set `p_equivalence` before.
    """

    label: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    low90: float | None = None
    high90: float | None = None
    se: float | None = None
    df: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    n: int = 0
    n_datasets: int = 0
    n_pretrainings: int = 0
    model: str | None = None
    size: str | None = None
    dataset: str | None = None
    parameters: int | None = None
    method: str = ""
    reason: str = ""
    assumptions: tuple[str, ...] = ()
    verdict: Verdict | None = None
    equivalence: Equivalence | None = None
    p_equivalence: float | None = None

    def scaled(self, factor: float, label: str) -> Estimate:
        """The same estimate in another unit; not judged, for the margin has the old unit."""

        def times(value: float | None) -> float | None:
            return None if value is None else float(value * factor)

        return replace(
            self,
            label=label,
            effect=times(self.effect),
            low=times(self.low),
            high=times(self.high),
            low90=times(self.low90),
            high90=times(self.high90),
            se=times(self.se),
            verdict=None,
            equivalence=None,
            p_equivalence=None,
        )

    def with_equivalence(self, margin: float) -> Estimate:
        """With the p-value of the two one-sided tests against ±margin, unless it has one."""
        if self.p_equivalence is not None:
            return self
        return replace(self, p_equivalence=equivalence_p(self.effect, self.se, self.df, margin))

    def judged(self, margin: float) -> Estimate:
        """The same estimate with its verdict, by the adjusted p-values where there are any.

        margin: smallest difference that matters, in the estimate's unit.
        """
        one = self.with_equivalence(margin)
        p_value = one.p_value if one.p_adjusted is None else one.p_adjusted
        return replace(
            one,
            verdict=decide(one.effect, p_value, one.p_equivalence),
            equivalence=equivalence(one.interval90, one.p_equivalence, margin),
        )

    @property
    def interval95(self) -> Interval:
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def interval90(self) -> Interval:
        return None if self.low90 is None or self.high90 is None else (self.low90, self.high90)

    @property
    def has_interval(self) -> bool:
        return self.low is not None

    @property
    def is_conditional(self) -> bool:
        """Whether no spread between pretrainings is in the interval, because a size has one set of weights."""
        return self.n_pretrainings < 2


def t_estimate(shell: Estimate, effect: float, se: float, df: float, method: str, alpha: float = LEVEL) -> Estimate:
    """effect ± t · se, both intervals and the two-sided p. alpha: of the wider interval; the other takes twice it."""
    wide, narrow = (float(stats.t.ppf(1 - level, df)) * se for level in (alpha / 2, alpha))
    return replace(
        shell,
        effect=effect,
        low=effect - wide,
        high=effect + wide,
        low90=effect - narrow,
        high90=effect + narrow,
        se=se,
        df=df,
        p_value=float(2 * stats.t.sf(abs(effect) / se, df)),
        method=method,
    )
