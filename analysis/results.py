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
from sweep.schema import EPOCHS, HYPERPARAMETERS, PLAN, PRETRAINING, RUNS

__all__ = ["DEFAULT_MARGIN", "Problem", "Results", "ResultsError", "ResultsFolder", "load"]

#: Smallest difference that matters where a study does not say, in percentage points.
DEFAULT_MARGIN = 0.5
#: Scale, in percentage points, of the half-normal prior on the standard deviation between data sets, where not said.
DEFAULT_TAU_SCALE = 2.0
#: Largest number of looks that a study may declare.
MOST_LOOKS = 100

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
        return float(self._analysis.get("margin") or DEFAULT_MARGIN)

    @property
    def tau_scale(self) -> float:
        """Scale of the prior on the spread between data sets, in points: `analysis.tau_scale` of the study."""
        return float(self._analysis.get("tau_scale", DEFAULT_TAU_SCALE))

    @property
    def looks(self) -> int:
        """How many times verdicts may be read while seeds are added: `analysis.looks` of the study."""
        return int(self._analysis.get("looks", 1))

    @property
    def group(self) -> Mapping[str, Any]:
        """Values of the hyperparameters that the answer is about: `analysis.group` of the study; empty by default."""
        return self._analysis.get("group") or {}

    @property
    def _analysis(self) -> Mapping[str, Any]:
        return self.study.get("analysis") or {}

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
    analysis = analysis or {}
    for key, default in (("margin", DEFAULT_MARGIN), ("tau_scale", DEFAULT_TAU_SCALE)):
        points = analysis.get(key, default)
        if isinstance(points, bool) or not isinstance(points, int | float) or not 0 < points <= 100:
            raise ResultsError(f"{where}: 'analysis.{key}' must be percentage points above 0, found {points!r}")
    epochs, looks, group = analysis.get("epochs"), analysis.get("looks", 1), analysis.get("group", {})
    if epochs is not None and (not _is_integer(epochs) or epochs < 1):
        raise ResultsError(f"{where}: 'analysis.epochs' must be an integer of at least 1, or null, found {epochs!r}")
    if not _is_integer(looks) or not 1 <= looks <= MOST_LOOKS:
        raise ResultsError(f"{where}: 'analysis.looks' must be an integer from 1 to {MOST_LOOKS}, found {looks!r}")
    if not isinstance(group, dict):
        raise ResultsError(f"{where}: 'analysis.group' must be an object, found {group!r}")
    for name, value in group.items():
        if name not in HYPERPARAMETERS or not isinstance(value, bool | int | float | str):
            raise ResultsError(
                f"{where}: 'analysis.group' must map hyperparameters to values, found {name!r}: {value!r}"
            )


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
