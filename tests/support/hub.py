"""A mock Hugging Face hub on loopback that answers the requests of a download."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMITS = {"main": "a" * 40, "v2": "b" * 40}


class Hub(BaseHTTPRequestHandler):
    """Answers from `files`: (repository, file, commit) → content."""

    files: dict[tuple[str, str, str], bytes]
    announced: dict[tuple[str, str, str], bytes]  # content of which the SHA-256 is announced, if not that of the file
    requests: list[tuple[str, str, str | None]]
    drop_after: int | None  # bytes after which the first transfer breaks off
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        cls = type(self)
        cls.requests.append((self.command, self.path, self.headers["Range"]))
        match = re.fullmatch(r"/LongSafari/([\w-]+)/resolve/(\w+)/([\w.]+)", self.path)
        assert match, self.path
        repository, revision, file = match.groups()
        commit = COMMITS.get(revision, revision)
        if repository not in {key[0] for key in cls.files}:
            return self.refuse(404, "RepoNotFound")
        if commit not in COMMITS.values():
            return self.refuse(404, "RevisionNotFound")
        key = (repository, file, commit)
        if key not in cls.files:
            return self.refuse(404, "EntryNotFound", commit)
        content = cls.files[key]
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-")) if self.headers["Range"] else 0
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha256(cls.announced.get(key, content)).hexdigest()}"')
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            if cls.drop_after is not None:
                self.wfile.write(content[: cls.drop_after])
                cls.drop_after = None
                self.close_connection = True
                return None
            self.wfile.write(content[start:])
        return None

    def refuse(self, status: int, code: str, commit: str | None = None) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def hub_environment(endpoint: str) -> dict[str, str]:
    """Environment variables of a process that uses this hub; huggingface_hub reads them once, at import."""
    no_proxy = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"), "")
    return {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", **no_proxy}


@contextlib.contextmanager
def serving() -> Iterator[tuple[type[Hub], str]]:
    """An empty hub, whose class attributes are to be filled, and its address."""

    class Server(Hub):
        files = {}  # noqa: RUF012
        announced = {}  # noqa: RUF012
        requests = []  # noqa: RUF012
        drop_after = None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Server, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
