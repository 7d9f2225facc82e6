"""A simulated study as the results folder that a sweep would have left.

    python -m tests.support.simulated_folders growing FOLDER --controls
    python -m analysis.report FOLDER

Predictions are written where the test examples are a sample. Next: `tests/support/simulated_studies.py`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sweep.layout import PLAN_FILE, STUDY
from sweep.schema import EPOCHS, PLAN, PREDICTIONS, PRETRAINING, RUNS
from tests.support.scenario import layout, plan_rows
from tests.support.simulated_studies import Study, always_wrong, draw, edges, study_record
from tests.support.study_scenarios import FOUR_ARMS, SCENARIOS
from tests.support.synthetic_results import epoch_rows, pretraining_rows, write_table


def write_study(folder: Path, study: Study, rng: np.random.Generator) -> Path:
    """Write a study; `rng` draws what the study leaves open: earlier epochs, and which examples a run has right."""
    scenario = study.scenario
    for table in ("runs", "epochs", "predictions", "pretraining"):
        (folder / table).mkdir(parents=True, exist_ok=True)
    (folder / STUDY).write_text(json.dumps(study_record(scenario)))
    rows = plan_rows(scenario)
    pq.write_table(pa.Table.from_pylist(rows, PLAN), folder / PLAN_FILE)
    runs = study.results().runs.to_arrow()
    done = (row for row in rows if row["_is_done"])
    for index, (row, accuracy) in enumerate(zip(done, study.accuracy, strict=True)):
        write_table(folder / "epochs", row["run_id"], epoch_rows(row, float(accuracy), rng), EPOCHS)
        if study.examples:
            write_predictions(folder / "predictions", study, index, row, rng)
        pq.write_table(_as_runs(runs.slice(index, 1)), folder / "runs" / f"{row['run_id']}.parquet")
    for model in scenario.models:
        write_table(folder / "pretraining", model, pretraining_rows(model), PRETRAINING)
    return folder


def _as_runs(table: pa.Table) -> pa.Table:
    """The table with the types of RUNS."""
    return pa.Table.from_pylist(table.to_pylist(), RUNS)


def write_predictions(folder: Path, study: Study, index: int, row: dict[str, Any], rng: np.random.Generator) -> None:
    right = correct_examples(study, index, rng)
    labels = np.arange(len(right)) % 2
    chosen = np.where(right, labels, 1 - labels)
    logits = np.zeros((len(right), 2), np.float32)
    logits[np.arange(len(right)), chosen] = 1
    columns = {
        "run_id": pa.array([row["run_id"]] * len(right)),
        "example": pa.array(np.arange(len(right)), pa.int32()),
        "label": pa.array(labels, pa.int16()),
        "logits": pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), 2).cast(pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns, PREDICTIONS), folder / f"{row['run_id']}.parquet")


def correct_examples(study: Study, index: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which examples a run has right: as many as its accuracy says, of the kinds that its arm can have right."""
    scenario, rows = study.scenario, layout(study.scenario)
    sets = scenario.test_sets
    assert sets is not None
    d, m, is_treated = int(rows.dataset[index]), int(rows.model[index]), int(rows.share[index] > 0.5)
    kinds, error = study.examples[d], sets.errors[d]
    wrong = int(always_wrong(study.benefit[d] / 100, sets.separating * error, kinds)[is_treated, m])
    only_treated = len(np.unique(edges(study.benefit[d] / 100, sets.separating * error)[0]))
    start = int(kinds[: only_treated if is_treated else 0].sum())
    right = np.ones(sets.sizes[d], bool)
    right[start : start + wrong] = False
    tosses = int(kinds[:-2].sum())
    tails = round((1 - study.accuracy[index]) * len(right)) - wrong
    right[tosses + rng.choice(int(kinds[-2]), tails, replace=False)] = False
    return right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    parser.add_argument("--controls", action="store_true", help="with the arms shuffled and frozen")
    arguments = parser.parse_args()
    scenario, rng = SCENARIOS[arguments.scenario], np.random.default_rng(arguments.seed)
    scenario = replace(scenario, arms=FOUR_ARMS) if arguments.controls else scenario
    write_study(arguments.folder, draw(scenario, rng), rng)


if __name__ == "__main__":
    main()
