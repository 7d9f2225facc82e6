"""The long convolution: y[n] = Σ_{m ≤ n} k[n - m] · u[m], for every channel on its own.

Source: Poli et al. 2023, *Hyena Hierarchy*, equation 2; the published code does it with an FFT of length 2L.
Everything else of the operator is in `operator.py`.
"""

from __future__ import annotations

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
        signal: [..., D, L], float32 or float64 (a half-precision FFT would lose the tail of the kernel).
        kernel: [D, L].

    Returns:
        [..., D, L]; equal to `direct_convolution` within rounding: relative 1e-6 in float32, 1e-14 in float64.
    """
    length = signal.shape[-1]
    size = fft_size(length)
    spectrum = torch.fft.rfft(signal, n=size) * torch.fft.rfft(kernel, n=size)
    return torch.fft.irfft(spectrum, n=size)[..., :length]


def direct_convolution(signal: Tensor, kernel: Tensor) -> Tensor:
    """The same by its definition, O(L²): the reference that every faster path is tested against."""
    length = signal.shape[-1]
    lag = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    toeplitz = torch.where(lag >= 0, kernel[:, lag.clamp(min=0)], kernel.new_zeros(()))
    return torch.einsum("dnm,...dm->...dn", toeplitz, signal)
