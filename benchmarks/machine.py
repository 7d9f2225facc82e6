"""Measurements of the machine for the benchmarks: versions, timers, matrix rate, bandwidth, peak memory."""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from hyena.device import is_out_of_memory, wait_for
from sweep.environment import device_name

Result = TypeVar("Result")


class Times(NamedTuple):
    """One call: wall-clock seconds, and CPU seconds of all threads together."""

    wall_s: float
    cpu_s: float

    def busy_s(self, device: torch.device) -> float:
        """Wall-clock seconds on a GPU; CPU seconds on a CPU, which other programs may be using."""
        return self.wall_s if device.type == "cuda" else self.cpu_s


def clock(work: Callable[[], Any], device: torch.device) -> Times:
    """One call of `work`, synchronised with the device before and after."""

    wait_for(device)
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wait_for(device)
    return Times(time.perf_counter() - wall, time.process_time() - cpu)


def alternate(
    works: Mapping[str, Callable[[], Any]], device: torch.device, repeats: int, warm_up: int = 2
) -> dict[str, Times]:
    """Medians of several works called in turn, so that other load on the machine affects all of them alike."""
    times: dict[str, list[Times]] = {name: [] for name in works}
    for repeat in range(repeats + warm_up):
        for name, work in works.items():
            took = clock(work, device)
            if repeat >= warm_up:
                times[name].append(took)
    return {name: Times(*map(statistics.median, zip(*values, strict=True))) for name, values in times.items()}


def queued_s(work: Callable[[], Any], device: torch.device, repeats: int, calls: int = 1) -> float:
    """Median seconds of a call where `calls` follow each other without a wait, as training steps do.

    On a GPU by the clock, from an idle device until it is idle again; of CPU on a CPU. Two rounds warm up.
    """

    def several() -> None:
        for _ in range(calls):
            work()

    return statistics.median([clock(several, device).busy_s(device) for _ in range(repeats + 2)][2:]) / calls


#: Bytes that are written before each replay, so that its inputs are not in the GPU's own cache (50 MB on an H100).
FLUSHED_BYTES = 2**28


def replayed_s(work: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Median seconds that a GPU itself takes for `work`, replayed as a CUDA graph; on a CPU as `queued_s`.

    A graph leaves out what the host takes to start each kernel, which is most of the time of short ones. `work` must
    not wait for the device, and must find its inputs where they were.
    """
    if device.type != "cuda":
        return queued_s(work, device, repeats)
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()  # keeps its memory from being reused
    flushed = torch.empty(FLUSHED_BYTES, dtype=torch.uint8, device=device)
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats + 2)]
    for start, end in pairs:
        flushed.zero_()
        start.record()
        graph.replay()
        end.record()
    wait_for(device)
    del result
    return statistics.median(start.elapsed_time(end) / 1e3 for start, end in pairs[2:])


def matrix_rate(device: torch.device, dtype: torch.dtype, side: int | None = None) -> float:
    """FLOP/s of a square matrix product: the median on a GPU; the best of ten on a CPU, as others may be using it."""
    side = side or (8192 if device.type == "cuda" else 1536)
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    if device.type == "cuda":
        return 2 * side**3 / replayed_s(lambda: left @ right, device, repeats=20)
    return 2 * side**3 / min(clock(lambda: left @ right, device).cpu_s for _ in range(12))


def bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, of copying a large tensor: medians and clocks as in `matrix_rate`."""
    size_bytes = 2**32 if device.type == "cuda" else 2**28
    source = torch.rand(size_bytes // 4, device=device)
    target = torch.zeros_like(source)
    if device.type == "cuda":
        return 2 * size_bytes / replayed_s(lambda: target.copy_(source), device, repeats=20)
    return 2 * size_bytes / min(clock(lambda: target.copy_(source), device).wall_s for _ in range(10))


def let_go() -> None:
    """Free unused memory, so that the next measurement can use it."""
    gc.collect()
    torch.cuda.empty_cache()  # does nothing without CUDA


def if_it_fits(attempt: Callable[[], Result]) -> Result | None:
    """What `attempt` returns, or None if the device runs out of memory; its memory is freed in either case."""
    try:
        return attempt()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None
    finally:
        let_go()


def peak_bytes(work: Callable[[], Any], device: torch.device) -> int:
    """Most memory held during one call beyond what was held before it (on a CPU: resident pages of the process)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        ctypes.CDLL(None).malloc_trim(0)  # memory freed by earlier calls would hide what this one allocates
        Path("/proc/self/clear_refs").write_text("5")  # Linux: resets the peak
    except (OSError, AttributeError):
        before = 0
    else:
        before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # not Linux: the peak since the process started
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def header(
    question: str, device: torch.device | None, options: argparse.Namespace, packages: Sequence[str] = ("torch",)
) -> dict[str, Any]:
    """What a result file begins with: the question, the machine and the options."""
    return {
        "question": question,
        **machine(device or torch.device("cpu"), packages),
        "options": {name: value for name, value in vars(options).items() if name != "output"},
    }


def machine(device: torch.device, packages: Sequence[str] = ("torch",)) -> dict[str, Any]:
    """Hardware, load and versions, without which a figure means nothing."""
    found = {
        "device": device_name(device),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "device_bytes": properties.total_memory,
            "multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
            "driver": driver(),
        }
    return found


def driver() -> str | None:
    """Version of the NVIDIA driver and the current clocks from `nvidia-smi`; None if it fails."""
    query = "driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit"
    try:
        command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def add_options(parser: argparse.ArgumentParser, repeats: int) -> None:
    """The options that all training benchmarks have."""
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    parser.add_argument("--repeats", type=int, default=repeats, help="n: timed calls, after two that warm up")
    add_output(parser)


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, help="write the JSON here as well")


def as_json(record: Mapping[str, Any]) -> str:
    """A record as JSON, one line a key and one a measurement."""

    def shown(value: Any) -> str:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return "[\n" + ",\n".join(f"  {shown(row)}" for row in value) + "\n ]"
        return json.dumps(value, default=str)

    return "{\n" + ",\n".join(f" {json.dumps(key)}: {shown(value)}" for key, value in record.items()) + "\n}"


def finish(record: Mapping[str, Any], output: Path | None) -> None:
    """Print a record as JSON, and write it to the output file if there is one."""
    text = as_json(record)
    print(text)
    if output:
        output.write_text(text + "\n")
