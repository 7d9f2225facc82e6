"""From a study to its runs: the plan, with an identity for every run.

Two runs have the same `run_id` exactly when nothing that determines the result differs between them. A run whose row
the store has is therefore never run again, and only the new runs of an extended study are. Next: `execution.py`,
which executes a plan.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hyena.data.datasets import DatasetSource, default_data_dir, is_present, load_dataset
from hyena.data.sequences import Dataset
from hyena.data.subsets import too_rare
from hyena.data.synthetic import TASKS, SyntheticConfig, synthetic_dataset
from hyena.errors import InputError
from hyena.leakage.regroup import regroup
from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import trainable_parameters, without_memory
from hyena.training.recipe import SplitRule, TrainingConfig
from sweep.pretrainings import PretrainingId
from sweep.schema import PlanRow
from sweep.study import Point, Study

#: Incremented with every change that changes the result of a run; runs of other versions are run again.
RESULT_VERSION = 4
#: Labels are stored as 16-bit integers.
MOST_CLASSES = 2**15


@dataclass(frozen=True)
class DataSpec:
    """Where a worker finds a data set: generated (`synthetic`), described in the study (`source`), or official."""

    name: str
    source: DatasetSource | None
    synthetic: SyntheticConfig | None
    data_dir: Path | None


@dataclass(frozen=True)
class DataFacts:
    """What the plan needs to know about a data set, without its sequences.

    Attributes:
        digest: SHA-256 of its content.
        classes: names of the classes.
        class_counts: training sequences of each class, before a validation split is cut off.
        longest: length of the longest sequence, in base pairs.
        validation_examples: sequences of the data set's own validation split; 0 where it has none.
        test_examples: sequences of the test split.
    """

    digest: str
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]
    longest: int
    validation_examples: int
    test_examples: int

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def train_examples(self) -> int:
        return sum(self.class_counts)


@dataclass(frozen=True)
class RunSpec:
    """One run: all that a worker needs to know.

    `pretraining` is what it starts from, and `weights_key` names its weights in the store; both None for scratch.
    """

    run_id: str
    setting_id: str
    study: str
    model: str
    config: HyenaConfig
    data: DataSpec
    facts: DataFacts
    init: str
    pretraining: PretrainingId | None
    weights_key: str | None
    seed: int
    split_seed: int
    training: TrainingConfig
    trainable_parameters: int

    @property
    def work(self) -> float:
        """Relative cost, for the estimate of the remaining time: parameters times positions trained on."""
        examples = self.facts.train_examples * self.training.train_fraction
        positions = (self.training.max_length or 0) * examples * self.training.epochs
        return self.trainable_parameters * positions

    def identity(self) -> PlanRow:
        """The run's row of the plan; its columns are the first ones of the run's own row, too."""
        return {
            "run_id": self.run_id,
            "setting_id": self.setting_id,
            "study": self.study,
            "model": self.model,
            "dataset": self.data.name,
            "init": self.init,
            "corpus": self.pretraining.corpus if self.pretraining else None,
            "pretraining_seed": self.pretraining.seed if self.pretraining else None,
            "seed": self.seed,
            "epochs": self.training.epochs,
            "trainable_parameters": self.trainable_parameters,
        }


@dataclass(frozen=True)
class Trial:
    """What Tune schedules: one or more runs that are trained as one model (`stacked`)."""

    runs: tuple[RunSpec, ...]

    @property
    def trial_id(self) -> str:
        return self.runs[0].run_id  # a run is in one trial only

    def config(self) -> dict[str, Any]:
        """The trial's configuration for Tune: `run_ids` for the worker, the rest for trackers."""
        first = self.runs[0]
        pretraining_seeds = (run.pretraining.seed for run in self.runs if run.pretraining is not None)
        return {
            "run_ids": [run.run_id for run in self.runs],
            "dataset": first.data.name,
            "model": first.model,
            "init": first.init,
            "epochs": first.training.epochs,
            "seeds": "-".join(str(run.seed) for run in self.runs),
            "pretraining_seeds": "-".join(str(seed) for seed in pretraining_seeds if seed is not None),
        }


def stacked(runs: Iterable[RunSpec], most: Callable[[RunSpec], int]) -> list[Trial]:
    """Group runs into trials of at most `most(run)` runs and nearly equal size, in the order of their first runs.

    The runs of a trial differ in their seed, and in the pretraining that they start from if the study makes it. Weights
    from elsewhere may hold other position features, which a stack has once: such runs share a trial only with runs that
    start from the same weights.
    """
    cells: dict[tuple[str, str, str | None, int], list[RunSpec]] = {}
    place = {}
    for number, run in enumerate(runs):
        place[run.run_id] = number
        elsewhere = run.pretraining is not None and not run.pretraining.is_made_here
        key = run.weights_key if elsewhere else None
        cells.setdefault((run.setting_id, run.init, key, most(run)), []).append(run)
    trials = []
    for (*_, size), members in cells.items():
        number = -(-len(members) // size)
        bounds = [len(members) * place // number for place in range(number + 1)]
        trials += [Trial(tuple(members[first:last])) for first, last in itertools.pairwise(bounds)]
    return sorted(trials, key=lambda trial: place[trial.trial_id])


def data_spec(study: Study, name: str, data_dir: Path | None) -> DataSpec:
    """Look a name up among the study's data sets first, then the synthetic tasks, then the official data sets."""
    source = study.datasets.get(name)
    synthetic = study.synthetic if source is None and name in TASKS else None
    return DataSpec(name, source, synthetic, data_dir)


@lru_cache(maxsize=4)
def load_data(spec: DataSpec) -> Dataset:
    """Load a data set; the last four stay loaded, those on disk as memory maps."""
    if spec.synthetic is not None:
        return synthetic_dataset(spec.name, spec.synthetic)
    return load_dataset(spec.name, spec.source, spec.data_dir)


def facts_of(dataset: Dataset) -> DataFacts:
    """Collect what the plan needs to know about a data set."""
    return DataFacts(
        digest=dataset.digest,
        classes=dataset.classes,
        class_counts=tuple(np.bincount(dataset.train.labels, minlength=len(dataset.classes)).tolist()),
        longest=dataset.longest,
        validation_examples=len(dataset.validation) if dataset.validation is not None else 0,
        test_examples=len(dataset.test),
    )


def plan(
    study: Study, data: Mapping[str, tuple[DataSpec, DataFacts]], weights: Mapping[PretrainingId, str]
) -> list[RunSpec]:
    """All runs of a study on known data sets, fewest epochs first, the arms of a pair side by side.

    Points of the grid that mean the same run (`merged_points`) are planned once.

    Args:
        data: specification and facts of each data set; points on other data sets are left out.
        weights: key of the weights of each of the study's pretrainings.

    Raises InputError where a model's l_max is smaller than the input, or a data set cannot be split as requested.
    """
    runs: dict[str, RunSpec] = {}
    recipes = _recipes(study, data)
    for point in study.points():
        if point.dataset in data:
            spec, facts = data[point.dataset]
            run = _run(study, point, spec, facts, recipes[_recipe_key(point)], weights)
            runs.setdefault(run.run_id, run)
    cuts = ((run.data.name, run.training.split, run.training.validation_fraction) for run in runs.values())
    for name, rule, fraction in dict.fromkeys(cuts):
        require_splits(*data[name], rule, fraction, study.split_seed)
    return list(runs.values())


def merged_points(study: Study, data: Mapping[str, tuple[DataSpec, DataFacts]]) -> list[str]:
    """Values of the grid that mean the same run on a data set: one line for each group, shown with the plan.

    Only values of max_length can: two that are both longer than every sequence cut none.
    """
    if "max_length" not in study.vary:
        return []
    place = list(study.vary).index("max_length")
    lengths: dict[tuple[str, TrainingConfig], set[int]] = {}
    for (name, _, varied), training in _recipes(study, data).items():
        lengths.setdefault((name, training), set()).add(varied[place])
    merged = dict.fromkeys((name, tuple(sorted(same))) for (name, _), same in lengths.items() if len(same) > 1)
    return [
        f"max_length {', '.join(map(str, values[:-1]))} and {values[-1]} are the same for data set '{name}' "
        f"(longest sequence {data[name][1].longest}): planned once"
        for name, values in merged
    ]


def require_splits(spec: DataSpec, facts: DataFacts, rule: SplitRule, fraction: float, split_seed: int) -> None:
    """InputError where a data set cannot be split as requested, or has more classes than can be stored.

    The rule "regroup" depends on the sequences themselves; it is tried here if they are on this machine.

    Args:
        fraction: share of the training split held out for validation where the data set has no validation split.
    """
    fault = None
    if facts.num_classes > MOST_CLASSES:
        fault = f"{facts.num_classes} classes; it must have at most {MOST_CLASSES}. Is its label column the right one?"
    elif not facts.validation_examples and rule == "official":
        fault = too_rare(facts.classes, facts.class_counts, fraction)
    if fault is not None:
        raise InputError(f"data set '{spec.name}'{_place(spec)}: {fault}")
    if rule == "regroup" and (spec.synthetic or is_present(spec.name, spec.source, spec.data_dir)):
        regroup(load_data(spec), split_seed, validation_fraction=fraction)


def _place(spec: DataSpec) -> str:
    """The path of a data set in brackets; empty for a synthetic one."""
    if spec.synthetic is not None:
        return ""
    path = spec.source.path if spec.source is not None else None
    return f" ({path or (spec.data_dir or default_data_dir()) / spec.name})"


#: What the training of a point depends on: the data set, the epochs, and the values that vary.
RecipeKey = tuple[str, int, tuple[Any, ...]]


def _recipe_key(point: Point) -> RecipeKey:
    return point.dataset, point.epochs, point.varied


def _recipes(study: Study, data: Mapping[str, tuple[DataSpec, DataFacts]]) -> dict[RecipeKey, TrainingConfig]:
    """The recipes of a study's runs, with max_length resolved to what the data set's sequences need."""
    recipes = {}
    for key in dict.fromkeys(map(_recipe_key, study.points())):
        name, epochs, varied = key
        if name in data:
            training = study.recipe(epochs, varied)
            recipes[key] = dataclasses.replace(training, max_length=training.input_length(data[name][1].longest))
    return recipes


def _run(
    study: Study,
    point: Point,
    spec: DataSpec,
    facts: DataFacts,
    training: TrainingConfig,
    weights: Mapping[PretrainingId, str],
) -> RunSpec:
    """The run at one point of the grid."""
    config = study.model(point.model)
    if (training.max_length or 0) > config.l_max:
        raise InputError(
            f"data set '{spec.name}': its sequences are padded to {training.max_length}, but the model "
            f"'{point.model}' takes at most {config.l_max}; set training.max_length"
        )
    setting = {
        "result_version": RESULT_VERSION,
        "model": point.model,
        "config": numbers_of(config),
        "dataset": spec.name,
        "data": facts.digest,
        "training": dataclasses.asdict(training),
        "split_seed": study.split_seed,
    }
    key = weights[point.pretraining] if point.pretraining else None
    return RunSpec(
        run_id=digest_of({**setting, "init": point.init, "weights": key, "seed": point.seed}),
        setting_id=digest_of(setting),
        study=study.name,
        model=point.model,
        config=config,
        data=spec,
        facts=facts,
        init=point.init,
        pretraining=point.pretraining,
        weights_key=key,
        seed=point.seed,
        split_seed=study.split_seed,
        training=training,
        trainable_parameters=_parameters(config, facts.num_classes),
    )


def numbers_of(config: HyenaConfig) -> dict[str, Any]:
    """The values of a size that the results depend on."""
    return {name: value for name, value in dataclasses.asdict(config).items() if name != "checkpoint_activations"}


def digest_of(values: dict[str, Any]) -> str:
    """16 hexadecimal digits of the SHA-256 of canonical JSON."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


@cache
def _parameters(config: HyenaConfig, num_classes: int) -> int:
    return trainable_parameters(without_memory(config, num_classes))
