"""The tables of a study file that only the sweep needs, as typed values. Next: `study.py`, which reads the file.

The other tables are types of `hyena`: TrainingConfig, HyenaConfig, DatasetSource, SyntheticConfig, PretrainingConfig.
Every number declares its range on its field (`hyena/ranges.py`).
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

#: The value of a resource that is determined by measurement.
AUTO: Literal["auto"] = "auto"
#: Most runs that may share a GPU.
MOST_PER_GPU = 1_000


@dataclass(frozen=True)
class Grid:
    """The axes of the study. Every combination of their values is a run."""

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
    """InputError where an axis has no value, or has one twice."""
    if not values:
        raise InputError(f"{name} is empty: it must hold at least one value")
    twice = next((value for value, times in Counter(values).items() if times > 1), None)
    if twice is not None:
        raise InputError(f"{name} holds a value twice: {shown(twice)}")


@dataclass(frozen=True)
class Resources:
    """The resources of one run, and their price.

    Attributes:
        cpus: CPU cores of a run; an integer, because a fraction would throttle torch.
        gpus: fraction of one GPU, at least a thousandth, where the cluster has GPUs; "auto" measures what each kind of
            run needs, 0 runs everything on CPUs.
        runs_per_gpu: largest number of trials that share a GPU when the fraction is measured.
        stack: number of runs of a cell, which differ only in their seed, that are trained as one model; "auto" measures
            which number is fastest on GPUs, and is 1 on CPUs, where results then do not depend on the grouping at all.
        captured: whether training steps are replayed as CUDA graphs; on GPUs only, with equal results up to rounding.
        price_per_hour: price of one GPU (without GPUs: of one core) in any currency; the plan derives the cost from it.
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
    """The report's question: margin of equivalence in percentage points, and the epochs of the main comparison."""

    margin: Annotated[float, Range(gt=0, le=100)] = 0.5
    epochs: Epochs | None = None

    def __post_init__(self) -> None:
        require_ranges(self)


@dataclass(frozen=True)
class Pretraining:
    """How the study pretrains its own weights: the corpus ("synthetic" or FASTA paths) and the recipe."""

    corpus: str | tuple[str, ...]
    config: PretrainingConfig


@dataclass(frozen=True)
class Weights:
    """The weights that the pretrained arms start from, where the study does not make its own.

    Attributes:
        revision: branch, tag or commit of the hub's repositories; None is their main branch.
        paths: file or folder of weights by the model's name; takes precedence over weights that are found by name.
    """

    revision: str | None = None
    paths: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.revision is not None and not self.revision.strip():
            raise InputError("revision is empty: it must name a branch, a tag or a commit")
