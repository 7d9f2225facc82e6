"""The tables of a study file that are the sweep's own, as typed values. Next: `study.py`, which reads the file.

Those that describe the science are `hyena`'s: TrainingConfig, HyenaConfig, DatasetSource, SyntheticConfig and
PretrainingConfig. Every number declares its range on its field (`hyena/ranges.py`).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from hyena.errors import InputError, nearest, shown
from hyena.ranges import Range, Seed, require_ranges
from hyena.training.pretraining import PretrainingConfig
from hyena.training.recipe import Epochs
from sweep.schema import INITIALISATIONS

#: A GPU share that is measured.
AUTO: Literal["auto"] = "auto"
#: Most runs that may share a GPU.
MOST_PER_GPU = 1_000


@dataclass(frozen=True)
class Grid:
    """What is crossed with what. Every combination is a run."""

    models: tuple[str, ...]
    datasets: tuple[str, ...]
    seeds: tuple[Seed, ...]
    epochs: tuple[Epochs, ...]
    init: tuple[str, ...] = ("pretrained", "scratch")

    def __post_init__(self) -> None:
        require_ranges(self)
        for axis in dataclasses.fields(self):
            require_axis(getattr(self, axis.name), axis.name)
        for init in self.init:
            if init not in INITIALISATIONS:
                raise InputError(f"unknown init {shown(init)}; {nearest(init, INITIALISATIONS)}")


def require_axis(values: Sequence[Any], name: str) -> None:
    """InputError where the values to be crossed are none, or one of them is named twice."""
    if not values:
        raise InputError(f"{name} is empty: it must hold at least one value")
    twice = next((value for value, times in Counter(values).items() if times > 1), None)
    if twice is not None:
        raise InputError(f"{name} names a value twice: {shown(twice)}")


@dataclass(frozen=True)
class Resources:
    """What one run gets.

    Attributes:
        cpus: cores of a run; whole ones, for a fraction would throttle torch.
        gpus: part of one GPU, where the cluster has any: a thousandth at least; "auto" measures what each kind of run
            needs, 0 keeps all runs off the GPUs.
        runs_per_gpu: most trials that share a GPU when the part is measured.
        stack: runs of a cell, which differ in their seed alone, that are trained as one model; "auto" measures on GPUs
            what is fastest, and is 1 on CPUs, where runs then are the same bit for bit however they are grouped.
        captured: whether training steps are replayed as CUDA graphs: for GPUs alone, and the same numbers to rounding.
        price_per_hour: that of one GPU (without GPUs: of one core), in any currency; the plan multiplies with it.
    """

    cpus: Annotated[int, Range(ge=1, le=4_096)] = 1
    gpus: Annotated[float, Range(ge=0, le=1)] | Literal["auto"] = AUTO
    runs_per_gpu: Annotated[int, Range(ge=1, le=MOST_PER_GPU)] = 8
    stack: Annotated[int, Range(ge=1, le=1_000)] | Literal["auto"] = AUTO
    captured: bool = False
    price_per_hour: Annotated[float, Range(ge=0, le=1_000_000)] | None = None

    def __post_init__(self) -> None:
        require_ranges(self)
        if self.gpus != AUTO and 0 < self.gpus < 1 / MOST_PER_GPU:
            raise InputError(f"gpus = {self.gpus}: it must be 0, or at least {1 / MOST_PER_GPU}")


@dataclass(frozen=True)
class Analysis:
    """What the report asks: the margin of equivalence in percentage points, and which epochs setting comes first."""

    margin: Annotated[float, Range(gt=0, le=100)] = 0.5
    epochs: Epochs | None = None

    def __post_init__(self) -> None:
        require_ranges(self)


@dataclass(frozen=True)
class Pretraining:
    """How the study makes its own weights: from which corpus ("synthetic" or FASTA paths), and how."""

    corpus: str | tuple[str, ...]
    config: PretrainingConfig


@dataclass(frozen=True)
class Weights:
    """Which weights the pretrained arms start from, where the study does not make them.

    Attributes:
        revision: branch, tag or commit of the hub's repositories; None is their main branch.
        paths: file or folder of weights by the model's name; they go before all that is found by name.
    """

    revision: str | None = None
    paths: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.revision is not None and not self.revision.strip():
            raise InputError("revision is empty: it must name a branch, a tag or a commit")
