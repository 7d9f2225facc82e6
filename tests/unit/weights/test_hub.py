"""Weights by name: the order of places, and a hub that is asked once, in order, and may be unreachable."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hyena.errors import InputError
from hyena.weights.hub import find_weights, present_weights
from tests.support.hub import COMMITS, Hub, hub_environment
from tests.support.places import ROOT

TINY = "hyenadna-tiny-1k-seqlen"


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*args: object, **kwargs: object) -> str:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("hyena.weights.hub.hf_hub_download", asked)


@pytest.mark.parametrize("place", [f"{TINY}/weights.ckpt", f"{TINY}-hf/model.safetensors", f"{TINY}.ckpt", "own.pt"])
def test_files_in_the_folder_take_precedence_over_the_hub(place: str, tmp_path: Path, no_hub: None) -> None:
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.touch()
    name = "own" if place == "own.pt" else TINY
    assert find_weights(name, tmp_path) == (file if file.parent == tmp_path else file.parent)
    assert present_weights(name, tmp_path) == find_weights(name, tmp_path)


def test_an_empty_folder_is_no_weights(tmp_path: Path) -> None:
    (tmp_path / TINY).mkdir()
    assert present_weights(TINY, tmp_path) is None
    (tmp_path / TINY / "model.safetensors").touch()
    assert present_weights(TINY, tmp_path) == tmp_path / TINY


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", ".", ""])
def test_a_name_is_not_a_path(name: str, tmp_path: Path, no_hub: None) -> None:
    with pytest.raises(InputError, match="expected a name, not a path"):
        find_weights(name, tmp_path)


def test_a_file_is_not_a_folder_of_weights(tmp_path: Path, no_hub: None) -> None:
    file = tmp_path / "mine.pt"
    file.touch()
    with pytest.raises(InputError) as caught:
        present_weights("own", file)
    assert str(caught.value) == f"--weights {file}: found a file; expected a folder that holds it as own.pt"


def test_an_unknown_name_is_not_requested_from_the_hub(tmp_path: Path, no_hub: None) -> None:
    with pytest.raises(InputError, match=f"not a published name; did you mean '{TINY}'"):
        find_weights("hyenadna-tiny-1k-seqlenn", tmp_path)


ASK = """
import json, sys
from pathlib import Path
from hyena.weights.hub import find_weights
from hyena.errors import InputError
for name, folder, revision in json.loads(sys.argv[1]):
    try:
        print(json.dumps(str(find_weights(name, Path(folder), revision))))
    except InputError as error:
        print(json.dumps("refused: " + str(error)))
"""


def start(endpoint: str, *wanted: tuple[str, Path, str | None]) -> subprocess.Popen[str]:
    """A process that asks for weights, one after the other."""
    arguments = json.dumps([(name, str(folder), revision) for name, folder, revision in wanted])
    return subprocess.Popen(
        [sys.executable, "-c", ASK, arguments],
        env={**os.environ, **hub_environment(endpoint)},
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def answers(process: subprocess.Popen[str]) -> list[str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


def test_the_hub_is_asked_once_by_revision_and_in_order(hub: tuple[type[Hub], str], tmp_path: Path) -> None:
    server, endpoint = hub
    server.files = {
        (f"{TINY}-hf", "model.safetensors", COMMITS["main"]): b"new",
        (f"{TINY}-hf", "pytorch_model.bin", COMMITS["v2"]): b"second",
        ("hyenadna-small-32k-seqlen", "weights.ckpt", COMMITS["main"]): b"lightning",
    }
    damaged = ("hyenadna-large-1m-seqlen-hf", "model.safetensors", COMMITS["main"])
    server.files[damaged] = b"damaged on the way"
    server.announced[damaged] = b"as it was announced"
    new, again, second, ckpt, nowhere, unknown_revision, broken = answers(
        start(
            endpoint,
            (TINY, tmp_path, None),
            (TINY, tmp_path, None),
            (TINY, tmp_path, "v2"),
            ("hyenadna-small-32k-seqlen", tmp_path, None),
            ("hyenadna-medium-160k-seqlen", tmp_path, None),
            (TINY, tmp_path, "v9"),
            ("hyenadna-large-1m-seqlen", tmp_path, None),
        )
    )
    assert Path(new).read_bytes() == b"new"
    assert again == new
    assert Path(second).read_bytes() == b"second", "of a revision, and the next format where the first is not there"
    assert Path(ckpt).read_bytes() == b"lightning"
    assert "found neither locally nor on the hub as LongSafari/hyenadna-medium-160k-seqlen" in nowhere
    assert str(tmp_path / "hyenadna-medium-160k-seqlen") in nowhere
    assert "at revision 'v9': found neither locally nor on the hub" in unknown_revision
    assert "damaged download" in broken
    fetched = [path for command, path, _ in server.requests if command == "GET"]
    assert len([path for path in fetched if path.startswith(f"/LongSafari/{TINY}-hf/resolve/")]) == 2, fetched
    assert not [blob for blob in tmp_path.rglob("*") if blob.is_file() and blob.read_bytes() == b"damaged on the way"]
    assert present_weights(TINY, tmp_path) == Path(new), "without the network"
    assert present_weights(TINY, tmp_path, "v2") == Path(second)
    assert present_weights(TINY, tmp_path, "v9") is None


def test_a_broken_transfer_is_resumed(hub: tuple[type[Hub], str], tmp_path: Path) -> None:
    server, endpoint = hub
    chunk = 10 * 2**20  # the client writes in pieces of this size
    content = bytes(range(256)) * (chunk // 256 + 1000)
    server.files = {(f"{TINY}-hf", "model.safetensors", COMMITS["main"]): content}
    server.drop_after = chunk + 5000
    (path,) = answers(start(endpoint, (TINY, tmp_path, None)))
    assert Path(path).read_bytes() == content
    assert [ranged for command, _, ranged in server.requests if command == "GET"] == [None, f"bytes={chunk}-"]


def test_concurrent_processes_share_one_download(hub: tuple[type[Hub], str], tmp_path: Path) -> None:
    server, endpoint = hub
    content = b"weights" * 50_000
    server.files = {(f"{TINY}-hf", "model.safetensors", COMMITS["main"]): content}
    processes = [start(endpoint, (TINY, tmp_path, None)) for _ in range(2)]
    paths = {path for process in processes for path in answers(process)}
    assert len(paths) == 1
    assert Path(paths.pop()).read_bytes() == content
    assert len([command for command, _, _ in server.requests if command == "GET"]) == 1


@pytest.mark.parametrize(
    "variables",
    [
        {"HF_HUB_OFFLINE": "1"},
        pytest.param({}, marks=pytest.mark.slow, id="the client tries for 25 s"),
    ],
)
def test_the_error_of_an_unreachable_hub_says_where_to_put_the_weights(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    refusals = answers(start("http://127.0.0.1:9", (TINY, tmp_path, None), (TINY, tmp_path, "v2")))
    for refused, name in zip(refusals, (f"{TINY}-hf", f"{TINY}-hf at revision 'v2'"), strict=True):
        assert refused.startswith(f"refused: weights LongSafari/{name}: not found locally")
        assert str(tmp_path / TINY) in refused
        assert "\n" not in refused
