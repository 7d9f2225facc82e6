"""Fixtures that several test modules share."""

import logging
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import fs

from tests.support.hub import Hub, serving
from tests.support.places import ROOT

os.environ.setdefault(
    "RAY_worker_niceness", "0"
)  # by default, Ray's workers run at the lowest priority and starve beside a test
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tensors are small: more threads slow each other down

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is first imported, by torch's FLOP counter for example


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data sets; tests that need it are skipped where it is missing."""
    folder = Path(os.environ.get("SWEEP_TEST_DATA", ROOT / ".." / "shared" / "data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data: set SWEEP_TEST_DATA to their folder ({folder} does not exist)")
    return folder


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """An S3 server on this machine's loopback, `host:port`; credentials for it are in the environment."""
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ACCESS_KEY_ID", "an-access-key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a-very-secret-key")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else it logs every request
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        yield "{}:{}".format(*server.get_host_and_port())
        server.stop()


@pytest.fixture
def s3(s3_server: str) -> str:
    """URI of an empty folder in a new bucket on the S3 server."""
    bucket = f"bucket-{uuid.uuid4().hex}"
    options = f"?scheme=http&endpoint_override={s3_server}"
    files, _ = fs.FileSystem.from_uri(f"s3://{bucket}{options}&allow_bucket_creation=true")
    files.create_dir(bucket)
    return f"s3://{bucket}/results{options}"


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[str]:
    """A Google Cloud Storage server on this machine's loopback, `host:port`, with a bucket named `bucket`."""
    from gcp_storage_emulator.server import create_server

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    logging.getLogger("gcp_storage_emulator").setLevel(logging.ERROR)
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def gs(gcs_server: str) -> str:
    """URI of an empty folder on the Google Cloud Storage server."""
    return f"gs://anonymous@bucket/{uuid.uuid4().hex}/results?scheme=http&endpoint_override={gcs_server}&retry_limit_seconds=20"


@pytest.fixture
def hub() -> Iterator[tuple[type[Hub], str]]:
    """An empty Hugging Face hub on this machine's loopback, and its address."""
    with serving() as hub:
        yield hub


@pytest.fixture(params=["local", "s3", "gs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Path or URI of an empty folder, on each kind of store in turn."""
    return str(tmp_path / "results") if request.param == "local" else request.getfixturevalue(request.param)
