"""What the runs record, tabulated: the status of each planned run, confusion matrices, and the tables to download.

Next: `analysis/page/runs_section.py`, `analysis/page/confusion_section.py`, `analysis/page/downloads_section.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis.results import Results
from analysis.statistics.estimates import Estimates, to_frame
from analysis.statistics.pairs import Comparison

#: Rows up to which a table is offered as CSV, which takes several times the bytes of Parquet in the page.
MOST_CSV_ROWS = 20_000


def plan_status(results: Results) -> pl.DataFrame:
    """The plan, one row per run, with `status` (done, failed or missing) and `failure` (the reason, or null)."""
    status = results.runs.select("run_id", "status", "failure")
    return results.plan.join(status, on="run_id", how="left").with_columns(pl.col("status").fill_null("missing"))


@dataclass(frozen=True)
class ConfusionMatrix:
    """Counts summed over the runs of one cell and arm: rows are true classes, columns predicted ones."""

    dataset: str
    size: str
    init: str
    runs: int
    counts: tuple[tuple[int, ...], ...]
    classes: tuple[str, ...]


def confusion_matrices(results: Results, comparison: Comparison) -> tuple[ConfusionMatrix, ...]:
    """One matrix per data set, size and arm, where all its runs record square matrices of one shape."""
    counts = results.done.select("run_id", "test_confusion").drop_nulls("test_confusion")
    runs = comparison.runs.join(counts, on="run_id", maintain_order="left").sort("dataset", "parameters", "init")
    found = []
    for (dataset, size, init), group in runs.group_by("dataset", "size", "init", maintain_order=True):
        total = _sum(group["test_confusion"].to_list())
        if total:
            classes = class_names(results.study, str(dataset), len(total))
            found.append(ConfusionMatrix(str(dataset), str(size), str(init), group.height, total, classes))
    return tuple(found)


def class_names(study: Mapping[str, Any], dataset: str, count: int) -> tuple[str, ...]:
    """The class names that the sweep recorded for a data set; numbers from 0 where it recorded none, or not `count`."""
    data = study.get("data")
    facts = data.get(dataset) if isinstance(data, Mapping) else None
    names = facts.get("classes") if isinstance(facts, Mapping) else None
    if isinstance(names, list) and len(names) == count:
        return tuple(str(name) for name in names)
    return tuple(str(index) for index in range(count))


def _sum(matrices: list[list[list[int]]]) -> tuple[tuple[int, ...], ...]:
    """Element by element; empty where the matrices are not square and of one shape."""
    shapes = {(len(one), *(len(row) for row in one)) for one in matrices}
    if len(shapes) != 1 or len(set(shapes.pop())) != 1:
        return ()
    return tuple(tuple(sum(cell) for cell in zip(*rows, strict=True)) for rows in zip(*matrices, strict=True))


def downloads(results: Results, estimates: Estimates, curves: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """File name → table to download; curves of more than `MOST_CSV_ROWS` rows as Parquet, in single precision.

    curves: the rows of `analysis.statistics.curves.curve_table`.
    """
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
    tables = {"estimates.csv": to_frame(everything)}
    pairs = estimates.comparison.pairs.drop("setting_id", "treated_run", "control_run")
    if pairs.height:
        tables["pairs.csv"] = pairs
    curves = curves.drop("setting_id")
    if curves.height <= MOST_CSV_ROWS:
        tables["curves.csv"] = curves
    else:
        tables["curves.parquet"] = curves.with_columns(pl.col(pl.Float64).cast(pl.Float32))
    return tables | {"runs.parquet": results.runs.drop("versions")}
