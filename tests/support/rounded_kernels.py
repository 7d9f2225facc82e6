"""The Triton kernels' rounding in plain operations, so that a CPU can say what it costs and a GPU be held to it."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hyena.convolution.gated import _short_filter_backward, short_filter
from hyena.convolution.long import FFT


class RoundedGatedConvolution(torch.autograd.Function):
    """`hyena.convolution.triton_kernels.GatedConvolution`, by FFTs in the filter's dtype.

    Rounded to the dtype of the projections is what the kernels round: u, k, the result, and what passes between the
    kernels of the backward pass. The sums are not.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Tensor) -> Tensor:
        projected, _, _, kernel, skip = arguments
        p, taps, offset = _parts(*arguments)
        x0, x1, v = short_filter(p, taps, offset)
        u = _rounded(x1 * v, projected)
        c = FFT.convolve(_in_room(u), _rounded(kernel, projected)) + skip[:, None, None] * u
        ctx.save_for_backward(*arguments, u, _rounded(c, projected))
        return (x0 * c).to(projected.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        *arguments, u, c = ctx.saved_tensors
        projected, own_taps, own_offset, kernel, skip = arguments
        p, taps, offset = _parts(*arguments)
        x0, x1, v = short_filter(p, taps, offset)
        to_z = gradients[0].to(kernel.dtype)
        to_c = _rounded(x0 * to_z, projected)
        to_u, to_kernel = FFT.gradients(_in_room(to_c), _in_room(u), _rounded(kernel, projected))
        to_u = _rounded(to_u + skip[:, None, None] * to_c, projected)
        to_gates = torch.stack([to_z * c, to_u * v, to_u * x1])
        to_p, to_taps, to_offset = _short_filter_backward(to_gates, p, taps)
        to_projected = to_p.view_as(projected).to(projected.dtype)
        return to_projected, to_taps.view_as(own_taps), to_offset.view_as(own_offset), to_kernel, to_kernel[:, 0]


def rounded_gated_convolution(projected: Tensor, *rest: Tensor) -> Tensor:
    """In the place of `gated_convolution`: what the kernels make of bfloat16 projections."""
    return RoundedGatedConvolution.apply(projected.contiguous(), *rest)


def _parts(projected: Tensor, taps: Tensor, offset: Tensor, kernel: Tensor, skip: Tensor) -> tuple[Tensor, ...]:
    """Projections [3, D, B, L] in the filter's dtype, taps [3, D, 3] and offset [3, D]."""
    p = projected.to(kernel.dtype)
    return p.view(3, -1, *p.shape[1:]), taps.reshape(3, -1, 3), offset.reshape(3, -1)


def _rounded(x: Tensor, like: Tensor) -> Tensor:
    return x.to(like.dtype).to(x.dtype)


def _in_room(x: Tensor) -> Tensor:
    return F.pad(x, (0, FFT.room(x.shape[-1]) - x.shape[-1]))
