"""Ids of runs change with `RESULT_VERSION` only, so that a sweep can continue in a folder of an earlier release."""

import json
from pathlib import Path
from typing import Any

import pytest

from sweep.gpu_probe import MemoryKind
from sweep.study import load_study
from sweep.trials import DataFacts, data_spec, plan
from tests.support.places import ROOT

GOLDEN = json.loads((ROOT / "tests" / "golden" / "run_identities.json").read_text())
FACTS = DataFacts("digest", ("n", "p"), (50, 50), 64, 0, 50)


@pytest.mark.parametrize("number", range(len(GOLDEN["sets"])))
def test_ids_and_memory_kinds_are_those_of_this_result_version(tmp_path: Path, number: int) -> None:
    (tmp_path / "study.toml").write_text(GOLDEN["study"])
    study = load_study(tmp_path / "study.toml", tuple(GOLDEN["sets"][number]))
    data = {"genes": (data_spec(study, "genes", None), FACTS)}
    found: list[dict[str, Any]] = [
        {
            "model": run.model,
            "init": run.init,
            "run_id": run.run_id,
            "setting_id": run.setting_id,
            "memory_kind": MemoryKind.of(run).key,
            "set": number,
        }
        for run in plan(study, data, dict(zip(study.pretrainings, ("w1", "w2"), strict=True)))
    ]
    assert found == [run for run in GOLDEN["runs"] if run["set"] == number]
    assert len(found) == 8
