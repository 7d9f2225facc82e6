"""The training speed of this machine with as many concurrent runs as a sweep would have, measured in a few seconds.

Concurrent runs share the memory bandwidth and the clock rate of a machine. So as many processes as a sweep would have
work through the same list at the same time, each with the threads of a run. They report each result at once, and are
killed when the time is up. Next: `step_rates.py`, what each process measures.

`python -m hyena.cost.speed_probe` starts these processes; `SpeedProbe` talks to it through its standard streams.
"""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from hyena.cost.flops import BatchWork, Kind
from hyena.cost.step_rates import Jobs, Measuring, RealSteps, Sample
from hyena.model.config import HyenaConfig

#: Seconds of a whole probe, and of its end in which no step starts.
BUDGET_S, END_S = 5.0, 0.2
#: The folder that contains the package `hyena`.
ROOT = Path(__file__).resolve().parents[2]


class SpeedProbe:
    """The measuring processes. They load PyTorch while the caller prepares the list of jobs."""

    def __init__(self, command: Sequence[str] = (sys.executable, "-m", "hyena.cost.speed_probe")) -> None:
        """`command`: the measuring program; it reads one line, and writes one line per sample."""
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # so that its children can be killed with it
        )

    def __enter__(self) -> SpeedProbe:
        return self

    def __exit__(self, *raised: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()

    def rates(
        self, jobs: Jobs, processes: int, threads: int, device_type: str = "cpu", budget_s: float = BUDGET_S
    ) -> list[Sample]:
        """Measure in that many processes at once, with that many threads each; returns after at most `budget_s`.

        Args:
            jobs: those with the most work first.

        Returns:
            One sample for each batch and kind that was reached: the median of the processes. May be empty.
        """
        deadline = time.monotonic() + budget_s
        request = {
            "jobs": [[dataclasses.asdict(work), share] for work, share in jobs],
            "processes": processes,
            "threads": threads,
            "device": device_type,
            "deadline": deadline - END_S,
        }
        lines: queue.Queue[str] = queue.Queue()
        assert self.child.stdin is not None
        with suppress(OSError):  # it has ended already, which the reader notices
            self.child.stdin.write(json.dumps(request) + "\n")
            self.child.stdin.flush()
        threading.Thread(target=_listen, args=(self.child, lines), daemon=True).start()
        return _gathered(lines, deadline)


def _listen(child: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    """Put each line of a process into the queue, and an empty line when it has ended."""
    assert child.stdout is not None
    with suppress(ValueError):  # closed by the caller
        for line in child.stdout:
            lines.put(line)
    lines.put("")


def _gathered(lines: queue.Queue[str], deadline: float) -> list[Sample]:
    """The last sample of each process for each batch, up to the deadline."""
    found: dict[tuple[int, Kind], dict[int, Sample]] = {}
    while True:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        if not line:
            break
        values = json.loads(line)
        sample = Sample(_work(values["work"]), values["flop_per_s"], values["busy"])
        found.setdefault((values["job"], sample.work.kind), {})[values["process"]] = sample
    return [_median(list(samples.values())) for samples in found.values()]


def _median(samples: Sequence[Sample]) -> Sample:
    """Of the samples that processes took of one batch at the same time."""
    middle = sorted(samples, key=lambda sample: sample.flop_per_s)[len(samples) // 2]
    return dataclasses.replace(middle, flop_per_s=statistics.median(sample.flop_per_s for sample in samples))


def _work(values: dict[str, Any]) -> BatchWork:
    return BatchWork(**{**values, "config": HyenaConfig(**values["config"])})


def main() -> None:
    """Read a request and measure in that many processes at once, each of which writes a line per sample.

    The processes are forked from this one after it has imported everything and taken a small step, so they start
    together and at once. It has no threads, which a fork would not copy.
    """
    torch.set_num_threads(1)
    tiny = BatchWork("train", HyenaConfig(d_model=8, n_layer=1, l_max=16), batch=1, length=8)
    RealSteps(tiny, torch.device("cpu")).step(1, 8)
    request = json.loads(sys.stdin.readline())
    others = []
    for process in range(1, request["processes"]):
        other = os.fork()
        if other == 0:
            try:
                _measure(request, process)
            finally:
                os._exit(0)
        others.append(other)
    _measure(request, 0)
    for other in others:
        os.waitpid(other, 0)


def _measure(request: dict[str, Any], process: int) -> None:
    torch.set_num_threads(request["threads"])
    device, current = torch.device(request["device"]), -1

    def make(work: BatchWork) -> RealSteps:
        nonlocal current
        current += 1
        return RealSteps(work, device)

    measuring = Measuring(make, request["deadline"], request["threads"] if device.type == "cpu" else 0)
    for sample in measuring.samples([(_work(values), share) for values, share in request["jobs"]]):
        found = {"process": process, "job": current, **dataclasses.asdict(sample)}
        line = (json.dumps(found) + "\n").encode()
        os.write(sys.stdout.fileno(), line)  # in one call, so that the lines of several processes do not mix


if __name__ == "__main__":
    main()
