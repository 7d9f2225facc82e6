"""The study file: TOML in, one frozen `Study` out, every mistake named in one line.

    name, description, split_seed, keep_models
    [grid]          models, datasets, init, seeds, epochs; any [training] value may stand here as a list, too
    [[exclude]]     what of the grid is left out: lists by the grid's own keys; a run that is in all of them is not run
    [training]      the values of hyena.recipe.TrainingConfig but epochs
    [models.NAME]   a size of one's own: hyena.config.HyenaConfig; of a published name: its dropout and checkpointing
    [datasets.NAME] a data set of one's own: hyena.datasets.DatasetSource
    [synthetic]     the embedded genome and tasks: hyena.synthetic.SyntheticConfig
    [pretraining]   corpus = "synthetic" or FASTA files, and hyena.pretraining.PretrainingConfig; without this table
                    the pretrained arms take weights by the model's name, from --weights or the hub
    [weights]       revision: which of the published ones; [weights.paths]: files by the model's name
    [resources]     cpus and gpus of one run, and what an hour costs
    [analysis]      margin, epochs: what the report asks

Relative paths count from the folder of the study file. Next: `trials.py`, the runs that a study asks for.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_type_hints

from hyena.config import BESIDE_THE_SHAPE, PUBLISHED, HyenaConfig, nearest
from hyena.datasets import OFFICIAL, DatasetSource
from hyena.errors import InputError
from hyena.pretraining import PretrainingConfig
from hyena.recipe import TrainingConfig
from hyena.synthetic import TASKS, SyntheticConfig
from sweep.schema import FROM_WEIGHTS, INITIALISATIONS
from sweep.toml import build, checked, known_keys

#: TrainingConfig fields that a study sets outside [training].
GRID_ONLY = ("epochs",)

#: A GPU share that is measured.
AUTO: Literal["auto"] = "auto"


@dataclass(frozen=True)
class Grid:
    """What is crossed with what. Every combination is a run."""

    models: tuple[str, ...]
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    epochs: tuple[int, ...]
    init: tuple[str, ...] = ("pretrained", "scratch")

    def __post_init__(self) -> None:
        for axis in dataclasses.fields(self):
            values = getattr(self, axis.name)
            if not values:
                raise InputError(f"{axis.name} is empty: it must hold at least one value")
            if len(set(values)) < len(values):
                raise InputError(f"{axis.name} names a value twice: {list(values)}")
        for init in self.init:
            if init not in INITIALISATIONS:
                raise InputError(f"unknown init '{init}'; {nearest(init, INITIALISATIONS)}")


@dataclass(frozen=True)
class Resources:
    """What one run gets.

    Attributes:
        cpus: whole cores of a run.
        gpus: part of one GPU, where the cluster has any; "auto" measures what each kind of run needs, 0 keeps all runs
            off the GPUs.
        runs_per_gpu: most trials that share a GPU when the part is measured.
        stack: runs of a cell, which differ in their seed alone, that are trained as one model; "auto" measures on GPUs
            what is fastest, and is 1 on CPUs, where runs then are the same bit for bit however they are grouped.
        captured: whether training steps are replayed as CUDA graphs: for GPUs alone, and the same numbers to rounding.
        price_per_hour: that of one GPU (without GPUs: of one core), in any currency; the plan multiplies with it.
    """

    cpus: int = 1
    gpus: float | Literal["auto"] = AUTO
    runs_per_gpu: int = 8
    stack: int | Literal["auto"] = AUTO
    captured: bool = False
    price_per_hour: float | None = None

    def __post_init__(self) -> None:
        if self.cpus < 1:
            raise InputError(
                f"cpus = {self.cpus}: it must be at least 1 (whole cores; a fraction would throttle torch)"
            )
        if self.gpus != AUTO and not (0 <= self.gpus <= 1):
            raise InputError(f'gpus = {self.gpus}: it must be from 0 to 1, or "auto"')
        if self.runs_per_gpu < 1:
            raise InputError(f"runs_per_gpu = {self.runs_per_gpu}: it must be at least 1")
        if self.stack != AUTO and self.stack < 1:
            raise InputError(f'stack = {self.stack}: it must be at least 1, or "auto"')
        if self.price_per_hour is not None and not (self.price_per_hour >= 0 and math.isfinite(self.price_per_hour)):
            raise InputError(f"price_per_hour = {self.price_per_hour}: it must be at least 0")


@dataclass(frozen=True)
class Analysis:
    """What the report asks: the margin of equivalence in percentage points, and which epochs setting comes first."""

    margin: float = 0.5
    epochs: int | None = None

    def __post_init__(self) -> None:
        if not (self.margin > 0 and math.isfinite(self.margin)):
            raise InputError(f"margin = {self.margin}: it must be more than 0 percentage points")


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


@dataclass(frozen=True)
class Study:
    """A validated study.

    Attributes:
        keep_models: whether the fine-tuned model of every run is kept with its results.
        vary: the training values that are crossed like the grid's axes.
        exclude: what of that is left out: a point whose value stands in every list of one of these.
    """

    name: str
    description: str
    split_seed: int
    keep_models: bool
    grid: Grid
    vary: dict[str, tuple[Any, ...]]
    exclude: tuple[dict[str, tuple[Any, ...]], ...]
    training: dict[str, Any]
    models: dict[str, HyenaConfig]
    datasets: dict[str, DatasetSource]
    synthetic: SyntheticConfig
    pretraining: Pretraining | None
    weights: Weights
    resources: Resources
    analysis: Analysis
    folder: Path = field(compare=False)

    def model(self, name: str) -> HyenaConfig:
        return self.models.get(name) or PUBLISHED[name]

    @property
    def pretrained_models(self) -> list[str]:
        """The models that some run takes pretrained weights of, in the grid's order."""
        taken = {point["models"] for point in self.points() if point["init"] in FROM_WEIGHTS}
        return [name for name in self.grid.models if name in taken]

    @property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """Everything that is crossed, by its key in [grid]; the last one turns fastest."""
        grid = self.grid
        fixed = {"models": grid.models, "datasets": grid.datasets, "seeds": grid.seeds, "init": grid.init}
        return {"epochs": tuple(sorted(grid.epochs)), **self.vary, **fixed}

    def points(self) -> Iterator[dict[str, Any]]:
        """What is run: one value for each key of `axes`, less what the study excludes."""
        for values in itertools.product(*self.axes.values()):
            point = dict(zip(self.axes, values, strict=True))
            if not any(all(point[key] in values for key, values in rule.items()) for rule in self.exclude):
                yield point

    def resolved(self) -> dict[str, Any]:
        """Every value written out, as plain JSON: what is stored beside the results."""
        values = dataclasses.asdict(self)
        del values["folder"]
        return json.loads(json.dumps(values, default=str))


TABLES = ("grid", "training", "models", "datasets", "synthetic", "pretraining", "weights", "resources", "analysis")
TOP_LEVEL = ("name", "description", "split_seed", "keep_models", "exclude", *TABLES)


def load_study(path: Path, overrides: tuple[str, ...] = ()) -> Study:
    """Read and validate a study file; `overrides` are KEY=VALUE with dotted keys and TOML values.

    Raises InputError with one line: the file, the key, and what would be right.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"no study file '{path}'") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not a readable TOML file: {error}") from None
    for override in overrides:
        _override(table, override)
    try:
        return _study(table, path.resolve().parent, default_name=path.stem)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _override(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise InputError(f"--set {override}: it must be KEY=VALUE, as in --set grid.seeds=[1,2,3]")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a bare word is a string, so that no shell quoting is needed
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise InputError(f"--set {override}: '{part}' is no table")
    table[parts[-1]] = value


def _study(table: dict[str, Any], folder: Path, default_name: str) -> Study:
    known_keys(table, TOP_LEVEL, "the study")
    for name in TABLES:
        if not isinstance(table.get(name, {}), dict):
            raise InputError(f"{name} must be a table: [{name}]")
    name = checked(str, table.get("name", default_name), "name")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise InputError(f"name = '{name}': letters, digits, '_', '.' and '-' only, for it names a folder")
    grid, vary = _grid(table.get("grid", {}))
    study = Study(
        name=name,
        description=checked(str, table.get("description", ""), "description"),
        split_seed=checked(int, table.get("split_seed", 0), "split_seed"),
        keep_models=checked(bool, table.get("keep_models", False), "keep_models"),
        grid=grid,
        vary=vary,
        exclude=tuple(_exclusion(number, rule) for number, rule in enumerate(_rules(table))),
        training=_training(table.get("training", {}), vary),
        models={key: _size(key, value) for key, value in table.get("models", {}).items()},
        datasets={key: _source(key, value, folder) for key, value in table.get("datasets", {}).items()},
        synthetic=build(SyntheticConfig, table.get("synthetic", {}), "synthetic"),
        pretraining=_pretraining(table["pretraining"], folder) if "pretraining" in table else None,
        weights=_weights(table.get("weights", {}), folder),
        resources=build(Resources, table.get("resources", {}), "resources"),
        analysis=build(Analysis, table.get("analysis", {}), "analysis"),
        folder=folder,
    )
    _names_are_known(study)
    _exclusions_are_sound(study)
    return study


def _grid(table: dict[str, Any]) -> tuple[Grid, dict[str, tuple[Any, ...]]]:
    """The grid proper, and the training values that stand in it as lists."""
    axes = [axis.name for axis in dataclasses.fields(Grid)]
    training = get_type_hints(TrainingConfig)
    known_keys(table, [*axes, *(key for key in training if key not in GRID_ONLY)], "grid")
    grid = build(Grid, {key: value for key, value in table.items() if key in axes}, "grid")
    vary = {}
    for key in table.keys() - set(axes):
        vary[key] = checked(tuple[training[key], ...], table[key], f"grid.{key}")  # type: ignore[valid-type]
        if not vary[key] or len(set(vary[key])) < len(vary[key]):
            raise InputError(f"grid.{key}: it must hold at least one value, and none twice")
    return grid, dict(sorted(vary.items()))


def _rules(table: dict[str, Any]) -> list[Any]:
    rules = table.get("exclude", [])
    if not isinstance(rules, list):
        raise InputError("exclude must be a list of tables: [[exclude]]")
    return rules


def _exclusion(number: int, rule: Any) -> dict[str, tuple[Any, ...]]:
    """One rule: lists by key; what they may hold is checked against the grid afterwards."""
    if not isinstance(rule, dict) or not rule:
        raise InputError(f'exclude.{number}: it must be a table of lists by the keys of [grid], as in models = ["…"]')
    for key, values in rule.items():
        if not isinstance(values, list):
            raise InputError(f"exclude.{number}.{key} = {values!r}: it must be a list")
    return {key: tuple(values) for key, values in rule.items()}


def _exclusions_are_sound(study: Study) -> None:
    """Every rule speaks of the grid, and something is left. A value that is not there would be a slip of the pen."""
    for number, rule in enumerate(study.exclude):
        known_keys(rule, list(study.axes), f"exclude.{number}")
        for key, values in rule.items():
            for value in values:
                if value not in study.axes[key]:
                    raise InputError(f"exclude.{number}.{key}: {value!r} is not in [grid], so nothing is left out")
    if next(study.points(), None) is None:
        raise InputError("exclude: it leaves nothing of the grid")


def _training(table: dict[str, Any], vary: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
    """All training values but epochs, those left out at their defaults."""
    if "epochs" in table:
        raise InputError("training: unknown key 'epochs'; epochs are an axis: write [grid] epochs = [...]")
    for key in table.keys() & vary.keys():
        raise InputError(f"training.{key} stands in [grid], too: keep one of them")
    values = dataclasses.asdict(build(TrainingConfig, {**table, "epochs": 1}, "training"))
    for key, choices in vary.items():
        for choice in choices:  # each value is validated where it stands
            build(TrainingConfig, {**values, key: choice}, "grid")
    return {key: value for key, value in values.items() if key not in GRID_ONLY}


def _size(name: str, table: Any) -> HyenaConfig:
    """A size of one's own, or a published one with values that leave its tensors as they are."""
    own, where = PUBLISHED.get(name), f"models.{name}"
    if own is None or not isinstance(table, dict):
        return build(HyenaConfig, table, where)
    size = build(HyenaConfig, {**dataclasses.asdict(own), **table}, where)
    for key in table.keys() - set(BESIDE_THE_SHAPE):
        if getattr(size, key) != getattr(own, key):
            raise InputError(
                f"{where}: {key} = {getattr(size, key)}, where the published size has {getattr(own, key)}; "
                "a size that differs in this needs another name"
            )
    return size


def _source(name: str, table: dict[str, Any], folder: Path) -> DatasetSource:
    source = build(DatasetSource, table, f"datasets.{name}")
    if source.path is None:
        return source
    return dataclasses.replace(source, path=_resolved(source.path, folder))


def _pretraining(table: dict[str, Any], folder: Path) -> Pretraining:
    if "corpus" not in table:
        raise InputError('pretraining: corpus is missing: "synthetic", or a list of FASTA files')
    corpus = table["corpus"]
    if isinstance(corpus, list):
        paths = checked(tuple[str, ...], corpus, "pretraining.corpus")
        corpus = tuple(str(_resolved(Path(path), folder)) for path in paths)
        for path in corpus:
            if not Path(path).is_file():
                raise InputError(f"pretraining.corpus: no file '{path}'")
    elif corpus != "synthetic":
        raise InputError(f'pretraining.corpus = {corpus!r}: it must be "synthetic", or a list of FASTA files')
    rest = {key: value for key, value in table.items() if key != "corpus"}
    return Pretraining(corpus, build(PretrainingConfig, rest, "pretraining"))


def _weights(table: dict[str, Any], folder: Path) -> Weights:
    weights = build(Weights, table, "weights")
    return dataclasses.replace(weights, paths={name: _resolved(path, folder) for name, path in weights.paths.items()})


def _names_are_known(study: Study) -> None:
    known_models = [*study.models, *PUBLISHED]
    for name in study.grid.models:
        if name not in known_models:
            raise InputError(f"grid.models: unknown model '{name}'; {nearest(name, known_models)}")
        length = study.pretraining.config.length if study.pretraining else 0
        if length > study.model(name).l_max:
            raise InputError(f"pretraining.length = {length}: '{name}' takes at most {study.model(name).l_max}")
    for name in study.weights.paths:
        if name not in known_models:
            raise InputError(f"weights.paths: unknown model '{name}'; {nearest(name, known_models)}")
    if study.pretraining is not None and study.weights != Weights():
        raise InputError("weights: the study makes its own in [pretraining]; keep one of the two tables")
    known_datasets = [*study.datasets, *TASKS, *OFFICIAL]
    for name in study.grid.datasets:
        if name not in known_datasets:
            raise InputError(f"grid.datasets: unknown data set '{name}'; {nearest(name, known_datasets)}")
    if study.analysis.epochs is not None and study.analysis.epochs not in study.grid.epochs:
        raise InputError(f"analysis.epochs = {study.analysis.epochs}: it must be one of {list(study.grid.epochs)}")


def _resolved(path: Path, folder: Path) -> Path:
    return (folder / path.expanduser()).resolve()
