"""Numbers as a reader sees them: signs, intervals, p-values, counts.

Next: `analysis/page/wording.py`.
"""

from __future__ import annotations

from analysis.statistics.effect import Estimate
from analysis.statistics.verdicts import Interval


def signed(value: float | None, digits: int = 2) -> str:
    """+1.24, −0.30; an en dash for None."""
    if value is None:
        return "–"
    text = f"{abs(value):.{digits}f}"
    return ("−" if value < 0 and float(text) else "+") + text


def interval(estimate: Estimate, digits: int = 2) -> str:
    """The 95 % interval: [low, high] with true minus signs; an en dash where none is warranted."""
    return _limits(estimate.interval95, digits)


def interval90(estimate: Estimate, digits: int = 2) -> str:
    """The 90 % interval, which decides equivalence."""
    return _limits(estimate.interval90, digits)


def _limits(limits: Interval, digits: int) -> str:
    return "–" if limits is None else f"[{signed(limits[0], digits)}, {signed(limits[1], digits)}]"


def p_text(value: float | None) -> str:
    """0.031, or < 0.001; an en dash for None."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def parameters_text(count: float | None) -> str:
    """436354 → 0.44 M."""
    if count is None:
        return "–"
    for factor, letter in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if count >= factor * 0.1 and (letter != " k" or count >= 1e3):
            return f"{count / factor:.2g}{letter}" if count / factor < 100 else f"{count / factor:,.0f}{letter}"
    return f"{count:,.0f}"


def count_of(number: int, thing: str, plural: str | None = None) -> str:
    """36 runs, 1 run."""
    return f"{number:,} {thing if number == 1 else plural or thing + 's'}"
