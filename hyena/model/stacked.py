"""Several seeds of one cell trained as one model: every parameter has a seed axis, and nothing mixes the seeds.

A small model leaves most of a machine idle: its step is a few hundred short operations. A stack does each of them once
for S seeds, as batched products over [S, …]; both convolutions, where every channel is independent, treat the seeds as
more channels. Each seed has its own initialisation, data order, augmentation, dropout, gradient clipping and optimiser
state, so that it ends where it would have ended alone, within rounding. The forward pass is written out rather than
derived by `torch.vmap`, which would need a rule for every custom gradient, and cannot draw from one stream per seed.

Dropout, residual sums, activation checkpointing, pooling and the filter's window are those of `hyenadna.py` and
`operator.py`. Written again here are the products, with their seed axis; the tests compare them with the originals.
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
from hyena.model.hyenadna import Block, Classifier, apply_dropout, pool
from hyena.model.operator import HyenaOperator, ImplicitFilter
from hyena.randomness import Dropout


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

    def forward(self, tokens: Tensor, lengths: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Tokens [S, B, L], or [B, L] for all seeds, and their lengths to logits [S, B, C]; `dropout`: one per seed."""
        backbone = self.backbone
        residual = _embed(tokens, backbone.embeddings.word_embeddings.weight)
        residual = apply_dropout(residual, backbone.config.embed_dropout, dropout)
        for layer in backbone.layers:
            residual = _block(cast(Block, layer), residual, dropout)
        seeds, last = len(residual), backbone.ln_f
        hidden = F.layer_norm(residual, last.normalized_shape, eps=last.eps)
        with torch.autocast(tokens.device.type, enabled=False):
            of_all = pool(hidden.flatten(0, 1), lengths.expand(seeds, -1).flatten(), self.pooling, self.padding)
            # The norm's weight and bias commute with the mean over positions, after which they are less work.
            scaled = of_all.unflatten(0, (seeds, -1)) * last.weight[:, None] + last.bias[:, None]
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


def _embed(tokens: Tensor, tables: Tensor) -> Tensor:
    """Tokens [S, B, L] or [B, L] to rows of each seed's table [S, V, D]: [S, B, L, D], by one look-up."""
    seeds, rows, _ = tables.shape
    first_row = rows * torch.arange(seeds, dtype=torch.int32, device=tokens.device)
    return F.embedding(tokens.int() + first_row[:, None, None], tables.flatten(0, 1))


def _normed(x: Tensor, linear: nn.Linear, norm: nn.LayerNorm) -> tuple[Tensor, Tensor, Tensor]:
    """x without mean and spread, and the product's weight and bias with those of the norm in them: they are smaller."""
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


def _block(block: Block, residual: Tensor, dropout: Dropout | None) -> Tensor:
    """`Block.forward` over [S, B, L, D]."""

    def mixer_sublayer(residual: Tensor, dropout: Dropout | None) -> Tensor:
        return block.add(residual, _operator(block.mixer, block.norm1, residual), dropout)

    def mlp_sublayer(residual: Tensor, dropout: Dropout | None) -> Tensor:
        inner = F.gelu(_linear(residual, block.mlp.fc1, block.norm2), approximate="tanh")
        return block.add(residual, _linear(inner, block.mlp.fc2), dropout)

    return block.apply_sublayers((mixer_sublayer, mlp_sublayer), residual, dropout)


def _operator(mixer: HyenaOperator, norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """`HyenaOperator.forward` after the norm, over [S, B, L, D]; the convolutions see the seeds as more channels.

    As there, the matrix products read transposed operands; the only copies are of whole channels.
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
    values = filter_fn.features(length).expand(len(filter_fn.bias), -1, -1)
    for layer in filter_fn.implicit_filter:
        values = _linear(values, layer) if isinstance(layer, nn.Linear) else layer(values)
    return filter_fn.windowed(values)
