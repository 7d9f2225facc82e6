"""Which runs of the plan are done, failed or missing: a mark a run, and the reasons of failures.

Next: `analysis/page/html.py`.
"""

from __future__ import annotations

import polars as pl

from analysis.page.html import Markup, table, text
from analysis.results import Results

#: Status → mark; the shape says what the colour repeats.
GLYPHS = {"done": "●", "failed": "✕", "missing": "○"}


def completeness(results: Results) -> str:
    """Every planned run as one mark: done, failed or missing; failures with their reasons."""
    if results.plan.is_empty():
        return ""
    status = results.runs.select("run_id", "status", "failure")
    plan = results.plan.join(status, on="run_id", how="left").with_columns(pl.col("status").fill_null("missing"))
    inits = plan["init"].unique(maintain_order=True).to_list()
    as_marks = plan.height <= 1500
    rows = []
    blocks = plan.group_by("dataset", "model", "epochs", "setting_id", maintain_order=True)
    for (dataset, model, epochs, _), block in blocks:
        marks = [_marks(block.filter(pl.col("init") == init).sort("seed"), as_marks=as_marks) for init in inits]
        rows.append([f"{dataset}, {model}", epochs, *marks])
    total = {name: plan.filter(pl.col("status") == name).height for name in ("done", "failed", "missing")}
    legend = "".join(f'<span class="{name}">{GLYPHS[name]}</span> {name} {total[name]:,} &ensp; ' for name in GLYPHS)
    legend = f'<p class="legend">{legend}(one mark a seed, in the order of the seeds)</p>'
    grid = table(["setting", "epochs", *inits], rows, "Completeness of the plan").replace(
        "<table>", '<table class="grid">'
    )
    return legend + grid + failures(plan)


def _marks(block: pl.DataFrame, *, as_marks: bool) -> Markup:
    done = block.filter(pl.col("status") == "done").height
    if block.is_empty():
        return Markup('<span class="count">not planned</span>')
    count = f'<span class="count">{done}/{block.height}</span>'
    if not as_marks:
        return Markup(count)
    marks = "".join(
        f'<span class="{status}" title="{text(f"seed {seed}: {failure or status}")}">{GLYPHS[status]}</span>'
        for seed, status, failure in block.select("seed", "status", "failure").iter_rows()
    )
    return Markup(f'<span aria-hidden="true">{marks}</span>{count}<span class="hidden"> done</span>')


def failures(plan: pl.DataFrame) -> str:
    failed = plan.filter(pl.col("status") == "failed")
    if failed.is_empty():
        return ""
    rows = [
        [
            f"{row['dataset']}, {row['model']}",
            row["init"],
            row["seed"],
            row["epochs"],
            row["failure"] or "no reason recorded",
        ]
        for row in failed.head(200).iter_rows(named=True)
    ]
    more = f"<p>and {failed.height - 200:,} more</p>" if failed.height > 200 else ""
    listing = table(["setting", "arm", "seed", "epochs", "reason"], rows, "Failed runs", 9)
    return "<h3>Failed runs</h3>" + listing + more
