"""A new training value takes one edit: a field added to `recipe.py` appears everywhere that is derived from it."""

import subprocess
import sys

from tests.support.places import ROOT

BEFORE = "\n    def __post_init__(self) -> None:\n        require_ranges(self)\n        if self.batching"
FIELD = """    smoothing: Annotated[
        float, Range(ge=0, lt=1), Value("label smoothing", "fraction", affects=("data", "memory"))
    ] = 0.0
"""
#: Installs the changed source as `hyena.training.recipe` before anything imports it, then checks what is derived.
PROGRAM = """
import dataclasses, sys, types
from datetime import UTC, datetime
from pathlib import Path

recipe = types.ModuleType("hyena.training.recipe")
sys.modules["hyena.training.recipe"] = recipe
exec(compile(sys.stdin.read(), "recipe.py", "exec"), recipe.__dict__)

from sweep.schema import HYPERPARAMETERS, RUNS
assert "torch" not in sys.modules
field = RUNS.field("smoothing")
assert (str(field.type), field.nullable, field.metadata[b"meaning"], field.metadata[b"unit"]) == (
    "double", False, b"label smoothing", b"fraction")
assert HYPERPARAMETERS[-2:] == ("smoothing", "split_seed")

import torch
from hyena.training.recipe import TrainingConfig
from sweep.gpu_probe import MemoryKind
from sweep.resources import Share
from sweep.rows import Circumstances, failed_row
from sweep.study import load_study
from sweep.trials import data_spec, DataFacts, plan

study = load_study(Path(sys.argv[1]), ('grid.smoothing=[0.0, 0.5]', 'grid.init=["scratch"]', 'grid.seeds=[1]'))
facts = DataFacts("digest", ("n", "p"), (50, 50), 64, 0, 50)
runs = plan(study, {name: (data_spec(study, name, None), facts) for name in study.grid.datasets}, {})
one = next(run for run in runs if run.training.smoothing == 0)
other = next(run for run in runs if run.training.smoothing == 0.5)
assert dataclasses.replace(other.training, smoothing=0.0) == one.training
assert one.run_id != other.run_id and one.setting_id != other.setting_id
assert MemoryKind.of(one).key != MemoryKind.of(other).key
where = Circumstances(Share(1, 0.0, 1), torch.device("cpu"), 1, datetime.now(UTC), None)
assert failed_row(other, "because", where)["smoothing"] == 0.5

from analysis.statistics import groups
assert "smoothing" in groups.HYPERPARAMETERS
print("known everywhere")
"""


def run(source: str) -> subprocess.CompletedProcess[str]:
    study = str(ROOT / "studies" / "quickstart.toml")
    command = [sys.executable, "-c", PROGRAM, study]
    return subprocess.run(command, input=source, capture_output=True, text=True, cwd=ROOT, check=False)


def recipe_with(field: str) -> str:
    source = (ROOT / "hyena" / "training" / "recipe.py").read_text()
    assert source.count(BEFORE) == 1
    return source.replace(BEFORE, field + BEFORE)


def test_a_new_value_is_known_everywhere() -> None:
    done = run(recipe_with(FIELD))
    assert done.stdout == "known everywhere\n", done.stderr


def test_a_new_value_that_does_not_declare_what_it_affects_is_refused() -> None:
    forgetful = FIELD.replace(', affects=("data", "memory")', "")
    assert "missing 1 required keyword-only argument: 'affects'" in run(recipe_with(forgetful)).stderr
    for bare in ("float", "Annotated[float, Range(ge=0, lt=1)]"):
        refused = run(recipe_with(f"    smoothing: {bare} = 0.0\n"))
        assert "TrainingConfig.smoothing is not annotated with a Value" in refused.stderr
