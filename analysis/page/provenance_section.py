"""Where the numbers come from: code, versions, devices, hosts, dates, and digests of data and weights.

Next: `analysis/page/downloads_section.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import polars as pl

from analysis.findings import Findings
from analysis.page.document import Block
from analysis.page.html import details, table, text
from analysis.results import Results

_SHOWN_DIGEST = 12

#: Most values of one column that are listed, the most frequent first, and most letters of each.
_MOST_VALUES, _MOST_LETTERS = 8, 60


def blocks(findings: Findings) -> list[Block]:
    results = findings.results
    facts = [
        *_study_facts(results),
        *_run_facts(results.runs),
        ("page written", f"{findings.generated_at:%Y-%m-%d %H:%M} UTC"),
    ]
    listing = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in facts)
    found: list[Block] = [f'<dl class="facts">{listing}</dl>', _digests(results)]
    if results.study:
        study = json.dumps(results.study, indent=2, ensure_ascii=False, default=str)
        found.append(details("Resolved study", f"<pre tabindex='0'>{text(study)}</pre>"))
    return found


def _study_facts(results: Results) -> list[tuple[str, str]]:
    """(label, value): the folder, and the description of the study."""
    known = [(label, results.study.get(key)) for key, label in (("description", "study"), ("source", "source"))]
    return [("results", results.location), *((label, str(value)) for label, value in known if value)]


def _run_facts(runs: pl.DataFrame) -> list[tuple[str, str]]:
    """(label, value) of what the runs record; facts that no run records are left out."""
    facts = [
        (label, _counted(runs[column]))
        for column, label in (("commit", "code"), ("device", "devices"), ("host", "hosts"), ("precision", "precision"))
    ]
    for column, label in (("gpu_fraction", "GPU fraction"), ("concurrent_runs", "concurrent runs per device")):
        values = runs[column].drop_nulls().unique().sort().to_list()
        facts.append((label, ", ".join(f"{value:g}" for value in values)))
    versions = (f"{name} {' / '.join(found)}" for name, found in sorted(_versions(runs).items()))
    facts.append(("versions", "; ".join(versions)))
    started, finished = runs["started_at"].drop_nulls(), runs["finished_at"].drop_nulls()
    if len(started) and len(finished):
        first, last = min(started.to_list()), max(finished.to_list())
        facts.append(("runs started and finished", f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"))
    return [(label, value) for label, value in facts if value]


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
        f"{str(name)[:_MOST_LETTERS]} ({count:,})" if len(counts) > 1 else str(name)[:_MOST_LETTERS]
        for name, count in counts.head(_MOST_VALUES).iter_rows()
    ]
    return ", ".join(shown) + (f" and {len(counts) - _MOST_VALUES} more" if len(counts) > _MOST_VALUES else "")


def _versions(runs: pl.DataFrame) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {}
    for versions in runs["versions"].drop_nulls().to_list():
        pairs = versions.items() if isinstance(versions, dict) else ((one["key"], one["value"]) for one in versions)
        for name, version in pairs:
            found.setdefault(name, set()).add(version)
    return {name: sorted(versions) for name, versions in found.items()}
