"""The long convolution by its definition, O(L²): the reference for every faster method."""

import torch
from torch import Tensor


def direct_convolution(signal: Tensor, kernel: Tensor) -> Tensor:
    """y[..., d, n] = Σ_{m ≤ n} kernel[d, n - m] · signal[..., d, m], for a signal [B, D, L] and a kernel [D, L]."""
    length = signal.shape[-1]
    lag = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    toeplitz = torch.where(lag >= 0, kernel[:, lag.clamp(min=0)], kernel.new_zeros(()))
    return torch.einsum("dnm,bdm->bdn", toeplitz, signal)
