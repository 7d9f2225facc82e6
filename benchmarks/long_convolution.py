"""How much faster are forward and backward of the long convolution than the published way, by length and way?

Published: FFT of length 2L, differentiated by autograd. Ours: block-Toeplitz products and FFTs of a good size, each
with its hand-written gradients, on pieces of the channels. Same inputs, one process, alternating; medians of n after
two warm-ups. Which way is chosen for which length (`hyena.convolution.long.way_for`) follows from this table. The whole
gate chain, and a GPU's kernels for it, are measured by `python -m benchmarks.gpu --part B`.

    python benchmarks/long_convolution.py --lengths 64 128 256 500 1024 4096 -o long_convolution.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import add_options, alternate, finish, header
from benchmarks.published_way import fft_convolution
from hyena.convolution.long import FFT, TOEPLITZ, causal_convolution

LONGEST_TOEPLITZ = 4096  # its work grows with the square


def there_and_back(function: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], Any]:
    """Forward and backward; gradients are returned, not accumulated. The result's are the same for all functions."""
    shape, dtype = (result := function(*inputs)).shape, result.dtype
    weights = torch.sin(torch.arange(shape.numel(), device=result.device)).to(dtype).view(shape)
    del result

    def call() -> Any:
        return torch.autograd.grad(function(*inputs), inputs, weights)

    return call


def works(batch: int, channels: int, length: int, device: torch.device) -> dict[str, Callable[[], Any]]:
    signal = torch.randn(batch, channels, length, device=device, requires_grad=True)
    kernel = torch.randn(channels, length, device=device, requires_grad=True)
    no_skip = torch.zeros(channels, device=device)
    found = {
        "published": there_and_back(lambda u, k: fft_convolution(u, k, no_skip), signal, kernel),
        "fft": there_and_back(lambda u, k: causal_convolution(u, k, FFT), signal, kernel),
    }
    if length <= LONGEST_TOEPLITZ:
        found["toeplitz"] = there_and_back(lambda u, k: causal_convolution(u, k, TOEPLITZ), signal, kernel)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", nargs="+", type=int, default=[64, 128, 160, 200, 256, 500, 1024, 4096, 32768])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--channels", type=int, default=128)
    add_options(parser, repeats=9)
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    rows = []
    for length in options.lengths:
        batch = (
            max(1, min(options.batch, 2**22 // (options.channels * length) or 1)) if length > 4096 else options.batch
        )
        medians = alternate(works(batch, options.channels, length, device), device, options.repeats)
        busy = {name: took.busy_s(device) for name, took in medians.items()}
        rows.append({
            "length": length, "batch": batch, **{f"{name}_s": round(s, 6) for name, s in busy.items()},
            "speed_up": round(busy["published"] / min(s for n, s in busy.items() if n != "published"), 2),
        })  # fmt: skip
    finish(header(__doc__.splitlines()[0], device, options) | {"rows": rows}, options.output)


if __name__ == "__main__":
    main()
