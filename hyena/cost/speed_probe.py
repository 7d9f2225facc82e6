"""How fast this machine trains when it trains as many runs at once as it will, found within a few seconds.

Runs that share a machine share its memory and its clock. So processes as many as a sweep would have work through the
same list at the same time, each with the threads of a run. They say what they have found as they find it, and are ended
when the time is up. Next: `step_rates.py`, what one of them measures.

`python -m hyena.speed_probe` starts these processes; `SpeedProbe` talks to it through its standard streams.
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

#: Seconds of a probe in all, and those before its end after which no step is begun.
BUDGET_S, END_S = 5.0, 0.2
ROOT = Path(__file__).resolve().parent.parent


class SpeedProbe:
    """The processes that measure. They load PyTorch while the caller reads what it will ask about."""

    def __init__(self, command: Sequence[str] = (sys.executable, "-m", "hyena.cost.speed_probe")) -> None:
        """`command`: what takes the steps; it reads one line, and writes one for each rate."""
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # so that all that it starts can be ended with it
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
        """Measure with so many processes at once, of so many threads each; over after `budget_s` whatever happens.

        Args:
            jobs: what most of the work is comes first.

        Returns:
            One sample for each batch and kind that was reached: the median of the processes. None where none came far.
        """
        deadline = time.monotonic() + budget_s
        asked = {
            "jobs": [[dataclasses.asdict(work), share] for work, share in jobs],
            "processes": processes,
            "threads": threads,
            "device": device_type,
            "deadline": deadline - END_S,
        }
        said: queue.Queue[str] = queue.Queue()
        assert self.child.stdin is not None
        with suppress(OSError):  # it has ended already, and its silence says so
            self.child.stdin.write(json.dumps(asked) + "\n")
            self.child.stdin.flush()
        threading.Thread(target=_listen, args=(self.child, said), daemon=True).start()
        return _gathered(said, deadline)


def _listen(child: subprocess.Popen[str], said: queue.Queue[str]) -> None:
    """Pass on what a process says, and an empty line when it has ended."""
    assert child.stdout is not None
    with suppress(ValueError):  # closed, for nobody listens any more
        for line in child.stdout:
            said.put(line)
    said.put("")


def _gathered(said: queue.Queue[str], deadline: float) -> list[Sample]:
    """The last word of each process on each batch, up to the deadline."""
    found: dict[tuple[int, Kind], dict[int, Sample]] = {}
    while True:
        try:
            line = said.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        if not line:
            break
        values = json.loads(line)
        sample = Sample(_work(values["work"]), values["flop_per_s"], values["busy"])
        found.setdefault((values["job"], sample.work.kind), {})[values["process"]] = sample
    return [_median(list(samples.values())) for samples in found.values()]


def _median(samples: Sequence[Sample]) -> Sample:
    """Of one batch, by the processes that measured it at the same time."""
    middle = sorted(samples, key=lambda sample: sample.flop_per_s)[len(samples) // 2]
    return dataclasses.replace(middle, flop_per_s=statistics.median(sample.flop_per_s for sample in samples))


def _work(values: dict[str, Any]) -> BatchWork:
    return BatchWork(**{**values, "config": HyenaConfig(**values["config"])})


def main() -> None:
    """Read what is asked, and let so many processes work on it at once, each writing a line for every rate it finds.

    They are copies of this one, which has loaded all that a step needs and taken a small one, so they begin together
    and at once. It has no threads, which a copy would lack.
    """
    torch.set_num_threads(1)
    tiny = BatchWork("train", HyenaConfig(d_model=8, n_layer=1, l_max=16), batch=1, length=8)
    RealSteps(tiny, torch.device("cpu")).step(1, 8)
    asked = json.loads(sys.stdin.readline())
    others = []
    for process in range(1, asked["processes"]):
        other = os.fork()
        if other == 0:
            try:
                _work_on(asked, process)
            finally:
                os._exit(0)
        others.append(other)
    _work_on(asked, 0)
    for other in others:
        os.waitpid(other, 0)


def _work_on(asked: dict[str, Any], process: int) -> None:
    torch.set_num_threads(asked["threads"])
    device, current = torch.device(asked["device"]), -1

    def make(work: BatchWork) -> RealSteps:
        nonlocal current
        current += 1
        return RealSteps(work, device)

    measuring = Measuring(make, asked["deadline"], asked["threads"] if device.type == "cpu" else 0)
    for sample in measuring.samples([(_work(values), share) for values, share in asked["jobs"]]):
        found = {"process": process, "job": current, **dataclasses.asdict(sample)}
        os.write(sys.stdout.fileno(), (json.dumps(found) + "\n").encode())  # whole lines, whoever else writes


if __name__ == "__main__":
    main()
