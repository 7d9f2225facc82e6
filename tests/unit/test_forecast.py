"""What a plan says before anything is started."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from test_store import row
from test_trials import data_of, path  # noqa: F401 - a fixture

from hyena.classifiers import classifier_bytes
from sweep.forecast import forecast
from sweep.memory import Kind, Measured, remember
from sweep.store import Store
from sweep.study import load_study
from sweep.trials import plan
from sweep.words import size

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "results"))


def said(
    path: Path,  # noqa: F811
    store: Store,
    cluster: dict[str, float],
    done: int = 0,
    missing: tuple[str, ...] = (),
    overrides: tuple[str, ...] = (),
) -> str:
    study = load_study(path, overrides)
    data = {name: found for name, found in data_of(study).items() if name not in missing}
    runs = plan(study, data, dict.fromkeys(study.grid.models, "w"))
    for run in runs[:done]:
        store.write_run(
            row(
                run.run_id,
                status="done",
                failure=None,
                finished_at=NOW,
                train_s=27.0,
                evaluate_s=9.0,
                cpus=2.0,
                gpu_fraction=0.0,
            )
        )
    ended = {run.run_id for run in runs[:done]}
    return "\n".join(forecast(study, store, runs, ended, data, missing, {"small": "would be made"}, cluster))


def test_counts_parts_bytes_and_what_is_missing(path: Path, store: Store) -> None:  # noqa: F811
    text = said(path, store, {"CPU": 4})
    assert "runs       24 planned, 0 done already, 24 to do" in text
    assert "each run   1 CPU core(s), no GPU; 4 at once on this machine" in text
    assert "not known before the first runs are done" in text
    assert "bytes      about 1.08 MB more" in text  # 24 × (45 kB + 10 examples × 2 classes × 4 bytes)
    assert "missing    weights of small: would be made" in text


def test_kept_models_count_as_bytes(path: Path, store: Store) -> None:  # noqa: F811
    study = load_study(path)
    models = sum(classifier_bytes(study.model(name), 2) for name in study.grid.models) * 12
    text = said(path, store, {"CPU": 4}, overrides=("keep_models=true",))
    assert f"bytes      about {size(24 * (45_000 + 10 * 2 * 4) + models)} more" in text
    assert models > 100_000


def test_runs_of_a_missing_data_set_count_as_planned(path: Path, store: Store) -> None:  # noqa: F811
    text = said(path, store, {"CPU": 4}, missing=("synthetic_genes",),
                overrides=('exclude=[{datasets=["synthetic_genes"], seeds=[3]}]',
                           'grid.datasets=["synthetic_genes", "synthetic_enhancers"]'))  # fmt: skip
    assert "40 planned" in text
    assert "missing    data set synthetic_genes: would be downloaded" in text


def test_time_and_cost_come_from_measured_runs(path: Path, store: Store) -> None:  # noqa: F811
    one_cell = ("grid.epochs=[1]", 'grid.models=["small"]', "grid.seeds=[1,2,3,4,5,6]")
    text = said(path, store, {"CPU": 4}, done=6, overrides=("resources.price_per_hour=0.5", *one_cell))
    # six runs of 36 s on two cores each remain
    assert "about 0:54 here, 0.12 core hours (as the 6 runs done took), cost 0.06 at 0.5 an hour" in text


def test_everything_done_costs_nothing(path: Path, store: Store) -> None:  # noqa: F811
    assert "nothing is left to do" in said(path, store, {"CPU": 1}, done=24)


def test_parts_of_a_gpu_are_told_as_far_as_they_are_known(path: Path, store: Store) -> None:  # noqa: F811
    study = load_study(path)
    run = plan(study, data_of(study), dict.fromkeys(study.grid.models, "w"))[0]
    assert "0 kinds of run known, 2 to be probed" in said(path, store, {"CPU": 8, "GPU": 1})
    remember(store, Kind.of(run).key, "nvidia-a100", [Measured("NVIDIA A100", 1, 0, 1, 1, 0.1)])
    assert "1 kinds of run known, 1 to be probed" in said(path, store, {"CPU": 8, "GPU": 1})
    assert "0.5 of a GPU; 2 at once" in said(path, store, {"CPU": 8, "GPU": 1}, overrides=("resources.gpus=0.5",))


def test_memory_is_foretold_where_none_is_measured(path: Path, store: Store) -> None:  # noqa: F811
    assert "for the largest run" in said(path, store, {"CPU": 4})
    study = load_study(path)
    data = data_of(study)
    for run in plan(study, data, dict.fromkeys(study.grid.models, "w")):
        remember(store, Kind.of(run).key, "some-gpu", [Measured("some gpu", 10, 1, 1, 1, 0.1)])
    assert "for the largest run" not in said(path, store, {"CPU": 4})
