"""GPU shares: Ray and the probes are real, the allocator is simulated on the CPU."""

import json
import logging
import os
from pathlib import Path

import pytest
import ray

from sweep.gpu_probe import HEADROOM, slug
from sweep.ray_session import RaySession
from sweep.run import main
from tests.support.places import ROOT
from tests.support.pretend_gpu import CONTEXT_BYTES, NAME, NEEDED_FRACTION, PEAK_BYTES, TOTAL_BYTES, install
from tests.support.sweeps import rows


@pytest.fixture
def pretended_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(session: RaySession) -> None:
        ray.init(
            address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False,
            logging_level=logging.ERROR, runtime_env={"worker_process_setup_hook": install},
        )  # fmt: skip

    monkeypatch.setattr(RaySession, "_start", start)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))


@pytest.mark.slow
def test_runs_get_the_share_and_the_stack_that_were_measured(
    small: Path, tmp_path: Path, pretended_gpu: None, capsys: pytest.CaptureFixture[str]
) -> None:
    results, seeds = tmp_path / "results", "grid.seeds=[1,2,3,4]"
    words = [str(small), "--results", str(results), "--set", 'grid.init=["scratch"]', "--set", seeds]
    assert main(words) == 0, capsys.readouterr()
    (file,) = (results / "memory").iterdir()
    assert file.name.endswith(f"-{slug(NAME)}.json")
    found = json.loads(file.read_text())
    assert [one["stack"] for one in found] == [1, 2, 4][: len(found)]
    for one in found:
        assert (one["device"], one["peak_bytes"], one["outside_bytes"]) == (NAME, PEAK_BYTES, CONTEXT_BYTES)
        assert one["step_s"] > 0
    fastest = min(found, key=lambda one: one["step_s"] / one["stack"])
    trials = min(8, int(TOTAL_BYTES / (HEADROOM * (PEAK_BYTES + 60 * 140) + CONTEXT_BYTES)))
    done = rows(results)
    assert {row["status"] for row in done} == {"done"}
    assert len(done) == 4
    # The share is too small for what training takes here, so it is made larger until it is enough.
    while 1 / trials < NEEDED_FRACTION:
        trials //= 2
    assert {row["gpu_fraction"] for row in done} == {1 / trials}
    assert {row["stacked_runs"] for row in done} == {fastest["stack"]}

    probed = file.stat().st_mtime_ns
    assert main([*words[:-1], "grid.seeds=[1,2,3,4,5]"]) == 0
    assert len(rows(results)) == 5
    assert file.stat().st_mtime_ns == probed  # remembered
