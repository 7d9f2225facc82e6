"""How much faster is a training step of K seeds stacked than K steps one after another?

The baseline is the step of a `Run`; both on random tokens, same sizes, one process, alternating; the least CPU time and
wall time of `--repeats` after one warm-up, divided by the seeds. One thread by default, because on a shared machine
only CPU times of one thread are comparable. Prints JSON, and writes it to `--output`.

    python benchmarks/stacked_seeds.py -o benchmarks/results/stacked_seeds_cpu.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import add_options, clock, finish, header
from hyena.data.batches import Batch
from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import Classifier, initialise
from hyena.model.stacked import StackedClassifier
from hyena.randomness import stream
from hyena.training.cuda_graphs import stepper
from hyena.training.optimisation import Step, optimizer_for
from hyena.training.recipe import Precision, TrainingConfig

#: d_model, batch, length; two layers each.
CASES = [(16, 8, 64), (32, 8, 120), (32, 32, 120), (64, 32, 120), (128, 32, 120), (128, 32, 500)]
SEEDS = (1, 2, 4, 8, 16, 32)
#: On a CPU, most positions of all seeds in a step: larger stacks take too long and are left out.
MOST_ON_CPU = 2**17


def steps_of(
    size: HyenaConfig,
    batch: int,
    length: int,
    seeds: int,
    device: torch.device,
    precision: Precision = "float32",
    captured: bool = False,
) -> Callable[[], Step]:
    """A training step of that many seeds; 0 means a single model without a seed axis."""
    models = [Classifier(size, 2, "real", "right") for _ in range(max(seeds, 1))]
    for seed, one in enumerate(models):
        initialise(one, seed)
        one.to(device)
    model: nn.Module = StackedClassifier(models) if seeds else models[0]
    shape = (seeds, batch) if seeds else (batch,)
    data = Batch(
        torch.randint(7, 11, (*shape, length), dtype=torch.uint8, device=device),
        torch.full(shape, length, device=device),
        torch.randint(0, 2, shape, device=device),
    )
    streams = [stream(seed, "dropout", device) for seed in range(max(seeds, 1))]
    config = TrainingConfig(epochs=1, precision=precision)
    take = stepper(model, optimizer_for(model, config), config, streams if seeds else streams[0], captured)
    return lambda: take(data, 1e-4)


def least(steps: dict[int, Callable[[], Step]], repeats: int, device: torch.device) -> dict[int, dict[str, float]]:
    """Least milliseconds of each number of seeds, measured in turn."""
    found: dict[int, dict[str, float]] = {seeds: {"cpu_ms": float("inf"), "wall_ms": float("inf")} for seeds in steps}
    for repeat in range(repeats + 1):
        for seeds, step in steps.items():
            wall_s, cpu_s = clock(step, device)
            if repeat:
                took = {"cpu_ms": 1e3 * cpu_s, "wall_ms": 1e3 * wall_s}
                found[seeds] = {name: min(found[seeds][name], took[name]) for name in took}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, repeats=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    rows = []
    for d_model, batch, length in CASES:
        stacks = [k for k in SEEDS if options.device != "cpu" or k * batch * length <= MOST_ON_CPU]
        size = HyenaConfig(d_model, 2, 1_026)
        steps = {k: steps_of(size, batch, length, k, device) for k in (0, *stacks)}
        found = least(steps, options.repeats, device)
        alone = found.pop(0)
        for seeds, took in found.items():
            row: dict[str, float] = {"d_model": d_model, "batch": batch, "length": length, "seeds": seeds}
            row |= {f"alone_{name}": value for name, value in alone.items()}
            row |= {f"{name}_per_seed": value / seeds for name, value in took.items()}
            row |= {f"{name[:-3]}_speed_up": alone[name] * seeds / took[name] for name in took}
            rows.append({name: round(value, 3) for name, value in row.items()})
    head = header(__doc__.splitlines()[0], device, options)
    finish(head | {"rows": rows}, options.output)


if __name__ == "__main__":
    main()
