"""The top of the page: the question, the answer, the numbers behind it, and the caveats.

Next: `analysis/page/wording.py` for the sentences of the answer.
"""

from __future__ import annotations

import polars as pl

from analysis.findings import Findings
from analysis.page.html import chip, number, problem_list, text
from analysis.page.number_text import count_of, interval, p_text, signed
from analysis.page.wording import BENEFIT, GROWTH, Headline, tipping_text
from analysis.results import Results
from analysis.statistics.effect import Estimate
from analysis.statistics.estimates import Estimates
from analysis.statistics.pairs import Comparison
from analysis.statistics.robustness import FAILURES
from analysis.statistics.verdicts import LEVEL


def progress(results: Results) -> str:
    """How many of the planned runs have ended: 36 runs of 48 done, 1 failed."""
    failed = f", {results.failed.height} failed" if results.failed.height else ""
    return f"{count_of(results.done.height, 'run')} of {results.plan.height:,} done{failed}"


def masthead(findings: Findings, head: Headline) -> str:
    """HTML of the question, the answer in sentences, the cards with its numbers, and the caveats."""
    parts = [
        f'<p class="kicker">{text(findings.results.name)} · {text(progress(findings.results))}</p>',
        "<h1>Is pretraining worth it, and does the benefit grow with model size?</h1>",
        f'<p class="answer" id="answer">{text(head.benefit)} {text(head.growth)}</p>',
        f'<p class="generality">{text(head.generality)}</p>' if head.generality else "",
    ]
    caveats = list(findings.caveats)
    if findings.estimates.overall.effect is not None:
        parts.append(_cards(findings))
        caveats += [
            *_chance_note(findings),
            *_shape_note(findings.estimates),
            *_failure_note(findings),
            *_looks_note(findings.estimates),
        ]
    caveats += _group_note(findings.comparison)
    return "".join([*parts, _notes(findings.results, caveats)])


def _chance_note(findings: Findings) -> list[str]:
    """Where the control arm has learnt nothing yet, a benefit may be one of speed alone."""
    count = findings.cells_at_chance.height
    if not count:
        return []
    total, control = findings.comparison.estimable.height, findings.comparison.arms[1]
    return [
        f"In {count} of {count_of(total, 'cell')} the {control} arm ends no better than always predicting the largest "
        "class. There the arms differ in how soon they learn, and longer training may reduce the difference."
    ]


def _shape_note(estimates: Estimates) -> list[str]:
    """Where the benefit does not lie on a line over size, so that a slope summarises it badly."""
    if estimates.fit is None or estimates.fit.p_value >= LEVEL:
        return []
    return [
        "The benefit does not change with size along a straight line (test of lack of fit, p "
        f"{p_text(estimates.fit.p_value)}), so growth, which is a slope, summarises it badly; the sizes are below."
    ]


def _failure_note(findings: Findings) -> list[str]:
    """Where a verdict would be another one with the failed runs at chance."""
    checks, estimates = findings.robustness, findings.estimates
    found = []
    for check in checks.assumptions if checks is not None else ():
        if not check.label.startswith(FAILURES):
            continue
        for what, primary, other, words in (
            ("Whether pretraining helps", estimates.overall, check.benefit, BENEFIT),
            ("Whether the benefit grows", estimates.growth, check.growth, GROWTH),
        ):
            if primary.verdict is not None and other.verdict not in (None, primary.verdict):
                found.append(
                    f"{what} depends on the runs that failed, which are left out ({words[primary.verdict]}): with "
                    f"these counted at chance the 95 % interval is {interval(other)} ({words[other.verdict]})."
                )
    return found


def _looks_note(estimates: Estimates) -> list[str]:
    if estimates.looks == 1:
        return []
    return [f"Intervals and verdicts are corrected for {estimates.looks} looks at the study while it grows (Pocock)."]


def _group_note(comparison: Comparison) -> list[str]:
    others = [group for group in comparison.variants if group != comparison.variant]
    if not others:
        return []
    return [
        f"The study has {len(others) + 1} groups of hyperparameters, which are never averaged. The answer above is "
        f"about {comparison.variant}; the sections below cover {count_of(len(others), 'other group')}."
    ]


def _cards(findings: Findings) -> str:
    estimates, comparison = findings.estimates, findings.comparison
    cells, unit = comparison.estimable, comparison.unit
    size = count_of(cells["model"].n_unique(), "size")
    dataset = count_of(cells["dataset"].n_unique(), "data set")
    pairing = "paired by seed" if comparison.paired else "unpaired"
    has_margin = (findings.results.study.get("analysis") or {}).get("margin")
    declared = "declared in the study" if has_margin else "the default"
    again, without = findings.new_test_sequences, estimates.conditional
    cards = (
        _estimate_card(
            "Benefit",
            estimates.overall,
            chip(estimates.overall.verdict),
            "overall-effect",
            _card_lines(estimates.overall, again.overall if again else None, without.overall_tipping, unit),
        ),
        _estimate_card(
            "Growth, smallest to largest size",
            estimates.growth,
            chip(estimates.growth.verdict, GROWTH),
            "growth-effect",
            _card_lines(estimates.growth, again.growth if again else None, without.growth_tipping, unit),
        ),
        _card(
            "Evidence",
            f"{comparison.runs.height:,} runs",
            f"{size} × {dataset}, {pairing}, {comparison.epochs} epochs",
        ),
        _card("Smallest difference that matters", f"±{estimates.margin:g}", f"{unit}, {declared}"),
    )
    return f'<dl class="cards">{"".join(cards)}</dl>'


def _card(title: str, big: str, small: str) -> str:
    return (
        f'<div class="card"><dt>{text(title)}</dt><dd><span class="big">{text(big)}</span>'
        f'<div class="small">{text(small)}</div></dd></div>'
    )


def _estimate_card(title: str, one: Estimate, verdict: str, key: str, lines: list[str]) -> str:
    """verdict: HTML; key: id of the number; lines: of small text."""
    value = number(one.effect, signed(one.effect), key)
    small = "".join(f'<div class="small">{text(line)}</div>' for line in lines)
    return f'<div class="card"><dt>{text(title)}</dt><dd><span class="big">{value}</span> {verdict}{small}</dd></div>'


def _card_lines(one: Estimate, again: Estimate | None, tipping: float | None, unit: str) -> list[str]:
    """The two readings of an estimate, and what would overturn it. again: the same for new test sequences."""
    if not one.has_interval:
        return [f"{unit}; {one.reason or 'no interval'}"]
    lines = [f"{unit}; 95 % interval {interval(one)} for these test sets"]
    if again is not None and again.has_interval:
        lines.append(f"{interval(again)} for new test sequences")
    return [*lines, *filter(None, [tipping_text(tipping, unit)])]


def _data_notes(results: Results) -> list[tuple[str, str]]:
    """(data set, note): what the sweep recorded about its data, and which data sets do not use their own splits."""
    data = results.study.get("data")
    entries = data.items() if isinstance(data, dict) else ()
    found = [
        (str(name), str(note))
        for name, facts in entries
        if isinstance(facts, dict) and isinstance(facts.get("notes"), list)
        for note in facts["notes"]
    ]
    regrouped = results.done.filter(pl.col("split") == "regroup")["dataset"].unique().sort().to_list()
    return found + [
        (
            name,
            "training, validation and test were split anew, so that no overlapping sequences are in different splits",
        )
        for name in regrouped
    ]


def _notes(results: Results, caveats: list[str]) -> str:
    """The caveats: known faults, what was left out, and what the runs differ in."""
    lines = [text(one) for one in caveats]
    if results.problems:
        count = count_of(len(results.problems), "file or row", "files or rows")
        lines.append(f"{count} could not be used, and no number includes them:{problem_list(results.problems)}")
    if results.unplanned:
        lines.append(
            f"{count_of(results.unplanned, 'run')} in the folder {'is' if results.unplanned == 1 else 'are'} not part "
            "of the present plan, and no number includes them."
        )
    if not results.plan_known:
        lines.append(
            "There is no readable plan, so every run in the folder is included, and missing runs cannot be detected."
        )
    for column, what in (
        ("commit", "versions of the code"),
        ("device", "device types"),
        ("precision", "numerical precisions"),
    ):
        kinds = results.done[column].drop_nulls().n_unique()
        if kinds > 1:
            lines.append(f"The runs used {kinds} {what}; their effect cannot be separated from chance.")
    lines += [f"{text(name)}: {text(note)}." for name, note in _data_notes(results)]
    if results.failed.height:
        lines.append(f'{count_of(results.failed.height, "run")} failed; <a href="#runs">the reasons are below</a>.')
    if not lines:
        return ""
    inner = f"<p>{lines[0]}</p>" if len(lines) == 1 else "<ul>" + "".join(f"<li>{one}</li>" for one in lines) + "</ul>"
    return f'<aside class="note" aria-label="Caveats">{inner}</aside>'
