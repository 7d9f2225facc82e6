"""The probe's processes: their samples are combined, and they are killed when the time is up."""

import sys
from pathlib import Path

import pytest

from hyena.cost.flops import BatchWork
from hyena.cost.speed_probe import SpeedProbe
from hyena.model.config import HyenaConfig

JOBS = [(BatchWork("train", HyenaConfig(d_model=8, n_layer=1, l_max=64), 4, 40), 1.0)]

#: Reports samples of three processes for one job, an early and a late one for the first, and then hangs.
HANGS_AT_LAST = """
import json, sys, time
request = json.loads(sys.stdin.readline())
work = request["jobs"][0][0]
for process, rate in ((0, 5.0), (0, 1.0), (1, 2.0), (2, 9.0)):
    print(json.dumps({"process": process, "job": 0, "work": work, "flop_per_s": rate, "busy": 1.0}), flush=True)
time.sleep(3600)
"""


def probe(script: str) -> SpeedProbe:
    return SpeedProbe((sys.executable, "-c", script))


def test_the_rate_is_the_median_of_the_last_samples_and_waiting_ends_with_the_budget() -> None:
    with probe(HANGS_AT_LAST) as one:
        (sample,) = one.rates(JOBS, 3, 1, budget_s=4.0)
    assert (sample.flop_per_s, sample.work) == (2.0, JOBS[0][0])
    assert one.child.returncode is not None  # it was killed


def test_processes_that_exit_report_no_samples() -> None:
    with probe("raise SystemExit(1)") as one:
        assert one.rates(JOBS, 2, 1, budget_s=60.0) == []


def test_real_processes_measure_real_steps_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with SpeedProbe() as one:
        samples = one.rates(JOBS, 2, 1, budget_s=60.0)
    assert {sample.work.kind for sample in samples} == {"train", "evaluate"}
    assert all(1e5 < sample.flop_per_s < 1e12 for sample in samples)
    assert all(sample.work.batch <= 4 and sample.work.length == 40 for sample in samples)
