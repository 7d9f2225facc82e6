"""HyenaDNA on one page: embedding, blocks, classifier and language model.

A forward pass goes through these files, in this order:

    model/hyenadna.py             Classifier.forward: tokens → Backbone → its Blocks, one after another
    model/operator.py               the first half of a block: projections, and the filter k from its network
    convolution/gated.py            short filter, gates and long convolution; which method computes them
    convolution/chunked.py          … by toeplitz.py or fft.py beside it; or instead triton_kernels.py, on a GPU
    model/mlp.py                    the second half of a block
    model/hyenadna.py             final norm, mean over positions, head → logits

A stack of seeds goes the same way from `model/stacked.py`.

Source: Nguyen et al. 2023, *HyenaDNA*, and the standalone model of HazyResearch/hyena-dna. Parameter names are the
published ones, so that a published state dict fits. Left out: flash attention layers, tensor parallelism and the
pooling modes that no published size uses. Next: `operator.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hyena.model.config import HyenaConfig, Padding, Pooling
from hyena.model.mlp import MLP
from hyena.model.operator import SINE_FREQUENCY, HyenaOperator, PositionFeatures
from hyena.randomness import Dropout, stream

#: A half of a block: (residual, dropout) to the residual after it.
Sublayer = Callable[[Tensor, Dropout | None], Tensor]


INIT_STD = 0.02


def apply_dropout(x: Tensor, probability: float, dropout: Dropout | None) -> Tensor:
    """Inverted dropout from an explicit random stream, or of [S, …] from one stream per seed; the identity for None.

    Dropout is on exactly where streams are given, so a forward pass has no hidden mode and no global state. Sixteen
    random bits decide about an element, four elements a draw, so the probability is rounded to a multiple of 2^-16 (0.1
    becomes 0.100006). The elements kept are scaled by the rounded probability, so the mean is exact.
    """
    dropped = round(probability * 2**16)
    if dropout is None or dropped == 0:
        return x
    if not isinstance(dropout, torch.Generator):
        each = zip(x.unbind(), dropout, strict=True)
        return torch.stack([apply_dropout(of_seed, probability, generator) for of_seed, generator in each])
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
    bits = draws.random_(-(2**63), None, generator=dropout).view(torch.int16)[: x.numel()]
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

    def forward(self, residual: Tensor, dropout: Dropout | None) -> Tensor:
        """[B, L, D] to [B, L, D]."""
        return self.apply_sublayers((self._mixer_sublayer, self._mlp_sublayer), residual, dropout)

    def apply_sublayers(self, sublayers: Sequence[Sublayer], residual: Tensor, dropout: Dropout | None) -> Tensor:
        """One after the other; with `checkpoint_activations` only their inputs are kept for the backward pass."""
        for sublayer in sublayers:
            if self.checkpoint_activations and torch.is_grad_enabled():
                residual = checkpointed(sublayer, residual, dropout)
            else:
                residual = sublayer(residual, dropout)
        return residual

    def add(self, residual: Tensor, update: Tensor, dropout: Dropout | None) -> Tensor:
        """The residual plus a sublayer's output, which may be of lower precision, after dropout."""
        return residual + apply_dropout(update, self.dropout, dropout).to(residual.dtype)

    def _mixer_sublayer(self, residual: Tensor, dropout: Dropout | None) -> Tensor:
        return self.add(residual, self.mixer(self.norm1(residual)), dropout)

    def _mlp_sublayer(self, residual: Tensor, dropout: Dropout | None) -> Tensor:
        if dropout is None or self.dropout == 0:
            return self.mlp(residual, self.norm2, add_residual=True)
        return self.add(residual, self.mlp(residual, self.norm2), dropout)


def checkpointed(sublayer: Sublayer, residual: Tensor, dropout: Dropout | None) -> Tensor:
    """`sublayer(residual, dropout)`, keeping only `residual` for the backward pass, which computes the rest again.

    The recomputation draws the same dropout masks, and leaves the streams as they were before it.
    """
    streams: Sequence[torch.Generator] = (dropout,) if isinstance(dropout, torch.Generator) else dropout or ()
    states_before = [one.get_state() for one in streams]

    def set_states(states: Sequence[Tensor]) -> None:
        for one, state in zip(streams, states, strict=True):
            one.set_state(state)

    @contextmanager
    def same_draws() -> Iterator[None]:
        current = [one.get_state() for one in streams]
        set_states(states_before)
        try:
            yield
        finally:
            set_states(current)

    return checkpoint(
        sublayer,
        residual,
        dropout,
        use_reentrant=False,
        preserve_rng_state=False,  # global generators: nothing here draws from them
        context_fn=lambda: (nullcontext(), same_draws()),
    )


class Embeddings(nn.Module):
    """Token embeddings. There are none for positions: the filters depend on positions."""

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
        residual = apply_dropout(residual, self.config.embed_dropout, dropout)
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


def pool(hidden: Tensor, lengths: Tensor, pooling: Pooling, padding: Padding) -> Tensor:
    """Mean over positions, [B, L, D] to [B, D]: over all of them, or over the real ones only.

    Args:
        lengths: [B], real positions of each sequence; at least 1.
        padding: the side of the padding.
    """
    if pooling == "all":
        return hidden.mean(dim=1)  # einops would permute first, and its gradient would have to be copied back
    position = torch.arange(hidden.shape[1], device=hidden.device)
    first = hidden.shape[1] - lengths if padding == "left" else torch.zeros_like(lengths)
    real = (position >= first[:, None]) & (position < (first + lengths)[:, None])
    return torch.einsum("bld,bl->bd", hidden, real.to(hidden.dtype)) / lengths[:, None]


class Classifier(nn.Module):
    """Backbone, mean over positions, linear head.

    `pooling = "all"` includes padding in the mean, as published; `"real"` leaves it out. With padding on the right and
    `pooling = "real"`, the logits do not depend on the amount of padding. Mean and head are never computed in bfloat16:
    they are little work, and logits of eight bits would be equal for many sequences.
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
            return self.head(pool(hidden, lengths, self.pooling, self.padding))


def without_memory(config: HyenaConfig, num_classes: int) -> Classifier:
    """A classifier on the meta device, which has shapes but no values: to count the parameters of a size."""
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
def initialise(model: Classifier | LanguageModel, seed: int, salt: str = "") -> None:
    """Initialise from scratch as the published code does, in place, from the streams "backbone" and "head".

    Linear and embedding weights are normal(0, 0.02) with zero bias, `out_proj` and `fc2` normal(0, 0.02/√(2·n_layer)),
    the filter's bias standard normal, sine frequencies 10, LayerNorms 1 and 0, the short convolution uniform in
    ±1/√3 as PyTorch does. Head and backbone draw from separate streams, so that loading a pretrained backbone
    afterwards does not change the head of a seed.
    """
    _initialise_backbone(model.backbone, stream(seed, "backbone", salt=salt))
    if isinstance(model, Classifier):
        head = model.head.output_transform
        head.weight.normal_(0, INIT_STD, generator=stream(seed, "head", salt=salt))
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
def shuffle(backbone: Backbone, seed: int, salt: str = "") -> None:
    """Permute the entries of every parameter in place: each keeps its distribution of values, but not what it learned.

    Norms and biases are permuted, too; buffers (position features, decay rates) are not learned and stay.
    """
    generator = stream(seed, "shuffle", salt=salt)
    for parameter in backbone.parameters():
        order = torch.randperm(parameter.numel(), generator=generator)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))
