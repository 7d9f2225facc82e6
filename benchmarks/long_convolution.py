"""How much faster is a forward and backward pass of the long convolution than the published way of writing it?

Published: FFT of length 2L, differentiated by autograd. Ours: the next transform size with small factors, gradients as
correlations. Same inputs, one process, alternating; medians over `--repeats` after two warm-ups. Prints JSON.

    python benchmarks/long_convolution.py --threads 2
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from hyena.longconv import causal_convolution


def published(signal: Tensor, kernel: Tensor) -> Tensor:
    size = 2 * signal.shape[-1]
    spectrum = torch.fft.rfft(kernel, n=size) / size
    return torch.fft.irfft(torch.fft.rfft(signal, n=size) * spectrum, n=size, norm="forward")[..., : signal.shape[-1]]


def seconds(convolve: Callable[[Tensor, Tensor], Tensor], signal: Tensor, kernel: Tensor) -> float:
    def now() -> float:
        if signal.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    started = now()
    convolve(signal, kernel).sum().backward()
    return now() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--channels", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    for length in (120, 200, 251, 500, 1000, 4096):
        signal = torch.randn(options.batch, options.channels, length, device=device, requires_grad=True)
        kernel = torch.randn(options.channels, length, device=device, requires_grad=True)
        times: dict[str, list[float]] = {"published": [], "ours": []}
        for repeat in range(options.repeats + 2):
            for name, way in (("published", published), ("ours", causal_convolution)):
                took = seconds(way, signal, kernel)
                if repeat >= 2:
                    times[name].append(took)
        median = {name: statistics.median(values) for name, values in times.items()}
        rows.append({"length": length, **{f"{name}_s": value for name, value in median.items()},
                     "speed_up": median["published"] / median["ours"]})  # fmt: skip
    print(json.dumps({"torch": torch.__version__, "python": platform.python_version(), "device": device,
                      **vars(options), "rows": rows}, indent=2))  # fmt: skip


if __name__ == "__main__":
    main()
