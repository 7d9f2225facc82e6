"""Done, failed and missing runs of the plan: one mark per run, and the reasons for failures.

Next: `analysis/statistics/run_tables.py`.
"""

from __future__ import annotations

import polars as pl

from analysis.findings import Findings
from analysis.page.document import Block
from analysis.page.html import Markup, table, text

#: Status → mark; the shape carries the meaning, the colour repeats it.
GLYPHS = {"done": "●", "failed": "✕", "missing": "○"}
#: Most runs of a plan that are drawn one by one, and most failures that are listed.
_MOST_MARKS, _MOST_FAILURES = 1_500, 200


def blocks(findings: Findings) -> list[Block]:
    plan = findings.plan_status
    if plan.is_empty():
        return []
    total = {name: plan.filter(pl.col("status") == name).height for name in GLYPHS}
    legend = "".join(f'<span class="{name}">{GLYPHS[name]}</span> {name} {total[name]:,} &ensp; ' for name in GLYPHS)
    legend = f'<p class="legend">{legend}(one mark per seed, in the order of the seeds)</p>'
    return [legend, _grid(plan), *_failures(plan)]


def _grid(plan: pl.DataFrame) -> str:
    """One row per setting, one column per initialisation."""
    inits = plan["init"].unique(maintain_order=True).to_list()
    as_marks = plan.height <= _MOST_MARKS
    rows = []
    groups = plan.group_by("dataset", "model", "epochs", "setting_id", maintain_order=True)
    for (dataset, model, epochs, _), runs in groups:
        marks = [_marks(runs.filter(pl.col("init") == init).sort("seed"), as_marks=as_marks) for init in inits]
        rows.append([f"{dataset}, {model}", epochs, *marks])
    grid = table(["setting", "epochs", *inits], rows, "Completeness of the plan")
    return grid.replace("<table>", '<table class="grid">')


def _marks(runs: pl.DataFrame, *, as_marks: bool) -> Markup:
    done = runs.filter(pl.col("status") == "done").height
    if runs.is_empty():
        return Markup('<span class="count">not planned</span>')
    count = f'<span class="count">{done}/{runs.height}</span>'
    if not as_marks:
        return Markup(count)
    marks = "".join(
        f'<span class="{status}" title="{text(f"seed {seed}: {failure or status}")}">{GLYPHS[status]}</span>'
        for seed, status, failure in runs.select("seed", "status", "failure").iter_rows()
    )
    return Markup(f'<span aria-hidden="true">{marks}</span>{count}<span class="hidden"> done</span>')


def _failures(plan: pl.DataFrame) -> list[Block]:
    failed = plan.filter(pl.col("status") == "failed").select("dataset", "model", "init", "seed", "epochs", "failure")
    if failed.is_empty():
        return []
    rows = [
        [f"{dataset}, {model}", init, seed, epochs, failure or "no reason recorded"]
        for dataset, model, init, seed, epochs, failure in failed.head(_MOST_FAILURES).iter_rows()
    ]
    listing = table(["setting", "arm", "seed", "epochs", "reason"], rows, "Failed runs", 9)
    more = failed.height - _MOST_FAILURES
    return ["<h3>Failed runs</h3>", listing, f"<p>and {more:,} more</p>" if more > 0 else ""]
