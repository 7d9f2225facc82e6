"""The order of a sweep: pretrainings beside the runs that need none, then the runs that start from them."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from sweep import execution
from sweep.execution import Execution
from sweep.resources import Share
from sweep.store import Store
from sweep.study import load_study
from sweep.trials import RunSpec, data_spec, facts_of, load_data, plan
from tests.support.stored import row


def test_a_failed_pretraining_fails_only_the_runs_that_start_from_it(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load_study(path, ("pretraining.seeds=[8, 9]", "grid.epochs=[1]", 'grid.models=["small"]'))
    spec = data_spec(study, "synthetic_tracts", None)
    keys = {one: one.name for one in study.pretrainings}
    runs = plan(study, {spec.name: (spec, facts_of(load_data(spec)))}, keys)
    store, calls = Store(str(tmp_path / "results")), list[list[tuple[str, int]]]()
    first, second = study.pretrainings

    def fit(name: str, some: Sequence[RunSpec], *rest: Any) -> None:
        calls.append([(run.init, run.seed) for run in some])
        for run in some:
            store.write_run(row(run.run_id, status="done", failure=None))

    jobs = SimpleNamespace(latest={first: None, second: None}, failed={second: "pretraining failed: no"}, steps=1,
                           notes={}, unfinished=False, training=False)  # fmt: skip
    monkeypatch.setattr(execution, "PretrainingJobs", lambda *given: jobs)
    monkeypatch.setattr(execution, "fit", fit)
    share = Share(cpus=1, gpus=0.0, concurrent_trials=1)
    Execution(study, store, share, keys, Console(quiet=True)).run(runs, 0)
    assert calls == [[("scratch", 1), ("scratch", 2), ("scratch", 3)], [("pretrained", 1), ("pretrained", 3)]]
    rows = store.runs(["init", "pretraining_seed", "seed", "failure"])
    assert [tuple(one.values()) for one in rows if one["failure"]] == [("pretrained", 9, 2, "pretraining failed: no")]
