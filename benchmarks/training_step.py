"""How fast is one training step (forward, backward, clipping, update), and how near to the machine's matrix rate?

`published` is `published_way.py` in float32, `published_autocast` the same with bfloat16 products; `ours` is
`hyena.training.optimisation.optimisation_step` in the precision asked for; `captured`, on CUDA alone, is the same step
as a CUDA graph (`hyena/training/cuda_graphs.py`), `compiled` the same with its model by `torch.compile`. Same weights,
same random letters, every position real; one process, the ways in turn, medians of n after two warm-ups. Model FLOP: 6
· 12 · D² · n_layer a token, the matrix products of forward and backward alone. Rates are per second of CPU on a CPU,
per second by the clock on a GPU. Peak memory is what a step holds beyond parameters and optimiser; the share of the
bandwidth is that of writing and reading it once. A batch of more than `--tokens` is made smaller.

    python benchmarks/training_step.py --models tiny-1k-seqlen --lengths 200 500 --batches 32 -o step.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import published_way
from benchmarks.machine import Times, add_options, alternate, bandwidth, finish, header, matrix_rate, peak_bytes
from hyena.convolution.gated import gated_convolution
from hyena.data.batches import Batch
from hyena.model import operator
from hyena.model.config import PUBLISHED, HyenaConfig
from hyena.model.hyenadna import Classifier, initialise
from hyena.randomness import stream
from hyena.training.cuda_graphs import EAGER_STEPS, stepper
from hyena.training.optimisation import optimizer_for
from hyena.training.recipe import Precision, TrainingConfig

DTYPE = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def model_flop(config: HyenaConfig, tokens: int) -> float:
    """FLOP of a step: two per multiply-add; three products (one forward, two backward) per weight matrix and token."""
    matrices = 4 * config.d_model**2 + 2 * config.d_model * config.d_inner
    return 6.0 * matrices * config.n_layer * tokens


def rates(took: Times, flop: float, tokens: int, matrix: float, device: torch.device) -> dict[str, float]:
    """Seconds of a work and its rates: per CPU second on a CPU, per wall-clock second on a GPU; `matrix` in FLOP/s."""
    busy = took.busy_s(device)
    return {
        "wall_s": round(took.wall_s, 6),
        "cpu_s": round(took.cpu_s, 6),
        "tokens_per_s": round(tokens / busy),
        "flop_per_s": float(f"{flop / busy:.4g}"),
        "share_of_matrix_rate": round(flop / busy / matrix, 4),
    }


#: Ways of taking a step: the baseline's in float32 and under autocast, and ours.
BASELINES, OURS = ("published", "published_autocast"), ("ours", "captured", "compiled")


def steps(
    config: HyenaConfig, batch: int, length: int, device: torch.device, ways: Sequence[str], precision: Precision
) -> dict[str, Callable[[], Tensor]]:
    """One step of each way, on separate models, callable any number of times. `precision` applies to ours."""
    tokens = torch.randint(7, 11, (batch, length), generator=torch.Generator().manual_seed(0))
    data = Batch(tokens.byte(), torch.full((batch,), length), torch.arange(batch) % 2)
    data = Batch(*(tensor.to(device) for tensor in data))
    tokens = tokens.to(device)

    def step(way: str) -> Callable[[], Tensor]:
        model = Classifier(config, 2)
        initialise(model, 0)
        if way in BASELINES:
            training = TrainingConfig(epochs=1, precision="float32" if way == "published" else "bfloat16")
            baseline = published_way.Classifier(config, 2)
            baseline.load_state_dict(model.state_dict())
            baseline = baseline.to(device)
            plain = published_way.optimizer(baseline, training)
            return lambda: published_way.training_step(baseline, plain, tokens, data.labels, training)
        training = TrainingConfig(epochs=1, precision=precision)
        model = model.to(device)
        optimizer, dropout = optimizer_for(model, training), stream(0, "dropout", device)
        taken = compiled(model, device) if way == "compiled" else model
        take = stepper(taken, optimizer, training, dropout, captured=way == "captured")
        return lambda: take(data, 6e-4).loss

    return {way: step(way) for way in ways}


def compiled(model: Classifier, device: torch.device) -> nn.Module:
    """The model by `torch.compile`, except the gated convolution, which has its own kernels.

    On a CPU its graphs are traced and then run eagerly: Inductor's code for a CPU is of no interest here.
    """
    operator.gated_convolution = torch.compiler.disable(gated_convolution)
    backend = "inductor" if device.type == "cuda" else "eager"
    return cast(nn.Module, torch.compile(model, dynamic=False, backend=backend))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["tiny-1k-seqlen"], help="published names, less hyenadna-")
    parser.add_argument("--lengths", nargs="+", type=int, default=[200, 500, 1024, 4096, 32768])
    parser.add_argument("--batches", nargs="+", type=int, default=[32])
    parser.add_argument(
        "--tokens", type=int, default=2**20 if torch.cuda.is_available() else 2**15, help="most a batch"
    )
    ways = ["published", "ours", *(["captured"] if torch.cuda.is_available() else [])]
    parser.add_argument("--ways", nargs="+", choices=[*BASELINES, *OURS], default=ways)
    parser.add_argument("--precision", choices=list(DTYPE), default="float32", help="of ours")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before those that count")
    add_options(parser, repeats=7)
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    rate, stream_rate = matrix_rate(device, DTYPE[options.precision]), bandwidth(device)
    warm_up = max(options.warm_up, EAGER_STEPS + 1 if "captured" in options.ways else 0)
    rows = []
    for name in options.models:
        config = PUBLISHED[f"hyenadna-{name}"]
        for length in (length for length in options.lengths if length <= config.l_max):
            for batch in sorted({max(1, min(batch, options.tokens // length)) for batch in options.batches}):
                works = steps(config, batch, length, device, options.ways, options.precision)
                medians = alternate(works, device, options.repeats, warm_up)
                flop = model_flop(config, batch * length)
                for way, took in medians.items():
                    row = {"model": name, "length": length, "batch": batch, "way": way}
                    row |= rates(took, flop, batch * length, rate, device)
                    if way != "captured":  # a graph's memory is taken once, for good
                        row["peak_bytes"] = peak = peak_bytes(works[way], device)
                        row["share_of_bandwidth"] = round(2 * peak / took.busy_s(device) / stream_rate, 4)
                    rows.append(row)
    head = header(__doc__.splitlines()[0], device, options)
    head |= {"matrix_flop_per_s": float(f"{rate:.4g}"), "bytes_per_s": float(f"{stream_rate:.4g}")}
    finish(head | {"rows": rows}, options.output)


if __name__ == "__main__":
    main()
