"""The provenance of a row: versions, commit and machine. Next: `rows.py`, which records it."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import torch

#: Name of this project as it is installed.
DISTRIBUTION = "hyenadna-sweep"
#: Packages whose version can change a number.
PACKAGES = (DISTRIBUTION, "torch", "ray", "numpy", "scipy", "pyarrow", "einops", "genomic-benchmarks")


@cache
def versions() -> dict[str, str]:
    """Versions of Python, of the installed packages among `PACKAGES`, and of CUDA."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    return found


@cache
def commit() -> str | None:
    """Commit of the running code, with "-dirty" where the working tree has changes; None where it is unknown."""
    return commit_of(Path(__file__).resolve())


def commit_of(module: Path) -> str | None:
    """Commit of the project that `module`, a file of one of its packages, belongs to.

    In a checkout of this project it comes from git; where the project was installed from a repository, from the record
    of the installer. A repository that only surrounds the file does not count, such as that of another project whose
    virtual environment holds the installation.
    """
    root = module.parent.parent
    return _commit_of_checkout(root, module) if _is_ours(root) else _commit_of_installation(module)


def _is_ours(root: Path) -> bool:
    """Whether a folder is the root of a checkout of this project, by the name in its `pyproject.toml`."""
    try:
        found = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    project = found.get("project")
    return isinstance(project, dict) and project.get("name") == DISTRIBUTION


def _commit_of_checkout(root: Path, module: Path) -> str | None:
    top = _git(root, "rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != root or _git(root, "ls-files", "--error-unmatch", str(module)) is None:
        return None
    return _git(root, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or None


def _git(root: Path, *words: str) -> str | None:
    """The output of a git command in a folder; None where it fails.

    Environment variables that name another repository are ignored. A checkout that another user owns, as in a
    container, is accepted, because its code is running already.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-c", f"safe.directory={root}", "-C", str(root), *words]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True, env=environment)
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return None
    return found.stdout.strip()


def _commit_of_installation(module: Path) -> str | None:
    """The commit that the installer recorded (PEP 610), if the installed distribution contains this very file."""
    try:
        found = distribution(DISTRIBUTION)
        if not Path(str(found.locate_file(Path(module.parent.name) / module.name))).samefile(module):
            return None
        record = json.loads(found.read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, OSError, ValueError):
        return None
    commit = record.get("vcs_info", {}).get("commit_id") if isinstance(record, dict) else None
    return commit if isinstance(commit, str) else None


@cache
def cpu_name() -> str:
    """Model name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def peak_memory_bytes(device: torch.device) -> int:
    """Peak of the accelerator's allocator since its last reset; on a CPU the peak resident memory of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes * (1 if platform.system() == "Darwin" else 1024)
