"""A results folder written under version 3 of the results: read, reported, and left as it is by a new sweep."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analysis
import sweep
from analysis import report
from sweep.earlier_notes import results_of_another_version
from sweep.run_states import done_runs
from sweep.schema import EPOCHS, PLAN, RUNS, SCHEMA_VERSION
from sweep.store import Store
from sweep.study import load_study
from sweep.trials import RunSpec, data_spec, facts_of, load_data, plan
from tests.support.stored import row

#: Columns that were added later.
NEWER = ("corpus", "pretraining_seed")
SMALL = (
    'grid.init=["scratch", "pretrained"]',
    "grid.epochs=[1]",
    'grid.models=["small"]',
    "grid.seeds=[1, 2]",
    "synthetic.genome_bases=20_000",
)


def planned(path: Path) -> list[RunSpec]:
    study = load_study(path, SMALL)
    specs = {name: data_spec(study, name, None) for name in study.grid.datasets}
    data = {name: (spec, facts_of(load_data(spec))) for name, spec in specs.items()}
    return plan(study, data, dict.fromkeys(study.pretrainings, "key"))


def write(path: Path, rows: list[Any], schema: pa.Schema) -> None:
    """Write a table without the newer columns."""
    older = pa.schema([field for field in schema if field.name not in NEWER])
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, older), path)


@pytest.fixture
def older(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The four runs of the study, done under version 3."""
    with monkeypatch.context() as patch:
        patch.setattr("sweep.trials.RESULT_VERSION", 3)
        runs = planned(path)
    store = Store(str(tmp_path / "results"))
    store.write_plan(load_study(path, SMALL).resolved(), [])
    write(tmp_path / "results" / "plan.parquet", [run.identity() for run in runs], PLAN)
    for run in runs:
        accuracy = 0.5 + 0.1 * (run.init == "pretrained") + 0.01 * run.seed
        values: dict[str, Any] = {
            "status": "done",
            "failure": None,
            "test_accuracy": accuracy,
            "schema_version": SCHEMA_VERSION,
        }
        write(tmp_path / "results" / "runs" / f"{run.run_id}.parquet", [row(**{**values, **run.identity()})], RUNS)
        epoch = {name: 1 if name == "epoch" else 0.5 for name in EPOCHS.names} | {"run_id": run.run_id}
        write(tmp_path / "results" / "epochs" / f"{run.run_id}.parquet", [epoch], EPOCHS)
    return store


def test_it_is_read_and_reported(older: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = analysis.load(older.uri)
    assert (results.runs.height, results.unplanned, results.problems) == (4, 0, ())
    differences = analysis.compare(results).pairs["difference"].to_list()
    assert differences == pytest.approx([10.0, 10.0])
    assert report.main([older.uri, "-o", str(tmp_path / "page.html")]) == 0, capsys.readouterr().err


def test_a_new_sweep_repeats_its_runs_says_so_and_leaves_its_rows(older: Store, path: Path, tmp_path: Path) -> None:
    before = {name: older.read(f"runs/{name}") for name in older.names("runs")}
    runs = planned(path)
    assert done_runs(older, runs) == set()
    (note,) = results_of_another_version(older, runs)
    lines = sweep.plan(path, results=older.uri, overrides=SMALL, gpu="A100").lines
    assert "runs       4 planned, 0 done already, 4 to do" in lines
    assert f"note       {note}" in lines
    assert note.startswith(f"{older.uri} holds 4 runs of a release with other results: kept, ")
    assert analysis.load(older.uri).runs.height == 4, "planning changes nothing"

    older.write_plan(older.known_study(), [run.identity() for run in runs])  # as the sweep does before its first run
    results = analysis.load(older.uri)
    assert (results.runs.height, results.unplanned, results.plan.height) == (0, 4, 4)
    assert {name: older.read(f"runs/{name}") for name in older.names("runs")} == before
