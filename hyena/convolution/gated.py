"""Everything of the Hyena operator between its two projections, as one differentiable function.

    x0, x1, v = short(p),   u = x1 ⊙ v,   c = k * u + skip ⊙ u,   z = x0 ⊙ c

Source: `HyenaOperator.forward` of HazyResearch/hyena-dna, where each step is an operation of its own that reads and
writes the whole of [B, 3D, L]. Here a few channels at a time go through all steps while they are in the caches, and
only p and c are kept for the way back, where x0, x1, v and u are made again. Below it: `long.py`.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import torch
from torch import Tensor

from hyena.convolution.long import pieces, way_for
from hyena.device import is_out_of_memory

SHORT_FILTER_ORDER = 3
#: The longest input of the Triton kernels, whose work grows with L² and not L log L. By arithmetic, not measured.
LONGEST_ON_MATRIX_UNITS = 2048
#: Relative difference of a result or gradient that rounding the operands to bfloat16 explains: a few times 2^-9.
BFLOAT16_TOLERANCE = 0.02
#: Batch and length of what is compared: small pieces with narrow loads, and large ones with wide loads.
TRIALS = ((3, 150), (70, 192))


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
    if on_matrix_units(projected):
        from hyena.convolution.triton_kernels import GatedConvolution

        with torch.cuda.device_of(projected):
            return GatedConvolution.apply(projected.contiguous(), taps, offset, kernel.contiguous(), skip)
    return _GatedConvolution.apply(projected, taps, offset, kernel, skip)


def on_matrix_units(projected: Tensor) -> bool:
    """Whether the kernels of `triton_kernels.py` take this: bfloat16 on a GPU, short, and found to work there."""
    fits = projected.is_cuda and projected.dtype == torch.bfloat16 and projected.shape[-1] <= LONGEST_ON_MATRIX_UNITS
    return fits and kernels_work(projected.device)


@functools.cache
def kernels_work(device: torch.device) -> bool:
    """Compile the kernels and compare them with the plain way, once a process; where they fail, say so and do without.

    A training run must not end because a compiler is missing on one of its nodes.
    """
    try:
        from hyena.convolution.triton_kernels import GatedConvolution
    except ImportError as error:
        warnings.warn(f"Triton is not installed ({error}): the long convolution uses FFTs instead", stacklevel=2)
        return False
    try:
        ways = (GatedConvolution, _GatedConvolution)
        trials = [[_trial(way, device, *shape) for way in ways] for shape in TRIALS]
        off = max(float((a - b).norm() / b.norm()) for pair in trials for a, b in zip(*pair, strict=True))
    except Exception as error:  # whatever a compiler or a driver raises
        if is_out_of_memory(error):
            raise  # it says nothing of the kernels
        warnings.warn(f"the Triton kernels do not run on {device} ({error}): FFTs instead", stacklevel=2)
        return False
    if not off < BFLOAT16_TOLERANCE:
        warnings.warn(f"the Triton kernels are off by {off:.2g} on {device}: FFTs instead", stacklevel=2)
    return off < BFLOAT16_TOLERANCE


def _trial(way: type[torch.autograd.Function], device: torch.device, batch: int, length: int) -> list[Tensor]:
    """Result and gradients, in float32, of fixed bfloat16 projections and all other arguments."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((6, batch, length), (6, 3), (6,), (2, length), (2,))
    values = [torch.randn(shape, generator=generator).to(device) for shape in shapes]
    values[0] = values[0].bfloat16()
    # Within a checkpointed half this backward pass would set off the recomputation of that half.
    own = torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x)
    with torch.inference_mode(False), torch.enable_grad(), torch.cuda.device_of(values[0]), own:
        arguments = [value.clone().requires_grad_() for value in values]
        result = way.apply(*arguments)
        result.sum().backward()
    return [result.detach().float(), *(g.float() for a in arguments if (g := a.grad) is not None)]


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
        way, length = way_for(projected), projected.shape[-1]
        cut = pieces(len(kernel), projected[0, 0].numel(), projected.device)
        room = kernel.new_zeros(cut[0].stop, projected.shape[2], way.room(length))  # of u; its end stays 0
        for piece in cut:
            p = projected[:, piece].to(kernel.dtype)
            x0, x1, v = short_filter(p, taps[:, piece], offset[:, piece])
            u = room[: len(v)]
            torch.mul(x1, v, out=u[..., :length])
            c = convolved[piece]
            torch.addcmul(way.convolve(u, kernel[piece]), u[..., :length], skip[piece, None, None], out=c)
            torch.mul(x0, c, out=result[piece])
        ctx.save_for_backward(*arguments, convolved)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        (gradient,) = gradients
        *parts, kernel, skip, convolved = ctx.saved_tensors
        projected, taps, offset = (x.view(3, -1, *x.shape[1:]) for x in parts)
        to_projected, to_taps, to_offset, to_kernel = map(torch.empty_like, (projected, taps, offset, kernel))
        way, length = way_for(projected), projected.shape[-1]
        cut = pieces(len(kernel), projected[0, 0].numel(), projected.device)
        room = kernel.new_zeros(2, cut[0].stop, projected.shape[2], way.room(length))  # of u and to_c
        gates = kernel.new_empty(3, cut[0].stop, *projected.shape[2:])  # of their gradients
        for piece in cut:
            p = projected[:, piece].to(kernel.dtype)
            x0, x1, v = short_filter(p, taps[:, piece], offset[:, piece])
            to_z = gradient[piece].to(kernel.dtype)
            u, to_c = room[:, : len(v)]
            torch.mul(x1, v, out=u[..., :length])
            torch.mul(x0, to_z, out=to_c[..., :length])
            to_u, to_kernel[piece] = way.gradients(to_c, u, kernel[piece])
            to_u = torch.addcmul(to_u, to_c[..., :length], skip[piece, None, None])
            to_gates = gates[:, : len(v)]
            for to_gate, one, other in zip(to_gates, (to_z, v, x1), (convolved[piece], to_u, to_u), strict=True):
                torch.mul(one, other, out=to_gate)
            to_projected[:, piece], to_taps[:, piece], to_offset[:, piece] = _short_filter_backward(
                to_gates, p, taps[:, piece]
            )
        to_parts = (x.view(-1, *x.shape[2:]) for x in (to_projected, to_taps, to_offset))
        return *to_parts, to_kernel, to_kernel[:, 0]  # skip acts as more of k[0] does
