"""The long convolution: y[n] = Σ_{m ≤ n} k[n - m] · u[m], for every channel on its own.

Source: Poli et al. 2023, *Hyena Hierarchy*, equation 2; the published code does it with an FFT of length 2L.
Everything else of the operator is in `operator.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def fft_size(length: int) -> int:
    """The smallest 2^a · 3^b · 5^c that holds a linear convolution of two signals of `length`: 2 · length - 1 or more.

    Small prime factors are what FFT libraries are fast at; twice the length (the published choice) often has others.
    """
    least = 2 * length - 1
    best = 1 << (least - 1).bit_length()
    fives = 1
    while fives < best:
        threes = fives
        while threes < best:
            rest = -(-least // threes)
            best = min(best, threes << max(0, (rest - 1).bit_length()))
            threes *= 3
        fives *= 5
    return best


def causal_convolution(signal: Tensor, kernel: Tensor) -> Tensor:
    """Causal convolution over the last axis by FFT, O(L log L).

    Args:
        signal: [B, D, L], float32 or float64 (a half-precision FFT would lose the tail of the kernel).
        kernel: [D, L].

    Returns:
        [B, D, L]; equal to `direct_convolution` within rounding: relative 1e-6 in float32, 1e-14 in float64.
    """
    return _CausalConvolution.apply(signal, kernel)


class _CausalConvolution(torch.autograd.Function):
    """Gradients as the correlations they are: three real transforms, where autograd would take complex ones."""

    @staticmethod
    def forward(ctx: Any, signal: Tensor, kernel: Tensor) -> Tensor:
        length = signal.shape[-1]
        size = fft_size(length)
        signal_spectrum, kernel_spectrum = torch.fft.rfft(signal, n=size), torch.fft.rfft(kernel, n=size)
        ctx.save_for_backward(signal_spectrum, kernel_spectrum)
        ctx.size = size
        return torch.fft.irfft(signal_spectrum * kernel_spectrum, n=size)[..., :length]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (gradient,) = gradients
        signal_spectrum, kernel_spectrum = ctx.saved_tensors
        length, size = gradient.shape[-1], ctx.size
        spectrum = torch.fft.rfft(gradient, n=size)
        to_signal, to_kernel = None, None
        if ctx.needs_input_grad[0]:
            to_signal = torch.fft.irfft(spectrum * kernel_spectrum.conj(), n=size)[..., :length]
        if ctx.needs_input_grad[1]:
            over_batch = (spectrum * signal_spectrum.conj()).sum(dim=0)
            to_kernel = torch.fft.irfft(over_batch, n=size)[..., :length]
        return to_signal, to_kernel


def direct_convolution(signal: Tensor, kernel: Tensor) -> Tensor:
    """The same by its definition, O(L²): the reference that every faster path is tested against."""
    length = signal.shape[-1]
    lag = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    toeplitz = torch.where(lag >= 0, kernel[:, lag.clamp(min=0)], kernel.new_zeros(()))
    return torch.einsum("dnm,bdm->bdn", toeplitz, signal)
