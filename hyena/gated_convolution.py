"""Everything of the Hyena operator between its two projections, as one differentiable function.

    x0, x1, v = short(p),   u = x1 ⊙ v,   c = k * u + skip ⊙ u,   z = x0 ⊙ c

Source: `HyenaOperator.forward` of HazyResearch/hyena-dna, where each step is an operation of its own that reads and
writes the whole of [B, 3D, L]. Here a few channels at a time go through all steps while they are in the caches, and
only p and c are kept for the way back, where x0, x1, v and u are made again. Below it: `longconv.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hyena.longconv import pieces, way_for

SHORT_FILTER_ORDER = 3


def gated_convolution(projected: Tensor, taps: Tensor, offset: Tensor, kernel: Tensor, skip: Tensor) -> Tensor:
    """[3D, B, L] to [D, B, L], causal; differentiable once, in all five arguments.

    Args:
        projected: p: the D channels of x0, then those of x1, then those of v; any floating dtype. The arithmetic is
            in the dtype of `kernel`, the result in that of `projected`.
        taps, offset: weight [3D, 3] and bias [3D] of the short filter: short(p)[n] = Σ_j taps[j] · p[n - 2 + j] +
            offset, where p is 0 before the first position.
        kernel: k, [D, L].
        skip: [D].
    """
    return _GatedConvolution.apply(projected, taps, offset, kernel, skip)


def short_filter(p: Tensor, taps: Tensor, offset: Tensor) -> Tensor:
    """Depthwise causal convolution of width 3 as shifted multiply-adds: p [..., B, L], taps [..., 3], offset [...]."""
    old, last, now = taps[..., None, None, :].unbind(dim=-1)
    result = (p * now).add_(offset[..., None, None])
    result[..., 1:].addcmul_(p[..., :-1], last)
    result[..., 2:].addcmul_(p[..., :-2], old)
    return result


def _short_filter_backward(gradient: Tensor, p: Tensor, taps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of p [..., B, L], taps [..., 3] and offset [...]."""
    old, last, now = taps[..., None, None, :].unbind(dim=-1)
    to_p = gradient * now
    to_p[..., :-1].addcmul_(gradient[..., 1:], last)
    to_p[..., :-2].addcmul_(gradient[..., 2:], old)
    length = p.shape[-1]
    to_taps = [(gradient[..., lag:] * p[..., : length - lag]).sum(dim=(-2, -1)) for lag in (2, 1, 0)]
    return to_p, torch.stack(to_taps, dim=-1), gradient.sum(dim=(-2, -1))


class _GatedConvolution(torch.autograd.Function):
    """Inside, the 3D channels are [3, D]: of each piece of D, all three parts go through one operation."""

    @staticmethod
    def forward(ctx: Any, *arguments: Tensor) -> Tensor:
        *parts, kernel, skip = arguments
        projected, taps, offset = (x.view(3, -1, *x.shape[1:]) for x in parts)
        convolved = torch.empty_like(projected[0], dtype=kernel.dtype)
        result = torch.empty_like(projected[0])
        way, length = way_for(projected.shape[-1], projected.device), projected.shape[-1]
        for piece in pieces(len(kernel), projected[0, 0].numel(), projected.device):
            p = projected[:, piece].to(kernel.dtype)
            x0, x1, v = short_filter(p, taps[:, piece], offset[:, piece])
            u = v.new_zeros(*v.shape[:-1], way.room(length))
            torch.mul(x1, v, out=u[..., :length])
            c = convolved[piece]
            torch.addcmul(way.convolve(u, kernel[piece]), u[..., :length], skip[piece, None, None], out=c)
            result[piece] = x0.mul_(c)
        ctx.save_for_backward(*arguments, convolved)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        (gradient,) = gradients
        *parts, kernel, skip, convolved = ctx.saved_tensors
        projected, taps, offset = (x.view(3, -1, *x.shape[1:]) for x in parts)
        to_projected, to_taps, to_offset, to_kernel = map(torch.empty_like, (projected, taps, offset, kernel))
        way, length = way_for(projected.shape[-1], projected.device), projected.shape[-1]
        for piece in pieces(len(kernel), projected[0, 0].numel(), projected.device):
            p = projected[:, piece].to(kernel.dtype)
            x0, x1, v = gates = short_filter(p, taps[:, piece], offset[:, piece])
            to_z = gradient[piece].to(kernel.dtype)
            u, to_c = v.new_zeros(2, *v.shape[:-1], way.room(length))
            torch.mul(x1, v, out=u[..., :length])
            torch.mul(x0, to_z, out=to_c[..., :length])
            to_kernel[piece] = way.to_kernel(to_c, u, length)
            to_u = torch.addcmul(way.to_signal(to_c, kernel[piece]), to_c[..., :length], skip[piece, None, None])
            gates[1:] = gates[1:].flip(0).mul_(to_u)  # x1 and v each get the other's share
            torch.mul(to_z, convolved[piece], out=gates[0])
            to_projected[:, piece], to_taps[:, piece], to_offset[:, piece] = _short_filter_backward(
                gates, p, taps[:, piece]
            )
        to_parts = (x.view(-1, *x.shape[2:]) for x in (to_projected, to_taps, to_offset))
        return *to_parts, to_kernel, to_kernel[:, 0]  # skip acts as more of k[0] does
