"""How much of each test split stands in its training split, where the study's data were audited.

Reads `leakage/*.parquet` (rows by data set, measure, split and class, as `hyena.leakage.audit` writes them: a sweep
writes the audits of its own data; audits by place on the genome are put there by hand). Next: `analysis/page/html.py`.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from analysis.page.html import Markup, details, paragraphs, table, text
from analysis.results import Problem, Results
from sweep.result_tables import read_table

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
_SHOWN_INTERVALS = {
    ("interval_overlap", "any"): "overlaps",
    ("interval_inside", "any"): "lies inside",
    ("interval_identical", "any"): "is the same",
    ("interval_overlap", "other"): "overlaps another class",
}


def leakage_table(results: Results, problems: list[Problem]) -> pl.DataFrame:
    """Test examples with a partner in training, for this study's data, a row a measure, class and partner's class.

    Audits of sequences belong to the study by the data's digest, those of intervals, which have none, by the name of
    the data set. Unreadable audits are appended to `problems` and skipped.
    """
    if results.source is None:
        return pl.DataFrame(_AUDIT.empty_table())
    audits = [f"leakage/{name}" for name in results.source.tables_in("leakage")]
    rows = read_table(results.source, audits, _AUDIT, _AUDIT.names, problems)
    digests = results.runs["data_digest"].drop_nulls().unique().to_list()
    names = results.runs["dataset"].unique().to_list()
    by_place = pl.col("measure").str.starts_with("interval")
    ours = pl.when(by_place).then(pl.col("dataset").is_in(names)).otherwise(pl.col("digest").is_in(digests))
    rows = rows.drop_nulls(["measure", "count", "of"]).filter(ours)
    return rows.filter((pl.col("split") == "test") & (pl.col("against") == "train"))


def section(results: Results) -> str:
    """The tables by data set and by class; nothing where no audit of this study's data exists."""
    problems: list[Problem] = []
    found = leakage_table(results, problems)
    note = "".join(f"<p><code>{text(one.path)}</code>: {text(one.reason)}</p>" for one in problems[:20])
    note = f'<aside class="note" aria-label="Audits left out">{note}</aside>' if note else ""
    by_place = found["measure"].str.starts_with("interval")
    return _sequences(found.filter(~by_place), note) + _intervals(found.filter(by_place))


def _sequences(found: pl.DataFrame, note: str) -> str:
    if found.is_empty():
        return note
    lengths = sorted(set(found["k"].drop_nulls().to_list()))
    stretch = f" of {' or '.join(map(str, lengths))} letters" if lengths else ""
    what = (
        "Share of test sequences that have a partner in the training split: the same letters, those of the other "
        f"strand, or a stretch{stretch} in common. Both arms train on the same split, so leakage lifts both and can "
        "hide a benefit; the larger the share, the less the accuracies above say about new sequence."
    )
    return paragraphs([what]) + note + _tables(found, _SHOWN, "Leakage from training to test")


def _intervals(found: pl.DataFrame) -> str:
    if found.is_empty():
        return ""
    what = "The same by place on the genome: test intervals of the official lists that meet one of the training split."
    listing = _tables(found, _SHOWN_INTERVALS, "Leakage by place on the genome")
    return "<h3>By place on the genome</h3>" + paragraphs([what]) + listing


def _tables(found: pl.DataFrame, shown: dict[tuple[str, str], str], label: str) -> str:
    """One row a data set; folded, one row a class."""
    whole = found.filter(pl.col("class") == "all")
    classes = found.filter(pl.col("class") != "all")
    content = table(["data set", *shown.values(), "test examples"], _rows(whole, shown), label)
    if classes.is_empty():
        return content
    rows = _rows(classes, shown, "class")
    headers = ["data set", "class", *shown.values(), "test examples"]
    return content + details("By class", table(headers, rows, f"{label}, by class", 2))


def _rows(found: pl.DataFrame, shown: dict[tuple[str, str], str], *more: str) -> list[list[object]]:
    rows: list[list[object]] = []
    for key, part in found.sort("dataset", *more).group_by("dataset", "digest", *more, maintain_order=True):
        counts = {(row["measure"], row["partner_class"]): row for row in part.iter_rows(named=True)}
        cells = (_share(counts.get(cell)) for cell in shown)
        rows.append([key[0], *key[2:], *cells, f"{max(part['of'].to_list()):,}"])
    return rows


def _share(row: dict[str, int] | None) -> Markup:
    if row is None or not row["of"]:
        return Markup("–")
    share = f"{100 * row['count'] / row['of']:.1f} %" if row["count"] else "none"
    return Markup(f'<span title="{row["count"]:,} of {row["of"]:,}">{share}</span>')
