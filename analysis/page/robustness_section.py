"""Whether the answer depends on the assumptions, the arms, the metric, the setting, or the test examples.

Next: `analysis/statistics/robustness.py` and `analysis/statistics/example_tests.py` for the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from analysis.findings import Findings
from analysis.page.document import Block
from analysis.page.html import chip, details, paragraphs, problem_list, table
from analysis.page.number_text import count_of, interval, p_text, signed
from analysis.page.wording import BENEFIT, GROWTH
from analysis.statistics.effect import Estimate
from analysis.statistics.example_tests import ExampleTests
from analysis.statistics.robustness import RobustnessCheck, SignFlip

_CONTROL_ARMS = (
    "Shuffled weights are the pretrained ones with the values of each tensor permuted: the same distribution without "
    "what was learned. With frozen weights, only the head is trained."
)


def blocks(findings: Findings) -> list[Block]:
    checks = findings.robustness
    if checks is None:
        return []
    improvement = checks.improvement
    found: list[Block] = ["<h3>Other assumptions</h3>", _judged_table("assumption", checks.assumptions)]
    found += [paragraphs([_flip_sentence(checks.sign_flip), _improvement_sentence(improvement)])]
    found += [_improvement_table(improvement)]
    if checks.control_arms:
        found += ["<h3>Control arms</h3>", paragraphs([_CONTROL_ARMS]), _judged_table("arms", checks.control_arms)]
    if checks.outcomes:
        found += ["<h3>Other metrics</h3>", _metric_table(checks.outcomes), metric_cells(checks.outcomes)]
    if checks.settings:
        found += ["<h3>Other epochs and hyperparameters</h3>", _judged_table("setting", checks.settings)]
    return [*found, _examples(findings.examples)]


def _judged_table(first: str, checks: Sequence[RobustnessCheck]) -> str:
    """Benefit and growth of each check with their verdicts."""
    rows = [
        [
            check.label,
            *(signed(check.benefit.effect), interval(check.benefit), chip(check.benefit.verdict, BENEFIT)),
            *(signed(check.growth.effect), interval(check.growth), chip(check.growth.verdict, GROWTH)),
        ]
        for check in checks
    ]
    headers = [first, "benefit", "95 % interval", "verdict", "growth", "95 % interval", "verdict"]
    return table(headers, rows, f"Benefit and growth by {first}") + paragraphs([_reasons(checks)])


def _metric_table(checks: Sequence[RobustnessCheck]) -> str:
    """Benefit and growth in each metric with its unit; the margin is one of accuracy, so there are no verdicts."""
    rows = [
        [check.label, check.unit, *_effect(check.benefit, check.unit), *_effect(check.growth, check.unit)]
        for check in checks
    ]
    headers = ["metric", "unit", "benefit", "95 % interval", "growth", "95 % interval"]
    return table(headers, rows, "Benefit and growth by metric") + paragraphs([_reasons(checks)])


def _effect(one: Estimate, unit: str) -> tuple[str, str]:
    digits = 4 if unit == "nats" else 2
    return signed(one.effect, digits), interval(one, digits)


def metric_cells(outcomes: Sequence[RobustnessCheck]) -> str:
    """Δ and its interval in every cell for every other metric, folded: one row per cell, one column per metric."""
    cells = {(one.dataset, one.size): None for check in outcomes for one in check.cells}
    found = [{(one.dataset, one.size): one for one in check.cells} for check in outcomes]
    rows: list[list[object]] = []
    for key in cells:
        row: list[object] = [*key]
        for check, of_cell in zip(outcomes, found, strict=True):
            one = of_cell.get(key)
            row.append("–" if one is None else " ".join(_effect(one, check.unit)))
        rows.append(row)
    headers = ["data set", "size", *(f"{check.label}, {check.unit}" for check in outcomes)]
    return details("Every metric in each cell", table(headers, rows, "Every metric in each cell", 2))


def _reasons(checks: Sequence[RobustnessCheck]) -> str:
    """Why an interval is missing."""
    said = []
    for check in checks:
        reasons = [one.reason for one in (check.benefit, check.growth) if one.reason and not one.has_interval]
        said += [f"{check.label}: {reasons[0].removeprefix('no interval: ')}"] if reasons else []
    return f"Without an interval: {'; '.join(said)}." if said else ""


def _flip_sentence(found: SignFlip | None) -> str:
    if found is None:
        return ""
    how = "all sign patterns" if found.is_exact else f"{found.patterns:,} random sign patterns"
    return (
        f"Sign-flip test of “no effect in any pair” over {count_of(found.n, 'pair')} ({how}): p "
        f"{_p_words(found.p_value)}; the smallest possible p is {found.smallest:.2g} here. It assumes no normal "
        "distribution."
    )


def _p_words(value: float) -> str:
    shown = p_text(value)
    return shown.replace(" ", "\u00a0") if shown.startswith("<") else f"=\u00a0{shown}"


def _improvement_sentence(cells: pl.DataFrame) -> str:
    if cells.is_empty():
        return ""
    mean = sum(cells["probability"].to_list()) / cells.height
    return (
        "Probability of improvement: a pretrained run is better than a scratch run of the same cell in "
        f"{mean * 100:.0f} % of the comparisons, averaged over cells (ties count half). No interval is given: with few "
        "seeds it would exceed 0 to 100 %."
    )


def _improvement_table(cells: pl.DataFrame) -> str:
    columns = cells.select("dataset", "size", "probability", "n_treated", "n_control")
    rows = [
        [dataset, size, f"{probability * 100:.0f} %", treated, control]
        for dataset, size, probability, treated, control in columns.iter_rows()
    ]
    headers = ["data set", "size", "probability of improvement", "pretrained runs", "scratch runs"]
    return details("Probability of improvement in each cell", table(headers, rows, "Probability of improvement", 2))


def _examples(found: ExampleTests) -> str:
    if found.cells.is_empty():
        return ""
    single = found.cells["p_mcnemar"].null_count() < found.cells.height
    rows: list[list[object]] = []
    for dataset, size, n, effect, low, high, p_value, p_mcnemar in found.cells.iter_rows():
        shown = [signed(effect), interval(Estimate("", effect=effect, low=low, high=high)), p_text(p_value)]
        rows.append([dataset, size, f"{n:,}", *shown, *[p_text(p_mcnemar)] * single])
    what = (
        "Here the trained models are fixed and the test examples are the sample: each example counts once, with the "
        "share of pretrained runs that classify it correctly minus that of scratch runs (paired t). The test shows "
        "whether other test examples could have changed the sign, not whether other seeds could."
    )
    headers = ["data set", "size", "test examples", "Δ", "95 % interval", "p", *["p (McNemar, exact)"] * single]
    note = f'<aside class="note" aria-label="Predictions left out">{problem_list(found.problems)}</aside>'
    return (
        "<h3>Test examples as the sample</h3>"
        + paragraphs([what])
        + (note if found.problems else "")
        + table(headers, rows, "Per-example tests", 2)
    )
