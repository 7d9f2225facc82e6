"""The rounding of the Triton kernels in plain operations: a CPU measures its cost, and a GPU is compared with it."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hyena.convolution.chunked import short_filter, short_filter_gradients
from hyena.convolution.fft import FFT


class RoundedGatedConvolution(torch.autograd.Function):
    """`hyena.convolution.triton_kernels.TritonGatedConvolution`, by FFTs in the filter's dtype.

    The values that the kernels round are rounded to the dtype of the projections: u, k, the result, and what one kernel
    of the backward pass stores for the next. Sums are not rounded.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Tensor) -> Tensor:
        projected, _, _, kernel, skip = arguments
        p, taps, offset = _parts(*arguments)
        x0, x1, v = short_filter(p, taps, offset)
        u = _rounded(x1 * v, projected)
        c = FFT.convolve(_padded(u), _rounded(kernel, projected)) + skip[:, None, None] * u
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
        to_u, to_kernel = FFT.gradients(_padded(to_c), _padded(u), _rounded(kernel, projected))
        to_u = _rounded(to_u + skip[:, None, None] * to_c, projected)
        to_gates = torch.stack([to_z * c, to_u * v, to_u * x1])
        to_p, to_taps, to_offset = short_filter_gradients(to_gates, p, taps)
        to_projected = to_p.view_as(projected).to(projected.dtype)
        return to_projected, to_taps.view_as(own_taps), to_offset.view_as(own_offset), to_kernel, to_kernel[:, 0]


def rounded_gated_convolution(projected: Tensor, *rest: Tensor) -> Tensor:
    """Replaces `gated_convolution`: what the kernels compute from bfloat16 projections."""
    return RoundedGatedConvolution.apply(projected.contiguous(), *rest)


def _parts(projected: Tensor, taps: Tensor, offset: Tensor, kernel: Tensor, skip: Tensor) -> tuple[Tensor, ...]:
    """Projections [3, D, B, L] in the filter's dtype, taps [3, D, 3] and offset [3, D]."""
    p = projected.to(kernel.dtype)
    return p.view(3, -1, *p.shape[1:]), taps.reshape(3, -1, 3), offset.reshape(3, -1)


def _rounded(x: Tensor, like: Tensor) -> Tensor:
    return x.to(like.dtype).to(x.dtype)


def _padded(x: Tensor) -> Tensor:
    return F.pad(x, (0, FFT.padded_length(x.shape[-1]) - x.shape[-1]))
