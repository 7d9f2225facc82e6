"""Part C: stacks of seeds, the forecast of memory, a whole epoch beside the published way, and long inputs."""

from __future__ import annotations

import functools
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import memory_model, published_way
from benchmarks.epoch import PADDED_TO, ours, published, sequences, training, write
from benchmarks.gpu.session import Measurement, Setting
from benchmarks.gpu.speed import BATCH, STUDIED
from benchmarks.long_inputs import in_a_process
from benchmarks.machine import clock, if_it_fits, peak_bytes, queued_s
from benchmarks.stacked_seeds import steps_of
from hyena.data.sequences import dataset_from_sequences
from hyena.model.config import PUBLISHED
from hyena.training.recipe import TrainingConfig

SEEDS = (1, 2, 4, 8, 16, 32)
#: How many times as large a batch of the memory model's shapes is on a GPU, so that work space is not most of it.
BATCHES = 32
LONG = "hyenadna-large-1m-seqlen"


def measurements(setting: Setting) -> list[Measurement]:
    """A whole epoch first: it is what a user waits for."""
    studied = setting.choose(STUDIED, STUDIED[:1])
    found = [Measurement(f"epoch-{size}", 120, functools.partial(epoch, size)) for size in studied]
    found += [
        Measurement(f"stacks-{size}-{length}", 60, functools.partial(stacks, size, length))
        for length in setting.choose((500, 200), (48,))
        for size in studied
    ]
    found += [Measurement("memory-model-bfloat16", 120, memory)]
    found += [
        Measurement(
            f"long-{length}-{'on' if checkpointed else 'off'}", 60, functools.partial(long_input, length, checkpointed)
        )
        for length, checkpointed in setting.choose(
            ((1_000_000, True), (450_000, True), (160_000, True), (160_000, False), (32_768, True), (32_768, False)),
            ((64, True),),
        )
    ]
    return found


def epoch(size: str, setting: Setting) -> dict[str, Any]:
    """Training and evaluation of one epoch: from text files as published; from the device as a sweep does it.

    Lengths as in human_enhancers_ensembl; a quarter as many test sequences as training sequences.
    """
    device, batch = setting.where, setting.choose(BATCH, 8)
    train = sequences(setting.choose(8192, 24))
    test = train[: len(train) // 4]
    letters = sum(min(PADDED_TO, len(sequence)) for sequence, _ in train)
    dataset = dataset_from_sequences("made", ["0", "1"], train, test)
    with tempfile.TemporaryDirectory() as folder:
        work = published_epoch(size, Path(folder), train, test, training(batch), device)
        rows = [_timed("published", work, letters, device, repeats=1)]
        del work
    for batching in ("shuffled", "like_length"):
        for captured in (False, True) if setting.device == "cuda" else (False,):
            run = ours(dataset, size, training(batch, "bfloat16", batching=batching), device, captured)
            way = f"ours, {batching}{', captured' if captured else ''}"
            rows.append(_timed(way, run.advance, letters, device, setting.choose(3, 1)))
            del run
    for row in rows:
        row["speed_up"] = round(rows[0]["epoch_s"] / row["epoch_s"], 2)
    line = ", ".join(f"{row['way']} {row['epoch_s']:.2f} s ({row['speed_up']}×)" for row in rows)
    return {"line": line, "train": len(train), "test": len(test), "letters": letters, "batch": batch, "rows": rows}


def _timed(way: str, work: Callable[[], Any], letters: int, device: torch.device, repeats: int) -> dict[str, Any]:
    work()  # loads, chooses and compiles what is needed once
    took = statistics.median(clock(work, device).wall_s for _ in range(repeats))
    gc.collect()
    return {
        "way": way,
        "epoch_s": round(took, 4),
        "letters_per_s": round(letters / took),
        "peak_bytes": peak_bytes(work, device),
    }


def published_epoch(
    size: str,
    folder: Path,
    train: list[tuple[bytes, int]],
    test: list[tuple[bytes, int]],
    config: TrainingConfig,
    device: torch.device,
) -> Callable[[], float]:
    """An epoch of the published way and the evaluation after it, to be called as often as wanted; writes the files."""
    files = {}
    for name, examples in (("train", train), ("test", test)):
        (folder / name).mkdir()
        files[name] = published_way.TextFiles(write(examples, folder / name), PADDED_TO, name == "train")
    model = published_way.Classifier(PUBLISHED[f"hyenadna-{size}"], 2).to(device)
    one_epoch = published(files["train"], model, config, device)

    def work() -> float:
        one_epoch()
        return published_way.evaluate(model, files["test"], config, device)

    return work


def _memory_of(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0


def stacks(size: str, length: int, setting: Setting) -> dict[str, Any]:
    """A step of 1 to 32 seeds in one model, eager and captured, beside the step of a model without a seed axis."""
    device, batch, config = setting.where, setting.choose(BATCH, 2), PUBLISHED[f"hyenadna-{size}"]

    def attempt(seeds: int, captured: bool) -> tuple[float, int | None]:
        work = steps_of(config, batch, length, seeds, device, "bfloat16", captured)
        step_s = queued_s(work, device, setting.choose(5, 1), calls=setting.choose(5, 1))
        return step_s, None if captured else peak_bytes(work, device)

    rows: list[dict[str, Any]] = []
    for captured in (False, True) if setting.device == "cuda" else (False,):
        # A capture that runs out of memory leaves the device unusable, so only what fitted with room to spare.
        fitted = [row["seeds"] for row in rows if 2 * row["peak_bytes"] < _memory_of(device)]
        alone_s = 0.0
        for seeds in fitted if captured else (0, *setting.choose(SEEDS, (1, 2))):
            found = if_it_fits(functools.partial(attempt, seeds, captured))
            if found is None:
                break
            step_s, peak = found
            alone_s = alone_s or step_s
            rows.append({
                "seeds": seeds, "captured": captured, "step_s": round(step_s, 7),
                "s_per_seed": round(step_s / max(seeds, 1), 7),
                "speed_up": round(alone_s * max(seeds, 1) / step_s, 2), "peak_bytes": peak,
            })  # fmt: skip
    best = max(rows, key=lambda row: row["speed_up"])
    how = ", captured" if best["captured"] else ""
    line = f"alone {1e3 * rows[0]['step_s']:.2f} ms; best {best['speed_up']}× with {best['seeds']} seeds{how}"
    return {"line": line, "length": length, "batch": batch, "rows": rows}


def memory(setting: Setting) -> dict[str, Any]:
    """`hyena.cost.memory_forecast.Coefficients` for bfloat16 here, and their errors on shapes not fitted."""
    shapes = [shape._replace(batch=shape.batch * BATCHES) for shape in memory_model.SHAPES]
    if setting.tiny:
        few = [shape for shape in memory_model.SHAPES if shape.d_model <= 96 and shape.n_layer <= 2]
        shapes = [shape._replace(batch=2, length=shape.length // 10) for shape in few]
    found = memory_model.measure(shapes, setting.where, "bfloat16")
    line = ", ".join(f"{kind} {100 * error:.1f} %" for kind, error in found["worst_error"].items())
    return {"line": f"worst error {line}", **found}


def long_input(length: int, checkpointed: bool, setting: Setting) -> dict[str, Any]:
    """One sequence forward and backward through the language model of the largest size, in a process of its own."""
    started = time.perf_counter()
    found = in_a_process(LONG, length, checkpointed, "bfloat16")
    if "failed" in found:
        return {"line": found["failed"][:200], **found}
    line = f"{found['seconds']} s, {found['peak_bytes'] / 1e9:.1f} GB ({found['bytes_per_position']} bytes a position)"
    return {"line": line, "with_its_start_s": round(time.perf_counter() - started, 1), **found}
