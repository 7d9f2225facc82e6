"""What would settle the growth: seeds, pretrainings or data sets, with the time that they take.

Next: `analysis/statistics/power.py` for the numbers.
"""

from __future__ import annotations

from analysis.findings import Findings
from analysis.page import charts
from analysis.page.document import Block, Figure
from analysis.page.html import paragraphs, table
from analysis.statistics.estimates import Estimates
from analysis.statistics.power import MOST, Need, PrecisionPlan


def blocks(findings: Findings) -> list[Block]:
    plan, estimates = findings.precision_plan, findings.estimates
    if plan is None:
        return [] if estimates.overall.effect is None else [paragraphs([_why_not(estimates)])]
    kinds = _kinds(plan)
    found: list[Block] = [
        paragraphs(_sentences(plan, estimates)),
        table(
            ["more of", "now", "enough", "to be safe", "time of this machine", "answers for"],
            [_row(name, need, scope) for name, need, scope in kinds],
            "What would settle it",
        ),
    ]
    for name, need, scope in kinds:
        if need.half_widths.height > 1:
            found.append(_figure(name, need, scope, estimates.margin))
    return found


def _kinds(plan: PrecisionPlan) -> list[tuple[str, Need, str]]:
    """What can be added, and what the interval then holds for."""
    several = "these data sets, any weights" if plan.pretrainings is not None else "these data sets and weights"
    found = [("seeds per cell", plan.seeds, several)]
    if plan.pretrainings is not None:
        found.append(("pretrainings per size", plan.pretrainings, several))
    if plan.datasets is not None:
        found.append(("data sets", plan.datasets, "data sets like these"))
    return found


def _row(name: str, need: Need, scope: str) -> list[object]:
    beyond = f"more than {MOST:,}"
    enough = beyond if need.enough is None else f"{need.enough:,}"
    cautious = "–" if name == "data sets" else beyond if need.cautious is None else f"{need.cautious:,}"
    return [name, need.now or "–", enough, cautious, _time(need.hours), scope]


def _time(hours: float | None) -> str:
    """Hours as a reader plans with them."""
    if hours is None:
        return "–"
    if hours < 1:
        return f"{hours * 60:.0f} minutes" if hours * 60 >= 1 else "under a minute"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"


def _figure(name: str, need: Need, scope: str, margin: float) -> Figure:
    rows = [
        [count, basis, f"{half_width:.2f}"]
        for count, basis, half_width in need.half_widths.select("count", "basis", "half_width").iter_rows()
        if half_width != float("inf")
    ]
    caption = (
        f"Expected half-width of the 95 % interval on the growth, for {scope}, as {name.split(' per ')[0]} are added. "
        f"Dashed: the margin of ±{margin:g}; grey line: the present study."
    )
    listing = table([name, "basis", "half-width"], rows, f"Half-width by {name}", 2)
    chart = charts.half_widths(need.half_widths, margin, need.now)
    return Figure(f"next-{name.split()[0]}", chart, caption, listing)


def _why_not(estimates: Estimates) -> str:
    if len(estimates.comparison.sizes) < 2:
        return "Planning needs a second model size: with only one, growth cannot be estimated."
    if estimates.residual_sd is None:
        return "Planning needs a second seed in every cell, from which the spread between runs can be estimated."
    return "Planning needs a data set with results at two sizes."


def _sentences(plan: PrecisionPlan, estimates: Estimates) -> list[str]:
    unit = estimates.comparison.unit
    found = [
        f"How many are needed for a 95 % interval on the growth within ±{estimates.margin:g} {unit}, if further ones "
        "vary like the present ones and the other kinds stay as they are:"
    ]
    if plan.pretrainings is None:
        found.append(
            "With one set of weights a size, no number of seeds answers for other weights. How many pretrainings would "
            "cannot be planned before a size has two, because their spread is unknown."
        )
    if plan.detectable is not None:
        found.append(
            f"As it stands, the study detects a growth of {plan.detectable:.2f} {unit} or more with 80 % power."
        )
    found.append(
        "Looking again costs: adding to the study after reading this page, and reading it again, is one more look. The "
        f"figures below are those of a study that is read {plan.looks} times; declare the number of looks in the study "
        "([analysis] looks) before adding to it."
    )
    return found
