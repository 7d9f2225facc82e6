"""The probe's processes: what they say is put together, and they are ended when the time is up."""

import sys

from hyena.cost.flops import BatchWork
from hyena.cost.speed_probe import SpeedProbe
from hyena.model.config import HyenaConfig

JOBS = [(BatchWork("train", HyenaConfig(d_model=8, n_layer=1, l_max=64), 4, 40), 1.0)]

#: Speaks for three processes, of one job: early and late words, and then nothing for ever.
SILENT_AT_LAST = """
import json, sys, time
asked = json.loads(sys.stdin.readline())
work = asked["jobs"][0][0]
for process, rate in ((0, 5.0), (0, 1.0), (1, 2.0), (2, 9.0)):
    print(json.dumps({"process": process, "job": 0, "work": work, "flop_per_s": rate, "busy": 1.0}), flush=True)
time.sleep(3600)
"""


def probe(script: str) -> SpeedProbe:
    return SpeedProbe((sys.executable, "-c", script))


def test_the_median_of_the_last_words_is_the_rate_and_silence_ends_with_the_budget() -> None:
    with probe(SILENT_AT_LAST) as one:
        (sample,) = one.rates(JOBS, 3, 1, budget_s=4.0)
    assert (sample.flop_per_s, sample.work) == (2.0, JOBS[0][0])
    assert one.child.returncode is not None  # it was ended


def test_processes_that_die_find_nothing() -> None:
    with probe("raise SystemExit(1)") as one:
        assert one.rates(JOBS, 2, 1, budget_s=60.0) == []


def test_real_processes_measure_real_steps() -> None:
    with SpeedProbe() as one:
        samples = one.rates(JOBS, 2, 1, budget_s=60.0)
    assert {sample.work.kind for sample in samples} == {"train", "evaluate"}
    assert all(1e5 < sample.flop_per_s < 1e12 for sample in samples)
    assert all(sample.work.batch <= 4 and sample.work.length == 40 for sample in samples)
