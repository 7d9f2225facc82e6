"""The cache-friendly MLP against PyTorch's own operations."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hyena import mlp as module
from hyena.config import HyenaConfig
from hyena.mlp import MLP


def plain(mlp: MLP, x: Tensor) -> Tensor:
    return mlp.fc2(F.gelu(mlp.fc1(x), approximate="tanh"))


def with_gradients(function, mlp: MLP, x: Tensor) -> list[Tensor]:
    mlp.zero_grad()
    x = x.clone().requires_grad_()
    result = function(x)
    (result * torch.cos(torch.arange(result.numel(), dtype=x.dtype)).view_as(result)).sum().backward()
    return [result.detach(), x.grad, *(p.grad.clone() for p in mlp.parameters())]


def mlp_and_input(dtype: torch.dtype) -> tuple[MLP, Tensor]:
    torch.manual_seed(0)
    mlp = MLP(HyenaConfig(d_model=16, n_layer=1, l_max=8)).to(dtype)
    return mlp, 10 * torch.randn(3, 50, 16, dtype=dtype)  # far into both tails of the activation


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-14), (torch.float32, 1e-5)])
@pytest.mark.parametrize("piece", [64 * 7, 2**18])
def test_result_and_gradients_are_pytorchs(
    piece: int, dtype: torch.dtype, within: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE", piece)
    mlp, x = mlp_and_input(dtype)
    expected = with_gradients(lambda x: plain(mlp, x), mlp, x)
    for one, other in zip(with_gradients(mlp, mlp, x), expected, strict=True):
        assert float((one - other).norm() / other.norm()) < within


def test_inference_gives_the_training_passs_numbers() -> None:
    mlp, x = mlp_and_input(torch.float64)
    expected = mlp(x).detach()
    with torch.inference_mode():
        assert torch.allclose(mlp(x), expected, rtol=0, atol=1e-14)


def test_extreme_inputs_stay_finite() -> None:
    mlp, _ = mlp_and_input(torch.float32)
    x = torch.full((1, 1, 16), 3e5, requires_grad=True)
    result = mlp(x)
    result.sum().backward()
    assert torch.isfinite(result).all()
    assert torch.isfinite(x.grad).all()


def test_autocast_is_left_to_pytorch() -> None:
    mlp, x = mlp_and_input(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert mlp(x).dtype == torch.bfloat16
        assert torch.equal(mlp(x), plain(mlp, x))
