"""Ray for one sweep: started on this machine, or a cluster that is running already.

What Ray needs (a folder for its sockets, shared memory, a cluster that answers) is checked before it is started, as far
as possible: Ray itself would wait for minutes or end in a traceback. Every failure to start or to join it is an
InputError of one line. Next: `execution.py`, what runs on it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray
import torch
from ray._private import ray_constants, services, worker
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.exceptions import RayError
from ray.experimental.internal_kv import _internal_kv_get

from hyena.errors import InputError
from hyena.system.cores import granted_cores
from hyena.system.terminal import WRONG_REQUEST, printable, say
from hyena.system.waiting import waiting_for
from sweep.resources import Share
from sweep.study import Resources

__all__ = ["RayError", "RaySession", "node_resources", "resources_here"]

#: Longest name of a socket in bytes, and the length of the part that Ray adds, with a process id of seven digits.
SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
RAY_BYTES = len("/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store.12")
#: Paths of a temporary folder that Ray passes on unchanged.
_PLAIN = re.compile(r"/[A-Za-z0-9_./+=@,~-]*")
#: Folders for sockets where the temporary folder cannot hold them.
SHORT_FOLDERS = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))
SHARED_MEMORY = Path("/dev/shm")
#: Size of the object store where it is not in shared memory. A sweep puts little into it: what every worker receives.
STORE_BYTES = 500_000_000
#: Timeouts in seconds: for the connection to a cluster, for the answer of its control service, for joining it.
CONNECT_S, ANSWER_S, JOIN_S = 10.0, 30.0, 120.0
#: Queries a cluster's control service; in a process of its own, because Ray's library cannot be interrupted.
_ASK = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"


class RaySession:
    """Ray for one sweep: started on this machine, a cluster that is joined, or the one this process is connected to.

    A context manager. Ray is started or joined by `begin`, not before; what the process was connected to when the
    session began is left connected.

    Attributes:
        address: of the cluster to join; None to start Ray here.
    """

    def __init__(self, address: str | None, report: Callable[[str], None] = say) -> None:
        """Starts and asks nothing.

        Args:
            address: HOST:PORT, "auto", or "local" or None to start Ray here. InputError where it can be no address.
            report: prints a line of what Ray has to say.
        """
        self.address = checked(address) if address is not None and address != "local" else None
        self.report = report
        self.private: Path | None = None  # a temporary folder for Ray's sockets and logs
        self._begun = False
        self._print_of_ray = worker.print_to_stdstream

    def __enter__(self) -> RaySession:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def joins(self) -> bool:
        """Whether the sweep runs on a Ray that it does not start itself."""
        return self.address is not None or (ray.is_initialized() and not self._begun)

    def begin(self) -> None:
        """Start Ray or join the cluster, unless this process is connected already.

        Raises InputError where Ray cannot be started or joined, or the process is connected to another cluster.
        """
        if ray.is_initialized():
            if not self._begun:
                self._require_same_cluster()
            return
        self._begun = True
        worker.print_to_stdstream = self._report_daemon
        handler = signal.getsignal(signal.SIGTERM)
        if self.address is None:
            self._start()
        else:
            dashboard = self._join(self.address)
            if dashboard:
                self.report(f"Ray's dashboard: http://{dashboard}")
        if callable(handler) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray has replaced it

    def end(self) -> None:
        """Stop what `begin` started, or leave the cluster that it joined."""
        if self._begun:
            ray.shutdown()
            worker.print_to_stdstream = self._print_of_ray
            self._begun = False
        if self.private is not None:
            os.environ.pop("RAY_TMPDIR", None)
            shutil.rmtree(self.private, ignore_errors=True)

    def require(self, wanted: Resources) -> None:
        """InputError where no node could ever hold a run with these resources. Starts Ray only to join a cluster."""
        if self.joins:
            self.share(wanted)
        else:
            here = resources_here()
            shortage = Share.of(wanted, here).shortage([here])
            if shortage:
                raise InputError(shortage)

    def share(self, wanted: Resources) -> Share:
        """The part of the cluster that a trial gets. InputError where no node has as much, nor can one be started."""
        self.begin()
        cluster = ray.cluster_resources()
        share = Share.of(wanted, cluster)
        shortage = share.shortage(node_resources())
        if shortage and cluster.get("CPU") and not grows():
            raise InputError(shortage)
        return share

    def _require_same_cluster(self) -> None:
        connected = ray.get_runtime_context().gcs_address
        if self.address not in (None, connected):
            raise InputError(
                f"--address {self.address}: this process is connected to the Ray cluster at {connected} already; "
                "leave the address out, or disconnect with ray.shutdown()"
            )

    def _report_daemon(self, data: Mapping[str, Any], ignore_prefix: bool) -> None:
        """Report what Ray's daemons print, such as their death, on one line; Ray would print a page of logs as well."""
        for text in data["lines"]:
            lines = [line for line in text.splitlines() if line.strip()]
            self.report(f"Ray: {lines[0][:160] if lines else text}")

    def _start(self) -> None:
        os.environ.setdefault(
            "RAY_AUTH_MODE", "disabled"
        )  # otherwise Ray may require the token file of another session
        # Listen on loopback only. Ray's switch is named after the systems where that is the default.
        os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
        ray_constants.ENABLE_RAY_CLUSTER = False
        self._find_folder()
        options: dict[str, Any] = {}
        if sys.platform == "linux" and not os.access(SHARED_MEMORY, os.R_OK | os.W_OK | os.X_OK):
            say(f"{SHARED_MEMORY} is not writable: Ray keeps its objects on disk")
            options |= {"_plasma_directory": str(ray_folder().parent), "object_store_memory": STORE_BYTES}
        try:
            with waiting_for("Ray to start on this machine"):
                ray.init(
                    address="local",  # not the stale record of an earlier cluster
                    num_cpus=granted_cores().count,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    **options,
                )
        except Exception as error:  # of any kind: Ray does not wrap what its parts raise
            raise InputError(f"Ray cannot be started on this machine: {_line(error)}") from None

    def _find_folder(self) -> None:
        """Give Ray another folder for its sockets where the temporary folder cannot hold them."""
        lack = unfit(ray_folder())
        if lack is None:
            return
        if "RAY_TMPDIR" in os.environ:
            raise InputError(f"RAY_TMPDIR = {ray_folder().parent}: {lack}; set it to another folder, such as /tmp")
        for folder in SHORT_FOLDERS:
            if unfit(folder / "sweep-ray-12345678" / "ray") is None:
                self.private = Path(tempfile.mkdtemp(prefix="sweep-ray-", dir=folder))
                os.environ["RAY_TMPDIR"] = str(self.private)
                return
        raise InputError(
            f"{ray_folder().parent}: {lack}, and {SHORT_FOLDERS[0]} is not writable; set RAY_TMPDIR to a writable "
            "folder with a short name"
        )

    def _join(self, address: str) -> str | None:
        with waiting_for(f"the Ray cluster at {address}"):
            require_answer(address)
            if not services.find_node_ids():
                raise InputError(
                    f"this machine is not a node of the Ray cluster at {address}: start the sweep on one of its nodes, "
                    f"or add this machine with `ray start --address={address}`"
                )
            watchdog = threading.Timer(JOIN_S, _give_up, [address])
            watchdog.daemon = True
            watchdog.start()
            try:
                cluster = ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except Exception as error:  # of any kind: a bare Exception where versions differ
                raise InputError(f"the Ray cluster at {address} cannot be joined: {_line(error)}") from None
            finally:
                watchdog.cancel()
        return cluster.dashboard_url or None


def ray_folder() -> Path:
    """The folder in which Ray puts its sockets and logs."""
    base = os.environ.get("RAY_TMPDIR", os.environ.get("TMPDIR", "/tmp"))
    return Path(base) / "ray"


def unfit(folder: Path) -> str | None:
    """Why Ray cannot put its sockets in this folder, which it creates if necessary; None where it can."""
    base = str(folder.parent)
    if len(os.fsencode(folder.parent)) + RAY_BYTES > SOCKET_BYTES:
        return f"the path is too long for the names of sockets: at most {SOCKET_BYTES - RAY_BYTES} bytes"
    if not _PLAIN.fullmatch(base):
        return "Ray needs an absolute path of plain letters and digits (no spaces, no accents)"
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        tempfile.TemporaryDirectory(dir=there).cleanup()
    except OSError:
        return f"{there} is not writable"
    return None


def checked(address: str) -> str:
    """The address of a cluster as HOST:PORT. Raises InputError for anything else, with what would be right."""
    said = f"--address {address if address.strip() else repr(address)}"
    right = "give HOST:PORT of the cluster's head, such as 10.0.0.1:6379, or auto on one of its nodes"
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "") or "auto"
        said = said if address == "auto" else f"--address auto, RAY_ADDRESS = {address}"
    if address == "auto":
        return _found_here()
    if address.startswith("ray://"):
        raise InputError(
            f"{said}: Ray Tune does not run over Ray Client; run this command on a node of the cluster with "
            "--address auto, or send it there with `ray job submit`"
        )
    if address.startswith(("http://", "https://")):
        raise InputError(
            f"{said}: this is the address of a dashboard; send this command to the cluster with "
            f"`ray job submit --address {address} -- …`, or {right}"
        )
    host, port = re.fullmatch(r"(?s)(.*?)(?::([^:\]]*))?", address).groups()  # type: ignore[union-attr]
    if not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%]+\]", host) or port is None:
        raise InputError(f"{said}: not the address of a Ray cluster; {right}")
    if not re.fullmatch("[0-9]{1,5}", port) or not 1024 <= int(port) <= 65535:
        raise InputError(f"{said}: port {port!r} is not a number from 1024 to 65535; {right}")
    return address


def _found_here() -> str:
    """Address of the cluster that this machine is a node of."""
    try:
        return str(services.canonicalize_bootstrap_address_or_die("auto"))
    except Exception as error:  # of any kind
        if "multiple" in str(error):
            raise InputError(
                f"--address auto: several Ray clusters are running on this machine; {_line(error)}"
            ) from None
        raise InputError(
            "--address auto: no Ray cluster is running on this machine; start one with `ray start --head`, or leave "
            "--address out to start Ray for this sweep only"
        ) from None


def require_answer(address: str) -> None:
    """Raises InputError, within a minute, where no Ray cluster answers at this address."""
    host, _, port = address.rpartition(":")
    nobody = f"no Ray cluster answers at {address}"
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, UnicodeError) as error:
        raise InputError(f"{nobody} ({_line(error)})") from None
    words = [sys.executable, "-c", _ASK, address]
    try:
        asked = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=ANSWER_S
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{nobody}: something accepts connections there, but does not answer") from None
    if asked.returncode:
        last = (asked.stderr.strip().splitlines() or [""])[-1].removeprefix("ray.exceptions.")[:300]
        raise InputError(f"{nobody} ({last})" if "imed out" in last else f"{address} refuses this sweep: {last}")


def grows() -> bool:
    """Whether the cluster has an autoscaler that could start nodes of other types than those that are running.

    The autoscaler publishes its state every few seconds, with its node types. In a cluster that was assembled by hand
    each node is a type of its own.
    """
    published = _internal_kv_get(ray_constants.DEBUG_AUTOSCALING_STATUS)
    if not published:
        return bool(is_autoscaler_v2())  # which publishes elsewhere
    report: Mapping[str, Any] = json.loads(published).get("autoscaler_report") or {}
    nodes = {name for kind in ("active_nodes", "idle_nodes") for name in report.get(kind) or {}}
    return any(not re.fullmatch("node_[0-9a-f]+|local.cluster.node", name) for name in nodes)


def node_resources() -> list[Mapping[str, float]]:
    """Ray resources of each node that is alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def resources_here() -> dict[str, float]:
    """Ray resources of this machine."""
    return {"CPU": granted_cores().count, "GPU": torch.cuda.device_count()}


def _line(error: BaseException) -> str:
    """An error on one line, truncated."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(text or type(error).__name__)[:400]


def _give_up(address: str) -> None:
    """End the process: Ray waits in a library that neither Ctrl-C nor an exception interrupts. No run has started."""
    say(f"error: the Ray cluster at {address} answers, but could not be joined within {JOIN_S:g} s")
    os._exit(WRONG_REQUEST)
