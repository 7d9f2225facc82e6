"""Fixtures that several test modules share."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's workers are as nice as can be, and starve beside a test
os.environ.setdefault("OMP_NUM_THREADS", "1")  # many small tensors: more threads only get in each other's way

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data sets; tests that need it skip where it is missing."""
    folder = Path(os.environ.get("SWEEP_TEST_DATA", ROOT / ".." / "shared" / "data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data: set SWEEP_TEST_DATA to their folder ({folder} does not exist)")
    return folder
