"""Floating-point operations of a training step, an evaluation batch and a pretraining step, by formula.

A multiply-add counts as two. Notation: B sequences of L positions, D channels, H channels of the MLP, N blocks, F the
width and E the inputs of the filter network, C classes, V rows of the embedding table. The matrix products are exactly
those that PyTorch's FlopCounterMode counts; transforms count 2.5 · n · log2(n) for n real numbers. Normalisation,
residual sums, dropout, loss and optimiser, together less than one percent, are left out. Next: `step_rates.py`, the
operations per second of a device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

from hyena.convolution.fft import fft_size
from hyena.convolution.gated import SHORT_FILTER_ORDER, method_for
from hyena.convolution.toeplitz import BLOCK, TOEPLITZ
from hyena.model.config import HyenaConfig, Pooling
from hyena.training.recipe import Precision

#: What a batch is used for: a training step, one of the head only, next-nucleotide training, a forward pass.
Kind = Literal["train", "frozen", "pretrain", "evaluate"]


@dataclass(frozen=True)
class BatchWork:
    """One batch, with everything that its time depends on.

    Attributes:
        kind: "train": forward and backward; "frozen": forward, and backward through the head alone; "evaluate":
            forward; "pretrain": forward and backward of the language model, which has neither classes nor pooling.
        batch: sequences B.
        length: positions L of each, padding included.
        precision: of matrix products.
    """

    kind: Kind
    config: HyenaConfig
    batch: int
    length: int
    num_classes: int = 2
    pooling: Pooling = "real"
    precision: Precision = "float32"


class Flops(NamedTuple):
    """Operations by purpose.

    Attributes:
        projections: in_proj and out_proj: 3 D² + D² multiply-adds a position and block.
        mlp: fc1 and fc2: 2 D H.
        filters: the networks that compute the long filters, once a batch: E F + 2 F² + F D a position and block.
        pooling: the mean over real positions, as a matrix product; 0 if all positions are averaged.
        head: D C a sequence; in pretraining the tied output head, D V a position.
        toeplitz: the long convolution as block-Toeplitz products; 0 if FFTs compute it.
        transforms: the long convolution by real FFTs, with the products of their spectra.
        gates: the short filter of width 3 on 3 D channels, both gates and the skip.
    """

    projections: float = 0.0
    mlp: float = 0.0
    filters: float = 0.0
    pooling: float = 0.0
    head: float = 0.0
    toeplitz: float = 0.0
    transforms: float = 0.0
    gates: float = 0.0

    @property
    def products(self) -> float:
        """The matrix products among them."""
        return self.projections + self.mlp + self.filters + self.pooling + self.head + self.toeplitz

    @property
    def total(self) -> float:
        return sum(self)

    def plus(self, other: Flops) -> Flops:
        return Flops(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


def flops(work: BatchWork, device_type: str = "cpu") -> Flops:
    """Operations of one batch.

    Args:
        device_type: determines the method of the long convolution, as `convolution.gated.method_for` chooses it in
            float32; on a GPU FFTs are counted, for bfloat16 too.
    """
    config, shape = work.config, (work.config, work.batch, work.length, device_type)
    positions = float(work.batch * work.length)
    forward = _forward(*shape)
    if work.kind == "pretrain":
        outputs = 2 * positions * config.d_model * config.vocabulary_rows
        return forward.plus(_backward(*shape))._replace(head=3 * outputs)
    pooling = 2 * positions * config.d_model if work.pooling == "real" else 0.0
    head = 2.0 * work.batch * config.d_model * work.num_classes
    if work.kind == "train":
        return forward.plus(_backward(*shape))._replace(pooling=2 * pooling, head=3 * head)
    return forward._replace(pooling=pooling, head=2 * head if work.kind == "frozen" else head)


def _forward(config: HyenaConfig, batch: int, length: int, device_type: str) -> Flops:
    """The backbone's forward pass."""
    positions, blocks, channels = float(batch * length), config.n_layer, config.d_model
    toeplitz, transforms = _convolution(config, batch, length, device_type)[0]
    return Flops(
        projections=blocks * positions * 8 * channels**2,
        mlp=blocks * positions * 4 * channels * config.d_inner,
        filters=blocks * length * (_filter_input(config) + _filter_rest(config)),
        toeplitz=blocks * toeplitz,
        transforms=blocks * transforms,
        gates=blocks * positions * channels * (_short_filter() + 4),
    )


def _backward(config: HyenaConfig, batch: int, length: int, device_type: str) -> Flops:
    """The backbone's backward pass: gradients of inputs and of weights, each as much as forward.

    The filter network's inputs, the position features, need none. The gated convolution computes x0, x1, v and u again.
    With `checkpoint_activations` the forward pass of every block is repeated, except for out_proj.
    """
    positions, blocks, channels = float(batch * length), config.n_layer, config.d_model
    toeplitz, transforms = _convolution(config, batch, length, device_type)[1]
    found = Flops(
        projections=blocks * positions * 16 * channels**2,
        mlp=blocks * positions * 8 * channels * config.d_inner,
        filters=blocks * length * (_filter_input(config) + 2 * _filter_rest(config)),
        toeplitz=blocks * toeplitz,
        transforms=blocks * transforms,
        gates=blocks * positions * channels * (3 * _short_filter() + 9),
    )
    if not config.checkpoint_activations:
        return found
    again = _forward(config, batch, length, device_type)
    return found.plus(again._replace(projections=0.75 * again.projections))


def _short_filter() -> int:
    """Operations per position and channel of D: three filters of three taps."""
    return 3 * 2 * SHORT_FILTER_ORDER


def _filter_input(config: HyenaConfig) -> float:
    """Operations per position of the filter network's first product."""
    return 2.0 * config.emb_dim * config.filter_order


def _filter_rest(config: HyenaConfig) -> float:
    """Operations per position of its other three products."""
    return 2.0 * (2 * config.filter_order**2 + config.filter_order * config.d_model)


def _convolution(
    config: HyenaConfig, batch: int, length: int, device_type: str
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Operations of one block's long convolution: (Toeplitz products, transforms), forward and backward."""
    channels = config.d_model
    if method_for(torch.device(device_type), torch.float32, batch, length) is TOEPLITZ:
        widths = [(start, min(BLOCK, length - start)) for start in range(0, length, BLOCK)]
        below = sum((start + width) * width for start, width in widths)  # a block reads all positions up to its end
        beside = sum(
            (length - start) * width for start, width in widths
        )  # a block reads all positions from its start on
        return (2.0 * channels * batch * below, 0.0), (4.0 * channels * batch * beside, 0.0)
    size = fft_size(length)
    transform, spectrum = 2.5 * size * math.log2(size), 6.0 * (size // 2 + 1)
    forward = channels * (batch * (2 * transform + spectrum) + transform)
    backward = channels * (batch * (3 * transform + 2 * spectrum) + 2 * transform)
    return (0.0, forward), (0.0, backward)
