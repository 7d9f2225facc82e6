"""The results of a study as frames, with the names of what was left out.

Source: the results folder, read by `sweep/ended_runs.py`. A file that cannot be read is skipped and named in
`Results.problems`, so that one truncated file among good ones costs its own run and no other. Predictions are located
here and read only where a test needs them. Next: `analysis/statistics/pairs.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from sweep.ended_runs import read_plan, read_runs
from sweep.layout import PLAN_FILE, STUDY
from sweep.result_tables import Problem, read_table
from sweep.results_folder import DamagedError, ResultsError, ResultsFolder
from sweep.schema import EPOCHS, PLAN, PRETRAINING, RUNS

__all__ = ["DEFAULT_MARGIN", "Problem", "Results", "ResultsError", "ResultsFolder", "load"]

#: Smallest difference that matters where a study does not say, in percentage points.
DEFAULT_MARGIN = 0.5
#: Scale of the half-normal prior on the SD of the benefit between data sets where a study does not say, in points.
DEFAULT_TAU_SCALE = 2.0

#: Columns of RUNS that no part of the report reads.
_UNREAD_RUNS = {"d_model", "n_layer"} | {
    f"validation_{score}" for score in ("confusion", "loss", "mcc", "f1", "precision", "recall", "auroc")
}


@dataclass(frozen=True)
class Results:
    """What a results folder holds, ready to be paired.

    `runs` holds the runs of the present plan that ended (done or failed), without any that `problems` names;
    `unplanned` counts the runs in the folder that the plan does not name. `predictions` maps the id of
    each run that is done to the file in `source` that holds its predictions. Accuracies are fractions.
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
    source: ResultsFolder | None = None

    @property
    def name(self) -> str:
        """Name of the study, or the folder's own where study.json has none."""
        return str(self.study.get("name") or Path(self.location.rstrip("/")).name or "study")

    @property
    def margin(self) -> float:
        """Smallest difference that matters, in percentage points: `analysis.margin` of the study."""
        return float((self.study.get("analysis") or {}).get("margin") or DEFAULT_MARGIN)

    @property
    def looks(self) -> int:
        """How many times the study may be read while it grows: `analysis.looks`, 1 where it does not say."""
        return int((self.study.get("analysis") or {}).get("looks") or 1)

    @property
    def tau_scale(self) -> float:
        """Scale of the prior on the spread between data sets, in percentage points: `analysis.tau_scale`."""
        return float((self.study.get("analysis") or {}).get("tau_scale") or DEFAULT_TAU_SCALE)

    @property
    def group(self) -> Mapping[str, Any]:
        """Hyperparameters of the runs that the answer is about: `analysis.group`; empty where it is not declared."""
        return (self.study.get("analysis") or {}).get("group") or {}

    @property
    def done(self) -> pl.DataFrame:
        return self.runs.filter(pl.col("status") == "done")

    @property
    def failed(self) -> pl.DataFrame:
        return self.runs.filter(pl.col("status") == "failed")


def load(location: str | Path, epoch_columns: Sequence[str] = EPOCHS.names) -> Results:
    """Read a results folder (a path, s3:// or gs://).

    Args:
        epoch_columns: the columns of EPOCHS to read.

    Raises ResultsError where the folder does not exist, holds no study, was written under another version of the
    tables, or its study.json is not valid, and StoreError where the store does not answer. Everything less (an
    unreadable file, a run without its accuracy) is left out and named in `problems`.
    """
    folder = ResultsFolder(str(location))
    if folder.local and not Path(folder.root).exists():
        raise ResultsError(f"{folder.uri}: no such folder; expected the results folder that a sweep wrote")
    return folder.consistently(lambda: _read(str(location), folder, epoch_columns))


def _read(location: str, folder: ResultsFolder, epoch_columns: Sequence[str]) -> Results:
    study = folder.study()
    if study is not None:
        _check_analysis(study, f"{folder.uri}/{STUDY}")
    problems: list[Problem] = []
    plan, has_plan = _plan(folder, problems)
    columns = [name for name in RUNS.names if name not in _UNREAD_RUNS]
    found = read_runs(folder, columns, problems, ("runs", "epochs", "predictions"))
    if study is None and not has_plan and not found.files.singles["runs"]:
        raise ResultsError(f"{folder.uri}: holds no study.json, plan.parquet or runs/; is it a results folder?")
    ended = _with_accuracy(found.rows.select(columns), problems)
    runs = ended if plan is None else ended.join(plan.select("run_id"), on="run_id", how="semi")
    done = set(runs.filter(pl.col("status") == "done")["run_id"])
    epochs = read_table(folder, found.files_of("epochs", done).values(), EPOCHS, epoch_columns, problems)
    pretraining = [f"pretraining/{name}" for name in folder.tables_in("pretraining")]
    return Results(
        location=location,
        study=study or {},
        plan=runs.select(PLAN.names) if plan is None else plan,
        runs=runs,
        epochs=epochs.filter(pl.col("run_id").is_in(list(done))).unique(["run_id", "epoch"], maintain_order=True),
        pretraining=read_table(folder, pretraining, PRETRAINING, PRETRAINING.names, problems),
        unplanned=ended.height - runs.height,
        plan_known=plan is not None,
        problems=tuple(problems),
        predictions=found.files_of("predictions", done),
        source=folder,
    )


def _plan(folder: ResultsFolder, problems: list[Problem]) -> tuple[pl.DataFrame | None, bool]:
    """The plan, and whether there is such a file; a damaged plan is a problem, and then every run found counts."""
    try:
        plan = read_plan(folder)
    except DamagedError as error:
        problems.append(Problem(PLAN_FILE, error.reason))
        return None, True
    return plan, plan is not None


def _with_accuracy(runs: pl.DataFrame, problems: list[Problem]) -> pl.DataFrame:
    """The runs without those that are marked done and whose test accuracy is not in [0, 1], which are named."""
    accuracy = pl.col("test_accuracy")
    wrong = (pl.col("status") == "done") & (accuracy.is_null() | ~accuracy.is_between(0, 1))
    for run_id, value in runs.filter(wrong).select("run_id", "test_accuracy").iter_rows():
        found = "no test accuracy" if value is None else f"test accuracy {value:g}, which is not a fraction"
        problems.append(Problem(f"runs/{run_id}.parquet", f"marked done with {found}"))
    return runs.filter(~wrong)


def _check_analysis(study: Mapping[str, Any], where: str) -> None:
    """Raise ResultsError where the study's [analysis] holds values that cannot be used."""
    analysis = study.get("analysis")
    if analysis is not None and not isinstance(analysis, dict):
        raise ResultsError(f"{where}: 'analysis' must be an object, found {analysis!r}")
    margin = (analysis or {}).get("margin", DEFAULT_MARGIN)
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin <= 100:
        raise ResultsError(f"{where}: 'analysis.margin' must be percentage points above 0, found {margin!r}")
    scale = (analysis or {}).get("tau_scale")
    if scale is not None and (isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale <= 100):
        raise ResultsError(f"{where}: 'analysis.tau_scale' must be percentage points above 0, found {scale!r}")
    for key in ("epochs", "looks"):
        count = (analysis or {}).get(key)
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
            raise ResultsError(f"{where}: 'analysis.{key}' must be an integer of at least 1, or null, found {count!r}")
    group = (analysis or {}).get("group")
    if group is not None and not isinstance(group, dict):
        raise ResultsError(f"{where}: 'analysis.group' must be an object, or null, found {group!r}")
