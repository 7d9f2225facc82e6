"""Where does the time of a training step go, and what bounds each part: the matrix rate or the memory?

`torch.profiler` over n steps of `training_step.py`'s two ways; every operation's own time is booked to a part by its
name. Beside it: the machine's matrix rate and its bandwidth, and the least time that the model's matrix products and
that one reading and one writing of every saved activation would take at those rates. Two steps warm up. CPU only: on a
GPU use Nsight, as eager operations overlap there.

    python benchmarks/step_parts.py --length 500 --batch 32 -o step_parts.json
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import add_options, bandwidth, finish, header, matrix_rate
from benchmarks.training_step import model_flop, steps
from hyena.model.config import PUBLISHED

#: Part and the words of which an operation's name holds one; the first match counts, "other" is the rest.
PARTS = {
    "matrix products": ("mm", "linear"),
    "transforms": ("_fft",),
    "short convolution": ("convolution",),
    "gelu": ("gelu", "sigmoid"),
    "normalisation": ("layer_norm",),
    "copies and fills": ("copy_", "fill_", "cat", "clone", "flip"),
    "elementwise": ("mul", "add", "div", "sub", "conj"),
    "sums": ("sum", "norm"),
    "random": ("uniform_", "bernoulli_", "random_"),
}


def part_of(operation: str) -> str:
    return next((part for part, words in PARTS.items() if any(word in operation for word in words)), "other")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny-1k-seqlen", help="published name, less hyenadna-")
    parser.add_argument("--length", type=int, default=500)
    parser.add_argument("--batch", type=int, default=32)
    add_options(parser, repeats=5)
    options = parser.parse_args()
    device = torch.device("cpu")
    torch.set_num_threads(options.threads)
    config = PUBLISHED[f"hyenadna-{options.model}"]
    rate, stream = matrix_rate(device, torch.float32), bandwidth(device)
    rows = []
    for way, step in steps(config, options.batch, options.length, device, ["published", "ours"], "float32").items():
        for _ in range(2):
            step()
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            for _ in range(options.repeats):
                step()
        parts: Counter[str] = Counter()
        for event in profiler.key_averages():
            parts[part_of(event.key)] += event.self_cpu_time_total / options.repeats / 1e6
        rows.append({"way": way, "step_s": round(parts.total(), 4), **{k: round(v, 4) for k, v in parts.most_common()}})
    tokens = options.batch * options.length
    saved = tokens * config.n_layer * (9 * config.d_model + 2 * config.d_inner) * 4  # of our backward
    finish(header(__doc__.splitlines()[0], device, options) | {
        "matrix_flop_per_s": float(f"{rate:.4g}"), "bytes_per_s": float(f"{stream:.4g}"),
        "least_s_of_matrix_products": round(model_flop(config, tokens) / rate, 4),
        "least_s_of_saved_activations": round(2 * saved / stream, 4), "rows": rows,
    }, options.output)  # fmt: skip


if __name__ == "__main__":
    main()
