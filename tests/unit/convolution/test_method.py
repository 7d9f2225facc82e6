"""FFTs and Toeplitz products against the direct sum: result and both gradients, in float64 and float32."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hyena.convolution.fft import FFT
from hyena.convolution.method import ConvolutionMethod
from hyena.convolution.toeplitz import BLOCK, TOEPLITZ
from tests.support.direct_convolution import direct_convolution

METHODS = {"fft": FFT, "toeplitz": TOEPLITZ}
#: Relative to the norm of the expected values.
TOLERANCE = {torch.float64: 1e-14, torch.float32: 2e-6}


def padded(x: Tensor, method: ConvolutionMethod) -> Tensor:
    return F.pad(x, (0, method.padded_length(x.shape[-1]) - x.shape[-1]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("length", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 150, 500, 1024])
@pytest.mark.parametrize("name", METHODS)
def test_each_method_equals_the_direct_sum(name: str, length: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(length)
    shapes = ((2, 3, length), (2, length), (2, 3, length))
    signal, kernel, gradient = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    signal.requires_grad_()
    kernel.requires_grad_()
    result = direct_convolution(signal.transpose(0, 1), kernel).transpose(0, 1)
    expected = [result.detach(), *torch.autograd.grad(result, (signal, kernel), gradient)]

    method = METHODS[name]
    u, k, to_y = (x.detach().to(dtype) for x in (signal, kernel, gradient))
    found = [
        method.convolve(padded(u, method), k),
        *method.gradients(padded(to_y, method), padded(u, method), k),
    ]
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        assert one.shape == other.shape
        assert float((one - other).norm() / other.norm()) < TOLERANCE[dtype]


def test_a_long_convolution_equals_sums_at_some_positions() -> None:
    length = 40_000
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(2, 1, length, generator=generator, dtype=torch.float64)
    kernel = torch.randn(2, length, generator=generator, dtype=torch.float64)
    found = FFT.convolve(padded(signal, FFT), kernel)
    for n in (0, 1, 12_345, length - 1):
        expected = (signal[:, 0, : n + 1] * kernel[:, : n + 1].flip(1)).sum(dim=1)
        assert torch.allclose(found[:, 0, n], expected, atol=1e-9)
