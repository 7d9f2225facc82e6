"""How a run is trained: every value of the recipe, and the learning rate's schedule.

Recipe: the original study's (AdamW, 6e-4 with 1 % linear warm-up and a cosine to a tenth, weight decay 0.1 except on
the implicit filter, gradient norm clipped at 1). Next: `optimisation.py`, one step of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hyena.errors import InputError
from hyena.model import Padding, Pooling

Precision = Literal["float32", "bfloat16"]
SplitRule = Literal["official", "regroup"]
Batching = Literal["shuffled", "like_length"]


@dataclass(frozen=True)
class TrainingConfig:
    """How a run is trained. Every value is a column of the runs table.

    Attributes:
        epochs: passes over the training split.
        batch_size: sequences per step.
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

    epochs: int
    batch_size: int = 256
    learning_rate: float = 6e-4
    final_learning_rate: float = 6e-5
    warmup_learning_rate: float = 1e-6
    warmup_fraction: float = 0.01
    weight_decay: float = 0.1
    gradient_clip: float = 1.0
    max_length: int | None = None
    padding: Padding = "right"
    pooling: Pooling = "real"
    reverse_complement: float = 0.5
    batching: Batching = "shuffled"
    split: SplitRule = "official"
    validation_fraction: float = 0.1
    train_fraction: float = 1.0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}: it must be at least 1")
        for name in ("learning_rate", "final_learning_rate", "warmup_learning_rate", "gradient_clip"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise InputError(f"{name} = {getattr(self, name)}: it must be more than 0")
        for name in ("warmup_fraction", "reverse_complement"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} = {getattr(self, name)}: it must be from 0 to 1")
        if not 0 <= self.validation_fraction < 1:
            raise InputError(f"validation_fraction = {self.validation_fraction}: it must be at least 0 and less than 1")
        if not 0 < self.train_fraction <= 1:
            raise InputError(f"train_fraction = {self.train_fraction}: it must be more than 0 and at most 1")
        if not (self.weight_decay >= 0 and math.isfinite(self.weight_decay)):
            raise InputError(f"weight_decay = {self.weight_decay}: it must be at least 0")
        if self.max_length is not None and self.max_length < 1:
            raise InputError(f"max_length = {self.max_length}: it must be at least 1")
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
