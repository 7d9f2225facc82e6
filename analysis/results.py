"""From a results folder to frames: reads what a sweep wrote, and names what it could not read.

Source: the tables of `sweep/schema.py`, in small files or in compacted parts. A file that cannot be read is
skipped and named in `Results.problems`, so that one truncated file among good ones costs its own run and no other.
Predictions are located here and read only where a test needs them. Next: `analysis/statistics/pairs.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from analysis.folder import Folder, ResultsError, one_line
from analysis.tables import UNREADABLE, Problem, read_table, refuse_other_version
from sweep.layout import COMPACT, complete_parts, part_file
from sweep.schema import EPOCHS, PLAN, PRETRAINING, RUNS, SCHEMA_VERSION

#: Smallest difference that matters where a study does not say, in percentage points.
DEFAULT_MARGIN = 0.5

#: Columns of RUNS that no part of the report reads.
_UNREAD_RUNS = {"d_model", "n_layer", "l_max"} | {
    f"validation_{score}" for score in ("confusion", "loss", "mcc", "f1", "precision", "recall", "auroc")
}

#: How often reading starts again where a compaction moves files away meanwhile.
_SNAPSHOTS = 5


@dataclass(frozen=True)
class Results:
    """What a results folder holds, ready to be paired.

    `runs` holds the runs of the present plan that ended (done or failed), without any that `problems` names;
    `unplanned` counts the runs that stand in the folder and not in the plan. Accuracies stay fractions here.
    """

    location: str
    study: Mapping[str, Any]
    plan: pl.DataFrame
    runs: pl.DataFrame
    epochs: pl.DataFrame
    pretraining: pl.DataFrame
    unplanned: int = 0
    plan_known: bool = True
    problems: tuple[Problem, ...] = ()
    predictions: Mapping[str, str] = field(default_factory=dict)
    source: Folder | None = None

    @property
    def name(self) -> str:
        """Name of the study, or the folder's own where study.json has none."""
        return str(self.study.get("name") or Path(self.location.rstrip("/")).name or "study")

    @property
    def margin(self) -> float:
        """Smallest difference that matters, in percentage points: `analysis.margin` of the study."""
        return float((self.study.get("analysis") or {}).get("margin") or DEFAULT_MARGIN)

    @property
    def done(self) -> pl.DataFrame:
        return self.runs.filter(pl.col("status") == "done")

    @property
    def failed(self) -> pl.DataFrame:
        return self.runs.filter(pl.col("status") == "failed")


def load(location: str | Path, epoch_columns: Sequence[str] = EPOCHS.names) -> Results:
    """Read a results folder (a path, s3:// or gs://), and of its epochs the columns asked for.

    Raises ResultsError where the folder is missing, holds no study, was written under another version of the tables,
    or its study.json is not valid. Everything less (an unreadable file, a run without its accuracy) is left out and
    named in `problems`.
    """
    folder = Folder.open(location)
    for _ in range(_SNAPSHOTS):
        results = _snapshot(folder, epoch_columns)
        unreadable = [problem.path for problem in results.problems if problem.reason.startswith(UNREADABLE)]
        if all(map(folder.exists, unreadable)):
            break  # else a compaction has moved one away while it was read
    return results


def _snapshot(folder: Folder, epoch_columns: Sequence[str]) -> Results:
    study = _study(folder)
    run_files = folder.files("runs")
    if not study and not run_files and not folder.exists("plan.parquet"):
        raise ResultsError(f"{folder.location}: holds no study.json, plan.parquet or runs/; is it a results folder?")
    problems: list[Problem] = []
    plan, plan_known = _plan(folder, problems)
    holder: dict[str, str] = {}
    ended = _checked(_ended(folder, run_files, holder, problems), problems)
    runs = ended.join(plan.select("run_id"), on="run_id", how="semi") if plan_known else ended
    if not plan_known:
        plan = runs.select(PLAN.names)
    done = set(runs.filter(pl.col("status") == "done")["run_id"])
    epochs = read_table(folder, _files_of(folder, "epochs", done, holder).values(), EPOCHS, epoch_columns, problems)
    pretraining = read_table(folder, folder.files("pretraining"), PRETRAINING, PRETRAINING.names, problems)
    return Results(
        location=folder.location,
        study=study,
        plan=plan,
        runs=runs,
        epochs=epochs.filter(pl.col("run_id").is_in(list(done))).unique(["run_id", "epoch"], maintain_order=True),
        pretraining=pretraining,
        unplanned=ended.height - runs.height,
        plan_known=plan_known,
        problems=tuple(problems),
        predictions=_files_of(folder, "predictions", done, holder),
        source=folder,
    )


def _ended(folder: Folder, singles: Sequence[str], holder: dict[str, str], problems: list[Problem]) -> pl.DataFrame:
    """Rows of the runs that ended, in parts or in single files; fills `holder`, run_id to the part that counts."""
    columns = [name for name in RUNS.names if name not in _UNREAD_RUNS]
    frames = []
    for part in complete_parts(Path(path).name for path in folder.files(COMPACT)):
        rows = read_table(folder, [f"{folder.root}/{part_file('runs', part)}"], RUNS, columns, problems)
        frames.append(rows.filter(~pl.col("run_id").is_in(list(holder))))
        holder |= dict.fromkeys(frames[-1]["run_id"], part)
    left = [path for path in singles if _run_of(path) not in holder]
    return pl.concat([*frames, read_table(folder, left, RUNS, columns, problems)])


def _files_of(folder: Folder, table: str, run_ids: set[str], holder: Mapping[str, str]) -> dict[str, str]:
    """run_id to the path of the file that holds its rows of a table."""
    singles = {_run_of(path): path for path in folder.files(table)}
    parts = {run_id: f"{folder.root}/{part_file(table, part)}" for run_id, part in holder.items()}
    both = singles | parts
    return {run_id: both[run_id] for run_id in sorted(run_ids & both.keys())}


def _run_of(path: str) -> str:
    """Name of a run's file without its ending. `Path(path).stem` takes 20 times as long: 0.3 s for 20,000 files."""
    return path.rpartition("/")[2].removesuffix(".parquet")


def _checked(runs: pl.DataFrame, problems: list[Problem]) -> pl.DataFrame:
    """Runs that can be counted: one row a run, this version, and an accuracy in [0, 1] where done."""
    other = runs.filter(pl.col("schema_version") != SCHEMA_VERSION)
    if other.height:
        refuse_other_version(other["schema_version"], f"runs/{other['run_id'][0]}.parquet")
    accuracy = pl.col("test_accuracy")
    wrong = (pl.col("status") == "done") & (accuracy.is_null() | ~accuracy.is_between(0, 1))
    for run_id, value in runs.filter(wrong).select("run_id", "test_accuracy").iter_rows():
        shown = "no test accuracy" if value is None else f"test accuracy {value:g}, which is no fraction"
        problems.append(Problem(f"runs/{run_id}.parquet", f"marked done with {shown}"))
    twice = runs.filter(pl.col("run_id").is_duplicated())["run_id"].unique().sort()
    problems.extend(Problem(f"run {run_id}", "stands in the tables more than once; one row kept") for run_id in twice)
    return runs.filter(~wrong.fill_null(value=False)).unique("run_id", keep="last").sort("run_id")


def _study(folder: Folder) -> Mapping[str, Any]:
    if not folder.exists("study.json"):
        return {}
    where = f"{folder.location.rstrip('/')}/study.json"
    try:
        study = json.loads(folder.bytes_of(f"{folder.root}/study.json"))
    except (ValueError, OSError, RecursionError) as error:
        raise ResultsError(f"{where}: not valid JSON ({one_line(error)})") from error
    if not isinstance(study, dict):
        raise ResultsError(f"{where}: expected a JSON object, found {type(study).__name__}")
    analysis = study.get("analysis")
    if analysis is not None and not isinstance(analysis, dict):
        raise ResultsError(f"{where}: 'analysis' must be an object, found {analysis!r}")
    margin = (analysis or {}).get("margin", DEFAULT_MARGIN)
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin <= 100:
        raise ResultsError(f"{where}: 'analysis.margin' must be percentage points above 0, found {margin!r}")
    epochs = (analysis or {}).get("epochs")
    if epochs is not None and (isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1):
        raise ResultsError(f"{where}: 'analysis.epochs' must be a whole number from 1, or null, found {epochs!r}")
    return study


def _plan(folder: Folder, problems: list[Problem]) -> tuple[pl.DataFrame, bool]:
    """The plan, and whether there is one; an unreadable plan is a problem, and then every run found counts."""
    empty = pl.DataFrame(PLAN.empty_table())
    if not folder.exists("plan.parquet"):
        return empty, False
    plan = read_table(folder, [f"{folder.root}/plan.parquet"], PLAN, PLAN.names, problems)
    if any(plan.null_count().row(0)):
        problems.append(Problem("plan.parquet", "has empty cells"))
    readable = not any(problem.path == "plan.parquet" for problem in problems)
    return plan.unique("run_id", keep="first", maintain_order=True), readable
