"""Where the numbers come from: code, versions, devices, data, dates, and the tables to take away.

Next: `analysis/page/html.py`.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import polars as pl

from analysis.page.html import Page, details, paragraphs, table, text
from analysis.results import Results
from analysis.statistics.estimates import Estimates

_SHOWN_DIGEST = 12

#: Rows up to which a table is offered as CSV, which takes several times the bytes of Parquet in the page.
MOST_CSV_ROWS = 20_000


def provenance(results: Results, made_at: datetime) -> str:
    """Facts about the runs: which code, on what, when; digests of data and weights; the study as it was resolved."""
    runs = results.runs
    facts: list[tuple[str, str]] = [("results", results.location)]
    for key, label in (("description", "study"), ("source", "source")):
        if results.study.get(key):
            facts.append((label, str(results.study[key])))
    recorded: list[tuple[str, str]] = []
    for column, label in (("commit", "code"), ("device", "devices"), ("host", "hosts"), ("precision", "precision")):
        recorded.append((label, _counted(runs[column])))
    for column, label in (("gpu_fraction", "share of a GPU"), ("concurrent_runs", "runs at once on a device")):
        values = runs[column].drop_nulls().unique().sort().to_list()
        recorded.append((label, ", ".join(f"{value:g}" for value in values)))
    versions = (f"{name} {' / '.join(found)}" for name, found in sorted(_versions(runs).items()))
    recorded.append(("versions", "; ".join(versions)))
    facts += [(label, value) for label, value in recorded if value]
    started, finished = runs["started_at"].drop_nulls(), runs["finished_at"].drop_nulls()
    if len(started) and len(finished):
        first, last = min(started.to_list()), max(finished.to_list())
        facts.append(("runs made", f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"))
    facts.append(("page made", f"{made_at:%Y-%m-%d %H:%M} UTC"))
    listing = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in facts)
    content = f'<dl class="facts">{listing}</dl>' + _digests(results)
    if results.study:
        study = json.dumps(results.study, indent=2, ensure_ascii=False, default=str)
        content += details("The study as it was resolved", f"<pre tabindex='0'>{text(study)}</pre>")
    return content


def _digests(results: Results) -> str:
    data = results.done.group_by("dataset").agg(
        pl.col("data_digest").drop_nulls().unique().sort(),
        *(pl.col(name).max() for name in ("train_examples", "test_examples")),
    )
    weights = results.done.group_by("model").agg(pl.col("weights_digest").drop_nulls().unique().sort())
    rows = [
        [name, _short(digests), _count(train), _count(test)]
        for name, digests, train, test in data.sort("dataset").iter_rows()
        if len(digests) or train or test
    ]
    rows += [
        [f"weights of {name}", _short(digests), "–", "–"]
        for name, digests in weights.sort("model").iter_rows()
        if len(digests)
    ]
    return table(["data or weights", "SHA-256", "train examples", "test examples"], rows, "Digests", 2) if rows else ""


def _short(digests: Iterable[str]) -> str:
    return ", ".join(one[:_SHOWN_DIGEST] + ("…" if len(one) > _SHOWN_DIGEST else "") for one in digests) or "–"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _counted(series: pl.Series) -> str:
    counts = series.drop_nulls().value_counts(sort=True)
    shown = [
        f"{str(name)[:60]} ({count:,})" if len(counts) > 1 else str(name)[:60]
        for name, count in counts.head(8).iter_rows()
    ]
    return ", ".join(shown) + (f" and {len(counts) - 8} more" if len(counts) > 8 else "")


def _versions(runs: pl.DataFrame) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {}
    for versions in runs["versions"].drop_nulls().to_list():
        pairs = versions.items() if isinstance(versions, dict) else ((one["key"], one["value"]) for one in versions)
        for name, version in pairs:
            found.setdefault(name, set()).add(version)
    return {name: sorted(versions) for name, versions in found.items()}


def downloads(page: Page, results: Results, estimates: Estimates, curves: pl.DataFrame) -> str:
    """Tidy tables in the page itself: estimates, pairs and curves as CSV, runs and very many curves as Parquet."""
    everything = [
        estimates.overall,
        estimates.overall_random,
        estimates.growth,
        estimates.growth_random,
        estimates.per_tenfold,
        estimates.largest_minus_smallest,
        *estimates.sizes,
        *estimates.sizes_random,
        *estimates.datasets,
        *estimates.cells,
    ]
    from analysis.statistics.estimates import to_frame

    page.csv_download("estimates.csv", to_frame(everything), "every estimate with its interval, df, p and method")
    pairs, paired = estimates.comparison.pairs.drop("setting_id"), estimates.comparison.paired
    if pairs.height:
        use = "" if paired else " (the estimates do not use them: the arms are compared unpaired)"
        page.csv_download("pairs.csv", pairs, f"each pair of runs and its difference{use}")
    if curves.height <= MOST_CSV_ROWS:
        page.csv_download("curves.csv", curves.drop("setting_id"), "learning curves")
    else:
        what = f"learning curves, as Parquet because of their {curves.height:,} rows"
        numbers = curves.with_columns(pl.col(pl.Float64).cast(pl.Float32))
        page.file_download("curves.parquet", parquet_base64(numbers.drop("setting_id")), what)
    runs = parquet_base64(results.runs.drop("versions"))
    page.file_download("runs.parquet", runs, "one row a run: the recorded columns that this page reads")
    none = "" if pairs.height else "There is no pairs.csv: no seed of a setting is done in both arms."
    return '<ul class="buttons" id="download-list"></ul>' + paragraphs([none])


def parquet_base64(frame: Any) -> str:
    """A frame as a Parquet file in base64."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=9)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
