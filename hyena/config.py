"""Sizes: what distinguishes one HyenaDNA from another, and the seven that were published.

Source: the `config.json` files of the Hugging Face organisation LongSafari. Next: `model.py`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field

from hyena.errors import InputError


@dataclass(frozen=True)
class HyenaConfig:
    """The shape of a HyenaDNA backbone. Immutable; two equal configurations describe the same network.

    Attributes:
        d_model: channels D of the residual stream.
        n_layer: blocks.
        l_max: positions that the implicit filter is defined for; a longer input is refused. Positions are measured
            against it (``t = n / (l_max - 1)``), so it shapes the filter at any input length.
        d_inner: channels H of the MLP; 4 · d_model where not given.
        emb_dim: features of a position: 1 for time and 2 a frequency band; odd, at least 3.
        filter_order: width of the filter network.
        embed_dropout: probability of dropping a channel of an embedded token, in training.
        resid_dropout: the same before every later residual sum.
        layer_norm_eps: epsilon of every LayerNorm.
        checkpoint_activations: keep only what stands between mixers and MLPs for the backward pass and compute the
            rest again there: a fraction of the memory for a third more work, and the same numbers. It describes no
            network, so it does not count when two configurations are compared.
    """

    d_model: int
    n_layer: int
    l_max: int
    d_inner: int = 0
    emb_dim: int = 5
    filter_order: int = 64
    embed_dropout: float = 0.1
    resid_dropout: float = 0.0
    layer_norm_eps: float = 1e-5
    checkpoint_activations: bool = field(default=False, compare=False)

    #: Letters and special tokens; the embedding table is padded to a multiple of 8 rows, as published.
    vocabulary_rows = 16

    def __post_init__(self) -> None:
        if self.d_inner == 0:
            object.__setattr__(self, "d_inner", 4 * self.d_model)
        for name, least in (("d_model", 1), ("n_layer", 1), ("l_max", 2), ("d_inner", 1), ("filter_order", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} = {getattr(self, name)}: it must be at least {least}")
        if self.emb_dim < 3 or self.emb_dim % 2 == 0:
            raise InputError(f"emb_dim = {self.emb_dim}: it must be odd and at least 3 (time, and a pair a frequency)")
        for name in ("embed_dropout", "resid_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}: it must be at least 0 and less than 1")


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

#: Values of a size that leave its tensors as they are, so that a published size may take others.
BESIDE_THE_SHAPE = ("embed_dropout", "resid_dropout", "checkpoint_activations")


def nearest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """The end of an error about an unknown `name`: the nearest known one, or all of them."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"


def published(name: str) -> HyenaConfig:
    """The published size of that exact name; raises InputError with the nearest one."""
    if name not in PUBLISHED:
        raise InputError(f"unknown model '{name}'; {nearest(name, list(PUBLISHED))}")
    return PUBLISHED[name]
