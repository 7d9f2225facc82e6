"""What a method of computing the long convolution provides: y[n] = Σ_{m ≤ n} k[n - m] · u[m], for every channel.

Source: Poli et al. 2023, *Hyena Hierarchy*, equation 2. All tensors are channel-major, [D, B, L], so that each channel
is a contiguous matrix, which both methods read fastest. Next: `fft.py`, `toeplitz.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ConvolutionMethod:
    """A method of computing y = k * u and its two gradients, as functions of tensors without autograd.

    Attributes:
        padded_length: positions P ≥ L that the method works on. u and the gradient of y are passed as [D, B, P], zero
            from position L on: the caller computes them into a buffer of that length, so that no method copies them.
        convolve: (u, k [D, L]) to y [D, B, L].
        gradients: (gradient of y, u, k) to the gradients of u [D, B, L] and of k [D, L].
    """

    padded_length: Callable[[int], int]
    convolve: Callable[[Tensor, Tensor], Tensor]
    gradients: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
