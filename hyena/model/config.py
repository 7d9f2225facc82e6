"""Sizes: the values that define the shape of a HyenaDNA, and the seven published ones.

Source: the `config.json` files of the Hugging Face organisation LongSafari. Next: `hyenadna.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from hyena.errors import InputError, nearest, shown
from hyena.ranges import MOST_POSITIONS, DropoutRate, Range, require_ranges

#: Positions that the classifier's head averages: all (as published), or those of real letters.
Pooling = Literal["all", "real"]
#: Side on which shorter sequences are padded; "left" is as published.
Padding = Literal["left", "right"]


@dataclass(frozen=True)
class HyenaConfig:
    """The shape of a HyenaDNA backbone. Immutable; two equal configurations describe the same network.

    Attributes:
        d_model: channels D of the residual stream.
        n_layer: blocks.
        l_max: positions that the implicit filter is defined for; a longer input is an error. Positions are relative to
            it (``t = n / (l_max - 1)``), so it shapes the filter at any input length.
        d_inner: channels H of the MLP; 0, the default, means 4 · d_model.
        emb_dim: features of a position: 1 for time and 2 for each frequency band; odd, at least 3.
        filter_order: width of the filter network.
        embed_dropout: in training, the probability of dropping a channel of an embedded token.
        resid_dropout: the same for the output of each half of a block, before the residual sum.
        layer_norm_eps: epsilon of every LayerNorm.
        checkpoint_activations: keep only the inputs of mixers and MLPs for the backward pass and recompute the rest: a
            fraction of the memory for a third more work, and the same numbers. It does not describe the network, so it
            is ignored when two configurations are compared.
    """

    d_model: Annotated[int, Range(ge=1, le=16_384)]
    n_layer: Annotated[int, Range(ge=1, le=1_000)]
    l_max: Annotated[int, Range(ge=2, le=MOST_POSITIONS)]
    d_inner: Annotated[int, Range(ge=0, le=65_536)] = 0
    emb_dim: Annotated[int, Range(ge=3, le=1_023)] = 5
    filter_order: Annotated[int, Range(ge=1, le=16_384)] = 64
    embed_dropout: DropoutRate = 0.1
    resid_dropout: DropoutRate = 0.0
    layer_norm_eps: Annotated[float, Range(gt=0, le=1)] = 1e-5
    checkpoint_activations: bool = field(default=False, compare=False)

    #: Rows of the embedding table: letters and special tokens, padded to a multiple of 8 as published.
    vocabulary_rows = 16

    def __post_init__(self) -> None:
        require_ranges(self)
        if self.emb_dim % 2 == 0:
            raise InputError(f"emb_dim = {self.emb_dim}: it must be odd (time, and a pair of features per frequency)")
        if self.d_inner == 0:
            object.__setattr__(self, "d_inner", 4 * self.d_model)


#: The published sizes by name.
PUBLISHED: dict[str, HyenaConfig] = {
    "hyenadna-tiny-1k-seqlen": HyenaConfig(d_model=128, n_layer=2, l_max=1_026),
    "hyenadna-tiny-1k-seqlen-d256": HyenaConfig(d_model=256, n_layer=2, l_max=1_026),
    "hyenadna-tiny-16k-seqlen-d128": HyenaConfig(d_model=128, n_layer=2, l_max=16_386),
    "hyenadna-small-32k-seqlen": HyenaConfig(d_model=256, n_layer=4, l_max=32_770),
    "hyenadna-medium-160k-seqlen": HyenaConfig(d_model=256, n_layer=8, l_max=160_002),
    "hyenadna-medium-450k-seqlen": HyenaConfig(d_model=256, n_layer=8, l_max=450_002),
    "hyenadna-large-1m-seqlen": HyenaConfig(d_model=256, n_layer=8, l_max=1_000_002),
}

#: Values that do not change the tensors of a size, so they may be changed for a published size.
BESIDE_THE_SHAPE = ("embed_dropout", "resid_dropout", "checkpoint_activations")


def published(name: str) -> HyenaConfig:
    """The published size of that exact name. Raises InputError, which suggests the nearest name."""
    if name not in PUBLISHED:
        raise InputError(f"unknown model {shown(name)}; {nearest(name, list(PUBLISHED))}")
    return PUBLISHED[name]
