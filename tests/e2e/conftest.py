"""Fixtures of the end-to-end tests."""

from pathlib import Path

import pytest

from tests.support.sweeps import STUDY


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(STUDY)
    return path
