"""The gated convolution, a chunk of the channels at a time, against the published operations one by one."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hyena.convolution import chunked
from hyena.convolution.chunked import ChunkedGatedConvolution
from hyena.convolution.fft import FFT
from hyena.convolution.method import ConvolutionMethod
from hyena.convolution.toeplitz import TOEPLITZ
from tests.support.direct_convolution import direct_convolution

METHODS = {"fft": FFT, "toeplitz": TOEPLITZ}


def published(projected: Tensor, taps: Tensor, offset: Tensor, kernel: Tensor, skip: Tensor) -> Tensor:
    """The published operations on [B, 3D, L], with the long convolution by its definition."""
    filtered = F.conv1d(projected.transpose(0, 1), taps[:, None], offset, padding=2, groups=len(taps))
    x0, x1, v = filtered[..., : projected.shape[-1]].chunk(3, dim=1)
    u = x1 * v
    return (x0 * (direct_convolution(u, kernel) + skip[:, None] * u)).transpose(0, 1)


def arguments(channels: int, batch: int, length: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length)
    shapes = ((3 * channels, batch, length), (3 * channels, 3), (3 * channels,), (channels, length), (channels,))
    return [torch.randn(s, generator=generator, dtype=dtype) for s in shapes]


def with_gradients(values: list[Tensor], method: ConvolutionMethod | None = None) -> list[Tensor]:
    """Result and gradients by a method, or of the published operations."""
    values = [value.clone().requires_grad_() for value in values]
    result = ChunkedGatedConvolution.apply(*values, method) if method else published(*values)
    weights = torch.sin(torch.arange(result.numel(), dtype=torch.float64)).to(result.dtype).view_as(result)
    (result * weights).sum().backward()
    return [result.detach(), *(value.grad for value in values)]


def distances(found: list[Tensor], expected: list[Tensor]) -> list[float]:
    return [float((a.double() - b.double()).norm() / b.double().norm()) for a, b in zip(found, expected, strict=True)]


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
@pytest.mark.parametrize("length", [3, 64, 130, 201, 500])
@pytest.mark.parametrize("method", METHODS)
def test_result_and_gradients_are_the_published_ones(
    method: str, length: int, dtype: torch.dtype, within: float
) -> None:
    values = arguments(4, 3, length)
    found = with_gradients([value.to(dtype) for value in values], METHODS[method])
    assert max(distances(found, with_gradients(values))) < within


@pytest.mark.parametrize("name", METHODS)
def test_chunks_and_transposed_projections_change_no_number(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    channels_at_once = []

    def counted(u: Tensor, k: Tensor) -> Tensor:
        channels_at_once.append(len(u))
        return METHODS[name].convolve(u, k)

    method = dataclasses.replace(METHODS[name], convolve=counted)
    values = arguments(5, 2, 40)
    expected = with_gradients(values)
    whole = with_gradients(values, method)
    monkeypatch.setitem(chunked.CHUNK_ELEMENTS, "cpu", 2 * 2 * 40)
    values[0] = values[0].permute(1, 2, 0).contiguous().permute(2, 0, 1)
    in_chunks = with_gradients(values, method)
    assert channels_at_once == [5, 2, 2, 1]
    assert max(distances(whole, expected)) < 1e-13
    assert max(distances(in_chunks, expected)) < 1e-13


@pytest.mark.parametrize("length", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_inputs_shorter_than_the_short_filter(method: str, length: int) -> None:
    values = [value.requires_grad_() for value in arguments(2, 2, length)]
    assert torch.autograd.gradcheck(lambda *x: ChunkedGatedConvolution.apply(*x, METHODS[method]), values)


def test_bfloat16_projections_are_summed_in_float32() -> None:
    values = arguments(4, 3, 300, torch.float32)
    rounded = [values[0].bfloat16(), *values[1:]]
    exact = with_gradients([values[0].bfloat16().float(), *values[1:]], FFT)
    found = with_gradients(rounded, FFT)
    assert found[0].dtype == found[1].dtype == torch.bfloat16
    assert max(distances(found[:2], exact[:2])) < 2**-8  # the result is rounded once, and nothing before it
    assert max(distances(found[2:], exact[2:])) < 2**-8  # the incoming gradient is rounded
