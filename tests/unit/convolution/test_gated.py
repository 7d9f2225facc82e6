"""The fused gate chain against the published operations one by one, and its fall-backs."""

import sys
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hyena.convolution import gated as module
from hyena.convolution import long
from hyena.convolution.gated import gated_convolution, kernels_work
from hyena.convolution.long import direct_convolution
from hyena.model.hyenadna import recomputed


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


def with_gradients(function, values: list[Tensor]) -> list[Tensor]:
    values = [value.clone().requires_grad_() for value in values]
    result = function(*values)
    weights = torch.sin(torch.arange(result.numel(), dtype=torch.float64)).to(result.dtype).view_as(result)
    (result * weights).sum().backward()
    return [result.detach(), *(value.grad for value in values)]


def distances(found: list[Tensor], expected: list[Tensor]) -> list[float]:
    return [float((a.double() - b.double()).norm() / b.double().norm()) for a, b in zip(found, expected, strict=True)]


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
@pytest.mark.parametrize("length", [3, 64, 130, 201, 500])
def test_result_and_gradients_are_the_published_ones(length: int, dtype: torch.dtype, within: float) -> None:
    values = arguments(4, 3, length)
    found = with_gradients(gated_convolution, [value.to(dtype) for value in values])
    assert max(distances(found, with_gradients(published, values))) < within


def test_channels_in_several_pieces_and_transposed_projections(monkeypatch: pytest.MonkeyPatch) -> None:
    values = arguments(5, 2, 40)
    expected = with_gradients(published, values)
    monkeypatch.setitem(long.PIECE, "cpu", 2 * 2 * 40)  # two channels at a time
    values[0] = values[0].permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert max(distances(with_gradients(gated_convolution, values), expected)) < 1e-13


@pytest.mark.parametrize("length", [1, 2])
def test_inputs_shorter_than_the_short_filter(length: int) -> None:
    values = [value.requires_grad_() for value in arguments(2, 2, length)]
    assert torch.autograd.gradcheck(gated_convolution, values)


def test_bfloat16_projections_are_summed_in_float32() -> None:
    values = arguments(4, 3, 300, torch.float32)
    rounded = [values[0].bfloat16(), *values[1:]]
    exact = with_gradients(gated_convolution, [values[0].bfloat16().float(), *values[1:]])
    found = with_gradients(gated_convolution, rounded)
    assert found[0].dtype == found[1].dtype == torch.bfloat16
    assert max(distances(found[:2], exact[:2])) < 2**-8  # the result is rounded once, and nothing before it
    assert max(distances(found[2:], exact[2:])) < 2**-8  # the incoming gradient is


def test_without_triton_the_kernels_are_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hyena.convolution.triton_kernels", None)  # makes its import an ImportError
    with pytest.warns(UserWarning, match="Triton is not installed"):
        assert not kernels_work.__wrapped__(torch.device("cpu"))


@pytest.mark.parametrize("fault", ["raise", "wrong", None])
@pytest.mark.parametrize("inference", [False, True])
def test_kernels_are_used_only_where_they_run_and_agree(
    fault: str | None, inference: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kernels(module._GatedConvolution):
        @staticmethod
        def forward(ctx, *values):
            if fault == "raise":
                raise RuntimeError("no ptxas")
            return module._GatedConvolution.forward(ctx, *values) * (1.1 if fault else 1)

    fake = type(sys)("hyena.convolution.triton_kernels")
    fake.GatedConvolution = Kernels  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hyena.convolution.triton_kernels", fake)
    with torch.inference_mode(inference), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert kernels_work.__wrapped__(torch.device("cpu")) == (fault is None)
    assert [str(w.message)[:30] for w in caught] == {
        "raise": ["the Triton kernels do not run "],
        "wrong": ["the Triton kernels are off by "],
        None: [],
    }[fault]


def test_the_trial_of_the_kernels_may_fall_within_a_checkpointed_half() -> None:
    """The first step of a process may be one that recomputes its activations; the trial's own backward pass must not
    be taken for the one that sets off the recomputation."""
    expected = module._trial(module._GatedConvolution, torch.device("cpu"), 3, 40)
    calls = []

    def half(residual: Tensor, _: None) -> Tensor:
        calls.append(module._trial(module._GatedConvolution, torch.device("cpu"), 3, 40))
        return residual * residual

    residual = torch.arange(3.0, requires_grad=True)
    recomputed(half, residual, None).sum().backward()
    assert torch.equal(residual.grad, 2 * residual.detach())
    assert len(calls) == 2
    for found in calls:
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
