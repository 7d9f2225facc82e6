"""The frame of the page: escaping, tables, figures, the data that charts share, one HTML file at the end.

Everything that comes from data passes `text` (or `json_script`), so that no name can become markup. Charts are
Altair's; their rows are hoisted into one store, column by column, that all charts share. Next:
`analysis/page/main_sections.py`.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import altair as alt
import polars as pl

from analysis.page.charts import DARK, Chart
from analysis.page.output import bundle


def text(value: object) -> str:
    """Any value as HTML text."""
    return html.escape(str(value), quote=True)


def breakable(name: str) -> str:
    """A name as HTML text that may break after its underscores and hyphens rather than within a word."""
    return re.sub(r"([_-])", r"\1<wbr>", text(name))


def json_script(value: object) -> str:
    """JSON that may stand in a script element."""
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
    """HTML made here, not to be escaped again."""

    __slots__ = ()


def _numeric(index: int, numeric_from: int) -> str:
    return ' class="n"' if index >= numeric_from else ""


#: Letters up to which a cell stays on one line: names of sizes break at their hyphens else.
_SHORT = 16


def _cell(index: int, value: object, numeric_from: int) -> str:
    content = value if isinstance(value, Markup) else text(value)
    if index == 0:
        return f'<th scope="row">{content}</th>'
    short = ' class="short"' if len(content) <= _SHORT else ""
    return f"<td{_numeric(index, numeric_from) or short}>{content}</td>"


def details(summary: str, content: str, *, is_open: bool = False) -> str:
    return f"<details{' open' if is_open else ''}><summary>{text(summary)}</summary>{content}</details>"


def paragraphs(many: Iterable[str]) -> str:
    return "".join(f"<p>{text(one)}</p>" for one in many if one)


@dataclass(frozen=True)
class Panel:
    """One panel, of a data set and, where it is of one, a size.

    `chart` draws `alt.NamedData("panel")` and is called once for each name of a template.
    """

    dataset: str
    size: str | None
    rows: pl.DataFrame
    description: str
    template: str
    chart: Callable[[], Chart]


@dataclass
class Page:
    """Collects sections, charts and their data; `render` makes the file."""

    title: str
    sections: list[tuple[str, str, str]] = field(default_factory=list)
    datasets: dict[str, Any] = field(default_factory=dict)
    charts: dict[str, Any] = field(default_factory=dict)
    templates: dict[str, Any] = field(default_factory=dict)
    downloads: list[dict[str, Any]] = field(default_factory=list)
    choices: dict[str, list[str]] = field(default_factory=dict)

    def section(self, key: str, title: str, content: str) -> None:
        """Add a section; an empty one is left out of the page and of its contents."""
        if content:
            self.sections.append((key, title, content))

    def figure(self, key: str, chart: Chart, caption: str, data_table: str = "") -> str:
        """One chart with its caption and, folded, the table of its numbers."""
        spec = _spec(chart)
        for name, rows in spec.pop("datasets", {}).items():
            self.datasets[name] = _columns(pl.DataFrame(rows, infer_schema_length=None)) if rows else {}
        self.charts[key] = {"spec": spec}
        fold = details("The numbers behind this figure", data_table) if data_table else ""
        return (
            f'<figure id="figure-{text(key)}"><div class="chart" data-chart="{text(key)}"></div>'
            f"<figcaption>{text(caption)}</figcaption>{fold}</figure>"
        )

    def panels(self, key: str, members: Sequence[Panel], caption: str, data_table: str = "", legend: str = "") -> str:
        """Small multiples: few specifications, many data sets; the page's width sets the number of columns.

        With many panels, those of one data set fold.
        """
        boxes: dict[str, list[str]] = {}
        for index, panel in enumerate(members):
            name = f"{key}-{index}"
            if panel.template not in self.templates:
                self.templates[panel.template] = _spec(panel.chart())
            self.datasets[name] = _columns(panel.rows)
            self.charts[name] = {"template": panel.template, "data": name, "description": panel.description}
            title = "<br>".join(breakable(part) for part in (panel.dataset, panel.size) if part)
            of = f' data-dataset="{text(panel.dataset)}"' + (f' data-size="{text(panel.size)}"' if panel.size else "")
            box = f'<div class="panel"{of}><h3>{title}</h3><div class="chart" data-chart="{text(name)}"></div></div>'
            boxes.setdefault(panel.dataset, []).append(box)
        if len(members) <= 24:
            inner = '<div class="panels">' + "".join(box for group in boxes.values() for box in group) + "</div>"
        else:
            inner = "".join(
                details(f"{title} ({len(group)})", f'<div class="panels">{"".join(group)}</div>', is_open=index == 0)
                for index, (title, group) in enumerate(boxes.items())
            )
        fold = details("The numbers behind this figure", data_table) if data_table else ""
        return f'<figure id="figure-{text(key)}">{legend}{inner}<figcaption>{text(caption)}</figcaption>{fold}</figure>'

    def csv_download(self, name: str, frame: pl.DataFrame, what: str) -> None:
        """Offer a frame as CSV, made in the browser from the page's own data."""
        key = f"download-{name}"
        self.datasets[key] = _columns(frame, digits=10)
        self.downloads.append({"name": name, "what": what, "data": key, "columns": frame.columns})

    def file_download(self, name: str, base64: str, what: str) -> None:
        self.downloads.append({"name": name, "what": what, "base64": base64})

    def render(self, header: str, footer: str, reload_s: int | None = None) -> str:
        """The whole file. `reload_s`: seconds after which the page loads itself again (it is being followed)."""
        contents = "".join(f'<li><a href="#{text(key)}">{text(title)}</a></li>' for key, title, _ in self.sections)
        body = "".join(
            f'<section id="{text(key)}" aria-labelledby="{text(key)}-title">'
            f'<h2 id="{text(key)}-title">{text(title)}</h2>'
            f"{content}</section>"
            for key, title, content in self.sections
        )
        payload = {
            "datasets": self.datasets,
            "charts": self.charts,
            "templates": self.templates,
            "downloads": self.downloads,
            "choices": self.choices,
            "dark": DARK,
            "reload_s": reload_s,
        }
        parts = {
            "TITLE": text(self.title),
            "STYLE": _asset("page.css"),
            "HEADER": header,
            "CONTENTS": contents,
            "BODY": body,
            "FOOTER": footer,
            "PAYLOAD": json_script(payload),
            "BUNDLE": bundle() if self.charts else "",
            "SCRIPT": _asset("page.js"),
        }
        pieces = _asset("page.html").split("%%")
        return "".join(parts[piece] if index % 2 else piece for index, piece in enumerate(pieces))


def _asset(name: str) -> str:
    return files("analysis.page").joinpath(name).read_text(encoding="utf-8")


def _spec(chart: Chart) -> dict[str, Any]:
    with alt.data_transformers.enable("default", max_rows=None):
        spec: dict[str, Any] = chart.to_dict(
            validate=False
        )  # the tests validate every chart against Vega-Lite's schema
    for key in ("$schema", "config"):
        spec.pop(key, None)
    return spec


def _columns(frame: pl.DataFrame, digits: int = 6) -> dict[str, Any]:
    """Column by column: strings as a dictionary and codes, floats to `digits` significant digits, NaN as null."""
    columns: dict[str, Any] = {}
    for name in frame.columns:
        series = frame[name]
        if series.dtype == pl.String:
            words = series.drop_nulls().unique(maintain_order=True).to_list()
            code: Mapping[str, int] = {word: index for index, word in enumerate(words)}
            columns[name] = {"words": words, "codes": [None if one is None else code[one] for one in series]}
        elif series.dtype.is_float():
            columns[name] = [_short(one, digits) for one in series]
        elif series.dtype == pl.Null:
            columns[name] = [None] * len(series)
        elif series.dtype.is_integer() or series.dtype == pl.Boolean:
            columns[name] = series.to_list()
        else:
            columns[name] = [None if one is None else str(one) for one in series]
    return columns


def _short(value: float | None, digits: int) -> float | int | None:
    if value is None or not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
