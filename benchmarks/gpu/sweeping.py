"""Part D: the sweep itself, with Ray: runs an hour by share and stack, and what goes wrong and is mended.

Cells are those of the original study on human_enhancers_cohn: as many sequences, of random letters, 500 long, batch
256. The published way trains one run after another; of it one epoch of a fifth of the data is timed and scaled. Runs
an hour are those of 15 epochs, from the first run's start to the last one's end; a sweep's own start is told apart.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.epoch import random_letters, training
from benchmarks.gpu.session import Measurement, Setting, WrongError
from benchmarks.gpu.speed import BATCH, STUDIED
from benchmarks.gpu.training import published_epoch
from benchmarks.machine import clock
from hyena.system.cores import granted_cores
from sweep import gpu_probe
from sweep.store import Store
from tests.support.sweeps import WORKER, processes, wait_for

ROOT = Path(__file__).resolve().parents[2]
#: Sequences of human_enhancers_cohn, its share held out for validation, its length, and the original study's epochs.
TRAIN, TEST, VALIDATION, LENGTH, EPOCHS = 20_843, 6_948, 0.1, 500, 15

STUDY = """
name = "gpu"
[grid]
models = ["{model}"]
datasets = ["cohn"]
init = ["scratch"]
seeds = {seeds}
epochs = [{epochs}]
[models.nano]
d_model = 8
n_layer = 1
l_max = 66
[datasets.cohn]
format = "csv"
path = "{data}"
[training]
batch_size = {batch}
validation_fraction = {validation}
precision = "{precision}"
[resources]
{resources}
"""


@dataclass(frozen=True)
class Ways:
    """How runs are put on the device: trials beside each other, seeds in a model; 0 trials: as measured by probes."""

    trials: int
    stack: int = 1
    captured: bool = False

    @property
    def name(self) -> str:
        captured = "-captured" if self.captured else ""
        return f"auto{captured}" if not self.trials else f"{self.trials}x{self.stack}{captured}"

    def resources(self, device: str) -> str:
        """As a study says it. Without a GPU the cores are divided in its place."""
        if device != "cuda":
            return f"cpus = {max(1, granted_cores().count // max(self.trials, 1))}\nstack = {self.stack}"
        captured = f"captured = {str(self.captured).lower()}"
        if not self.trials:
            return captured
        return f"gpus = {1 / self.trials}\nstack = {self.stack}\n{captured}"


AUTO, ALONE = Ways(0), Ways(1)
#: By size, what matters most first.
TRIED = {
    "tiny-1k-seqlen": (
        AUTO, ALONE, Ways(1, 8), Ways(4), Ways(4, 4), Ways(1, 8, captured=True), Ways(0, 1, captured=True), Ways(8),
        Ways(2), Ways(2, 8), Ways(1, 1, captured=True), Ways(1, 16), Ways(1, 4), Ways(8, 4),
    ),
    "large-1m-seqlen": (AUTO, ALONE, Ways(2), Ways(1, 1, captured=True), Ways(1, 2), Ways(1, 4)),
}  # fmt: skip


def measurements(setting: Setting) -> list[Measurement]:
    """The headline's two figures for each size first, then what goes wrong, then the other ways."""
    tried: Mapping[str, tuple[Ways, ...]] = setting.choose(TRIED, {"nano": (ALONE, Ways(2, 2))})
    baseline: tuple[str, ...] = setting.choose(STUDIED, STUDIED[:1])

    def measured(which: slice) -> list[Measurement]:
        return [
            Measurement(f"runs-{size}-{ways.name}", 90, functools.partial(runs, size, ways))
            for size, all_ways in tried.items()
            for ways in all_ways[which]
        ]

    first = measured(slice(2))
    found = [Measurement(f"published-{size}", 60, functools.partial(one_after_another, size)) for size in baseline]
    found = [*first[:1], *found, *first[1:]]
    found.append(Measurement("worker-killed", 120, worker_killed))
    if setting.device == "cuda":
        found.append(Measurement("share-too-small", 120, share_too_small))
    found.append(Measurement("equal-results", 120, equal_results))
    return [*found, *measured(slice(2, None))]


def write_data(folder: Path, train: int, test: int, length: int) -> Path:
    """A data set of random letters in two classes, as CSV tables."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for name, count in (("train", train), ("test", test)):
        rows = [f"{sequence.decode()},{label}" for sequence, label in random_letters([length] * count, rng)]
        (folder / f"{name}.csv").write_text("\n".join(["sequence,label", *rows]) + "\n")
    return folder


@dataclass
class Started:
    """A sweep under way in a folder of its own."""

    process: subprocess.Popen[bytes]
    results: Path
    mark: str
    setting: Setting

    def rows(self) -> list[dict[str, Any]]:
        columns = [
            "seed", "status", "failure", "train_s", "evaluate_s", "started_at", "finished_at", "gpu_fraction",
            "stacked_runs", "concurrent_runs", "peak_memory_bytes", "test_loss", "test_accuracy", "device",
        ]  # fmt: skip
        return sorted(map(dict, Store(str(self.results)).runs(columns)), key=lambda row: row["seed"])

    def ended(self) -> list[dict[str, Any]]:
        """Its rows, when it has ended; RuntimeError where not all runs are done."""
        said, _ = self.process.communicate()
        if self.process.returncode != 0:
            raise RuntimeError(f"the sweep ended with {self.process.returncode}:\n{said.decode()[-3000:]}")
        rows = self.rows()
        if self.setting.device == "cuda" and not all(row["gpu_fraction"] for row in rows):
            raise RuntimeError("the sweep ran on the CPU: Ray sees no GPU here")
        return rows


def start(
    folder: Path, setting: Setting, resources: str, model: str, seeds: int, epochs: int,
    precision: str = "bfloat16", share: float = 1.0,
) -> Started:  # fmt: skip
    """A sweep of one cell, started as a user does.

    Args:
        share: of the sequences.
    """
    train, test = (max(16, int(count * share)) for count in setting.choose((TRAIN, TEST), (48, 16)))
    data = write_data(folder / "data", train, test, setting.choose(LENGTH, 60))
    (folder / "study.toml").write_text(
        STUDY.format(
            model=model if model == "nano" else f"hyenadna-{model}", seeds=list(range(1, seeds + 1)), epochs=epochs,
            data=data, batch=setting.choose(BATCH, 16), validation=VALIDATION, precision=precision,
            resources=resources,
        )
    )  # fmt: skip
    environment = dict(os.environ, SWEEP_TEST_MARK=str(folder), OMP_NUM_THREADS="1", XDG_CACHE_HOME=str(folder))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    command = [
        sys.executable, "-m", "sweep.run", str(folder / "study.toml"), "--results", str(folder / "results"),
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return Started(process, folder / "results", str(folder), setting)


def runs(size: str, ways: Ways, setting: Setting) -> dict[str, Any]:
    """Runs an hour of one size's cell."""
    small = size == STUDIED[0]
    seeds = setting.choose(max(16 if small else 8, 2 * ways.trials * ways.stack), 4)
    epochs = setting.choose(3 if small else 1, 1)
    with tempfile.TemporaryDirectory() as name:
        begun = time.time()
        started = start(Path(name), setting, ways.resources(setting.device), size, seeds, epochs)
        rows = started.ended()
        wall_s = time.time() - begun
        probes = gpu_probe.remembered(Store(str(started.results)))
    first, last = min(row["started_at"] for row in rows), max(row["finished_at"] for row in rows)
    steady_s = (last - first).total_seconds()
    hourly = len(rows) * epochs / EPOCHS / steady_s * 3600
    line = (
        f"{hourly:.0f} runs of {EPOCHS} epochs an hour ({len(rows)} of {epochs} in {steady_s:.1f} s); share "
        f"{rows[0]['gpu_fraction']:.3g}, stack {rows[0]['stacked_runs']}"
    )
    return {
        "line": line,
        "size": size,
        "ways": ways.name,
        "runs": len(rows),
        "epochs": epochs,
        "runs_an_hour": round(hourly, 1),
        "steady_s": round(steady_s, 2),
        "wall_s": round(wall_s, 2),
        "until_first_run_s": round(first.timestamp() - begun, 2),
        "gpu_fraction": rows[0]["gpu_fraction"],
        "stacked_runs": rows[0]["stacked_runs"],
        "concurrent_runs": rows[0]["concurrent_runs"],
        "own_s_a_run": round(sum(row["train_s"] + row["evaluate_s"] for row in rows) / len(rows), 3),
        "peak_memory_bytes": max(row["peak_memory_bytes"] for row in rows),
        "probes": [{**asdict(one), "kind": kind} for kind, found in probes.items() for one in found],
    }


def one_after_another(size: str, setting: Setting) -> dict[str, Any]:
    """Runs an hour of the published way: a fifth of an epoch and of an evaluation, and from it 15 of each."""
    part = setting.choose(5, 1000)
    train, test = int(TRAIN * (1 - VALIDATION)) // part, TEST // part
    examples = random_letters([LENGTH] * train, np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        work = published_epoch(
            size, Path(folder), examples, examples[:test], training(setting.choose(BATCH, 8)), setting.where
        )
        if not setting.tiny:
            work()
        took = clock(work, setting.where).wall_s * part
    hourly = 3600 / (EPOCHS * took)
    return {
        "line": f"{hourly:.1f} runs an hour: {took:.1f} s an epoch",
        "size": size,
        "runs_an_hour": round(hourly, 2),
        "epoch_s": round(took, 3),
        "timed_train": train,
        "timed_test": test,
    }


def start_compared(folder: str, setting: Setting, ways: Ways) -> Started:
    """The cell in which results are compared: four seeds, three epochs of a fifth of the sequences, in float32."""
    model = setting.choose(STUDIED[0], "nano")
    return start(Path(folder), setting, ways.resources(setting.device), model, 4, 3, "float32", share=0.2)


@functools.cache
def undisturbed(setting: Setting, ways: Ways) -> list[dict[str, Any]]:
    """Rows of the compared cell."""
    with tempfile.TemporaryDirectory() as folder:
        return start_compared(folder, setting, ways).ended()


def _apart(rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> dict[str, float]:
    """The largest differences between the same seeds' final results."""
    assert [row["seed"] for row in rows] == [row["seed"] for row in others]
    pairs = list(zip(rows, others, strict=True))
    return {name: max(abs(one[name] - other[name]) for one, other in pairs) for name in ("test_loss", "test_accuracy")}


#: Of the final test loss on random labels; training in float32 parts by rounding, within some epochs of it.
EQUAL_LOSS = 0.02


def equal_results(setting: Setting) -> dict[str, Any]:
    """The same seeds alone, stacked and captured: their final results apart."""
    alone = undisturbed(setting, ALONE)
    ways: dict[str, Ways] = {"stack of 4": Ways(1, 4)}
    if setting.device == "cuda":
        ways |= {"captured": Ways(1, 1, captured=True), "stack of 4, captured": Ways(1, 4, captured=True)}
    apart = {name: _apart(alone, undisturbed(setting, way)) for name, way in ways.items()}
    line = ", ".join(f"{name} {differences['test_loss']:.2g}" for name, differences in apart.items())
    result = {"line": f"test loss apart: {line}", "apart": apart}
    if max(differences["test_loss"] for differences in apart.values()) > EQUAL_LOSS:
        raise WrongError(f"results differ by more than rounding: {line}", result)
    return result


def worker_killed(setting: Setting) -> dict[str, Any]:
    """SIGKILL to every worker after the first row: all runs end, with the results of an undisturbed sweep."""
    alone = undisturbed(setting, ALONE)
    with tempfile.TemporaryDirectory() as folder:
        started = start_compared(folder, setting, ALONE)
        wait_for(lambda: any(started.rows()), started.process, "a first row", 100)
        victims = processes(started.mark, WORKER)
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        rows = started.ended()
    apart = _apart(alone, rows)
    result = {
        "line": f"{len(victims)} killed, {len(rows)} runs done, test loss apart by {apart['test_loss']:.2g}",
        "killed": len(victims),
        "apart": apart,
    }
    if not victims or apart["test_loss"] > EQUAL_LOSS:
        raise WrongError("no worker was killed" if not victims else "results differ by more than rounding", result)
    return result


def share_too_small(setting: Setting) -> dict[str, Any]:
    """Runs that get a hundredth of the GPU and need more: they come again with larger shares until they fit."""
    with tempfile.TemporaryDirectory() as folder:
        resources = "gpus = 0.01\nstack = 1"
        rows = start(Path(folder), setting, resources, STUDIED[0], seeds=2, epochs=1, share=0.2).ended()
    shares = [row["gpu_fraction"] for row in rows]
    result = {"line": f"ended with shares {shares}", "shares": shares, "rows": rows}
    if min(shares) <= 0.01:
        raise WrongError("the runs fitted into a hundredth of the GPU: nothing was shown", result)
    return result
