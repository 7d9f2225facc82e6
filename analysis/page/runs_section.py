"""The accuracy of every run, with the two runs of a seed joined. Next: `analysis/page/charts.py` for the figure."""

from __future__ import annotations

import altair as alt
import polars as pl

from analysis.findings import Findings
from analysis.page import charts
from analysis.page.arms_key import arms_key
from analysis.page.document import Block, Panel, Panels
from analysis.page.html import paragraphs, table
from analysis.page.number_text import signed

#: Rows of single runs that a table under a figure may have.
MOST_ROWS = 1_000
_TOO_MANY = f"More than {MOST_ROWS:,} runs: runs.parquet, under “Download the tables”, has one row per run."


def blocks(findings: Findings) -> list[Block]:
    comparison = findings.comparison
    if comparison.runs.is_empty():
        return []
    runs = comparison.runs.sort("dataset", "parameters", "init", "seed")
    sizes = runs.sort("parameters")["size"].unique(maintain_order=True).to_list()
    members = [
        Panel(
            str(dataset),
            None,
            part.select("size", "init", "seed", "value"),
            f"Accuracy of every run on {dataset}, by size and arm; lines join runs of one seed",
            "pairs",
            lambda: charts.paired_runs(alt.NamedData("panel"), comparison.arms, sizes),
        )
        for (dataset,), part in runs.group_by("dataset", maintain_order=True)
    ]
    note = ""
    if comparison.paired and comparison.correlation is not None:
        note = f" Within cells, the correlation of the two arms over seeds is {signed(comparison.correlation)}."
    caption = "Test accuracy of every run after its last epoch." + (
        " A line joins the two runs of one seed." + note if comparison.paired else ""
    )
    return [Panels("pairs", members, caption, _listing(runs), arms_key(comparison.arms))]


def _listing(runs: pl.DataFrame) -> str:
    if runs.height > MOST_ROWS:
        return paragraphs([_TOO_MANY])
    rows = [
        [dataset, size, init, seed, f"{value:.2f}"]
        for dataset, size, init, seed, value in runs.select("dataset", "size", "init", "seed", "value").iter_rows()
    ]
    return table(["data set", "size", "arm", "seed", "accuracy, %"], rows, "Every run", 3)
