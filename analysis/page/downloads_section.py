"""Tidy tables to download: estimates, pairs and curves as CSV; runs, and curves of very many rows, as Parquet.

Next: `analysis/statistics/run_tables.py`.
"""

from __future__ import annotations

from analysis.findings import Findings
from analysis.page.document import Block, Download
from analysis.page.html import paragraphs


def blocks(findings: Findings) -> list[Block]:
    tables = findings.downloads
    none = (
        ""
        if "pairs.csv" in tables
        else "There is no pairs.csv, because no setting has a seed that is done in both arms."
    )
    offered = (Download(name, frame, _description(findings, name)) for name, frame in tables.items())
    return ['<ul class="buttons" id="download-list"></ul>', paragraphs([none]), *offered]


def _description(findings: Findings, name: str) -> str:
    paired = findings.comparison.paired
    unused = "" if paired else " (not used by the estimates, which compare the arms unpaired)"
    return {
        "estimates.csv": "every estimate with its interval, df, p and method",
        "pairs.csv": f"each pair of runs and its difference{unused}",
        "curves.csv": "learning curves",
        "curves.parquet": f"learning curves, as Parquet because of their {findings.curves.height:,} rows",
        "runs.parquet": "one row per run: the recorded columns that this page reads",
    }[name]
