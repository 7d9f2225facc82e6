"""Heartbeat files: by them other sweeps and `sweep.status` see that a sweep is running in a results folder.

A running sweep rewrites its small file every half minute and deletes it at the end. The file of a killed sweep expires
after three minutes, by the clock of the store, and the next sweep deletes it.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType

from sweep.formatting import duration
from sweep.layout import AT_WORK
from sweep.store import Store

BEAT_S = 30.0
#: Age of the last heartbeat from which on a sweep counts as ended.
STALE = timedelta(minutes=3)


@dataclass(frozen=True)
class RunningSweep:
    """A heartbeat file: which process runs the sweep, since when, and the last heartbeat by the clock of the store."""

    name: str
    host: str
    pid: int
    since: datetime
    last: datetime

    @property
    def is_gone(self) -> bool:
        """Whether the process ran on this machine and no longer exists."""
        return (
            self.host == socket.gethostname() and Path("/proc/self").exists() and not Path(f"/proc/{self.pid}").exists()
        )

    def sentence(self, who: str, now: datetime) -> str:
        """That `who` ("a sweep") has been running, since when and where."""
        since, age = self.since.strftime("%Y-%m-%d %H:%M UTC"), duration((now - self.last).total_seconds())
        by = f"process {self.pid} on {self.host}, last heartbeat {age} ago"
        return f"{who} has been running in this folder since {since} ({by})"


def running_sweeps(store: Store, now: datetime) -> list[RunningSweep]:
    """The sweeps with a heartbeat in the three minutes before `now`, without those whose process no longer exists."""
    return [sweep for sweep in _all(store) if now - sweep.last < STALE and not sweep.is_gone]


def _all(store: Store) -> Iterator[RunningSweep]:
    for info in store.infos(""):
        if info.base_name.startswith(AT_WORK) and info.base_name.endswith(".json") and info.is_file:
            try:
                content = store.read_json(info.base_name)
                since = datetime.fromtimestamp(content["since"], UTC)
                yield RunningSweep(info.base_name, str(content["host"]), int(content["pid"]), since, info.mtime)
            except (ValueError, TypeError, KeyError, OverflowError):
                continue  # half-written, or of another version


class Heartbeat:
    """Context manager that writes this process's heartbeats to a results folder. Errors of the store are ignored."""

    def __init__(self, results: str) -> None:
        self.store = Store(results)
        host = socket.gethostname()
        self.name = f"{AT_WORK}{re.sub('[^A-Za-z0-9-]', '-', host)}-{os.getpid()}.json"
        self.content = json.dumps({"host": host, "pid": os.getpid(), "since": datetime.now(UTC).timestamp()}).encode()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        with suppress(OSError):
            self.store.write(self.name, self.content)
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.ended.set()
        self.thread.join(BEAT_S)
        with suppress(OSError):
            self.store.delete(self.name)

    def others(self) -> list[str]:
        """A sentence for each other sweep that runs in the folder. Files of sweeps that ended are deleted."""
        with suppress(OSError):
            found = list(_all(self.store))
            now = max((sweep.last for sweep in found if sweep.name == self.name), default=datetime.now(UTC))
            alive = {sweep.name for sweep in running_sweeps(self.store, now)}
            for sweep in found:
                if sweep.name not in alive:
                    self.store.delete(sweep.name)
            return [s.sentence("another sweep", now) for s in found if s.name in alive - {self.name}]
        return []

    def _beat(self) -> None:
        while not self.ended.wait(BEAT_S):
            with suppress(OSError):
                self.store.write(self.name, self.content)
