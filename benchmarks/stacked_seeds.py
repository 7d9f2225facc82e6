"""How much faster is a training step of K seeds stacked than K steps one after another?

The baseline is the step of a `Run`; both on random tokens, same sizes, one process, alternating; the least CPU time and
wall time of `--repeats` after one warm-up, divided by the seeds. One thread by default: on a machine that is shared,
CPU time of one thread is what can be compared. Prints JSON, and writes it where `--output` says.

    python benchmarks/stacked_seeds.py -o benchmarks/results/stacked_seeds_cpu.json
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import add_options, finish, header
from hyena.batches import Batch
from hyena.config import HyenaConfig
from hyena.model import Classifier, initialise
from hyena.optimisation import optimisation_step, optimizer_for
from hyena.randomness import stream
from hyena.recipe import TrainingConfig
from hyena.stacked import StackedClassifier

#: d_model, batch, length; two layers each.
CASES = [(16, 8, 64), (32, 8, 120), (32, 32, 120), (64, 32, 120), (128, 32, 120), (128, 32, 500)]
SEEDS = (1, 2, 4, 8, 16, 32)
#: Positions of all seeds in a step, beyond which a stack is left out on a CPU: nobody would wait for it.
MOST_ON_CPU = 2**17


def stepper(d_model: int, batch: int, length: int, seeds: int, device: str) -> Callable[[], None]:
    """A training step of so many seeds; 0: of a single model without a seed axis."""
    models = [Classifier(HyenaConfig(d_model, 2, 1_026), 2, "real", "right") for _ in range(max(seeds, 1))]
    for seed, model in enumerate(models):
        initialise(model, seed)
        model.to(device)
    model = StackedClassifier(models) if seeds else models[0]
    shape = (seeds, batch) if seeds else (batch,)
    data = Batch(
        torch.randint(7, 11, (*shape, length), dtype=torch.uint8, device=device),
        torch.full(shape, length, device=device),
        torch.randint(0, 2, shape, device=device),
    )
    streams = [stream(seed, "dropout", device) for seed in range(max(seeds, 1))]
    config = TrainingConfig(epochs=1)
    optimizer = optimizer_for(model, config)

    def step() -> None:
        optimisation_step(model, optimizer, data, 1e-4, config, streams if seeds else streams[0])
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def least(steps: dict[int, Callable[[], None]], repeats: int) -> dict[int, dict[str, float]]:
    """Least milliseconds of each way, taken in turn."""
    found: dict[int, dict[str, float]] = {seeds: {"cpu_ms": float("inf"), "wall_ms": float("inf")} for seeds in steps}
    for repeat in range(repeats + 1):
        for seeds, step in steps.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            took = {"cpu_ms": time.process_time() - cpu, "wall_ms": time.perf_counter() - wall}
            if repeat:
                found[seeds] = {clock: min(found[seeds][clock], 1e3 * took[clock]) for clock in took}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, repeats=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for d_model, batch, length in CASES:
        stacks = [k for k in SEEDS if options.device != "cpu" or k * batch * length <= MOST_ON_CPU]
        found = least({k: stepper(d_model, batch, length, k, options.device) for k in (0, *stacks)}, options.repeats)
        alone = found.pop(0)
        for seeds, took in found.items():
            row = {"d_model": d_model, "batch": batch, "length": length, "seeds": seeds}
            row |= {f"alone_{clock}": value for clock, value in alone.items()}
            row |= {f"{clock}_per_seed": value / seeds for clock, value in took.items()}
            row |= {f"{clock[:-3]}_speed_up": alone[clock] * seeds / took[clock] for clock in took}
            rows.append({name: round(value, 3) for name, value in row.items()})
    head = header(__doc__.splitlines()[0], torch.device(options.device), options)
    finish(head | {"rows": rows}, options.output)


if __name__ == "__main__":
    main()
