"""A scenario: what is true of a simulated study; the true values of what a report estimates; its plan and runs.

Axis letters: D data sets, M models. Next: `tests/support/study_scenarios.py` for the scenarios,
`tests/support/simulated_studies.py` for the draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from sweep.schema import FROM_WEIGHTS, PLAN, RUNS
from tests.support.synthetic_results import Truth, run_row

Floats = NDArray[np.float64]
#: A value for all cells, one a model, or one a data set and model.
OfCells = float | tuple[float, ...] | tuple[tuple[float, ...], ...]

#: Trainable parameters of seven sizes.
SIZES = (100_000, 200_000, 400_000, 800_000, 1_600_000, 3_200_000, 6_400_000)
#: Accuracy of the scratch arm without noise, in percent: from the first data set to the last.
LEVELS = (60.0, 75.0)
EPOCHS_OF_A_RUN = 2


@dataclass(frozen=True)
class TestSets:
    """Test splits that are drawn anew for each study, one a data set.

    sizes: numbers of examples. errors: error of the scratch arm over all possible examples. separating: the share of
    examples, relative to the error, that one arm always classifies correctly and the other never.
    """

    __test__ = False  # no test class
    sizes: tuple[int, ...]
    errors: tuple[float, ...]
    separating: float = 0.3


@dataclass(frozen=True)
class Scenario:
    """What is true of a study, in percentage points of test accuracy.

    benefit: true benefit of each cell. spread: standard deviation of a run. pairs: seeds that are done in a cell; 0 for
    a cell that is missing. luck: standard deviation of what one pretraining of a size adds to its benefit on all data
    sets. seed_share: share of the variance of a difference that all data sets of a size and seed have in common.
    collapse: probability that a scratch run of the largest size ends at chance; the truth leaves such runs out, unless
    collapses_count. shared_by_arms: standard deviation of the seed's effect on a cell, which all arms share, relative
    to the spread. tau: standard deviation between data sets of the benefit. tau_growth: the same of the growth over the
    range of sizes. looks: numbers of seeds at which the verdicts are read. arms: each arm and its share in the benefit.
    """

    name: str
    about: str
    datasets: int = 9
    parameters: tuple[int, ...] = SIZES
    seeds: int = 5
    benefit: OfCells = 0.0
    spread: OfCells = 0.45
    pairs: OfCells | None = None
    luck: float = 0.0
    pretrainings: int = 1
    design: str = "nested"
    seed_share: float = 0.0
    collapse: float = 0.0
    collapses_count: bool = False
    shared_by_arms: float = 0.5
    tau: float = 0.0
    tau_growth: float = 0.0
    test_sets: TestSets | None = None
    looks: tuple[int, ...] = ()
    margin: float = 0.5
    arms: tuple[tuple[str, float], ...] = (("pretrained", 1.0), ("scratch", 0.0))

    @property
    def models(self) -> list[str]:
        return [f"model-{index + 1}" for index in range(len(self.parameters))]

    @property
    def dataset_names(self) -> list[str]:
        return [f"data-{index + 1}" for index in range(self.datasets)]

    @property
    def position(self) -> Floats:
        """log10(parameters) of each model."""
        return np.log10(self.parameters)

    @property
    def reach(self) -> float:
        """Range of log10(parameters)."""
        return float(np.ptp(self.position))

    @property
    def levels(self) -> Floats:
        if self.test_sets is not None:
            return 100 * (1 - np.array(self.test_sets.errors))
        return np.linspace(*LEVELS, self.datasets)

    def cells(self, values: OfCells) -> Floats:
        """Values of all cells, of shape (D, M)."""
        return np.broadcast_to(np.asarray(values, float), (self.datasets, len(self.parameters)))

    @property
    def pairs_of_cells(self) -> Floats:
        return self.cells(self.seeds if self.pairs is None else self.pairs)


@dataclass(frozen=True)
class Contrasts:
    """Weights over cells, each of shape (D, M), of what a report estimates: the truth is their sum with the benefits.

    overall: the mean over cells. growth: the slope on log10(parameters), with an intercept for each data set, over the
    data sets that have two sizes; times the range of log10(parameters). sizes: the mean over data sets, by parameters.
    """

    overall: Floats
    growth: Floats
    sizes: dict[int, Floats]


@cache
def contrasts(scenario: Scenario) -> Contrasts:
    present = (scenario.pairs_of_cells > 0).astype(float)
    x = np.broadcast_to(scenario.position, present.shape)
    centred = present * (x - (x * present).sum(1, keepdims=True) / present.sum(1, keepdims=True))
    squares = (centred**2).sum()
    growth = scenario.reach * centred / squares if squares > 0 else np.zeros_like(centred)
    at = np.array(scenario.parameters)
    sizes = {size: present * (at == size) for size in sorted(set(scenario.parameters))}
    return Contrasts(present / present.sum(), growth, {size: one / one.sum() for size, one in sizes.items()})


@dataclass(frozen=True)
class Layout:
    """What all studies of a scenario have in common: the plan, and the runs without their scores.

    The arrays have one value a run: indices of its data set, model, seed and pretraining (0 where it has none), and its
    arm's share in the benefit.
    """

    plan: pl.DataFrame
    runs: pl.DataFrame
    dataset: NDArray[np.int64]
    model: NDArray[np.int64]
    seed: NDArray[np.int64]
    pretraining: NDArray[np.int64]
    share: Floats

    @cached_property
    def is_scratch(self) -> NDArray[np.bool_]:
        return (self.runs["init"] == "scratch").to_numpy()


@cache
def layout(scenario: Scenario) -> Layout:
    rows = plan_rows(scenario)
    done = [row for row in rows if row["_is_done"]]
    sizes = scenario.test_sets.sizes if scenario.test_sets else [400] * scenario.datasets
    records = [run_row(Truth(test_examples=sizes[row["_d"]]), row, 0.5, failed=False) | _weights(row) for row in done]
    places = {name: np.array([row[f"_{name}"] for row in done]) for name in ("d", "m", "k", "p", "share")}
    return Layout(
        plan=frame(rows, PLAN),
        runs=frame(records, RUNS),
        dataset=places["d"],
        model=places["m"],
        seed=places["k"],
        pretraining=places["p"],
        share=places["share"],
    )


def plan_rows(scenario: Scenario) -> list[dict[str, Any]]:
    """One row a run: the identity columns, and under `_` the indices of its data set, model, seed and pretraining."""
    rows, done = [], scenario.pairs_of_cells
    for d, dataset in enumerate(scenario.dataset_names):
        for m, model in enumerate(scenario.models):
            for init, share in scenario.arms:
                for k in range(scenario.seeds):
                    for p in _pretrainings(scenario, init, k):
                        setting = f"{model}-{dataset}"
                        weights = "" if p is None else f"-{p + 1}"
                        rows.append(
                            {
                                "run_id": f"{setting}-{init}-{k + 1}{weights}",
                                "setting_id": setting,
                                "study": scenario.name,
                                "model": model,
                                "dataset": dataset,
                                "init": init,
                                "corpus": None if p is None else "synthetic",
                                "pretraining_seed": None if p is None else p + 1,
                                "seed": k + 1,
                                "epochs": EPOCHS_OF_A_RUN,
                                "trainable_parameters": scenario.parameters[m],
                                "_learning_rate": 6e-4,
                                "_is_done": k < done[d, m],
                                "_d": d,
                                "_m": m,
                                "_k": k,
                                "_p": p or 0,
                                "_share": share,
                            }
                        )
    return rows


def _pretrainings(scenario: Scenario, init: str, seed: int) -> list[int | None]:
    """Indices of the pretrainings that a seed of an arm is run with; None for an arm without weights."""
    if init not in FROM_WEIGHTS:
        return [None]
    return list(range(scenario.pretrainings)) if scenario.design == "crossed" else [seed % scenario.pretrainings]


def _weights(row: dict[str, Any]) -> dict[str, Any]:
    """The digest of the weights, and those columns of their provenance that the table of runs has."""
    provenance = {name: row[name] for name in ("corpus", "pretraining_seed") if name in RUNS.names}
    digest = None if row["corpus"] is None else f"weights-of-{row['model']}-{row['pretraining_seed']}"
    return provenance | {"weights_digest": digest}


def frame(rows: list[dict[str, Any]], schema: pa.Schema) -> pl.DataFrame:
    found = pl.from_arrow(pa.Table.from_pylist(rows, schema))
    assert isinstance(found, pl.DataFrame)
    return found
