"""A sign of life in the results folder while a sweep is at work there, for another one and `sweep.status` to see.

It is a small file that is written anew every half minute and deleted at the end. What a killed sweep leaves is past
belief after three minutes, by the clock of the store, and is deleted by the next sweep.
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
#: Age of the last sign of life from which on a sweep counts as ended.
STALE = timedelta(minutes=3)


@dataclass(frozen=True)
class Sign:
    """What one sweep says of itself, and when it did so last, by the clock of the store."""

    name: str
    host: str
    pid: int
    since: datetime
    last: datetime

    @property
    def is_gone(self) -> bool:
        """Whether the process was one of this machine and exists no more."""
        return (
            self.host == socket.gethostname() and Path("/proc/self").exists() and not Path(f"/proc/{self.pid}").exists()
        )

    def words(self, who: str, now: datetime) -> str:
        since, age = self.since.strftime("%Y-%m-%d %H:%M UTC"), duration((now - self.last).total_seconds())
        by = f"process {self.pid} on {self.host}, last sign of life {age} ago"
        return f"{who} has been at work in this folder since {since} ({by})"


def signs(store: Store, now: datetime) -> list[Sign]:
    """The sweeps that were alive at most three minutes before `now`; empty where the store does not tell."""
    return [sign for sign in _all(store) if now - sign.last < STALE and not sign.is_gone]


def _all(store: Store) -> Iterator[Sign]:
    for info in store.infos(""):
        if info.base_name.startswith(AT_WORK) and info.base_name.endswith(".json") and info.is_file:
            try:
                told = store.read_json(info.base_name)
                since = datetime.fromtimestamp(told["since"], UTC)
                yield Sign(info.base_name, str(told["host"]), int(told["pid"]), since, info.mtime)
            except (ValueError, TypeError, KeyError, OverflowError):
                continue  # half of it, or of another version


class Heartbeat:
    """Signs of life of this process in a results folder, within a `with` statement. A store that refuses costs them."""

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
        """Of each other sweep that is at work in the folder, a sentence; what dead ones left is deleted."""
        with suppress(OSError):
            found = list(_all(self.store))
            now = max((sign.last for sign in found if sign.name == self.name), default=datetime.now(UTC))
            alive = {sign.name for sign in signs(self.store, now)}
            for sign in found:
                if sign.name not in alive:
                    self.store.delete(sign.name)
            return [s.words("another sweep", now) for s in found if s.name in alive - {self.name}]
        return []

    def _beat(self) -> None:
        while not self.ended.wait(BEAT_S):
            with suppress(OSError):
                self.store.write(self.name, self.content)
