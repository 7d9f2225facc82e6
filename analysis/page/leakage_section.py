"""How much of each test split overlaps its training split, where the study's data were audited.

Next: `analysis/statistics/leakage.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from analysis.findings import Findings
from analysis.page.document import Block
from analysis.page.html import Markup, details, paragraphs, problem_list, table

#: (measure, class of the partner) → heading, in the order of the table.
_SEQUENCES = {
    ("exact_duplicate", "any"): "same sequence",
    ("reverse_complement", "any"): "reverse complement",
    ("shared_kmer", "any"): "shared stretch",
    ("shared_kmer", "other"): "stretch shared with another class",
}
_INTERVALS = {
    ("interval_overlap", "any"): "overlaps",
    ("interval_inside", "any"): "lies inside",
    ("interval_identical", "any"): "is identical",
    ("interval_overlap", "other"): "overlaps another class",
}

Headings = dict[tuple[str, str], str]


class _Share(NamedTuple):
    """Test examples with a partner in training, and all of them."""

    affected: int
    total: int


def blocks(findings: Findings) -> list[Block]:
    """The tables by data set and by class; nothing where no audit of this study's data exists."""
    rows, problems = findings.leakage.rows, findings.leakage.problems
    note = f'<aside class="note" aria-label="Audits left out">{problem_list(problems)}</aside>' if problems else ""
    of_intervals = rows["measure"].str.starts_with("interval")
    return [*_sequences(rows.filter(~of_intervals), note), *_intervals(rows.filter(of_intervals))]


def _sequences(rows: pl.DataFrame, note: str) -> list[Block]:
    if rows.is_empty():
        return [note]
    lengths = sorted(set(rows["k"].drop_nulls().to_list()))
    stretch = f" of {' or '.join(map(str, lengths))} nucleotides" if lengths else ""
    what = (
        "Share of test sequences with a partner in the training split: the same sequence, its reverse complement, or a "
        f"shared stretch{stretch}. Both arms train on the same split, so leakage raises both accuracies and can hide a "
        "benefit; the larger the share, the less the accuracies above say about new sequences."
    )
    return [paragraphs([what]), note, _tables(rows, _SEQUENCES, "Leakage from training to test")]


def _intervals(rows: pl.DataFrame) -> list[Block]:
    if rows.is_empty():
        return []
    what = "Test intervals of the official lists that overlap an interval of the training split."
    listing = _tables(rows, _INTERVALS, "Leakage by position on the genome")
    return ["<h3>By position on the genome</h3>", paragraphs([what]), listing]


def _tables(rows: pl.DataFrame, headings: Headings, label: str) -> str:
    """One row per data set; folded, one row per class."""
    whole = rows.filter(pl.col("class") == "all")
    classes = rows.filter(pl.col("class") != "all")
    content = table(["data set", *headings.values(), "test examples"], _listing(whole, headings), label)
    if classes.is_empty():
        return content
    headers = ["data set", "class", *headings.values(), "test examples"]
    return content + details("By class", table(headers, _listing(classes, headings, "class"), f"{label}, by class", 2))


def _listing(rows: pl.DataFrame, headings: Headings, *more: str) -> list[list[object]]:
    found: list[list[object]] = []
    for key, part in rows.sort("dataset", *more).group_by("dataset", "digest", *more, maintain_order=True):
        counts = {
            (measure, partner): _Share(count, of)
            for measure, partner, count, of in part.select("measure", "partner_class", "count", "of").iter_rows()
        }
        cells = (_share(counts.get(heading)) for heading in headings)
        found.append([key[0], *key[2:], *cells, f"{max(part['of'].to_list()):,}"])
    return found


def _share(found: _Share | None) -> Markup:
    if found is None or not found.total:
        return Markup("–")
    share = f"{100 * found.affected / found.total:.1f} %" if found.affected else "none"
    return Markup(f'<span title="{found.affected:,} of {found.total:,}">{share}</span>')
