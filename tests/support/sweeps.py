"""Starting sweeps in end-to-end tests, and reading their results."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.support.places import ROOT

#: Part of the command line of a trial's actor, in training or idle.
WORKER = b"Trainable"

STUDY = """
name = "small"
[grid]
models = ["nano"]
datasets = ["synthetic_diverged_tracts"]
seeds = [1, 2]
epochs = [2]
[models.nano]
d_model = 8
n_layer = 1
l_max = 66
[synthetic]
genome_bases = 20_000
sequence_length = 60
train_examples = 60
test_examples = 40
[training]
batch_size = 16
[pretraining]
corpus = "synthetic"
steps = 5
length = 50
batch_size = 8
"""


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "sweep.run", *map(str, words)]


def call(*words: object, timeout: float = 280, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), cwd=ROOT, capture_output=True, text=True, timeout=timeout, env={**os.environ, **environment}
    )


def rows(results: Path, table: str = "runs") -> list[dict[str, Any]]:
    return [row for path in sorted((results / table).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def measures(results: Path) -> dict[str, tuple[Any, ...]]:
    """Values of each run that must not depend on interruptions."""
    history: dict[str, list[tuple[Any, ...]]] = {}
    for row in rows(results, "epochs"):
        history.setdefault(row["run_id"], []).append((row["epoch"], row["train_loss"], row["test_loss"]))
    logits = {row["run_id"]: row["logits"] for row in rows(results, "predictions")}  # of the last example
    return {run_id: (*sorted(history[run_id]), logits[run_id]) for run_id in history}


def wait_for(condition: Any, process: subprocess.Popen[bytes], what: str, seconds: float = 180) -> None:
    """Wait until the condition holds; fail if the sweep ends before."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"the sweep ended before there was {what}"
        assert time.monotonic() < deadline, f"no {what} after {seconds} s"
        time.sleep(0.1)


def wait_for_rows(results: Path, number: int, process: subprocess.Popen[bytes]) -> None:
    wait_for(lambda: len(list((results / "runs").glob("*.parquet"))) >= number, process, f"{number} runs")


def processes(mark: str, part: bytes) -> list[int]:
    """Processes whose command line holds `part`, of the sweep that was started with this mark in its environment (an
    empty mark: of any)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            marked = not mark or f"SWEEP_TEST_MARK={mark}".encode() in (folder / "environ").read_bytes()
            if marked and part in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found
