"""Heartbeats of a running sweep: other sweeps and the status command see them, and nothing else is affected."""

import json
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sweep.compact import compact
from sweep.heartbeat import Heartbeat, running_sweeps
from sweep.status import main
from sweep.store import Store
from tests.support.stored import row


@pytest.fixture
def store(place: str) -> Store:
    store = Store(place)
    store.write_plan({"name": "mine"}, [])
    return store


def another(store: Store, host: str = "elsewhere", pid: int = 7) -> str:
    """Write the heartbeat of a sweep on another machine."""
    name = f"at-work-{host}-{pid}.json"
    told = {"host": host, "pid": pid, "since": datetime(2026, 1, 2, 3, 4, tzinfo=UTC).timestamp()}
    store.write(name, json.dumps(told).encode())
    return name


def test_a_second_sweep_is_told_of_the_first_only(store: Store) -> None:
    with Heartbeat(store.uri) as alone:
        assert alone.others() == []
        another(store)
        store.write("at-work-of-another-version.json", b"[]")
        (said,) = alone.others()
    assert said.startswith("another sweep has been running in this folder since 2026-01-02 03:04 UTC (process 7 on")
    assert said.endswith(" ago)")
    assert "at-work-elsewhere-7.json" in store.names("")
    assert not [name for name in store.names("") if name.endswith(f"-{os.getpid()}.json")]


def test_the_heartbeat_of_a_killed_sweep_is_deleted(store: Store) -> None:
    gone = another(store, socket.gethostname(), 2**22 + 1)  # a process id that there is not
    with Heartbeat(store.uri) as heartbeat:
        assert heartbeat.others() == []
    assert gone not in store.names("")


def test_a_heartbeat_expires_after_three_minutes(store: Store) -> None:
    another(store)
    now = datetime.now(UTC)
    assert [sweep.host for sweep in running_sweeps(store, now + timedelta(seconds=150))] == ["elsewhere"]
    assert running_sweeps(store, now + timedelta(seconds=200)) == []


def test_an_expired_heartbeat_is_deleted_by_the_clock_of_the_store(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    name = another(store)
    os.utime(tmp_path / name, (0, 0))
    with Heartbeat(store.uri) as heartbeat:
        assert heartbeat.others() == []
    assert store.names("") == []


def test_it_rewrites_its_file_while_the_sweep_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.heartbeat.BEAT_S", 0.01)
    store = Store(str(tmp_path))
    with Heartbeat(store.uri) as heartbeat:
        store.delete(heartbeat.name)
        for _ in range(1000):
            if heartbeat.name in store.names(""):
                break
            heartbeat.ended.wait(0.01)
        assert store.names("") == [heartbeat.name]
    assert store.names("") == []


def test_errors_of_the_store_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with Heartbeat(str(tmp_path / "file" / "results")) as heartbeat:
        assert heartbeat.others() == []


def test_it_affects_neither_claim_nor_compaction(store: Store) -> None:
    with Heartbeat(store.uri):
        another(store)
        store.delete("study.json")
        store.delete("plan.parquet")
        assert store.claim({"name": "mine"}) == []
        store.write_run(row("a"))
        assert compact(store).left == 1
    assert store.names("") == ["at-work-elsewhere-7.json", "runs"] or not store.local


def test_status_shows_it(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    another(store)
    assert main([store.uri]) == 0
    assert "a sweep has been running in this folder since 2026-01-02 03:04 UTC (process 7" in capsys.readouterr().out
