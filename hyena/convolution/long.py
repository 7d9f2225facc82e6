"""The long convolution: y[n] = Σ_{m ≤ n} k[n - m] · u[m], for every channel on its own.

Source: Poli et al. 2023, *Hyena Hierarchy*, equation 2; the published code does it with an FFT of length 2L. Here are
two ways of computing the product and its two gradients, and the choice between them; a third, for GPUs alone, is
`triton_kernels.py`. Everything is channel-major, [D, B, L]: each channel is a matrix of its own, which is what both
ways want. Next: `gated.py`, which
surrounds it with the gates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

#: Side of a Toeplitz block. Smaller ones cost calls, larger ones work above the diagonal (docs/performance.md).
BLOCK = 64
#: The longest input of the Toeplitz way on a CPU, where it and FFTs meet, and the fewest sequences that are worth the
#: making of its matrix (docs/performance.md).
LONGEST_TOEPLITZ_ON_CPU, LEAST_TOEPLITZ_BATCH = 200, 32
#: Elements of one work piece [C, B, L]: on a CPU so few that a piece and what is made of it stay in the caches; on a
#: GPU so many that it is busy, and few enough that the spectra of a long input (8 bytes an element, twice) fit.
PIECE = {"cpu": 2**17, "cuda": 2**26}


@dataclass(frozen=True)
class Way:
    """One way of computing y = k * u and the two gradients of it, each a function of tensors without autograd.

    Attributes:
        room: positions R ≥ L that the way works on. u and the gradient of y come as [D, B, R] with zeros after L, so
            that whoever makes them writes them into place, and no transform need copy them first.
        convolve: (u, k [D, L]) to y [D, B, L].
        gradients: (gradient of y, u, k) to those of u [D, B, L] and of k [D, L].
    """

    room: Callable[[int], int]
    convolve: Callable[[Tensor, Tensor], Tensor]
    gradients: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def way_for(signal: Tensor) -> Way:
    """The faster way for a signal [.., B, L]."""
    batch, length = signal.shape[-2:]
    fits = length <= LONGEST_TOEPLITZ_ON_CPU and batch >= LEAST_TOEPLITZ_BATCH
    return TOEPLITZ if signal.device.type == "cpu" and fits else FFT


def pieces(channels: int, per_channel: int, device: torch.device) -> list[slice]:
    """Slices of the channels, one after the other, such that [C, B, L] has about `PIECE` elements; none is longer
    than the first."""
    size = max(1, PIECE.get(device.type, PIECE["cuda"]) // max(1, per_channel))
    return [slice(start, min(start + size, channels)) for start in range(0, channels, size)]


def fft_size(length: int) -> int:
    """The smallest of 2^a, 3 · 2^a, 5 · 2^a and 9 · 2^a that holds a linear convolution of two signals of `length`.

    That is, 2 · length - 1 or more. Other small factors are not worth being nearer: of 256 real rows, those of 1,000
    (twice 500, the published choice) take MKL 479 µs and those of 1,024 take 359; of 625, 603 and of 640, 181.
    """
    least = 2 * length - 1
    return min(odd << (-(-least // odd) - 1).bit_length() for odd in (1, 3, 5, 9))


def _fft_convolve(signal: Tensor, kernel: Tensor) -> Tensor:
    length, size = kernel.shape[-1], signal.shape[-1]
    spectrum = torch.fft.rfft(signal).mul_(torch.fft.rfft(kernel, n=size)[:, None])
    return torch.fft.irfft(spectrum, n=size)[..., :length]


def _fft_gradients(gradient: Tensor, signal: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient's spectrum serves both correlations."""
    length, size = kernel.shape[-1], signal.shape[-1]
    spectrum = torch.fft.rfft(gradient)
    to_kernel = torch.fft.rfft(signal).conj_physical_().mul_(spectrum).sum(dim=1)
    to_signal = spectrum.mul_(torch.fft.rfft(kernel, n=size)[:, None].conj_physical())
    return torch.fft.irfft(to_signal, n=size)[..., :length], torch.fft.irfft(to_kernel, n=size)[..., :length]


def _shifted(kernel: Tensor) -> Tensor:
    """H[d, i, j] = k[d, i + j - (BLOCK - 1)], zero where that is negative: [D, R, BLOCK], a view that stores each once.

    R is the length rounded up to whole blocks. With j counted from the end, H[r, BLOCK - 1 - c] = k[r - c]: the first
    columns of the Toeplitz matrix; with i counted from the end, its last rows, transposed.
    """
    channels, length = kernel.shape
    rows = -(-length // BLOCK) * BLOCK
    padded = kernel.new_zeros(channels, rows + BLOCK - 1)
    padded[:, BLOCK - 1 : BLOCK - 1 + length] = kernel
    return padded.as_strided((channels, rows, BLOCK), (padded.stride(0), 1, 1))


def _blocks(length: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK))


def _toeplitz_convolve(signal: Tensor, kernel: Tensor) -> Tensor:
    """Block I of y is u[..: end of I] times the last rows of the matrix: one product a block, nothing above it."""
    matrix = _shifted(kernel).flip(1)
    rows = matrix.shape[1]
    result = torch.empty_like(signal)
    for block in _blocks(signal.shape[-1]):
        first = rows - BLOCK - block.start
        part = matrix[:, first : first + block.stop, : block.stop - block.start]
        result[:, :, block] = torch.bmm(signal[:, :, : block.stop], part)
    return result


def _toeplitz_to_signal(gradient: Tensor, kernel: Tensor) -> Tensor:
    matrix = _shifted(kernel).flip(2)
    length = gradient.shape[-1]
    result = torch.empty_like(gradient)
    for block in _blocks(length):
        part = matrix[:, : length - block.start, : block.stop - block.start]
        result[:, :, block] = torch.bmm(gradient[:, :, block.start :], part)
    return result


def _toeplitz_to_kernel(gradient: Tensor, signal: Tensor, length: int) -> Tensor:
    """The gradient of the matrix's first BLOCK columns, summed over their shifts; then the sum of each diagonal."""
    channels = len(gradient)
    rows = length + BLOCK
    matrix = gradient.new_zeros(channels, rows, BLOCK)
    for block in _blocks(length):
        part = matrix[:, : length - block.start, : block.stop - block.start]
        part.baddbmm_(gradient[:, :, block.start :].transpose(1, 2), signal[:, :, block])
    return matrix.as_strided((channels, length, BLOCK), (rows * BLOCK, BLOCK, BLOCK + 1)).sum(dim=2)


def _toeplitz_gradients(gradient: Tensor, signal: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    return _toeplitz_to_signal(gradient, kernel), _toeplitz_to_kernel(gradient, signal, kernel.shape[-1])


FFT = Way(fft_size, _fft_convolve, _fft_gradients)
TOEPLITZ = Way(lambda length: length, _toeplitz_convolve, _toeplitz_gradients)


def causal_convolution(signal: Tensor, kernel: Tensor, way: Way | None = None) -> Tensor:
    """Causal convolution over the last axis, differentiable once.

    Args:
        signal: [B, D, L], float32 or float64 (half precision would lose the tail of the kernel).
        kernel: [D, L].
        way: how; by default what is fastest for that length and device.

    Returns:
        [B, D, L]; equal to `direct_convolution` within rounding: relative 1e-6 in float32, 1e-14 in float64.
    """
    channel_major = signal.transpose(0, 1)
    return _CausalConvolution.apply(channel_major, kernel, way or way_for(channel_major)).transpose(0, 1)


def _in_room(x: Tensor, way: Way) -> Tensor:
    return F.pad(x, (0, way.room(x.shape[-1]) - x.shape[-1]))


class _CausalConvolution(torch.autograd.Function):
    """Gradients as the correlations they are, where autograd would take complex transforms; spectra are not kept."""

    @staticmethod
    def forward(ctx: Any, signal: Tensor, kernel: Tensor, way: Way) -> Tensor:
        ctx.save_for_backward(signal, kernel)
        ctx.way = way
        result = torch.empty_like(signal)
        for piece in pieces(signal.shape[0], signal[0].numel(), signal.device):
            result[piece] = way.convolve(_in_room(signal[piece], way), kernel[piece])
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        signal, kernel = ctx.saved_tensors
        to_signal, to_kernel = torch.empty_like(signal), torch.empty_like(kernel)
        for piece in pieces(signal.shape[0], signal[0].numel(), signal.device):
            rooms = (_in_room(x[piece], ctx.way) for x in (gradient, signal))
            to_signal[piece], to_kernel[piece] = ctx.way.gradients(*rooms, kernel[piece])
        return to_signal, to_kernel, None


def direct_convolution(signal: Tensor, kernel: Tensor) -> Tensor:
    """The same by its definition, O(L²): the reference that every faster path is tested against."""
    length = signal.shape[-1]
    lag = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    toeplitz = torch.where(lag >= 0, kernel[:, lag.clamp(min=0)], kernel.new_zeros(()))
    return torch.einsum("dnm,bdm->bdn", toeplitz, signal)
