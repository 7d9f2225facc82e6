"""Fixtures of the sweep's unit tests."""

from pathlib import Path

import pytest

STUDY = """
[grid]
models = ["small", "large"]
datasets = ["synthetic_tracts"]
seeds = [1, 2, 3]
epochs = [2, 1]
[models.small]
d_model = 8
n_layer = 1
l_max = 130
[models.large]
d_model = 8
n_layer = 2
l_max = 130
[synthetic]
train_examples = 20
test_examples = 10
[pretraining]
corpus = "synthetic"
steps = 1
length = 100
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path
