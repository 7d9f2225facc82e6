"""How fast is one training step (forward, backward, clipping, update), and how near to the machine's matrix rate?

`published` is `published_way.py` in float32; `ours` is `hyena.training.optimisation_step` in the precision asked for.
Same weights, same random letters, every position real; one process, the ways in turn, medians of n after two warm-ups.
Model FLOP: 6 · 12 · D² · n_layer a token, the matrix products of forward and backward alone. Rates are per second of
CPU on a CPU, per second by the clock on a GPU. Peak memory is what a step holds beyond parameters and optimiser.

    python benchmarks/training_step.py --models tiny-1k-seqlen --lengths 200 500 --batches 32 -o step.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import published_way
from benchmarks.machine import add_options, alternate, finish, header, matrix_rate, peak_bytes
from hyena.batches import Batch
from hyena.config import PUBLISHED, HyenaConfig
from hyena.model import Classifier, initialise
from hyena.optimisation import optimisation_step, optimizer_for
from hyena.randomness import stream
from hyena.recipe import TrainingConfig

DTYPE = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def model_flop(config: HyenaConfig, tokens: int) -> float:
    """Of a step: two a multiply-add, three products (one forward, two backward) a weight matrix and token."""
    matrices = 4 * config.d_model**2 + 2 * config.d_model * config.d_inner
    return 6.0 * matrices * config.n_layer * tokens


def steps(
    config: HyenaConfig, batch: int, length: int, options: argparse.Namespace
) -> dict[str, Callable[[], torch.Tensor]]:
    """One step of each way, to be called as often as wanted."""
    device = torch.device(options.device)
    training = TrainingConfig(epochs=1, batch_size=batch, precision=options.precision)
    model = Classifier(config, 2)
    initialise(model, 0)
    baseline = published_way.Classifier(config, 2)
    baseline.load_state_dict(model.state_dict())
    model, baseline = model.to(device), baseline.to(device)
    tokens = torch.randint(7, 11, (batch, length), generator=torch.Generator().manual_seed(0))
    data = Batch(tokens.byte(), torch.full((batch,), length), torch.arange(batch) % 2)
    data = Batch(*(tensor.to(device) for tensor in data))
    tokens = tokens.to(device)
    optimizer, dropout = optimizer_for(model, training), stream(0, "dropout", device)
    plain = published_way.optimizer(baseline, training)
    ways = {
        "published": lambda: published_way.training_step(baseline, plain, tokens, data.labels, training),
        "ours": lambda: optimisation_step(model, optimizer, data, 6e-4, training, dropout).loss,
    }
    return {name: ways[name] for name in options.ways}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["tiny-1k-seqlen"], help="published names, less hyenadna-")
    parser.add_argument("--lengths", nargs="+", type=int, default=[200, 500, 1024, 4096, 32768])
    parser.add_argument("--batches", nargs="+", type=int, default=[32])
    parser.add_argument("--ways", nargs="+", choices=["published", "ours"], default=["published", "ours"])
    parser.add_argument("--precision", choices=list(DTYPE), default="float32", help="of ours")
    add_options(parser, repeats=7)
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    rate = matrix_rate(device, DTYPE[options.precision])
    rows = []
    for name in options.models:
        config = PUBLISHED[f"hyenadna-{name}"]
        for length in (length for length in options.lengths if length <= config.l_max):
            for batch in options.batches:
                works = steps(config, batch, length, options)
                medians = alternate(works, device, options.repeats)
                flop = model_flop(config, batch * length)
                for way, took in medians.items():
                    busy = took.wall_s if device.type == "cuda" else took.cpu_s
                    rows.append({
                        "model": name, "length": length, "batch": batch, "way": way,
                        "wall_s": round(took.wall_s, 6), "cpu_s": round(took.cpu_s, 6),
                        "tokens_per_s": round(batch * length / busy), "flop_per_s": float(f"{flop / busy:.4g}"),
                        "share_of_matrix_rate": round(flop / busy / rate, 4),
                        "peak_bytes": peak_bytes(works[way], device),
                    })  # fmt: skip
    finish(header(__doc__.splitlines()[0], device, options) | {"matrix_flop_per_s": float(f"{rate:.4g}"), "rows": rows},
           options.output)  # fmt: skip


if __name__ == "__main__":
    main()
