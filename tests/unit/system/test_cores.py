"""The number of granted cores, from mock proc and cgroup file systems."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from hyena.system.cores import GrantedCores, granted_cores

NOTHING: Mapping[str, str] = {}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 cores, all of which this process may run on."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)


def member(root: Path, line: str) -> tuple[Path, Path]:
    """A proc file system where this process is a member of one control group, and where groups are mounted."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "self" / "cgroup").write_text(f"12:pids:/\n{line}\n")
    return root / "proc", root / "cgroup"


def put(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def test_all_cores_without_limits(tmp_path: Path) -> None:
    assert granted_cores(tmp_path, tmp_path, NOTHING) == GrantedCores(64, 64, "")


def test_the_affinity_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7})
    assert granted_cores(tmp_path, tmp_path, NOTHING) == GrantedCores(3, 64, "CPU affinity")


def test_a_system_without_affinity_has_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert granted_cores(tmp_path, tmp_path, NOTHING).count == 64


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("400000 100000", 4), ("450000 100000", 4), ("50000 100000", 1), ("max 100000", 64), ("", 64), ("x y", 64),
     ("0 0", 64), ("9900000 100000", 64)],
)  # fmt: skip
def test_a_quota_of_version_2_limits(tmp_path: Path, quota: str, cores: int) -> None:
    proc, cgroups = member(tmp_path, "0::/slurm/job_7/step_0")
    put(cgroups / "slurm" / "job_7" / "step_0", cpu__max=quota)
    assert granted_cores(proc, cgroups, NOTHING).count == cores


def test_the_smallest_quota_up_to_the_root_limits(tmp_path: Path) -> None:
    proc, cgroups = member(tmp_path, "0::/slurm/job_7/step_0")
    put(cgroups / "slurm" / "job_7" / "step_0", cpu__max="800000 100000")
    put(cgroups / "slurm" / "job_7", cpu__max="200000 100000")
    put(cgroups, cpu__max="max 100000")
    assert granted_cores(proc, cgroups, NOTHING) == GrantedCores(2, 64, "cgroup quota")


def test_a_container_finds_its_own_group_at_the_root(tmp_path: Path) -> None:
    proc, cgroups = member(tmp_path, "0::/system.slice/docker-0123.scope")  # as the host calls it
    put(cgroups, cpu__max="300000 100000")
    assert granted_cores(proc, cgroups, NOTHING).count == 3


@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
def test_a_quota_of_version_1_limits(tmp_path: Path, mount: str) -> None:
    proc, cgroups = member(tmp_path, "4:cpu,cpuacct:/docker/0123")
    put(cgroups / mount / "docker" / "0123", cpu__cfs_quota_us="250000", cpu__cfs_period_us="50000")
    assert granted_cores(proc, cgroups, NOTHING) == GrantedCores(5, 64, "cgroup quota")


def test_no_quota_of_version_1_is_none(tmp_path: Path) -> None:
    proc, cgroups = member(tmp_path, "4:cpu:/")
    put(cgroups / "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert granted_cores(proc, cgroups, NOTHING).count == 64


@pytest.mark.parametrize("name", ["SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "NSLOTS", "LSB_DJOB_NUMPROC"])
def test_a_batch_system_that_binds_no_cores_limits(tmp_path: Path, name: str) -> None:
    assert granted_cores(tmp_path, tmp_path, {name: "8"}) == GrantedCores(8, 64, name)


@pytest.mark.parametrize("value", ["", "0", "-4", "many", "4(x2)", "128"])
def test_an_invalid_grant_limits_nothing(tmp_path: Path, value: str) -> None:
    assert granted_cores(tmp_path, tmp_path, {"SLURM_CPUS_ON_NODE": value}) == GrantedCores(64, 64, "")


def test_the_smallest_limit_applies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)))
    proc, cgroups = member(tmp_path, "0::/")
    put(cgroups, cpu__max="500000 100000")
    assert granted_cores(proc, cgroups, {"SLURM_CPUS_PER_TASK": "7"}) == GrantedCores(5, 64, "cgroup quota")
