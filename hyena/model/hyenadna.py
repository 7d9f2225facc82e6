"""HyenaDNA on one page: embedding, blocks, classifier and language model.

Source: Nguyen et al. 2023, *HyenaDNA*, and the standalone model of HazyResearch/hyena-dna. Parameter names are the
published ones, so a published state dict fits as it is. Left out: flash attention layers, tensor parallelism and the
pooling modes that no published size uses. Next: `operator.py`, `mlp.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hyena.model.config import HyenaConfig, Padding, Pooling
from hyena.model.filter import SINE_FREQUENCY, PositionFeatures
from hyena.model.mlp import MLP
from hyena.model.operator import HyenaOperator
from hyena.randomness import Dropout, stream

#: Half a block: (residual, dropout) to residual. A stack's draws from one stream a seed.
Drop = TypeVar("Drop", bound=Dropout)
Half = Callable[[Tensor, Drop | None], Tensor]


INIT_STD = 0.02


def drop(x: Tensor, probability: float, generator: torch.Generator | None) -> Tensor:
    """Inverted dropout from an explicit random stream; the identity where there is none.

    Dropout is on exactly where a generator is given, so a forward pass has no hidden mode and no global state. Sixteen
    random bits an element decide, four elements a draw, so that the probability is rounded to a multiple of 2^-16
    (0.1 becomes 0.100006); what is kept is scaled by the rounded one, so the mean is exact.
    """
    dropped = round(probability * 2**16)
    if generator is None or dropped == 0:
        return x
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
    bits = draws.random_(-(2**63), None, generator=generator).view(torch.int16)[: x.numel()]
    kept = (bits >= dropped - 2**15).to(x.dtype) * (2**16 / (2**16 - dropped))
    return x * kept.view_as(x)


class Block(nn.Module):
    """Pre-norm residual block: r += mixer(norm1(r)); r += mlp(norm2(r)). The residual keeps its own precision."""

    def __init__(self, config: HyenaConfig, position_features: PositionFeatures) -> None:
        super().__init__()
        self.mixer = HyenaOperator(config, position_features)
        self.norm1 = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.mlp = MLP(config)
        self.norm2 = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.dropout = config.resid_dropout
        self.checkpoint_activations = config.checkpoint_activations

    def forward(self, residual: Tensor, dropout: torch.Generator | None) -> Tensor:
        """[B, L, D] to [B, L, D]."""
        return self.in_halves((self._mix, self._change), residual, dropout)

    def in_halves(self, halves: Sequence[Half[Drop]], residual: Tensor, dropout: Drop | None) -> Tensor:
        """One after the other; with `checkpoint_activations` each keeps its input alone for the backward pass."""
        for half in halves:
            if self.checkpoint_activations and torch.is_grad_enabled():
                residual = recomputed(half, residual, dropout)
            else:
                residual = half(residual, dropout)
        return residual

    def _mix(self, residual: Tensor, dropout: torch.Generator | None) -> Tensor:
        mixed = self.mixer(self.norm1(residual))
        return residual + drop(mixed, self.dropout, dropout).to(residual.dtype)

    def _change(self, residual: Tensor, dropout: torch.Generator | None) -> Tensor:
        if dropout is None or self.dropout == 0:
            return self.mlp(residual, self.norm2, added=True)
        changed = self.mlp(residual, self.norm2)
        return residual + drop(changed, self.dropout, dropout).to(residual.dtype)


def recomputed(half: Half[Drop], residual: Tensor, dropout: Drop | None) -> Tensor:
    """`half(residual, dropout)` that keeps `residual` alone for the backward pass and computes the rest again there.

    The second time draws the dropout masks of the first, and leaves the streams where they were.
    """
    streams: Sequence[torch.Generator] = (dropout,) if isinstance(dropout, torch.Generator) else dropout or ()
    before = [one.get_state() for one in streams]

    def put(states: Sequence[Tensor]) -> None:
        for one, state in zip(streams, states, strict=True):
            one.set_state(state)

    @contextmanager
    def as_before() -> Iterator[None]:
        now = [one.get_state() for one in streams]
        put(before)
        try:
            yield
        finally:
            put(now)

    return checkpoint(
        half,
        residual,
        dropout,
        use_reentrant=False,
        preserve_rng_state=False,  # global generators: nothing here draws from them
        context_fn=lambda: (nullcontext(), as_before()),
    )


class Embeddings(nn.Module):
    """Token embeddings; no positions are learned, the filters know them."""

    def __init__(self, config: HyenaConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocabulary_rows, config.d_model)


class Backbone(nn.Module):
    """Tokens [B, L] to hidden states [B, L, D], normalised by ln_f. Causal: state n depends on tokens up to n."""

    def __init__(self, config: HyenaConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        position_features = PositionFeatures(config.emb_dim, config.l_max)  # one copy in memory for all layers
        self.layers = nn.ModuleList(Block(config, position_features) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)

    def forward(self, tokens: Tensor, dropout: torch.Generator | None = None) -> Tensor:
        """`tokens` of any integer type. Raises ValueError where L is more than l_max."""
        residual = self.embeddings.word_embeddings(tokens.int())
        residual = drop(residual, self.config.embed_dropout, dropout)
        for layer in self.layers:
            residual = layer(residual, dropout)
        return self.ln_f(residual)


class Head(nn.Module):
    """Pooled hidden state [B, D] to logits [B, C]."""

    def __init__(self, d_model: int, num_classes: int) -> None:
        super().__init__()
        self.output_transform = nn.Linear(d_model, num_classes)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.output_transform(pooled)


def pool(hidden: Tensor, lengths: Tensor | None, padding: Padding) -> Tensor:
    """Mean over positions, [B, L, D] to [B, D]: all of them where `lengths` is None, else the real ones only.

    Args:
        lengths: [B], real positions of each sequence; at least 1.
        padding: the side on which the other positions lie.
    """
    if lengths is None:
        return hidden.mean(dim=1)  # einops would permute first, and its gradient would have to be copied back
    position = torch.arange(hidden.shape[1], device=hidden.device)
    first = hidden.shape[1] - lengths if padding == "left" else torch.zeros_like(lengths)
    real = (position >= first[:, None]) & (position < (first + lengths)[:, None])
    return torch.einsum("bld,bl->bd", hidden, real.to(hidden.dtype)) / lengths[:, None]


class Classifier(nn.Module):
    """Backbone, mean over positions, linear head.

    `pooling = "all"` averages padding in, as published; `"real"` leaves it out. With padding on the right and real
    pooling the logits do not depend on the amount of padding. Mean and head are never in bfloat16: they are little
    work, and logits of eight bits would be equal for many sequences.
    """

    def __init__(
        self, config: HyenaConfig, num_classes: int, pooling: Pooling = "all", padding: Padding = "left"
    ) -> None:
        super().__init__()
        self.backbone = Backbone(config)
        self.head = Head(config.d_model, num_classes)
        self.pooling = pooling
        self.padding = padding

    def forward(self, tokens: Tensor, lengths: Tensor, dropout: torch.Generator | None = None) -> Tensor:
        """Tokens [B, L] and their real lengths [B] to logits [B, C]; with `dropout` given, as in training."""
        hidden = self.backbone(tokens, dropout)
        with torch.autocast(tokens.device.type, enabled=False):
            return self.head(pool(hidden, lengths if self.pooling == "real" else None, self.padding))


def without_memory(config: HyenaConfig, num_classes: int) -> Classifier:
    """A classifier of shapes alone, on the meta device, to count what one of this size has."""
    with torch.device("meta"):
        return Classifier(config, num_classes)


class LanguageModel(nn.Module):
    """Next-nucleotide logits [B, L, vocabulary rows] through the tied embedding table, as published."""

    def __init__(self, config: HyenaConfig) -> None:
        super().__init__()
        self.backbone = Backbone(config)

    def forward(self, tokens: Tensor, dropout: torch.Generator | None = None) -> Tensor:
        return F.linear(self.backbone(tokens, dropout), self.backbone.embeddings.word_embeddings.weight)


def trainable_parameters(model: nn.Module) -> int:
    """Number of trainable scalars; a shared parameter counts once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@torch.no_grad()
def initialise(model: Classifier | LanguageModel, seed: int) -> None:
    """Initialise from scratch as the published code does, in place, from the streams "backbone" and "head" of `seed`.

    Linear and embedding weights are normal(0, 0.02) with zero bias, `out_proj` and `fc2` normal(0, 0.02/√(2·n_layer)),
    the filter's bias standard normal, sine frequencies 10, LayerNorms 1 and 0, the short convolution uniform in
    ±1/√3 as PyTorch does. Head and backbone draw from streams of their own, so that loading a pretrained backbone
    afterwards leaves the head of the same seed as it was.
    """
    _initialise_backbone(model.backbone, stream(seed, "backbone"))
    if isinstance(model, Classifier):
        head = model.head.output_transform
        head.weight.normal_(0, INIT_STD, generator=stream(seed, "head"))
        head.bias.zero_()


def _initialise_backbone(backbone: Backbone, generator: torch.Generator) -> None:
    residual_std = INIT_STD / math.sqrt(2 * backbone.config.n_layer)
    short_bound = 1 / math.sqrt(3)  # 1/√fan_in of a depthwise convolution of width 3
    for name, parameter in backbone.named_parameters():
        if name.endswith("freq"):
            parameter.fill_(SINE_FREQUENCY)
        elif "short_filter" in name:
            parameter.uniform_(-short_bound, short_bound, generator=generator)
        elif "norm" in name or "ln_f" in name:
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)
        elif name.endswith("filter_fn.bias"):
            parameter.normal_(0, 1, generator=generator)
        elif name.endswith("bias"):
            parameter.zero_()
        else:
            std = residual_std if name.endswith(("out_proj.weight", "fc2.weight")) else INIT_STD
            parameter.normal_(0, std, generator=generator)


@torch.no_grad()
def shuffle(backbone: Backbone, seed: int) -> None:
    """Permute the entries of every parameter, in place: each keeps its distribution and loses what it has learnt.

    Norms and biases are permuted, too; buffers (position features, decay rates) are mathematics and stay.
    """
    generator = stream(seed, "shuffle")
    for parameter in backbone.parameters():
        order = torch.randperm(parameter.numel(), generator=generator)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))
