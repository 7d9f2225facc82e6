"""Both ways of the long convolution against the direct sum: result and both gradients, in float64 and float32."""

import pytest
import torch

from hyena.convolution import long
from hyena.convolution.long import (
    BLOCK,
    FFT,
    LEAST_TOEPLITZ_BATCH,
    LONGEST_TOEPLITZ_ON_CPU,
    TOEPLITZ,
    Way,
    causal_convolution,
    direct_convolution,
)

WAYS = {"fft": FFT, "toeplitz": TOEPLITZ}
#: Relative to the norm of what is compared.
TOLERANCE = {torch.float64: 1e-14, torch.float32: 2e-6}


def with_gradients(convolve, signal, kernel, gradient):
    signal, kernel = signal.clone().requires_grad_(), kernel.clone().requires_grad_()
    result = convolve(signal, kernel)
    result.backward(gradient)
    return result.detach(), signal.grad, kernel.grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("length", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 150, 500, 1024])
@pytest.mark.parametrize("name", WAYS)
def test_each_way_equals_the_direct_sum(name: str, length: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(length)
    shapes = ((3, 2, length), (2, length), (3, 2, length))
    values = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    expected = with_gradients(direct_convolution, *values)
    found = with_gradients(lambda u, k: causal_convolution(u, k, WAYS[name]), *(v.to(dtype) for v in values))
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        assert float((one - other).norm() / other.norm()) < TOLERANCE[dtype]


@pytest.mark.parametrize("name", WAYS)
def test_work_pieces_leave_no_trace(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    signal, kernel, gradient = torch.randn(3, 5, 70), torch.randn(5, 70), torch.randn(3, 5, 70)
    calls = []

    def counted(u: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        calls.append(len(u))
        return WAYS[name].convolve(u, k)

    way = Way(WAYS[name].room, counted, WAYS[name].gradients)
    whole = with_gradients(lambda u, k: causal_convolution(u, k, way), signal, kernel, gradient)
    monkeypatch.setitem(long.PIECE, "cpu", 2 * 3 * 70)
    pieced = with_gradients(lambda u, k: causal_convolution(u, k, way), signal, kernel, gradient)
    assert calls == [5, 2, 2, 1]
    for one, other in zip(pieced, whole, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_long_convolution_equals_sums_at_some_positions() -> None:
    length = 40_000
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(1, 2, length, generator=generator, dtype=torch.float64)
    kernel = torch.randn(2, length, generator=generator, dtype=torch.float64)
    found = causal_convolution(signal, kernel)
    for n in (0, 1, 12_345, length - 1):
        expected = (signal[0, :, : n + 1] * kernel[:, : n + 1].flip(1)).sum(dim=1)
        assert torch.allclose(found[0, :, n], expected, atol=1e-9)


def test_many_short_inputs_take_toeplitz_products_and_others_transforms() -> None:
    def way_for(batch: int, length: int, device: str = "cpu") -> Way:
        return long.way_for(torch.empty(2, batch, length, device=device))

    assert way_for(LEAST_TOEPLITZ_BATCH, LONGEST_TOEPLITZ_ON_CPU) is TOEPLITZ
    assert way_for(LEAST_TOEPLITZ_BATCH, LONGEST_TOEPLITZ_ON_CPU + 1) is FFT
    assert way_for(LEAST_TOEPLITZ_BATCH - 1, LONGEST_TOEPLITZ_ON_CPU) is FFT
    assert way_for(LEAST_TOEPLITZ_BATCH, 1, "meta") is FFT
