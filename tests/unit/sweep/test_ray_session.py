"""Starting and joining Ray, and errors of one line where that is impossible."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyena.errors import InputError
from sweep import ray_session
from sweep.ray_session import RAY_BYTES, SOCKET_BYTES, RaySession, checked, require_answer, unfit


@pytest.fixture(autouse=True)
def _no_cluster_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("address", ["10.0.0.1:6379", "head-1.cluster.local:6379", "[::1]:6379", "localhost:65535"])
def test_host_and_port_are_an_address(address: str) -> None:
    assert checked(address) == address


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("garbage", "--address garbage: not the address of a Ray cluster; give HOST:PORT"),
        ("", "--address '': not the address of a Ray cluster"),
        ("  ", "--address '  ': not the address of a Ray cluster"),
        (":6379", "--address :6379: not the address of a Ray cluster"),
        ("10.0.0.1", "not the address of a Ray cluster"),
        ("a b:6379", "not the address of a Ray cluster"),
        ("host:notaport", "port 'notaport' is not a number from 1024 to 65535"),
        ("host:99999", "port '99999' is not a number from 1024 to 65535"),
        ("host:80", "port '80' is not a number from 1024 to 65535"),
        ("host:", "port '' is not a number"),
        ("host:６３７９", "is not a number from 1024"),
        ("host:6379\n", "is not a number from 1024"),
        ("ray://10.0.0.1:10001", "Ray Tune does not run over Ray Client; run this command on a node of the cluster"),
        ("http://127.0.0.1:8265", "`ray job submit --address http://127.0.0.1:8265 -- …`"),
        ("redis://10.0.0.1:6379", "not the address of a Ray cluster"),
    ],
)
def test_an_impossible_address_is_refused_with_what_would_be_right(address: str, said: str) -> None:
    with pytest.raises(InputError) as refusal:
        RaySession(address)
    assert said in str(refusal.value)


def test_auto_reads_the_environment_and_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert checked("auto") == "10.0.0.1:6379"
    monkeypatch.setenv("RAY_ADDRESS", "garbage")
    with pytest.raises(InputError, match=r"^--address auto, RAY_ADDRESS = garbage: not the address of a Ray cluster"):
        checked("auto")


def test_auto_without_a_cluster_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # where no cluster has written its address
    monkeypatch.setattr(ray_session.services, "find_gcs_addresses", set)
    with pytest.raises(InputError, match=r"^--address auto: no Ray cluster is running on this machine; start one with"):
        checked("auto")


def test_without_an_address_and_with_local_ray_is_started_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "stale:1")
    assert RaySession(None).address is None
    assert RaySession("local").address is None


def test_a_port_that_nobody_listens_at_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(InputError, match=rf"^no Ray cluster answers at 127\.0\.0\.1:{port} \(Connection refused\)$"):
        require_answer(f"127.0.0.1:{port}")


def test_an_unknown_host_is_an_error() -> None:
    with pytest.raises(InputError, match=r"^no Ray cluster answers at nohost\.invalid:6379 \("):
        require_answer("nohost.invalid:6379")


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of something that accepts connections and does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_port_that_does_not_answer_is_an_error(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_session, "ANSWER_S", 5.0)
    with pytest.raises(InputError, match=r"something accepts connections there, but does not answer$"):
        require_answer(silent)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x" * (SOCKET_BYTES - RAY_BYTES), "the path is too long for the names of sockets: at most 36 bytes"),
        ("é", "Ray needs an absolute path of plain letters"),
        ("a b", "Ray needs an absolute path of plain letters"),
        ("it's", "Ray needs an absolute path of plain letters"),
    ],
)
def test_a_folder_that_cannot_hold_sockets_says_why(name: str, said: str) -> None:
    assert said in str(unfit(Path("/") / name / "ray"))


def test_a_relative_or_read_only_folder_cannot_hold_sockets() -> None:
    assert "Ray needs an absolute path" in str(unfit(Path("here") / "ray"))
    assert unfit(Path("/proc/ray")) == "/proc is not writable"
    assert unfit(Path("/dev/null/ray")) == "/dev/null is not writable"


def test_a_short_plain_folder_is_accepted_and_not_created() -> None:
    assert unfit(Path("/tmp/of-nobody/ray")) is None
    assert not Path("/tmp/of-nobody").exists()


def test_an_unsuitable_temporary_folder_is_replaced_by_a_private_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "é"))
    session = RaySession(None)
    session._find_folder()
    assert session.private is not None
    assert os.environ["RAY_TMPDIR"] == str(session.private)
    assert session.private.stat().st_mode & 0o777 == 0o700
    assert unfit(ray_session.ray_folder()) is None
    session.end()
    assert not session.private.exists()
    assert "RAY_TMPDIR" not in os.environ


def test_an_unsuitable_folder_that_the_user_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/é")
    with pytest.raises(
        InputError, match=r"^RAY_TMPDIR = /é: Ray needs an absolute path of plain letters .*; set it to"
    ):
        RaySession(None)._find_folder()


def test_what_ray_raises_when_it_starts_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**options: object) -> None:
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr(ray_session.ray, "init", broken)
    with pytest.raises(InputError, match=r"^Ray cannot be started on this machine: first second$"):
        RaySession(None).begin()


def test_shared_memory_that_cannot_be_written_is_replaced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr(ray_session.ray, "init", lambda **options: given.update(options))
    monkeypatch.setattr(ray_session, "SHARED_MEMORY", Path("/nowhere"))
    monkeypatch.setenv("TMPDIR", "/tmp")
    RaySession(None).begin()
    assert capsys.readouterr().err == "/nowhere is not writable: Ray keeps its objects on disk\n"
    assert (given["_plasma_directory"], given["object_store_memory"]) == ("/tmp", 500_000_000)


@pytest.mark.parametrize(
    ("nodes", "wanted"),
    [
        ({"ray.head.default": 1}, True),
        ({"node_0123abcd": 1, "worker": 2}, True),
        ({"node_0123abcd": 2}, False),
        ({"local.cluster.node": 1}, False),
        ({}, False),
    ],
)
def test_a_cluster_that_can_grow_is_known_by_its_node_types(
    monkeypatch: pytest.MonkeyPatch, nodes: dict[str, int], wanted: bool
) -> None:
    published = json.dumps({"autoscaler_report": {"active_nodes": nodes, "idle_nodes": None}}).encode()
    monkeypatch.setattr(ray_session, "_internal_kv_get", lambda key: published)
    assert ray_session.grows() is wanted
