"""The result tables: columns never change, and the types of rows agree with the schemas."""

import csv
import dataclasses
import subprocess
import sys
from datetime import UTC, datetime
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pyarrow as pa
import pytest
import torch

from hyena.ranges import INT32, bounds_of
from hyena.training.recipe import TRAINING_VALUES, TrainingConfig
from sweep import schema
from sweep.resources import Share
from sweep.rows import Circumstances, failed_row
from sweep.schema import (
    EPOCHS,
    HYPERPARAMETERS,
    PLAN,
    PREDICTIONS,
    PRETRAINING,
    RUNS,
    EpochRow,
    PlanRow,
    PredictionColumns,
    PretrainingRow,
    RunRow,
)
from tests.support.places import ROOT
from tests.support.runs import RUN

ROWS = [(PlanRow, PLAN), (RunRow, RUNS), (EpochRow, EPOCHS), (PredictionColumns, PREDICTIONS),
        (PretrainingRow, PRETRAINING)]  # fmt: skip
#: Python types of the values of each column type.
PYTHON = {"string": str, "double": float, "int32": int, "int64": int, "timestamp[ms, tz=UTC]": datetime,
          "list<item: list<item: int64>>": list[list[int]], "map<string, string>": list[tuple[str, str]]}  # fmt: skip


def plain(annotation: Any) -> Any:
    """A type without its metadata."""
    if get_origin(annotation) is Annotated:
        return plain(get_args(annotation)[0])
    parts = get_args(annotation)
    if NoneType in parts:
        return next(plain(part) for part in parts if part is not NoneType) | None
    return annotation


@pytest.mark.parametrize("table", ["PLAN", "RUNS", "EPOCHS", "PREDICTIONS", "PRETRAINING"])
def test_columns_are_those_of_all_earlier_results(table: str) -> None:
    with (ROOT / "tests" / "golden" / "result_tables.csv").open() as file:
        frozen = [
            (row["column"], row["type"], row["nullable"]) for row in csv.DictReader(file) if row["table"] == table
        ]
    assert frozen
    assert [(f.name, str(f.type), str(f.nullable).lower()) for f in getattr(schema, table)] == frozen


def test_every_training_value_is_a_column_that_says_what_the_recipe_says() -> None:
    for name, value in TRAINING_VALUES.items():
        metadata = RUNS.field(name).metadata
        assert (metadata[b"meaning"].decode(), metadata[b"unit"].decode()) == (value.meaning, value.unit)
        bounds = bounds_of(TrainingConfig).get(name)
        assert RUNS.field(name).type != pa.int32() or (bounds is not None and bounds.le <= INT32)
    assert (*(name for name in TRAINING_VALUES if name != "epochs"), "split_seed") == HYPERPARAMETERS


@pytest.mark.parametrize(("row", "table"), ROWS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_row_has_the_keys_and_types_of_its_table(row: type, table: pa.Schema) -> None:
    keys = list(get_type_hints(row))
    training = [field.name for field in dataclasses.fields(TrainingConfig) if field.name not in keys]
    assert keys == [name for name in table.names if row is not RunRow or name not in training]
    if row is RunRow:
        place = table.names.index("split_seed") + 1
        assert table.names[place : place + len(training)] == training
    if row is not PredictionColumns:  # whole columns: NumPy's and pyarrow's types
        for name, annotation in get_type_hints(row, include_extras=True).items():
            field = table.field(name)
            wanted = PYTHON[str(field.type)]
            assert plain(annotation) == (wanted | None if field.nullable else wanted), name


def test_a_failed_row_has_every_column_and_no_measure() -> None:
    where = Circumstances(Share(1, 0.0, 1), torch.device("cpu"), 1, datetime.now(UTC), None)
    row = failed_row(RUN, "because", where)
    assert set(row) == set(RUNS.names)
    filled = {"failure", "peak_memory_bytes"}
    assert {name for name, value in row.items() if value is None} == {f.name for f in RUNS if f.nullable} - filled
    pa.Table.from_pylist([row], schema=RUNS).validate(full=True)


def test_the_schema_loads_neither_torch_nor_ray() -> None:
    code = "import sys, sweep.schema; print(sorted({'torch', 'ray', 'polars', 'pydantic'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert found.stdout.strip() == "[]"
