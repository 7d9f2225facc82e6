"""Messages about long waits: after some seconds, a line states what is waited for and how to stop waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock

from hyena.system.terminal import printable, say

#: Seconds before the first message, and between messages.
FIRST_AFTER_S, THEN_EVERY_S = 20.0, 60.0
#: Seconds between two checks of the watching thread.
_LOOK_S = 1.0
_under_way: set[Wait] = set()
_guard = threading.Lock()
_watcher: threading.Thread | None = None


@dataclass(eq=False)
class Wait:
    """Something that is being waited for.

    Attributes:
        what: completes the sentence "waiting for …". May be changed meanwhile, for example when a reason becomes known.
        ending: how to stop waiting.
    """

    what: str
    ending: str
    say_at: float = field(default_factory=lambda: time.monotonic() + FIRST_AFTER_S)


@contextmanager
def waiting_for(what: str, ending: str = "Ctrl-C stops waiting") -> Iterator[Wait]:
    """State on standard error what is waited for if the body takes long: after 20 seconds, then every minute.

    One thread watches all waits of a process, so a short wait costs little.
    """
    wait = Wait(what, ending)
    with _guard:
        _under_way.add(wait)
        _watch()
    try:
        yield wait
    finally:
        with _guard:
            _under_way.discard(wait)


def locked(path: str | Path, what: str) -> AcquireReturnProxy[FileLock]:
    """Acquire a lock file, released by a `with` statement around the result.

    Args:
        what: the activity of another process that holds the lock, such as "downloading data set X".

    Raises OSError if the file cannot be created, NotImplementedError if the file system has no locks.
    """
    with waiting_for(f"another process that is {what} (lock {path})"):
        return FileLock(path).acquire()


def _watch() -> None:
    """Start the watching thread unless it runs in this process (a fork does not copy threads)."""
    global _watcher
    if _watcher is None or not _watcher.is_alive():
        _watcher = threading.Thread(target=_tell, name="waiting", daemon=True)
        _watcher.start()


def _tell() -> None:
    never = threading.Event()
    while not never.wait(_LOOK_S):
        now, due = time.monotonic(), list[Wait]()
        with _guard:
            for wait in _under_way:
                if now >= wait.say_at:
                    wait.say_at = now + THEN_EVERY_S
                    due.append(wait)
        for wait in due:
            say(printable(f"waiting for {wait.what}; {wait.ending}"))
