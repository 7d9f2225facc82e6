"""Pieces of HTML: escaped text, numbers, tables, folds, verdict chips.

Everything that comes from data passes through `text` or `json_script`, so that no name can become markup. Next:
`analysis/page/document.py`.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence

from analysis.page.wording import BENEFIT, SYMBOLS
from analysis.results import Problem
from analysis.statistics.verdicts import Verdict


def text(value: object) -> str:
    """Any value as HTML text."""
    return html.escape(str(value), quote=True)


def breakable(name: str) -> str:
    """A name as HTML text that may break after its underscores and hyphens rather than within a word."""
    return re.sub(r"([_-])", r"\1<wbr>", text(name))


def json_script(value: object) -> str:
    """JSON that is safe in a script element."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")


def number(value: float | None, shown: str, key: str = "") -> str:
    """A number as shown, with its full value for machines; `key` becomes its id."""
    if value is None:
        return text(shown)
    identity = f' id="{text(key)}"' if key else ""
    return f'<data value="{value:.10g}"{identity}>{text(shown)}</data>'


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], label: str, numeric_from: int = 1) -> str:
    """A table in a box that scrolls on its own; cells are escaped unless they are `Markup`."""
    head = "".join(
        f'<th scope="col"{_numeric(index, numeric_from)}>{text(name)}</th>' for index, name in enumerate(headers)
    )
    body = "".join(
        "<tr>" + "".join(_cell(index, value, numeric_from) for index, value in enumerate(row)) + "</tr>" for row in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(label)}">'
        f"<table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


class Markup(str):
    """HTML that was made here and must not be escaped again."""

    __slots__ = ()


def _numeric(index: int, numeric_from: int) -> str:
    return ' class="n"' if index >= numeric_from else ""


#: Longest content of a cell that stays on one line; without it, names of sizes break at their hyphens.
_SHORT = 16


def _cell(index: int, value: object, numeric_from: int) -> str:
    content = value if isinstance(value, Markup) else text(value)
    if index == 0:
        return f'<th scope="row">{content}</th>'
    short = ' class="short"' if len(content) <= _SHORT else ""
    return f"<td{_numeric(index, numeric_from) or short}>{content}</td>"


def details(summary: str, content: str, *, is_open: bool = False) -> str:
    """A fold. content: HTML."""
    return f"<details{' open' if is_open else ''}><summary>{text(summary)}</summary>{content}</details>"


def paragraphs(many: Iterable[str]) -> str:
    """One paragraph per text that is not empty."""
    return "".join(f"<p>{text(one)}</p>" for one in many if one)


def chip(verdict: Verdict | None, words: Mapping[Verdict, str] = BENEFIT) -> Markup:
    """A verdict as a word with its symbol; the colour repeats what they say. Empty for an estimate not judged."""
    if verdict is None:
        return Markup("")
    word = words[verdict]
    style = "none" if verdict is Verdict.NOT_ESTIMABLE else word
    return Markup(f'<span class="chip {style}"><span aria-hidden="true">{SYMBOLS[verdict]}</span>{text(word)}</span>')


def problem_list(problems: Sequence[Problem], most: int = 20) -> str:
    """Files and rows that were left out, with their reasons; the first `most` of them, and how many more there are."""
    named = "".join(f"<li><code>{text(one.path)}</code>: {text(one.reason)}</li>" for one in problems[:most])
    more = f"<li>and {len(problems) - most} more</li>" if len(problems) > most else ""
    return f"<ul>{named}{more}</ul>"
