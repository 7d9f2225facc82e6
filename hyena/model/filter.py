"""The implicit long filter: a small network from a position to the filter's value there, times a window.

Source: Poli et al. 2023, section 3.3, and `HyenaFilter`, `PositionalEmbedding`, `Sin`, `ExponentialModulation` of
HazyResearch/hyena-dna, whose parameter names are kept. Next: `operator.py`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hyena.model.config import HyenaConfig

#: Rates of decay of the window: the fastest and the slowest channel fall to 0.01 at 0.3 and 1.5 of l_max.
WINDOW_TARGET, FAST_DECAY_FRACTION, SLOW_DECAY_FRACTION, WINDOW_SHIFT = 0.01, 0.3, 1.5, 0.05
SINE_FREQUENCY = 10.0


class PositionFeatures(nn.Module):
    """z(n) = [t, cos θ_1 … cos θ_B, -sin θ_1 … -sin θ_B] with t = n/(l_max - 1), θ_j = 2π n f_j / l_max.

    Buffers `z` [1, l_max, emb_dim] and `t` [1, l_max, 1], in float32 as published: the complex exponential is rounded
    there, and float64 features would differ from the published model by 1e-6.
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
    """sin(freq ⊙ x) with a learned frequency a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.freq = nn.Parameter(torch.full((1, channels), SINE_FREQUENCY))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.freq * x)


class ExponentialWindow(nn.Module):
    """exp(-t |δ|) + 0.05, with one fixed rate δ a channel."""

    deltas: Tensor

    def __init__(self, d_model: int) -> None:
        super().__init__()
        slowest = math.log(WINDOW_TARGET) / SLOW_DECAY_FRACTION
        fastest = math.log(WINDOW_TARGET) / FAST_DECAY_FRACTION
        self.register_buffer("deltas", torch.linspace(slowest, fastest, d_model, dtype=torch.float32)[None, None])

    def forward(self, t: Tensor) -> Tensor:
        return torch.exp(-t * self.deltas.abs()) + WINDOW_SHIFT


class ImplicitFilter(nn.Module):
    """The filter k of every channel, made anew from its parameters in each forward pass.

    `bias` [D] is not part of k: it weighs the unfiltered signal that the operator adds to the convolution.
    The three sine activations are one module, so they share one frequency, as published.
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
        if length > self.pos_emb.z.shape[1]:
            raise ValueError(f"input of {length} positions is longer than l_max = {self.pos_emb.z.shape[1]}")
        values = self.implicit_filter(self.pos_emb.z[:, :length])
        return (values * self.modulation(self.pos_emb.t[:, :length]))[0].T
