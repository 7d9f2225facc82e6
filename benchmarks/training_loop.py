"""What do the parts of a training step outside the model cost, and what did each cost before it was made faster?

Parts: reverse complements of the flipped rows or of all rows; AdamW fused, foreach or a loop; clipping; the gathering
of a batch. Least milliseconds of CPU time of `--repeats` after a warm-up, one thread; beside them the whole step of
the same model and batch. Prints JSON, and writes it where `--output` says.

    python benchmarks/training_loop.py -o benchmarks/results/training_loop_cpu.json
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import add_output, finish, header
from hyena.data.batches import Batch, flip_rows, reverse_complement
from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import Classifier, initialise
from hyena.randomness import stream
from hyena.training.optimisation import optimisation_step, optimizer_for
from hyena.training.recipe import TrainingConfig


def least_ms(part: Callable[[], object], repeats: int) -> float:
    part()
    found = []
    for _ in range(repeats):
        started = time.process_time()
        part()
        found.append(time.process_time() - started)
    return round(1e3 * min(found), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--d-model", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=10)
    add_output(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = Classifier(HyenaConfig(options.d_model, 2, 1_026), 2, "real", "right")
    initialise(model, 0)
    examples = 50 * options.batch
    data = Batch(
        torch.randint(7, 11, (examples, options.length), dtype=torch.uint8),
        torch.full((examples,), options.length),
        torch.randint(0, 2, (examples,)),
    )
    chosen = torch.randperm(examples)[: options.batch]
    batch, flipped = data.take(chosen), torch.arange(options.batch) % 2 == 0
    config, dropout = TrainingConfig(epochs=1), stream(0, "dropout")
    optimizer = optimizer_for(model, config)
    optimisation_step(model, optimizer, batch, 1e-4, config, dropout)  # leaves gradients for the parts
    ways: dict[str, dict[str, Any]] = {
        "fused": {"fused": True},
        "foreach": {"foreach": True},
        "loop": {"foreach": False},
    }
    parts: dict[str, Callable[[], object]] = {
        "gather": lambda: data.take(chosen),
        "reverse complement of all rows, chosen after": lambda: torch.where(
            flipped[:, None], reverse_complement(batch.tokens, batch.lengths, "right"), batch.tokens
        ),
        "reverse complement of the flipped rows": lambda: flip_rows(batch.tokens, batch.lengths, flipped, "right"),
        "clip": lambda: nn.utils.clip_grad_norm_(model.parameters(), 1.0),
        **{f"AdamW {name}": torch.optim.AdamW(model.parameters(), lr=0.0, **way).step for name, way in ways.items()},
        "whole step": lambda: optimisation_step(model, optimizer, batch, 1e-4, config, dropout),
    }
    found = {name: least_ms(part, options.repeats) for name, part in parts.items()}
    finish(header(__doc__.splitlines()[0], None, options) | {"cpu_ms": found}, options.output)


if __name__ == "__main__":
    main()
