"""The random streams of a study's runs: shared by the arms of a pair, and by no two cells."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import hyena.model.hyenadna
import hyena.training.loop
import hyena.training.seed_state
from hyena.model.hyenadna import LanguageModel, initialise
from hyena.randomness import stream
from hyena.training.loop import PreparedData
from sweep.group import Group
from sweep.store import Store
from sweep.study import load_study
from sweep.study_weights import put
from sweep.trials import RunSpec, data_spec, facts_of, load_data, plan

CPU = torch.device("cpu")
#: The study of one cell and two seeds, in which "twin" is another size only by its name.
ONE_CELL = (
    'grid.models=["small"]', "grid.epochs=[1]", "grid.seeds=[1, 2]", "training.batching=like_length",
    "models.twin.d_model=8", "models.twin.n_layer=1", "models.twin.l_max=130",
    'grid.init=["pretrained", "scratch", "shuffled", "frozen"]',
)  # fmt: skip
#: Lists that make two cells of it.
TWO_CELLS = (
    'grid.models=["small", "twin"]',
    'grid.datasets=["synthetic_tracts", "synthetic_diverged_tracts"]',
    "grid.epochs=[1, 2]",
    "grid.learning_rate=[1e-3, 1e-4]",
    "grid.train_fraction=[0.5, 1.0]",
)
SHARED = {"head", "order", "augmentation", "dropout"}

Draws = dict[str, tuple[float, ...]]


def planned(path: Path, *overrides: str) -> list[RunSpec]:
    study = load_study(path, (*ONE_CELL, *overrides))
    specs = {name: data_spec(study, name, None) for name in study.grid.datasets}
    data = {name: (spec, facts_of(load_data(spec))) for name, spec in specs.items()}
    return plan(study, data, dict.fromkeys(study.pretrainings, "weights"))


@pytest.fixture
def draws_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[RunSpec], Draws]:
    """Makes a run, takes its first step, and returns the first draws of each stream that it made, by name."""
    store, drawn = Store(str(tmp_path / "results")), Draws()

    def recorded(seed: int, name: str, *arguments: Any, **options: Any) -> torch.Generator:
        drawn[name] = tuple(torch.rand(4, generator=stream(seed, name, *arguments, **options)).tolist())
        return stream(seed, name, *arguments, **options)

    for module in (hyena.model.hyenadna, hyena.training.loop, hyena.training.seed_state):
        monkeypatch.setattr(module, "stream", recorded)

    def draws_of(run: RunSpec) -> Draws:
        weights = LanguageModel(run.config)
        initialise(weights, 0)
        put(store, "weights", weights.backbone, run.config)
        drawn.clear()
        data = PreparedData.of(load_data(run.data), run.training, run.split_seed, CPU)
        Group([run], data, store, CPU, pause=lambda: True).advance()
        return dict(drawn)

    return draws_of


def test_arms_of_a_pair_share_every_stream(path: Path, draws_of: Callable[[RunSpec], Draws]) -> None:
    runs = planned(path)
    assert len(runs) == 2 * 4
    by_seed: dict[int, list[Draws]] = {1: [], 2: []}
    for run in runs:
        drawn = draws_of(run)
        assert drawn.keys() == SHARED | {"backbone", "turn"} | ({"shuffle"} if run.init == "shuffled" else set())
        by_seed[run.seed].append({name: draw for name, draw in drawn.items() if name != "shuffle"})
    for arms in by_seed.values():
        assert all(arm == arms[0] for arm in arms)
    one, other = by_seed[1][0], by_seed[2][0]
    assert {name for name in one if one[name] == other[name]} == {"turn"}  # which a stack has once


@pytest.mark.parametrize("axis", TWO_CELLS)
def test_two_cells_share_no_stream(path: Path, draws_of: Callable[[RunSpec], Draws], axis: str) -> None:
    runs = [run for run in planned(path, axis) if (run.init, run.seed) == ("shuffled", 1)]
    assert len(runs) == 2
    one, other = map(draws_of, runs)
    assert len(one) == len(other) == 7
    assert not set(one.values()) & set(other.values())
