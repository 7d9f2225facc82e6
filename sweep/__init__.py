"""The engine: from a study file to Parquet. `sweep.run(...)` and `sweep.plan(...)` do what the command does.

    api.py              run and plan a study, from Python
    run.py              the command line
    study.py            a TOML file, validated
    pretrainings.py     the sets of weights that its runs start from; study_weights.py: where their tensors are
    trials.py           the runs that it asks for
    plan_request.py     what is left of them, and what that takes: time_forecast.py, forecast.py
    execution.py        what is left, run on Ray: tuning.py, run_states.py, progress.py, pretraining_jobs.py
    ray_session.py      Ray, started here or joined
    trainable.py        one trial on one worker
    store.py            the results folder that it writes
    heartbeat.py        files by which a running sweep is seen
    compact.py          many small files merged into few

Results folders are read, by the sweep and by `analysis`, through

    layout.py           addresses and names of files
    retries.py          retries of storage operations
    results_folder.py   the files, the study, and where the rows of runs are
    result_tables.py    Parquet files in the types of `schema.py`
    ended_runs.py       the plan and the runs, each once

Importing this package loads neither torch nor Ray, which `analysis` does without.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyena.errors import InputError
    from sweep.api import FailedRun, Plan, SweepSummary, plan, run
    from sweep.study import Study, load_study

__all__ = ["FailedRun", "InputError", "Plan", "Study", "SweepSummary", "load_study", "plan", "run"]

#: Where these names are defined. `run` is the command's module, which is callable: importing it binds that name anyway.
_HOMES = {
    "InputError": "hyena.errors",
    "FailedRun": "sweep.api",
    "Plan": "sweep.api",
    "SweepSummary": "sweep.api",
    "plan": "sweep.api",
    "Study": "sweep.study",
    "load_study": "sweep.study",
}


def __getattr__(name: str) -> Any:
    """Load a name of the Python interface when it is first used."""
    if name == "run":
        return importlib.import_module("sweep.run")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
