"""The number of processor cores that this process may use: on a shared machine, fewer than the machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

#: Environment variables in which a batch system states how many cores of this node it granted. Most systems also bind a
#: job to its cores, which shows in the CPU affinity; for those that do not, these variables are the only source.
GRANTS = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "NSLOTS", "LSB_DJOB_NUMPROC")


@dataclass(frozen=True)
class GrantedCores:
    """Cores that this process may use.

    Attributes:
        count: whole cores, at least 1.
        machine: cores of the machine.
        limited_by: what limits the count to fewer than the machine has; empty if nothing does.
    """

    count: int
    machine: int
    limited_by: str = ""


def granted_cores(
    proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup"), environment: Mapping[str, str] = os.environ
) -> GrantedCores:
    """The smallest of the machine's cores, the CPU affinity, the control groups' quotas and a batch system's grant.

    Args:
        proc: where the proc file system is mounted.
        cgroups: where control groups are mounted, of version 1 or 2.
    """
    machine = os.cpu_count() or 1
    limits = [(_affinity(machine), "CPU affinity"), *_quotas(proc, cgroups), *_grants(environment)]
    count, limited_by = min(limits, key=lambda limit: limit[0])
    return GrantedCores(count, machine, limited_by) if count < machine else GrantedCores(machine, machine)


def _affinity(machine: int) -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine


def _quotas(proc: Path, cgroups: Path) -> Iterator[tuple[int, str]]:
    """The quota of each control group that this process is in, from its own up to the root."""
    try:
        memberships = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in memberships:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            mounts, read = (cgroups, cgroups / "unified"), _quota_of_version_2
        elif "cpu" in controllers.split(","):
            mounts, read = (cgroups / controllers, cgroups / "cpu"), _quota_of_version_1
        else:
            continue
        own = Path(path.lstrip("/"))
        for mount in mounts:
            for group in (own, *own.parents):  # in a container, the process's own group may be mounted as the root
                cores = read(mount / group)
                if cores is not None:
                    yield max(1, int(cores)), "cgroup quota"


def _quota_of_version_2(group: Path) -> float | None:
    """From `cpu.max`: "QUOTA PERIOD" in microseconds, or "max PERIOD" for no quota."""
    words = _words(group / "cpu.max")
    return _ratio(words[0], words[1]) if len(words) == 2 else None


def _quota_of_version_1(group: Path) -> float | None:
    """From `cpu.cfs_quota_us`, -1 for no quota, and `cpu.cfs_period_us`."""
    words = [*_words(group / "cpu.cfs_quota_us"), *_words(group / "cpu.cfs_period_us")]
    return _ratio(words[0], words[1]) if len(words) == 2 else None


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except (OSError, ValueError):
        return []


def _ratio(quota: str, period: str) -> float | None:
    if quota.isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0:
        return int(quota) / int(period)
    return None


def _grants(environment: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    for name in GRANTS:
        value = environment.get(name, "")
        if value.isdecimal() and 0 < int(value) < 1_000_000:
            yield int(value), name
