"""This study's main estimates and those of a published one, side by side; they are never pooled."""

from __future__ import annotations

from analysis.findings import Findings
from analysis.page.document import Block
from analysis.page.html import paragraphs, table
from analysis.page.number_text import count_of, interval, signed


def blocks(findings: Findings) -> list[Block]:
    if findings.reference is None:
        return []
    name, ours, theirs = findings.reference.name, findings.estimates, findings.reference.estimates
    rows = [
        [label, signed(one.effect), interval(one), signed(other.effect), interval(other)]
        for label, one, other in (
            ("benefit, all cells", ours.overall, theirs.overall),
            ("benefit, data sets as a sample", ours.overall_random, theirs.overall_random),
            ("growth, smallest to largest size", ours.growth, theirs.growth),
            ("growth per tenfold parameters", ours.per_tenfold, theirs.per_tenfold),
            ("growth, data sets as a sample", ours.growth_random, theirs.growth_random),
        )
    ]
    intro = (
        f"For comparison only, not pooled: {name} ({count_of(theirs.comparison.runs.height, 'run')} of "
        f"{theirs.comparison.epochs} epochs, one unseeded pretrained run per cell, whose spread is assumed)."
    )
    headers = ["estimate", "this study", "95 % interval", "published", "95 % interval"]
    return [paragraphs([intro]), table(headers, rows, "This study beside the published one")]
