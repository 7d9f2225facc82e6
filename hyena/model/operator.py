"""The Hyena operator of order 2, which mixes positions, and the implicit filter that it convolves with.

Source: Poli et al. 2023, definition 3.1 and section 3.3; `HyenaOperator`, `HyenaFilter`, `PositionalEmbedding`, `Sin`
and `ExponentialModulation` of HazyResearch/hyena-dna, whose parameter names are kept. Next: `convolution/gated.py`,
which computes what is between the two projections.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn

from hyena.convolution.gated import SHORT_FILTER_ORDER, gated_convolution
from hyena.model.config import HyenaConfig

#: The window's rates of decay: its fastest and its slowest channel fall to 0.01 at 0.3 and 1.5 of l_max.
WINDOW_TARGET, FAST_DECAY_FRACTION, SLOW_DECAY_FRACTION, WINDOW_SHIFT = 0.01, 0.3, 1.5, 0.05
SINE_FREQUENCY = 10.0


class HyenaOperator(nn.Module):
    """y = out_proj(x0 ⊙ (k * u + bias ⊙ u)) with u = x1 ⊙ v, and x0, x1, v = short_filter(in_proj(x))."""

    def __init__(self, config: HyenaConfig, position_features: PositionFeatures) -> None:
        super().__init__()
        d_model = config.d_model
        self.in_proj = nn.Linear(d_model, 3 * d_model)
        self.out_proj = nn.Linear(d_model, d_model)
        self.short_filter = nn.Conv1d(
            3 * d_model, 3 * d_model, SHORT_FILTER_ORDER, groups=3 * d_model, padding=SHORT_FILTER_ORDER - 1
        )
        self.filter_fn = ImplicitFilter(config, position_features)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, D] to [B, L, D]; position n depends on positions up to n only.

        Between the projections the layout is [D, B, L]. The matrix products read transposed operands, so nothing is
        copied.
        """
        batch, length, _ = x.shape
        columns = rearrange(x, "B L D -> D (B L)")
        projected = torch.addmm(self.in_proj.bias[:, None], self.in_proj.weight, columns)
        bias = self.short_filter.bias
        assert bias is not None
        with torch.autocast(x.device.type, enabled=False):
            mixed = gated_convolution(
                rearrange(projected, "D3 (B L) -> D3 B L", B=batch),
                self.short_filter.weight[:, 0],
                bias,
                self.filter_fn(length),
                self.filter_fn.bias,
            )
        return self.out_proj(rearrange(mixed, "D B L -> (B L) D")).view(batch, length, -1)


class ImplicitFilter(nn.Module):
    """The filter k of every channel: a network from a position to the filter's value there, times a window.

    k is computed from the parameters in each forward pass. `bias` [D] is not part of k: it weights the unfiltered
    signal that the operator adds to the convolution. The three sine activations are one module, so they share one
    frequency, as published.
    """

    def __init__(self, config: HyenaConfig, position_features: PositionFeatures) -> None:
        super().__init__()
        width = config.filter_order
        sine = Sine(width)
        self.bias = nn.Parameter(torch.empty(config.d_model))
        self.pos_emb = position_features
        self.implicit_filter = nn.Sequential(
            nn.Linear(config.emb_dim, width),
            sine,
            nn.Linear(width, width),
            sine,
            nn.Linear(width, width),
            sine,
            nn.Linear(width, config.d_model, bias=False),
        )
        self.modulation = ExponentialWindow(config.d_model)

    def forward(self, length: int) -> Tensor:
        """k over the first `length` positions: [D, L]. Raises ValueError where L is more than l_max."""
        return self.windowed(self.implicit_filter(self.features(length)))

    def features(self, length: int) -> Tensor:
        """The network's input: features [1, L, emb_dim] of the first `length` positions."""
        if length > self.pos_emb.z.shape[1]:
            raise ValueError(f"input of {length} positions is longer than l_max = {self.pos_emb.z.shape[1]}")
        return self.pos_emb.z[:, :length]

    def windowed(self, values: Tensor) -> Tensor:
        """The network's output [S, L, D], of one seed or of a stack, times the window: [S · D, L]."""
        return rearrange(values * self.modulation(self.pos_emb.t[:, : values.shape[1]]), "S L D -> (S D) L")


class PositionFeatures(nn.Module):
    """z(n) = [t, cos θ_1 … cos θ_B, -sin θ_1 … -sin θ_B] with t = n/(l_max - 1), θ_j = 2π n f_j / l_max.

    Buffers `z` [1, l_max, emb_dim] and `t` [1, l_max, 1], in float32 as published: the published code computes the
    complex exponential in float32, and float64 features would differ from it by 1e-6.
    """

    z: Tensor
    t: Tensor

    def __init__(self, emb_dim: int, l_max: int) -> None:
        super().__init__()
        bands = (emb_dim - 1) // 2
        t = torch.linspace(0, 1, l_max, dtype=torch.float32)[None, :, None]
        angle = 2 * math.pi * torch.linspace(0, l_max - 1, l_max, dtype=torch.float32)[None, :, None] / l_max
        frequency = torch.linspace(1e-4, bands - 1, bands, dtype=torch.float32)[None, None]
        wave = torch.exp(-1j * frequency * angle)
        self.register_buffer("z", torch.cat([t, wave.real, wave.imag], dim=-1))
        self.register_buffer("t", t)


class Sine(nn.Module):
    """sin(freq ⊙ x) with one learned frequency per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.freq = nn.Parameter(torch.full((1, channels), SINE_FREQUENCY))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.freq * x)


class ExponentialWindow(nn.Module):
    """exp(-t |δ|) + 0.05, with one fixed rate δ per channel."""

    deltas: Tensor

    def __init__(self, d_model: int) -> None:
        super().__init__()
        slowest = math.log(WINDOW_TARGET) / SLOW_DECAY_FRACTION
        fastest = math.log(WINDOW_TARGET) / FAST_DECAY_FRACTION
        self.register_buffer("deltas", torch.linspace(slowest, fastest, d_model, dtype=torch.float32)[None, None])

    def forward(self, t: Tensor) -> Tensor:
        return torch.exp(-t * self.deltas.abs()) + WINDOW_SHIFT
