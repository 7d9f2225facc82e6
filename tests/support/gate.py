"""A proxy in front of a server on loopback that a test can close: it refuses or drops connections for a while."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from typing import Literal

State = Literal["open", "drop", "refuse"]


class Gate:
    """Forwards connections while `state` is `open`; `drop` closes each at once, `refuse` does not listen.

    Connections that are open when the state changes are cut.
    """

    def __init__(self, target: str) -> None:
        """`target`: host:port of the server."""
        self.target = target.rpartition(":")
        self.state: State = "open"
        self.ended = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Gate:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended = True
        self.thread.join()
        self.listener.close()

    def _serve(self) -> None:
        while not self.ended:
            if self.state == "refuse":
                self.listener.close()
                time.sleep(0.05)
                continue
            if self.listener.fileno() < 0:
                self.listener = socket.create_server(("127.0.0.1", self.port))
            if not select.select([self.listener], [], [], 0.05)[0]:
                continue
            client, _ = self.listener.accept()
            if self.state == "drop":
                client.close()
            else:
                threading.Thread(target=self._pass_on, args=[client], daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        server = socket.create_connection((self.target[0], int(self.target[2])))
        other = {client: server, server: client}
        with client, server, contextlib.suppress(OSError):
            while self.state == "open" and not self.ended:
                for ready in select.select([client, server], [], [], 0.05)[0]:
                    data = ready.recv(65_536)
                    if not data:
                        return
                    other[ready].sendall(data)
