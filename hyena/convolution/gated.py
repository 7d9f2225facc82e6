"""Everything of the Hyena operator between its two projections, as one differentiable function.

    x0, x1, v = short(p),   u = x1 ⊙ v,   c = k * u + skip ⊙ u,   z = x0 ⊙ c

Source: `HyenaOperator.forward` of HazyResearch/hyena-dna. `method_for` chooses among three methods for the long
convolution k * u. Next: `chunked.py`, the function by FFTs (`fft.py`) or Toeplitz products (`toeplitz.py`);
`triton_kernels.py`, the function on an NVIDIA GPU's matrix units.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any, Final, Literal

import torch
from torch import Tensor

from hyena.convolution.chunked import ChunkedGatedConvolution
from hyena.convolution.fft import FFT
from hyena.convolution.method import ConvolutionMethod
from hyena.convolution.toeplitz import TOEPLITZ
from hyena.device import is_out_of_memory

SHORT_FILTER_ORDER = 3
TRITON: Final = "triton"
#: The longest input of the Triton kernels, whose work grows with L² and not L log L. By arithmetic, not measured.
LONGEST_TRITON = 2048
#: On a CPU: the longest input of the Toeplitz method, at which FFTs are as fast, and the smallest batch for which
#: building its matrix pays off (docs/performance.md).
LONGEST_TOEPLITZ, LEAST_TOEPLITZ_BATCH = 200, 32
#: Relative difference of a result or gradient that rounding the operands to bfloat16 explains: a few times 2^-9.
BFLOAT16_TOLERANCE = 0.02
#: Batch and length of the inputs that the kernels are checked on: small tiles with narrow loads, and large ones with
#: wide loads.
CHECKED_SHAPES = ((3, 150), (70, 192))


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
    method = method_for(projected.device, projected.dtype, *projected.shape[1:])
    if method == TRITON:
        from hyena.convolution.triton_kernels import TritonGatedConvolution

        with torch.cuda.device_of(projected):
            return TritonGatedConvolution.apply(projected.contiguous(), taps, offset, kernel.contiguous(), skip)
    return ChunkedGatedConvolution.apply(projected, taps, offset, kernel, skip, method)


def method_for(
    device: torch.device, dtype: torch.dtype, batch: int, length: int
) -> ConvolutionMethod | Literal["triton"]:
    """The fastest method for projections [3D, B, L] of that dtype on that device.

    On a CPU Toeplitz products for many short sequences; on a GPU the Triton kernels for bfloat16 projections that are
    not too long, if they work there; FFTs for everything else.
    """
    if device.type == "cpu" and length <= LONGEST_TOEPLITZ and batch >= LEAST_TOEPLITZ_BATCH:
        return TOEPLITZ
    if device.type == "cuda" and dtype == torch.bfloat16 and length <= LONGEST_TRITON and kernels_work(device):
        return TRITON
    return FFT


@functools.cache
def kernels_work(device: torch.device) -> bool:
    """Whether the Triton kernels compile on `device` and agree with FFTs; checked once per process, with a warning.

    A training run must not end because a compiler is missing on one of the nodes.
    """
    try:
        from hyena.convolution.triton_kernels import TritonGatedConvolution
    except ImportError as error:
        warnings.warn(f"Triton is not installed ({error}): the long convolution uses FFTs instead", stacklevel=2)
        return False
    try:
        pairs = [
            (
                _result_and_gradients(TritonGatedConvolution, device, *shape),
                _result_and_gradients(ChunkedGatedConvolution, device, *shape, FFT),
            )
            for shape in CHECKED_SHAPES
        ]
        error_norm = max(float((a - b).norm() / b.norm()) for pair in pairs for a, b in zip(*pair, strict=True))
    except Exception as error:  # whatever a compiler or a driver raises
        if is_out_of_memory(error):
            raise  # this says nothing about the kernels
        warnings.warn(f"the Triton kernels do not run on {device} ({error}): using FFTs instead", stacklevel=2)
        return False
    if not error_norm < BFLOAT16_TOLERANCE:
        warnings.warn(f"the Triton kernels are off by {error_norm:.2g} on {device}: using FFTs instead", stacklevel=2)
    return error_norm < BFLOAT16_TOLERANCE


def _result_and_gradients(
    function: type[torch.autograd.Function], device: torch.device, batch: int, length: int, *options: Any
) -> list[Tensor]:
    """In float32, for fixed bfloat16 projections and float32 values of all other arguments."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((6, batch, length), (6, 3), (6,), (2, length), (2,))
    values = [torch.randn(shape, generator=generator).to(device) for shape in shapes]
    values[0] = values[0].bfloat16()
    # Inside a checkpointed layer, the layer's own hooks would take this backward pass for theirs and recompute it.
    no_hooks = torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x)
    with torch.inference_mode(False), torch.enable_grad(), torch.cuda.device_of(values[0]), no_hooks:
        arguments = [value.clone().requires_grad_() for value in values]
        result = function.apply(*arguments, *options)
        result.sum().backward()
    return [result.detach().float(), *(g.float() for a in arguments if (g := a.grad) is not None)]
