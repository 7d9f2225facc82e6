"""Long waits, and only those, are reported."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hyena.system import waiting
from hyena.system.waiting import locked, waiting_for


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said, by a watch that looks often and says things soon."""
    lines = list[str]()
    monkeypatch.setattr(waiting, "say", lines.append)
    monkeypatch.setattr(waiting, "FIRST_AFTER_S", 0.05)
    monkeypatch.setattr(waiting, "THEN_EVERY_S", 0.05)
    monkeypatch.setattr(waiting, "_LOOK_S", 0.01)
    monkeypatch.setattr(waiting, "_watcher", None)  # one that knows of this
    return lines


def until(condition: Callable[[list[str]], object], lines: list[str]) -> None:
    for _ in range(500):
        if condition(lines):
            return
        threading.Event().wait(0.02)
    raise AssertionError(lines)


def test_a_long_wait_is_reported_repeatedly_with_its_current_reason(said: list[str]) -> None:
    with waiting_for("a bus", "walk to end it") as wait:
        until(lambda lines: len(lines) >= 2, said)
        assert said[:2] == ["waiting for a bus; walk to end it"] * 2
        wait.what = "a bus\nthat is late"
        until(lambda lines: "late" in lines[-1], said)
    assert said[-1] == "waiting for a bus that is late; walk to end it"
    assert not waiting._under_way


def test_a_short_wait_is_not_reported(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_AFTER_S", 100.0)
    with waiting_for("nothing"), waiting_for("nothing else"):
        threading.Event().wait(0.1)
    assert said == []


def test_a_held_lock_is_reported_and_then_acquired(said: list[str], tmp_path: Path) -> None:
    path, entered = tmp_path / "x.lock", threading.Event()

    def second() -> None:
        with locked(path, "downloading it"):
            entered.set()

    with locked(path, "downloading it"):
        other = threading.Thread(target=second)
        other.start()
        until(lambda lines: lines, said)
        assert not entered.is_set()
    other.join(10)
    assert entered.is_set()
    assert set(said) == {f"waiting for another process that is downloading it (lock {path}); Ctrl-C stops waiting"}
