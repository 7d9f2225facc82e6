"""The Hyena operator of order 2: the part of a block that mixes positions.

Source: Poli et al. 2023, definition 3.1, and `HyenaOperator` of HazyResearch/hyena-dna, whose parameter names are
kept. Above it: `model.py`; below it: `filter.py` and `longconv.py`.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from hyena.config import HyenaConfig
from hyena.filter import ImplicitFilter, PositionFeatures
from hyena.longconv import causal_convolution

SHORT_FILTER_ORDER = 3


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
        """[B, L, D] to [B, L, D]; position n sees positions up to n only."""
        length = x.shape[1]
        projected = rearrange(self.in_proj(x), "B L D3 -> B D3 L")
        x0, x1, v = self.short_filter(projected)[..., :length].chunk(3, dim=1)
        u = x1 * v
        with torch.autocast(x.device.type, enabled=False):
            u = u.to(self.filter_fn.bias.dtype)
            y = causal_convolution(u, self.filter_fn(length)) + self.filter_fn.bias[:, None] * u
        return self.out_proj(rearrange(x0 * y, "B D L -> B L D"))
