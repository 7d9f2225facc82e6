"""How many seeds, or data sets, would narrow the interval on the growth to the margin.

Next: `analysis/statistics/power.py` for the numbers.
"""

from __future__ import annotations

from analysis.findings import Findings
from analysis.page import charts
from analysis.page.document import Block, Figure
from analysis.page.html import paragraphs, table
from analysis.page.number_text import count_of
from analysis.statistics.estimates import Estimates
from analysis.statistics.power import MOST_DATASETS, MOST_SEEDS, PrecisionPlan


def blocks(findings: Findings) -> list[Block]:
    plan, estimates = findings.precision_plan, findings.estimates
    if plan is None:
        return [] if estimates.overall.effect is None else [paragraphs([_why_not(estimates)])]
    found: list[Block] = [paragraphs(_sentences(plan, estimates))]
    for key, where, frame, now in (
        ("seeds", "for these data sets, as seeds are added", plan.by_seeds, plan.seeds_now),
        ("datasets", "for data sets like these, as data sets are added", plan.by_datasets, plan.datasets_now),
    ):
        if frame.height > 1:
            axis = frame["axis"][0]
            rows = [
                [count, basis, f"{half_width:.2f}"]
                for count, basis, half_width in frame.select("count", "basis", "half_width").iter_rows()
            ]
            caption = (
                f"Expected half-width of the 95 % interval on the growth, {where}. Dashed: the margin of "
                f"±{estimates.margin:g}; grey line: the present study."
            )
            listing = table([axis, "basis", "half-width"], rows, f"Half-width by {axis}", 2)
            chart = charts.half_widths(frame, estimates.margin, now)
            found.append(Figure(f"next-{key}", chart, caption, listing))
    return found


def _why_not(estimates: Estimates) -> str:
    if len(estimates.comparison.sizes) < 2:
        return "Planning needs a second model size: with only one, growth cannot be estimated."
    if estimates.residual_sd is None:
        return "Planning needs a second seed in every cell, from which the spread between runs can be estimated."
    return "Planning needs a data set with results at two sizes."


def _sentences(plan: PrecisionPlan, estimates: Estimates) -> list[str]:
    margin = f"±{estimates.margin:g} {estimates.comparison.unit}"
    power = ""
    if plan.detectable is not None:
        least = f"{plan.detectable:.2f} {estimates.comparison.unit}"
        power = f"As it stands, the study detects a growth of {least} or more with 80 % power."
    return [_seeds_sentence(plan, margin), _datasets_sentence(plan), power]


def _seeds_sentence(plan: PrecisionPlan, margin: str) -> str:
    if plan.seeds is None:
        return f"Even {MOST_SEEDS:,} seeds per cell would not narrow the interval on the growth to {margin}."
    if plan.seeds <= plan.seeds_now:
        return f"For these data sets the {plan.seeds_now} seeds per cell are enough for an interval within {margin}."
    more = plan.seeds_cautious is not None and plan.seeds_cautious > plan.seeds
    cautious = f" ({plan.seeds_cautious} to be safe)" if more else ""
    return (
        f"For these data sets, {plan.seeds} seeds per cell{cautious} would bring the interval on the growth within "
        f"{margin}; the smallest cell has {plan.seeds_now}."
    )


def _datasets_sentence(plan: PrecisionPlan) -> str:
    if plan.datasets_now < 2:
        return "Planning for other data sets needs a second data set."
    if plan.datasets is None:
        seeds = f"{plan.seeds_now} seeds per cell"
        return f"For data sets like these, even {MOST_DATASETS:,} would not be enough with {seeds}."
    if plan.datasets <= plan.datasets_now:
        return f"For data sets like these, the present {plan.datasets_now} are enough."
    return (
        f"For data sets like these, about {plan.datasets} data sets would be needed; there are {plan.datasets_now}. "
        f"The spread between data sets is itself estimated from only {count_of(plan.datasets_now, 'value')}."
    )
