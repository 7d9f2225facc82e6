"""Which method computes the gated convolution, and when the Triton kernels are not used."""

import sys
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from hyena.convolution import gated as module
from hyena.convolution.chunked import ChunkedGatedConvolution
from hyena.convolution.fft import FFT
from hyena.convolution.gated import (
    LEAST_TOEPLITZ_BATCH,
    LONGEST_TOEPLITZ,
    LONGEST_TRITON,
    TRITON,
    gated_convolution,
    kernels_work,
    method_for,
)
from hyena.convolution.toeplitz import TOEPLITZ
from hyena.model.hyenadna import checkpointed

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def test_many_short_inputs_use_toeplitz_products_on_a_cpu_and_others_ffts() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        assert method_for(CPU, dtype, LEAST_TOEPLITZ_BATCH, LONGEST_TOEPLITZ) is TOEPLITZ
        assert method_for(CPU, dtype, LEAST_TOEPLITZ_BATCH, LONGEST_TOEPLITZ + 1) is FFT
        assert method_for(CPU, dtype, LEAST_TOEPLITZ_BATCH - 1, LONGEST_TOEPLITZ) is FFT
    assert method_for(torch.device("meta"), torch.float32, LEAST_TOEPLITZ_BATCH, 1) is FFT


@pytest.mark.parametrize("works", [True, False])
def test_bfloat16_uses_the_kernels_on_a_gpu_where_they_work(works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "kernels_work", lambda device: works)
    expected = TRITON if works else FFT
    assert method_for(CUDA, torch.bfloat16, 1, LONGEST_TRITON) == expected
    assert method_for(CUDA, torch.bfloat16, LEAST_TOEPLITZ_BATCH, 1) == expected
    assert method_for(CUDA, torch.bfloat16, 1, LONGEST_TRITON + 1) is FFT
    assert method_for(CUDA, torch.float32, LEAST_TOEPLITZ_BATCH, 1) is FFT


@pytest.mark.parametrize("batch", [LEAST_TOEPLITZ_BATCH - 1, LEAST_TOEPLITZ_BATCH])
def test_the_function_is_that_of_the_chosen_method(batch: int) -> None:
    shapes = ((6, batch, 40), (6, 3), (6,), (2, 40), (2,))
    values = [torch.randn(shape, generator=torch.Generator().manual_seed(0)) for shape in shapes]
    method = FFT if batch < LEAST_TOEPLITZ_BATCH else TOEPLITZ
    assert torch.equal(gated_convolution(*values), ChunkedGatedConvolution.apply(*values, method))


def test_without_triton_the_kernels_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hyena.convolution.triton_kernels", None)  # makes its import an ImportError
    with pytest.warns(UserWarning, match="Triton is not installed"):
        assert not kernels_work.__wrapped__(CPU)


@pytest.mark.parametrize("fault", ["raise", "wrong", None])
@pytest.mark.parametrize("inference", [False, True])
def test_kernels_are_used_only_where_they_run_and_agree(
    fault: str | None, inference: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kernels(ChunkedGatedConvolution):
        @staticmethod
        def forward(ctx: Any, *values: Any) -> Any:
            if fault == "raise":
                raise RuntimeError("no ptxas")
            return ChunkedGatedConvolution.forward(ctx, *(*values, FFT)) * (1.1 if fault else 1)

        @staticmethod
        def backward(ctx, *gradients):
            return ChunkedGatedConvolution.backward(ctx, *gradients)[:5]

    fake = type(sys)("hyena.convolution.triton_kernels")
    fake.TritonGatedConvolution = Kernels  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hyena.convolution.triton_kernels", fake)
    with torch.inference_mode(inference), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert kernels_work.__wrapped__(CPU) == (fault is None)
    assert [str(w.message)[:30] for w in caught] == {
        "raise": ["the Triton kernels do not run "],
        "wrong": ["the Triton kernels are off by "],
        None: [],
    }[fault]


def test_the_kernels_may_be_checked_inside_a_checkpointed_layer() -> None:
    """The first step of a process may be one that recomputes its activations; the backward pass of the check must not
    be taken for the one that starts the recomputation."""
    options = (ChunkedGatedConvolution, CPU, 3, 40, FFT)
    expected = module._result_and_gradients(*options)
    calls = []

    def sublayer(residual: Tensor, _: object) -> Tensor:
        calls.append(module._result_and_gradients(*options))
        return residual * residual

    residual = torch.arange(3.0, requires_grad=True)
    checkpointed(sublayer, residual, None).sum().backward()
    assert torch.equal(residual.grad, 2 * residual.detach())
    assert len(calls) == 2
    for found in calls:
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
