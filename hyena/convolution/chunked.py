"""The gated convolution by FFTs or Toeplitz products, a chunk of the channels at a time.

The published code runs each step as an operation that reads and writes the whole of [B, 3D, L]. Here a few channels at
a time go through all steps while they are in the caches. Only p and c are kept for the backward pass, which computes
x0, x1, v and u again. The symbols are those of `gated.py`. Next: `fft.py`, `toeplitz.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hyena.convolution.method import ConvolutionMethod

#: Elements of a chunk [C, B, L]. On a CPU, few enough for a chunk and its intermediate results to stay in the caches;
#: on a GPU, enough to keep it busy, and few enough for the spectra of a long input (8 bytes an element, twice) to fit.
CHUNK_ELEMENTS = {"cpu": 2**17, "cuda": 2**26}


def channel_chunks(channels: int, elements_per_channel: int, device: torch.device) -> list[slice]:
    """Consecutive slices of the channels with about `CHUNK_ELEMENTS` elements each; the first is the longest."""
    limit = CHUNK_ELEMENTS.get(device.type, CHUNK_ELEMENTS["cuda"])
    size = max(1, limit // max(1, elements_per_channel))
    return [slice(start, min(start + size, channels)) for start in range(0, channels, size)]


def short_filter(p: Tensor, taps: Tensor, offset: Tensor) -> Tensor:
    """Depthwise causal convolution of width 3 as shifted multiply-adds: p [..., B, L], taps [..., 3], offset [...]."""
    two_before, one_before, current = taps[..., None, None, :].unbind(dim=-1)
    result = (p * current).add_(offset[..., None, None])
    result[..., 1:].addcmul_(p[..., :-1], one_before)
    result[..., 2:].addcmul_(p[..., :-2], two_before)
    return result


def short_filter_gradients(gradient: Tensor, p: Tensor, taps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of p [..., B, L], taps [..., 3] and offset [...]."""
    two_before, one_before, current = taps[..., None, None, :].unbind(dim=-1)
    to_p = gradient * current
    to_p[..., :-1].addcmul_(gradient[..., 1:], one_before)
    to_p[..., :-2].addcmul_(gradient[..., 2:], two_before)
    length = p.shape[-1]
    to_taps = [(gradient[..., lag:] * p[..., : length - lag]).sum(dim=(-2, -1)) for lag in (2, 1, 0)]
    return to_p, torch.stack(to_taps, dim=-1), gradient.sum(dim=(-2, -1))


class ChunkedGatedConvolution(torch.autograd.Function):
    """`gated_convolution` by `method`; inside, the 3D channels are [3, D], so that x0, x1 and v share an operation."""

    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        taps: Tensor,
        offset: Tensor,
        kernel: Tensor,
        skip: Tensor,
        method: ConvolutionMethod,
    ) -> Tensor:
        parts = projected, taps, offset
        projected, taps, offset = (x.view(3, -1, *x.shape[1:]) for x in parts)
        convolved = torch.empty_like(projected[0], dtype=kernel.dtype)
        result = torch.empty_like(projected[0])
        length = projected.shape[-1]
        chunks = channel_chunks(len(kernel), projected[0, 0].numel(), projected.device)
        padded_u = kernel.new_zeros(chunks[0].stop, projected.shape[2], method.padded_length(length))
        for chunk in chunks:
            p = projected[:, chunk].to(kernel.dtype)
            x0, x1, v = short_filter(p, taps[:, chunk], offset[:, chunk])
            u = padded_u[: len(v)]
            torch.mul(x1, v, out=u[..., :length])
            c = convolved[chunk]
            torch.addcmul(method.convolve(u, kernel[chunk]), u[..., :length], skip[chunk, None, None], out=c)
            torch.mul(x0, c, out=result[chunk])
        ctx.method = method
        ctx.save_for_backward(*parts, kernel, skip, convolved)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        *parts, kernel, skip, convolved = ctx.saved_tensors
        projected, taps, offset = (x.view(3, -1, *x.shape[1:]) for x in parts)
        to_projected, to_taps, to_offset, to_kernel = map(torch.empty_like, (projected, taps, offset, kernel))
        method, length = ctx.method, projected.shape[-1]
        chunks = channel_chunks(len(kernel), projected[0, 0].numel(), projected.device)
        padded = kernel.new_zeros(2, chunks[0].stop, projected.shape[2], method.padded_length(length))  # u and to_c
        gates = kernel.new_empty(3, chunks[0].stop, *projected.shape[2:])  # gradients of x0, x1 and v
        for chunk in chunks:
            p = projected[:, chunk].to(kernel.dtype)
            x0, x1, v = short_filter(p, taps[:, chunk], offset[:, chunk])
            to_z = gradient[chunk].to(kernel.dtype)
            u, to_c = padded[:, : len(v)]
            torch.mul(x1, v, out=u[..., :length])
            torch.mul(x0, to_z, out=to_c[..., :length])
            to_u, to_kernel[chunk] = method.gradients(to_c, u, kernel[chunk])
            to_u = torch.addcmul(to_u, to_c[..., :length], skip[chunk, None, None])
            to_gates = gates[:, : len(v)]
            for to_gate, one, other in zip(to_gates, (to_z, v, x1), (convolved[chunk], to_u, to_u), strict=True):
                torch.mul(one, other, out=to_gate)
            to_projected[:, chunk], to_taps[:, chunk], to_offset[:, chunk] = short_filter_gradients(
                to_gates, p, taps[:, chunk]
            )
        to_parts = (x.view(-1, *x.shape[2:]) for x in (to_projected, to_taps, to_offset))
        return *to_parts, to_kernel, to_kernel[:, 0], None  # skip is added to k[0], so their gradients are equal
