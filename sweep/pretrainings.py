"""The pretrainings of a study: which sets of weights there are for each size, and which run starts from which.

A pretraining is one set of weights of a size. One size needs several of them before its results say anything about
pretraining in general: seeds of fine-tuning repeat what follows the weights, not the weights. The tables [pretraining]
and [weights] of a study file say which there are, and `[grid] design` which run starts from which. Next:
`study_weights.py`, where their tensors come from; `pretraining_jobs.py`, which makes them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hyena.errors import InputError, shown
from hyena.ranges import Seed
from hyena.training.pretraining import PretrainingConfig
from sweep.formatting import pretraining_name
from sweep.toml_reader import build, checked, require_axis, resolved_path

#: How the seeds of a cell and the pretrainings of its size go together.
Design = Literal["nested", "crossed"]
#: Values of `corpus` for weights that the study does not make: found by the model's name, or named in [weights.paths].
PUBLISHED_WEIGHTS, FILES = "published", "files"
#: FASTA files that a corpus is named after; further ones are counted.
NAMED_FILES = 3


@dataclass(frozen=True)
class PretrainingId:
    """Which pretraining of which size.

    Attributes:
        corpus: what the weights were trained on: "synthetic" or the names of FASTA files; `FILES` or
            `PUBLISHED_WEIGHTS` where the study does not make them.
        seed: of the pretraining; the position in its list, from 1, for a file of [weights.paths]; None for published
            weights.
    """

    model: str
    corpus: str
    seed: int | None

    @property
    def name(self) -> str:
        """The model, and the seed or the number of the file."""
        return pretraining_name(self.model, self.seed, self.corpus == FILES)

    @property
    def is_made_here(self) -> bool:
        """Whether the study makes the weights itself."""
        return self.corpus not in (PUBLISHED_WEIGHTS, FILES)


@dataclass(frozen=True)
class Pretraining:
    """How the study pretrains its own weights.

    Attributes:
        corpus: "synthetic", or the paths of FASTA files.
        seeds: one pretraining of each size for each of them.
        config: everything else; its own seed counts for nothing.
    """

    corpus: str | tuple[str, ...]
    seeds: tuple[Seed, ...]
    config: PretrainingConfig

    @property
    def corpus_name(self) -> str:
        """The column `corpus` of the result tables."""
        if isinstance(self.corpus, str):
            return self.corpus
        names = [Path(path).name for path in self.corpus]
        more = [f"{len(names) - NAMED_FILES} more"] if len(names) > NAMED_FILES else []
        return " + ".join([*names[:NAMED_FILES], *more])

    def config_of(self, pretraining: PretrainingId) -> PretrainingConfig:
        """The values of one of the study's pretrainings, with its seed."""
        assert pretraining.seed is not None
        return dataclasses.replace(self.config, seed=pretraining.seed)


@dataclass(frozen=True)
class Weights:
    """The weights that the pretrained arms start from, where the study does not make its own.

    Attributes:
        revision: branch, tag or commit of the hub's repositories; None is their main branch.
        paths: files or folders of weights by the model's name, one for each pretraining; take precedence over weights
            that are found by name.
    """

    revision: str | None = None
    paths: dict[str, tuple[Path, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.revision is not None and not self.revision.strip():
            raise InputError("revision is empty: it must name a branch, a tag or a commit")
        for name, paths in self.paths.items():
            require_axis(tuple(map(str, paths)), f"paths.{name}")

    def path_of(self, pretraining: PretrainingId) -> Path | None:
        """The file or folder that the study names for a pretraining; None where its weights are found by name."""
        if pretraining.corpus != FILES:
            return None
        assert pretraining.seed is not None
        return self.paths[pretraining.model][pretraining.seed - 1]


def pretrainings_of(model: str, own: Pretraining | None, weights: Weights) -> list[PretrainingId]:
    """The pretrainings that a study names for a size, in its order."""
    if own is not None:
        return [PretrainingId(model, own.corpus_name, seed) for seed in own.seeds]
    if model in weights.paths:
        return [PretrainingId(model, FILES, place) for place in range(1, len(weights.paths[model]) + 1)]
    return [PretrainingId(model, PUBLISHED_WEIGHTS, None)]


def of_seed(design: Design, place: int, pretrainings: Sequence[PretrainingId]) -> Sequence[PretrainingId]:
    """The pretrainings from which the seed at a place of `grid.seeds` starts: one of them, or each.

    >>> some = [PretrainingId("m", "synthetic", seed) for seed in (7, 8)]
    >>> [[one.seed for one in of_seed("nested", place, some)] for place in range(3)]
    [[7], [8], [7]]
    >>> [one.seed for one in of_seed("crossed", 2, some)]
    [7, 8]
    """
    return pretrainings if design == "crossed" else [pretrainings[place % len(pretrainings)]]


# ------------------------------------------------------------------------------------------- the tables of a study file


def read_pretraining(table: dict[str, Any], folder: Path) -> Pretraining:
    """The table [pretraining]. Raises InputError; paths are relative to `folder`."""
    if "seed" in table:
        raise InputError(f"pretraining: unknown key 'seed'; write seeds = [{shown(table['seed'])}], with one or more")
    seeds = checked(tuple[Seed, ...], table.get("seeds", [0]), "pretraining.seeds")
    require_axis(seeds, "pretraining.seeds")
    corpus = _corpus(table, folder)
    rest = {key: value for key, value in table.items() if key not in ("corpus", "seeds")}
    return Pretraining(corpus, seeds, build(PretrainingConfig, rest, "pretraining"))


def _corpus(table: dict[str, Any], folder: Path) -> str | tuple[str, ...]:
    if "corpus" not in table:
        raise InputError('pretraining: corpus is missing; it must be "synthetic", or a list of FASTA files')
    corpus = table["corpus"]
    if corpus == "synthetic":
        return "synthetic"
    if not isinstance(corpus, list):
        raise InputError(f'pretraining.corpus = {shown(corpus)}: it must be "synthetic", or a list of FASTA files')
    named = checked(tuple[str, ...], corpus, "pretraining.corpus")
    paths = tuple(str(resolved_path(path, folder, "pretraining.corpus")) for path in named)
    if not paths:
        raise InputError("pretraining.corpus is empty: it must name at least one FASTA file")
    for path in paths:
        if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises an error where a folder may not be entered
            raise InputError(f"pretraining.corpus: no file {shown(path)}")
    return paths


def read_weights(table: dict[str, Any], folder: Path) -> Weights:
    """The table [weights]. Raises InputError; paths are relative to `folder`."""
    paths = table.get("paths", {})
    if not isinstance(paths, dict):
        return build(Weights, table, "weights")  # which says what is wrong
    listed = {}
    for name, value in paths.items():
        where = f"weights.paths.{name}"
        if not isinstance(value, str | list):
            raise InputError(f"{where} = {shown(value)}: it must be a path, or a list of paths")
        values = checked(tuple[str, ...], [value] if isinstance(value, str) else value, where)
        listed[name] = [str(resolved_path(path, folder, where)) for path in values]
    return build(Weights, {**table, "paths": listed}, "weights")
