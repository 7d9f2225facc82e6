"""How much faster are forward and backward of the long convolution than the published way, by length and method?

Published: FFT of length 2L, differentiated by autograd. Ours: block-Toeplitz products and FFTs of a fast size, each
with its hand-written gradients, on chunks of the channels. Same inputs, one process, alternating; medians of n after
two warm-ups. `hyena.convolution.gated.method_for` chooses the method by this table. The gated convolution and a GPU's
kernels for it are measured by `python -m benchmarks.gpu --part B`.

    python benchmarks/long_convolution.py --lengths 64 128 256 500 1024 4096 -o long_convolution.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import add_options, alternate, finish, header
from benchmarks.published_way import fft_convolution
from hyena.convolution.chunked import channel_chunks
from hyena.convolution.fft import FFT
from hyena.convolution.method import ConvolutionMethod
from hyena.convolution.toeplitz import TOEPLITZ

LONGEST_TOEPLITZ = 4096  # its work grows with the square


def there_and_back(function: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], Any]:
    """Forward and backward of a differentiable function; gradients are returned, not accumulated.

    The gradient of the result is the same for all functions.
    """
    gradient = like_sine(function(*inputs))

    def call() -> Any:
        return torch.autograd.grad(function(*inputs), inputs, gradient)

    return call


def like_sine(result: Tensor) -> Tensor:
    """Fixed values of that shape, dtype and device, to be the gradient of a result."""
    return torch.sin(torch.arange(result.numel(), device=result.device)).to(result.dtype).view_as(result)


def convolution(method: ConvolutionMethod, signal: Tensor, kernel: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
    """Forward and both gradients by a method, for a signal [D, B, L], chunk by chunk as in `chunked.py`."""
    gradient, length = like_sine(signal), signal.shape[-1]
    chunks = channel_chunks(len(signal), signal[0].numel(), signal.device)

    def padded(x: Tensor) -> Tensor:
        return F.pad(x, (0, method.padded_length(length) - length))

    def call() -> tuple[Tensor, Tensor]:
        result, to_signal, to_kernel = torch.empty_like(signal), torch.empty_like(signal), torch.empty_like(kernel)
        for chunk in chunks:
            result[chunk] = method.convolve(padded(signal[chunk]), kernel[chunk])
        for chunk in chunks:
            to_signal[chunk], to_kernel[chunk] = method.gradients(
                padded(gradient[chunk]), padded(signal[chunk]), kernel[chunk]
            )
        return to_signal, to_kernel

    return call


def works(batch: int, channels: int, length: int, device: torch.device) -> dict[str, Callable[[], Any]]:
    signal, kernel = (torch.randn(channels, *shape, device=device) for shape in ((batch, length), (length,)))
    no_skip = torch.zeros(channels, device=device)
    channel_last = signal.transpose(0, 1).contiguous().requires_grad_()
    found: dict[str, Callable[[], Any]] = {
        "published": there_and_back(
            lambda u, k: fft_convolution(u, k, no_skip), channel_last, kernel.clone().requires_grad_()
        ),
        "fft": convolution(FFT, signal, kernel),
    }
    if length <= LONGEST_TOEPLITZ:
        found["toeplitz"] = convolution(TOEPLITZ, signal, kernel)
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
