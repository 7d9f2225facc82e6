"""The Hyena operator of order 2: the part of a block that mixes positions.

Source: Poli et al. 2023, definition 3.1, and `HyenaOperator` of HazyResearch/hyena-dna, whose parameter names are
kept. Above it: `hyenadna.py`; below it: `filter.py` and `convolution/gated.py`.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from hyena.convolution.gated import SHORT_FILTER_ORDER, gated_convolution
from hyena.model.config import HyenaConfig
from hyena.model.filter import ImplicitFilter, PositionFeatures


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
        """[B, L, D] to [B, L, D]; position n sees positions up to n only.

        Between the projections the layout is [D, B, L]: the matrix products transpose as they read, nothing is copied.
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
