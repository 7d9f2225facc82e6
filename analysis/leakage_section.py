"""How much of each test split stands in its training split, where the study audited its data.

Reads `leakage/*.parquet` (one audit a data set; rows by measure, split, class). Next: `analysis/page.py`.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from analysis.page import Markup, paragraphs, table, text
from analysis.results import Problem, Results, read_table

#: The columns of an audit that the section reads.
_AUDIT = pa.schema(
    [(name, pa.string()) for name in ("dataset", "digest", "measure", "split", "against", "class", "partner_class")]
    + [("k", pa.int32()), ("count", pa.int64()), ("of", pa.int64())]
)

#: (measure, class of the partner) → heading, in the order of the table.
_SHOWN = {
    ("exact_duplicate", "any"): "same sequence",
    ("reverse_complement", "any"): "its other strand",
    ("shared_kmer", "any"): "a stretch in common",
    ("shared_kmer", "other"): "in common with another class",
}


def leakage_table(results: Results, problems: list[Problem]) -> pl.DataFrame:
    """Test sequences with a partner in training, for this study's data: dataset, measure, partner_class, k, count, of.

    Unreadable audits are appended to `problems` and skipped.
    """
    if results.source is None:
        return pl.DataFrame(_AUDIT.empty_table())
    rows = read_table(results.source, results.source.files("leakage"), _AUDIT, _AUDIT.names, problems)
    used = results.runs["data_digest"].drop_nulls().unique().to_list()
    rows = rows.filter(pl.col("digest").is_in(used)).drop_nulls(["measure", "count", "of"])
    return rows.filter((pl.col("split") == "test") & (pl.col("against") == "train") & (pl.col("class") == "all"))


def section(results: Results) -> str:
    """The table by data set; nothing where no audit of this study's data exists."""
    problems: list[Problem] = []
    found = leakage_table(results, problems)
    note = "".join(f"<p><code>{text(one.path)}</code>: {text(one.reason)}</p>" for one in problems[:20])
    note = f'<aside class="note" aria-label="Audits left out">{note}</aside>' if note else ""
    if found.is_empty():
        return note
    rows = []
    for (dataset, _), part in found.sort("dataset").group_by("dataset", "digest", maintain_order=True):
        counts = {(row["measure"], row["partner_class"]): row for row in part.iter_rows(named=True)}
        rows.append([str(dataset), *(_share(counts.get(key)) for key in _SHOWN), f"{max(part['of'].to_list()):,}"])
    lengths = sorted(set(found["k"].drop_nulls().to_list()))
    stretch = f" of {' or '.join(map(str, lengths))} letters" if lengths else ""
    what = (
        "Share of test sequences that have a partner in the training split: the same letters, those of the other "
        "strand, "
        f"or a stretch{stretch} in common. Both arms train on the same split, so leakage lifts both and can hide a "
        "benefit; the larger the share, the less the accuracies above say about new sequence."
    )
    headers = ["data set", *_SHOWN.values(), "test sequences"]
    return paragraphs([what]) + note + table(headers, rows, "Leakage from training to test")


def _share(row: dict[str, int] | None) -> Markup:
    if row is None or not row["of"]:
        return Markup("–")
    return Markup(f'<span title="{row["count"]:,} of {row["of"]:,}">{100 * row["count"] / row["of"]:.1f} %</span>')
