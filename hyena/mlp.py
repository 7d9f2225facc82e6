"""The MLP of a block: fc2(gelu_tanh(fc1(x))), and on a CPU a way that never leaves the caches.

gelu_tanh(x) = x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))) is x · σ(y) with y = 2 √(2/π) (x + 0.044715 x³), and its
derivative is σ + x y′ σ (1 - σ): so one logistic function, which is three times as fast as PyTorch's tanh, gives both
value and derivative. A piece of the rows goes through both products while it is in the caches; kept for the way back
are the activation and its derivative, as many numbers as autograd would keep. Source: Hendrycks & Gimpel 2016.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyena.config import HyenaConfig

#: y = LINEAR · x + CUBIC · x³
LINEAR = 2 * math.sqrt(2 / math.pi)
CUBIC = LINEAR * 0.044715
#: Activations [rows, H] of one work piece, few enough for the caches of a CPU core and enough for its matrix products.
PIECE = 2**17


class MLP(nn.Module):
    """fc2(gelu_tanh(fc1(x))), [B, L, D] to [B, L, D]."""

    def __init__(self, config: HyenaConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.d_model, config.d_inner)
        self.fc2 = nn.Linear(config.d_inner, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        weights = self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias
        rows = x.reshape(-1, x.shape[-1])
        if torch.is_grad_enabled():
            return _CachedMLP.apply(rows, *weights).view_as(x)
        return _infer(rows, *weights).view_as(x)


def _pieces(rows: int, width: int) -> Iterator[slice]:
    size = max(1, PIECE // width)
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def _logistic(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """σ(y), x² and LINEAR · x."""
    square, linear = x * x, x * LINEAR
    return torch.addcmul(linear, x, square, value=CUBIC).sigmoid_(), square, linear


def _infer(x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> Tensor:
    result = torch.empty_like(x)
    for piece in _pieces(len(x), len(weight1)):
        hidden = torch.addmm(bias1, x[piece], weight1.T)
        torch.addmm(bias2, hidden.mul_(_logistic(hidden)[0]), weight2.T, out=result[piece])
    return result


class _CachedMLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Tensor) -> Tensor:
        x, weight1, bias1, weight2, bias2 = arguments
        result = torch.empty_like(x)
        activation, derivative = (x.new_empty(len(x), len(weight1)) for _ in range(2))
        for piece in _pieces(len(x), len(weight1)):
            hidden = torch.addmm(bias1, x[piece], weight1.T)
            logistic, square, slope = _logistic(hidden)
            torch.mul(hidden, logistic, out=activation[piece])
            slope.addcmul_(hidden, square, value=3 * CUBIC)  # x y′
            torch.add(logistic, torch.ops.aten.sigmoid_backward(slope, logistic), out=derivative[piece])
            torch.addmm(bias2, activation[piece], weight2.T, out=result[piece])
        ctx.save_for_backward(x, weight1, weight2, activation, derivative)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        (gradient,) = gradients
        x, weight1, weight2, activation, derivative = ctx.saved_tensors
        to_x, to_weight1, to_weight2 = torch.empty_like(x), torch.zeros_like(weight1), torch.zeros_like(weight2)
        to_bias1 = weight1.new_zeros(len(weight1))
        for piece in _pieces(len(x), len(weight1)):
            to_hidden = torch.mm(gradient[piece], weight2).mul_(derivative[piece])
            torch.mm(to_hidden, weight1, out=to_x[piece])
            to_weight1.addmm_(to_hidden.T, x[piece])
            to_weight2.addmm_(gradient[piece].T, activation[piece])
            to_bias1 += to_hidden.sum(dim=0)
        return to_x, to_weight1, to_bias1, to_weight2, gradient.sum(dim=0)
