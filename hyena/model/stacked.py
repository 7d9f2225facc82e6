"""Several seeds of one cell trained as one model: every parameter with a seed axis, and no word between the seeds.

A small model leaves most of a machine idle: its step is a few hundred short operations. A stack does each of them once
for S seeds, as batched products over [S, …] and, where every channel is by itself (both convolutions), with the seeds
folded into the channels. Each seed has its own initialisation, data order, augmentation, dropout, gradient clipping
and optimiser state, so that it ends where it would have ended alone, within rounding. Written out rather than
derived by `torch.vmap`: that would need a rule for every custom gradient, and cannot draw from one stream a seed.

The mathematics and its names are those of `hyenadna.py`, `operator.py` and `filter.py`, to which the tests hold it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from hyena.convolution.gated import gated_convolution
from hyena.model.filter import ImplicitFilter
from hyena.model.hyenadna import Block, Classifier, drop, pool
from hyena.model.operator import HyenaOperator


class StackedClassifier(nn.Module):
    """S classifiers of one shape. Parameters have the names of one `Classifier`'s, and S in front of their shape."""

    def __init__(self, models: Sequence[Classifier]) -> None:
        """Copies the parameters of `models`, which must agree in shape, buffers, pooling and in what is frozen."""
        super().__init__()
        first = models[0]
        alike = {(m.backbone.config, m.pooling, m.padding, _shapes(m)) for m in models}
        if len(alike) > 1:
            raise ValueError("models of one stack must have the same shape, pooling, padding and frozen parameters")
        buffers = [pair for m in models for pair in zip(first.buffers(), m.buffers(), strict=True)]
        if not all(torch.equal(one, other) for one, other in buffers):
            raise ValueError("models of one stack must have the same buffers (position features and decay rates)")
        stacked = copy.deepcopy(first)
        parameters = zip(*(m.parameters() for m in models), strict=True)
        for holder, of_seeds in zip(stacked.parameters(), parameters, strict=True):
            holder.data = torch.stack([p.detach() for p in of_seeds])
        self.backbone, self.head = stacked.backbone, stacked.head
        self.pooling, self.padding = first.pooling, first.padding

    def forward(self, tokens: Tensor, lengths: Tensor, dropout: Sequence[torch.Generator] | None = None) -> Tensor:
        """Tokens [S, B, L], or [B, L] for all seeds alike, and their lengths to logits [S, B, C]."""
        backbone, config = self.backbone, self.backbone.config
        table = backbone.embeddings.word_embeddings.weight
        seeds, tokens = len(table), tokens.int()
        streams = [None] * seeds if dropout is None else dropout
        residual = torch.stack(
            [
                drop(F.embedding(tokens[seed] if tokens.dim() == 3 else tokens, rows), config.embed_dropout, stream)
                for seed, (rows, stream) in enumerate(zip(table.unbind(), streams, strict=True))
            ]
        )
        for layer in backbone.layers:
            residual = _block(cast(Block, layer), residual, dropout)
        real = lengths.expand(seeds, -1).flatten() if self.pooling == "real" else None
        last = backbone.ln_f
        hidden = F.layer_norm(residual, last.normalized_shape, eps=last.eps)
        with torch.autocast(tokens.device.type, enabled=False):
            pooled = pool(hidden.flatten(0, 1), real, self.padding).unflatten(0, (seeds, -1))
            scaled = pooled * last.weight[:, None] + last.bias[:, None]  # the same after the mean as before, on less
            return _linear(scaled, self.head.output_transform)

    def classifier(self, place: int) -> Classifier:
        """One seed's model, as memory of its own on the CPU."""
        head = self.head.output_transform
        model = Classifier(self.backbone.config, head.out_features, self.pooling, self.padding).to(head.weight.dtype)
        of_seeds = {name for name, _ in self.named_parameters(remove_duplicate=False)}
        own = {name: tensor[place] if name in of_seeds else tensor for name, tensor in self.state_dict().items()}
        model.load_state_dict(own)
        return model


def _shapes(model: nn.Module) -> tuple[tuple[str, torch.Size, bool], ...]:
    return tuple((name, p.shape, p.requires_grad) for name, p in model.named_parameters())


def _normed(x: Tensor, linear: nn.Linear, norm: nn.LayerNorm) -> tuple[Tensor, Tensor, Tensor]:
    """x without mean and spread, and weight and bias of the product, into which the norm's own go: they are smaller."""
    weight: Tensor = linear.weight * norm.weight[:, None]
    bias: Tensor = linear.bias + (linear.weight * norm.bias[:, None]).sum(dim=-1)
    return F.layer_norm(x, norm.normalized_shape, eps=norm.eps), weight, bias


def _linear(x: Tensor, linear: nn.Linear, norm: nn.LayerNorm | None = None) -> Tensor:
    """[S, …, D] by each seed's weight [S, D', D] to [S, …, D'], after a LayerNorm where one is given."""
    weight: Tensor = linear.weight
    bias: Tensor = linear.bias
    if norm is not None:
        x, weight, bias = _normed(x, linear, norm)
    rows, columns = x.flatten(1, -2), weight.transpose(1, 2)
    y = torch.bmm(rows, columns) if bias is None else torch.baddbmm(bias[:, None], rows, columns)
    return y.unflatten(1, x.shape[1:-1])


def _block(block: Block, residual: Tensor, dropout: Sequence[torch.Generator] | None) -> Tensor:
    """`Block.forward` over [S, B, L, D]."""

    def mix(residual: Tensor, dropout: Sequence[torch.Generator] | None) -> Tensor:
        mixed = _operator(block.mixer, block.norm1, residual)
        return residual + _drop_each(mixed, block.dropout, dropout).to(residual.dtype)

    def change(residual: Tensor, dropout: Sequence[torch.Generator] | None) -> Tensor:
        inner = F.gelu(_linear(residual, block.mlp.fc1, block.norm2), approximate="tanh")
        return residual + _drop_each(_linear(inner, block.mlp.fc2), block.dropout, dropout).to(residual.dtype)

    return block.in_halves((mix, change), residual, dropout)


def _drop_each(x: Tensor, probability: float, dropout: Sequence[torch.Generator] | None) -> Tensor:
    """`drop` with each seed's own stream."""
    if dropout is None or probability == 0:
        return x
    return torch.stack([drop(row, probability, stream) for row, stream in zip(x.unbind(), dropout, strict=True)])


def _operator(mixer: HyenaOperator, norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """`HyenaOperator.forward` of the norm of [S, B, L, D], the seeds folded into the channels of the convolutions.

    As there, the products transpose as they read; what is copied here are whole channels.
    """
    seeds, batch, length, _ = x.shape
    short = mixer.short_filter
    x, weight, bias = _normed(x, mixer.in_proj, norm)
    projected = torch.baddbmm(bias[..., None], weight, x.flatten(1, 2).transpose(1, 2))
    with torch.autocast(x.device.type, enabled=False):
        mixed = gated_convolution(
            rearrange(projected, "S (three D) (B L) -> (three S D) B L", three=3, B=batch),
            rearrange(short.weight, "S (three D) 1 J -> (three S D) J", three=3),
            rearrange(cast(Tensor, short.bias), "S (three D) -> (three S D)", three=3),
            _filter(mixer.filter_fn, length),
            mixer.filter_fn.bias.flatten(),
        )
    return _linear(rearrange(mixed, "(S D) B L -> S B L D", S=seeds), mixer.out_proj)


def _filter(filter_fn: ImplicitFilter, length: int) -> Tensor:
    """`ImplicitFilter.forward` of each seed: [S · D, L]."""
    position = filter_fn.pos_emb
    if length > position.z.shape[1]:
        raise ValueError(f"input of {length} positions is longer than l_max = {position.z.shape[1]}")
    values = position.z[:, :length].expand(len(filter_fn.bias), -1, -1)
    for layer in filter_fn.implicit_filter:
        values = _linear(values, layer) if isinstance(layer, nn.Linear) else layer(values)
    return rearrange(values * filter_fn.modulation(position.t[:, :length]), "S L D -> (S D) L")
