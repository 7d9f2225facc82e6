"""Downloads from a local HTTP server that is correct, slow, interrupted, stalled, or serves something else."""

import http.server
import io
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyena.data import catalogue, datasets, download
from hyena.data.datasets import is_present, load_dataset
from hyena.errors import InputError
from tests.support.places import ROOT

NAME = "human_enhancers_cohn"
COUNTS = {"negative": (30, 10), "positive": (29, 10)}
OFFICIAL_SMALL = catalogue.OfficialDataset(
    {name: train for name, (train, _) in COUNTS.items()}, {name: test for name, (_, test) in COUNTS.items()}, (8,) * 11
)


def archive(fewer: int = 0, sequence: str = "ACGTACGT") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for label, counts in COUNTS.items():
            for split, count in zip(("train", "test"), counts, strict=True):
                for i in range(count - fewer * (split == "test")):
                    file.writestr(f"{NAME}/{split}/{label}/{i}.txt", sequence)
        file.writestr(f"{NAME}/README.md", "x" * 400_000)  # more than any buffer between the server and the disk
    return content.getvalue()


class Server:
    """Serves `content`, the first answers in the ways that `faults` names."""

    def __init__(self, content: bytes, faults: list[str]):
        self.content, self.faults, self.paths = content, list(faults), []
        self.released = threading.Event()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.paths.append(request.path)
        fault = self.faults.pop(0) if self.faults else "whole"
        if fault.isdigit():
            request.send_error(int(fault))
            return
        body = b"<html>please log in</html>" if fault == "rubbish" else self.content
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if fault == "breaks off":
            request.wfile.write(body[: len(body) // 2])
        elif fault == "stands still":
            request.wfile.write(body[: len(body) // 2])
            request.wfile.flush()
            self.released.wait(60)
        elif fault == "slow":
            for i in range(0, len(body), len(body) // 8):
                request.wfile.write(body[i : i + len(body) // 8])
                time.sleep(0.1)
        else:
            request.wfile.write(body)


@pytest.fixture
def serve(monkeypatch) -> Iterator:
    """Starts servers and makes them the place to download from; the waits are short and the official counts small."""
    servers = []

    def start(*faults: str, content: bytes | None = None) -> Server:
        servers.append(Server(archive() if content is None else content, list(faults)))
        monkeypatch.setenv(download.MIRROR_VARIABLE, servers[-1].address)
        return servers[-1]

    monkeypatch.setattr(download, "WAITS_S", (0.05, 0.05, 0.05))
    monkeypatch.setattr(datasets, "OFFICIAL", catalogue.OFFICIAL | {NAME: OFFICIAL_SMALL})
    yield start
    for server in servers:
        server.released.set()
        server.http.shutdown()
        server.http.server_close()


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_data_set_is_downloaded_once(tmp_path, serve):
    server = serve()
    data = tmp_path / "data"
    assert not is_present(NAME, None, data)
    dataset = load_dataset(NAME, None, data, tmp_path / "cache")
    assert dataset.official
    assert dataset.notes == ()
    assert [len(dataset.train), len(dataset.test)] == [59, 20]
    assert server.paths == [f"/files/{NAME}_v0.zip?download=1"]
    assert visible(data) == [NAME]
    assert is_present(NAME, None, data)
    assert load_dataset(NAME, None, data, tmp_path / "cache").digest == dataset.digest
    assert len(server.paths) == 1


def test_a_slow_download_shows_a_progress_bar(tmp_path, serve, monkeypatch, capfd):
    monkeypatch.setattr(download, "_SAY_S", {True: 0, False: 0})
    server = serve("slow")
    assert load_dataset(NAME, None, tmp_path / "data", tmp_path / "cache").official
    assert len(server.paths) == 1
    said = capfd.readouterr().err
    assert "retrying" not in said
    shares = [int(share) for share in re.findall(rf"{NAME}: █+░* (\d+)% of 0\.4 MB, [0-9.]+ MB/s", said)]
    assert shares == sorted(shares)
    assert any(0 < share < 100 for share in shares)


def test_without_the_size_there_is_no_progress_bar():
    assert download._progress(3_000_000, 12_000_000, 2) == "█████░░░░░░░░░░░░░░░ 25% of 12.0 MB, 1.5 MB/s"
    assert download._progress(3_000_000, 0, 2) == "3.0 MB, 1.5 MB/s"


def test_transient_failures_are_retried(tmp_path, serve, capfd):
    faults = {"breaks off": "retrieval incomplete", "rubbish": "not a zip file", "503": "the server answered 503"}
    server = serve(*faults)
    assert load_dataset(NAME, None, tmp_path / "data", tmp_path / "cache").official
    assert len(server.paths) == 4
    retries = [line for line in capfd.readouterr().err.splitlines() if "retrying in 0.05 s" in line]
    assert len(retries) == 3
    assert all(reason in line for reason, line in zip(faults.values(), retries, strict=True))
    assert visible(tmp_path / "data") == [NAME]


def test_a_stalled_transfer_is_ended(tmp_path, serve, monkeypatch, capfd):
    monkeypatch.setattr(download, "STALL_S", 1.0)
    serve("stands still")
    assert load_dataset(NAME, None, tmp_path / "data", tmp_path / "cache").official
    assert "no data for 1 s; retrying" in capfd.readouterr().err


def test_a_missing_file_is_not_requested_again(tmp_path, serve):
    server = serve(*["404"] * 9)
    with pytest.raises(InputError, match=r"not downloaded after 1 attempt \(the server answered 404") as caught:
        load_dataset(NAME, None, tmp_path / "data", tmp_path / "cache")
    assert f"put {NAME}_v0.zip into {tmp_path / 'data'} by hand" in str(caught.value)
    assert len(server.paths) == 1
    assert visible(tmp_path / "data") == []


def test_after_the_last_attempt_nothing_is_left_behind(tmp_path, serve, monkeypatch):
    monkeypatch.setattr(download, "WAITS_S", (0.05,))
    server = serve(*["429", "rubbish"] * 4)
    with pytest.raises(InputError, match="not downloaded after 2 attempts") as caught:
        load_dataset(NAME, None, tmp_path / "data", tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert len(server.paths) == 2
    assert visible(tmp_path / "data") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive(fewer=1), rf"{NAME}: 9 test sequences of class negative where 10 are published"),
        (archive(sequence="ACGTACGTA"), rf"{NAME}: lengths of 9 to 9 bp where 8 to 8 are published"),
        (archive(sequence="MKVLMKVL"), rf"{NAME}/train/negative/0\.txt: letter 'L'"),
    ],
)
def test_a_download_that_is_not_the_official_data_set_is_rejected(tmp_path, serve, content, message):
    serve(content=content)
    with pytest.raises(InputError, match=rf"the download is not the official data set: {message}"):
        load_dataset(NAME, None, tmp_path / "data", tmp_path / "cache")
    assert visible(tmp_path / "data") == []


def test_a_missing_server_is_an_error_of_one_line(tmp_path, serve, monkeypatch):
    monkeypatch.setenv(download.MIRROR_VARIABLE, "http://127.0.0.1:9")
    monkeypatch.setattr(download, "WAITS_S", ())
    with pytest.raises(InputError, match="check the connection") as caught:
        load_dataset(NAME, None, tmp_path / "data", tmp_path / "cache")
    assert "refused" in str(caught.value)


def test_a_folder_that_cannot_be_written_to(tmp_path, serve):
    serve()
    (tmp_path / "data").write_text("a file stands here")
    with pytest.raises(InputError, match="is not writable"):
        load_dataset(NAME, None, tmp_path / "data", tmp_path / "cache")


def test_a_broken_data_set_in_the_default_folder_is_an_error(tmp_path, serve, monkeypatch):
    monkeypatch.setattr(datasets, "default_data_dir", lambda: tmp_path / "default")
    serve()
    assert load_dataset(NAME, cache_dir=tmp_path / "cache").official
    (tmp_path / "default" / NAME / "train" / "negative" / "3.txt").unlink()
    with pytest.raises(InputError, match=r"not the whole official data set \(29 train sequences of class negative"):
        load_dataset(NAME, cache_dir=tmp_path / "cache")
    flagged = load_dataset(NAME, None, tmp_path / "default", tmp_path / "cache")
    assert not flagged.official
    assert "29 train sequences of class negative where 30 are published" in flagged.notes[0]


def _load_at_once(data: Path, cache: Path, barrier, results) -> None:
    barrier.wait()
    results.put(load_dataset(NAME, None, data, cache).digest)


def test_many_processes_download_once(tmp_path, serve):
    server = serve("slow")
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(8), context.Queue()
    arguments = (tmp_path / "data", tmp_path / "cache", barrier, results)
    processes = [context.Process(target=_load_at_once, args=arguments) for _ in range(8)]
    for process in processes:
        process.start()
    assert len({results.get(timeout=60) for _ in processes}) == 1
    for process in processes:
        process.join()
    assert len(server.paths) == 1


def test_a_killed_download_leaves_nothing_that_looks_complete(tmp_path, serve):
    server = serve("stands still")
    code = (
        "from pathlib import Path; from hyena.data.datasets import load_dataset;"
        f"load_dataset({NAME!r}, None, Path({str(tmp_path / 'data')!r}), Path({str(tmp_path / 'cache')!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True)
    deadline = time.monotonic() + 60
    while not server.paths and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    server.released.set()
    assert not is_present(NAME, None, tmp_path / "data")
    assert load_dataset(NAME, None, tmp_path / "data", tmp_path / "cache").official
    assert visible(tmp_path / "data") == [NAME]


def test_real_archives_go_through_the_package(tmp_path, shared_data, serve, monkeypatch):
    monkeypatch.setattr(datasets, "OFFICIAL", catalogue.OFFICIAL)
    serve(content=(shared_data / "genomic_benchmarks" / f"{NAME}_v0.zip").read_bytes())
    with pytest.raises(InputError, match=r"2,606 train sequences of class negative where 10,422 are published"):
        load_dataset(NAME, None, tmp_path / "data", tmp_path / "cache")
    counts = {"negative": 2_606, "positive": 2_606}, {"negative": 868, "positive": 868}
    monkeypatch.setattr(datasets, "OFFICIAL", {NAME: catalogue.OfficialDataset(*counts, (500,) * 11)})
    downloaded = load_dataset(NAME, None, tmp_path / "data", tmp_path / "cache")
    assert downloaded.official
    read_in_place = load_dataset(NAME, None, shared_data / "genomic_benchmarks", tmp_path / "cache")
    assert downloaded.digest == read_in_place.digest


@pytest.mark.network
def test_the_smallest_official_data_set_from_its_own_server(tmp_path):
    assert load_dataset("dummy_mouse_enhancers_ensembl", None, tmp_path / "data", tmp_path / "cache").official
