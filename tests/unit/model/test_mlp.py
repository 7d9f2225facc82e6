"""The cache-friendly MLP, its norm and its residual sum against PyTorch's own operations."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyena.model import mlp as module
from hyena.model.config import HyenaConfig
from hyena.model.mlp import MLP


def plain(mlp: MLP, x: Tensor, norm: nn.LayerNorm, add_residual: bool = False) -> Tensor:
    update = mlp.fc2(F.gelu(mlp.fc1(norm(x)), approximate="tanh"))
    return x + update if add_residual else update


def with_gradients(function, mlp: MLP, x: Tensor, norm: nn.LayerNorm, add_residual: bool) -> list[Tensor]:
    mlp.zero_grad()
    norm.zero_grad()
    x = x.clone().requires_grad_()
    result = function(x, norm, add_residual)
    (result * torch.cos(torch.arange(result.numel(), dtype=x.dtype)).view_as(result)).sum().backward()
    return [result.detach(), x.grad, *(p.grad.clone() for p in (*mlp.parameters(), *norm.parameters()))]


def mlp_norm_and_input(dtype: torch.dtype) -> tuple[MLP, nn.LayerNorm, Tensor]:
    torch.manual_seed(0)
    mlp, norm = MLP(HyenaConfig(d_model=16, n_layer=1, l_max=8)).to(dtype), nn.LayerNorm(16, dtype=dtype)
    nn.init.uniform_(norm.weight, 5, 15)  # far into both tails of the activation
    nn.init.normal_(norm.bias)
    return mlp, norm, torch.randn(3, 50, 16, dtype=dtype)


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-14), (torch.float32, 1e-5)])
@pytest.mark.parametrize("chunk_elements", [64 * 7, 2**18])
@pytest.mark.parametrize("add_residual", [True, False])
def test_result_and_gradients_are_pytorchs(
    add_residual: bool, chunk_elements: int, dtype: torch.dtype, within: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", chunk_elements)
    monkeypatch.setattr(module, "FEWEST_ROWS", 1)
    mlp, norm, x = mlp_norm_and_input(dtype)
    expected = with_gradients(lambda *rest: plain(mlp, *rest), mlp, x, norm, add_residual)
    for one, other in zip(with_gradients(mlp, mlp, x, norm, add_residual), expected, strict=True):
        assert float((one - other).norm() / other.norm()) < within


@pytest.mark.parametrize("add_residual", [True, False])
def test_inference_gives_the_training_passs_numbers(add_residual: bool) -> None:
    mlp, norm, x = mlp_norm_and_input(torch.float64)
    expected = mlp(x, norm, add_residual).detach()
    with torch.inference_mode():
        assert torch.allclose(mlp(x, norm, add_residual), expected, rtol=0, atol=1e-13)


def test_extreme_inputs_stay_finite() -> None:
    mlp, norm, x = mlp_norm_and_input(torch.float32)
    nn.init.constant_(norm.weight, 3e5)
    x.requires_grad_()
    result = mlp(x, norm)
    result.sum().backward()
    assert torch.isfinite(result).all()
    assert torch.isfinite(x.grad).all()


def test_autocast_is_left_to_pytorch() -> None:
    mlp, norm, x = mlp_norm_and_input(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert mlp(x, norm).dtype == torch.bfloat16
        assert torch.equal(mlp(x, norm), plain(mlp, x, norm))
        assert mlp(x, norm, add_residual=True).dtype == torch.float32
