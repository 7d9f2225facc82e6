"""How a run is trained: every value of the recipe, and the learning rate's schedule.

Recipe: the original study's (AdamW, 6e-4 with 1 % linear warm-up and a cosine to a tenth, weight decay 0.1 except on
the implicit filter, gradient norm clipped at 1). Next: `optimisation.py`, one step of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Annotated, Literal, get_type_hints

from hyena.errors import InputError
from hyena.model.config import Padding, Pooling
from hyena.ranges import INT32, Fraction, GradientClip, LearningRate, Range, WeightDecay, require_ranges

Precision = Literal["float32", "bfloat16"]
SplitRule = Literal["official", "regroup"]
Batching = Literal["shuffled", "like_length"]
Affected = Literal["data", "memory"]

Epochs = Annotated[int, Range(ge=1, le=1_000_000)]


@dataclass(frozen=True)
class Value:
    """What a value of the recipe means and what depends on it; every field of TrainingConfig is annotated with one.

    Derived from it: the value's column in the results and the groups that are never averaged over (`sweep/schema.py`),
    which trials can share their prepared data (`sweep/trainable.py`) and their measured memory (`sweep/gpu_probe.py`).

    Attributes:
        meaning: a phrase, the description of the value's column.
        unit: "" where it has none.
        affects: "data" where the tensors of the splits depend on the value, "memory" where a training step's memory
            does. Without default, so that it cannot be forgotten.
    """

    meaning: str
    unit: str = ""
    affects: tuple[Affected, ...] = field(kw_only=True)


@dataclass(frozen=True)
class TrainingConfig:
    """How a run is trained.

    Every value is part of a run's identity and a column of the runs table, and all but `epochs` define the groups of
    runs that the analysis never averages over. This is the one place where a value is declared.
    """

    epochs: Annotated[Epochs, Value("passes over the training split", "epochs", affects=())]
    batch_size: Annotated[
        int,
        Range(ge=1, le=INT32),
        Value("sequences per step; the last step of an epoch takes the remainder", "sequences", affects=("memory",)),
    ] = 256
    learning_rate: Annotated[LearningRate, Value("peak learning rate", affects=())] = 6e-4
    final_learning_rate: Annotated[LearningRate, Value("learning rate at the end of the cosine", affects=())] = 6e-5
    warmup_learning_rate: Annotated[LearningRate, Value("learning rate of the first step", affects=())] = 1e-6
    warmup_fraction: Annotated[
        Fraction,
        Value("share of all steps in the linear warm-up", "fraction", affects=()),
    ] = 0.01
    weight_decay: Annotated[
        WeightDecay,
        Value("weight decay of AdamW (0 on the implicit filter's parameters)", affects=()),
    ] = 0.1
    gradient_clip: Annotated[
        GradientClip,
        Value("largest gradient norm; larger gradients are scaled down to it", affects=()),
    ] = 1.0
    max_length: Annotated[
        Annotated[int, Range(ge=1, le=INT32)] | None,
        Value(
            "length that every sequence is padded or cut to; in a study, None means the data set's longest sequence",
            "positions",
            affects=("data", "memory"),
        ),
    ] = None
    padding: Annotated[
        Padding,
        Value(
            "side of the padding: left (as published), or right, which a causal model does not see",
            affects=("data", "memory"),
        ),
    ] = "right"
    pooling: Annotated[
        Pooling,
        Value("positions that the head averages: all (as published) or real", affects=("memory",)),
    ] = "real"
    reverse_complement: Annotated[
        Fraction,
        Value("probability of reverse-complementing a training sequence", "fraction", affects=()),
    ] = 0.5
    batching: Annotated[
        Batching,
        Value(
            "shuffled, or like_length: batches of sequences of similar length, each cut to its longest; the latter "
            "needs padding that does not affect the result",
            affects=("memory",),
        ),
    ] = "shuffled"
    split: Annotated[
        SplitRule,
        Value("official, or regroup: split anew so that no two splits hold overlapping sequences", affects=("data",)),
    ] = "official"
    validation_fraction: Annotated[
        float,
        Range(ge=0, lt=1),
        Value(
            "share of the training split held out where the data set has no validation split",
            "fraction",
            affects=("data",),
        ),
    ] = 0.1
    train_fraction: Annotated[
        float,
        Range(gt=0, le=1),
        Value(
            "share of the remaining training split that is used; smaller shares are nested in larger ones (split_seed)",
            "fraction",
            affects=("data",),
        ),
    ] = 1.0
    precision: Annotated[
        Precision,
        Value(
            "arithmetic of matrix products: float32 or bfloat16; residual, normalisation and long convolution stay in "
            "float32",
            affects=("memory",),
        ),
    ] = "float32"

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


def _values() -> dict[str, Value]:
    hints = get_type_hints(TrainingConfig, include_extras=True)
    declared = {}
    for name in (each.name for each in fields(TrainingConfig)):
        values = [part for part in getattr(hints[name], "__metadata__", ()) if isinstance(part, Value)]
        assert values, f"TrainingConfig.{name} is not annotated with a Value"
        declared[name] = values[0]
    return declared


#: What is declared of each training value, by name, in the order of the fields.
TRAINING_VALUES = _values()


def values_affecting(what: Affected) -> tuple[str, ...]:
    """Names of the training values that the prepared data, or the memory of a training step, depends on."""
    return tuple(name for name, value in TRAINING_VALUES.items() if what in value.affects)


def learning_rate(step: int, total: int, config: TrainingConfig) -> float:
    """Rate of step `step` (from 0) of `total`: linear from warmup_learning_rate, then a cosine to the final rate."""
    warmup = int(total * config.warmup_fraction)
    peak, first, last = config.learning_rate, config.warmup_learning_rate, config.final_learning_rate
    if step < warmup:
        return first + (peak - first) * step / warmup
    return last + 0.5 * (peak - last) * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
