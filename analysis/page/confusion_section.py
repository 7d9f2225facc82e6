"""Confusion matrices of each cell and arm. Next: `analysis/statistics/run_tables.py`."""

from __future__ import annotations

from analysis.findings import Findings
from analysis.page.document import Block
from analysis.page.html import Markup, details, paragraphs, text
from analysis.page.number_text import count_of
from analysis.statistics.run_tables import ConfusionMatrix

#: Most classes of a matrix that is shown.
_MOST_CLASSES = 12


def blocks(findings: Findings) -> list[Block]:
    """Confusion matrices summed over the runs of each cell and arm, folded by data set."""
    shown = [one for one in findings.confusion if len(one.counts) <= _MOST_CLASSES]
    if not shown:
        return []
    named = all(one.classes[0] != "0" for one in shown)
    intro = (
        "Share of each true class (rows) that was predicted as each class (columns), summed over the runs of a cell; "
        "darker means more." + ("" if named else " Classes whose names were not recorded are numbered in sorted order.")
    )
    boxes: dict[str, list[str]] = {}
    for one in shown:
        boxes.setdefault(one.dataset, []).append(_matrix(one))
    folds = (
        details(dataset, f'<div class="matrices">{"".join(group)}</div>', is_open=index == 0)
        for index, (dataset, group) in enumerate(boxes.items())
    )
    return [paragraphs([intro]), *folds]


def _matrix(one: ConfusionMatrix) -> str:
    title = f"{one.size}, {one.init} ({count_of(one.runs, 'run')})"
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in one.classes)
    body = ""
    for name, row in zip(one.classes, one.counts, strict=True):
        cells = "".join(_shade(value, sum(row)) for value in row)
        body += f'<tr><th scope="row">{text(name)}</th>{cells}</tr>'
    corner = '<th scope="col" class="corner">true ↓ predicted →</th>'
    label = text(f"Confusion matrix, {one.dataset}, {title}")
    return (
        f'<div class="matrix"><h3>{text(title)}</h3>'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table>'
        f"<thead><tr>{corner}{head}</tr></thead><tbody>{body}</tbody></table></div></div>"
    )


def _shade(value: int, total: int) -> Markup:
    if not total:
        return Markup("<td>–</td>")
    share = value / total
    style = f"background: color-mix(in srgb, var(--accent) {share * 45:.0f}%, transparent)"
    return Markup(f'<td style="{style}" title="{value:,} of {total:,}">{share * 100:.1f} %</td>')
