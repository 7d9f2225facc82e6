"""Accuracy against training time, the cost of the benefit by size, and the pretraining where the study ran it.

Next: `analysis/statistics/curves.py` for the numbers.
"""

from __future__ import annotations

import altair as alt
import polars as pl

from analysis.findings import Findings
from analysis.page import charts
from analysis.page.arms_key import arms_key
from analysis.page.document import Block, Figure, Panel, Panels
from analysis.page.html import paragraphs, table
from analysis.page.number_text import interval, signed
from analysis.statistics.curves import pretraining_ends


def blocks(findings: Findings) -> list[Block]:
    if findings.costs.is_empty():
        return []
    found: list[Block] = [_panels(findings), _price(findings)]
    if not findings.pretraining.is_empty():
        found += ["<h3>Pretraining</h3>", _pretraining(findings.pretraining)]
    return found


def _panels(findings: Findings) -> Panels:
    costs, arms = findings.costs, findings.comparison.arms
    minutes = costs["minutes"].to_list()
    wide = max(minutes) > 5 * min(minutes)
    members = [
        Panel(
            str(dataset),
            None,
            part.select("size", "init", "minutes", "accuracy", "runs", "label"),
            f"Mean accuracy against mean training time by size and arm, {dataset}",
            "cost",
            lambda: charts.cost(alt.NamedData("panel"), arms, logarithmic=wide),
        )
        for (dataset,), part in costs.group_by("dataset", maintain_order=True)
    ]
    caption = (
        "Mean test accuracy against the mean time of one fine-tuning run (training steps only; on a shared device, the "
        "time that the run took there). The time of pretraining is not included."
    )
    rows = [
        [dataset, size, init, f"{time:.3g}", f"{accuracy:.2f}", runs]
        for dataset, size, init, time, accuracy, runs in costs.select(
            "dataset", "size", "init", "minutes", "accuracy", "runs"
        ).iter_rows()
    ]
    listing = table(["data set", "size", "arm", "minutes per run", "accuracy, %", "runs"], rows, "Accuracy and time", 3)
    return Panels("cost", members, caption, listing, arms_key(arms))


def _price(findings: Findings) -> str:
    """By size: minutes of fine-tuning and of pretraining, and the benefit they give."""
    found, estimates = findings.prices, findings.estimates
    if found.is_empty() or not estimates.sizes:
        return ""
    benefit = {one.size: one for one in estimates.sizes}
    rows = []
    for size, minutes, pretraining in found.select("size", "minutes", "pretraining_minutes").iter_rows():
        one = benefit.get(size)
        rows.append(
            [
                size,
                f"{minutes:.3g}",
                "–" if pretraining is None else f"{pretraining:.3g}",
                "–" if pretraining is None else f"{pretraining / minutes:.3g}",
                "–" if one is None else f"{signed(one.effect)} {interval(one)}",
            ]
        )
    known = found["pretraining_minutes"].null_count() < found.height
    what = (
        "A pretraining is paid once and serves every later data set; fine-tuning is paid by every run of both arms."
        + ("" if known else " This study used existing weights, so the cost of pretraining them is not known here.")
    )
    headers = [
        "size",
        "minutes of one run",
        "minutes of one pretraining",
        "pretraining ÷ one run",
        f"benefit, {estimates.comparison.unit} [95 %]",
    ]
    return "<h3>Cost of the benefit</h3>" + paragraphs([what]) + table(headers, rows, "Cost of the benefit")


def _pretraining(steps: pl.DataFrame) -> Figure:
    ends = pretraining_ends(steps)
    rows = [
        [
            model,
            "–" if seed is None else seed,
            f"{step:,}",
            f"{tokens:,}",
            f"{train:.4f}",
            "–" if held_out is None else f"{held_out:.4f}",
            f"{seconds / 60:.1f}",
        ]
        for model, seed, step, tokens, train, held_out, seconds in ends.iter_rows()
    ]
    headers = ["model", "seed", "steps", "nucleotides", "train bits/base", "held-out bits/base", "minutes"]
    caption = (
        "Loss during pretraining, a line per pretraining. Predicting all four bases as equally likely scores 2 bits; "
        "points: held-out sequence."
    )
    listing = table(headers, rows, "Pretraining at its last step")
    return Figure("pretraining", charts.pretraining(steps), caption, listing)
