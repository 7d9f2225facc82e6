"""The MLP half of a block: r + fc2(gelu_tanh(fc1(norm(r)))), on a CPU computed chunk by chunk within the caches.

gelu_tanh(x) = x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))) equals x · σ(y) with y = 2 √(2/π) (x + 0.044715 x³), and its
derivative is σ + x y′ σ (1 - σ). So one logistic function, three times as fast as PyTorch's tanh, gives both value and
derivative. A chunk of the rows goes through norm, both products and the residual sum while it is in the caches. For the
backward pass the activation and its derivative are kept, as many numbers as autograd would keep, and r, because its
norm is faster to compute again than to read. Source: Hendrycks & Gimpel 2016.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyena.model.config import HyenaConfig

#: y = SCALE · x + CUBIC · (SCALE · x)³. The first product gives SCALE · x, and the second takes SCALE · gelu.
SCALE = 2 * math.sqrt(2 / math.pi)
CUBIC = 0.044715 / SCALE**2
#: Elements [rows, H] of a chunk of activations, few enough for the caches of a CPU core, and its fewest rows: a chunk
#: reads the weights [H, D] and adds to their gradients once, which must be worth it.
CHUNK_ELEMENTS, FEWEST_ROWS = 2**17, 512


class MLP(nn.Module):
    """fc2(gelu_tanh(fc1(norm(x)))), [B, L, D] to [B, L, D]. The norm belongs to the block."""

    def __init__(self, config: HyenaConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.d_model, config.d_inner)
        self.fc2 = nn.Linear(config.d_inner, config.d_model)

    def forward(self, x: Tensor, norm: nn.LayerNorm, add_residual: bool = False) -> Tensor:
        """With `add_residual`, x is added to the result."""
        if x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            update = self.fc2(F.gelu(self.fc1(norm(x)), approximate="tanh"))
            return x + update.to(x.dtype) if add_residual else update
        arguments = norm.weight, norm.bias, self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias
        rows = x.reshape(-1, x.shape[-1])
        function = _ChunkedMLP.apply if torch.is_grad_enabled() else _forward
        return function(rows, norm.eps, add_residual, *arguments).view_as(x)


def _row_chunks(rows: int, width: int) -> Iterator[slice]:
    """Consecutive slices of the rows, of nearly equal length."""
    number = max(1, -(-rows // max(FEWEST_ROWS, CHUNK_ELEMENTS // width)))
    cuts = [rows * index // number for index in range(number + 1)]
    return itertools.starmap(slice, itertools.pairwise(cuts))


def _scaled_hidden(normed: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """SCALE · x for hidden units x, its square, and σ(y)."""
    hidden = torch.addmm(bias, normed, weight.T, beta=SCALE, alpha=SCALE)
    square = hidden * hidden
    return hidden, square, torch.addcmul(hidden, hidden, square, value=CUBIC).sigmoid_()


def _finish(x: Tensor, activation: Tensor, weight: Tensor, bias: Tensor, add_residual: bool, result: Tensor) -> None:
    """The second product of SCALE · gelu, written into `result`."""
    if add_residual:
        torch.add(x, bias, out=result).addmm_(activation, weight.T, alpha=1 / SCALE)
    else:
        torch.addmm(bias, activation, weight.T, alpha=1 / SCALE, out=result)


def _forward(x: Tensor, eps: float, add_residual: bool, *parameters: Tensor) -> Tensor:
    norm_weight, norm_bias, weight1, bias1, weight2, bias2 = parameters
    result = torch.empty_like(x)
    for chunk in _row_chunks(len(x), len(weight1)):
        normed = F.layer_norm(x[chunk], norm_weight.shape, norm_weight, norm_bias, eps)
        hidden, _, logistic = _scaled_hidden(normed, weight1, bias1)
        _finish(x[chunk], hidden.mul_(logistic), weight2, bias2, add_residual, result[chunk])
    return result


class _ChunkedMLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, add_residual: bool, *parameters: Tensor) -> Tensor:
        norm_weight, norm_bias, weight1, bias1, weight2, bias2 = parameters
        ctx.eps, ctx.add_residual = eps, add_residual
        result = torch.empty_like(x)
        activation, derivative = (x.new_empty(len(x), len(weight1)) for _ in range(2))
        for chunk in _row_chunks(len(x), len(weight1)):
            normed = F.layer_norm(x[chunk], norm_weight.shape, norm_weight, norm_bias, eps)
            hidden, square, logistic = _scaled_hidden(normed, weight1, bias1)
            torch.mul(hidden, logistic, out=activation[chunk])
            slope = hidden.addcmul_(hidden, square, value=3 * CUBIC)  # x y′
            torch.add(logistic, torch.ops.aten.sigmoid_backward(slope, logistic), out=derivative[chunk])
            _finish(x[chunk], activation[chunk], weight2, bias2, add_residual, result[chunk])
        ctx.save_for_backward(x, norm_weight, norm_bias, weight1, weight2, activation, derivative)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, norm_weight, norm_bias, weight1, weight2, activation, derivative = ctx.saved_tensors
        norm, shape = (norm_weight, norm_bias), list(norm_weight.shape)
        to_x = torch.empty_like(x)
        to_norm_weight, to_norm_bias, to_weight1, to_weight2 = map(torch.zeros_like, (*norm, weight1, weight2))
        to_bias1 = weight1.new_zeros(len(weight1))
        for chunk in _row_chunks(len(x), len(weight1)):
            normed, mean, deviation = torch.native_layer_norm(x[chunk], shape, *norm, ctx.eps)
            to_hidden = torch.mm(gradient[chunk], weight2).mul_(derivative[chunk])
            to_weight1.addmm_(to_hidden.T, normed)
            to_weight2.addmm_(gradient[chunk].T, activation[chunk], alpha=1 / SCALE)
            to_bias1 += to_hidden.sum(dim=0)
            to_rows, *to_norm = torch.ops.aten.native_layer_norm_backward(
                torch.mm(to_hidden, weight1), x[chunk], shape, mean, deviation, *norm, [True] * 3
            )
            to_norm_weight += to_norm[0]
            to_norm_bias += to_norm[1]
            if ctx.add_residual:
                torch.add(to_rows, gradient[chunk], out=to_x[chunk])
            else:
                to_x[chunk] = to_rows
        return to_x, None, None, to_norm_weight, to_norm_bias, to_weight1, to_bias1, to_weight2, gradient.sum(dim=0)
