"""The whole page: sections of markup, figures and downloads become one HTML file that loads nothing.

A section is a sequence of blocks. Charts are Altair's; their rows move into one store, column by column, that all
charts share. Next: `analysis/page/build.py`, which lists the sections.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import altair as alt
import polars as pl

from analysis.page.chart_style import DARK, Chart
from analysis.page.html import breakable, details, json_script, text
from analysis.page.output import bundle

#: Least number of panels at which those of one data set fold.
_FOLD_PANELS = 25


@dataclass(frozen=True)
class Figure:
    """One chart with its caption and, folded, the table of its numbers (HTML)."""

    key: str
    chart: Chart
    caption: str
    numbers: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel of a data set and, optionally, a size.

    `chart` draws `alt.NamedData("panel")`; it is called once per name of a template.
    """

    dataset: str
    size: str | None
    rows: pl.DataFrame
    description: str
    template: str
    chart: Callable[[], Chart]


@dataclass(frozen=True)
class Panels:
    """Small multiples that share few specifications; the width of the page sets the number of columns.

    With many panels, those of one data set fold. `numbers`, `legend`: HTML.
    """

    key: str
    members: Sequence[Panel]
    caption: str
    numbers: str = ""
    legend: str = ""


@dataclass(frozen=True)
class Download:
    """A table to download: `.csv` files are written by the browser from the page's own data, others are Parquet."""

    name: str
    table: pl.DataFrame
    description: str


#: A piece of a section; a string is HTML.
Block = str | Figure | Panels | Download


@dataclass
class Page:
    """Collects sections with their charts and data; `render` writes the file. `choices`: what can be highlighted."""

    title: str
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sections: list[tuple[str, str, str]] = field(default_factory=list)
    datasets: dict[str, object] = field(default_factory=dict)
    charts: dict[str, object] = field(default_factory=dict)
    templates: dict[str, object] = field(default_factory=dict)
    downloads: list[dict[str, object]] = field(default_factory=list)

    def add(self, key: str, title: str, blocks: Iterable[Block]) -> None:
        """Add a section; one without content is left out of the page and its table of contents."""
        content = "".join(self._markup(block) for block in blocks)
        if content:
            self.sections.append((key, title, content))

    def _markup(self, block: Block) -> str:
        if isinstance(block, Figure):
            return self._figure(block)
        if isinstance(block, Panels):
            return self._panels(block)
        if isinstance(block, Download):
            self._offer(block)
            return ""
        return block

    def _figure(self, figure: Figure) -> str:
        spec = _spec(figure.chart)
        for name, rows in spec.pop("datasets", {}).items():
            self.datasets[name] = columns(pl.DataFrame(rows, infer_schema_length=None)) if rows else {}
        self.charts[figure.key] = {"spec": spec}
        drawing = f'<div class="chart" data-chart="{text(figure.key)}"></div>'
        return _frame(figure.key, drawing, figure.caption, figure.numbers)

    def _panels(self, panels: Panels) -> str:
        boxes: dict[str, list[str]] = {}
        for index, panel in enumerate(panels.members):
            name = f"{panels.key}-{index}"
            if panel.template not in self.templates:
                self.templates[panel.template] = _spec(panel.chart())
            self.datasets[name] = columns(panel.rows)
            self.charts[name] = {"template": panel.template, "data": name, "description": panel.description}
            boxes.setdefault(panel.dataset, []).append(_box(panel, name))
        if len(panels.members) < _FOLD_PANELS:
            inner = '<div class="panels">' + "".join(box for group in boxes.values() for box in group) + "</div>"
        else:
            inner = "".join(
                details(f"{title} ({len(group)})", f'<div class="panels">{"".join(group)}</div>', is_open=index == 0)
                for index, (title, group) in enumerate(boxes.items())
            )
        return _frame(panels.key, panels.legend + inner, panels.caption, panels.numbers)

    def _offer(self, download: Download) -> None:
        entry: dict[str, object] = {"name": download.name, "what": download.description}
        if download.name.endswith(".csv"):
            key = f"download-{download.name}"
            self.datasets[key] = columns(download.table, digits=10)
            entry |= {"data": key, "columns": download.table.columns}
        else:
            entry |= {"base64": _parquet_base64(download.table)}
        self.downloads.append(entry)

    def render(self, header: str, footer: str, reload_s: int | None = None) -> str:
        """The HTML file. header, footer: HTML. reload_s: seconds after which a followed page reloads itself."""
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


def _frame(key: str, drawing: str, caption: str, numbers: str) -> str:
    fold = details("The numbers behind this figure", numbers) if numbers else ""
    return f'<figure id="figure-{text(key)}">{drawing}<figcaption>{text(caption)}</figcaption>{fold}</figure>'


def _box(panel: Panel, name: str) -> str:
    title = "<br>".join(breakable(part) for part in (panel.dataset, panel.size) if part)
    of = f' data-dataset="{text(panel.dataset)}"' + (f' data-size="{text(panel.size)}"' if panel.size else "")
    return f'<div class="panel"{of}><h3>{title}</h3><div class="chart" data-chart="{text(name)}"></div></div>'


def _asset(name: str) -> str:
    return files("analysis.page").joinpath(name).read_text(encoding="utf-8")


def _spec(chart: Chart) -> dict[str, Any]:
    with alt.data_transformers.enable("default", max_rows=None):
        # The tests validate every chart against Vega-Lite's schema.
        spec: dict[str, Any] = chart.to_dict(validate=False)
    for key in ("$schema", "config"):
        spec.pop(key, None)
    return spec


def columns(frame: pl.DataFrame, digits: int = 6) -> dict[str, object]:
    """Column by column: strings as a dictionary and codes, floats to `digits` significant digits, NaN as None."""
    found: dict[str, object] = {}
    for name in frame.columns:
        series = frame[name]
        if series.dtype == pl.String:
            words = series.drop_nulls().unique(maintain_order=True).to_list()
            code: Mapping[str, int] = {word: index for index, word in enumerate(words)}
            found[name] = {"words": words, "codes": [None if one is None else code[one] for one in series]}
        elif series.dtype.is_float():
            found[name] = [_rounded(one, digits) for one in series]
        elif series.dtype == pl.Null:
            found[name] = [None] * len(series)
        elif series.dtype.is_integer() or series.dtype == pl.Boolean:
            found[name] = series.to_list()
        else:
            found[name] = [None if one is None else str(one) for one in series]
    return found


def _rounded(value: float | None, digits: int) -> float | int | None:
    if value is None or not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def _parquet_base64(frame: pl.DataFrame) -> str:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=9)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
