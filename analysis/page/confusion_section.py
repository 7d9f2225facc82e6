"""Which classes are taken for which: confusion matrices of each cell and arm. Next: `analysis/page/html.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.page.html import Markup, details, paragraphs, text
from analysis.page.wording import count_of
from analysis.results import Results
from analysis.statistics.pairs import Comparison

#: Classes from which on a matrix is no figure any more.
_MOST_CLASSES = 12


def section(results: Results, comparison: Comparison) -> str:
    """Confusion matrices summed over the runs of each cell and arm, folded by data set."""
    counts = results.done.select("run_id", "test_confusion").drop_nulls("test_confusion")
    runs = comparison.runs.join(counts, on="run_id", maintain_order="left").sort("dataset", "parameters", "init")
    parts: dict[str, list[str]] = {}
    named = True
    for (dataset, size, init), group in runs.group_by("dataset", "size", "init", maintain_order=True):
        matrix = _sum(group["test_confusion"].to_list())
        if matrix and len(matrix) <= _MOST_CLASSES:
            names = class_names(results.study, str(dataset), len(matrix))
            named = named and names[0] != "0"
            title = f"{size}, {init} ({count_of(group.height, 'run')})"
            parts.setdefault(str(dataset), []).append(_matrix(str(dataset), title, matrix, names))
    if not parts:
        return ""
    intro = (
        "Share of each true class (rows) that was predicted as each class (columns), summed over the runs of a cell; "
        "darker is more." + ("" if named else " Classes without a name are numbered by their sorted names.")
    )
    folds = (
        details(dataset, f'<div class="matrices">{"".join(boxes)}</div>', is_open=index == 0)
        for index, (dataset, boxes) in enumerate(parts.items())
    )
    return paragraphs([intro]) + "".join(folds)


def class_names(study: Mapping[str, Any], dataset: str, count: int) -> list[str]:
    """The names that the sweep noted for a data set; numbers from 0 where it noted none, or another number of them."""
    data = study.get("data")
    facts = data.get(dataset) if isinstance(data, Mapping) else None
    names = facts.get("classes") if isinstance(facts, Mapping) else None
    if isinstance(names, list) and len(names) == count:
        return [str(name) for name in names]
    return [str(index) for index in range(count)]


def _sum(matrices: list[list[list[int]]]) -> list[list[int]]:
    """Element by element; nothing where the matrices are not of one square shape."""
    shapes = {(len(one), *(len(row) for row in one)) for one in matrices}
    if len(shapes) != 1 or len(set(shapes.pop())) != 1:
        return []
    return [[sum(cell) for cell in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)]


def _matrix(dataset: str, title: str, matrix: list[list[int]], names: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in names)
    body = ""
    for name, row in zip(names, matrix, strict=True):
        cells = "".join(_shade(value, sum(row)) for value in row)
        body += f'<tr><th scope="row">{text(name)}</th>{cells}</tr>'
    corner = '<th scope="col" class="corner">true ↓ predicted →</th>'
    label = text(f"Confusion matrix, {dataset}, {title}")
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
