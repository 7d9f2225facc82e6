"""Runs measurements in a process of their own, each in its time box, and keeps each result the moment it is known.

A kernel that hangs, or a context that an illegal access has broken, must not take the rest of a rented hour with it. So
a worker process takes measurement after measurement, and is killed, with all that it started, where one fails or runs
over its box; the next one gets a new worker. Next: `__main__.py`, the command; `speed.py`, a part.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import as_json, let_go, machine
from sweep.environment import commit

#: Seconds in which a worker must have loaded PyTorch and found its device, and left which no measurement is begun.
START_S, LEAST_S = 120.0, 5.0


class Status(StrEnum):
    """What became of a measurement."""

    MEASURED = "measured"
    FAILED = "failed"
    OVER_TIME = "over its time box"
    NOT_BEGUN = "not begun"


class NotHereError(RuntimeError):
    """What is to be measured does not exist on this machine (Triton on a CPU, say): a result, and no failure."""


class WrongError(RuntimeError):
    """What was measured is not what it must be; `result` holds the figures all the same."""

    def __init__(self, reason: str, result: Mapping[str, Any]) -> None:
        super().__init__(reason)
        self.result = result


@dataclass(frozen=True)
class Setting:
    """Where measurements are taken.

    Attributes:
        device: "cuda" or "cpu".
        tiny: shapes so small that all parts end within minutes on a CPU: a rehearsal, whose figures mean nothing.
    """

    device: str = "cuda"
    tiny: bool = False

    @property
    def where(self) -> torch.device:
        return torch.device(self.device)

    def choose(self, full: Any, tiny: Any) -> Any:
        """What a GPU measures, or what the rehearsal does in its place."""
        return tiny if self.tiny else full


@dataclass(frozen=True)
class Measurement:
    """One thing to measure.

    Attributes:
        name: of its file.
        box_s: seconds after which it is given up.
        work: returns what was found, as plain values. A key "line" is what is printed of it; with "spoilt" the process
            is not to be used again.
    """

    name: str
    box_s: float
    work: Callable[[Setting], Mapping[str, Any]]


@dataclass(frozen=True)
class Answer:
    """What a worker found, or why it found nothing."""

    status: Status
    seconds: float
    result: Mapping[str, Any] | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()


def measurements_of(module: str, setting: Setting) -> list[Measurement]:
    """What the part of that module measures in this setting, what matters most first."""
    found: list[Measurement] = importlib.import_module(module).measurements(setting)
    names = [one.name for one in found]
    assert len(set(names)) == len(names), f"two measurements of {module} have one name"
    return found


def run_part(
    module: str, setting: Setting, folder: Path, limit_s: float, say: Callable[[str], None], only: Sequence[str] = ()
) -> list[Status]:
    """Take a part's measurements until all are taken or the time is up. Those that lie in `folder` are not repeated.

    Args:
        module: its name, with a function `measurements`; its last word begins the files' names.
        limit_s: seconds of the whole part.
        only: names to measure; all where it is empty.

    Returns:
        The status of each measurement asked for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part, deadline = module.rpartition(".")[2], time.monotonic() + limit_s
    wanted = [one for one in measurements_of(module, setting) if not only or one.name in only]
    statuses = []
    with Workers(module, setting, folder / f"{part}.log") as workers:
        for number, measurement in enumerate(wanted, start=1):
            path = folder / f"{part}-{measurement.name}.json"
            if _kept(path, setting):
                statuses.append(Status.MEASURED)
                say(f"{part} {number:2}/{len(wanted)}  {measurement.name}: measured before")
                continue
            left = deadline - time.monotonic()
            answer = workers.take(measurement, left) if left > LEAST_S else Answer(Status.NOT_BEGUN, 0.0)
            statuses.append(answer.status)
            if answer.status != Status.NOT_BEGUN:
                _write(path, _record(part, measurement, setting, answer, workers.machine))
            say(f"{part} {number:2}/{len(wanted)}  {_line(measurement, answer)}")
    return statuses


def _record(
    part: str, measurement: Measurement, setting: Setting, answer: Answer, found: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "part": part,
        "name": measurement.name,
        "status": answer.status,
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(answer.seconds, 2),
        "box_s": measurement.box_s,
        "tiny": setting.tiny,
        **found,
        "commit": commit(),
        "error": answer.error,
        "warnings": list(answer.warnings),
        "result": answer.result,
    }


def last_line(error: str | None) -> str:
    """Of a traceback: what went wrong."""
    return error.strip().splitlines()[-1][:200] if error else ""


def _line(measurement: Measurement, answer: Answer) -> str:
    said = (answer.result or {}).get("line", "") if answer.status == Status.MEASURED else last_line(answer.error)
    noted = f" ({len(answer.warnings)} warnings)" if answer.warnings else ""
    return f"{measurement.name}: {answer.status} in {answer.seconds:.1f} s{noted}; {' '.join(said.split())}".rstrip(
        "; "
    )


def _kept(path: Path, setting: Setting) -> bool:
    """Whether a measurement lies there already, of this kind of machine and not a rehearsal's."""
    if not path.exists():
        return False
    record = json.loads(path.read_text())
    same = record["tiny"] == setting.tiny and ("cuda" in record) == (setting.device == "cuda")
    return same and record["status"] == Status.MEASURED


def _write(path: Path, record: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    partial = path.with_suffix(".tmp")
    partial.write_text(as_json(record) + "\n")
    partial.replace(path)


class Workers:
    """The process that measures, and after its death the next."""

    def __init__(self, module: str, setting: Setting, log: Path) -> None:
        self.module, self.setting, self.log = module, setting, log
        self.machine: Mapping[str, Any] = {}
        self.context = get_context("spawn")  # CUDA does not survive a fork
        self.process: Any = None
        self.connection: Connection | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def take(self, measurement: Measurement, left_s: float) -> Answer:
        """Have one measurement taken, within its box and within what is left of the part."""
        started = time.monotonic()
        if self.process is None:
            answer = self._start(min(START_S, left_s))
            if answer is not None:
                return answer
        assert self.connection is not None
        box_s = min(measurement.box_s, left_s - (time.monotonic() - started))
        begun = time.monotonic()
        self.connection.send(measurement.name)
        answer = self._answer(box_s, begun)
        if answer.status != Status.MEASURED or (answer.result or {}).get("spoilt"):
            self._end()  # a failure may have left the device unusable
        return answer

    def _start(self, box_s: float) -> Answer | None:
        """Start a process; None where it is ready, else why it is not."""
        begun = time.monotonic()
        self.connection, other = self.context.Pipe()
        arguments = (other, self.module, self.setting, str(self.log))
        self.process = self.context.Process(target=_work, args=arguments, daemon=False)
        self.process.start()
        other.close()
        ready = self._answer(box_s, begun)
        if ready.status != Status.MEASURED:
            self._end()
            return dataclasses.replace(ready, error=f"the worker did not start: {ready.error}")
        self.machine = ready.result or {}
        return None

    def _answer(self, box_s: float, begun: float) -> Answer:
        assert self.connection is not None
        try:
            if self.connection.poll(max(0.0, box_s)):
                found: Answer = self.connection.recv()
                return found
        except (EOFError, OSError):
            self.process.join(10)
            died = f"its process died (exit code {self.process.exitcode}); see {self.log.name}"
            return Answer(Status.FAILED, time.monotonic() - begun, error=died)
        return Answer(Status.OVER_TIME, time.monotonic() - begun, error=f"given up after {box_s:.0f} s")

    def _end(self) -> None:
        """Kill the process and all that it has started."""
        if self.process is None:
            return
        if self.connection is not None:
            self.connection.close()
        self.process.join(0.5)  # one that waits for work ends by itself
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()  # where it had no group of its own yet
        self.process.join()
        self.process = self.connection = None


def _work(connection: Connection, module: str, setting: Setting, log: str) -> None:
    """A worker: says what the machine is, then takes the measurements that it is told by name."""
    os.setsid()  # so that it can be killed with all that it starts
    with Path(log).open("a", buffering=1) as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    if setting.device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is first imported
    by_name = {one.name: one for one in measurements_of(module, setting)}
    connection.send(_taken(lambda _: _device(setting), setting))
    with contextlib.suppress(EOFError):
        while True:
            name = connection.recv()
            print(f"--- {name}", flush=True)
            connection.send(_taken(by_name[name].work, setting))


def _device(setting: Setting) -> dict[str, Any]:
    if setting.device == "cpu":
        torch.set_num_threads(1)
    torch.zeros(1, device=setting.where)
    packages = ["torch", *(name for name in ("triton", "ray") if importlib.util.find_spec(name))]
    return machine(setting.where, packages)


def _taken(work: Callable[[Setting], Mapping[str, Any]], setting: Setting) -> Answer:
    started = time.monotonic()
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        try:
            status, result, error = Status.MEASURED, dict(work(setting)), None
        except NotHereError as reason:
            status, result, error = Status.MEASURED, {"line": f"not here: {reason}", "not_here": str(reason)}, None
        except WrongError as wrong:
            status, result, error = Status.FAILED, dict(wrong.result), str(wrong)
        except Exception:
            status, result, error = Status.FAILED, None, traceback.format_exc()
    said = tuple(dict.fromkeys(f"{one.category.__name__}: {one.message}" for one in noted))[:20]
    print(error or "", flush=True)
    if status == Status.MEASURED:
        let_go()
    return Answer(status, time.monotonic() - started, result, error, said)
