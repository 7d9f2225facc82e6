"""The long convolution as products with a block-Toeplitz matrix, O(L²): the method for short inputs on a CPU.

A causal convolution multiplies by the lower-triangular Toeplitz matrix T[n, m] = k[n - m]. Blocks of `BLOCK` rows are
multiplied one after another, without what lies above their diagonal.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from hyena.convolution.method import ConvolutionMethod

#: Side of a block. Smaller blocks cost calls, larger ones work above the diagonal (docs/performance.md).
BLOCK = 64


def _shifted(kernel: Tensor) -> Tensor:
    """H[d, i, j] = k[d, i + j - (BLOCK - 1)], zero where the index is negative: [D, R, BLOCK], a view of one copy of k.

    R is the length rounded up to whole blocks. With j counted from the end, H[r, BLOCK - 1 - c] = k[r - c]: the first
    columns of the Toeplitz matrix; with i counted from the end, its last rows, transposed.
    """
    channels, length = kernel.shape
    rows = -(-length // BLOCK) * BLOCK
    padded = kernel.new_zeros(channels, rows + BLOCK - 1)
    padded[:, BLOCK - 1 : BLOCK - 1 + length] = kernel
    return padded.as_strided((channels, rows, BLOCK), (padded.stride(0), 1, 1))


def _blocks(length: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK))


def _convolve(signal: Tensor, kernel: Tensor) -> Tensor:
    """Block I of y is u up to the end of I times the last rows of the matrix: one product for each block."""
    matrix = _shifted(kernel).flip(1)
    rows = matrix.shape[1]
    result = torch.empty_like(signal)
    for block in _blocks(signal.shape[-1]):
        first = rows - BLOCK - block.start
        part = matrix[:, first : first + block.stop, : block.stop - block.start]
        result[:, :, block] = torch.bmm(signal[:, :, : block.stop], part)
    return result


def _gradients(gradient: Tensor, signal: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    return _signal_gradient(gradient, kernel), _kernel_gradient(gradient, signal)


def _signal_gradient(gradient: Tensor, kernel: Tensor) -> Tensor:
    matrix = _shifted(kernel).flip(2)
    length = gradient.shape[-1]
    result = torch.empty_like(gradient)
    for block in _blocks(length):
        part = matrix[:, : length - block.start, : block.stop - block.start]
        result[:, :, block] = torch.bmm(gradient[:, :, block.start :], part)
    return result


def _kernel_gradient(gradient: Tensor, signal: Tensor) -> Tensor:
    """The gradient of the matrix's first BLOCK columns, summed over their shifts; then the sum of each diagonal."""
    channels, _, length = gradient.shape
    rows = length + BLOCK
    matrix = gradient.new_zeros(channels, rows, BLOCK)
    for block in _blocks(length):
        part = matrix[:, : length - block.start, : block.stop - block.start]
        part.baddbmm_(gradient[:, :, block.start :].transpose(1, 2), signal[:, :, block])
    return matrix.as_strided((channels, length, BLOCK), (rows * BLOCK, BLOCK, BLOCK + 1)).sum(dim=2)


TOEPLITZ = ConvolutionMethod(lambda length: length, _convolve, _gradients)
