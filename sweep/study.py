"""The study file: TOML in, one frozen `Study` out, every mistake reported in one line.

    name, description, split_seed, keep_models
    [grid]          models, datasets, init, seeds, epochs: lists; any [training] value may be given here as a list, too;
                    design = "nested" (each seed starts from one of the pretrainings) or "crossed" (from each of them)
    [[exclude]]     combinations of the grid to leave out: lists by the grid's keys, all of which hold the values of
                    such a combination
    [training]      the values of hyena.training.recipe.TrainingConfig except epochs
    [models.NAME]   a custom size: hyena.model.config.HyenaConfig; for a published size, its dropout and checkpointing
    [datasets.NAME] a custom data set: hyena.data.datasets.DatasetSource
    [synthetic]     the embedded genome and tasks: hyena.data.synthetic.SyntheticConfig
    [pretraining]   corpus = "synthetic" or FASTA files, seeds = a list, one for each pretraining of a size, and the
                    other values of hyena.training.pretraining.PretrainingConfig; without this table the pretrained arms
                    load weights by the model's name, from --weights or the hub
    [weights]       revision of the published weights; [weights.paths]: by the model's name a file, or a list of files,
                    one for each pretraining
    [resources]     cpus and gpus of one run, and the price of an hour
    [analysis]      margin, epochs and group of the report's comparison; looks and tau_scale of its intervals

Relative paths are resolved against the folder of the study file. Names of custom models and data sets are printable and
at most 100 bytes long, and can be part of a path: slashes separate their parts (`lab/nano`), of which none is empty,
`.` or `..`. The file may begin with a byte-order mark. Next: `trials.py`, the runs of a study.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_type_hints

from hyena.data.catalogue import OFFICIAL
from hyena.data.datasets import DatasetSource
from hyena.data.synthetic import TASKS, SyntheticConfig
from hyena.errors import InputError, nearest, shown
from hyena.model.config import PUBLISHED, HyenaConfig
from hyena.ranges import Seed
from hyena.system.terminal import printable
from hyena.training.recipe import TrainingConfig
from sweep.pretrainings import (
    Pretraining,
    PretrainingId,
    Weights,
    of_seed,
    pretrainings_of,
    read_pretraining,
    read_weights,
)
from sweep.schema import FROM_WEIGHTS
from sweep.study_sections import AUTO, AXES, Analysis, Grid, Resources, read_size, read_source, require_in_grid
from sweep.toml_reader import build, checked, known_keys, read, require_axis, require_plain

__all__ = ["AUTO", "Analysis", "Grid", "Pretraining", "Resources", "Study", "Weights", "load_study"]

#: TrainingConfig fields that a study sets outside [training].
GRID_ONLY = ("epochs",)
#: Largest number of combinations of a grid, and of characters of a study's name.
MOST_RUNS, MOST_LETTERS = 1_000_000, 100


@dataclass(frozen=True)
class Point:
    """One combination of the grid. `varied` holds the values of `Study.vary`, in its order.

    `pretraining` is what it starts from; None for scratch.
    """

    model: str
    dataset: str
    init: str
    pretraining: PretrainingId | None
    seed: int
    epochs: int
    varied: tuple[Any, ...]


@dataclass(frozen=True)
class Study:
    """A validated study.

    Attributes:
        keep_models: whether the fine-tuned model of every run is kept with its results.
        vary: lists of training values that are crossed with the grid's axes, by name.
        exclude: rules, each a set of lists by axis; a combination whose values are in all lists of a rule is left out.
        training: the training values except `epochs` and those that vary.
    """

    name: str
    description: str
    split_seed: Seed
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

    def pretrainings_of(self, model: str) -> list[PretrainingId]:
        """The pretrainings that the study names for a size, whether or not a run starts from them."""
        return pretrainings_of(model, self.pretraining, self.weights)

    @cached_property
    def pretrainings(self) -> list[PretrainingId]:
        """Those from which some run starts, in the order of the grid's models and of their seeds or files."""
        used = {point.pretraining for point in self.points()}
        return [one for model in self.grid.models for one in self.pretrainings_of(model) if one in used]

    @property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """The axes of the grid by their keys in the file; the last one varies fastest."""
        grid = self.grid
        fixed = {"models": grid.models, "datasets": grid.datasets, "seeds": grid.seeds, "init": grid.init}
        return {"epochs": tuple(sorted(grid.epochs)), **self.vary, **fixed}

    def points(self) -> Iterator[Point]:
        """The combinations of the grid that the study does not exclude, each with the pretrainings of its seed."""
        axes, starts = self.axes, self._starts()
        for values in itertools.product(*axes.values()):
            at = dict(zip(axes, values, strict=True))
            if not any(all(at[key] in listed for key, listed in rule.items()) for rule in self.exclude):
                varied = tuple(at[key] for key in self.vary)
                from_weights = at["init"] in FROM_WEIGHTS
                for start in starts[at["models"], at["seeds"]] if from_weights else [None]:
                    yield Point(at["models"], at["datasets"], at["init"], start, at["seeds"], at["epochs"], varied)

    def _starts(self) -> dict[tuple[str, int], Sequence[PretrainingId]]:
        """By model and seed, the pretrainings that a run of an arm with weights starts from."""
        return {
            (model, seed): of_seed(self.grid.design, place, some)
            for model in self.grid.models
            for some in [self.pretrainings_of(model)]
            for place, seed in enumerate(self.grid.seeds)
        }

    def recipe(self, epochs: int, varied: Sequence[Any]) -> TrainingConfig:
        """The recipe of a point of the grid. Raises InputError where its values do not go together."""
        values = {**self.training, **dict(zip(self.vary, varied, strict=True))}
        return TrainingConfig(epochs=epochs, **values)

    def resolved(self) -> dict[str, Any]:
        """The study with all defaults filled in, as plain JSON; it is stored beside the results."""
        values = dataclasses.asdict(self)
        del values["folder"]
        if self.pretraining is not None:
            del values["pretraining"]["config"]["seed"]  # which `seeds` replaces
        return json.loads(json.dumps(values, default=str))


TABLES = ("grid", "training", "models", "datasets", "synthetic", "pretraining", "weights", "resources", "analysis")
TOP_LEVEL = ("name", "description", "split_seed", "keep_models", "exclude", *TABLES)


def load_study(path: Path, overrides: tuple[str, ...] = ()) -> Study:
    """Read and validate a study file; `overrides` are KEY=VALUE with dotted keys and TOML values.

    Raises InputError with one line: the file, the key, and what would be right.
    """
    table = read(path, overrides)
    try:
        return _study(table, path.resolve().parent, default_name=path.stem)
    except InputError as error:
        raise InputError(f"{printable(str(path))}: {error}") from None


def _study(table: dict[str, Any], folder: Path, default_name: str) -> Study:
    table = _with_folded_description(table)
    require_plain(table)
    known_keys(table, TOP_LEVEL, "the study")
    for name in TABLES:
        if not isinstance(table.get(name, {}), dict):
            raise InputError(f"{name} must be a table: [{name}]")
    for section in ("models", "datasets"):
        for name in table.get(section, {}):
            _require_name(name, section)
    name = checked(str, table["name"], "name") if "name" in table else default_name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or len(name) > MOST_LETTERS:
        raise InputError(
            f"name = {shown(name)}: it must be at most {MOST_LETTERS} letters, digits, '_', '.' and '-', and begin "
            "with a letter or digit, because it names a folder"
        )
    grid, vary = _grid(table.get("grid", {}))
    study = Study(
        name=name,
        description=checked(str, table.get("description", ""), "description"),
        split_seed=checked(Seed, table.get("split_seed", 0), "split_seed"),
        keep_models=checked(bool, table.get("keep_models", False), "keep_models"),
        grid=grid,
        vary=vary,
        exclude=tuple(_exclusion(number, rule) for number, rule in enumerate(_rules(table))),
        training=_training(table.get("training", {}), vary),
        models={key: read_size(key, value) for key, value in table.get("models", {}).items()},
        datasets={key: read_source(key, value, folder) for key, value in table.get("datasets", {}).items()},
        synthetic=build(SyntheticConfig, table.get("synthetic", {}), "synthetic"),
        pretraining=read_pretraining(table["pretraining"], folder) if "pretraining" in table else None,
        weights=read_weights(table.get("weights", {}), folder),
        resources=build(Resources, table.get("resources", {}), "resources"),
        analysis=build(Analysis, table.get("analysis", {}), "analysis"),
        folder=folder,
    )
    _require_known_names(study)
    _require_few_runs(study)
    _require_seeds_for_pretrainings(study)
    _require_exclusions_within_the_grid(study)
    varied = (point.varied for point in study.points())
    require_in_grid(study.analysis, study.grid.epochs, study.vary, varied)
    _require_valid_recipes(study)
    return study


def _require_few_runs(study: Study) -> None:
    number = math.prod(map(len, study.axes.values()))
    if study.grid.design == "crossed":
        number *= max(len(study.pretrainings_of(model)) for model in study.grid.models)
    if number > MOST_RUNS:
        raise InputError(f"grid: {number} combinations; it must be at most {MOST_RUNS}")


def _require_seeds_for_pretrainings(study: Study) -> None:
    """InputError where a nested study has fewer seeds than pretrainings, so that no run would start from some."""
    seeds = len(study.grid.seeds)
    if study.grid.design == "crossed" or not set(FROM_WEIGHTS).intersection(study.grid.init):
        return
    for model in study.grid.models:
        number = len(study.pretrainings_of(model))
        if number > seeds:
            where = "pretraining.seeds" if study.pretraining else f"weights.paths.{model}"
            raise InputError(
                f"{where}: {number} pretrainings for {seeds} {'seed' if seeds == 1 else 'seeds'} in grid.seeds, so "
                'some weights would not be used: give as many seeds, or set grid.design = "crossed"'
            )


def _with_folded_description(table: dict[str, Any]) -> dict[str, Any]:
    """The study's table with the description on one line, as plan and report show it; an empty one is removed."""
    text = table.get("description")
    if not isinstance(text, str):
        return table
    folded = re.sub(r"\s*[\n\t]\s*", " ", text).strip()
    rest = {key: value for key, value in table.items() if key != "description"}
    return {**rest, "description": folded} if folded else rest


def _require_name(name: str, section: str) -> None:
    """InputError where the name of a model or a data set cannot be part of a path."""
    in_a_path = not {"", ".", ".."}.intersection(name.split("/")) and "\\" not in name
    if not in_a_path or name != name.strip():
        raise InputError(
            f"{section}: the name {shown(name)}: it must have neither backslashes nor leading or trailing spaces; "
            "single slashes may separate its parts, as in lab/nano"
        )


def _grid(table: dict[str, Any]) -> tuple[Grid, dict[str, tuple[Any, ...]]]:
    """The grid's own axes, and the training values that are given in [grid] as lists."""
    own = (*AXES, "design")
    training = get_type_hints(TrainingConfig, include_extras=True)
    known_keys(table, [*own, *(key for key in training if key not in GRID_ONLY)], "grid")
    grid = build(Grid, {key: value for key, value in table.items() if key in own}, "grid")
    vary = {}
    for key in table.keys() - set(own):
        vary[key] = checked(tuple[training[key], ...], table[key], f"grid.{key}")  # type: ignore[valid-type]
        require_axis(vary[key], f"grid.{key}")
    return grid, dict(sorted(vary.items()))


def _rules(table: dict[str, Any]) -> list[Any]:
    rules = table.get("exclude", [])
    if not isinstance(rules, list):
        raise InputError("exclude must be a list of tables: [[exclude]]")
    return rules


def _exclusion(number: int, rule: Any) -> dict[str, tuple[Any, ...]]:
    """One rule: lists by key, which are checked against the grid afterwards."""
    if not isinstance(rule, dict) or not rule:
        raise InputError(f'exclude.{number}: it must be a table of lists by the keys of [grid], as in models = ["…"]')
    for key, values in rule.items():
        if not isinstance(values, list):
            raise InputError(f"exclude.{number}.{shown(key)[1:-1]} = {shown(values)}: it must be a list")
    return {key: tuple(values) for key, values in rule.items()}


def _require_exclusions_within_the_grid(study: Study) -> None:
    """InputError where a rule names a value that the grid lacks, probably a typo, or where all runs are excluded."""
    for number, rule in enumerate(study.exclude):
        known_keys(rule, list(study.axes), f"exclude.{number}")
        for key, values in rule.items():
            for value in values:
                if value not in study.axes[key]:
                    raise InputError(f"exclude.{number}.{key}: {shown(value)} is not in [grid], so nothing is left out")
    if next(study.points(), None) is None:
        raise InputError("exclude: it leaves no run of the grid")


def _training(table: dict[str, Any], vary: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
    """All training values except epochs, with their defaults where the table has none."""
    if "epochs" in table:
        raise InputError("training: unknown key 'epochs'; epochs are an axis: write [grid] epochs = [...]")
    for key in table.keys() & vary.keys():
        raise InputError(f"training.{key} is set in [grid], too: keep one of them")
    values = dataclasses.asdict(build(TrainingConfig, {**table, "epochs": 1}, "training"))
    return {key: value for key, value in values.items() if key not in GRID_ONLY}


def _require_valid_recipes(study: Study) -> None:
    """InputError where training values that the grid crosses do not go together."""
    for varied in dict.fromkeys(point.varied for point in study.points()):
        try:
            study.recipe(1, varied)
        except InputError as error:
            raise InputError(f"grid: {error}") from None


def _require_known_names(study: Study) -> None:
    known_models = [*study.models, *PUBLISHED]
    for name in study.grid.models:
        if name not in known_models:
            raise InputError(f"grid.models: unknown model {shown(name)}; {nearest(name, known_models)}")
        length = study.pretraining.config.length if study.pretraining else 0
        if length > study.model(name).l_max:
            raise InputError(f"pretraining.length = {length}: '{name}' takes at most {study.model(name).l_max}")
    for name in study.weights.paths:
        if name not in known_models:
            raise InputError(f"weights.paths: unknown model {shown(name)}; {nearest(name, known_models)}")
    if study.pretraining is not None and study.weights != Weights():
        raise InputError("weights: the study makes its own weights in [pretraining]; keep one of the two tables")
    known_datasets = [*study.datasets, *TASKS, *OFFICIAL]
    for name in study.grid.datasets:
        if name not in known_datasets:
            raise InputError(f"grid.datasets: unknown data set {shown(name)}; {nearest(name, known_datasets)}")
