"""How a run is trained: every value of the recipe, and the learning rate's schedule.

Recipe: the original study's (AdamW, 6e-4 with 1 % linear warm-up and a cosine to a tenth, weight decay 0.1 except on
the implicit filter, gradient norm clipped at 1). Next: `optimisation.py`, one step of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from hyena.errors import InputError
from hyena.model.hyenadna import Padding, Pooling
from hyena.ranges import INT32, Fraction, GradientClip, LearningRate, Range, WeightDecay, require_ranges

Precision = Literal["float32", "bfloat16"]
SplitRule = Literal["official", "regroup"]
Batching = Literal["shuffled", "like_length"]

Epochs = Annotated[int, Range(ge=1, le=1_000_000)]


@dataclass(frozen=True)
class TrainingConfig:
    """How a run is trained. Every value is a column of the runs table.

    Attributes:
        epochs: passes over the training split.
        batch_size: sequences per step; the last step of an epoch takes what is left.
        learning_rate, final_learning_rate, warmup_learning_rate: peak, last and first rate of the schedule.
        warmup_fraction: share of all steps in the linear warm-up.
        weight_decay: AdamW's, on everything but the implicit filter.
        gradient_clip: largest gradient norm.
        max_length: sequences are cut to this; None for the data set's longest.
        padding: side of the padding. A causal model does not see padding on the right; "left" is as published.
        pooling: what the head averages: "real" positions, or "all" as published.
        reverse_complement: probability of reverse-complementing a training sequence.
        batching: "shuffled", or "like_length": batches of sequences of like length, each cut to its longest. Needs
            padding that leaves no trace.
        split: "official", or "regroup": all splits cut anew so that no overlapping sequences face each other.
        validation_fraction: share of the training split held out, where the data set brings no validation split.
        train_fraction: share of what is left that is trained on; smaller shares are nested in larger ones.
        precision: of matrix products; residual, normalisation and long convolution stay in float32.
    """

    epochs: Epochs
    batch_size: Annotated[int, Range(ge=1, le=INT32)] = 256
    learning_rate: LearningRate = 6e-4
    final_learning_rate: LearningRate = 6e-5
    warmup_learning_rate: LearningRate = 1e-6
    warmup_fraction: Fraction = 0.01
    weight_decay: WeightDecay = 0.1
    gradient_clip: GradientClip = 1.0
    max_length: Annotated[int, Range(ge=1, le=INT32)] | None = None
    padding: Padding = "right"
    pooling: Pooling = "real"
    reverse_complement: Fraction = 0.5
    batching: Batching = "shuffled"
    split: SplitRule = "official"
    validation_fraction: Annotated[float, Range(ge=0, lt=1)] = 0.1
    train_fraction: Annotated[float, Range(gt=0, le=1)] = 1.0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        require_ranges(self)
        if self.batching == "like_length" and not self.padding_leaves_no_trace:
            raise InputError(
                f'batching = "like_length": with padding = "{self.padding}" and pooling = "{self.pooling}" padding is '
                'part of the result; it needs padding = "right" and pooling = "real"'
            )

    @property
    def padding_leaves_no_trace(self) -> bool:
        """Whether the result is the same however much padding there is: none is seen, and none is averaged in."""
        return self.padding == "right" and self.pooling == "real"

    def input_length(self, longest: int) -> int:
        """Positions that every sequence is padded or cut to, where the data set's longest has `longest`.

        With left padding, or all positions pooled, padding is part of the result, so it reaches up to max_length as
        published; with right padding and real positions pooled it changes nothing, and as little as possible is made.
        """
        if self.max_length is None:
            return longest
        return min(self.max_length, longest) if self.padding_leaves_no_trace else self.max_length


def learning_rate(step: int, total: int, config: TrainingConfig) -> float:
    """Rate of step `step` (from 0) of `total`: linear from warmup_learning_rate, then a cosine to the final rate."""
    warmup = int(total * config.warmup_fraction)
    peak, first, last = config.learning_rate, config.warmup_learning_rate, config.final_learning_rate
    if step < warmup:
        return first + (peak - first) * step / warmup
    return last + 0.5 * (peak - last) * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
