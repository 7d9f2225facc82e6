"""The tables of a study file as typed values: those that only the sweep needs, and custom sizes and data sets.

Next: `study.py`, which reads the file. `pretrainings.py` has [pretraining] and [weights]; the types of the other tables
are in `hyena`: TrainingConfig, HyenaConfig, DatasetSource, SyntheticConfig. Every number declares its range on its
field (`hyena/ranges.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from hyena.data.datasets import DatasetSource
from hyena.errors import InputError, nearest, shown
from hyena.model.config import BESIDE_THE_SHAPE, PUBLISHED, HyenaConfig
from hyena.ranges import Range, Seed, require_ranges
from hyena.training.recipe import Epochs
from sweep.pretrainings import Design
from sweep.schema import HYPERPARAMETERS, INITIALISATIONS
from sweep.toml_reader import build, known_keys, require_axis, resolved_path

#: The value of a resource that is determined by measurement.
AUTO: Literal["auto"] = "auto"
#: Most runs that may share a GPU.
MOST_PER_GPU = 1_000


#: The lists of [grid] that are not training values.
AXES = ("models", "datasets", "seeds", "epochs", "init")


@dataclass(frozen=True)
class Grid:
    """The axes of the study: every combination of their values is a run; and how pretrainings join them.

    Attributes:
        design: "nested" gives each seed one of the pretrainings of its size, in turn; "crossed" runs each seed from
            each of them, in the arms that start from weights.
    """

    models: tuple[str, ...]
    datasets: tuple[str, ...]
    seeds: tuple[Seed, ...]
    epochs: tuple[Epochs, ...]
    init: tuple[str, ...] = ("pretrained", "scratch")
    design: Design = "nested"

    def __post_init__(self) -> None:
        require_ranges(self)
        for axis in AXES:
            require_axis(getattr(self, axis), axis)
        for init in self.init:
            if init not in INITIALISATIONS:
                raise InputError(f"unknown init {shown(init)}; {nearest(init, INITIALISATIONS)}")


@dataclass(frozen=True)
class Resources:
    """The resources of one run, and their price.

    Attributes:
        cpus: CPU cores of a run; an integer, because a fraction would throttle torch.
        gpus: fraction of one GPU, at least a thousandth, where the cluster has GPUs; "auto" measures what each kind of
            run needs, 0 runs everything on CPUs.
        runs_per_gpu: largest number of trials that share a GPU when the fraction is measured.
        stack: number of runs of a cell, which differ only in seed and initial weights, that are trained as one model;
            "auto" measures which number is fastest on GPUs, and is 1 on CPUs, where results then do not depend on the
            grouping at all.
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
    """The report's question.

    Attributes:
        margin: smallest difference that matters, in percentage points.
        epochs: the number of epochs of the main comparison; None takes the largest that both arms have.
        group: values of training values that the grid varies: the runs that the answer is about. Without them, those
            with the most training examples.
        looks: how many times verdicts may be read while seeds are added; intervals are widened accordingly.
        tau_scale: scale, in percentage points, of the half-normal prior on the standard deviation of the benefit
            between data sets.
    """

    margin: Annotated[float, Range(gt=0, le=100)] = 0.5
    epochs: Epochs | None = None
    group: dict[str, bool | int | float | str] = field(default_factory=dict)
    looks: Annotated[int, Range(ge=1, le=100)] = 1
    tau_scale: Annotated[float, Range(gt=0, le=100)] = 2.0

    def __post_init__(self) -> None:
        require_ranges(self)


def require_in_grid(
    analysis: Analysis, epochs: Sequence[int], vary: Mapping[str, Sequence[Any]], varied: Iterable[Sequence[Any]]
) -> None:
    """InputError where the report's question is about runs that the study does not plan.

    Args:
        epochs: those of the grid.
        vary: the training values that the grid varies.
        varied: the values of `vary`, in its order, of every planned run.
    """
    if analysis.epochs is not None and analysis.epochs not in epochs:
        raise InputError(f"analysis.epochs = {analysis.epochs}: it must be one of {shown(list(epochs))}")
    known_keys(analysis.group, HYPERPARAMETERS, "analysis.group")
    for key, value in analysis.group.items():
        if len(vary.get(key, ())) < 2:
            fault = "it does not vary in [grid], so it does not tell groups apart"
            raise InputError(f"analysis.group.{key} = {shown(value)}: {fault}; leave it out")
        if not any(_is_same(value, listed) for listed in vary[key]):
            raise InputError(f"analysis.group.{key} = {shown(value)}: it must be one of {shown(list(vary[key]))}")
    wanted = [(place, analysis.group[key]) for place, key in enumerate(vary) if key in analysis.group]
    if wanted and not any(all(values[place] == value for place, value in wanted) for values in varied):
        raise InputError(
            f"analysis.group = {shown(analysis.group)}: [[exclude]] leaves out every run with these values"
        )


def _is_same(value: Any, listed: Any) -> bool:
    """Equality that tells true from 1."""
    return value == listed and isinstance(value, bool) == isinstance(listed, bool)


def read_size(name: str, table: Any) -> HyenaConfig:
    """A custom size, or a published one with changed values that leave its tensors as they are."""
    published, where = PUBLISHED.get(name), f"models.{name}"
    if published is None or not isinstance(table, dict):
        return build(HyenaConfig, table, where)
    size = build(HyenaConfig, {**dataclasses.asdict(published), **table}, where)
    for key in table.keys() - set(BESIDE_THE_SHAPE):
        if getattr(size, key) != getattr(published, key):
            raise InputError(
                f"{where}: {key} = {getattr(size, key)}, but the published size has {getattr(published, key)}; "
                "a size that differs in this needs another name"
            )
    return size


def read_source(name: str, table: dict[str, Any], folder: Path) -> DatasetSource:
    """A custom data set; its path is relative to `folder`."""
    source = build(DatasetSource, table, f"datasets.{name}")
    if source.path is None:
        return source
    return dataclasses.replace(source, path=resolved_path(source.path, folder, f"datasets.{name}.path"))
