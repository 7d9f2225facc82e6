"""What the benchmarks say of the machine and ask of it: versions, clock, matrix rate, bandwidth, peak memory."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sweep.provenance import device_name


class Times(NamedTuple):
    """One call: seconds by the wall clock and seconds of CPU, all threads together."""

    wall_s: float
    cpu_s: float

    def busy_s(self, device: torch.device) -> float:
        """By the clock on a GPU, of CPU on a CPU, where others may be using it."""
        return self.wall_s if device.type == "cuda" else self.cpu_s


def clock(work: Callable[[], Any], device: torch.device) -> Times:
    """One call of `work`, the device waited for on both sides."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    wait()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wait()
    return Times(time.perf_counter() - wall, time.process_time() - cpu)


def alternate(
    works: Mapping[str, Callable[[], Any]], device: torch.device, repeats: int, warm_up: int = 2
) -> dict[str, Times]:
    """Medians of several works called in turn, so that what else the machine does meets all of them alike."""
    times: dict[str, list[Times]] = {name: [] for name in works}
    for repeat in range(repeats + warm_up):
        for name, work in works.items():
            took = clock(work, device)
            if repeat >= warm_up:
                times[name].append(took)
    return {name: Times(*map(statistics.median, zip(*values, strict=True))) for name, values in times.items()}


def matrix_rate(device: torch.device, dtype: torch.dtype, side: int | None = None) -> float:
    """FLOP/s of a square matrix product, the best of ten; on a CPU per second of CPU, as others may be using it."""
    side = side or (8192 if device.type == "cuda" else 1536)
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    took = [clock(lambda: left @ right, device) for _ in range(12)][2:]
    best = min(t.busy_s(device) for t in took)
    return 2 * side**3 / best


def bandwidth(device: torch.device, size_bytes: int = 2**28) -> float:
    """Bytes a second, read and written, of copying a large tensor; the best of ten, by the wall clock."""
    source = torch.zeros(size_bytes // 4, device=device)
    target = torch.zeros_like(source)
    return 2 * size_bytes / min(clock(lambda: target.copy_(source), device).wall_s for _ in range(10))


def peak_bytes(work: Callable[[], Any], device: torch.device) -> int:
    """Most memory held during one call beyond what was held before it (on a CPU: resident pages of the process)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what earlier calls freed would hide what this one takes
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak counts anew from here
    except (OSError, AttributeError):
        before = 0
    else:
        before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # not Linux: the peak since the process began
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def header(
    question: str, device: torch.device | None, options: argparse.Namespace, packages: Sequence[str] = ("torch",)
) -> dict[str, Any]:
    """What a result file begins with: machine, load and versions, without which no figure means anything."""
    return {
        "question": question,
        "device": device_name(device or torch.device("cpu")),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "options": {name: value for name, value in vars(options).items() if name != "output"},
    }


def add_options(parser: argparse.ArgumentParser, repeats: int) -> None:
    """The options that all training benchmarks have."""
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    parser.add_argument("--repeats", type=int, default=repeats, help="n: timed calls, after two that warm up")
    add_output(parser)


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, help="write the JSON here as well")


def finish(record: Mapping[str, Any], output: Path | None) -> None:
    """Print a record as JSON, one line a measurement, and write it where asked."""

    def shown(value: Any) -> str:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return "[\n" + ",\n".join(f"  {shown(row)}" for row in value) + "\n ]"
        return json.dumps(value, default=str)

    text = "{\n" + ",\n".join(f" {json.dumps(key)}: {shown(value)}" for key, value in record.items()) + "\n}"
    print(text)
    if output:
        output.write_text(text + "\n")
