"""The table of docs/statistics.md from the measurements of `benchmarks/statistics_coverage.py`.

python benchmarks/statistics_coverage.py --table         # prints it
python benchmarks/statistics_coverage.py --write-docs    # writes it between its markers in the page
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BEGIN, END = "<!-- coverage:begin -->", "<!-- coverage:end -->"

_COVERAGE = ("overall", "growth", "lowest size", "lowest cell", "all cells", "new data set")
_VERDICTS = ("overall", "growth", "any size", "any cell", "share of cells")
_EQUIVALENT = ("overall", "growth", "worst size", "cells")
_WIDTHS = ("overall", "growth", "sizes", "cells")


def rate(value: float | None) -> str:
    """Two digits, as in .95; a dash where there is nothing to count."""
    return "–" if value is None else f"{value:.2f}".removeprefix("0" if value < 0.995 else "")


def figure(row: Mapping[str, Any], group: str, name: str) -> str:
    """One rate of a row; a dash where the analysis refused all studies."""
    return rate(row.get(group, {}).get(name))


def coverage_cell(row: Mapping[str, Any], name: str) -> str:
    """Coverage, in brackets what the lowest one would be by chance, and that of the pooled spread."""
    chance, pooled = figure(row, "lowest_by_chance", name), figure(row, "pooled", name)
    note = "" if chance == "–" else f" ({chance})"
    return figure(row, "coverage", name) + note + ("" if pooled == "–" else f" / {pooled}")


def markdown(record: Mapping[str, Any]) -> str:
    """Three tables: coverage, false verdicts, widths."""
    rows = record["rows"]
    studies = ", ".join(f"{count:,}" for count in sorted({row["studies"] for row in rows}))
    false = [("false_verdicts", one) for one in _VERDICTS] + [("false_equivalent", one) for one in _EQUIVALENT]
    heads = [f"false: {one}" for one in _VERDICTS] + [f"wrongly equivalent: {one}" for one in _EQUIVALENT]
    coverage = [[_about(row), *(coverage_cell(row, one) for one in _COVERAGE)] for row in rows]
    verdicts = [[_about(row), *(figure(row, *one) for one in false)] for row in rows]
    widths = [[_about(row), *(figure(row, "width", one) for one in _WIDTHS), *_random(row)] for row in rows]
    return "\n\n".join(
        [
            f"Coverage of nominal 95 % intervals in {studies} studies a row / that of the same contrasts with one "
            "spread pooled over all cells. In brackets: the lowest of so many sizes or cells that chance alone would "
            "give if each covered .95.",
            _table(("what is true", *_COVERAGE), coverage),
            "Shares of studies with a false verdict, and the mean share of false ones among the cells that a study "
            "names; then the shares of the verdict “too small to matter” where the truth is at least the margin, or, "
            "for growth, where the true benefits of two sizes differ by the margin.",
            _table(("what is true", *heads), verdicts),
            "Widths relative to the interval with the pooled spread; the median width of the interval for a new data "
            "set, in points; the share of estimates without an interval.",
            _table(("what is true", *_WIDTHS, "new data set", "no interval"), widths),
        ]
    )


def _random(row: Mapping[str, Any]) -> list[str]:
    width = row.get("random_width")
    return ["–" if width is None else f"{width:.1f}", rate(row.get("without_interval"))]


def _about(row: Mapping[str, Any]) -> str:
    """What is true, and how many studies the analysis refused, if any."""
    return row["about"] + (f" ({row['refused']} studies refused)" if row["refused"] else "")


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def with_block(page: str, record: Mapping[str, Any]) -> str:
    """The page with the tables between its markers."""
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{markdown(record)}\n\n{END}{after}"
