"""Studies that never ran, drawn from a known truth: what the coverage of the intervals is measured on.

Test accuracy of a run, in percentage points = level of its data set
    + share of its arm in the benefit × (benefit of the cell + luck of the pretraining + effect of the seed on its size)
    + effect of the seed on the cell, which all arms share + noise of the run.
Where the test examples are a sample, the accuracy is counted over examples instead: some always separate the arms, some
are a coin toss in every run. Axis letters: D data sets, M models. Next: `tests/support/study_scenarios.py` for the
truths, `tests/support/simulated_folders.py` for the same studies as files.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from analysis.results import Results
from sweep.schema import EPOCHS, FROM_WEIGHTS, PLAN, PRETRAINING, RUNS
from tests.support.synthetic_results import Truth, run_row, scores

Floats = NDArray[np.float64]
#: A value for all cells, one a model, or one a data set and model.
OfCells = float | tuple[float, ...] | tuple[tuple[float, ...], ...]

#: Trainable parameters of seven sizes.
SIZES = (100_000, 200_000, 400_000, 800_000, 1_600_000, 3_200_000, 6_400_000)
#: Accuracy of the scratch arm without noise, in percent: from the first data set to the last.
LEVELS = (60.0, 75.0)
#: Accuracy of a run that has collapsed, in percent.
CHANCE = 50.0
#: Standard deviation of the seed's effect on a cell, relative to that of a run's own noise.
PAIR_SD = 0.5
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
    collapses_count. tau: standard deviation between data sets of the benefit. tau_growth: the same of the growth over
    the range of sizes. looks: numbers of seeds at which the verdicts are read. arms: each arm and its share in the
    benefit.
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
class Study:
    """One draw. benefit: the true benefit of each cell for the data sets of the study, of shape (D, M).

    accuracy: a fraction for each row of `layout(scenario).runs`. examples: for each data set with a sampled test
    split, the number of its examples of each kind (see `_kinds`).
    """

    scenario: Scenario
    benefit: Floats
    accuracy: Floats
    examples: tuple[NDArray[np.int64], ...] = ()

    @property
    def overall(self) -> float:
        return float((contrasts(self.scenario).overall * self.benefit).sum())

    @property
    def growth(self) -> float:
        return float((contrasts(self.scenario).growth * self.benefit).sum())

    @property
    def sizes(self) -> dict[int, float]:
        """Number of parameters → mean benefit of the models that have so many."""
        weights = contrasts(self.scenario).sizes
        return {size: float((one * self.benefit).sum()) for size, one in weights.items()}

    @property
    def cells(self) -> dict[tuple[str, str], float]:
        """Data set, model → benefit."""
        names, models = self.scenario.dataset_names, self.scenario.models
        return {(names[d], models[m]): float(value) for (d, m), value in np.ndenumerate(self.benefit)}

    @property
    def overall_random(self) -> float:
        """Mean benefit over all data sets that there could be."""
        expected = self.scenario.cells(self.scenario.benefit) + collapsed(self.scenario)
        return float((contrasts(self.scenario).overall * expected).sum())

    def results(self, seeds: int | None = None) -> Results:
        """As `analysis.results.load` would return them, without epochs; of the first seeds alone, if so asked."""
        rows = layout(self.scenario)
        runs = rows.runs.with_columns(pl.Series("test_accuracy", self.accuracy)).with_columns(
            **{name: one for name, one in scores(pl.col("test_accuracy")).items() if name in rows.runs.columns}
        )
        plan = rows.plan
        if seeds is not None:
            runs, plan = runs.filter(pl.col("seed") <= seeds), plan.filter(pl.col("seed") <= seeds)
        return Results(self.scenario.name, study_record(self.scenario), plan, runs, _empty(EPOCHS), _empty(PRETRAINING))


def study_record(scenario: Scenario) -> dict[str, Any]:
    """What stands in study.json."""
    analysis = {"margin": scenario.margin, "epochs": None, "looks": max(1, len(scenario.looks))}
    return {"name": scenario.name, "description": scenario.about, "analysis": analysis}


def draw(scenario: Scenario, rng: np.random.Generator) -> Study:
    """A study of this truth."""
    datasets, models = scenario.datasets, len(scenario.parameters)
    middle = (scenario.position - scenario.position.mean()) / max(scenario.reach, 1e-9)
    between = (
        scenario.tau * rng.normal(size=(datasets, 1)) + scenario.tau_growth * rng.normal(size=(datasets, 1)) * middle
    )
    benefit = scenario.cells(scenario.benefit) + between
    rows = layout(scenario)
    if scenario.test_sets is not None:
        return _on_sampled_examples(scenario, benefit, rng)
    cell, spread = (rows.dataset, rows.model), scenario.cells(scenario.spread)[rows.dataset, rows.model]
    luck = scenario.luck * rng.normal(size=(models, scenario.pretrainings))
    of_size = rng.normal(size=(models, scenario.seeds))[rows.model, rows.seed]
    of_cell = rng.normal(size=(datasets, models, scenario.seeds))[*cell, rows.seed]
    effect = benefit[cell] + luck[rows.model, rows.pretraining] + (2 * scenario.seed_share) ** 0.5 * spread * of_size
    noise = PAIR_SD * of_cell + (1 - scenario.seed_share) ** 0.5 * rng.normal(size=len(spread))
    points = scenario.levels[rows.dataset] + rows.share * effect + spread * noise
    if scenario.collapse:
        exposed = rows.is_scratch & (rows.model == np.argmax(scenario.parameters))
        points = np.where(exposed & (rng.random(len(points)) < scenario.collapse), CHANCE, points)
    return Study(scenario, benefit + collapsed(scenario), points / 100)


def collapsed(scenario: Scenario) -> Floats:
    """What collapses add to the expected benefit of each cell, of shape (D, M); 0 unless the scenario counts them."""
    added = np.zeros((scenario.datasets, len(scenario.parameters)))
    if scenario.collapses_count:
        added[:, np.argmax(scenario.parameters)] = scenario.collapse * (scenario.levels - CHANCE)
    return added


# ------------------------------------------------------------------------------------------------------------ examples


def edges(benefit: Floats, separating: float) -> tuple[Floats, Floats]:
    """Of one data set's examples, the shares that only the treated arm and only the control has right, by model.

    benefit: a fraction for each model. The models' shares are nested, so the sizes of a study share their examples.
    """
    return (separating + benefit) / 2, (separating - benefit) / 2


def _kinds(benefit: Floats, error: float, relative: float) -> Floats:
    """Shares of the kinds of examples of one data set.

    In order: those that only the treated arm has right, cut where a model's share ends; those that only the control has
    right, cut likewise; those that are a coin toss in every run; those that every run has right.
    """
    only_treated, only_control = edges(benefit, relative * error)
    tossed = 2 * error - relative * error
    cut = [np.diff(np.concatenate([[0.0], np.unique(one)])) for one in (only_treated, only_control)]
    shares = np.concatenate([*cut, [tossed]])
    return np.append(shares, 1 - shares.sum())


def always_wrong(benefit: Floats, separating: float, kinds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Examples of one data set that every run of an arm has wrong, of shape (2, M): the control's, the treated arm's."""
    found, first = [], 0
    for share in edges(benefit, separating):
        limits = np.unique(share)
        counts = np.cumsum(kinds[first : first + len(limits)])
        found.append(counts[np.searchsorted(limits, share)])
        first += len(limits)
    return np.array(found)


def _on_sampled_examples(scenario: Scenario, benefit: Floats, rng: np.random.Generator) -> Study:
    """A study whose runs differ in their coin tosses alone, and whose test splits are drawn anew."""
    assert scenario.test_sets is not None
    sets, rows = scenario.test_sets, layout(scenario)
    accuracy, examples = np.empty(len(rows.model)), []
    for d, (size, error) in enumerate(zip(sets.sizes, sets.errors, strict=True)):
        kinds = rng.multinomial(size, _kinds(benefit[d] / 100, error, sets.separating))
        wrong = always_wrong(benefit[d] / 100, sets.separating * error, kinds)
        of_set = rows.dataset == d
        of_arm = wrong[(rows.share[of_set] > 0.5).astype(int), rows.model[of_set]]
        accuracy[of_set] = 1 - (of_arm + rng.binomial(kinds[-2], 0.5, of_set.sum())) / size
        examples.append(kinds)
    return Study(scenario, benefit, accuracy, tuple(examples))


# -------------------------------------------------------------------------------------------------------------- layout


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
        plan=_frame(rows, PLAN),
        runs=_frame(records, RUNS),
        dataset=places["d"],
        model=places["m"],
        seed=places["k"],
        pretraining=places["p"],
        share=places["share"],
    )


def plan_rows(scenario: Scenario) -> list[dict[str, Any]]:
    """One row a run: the identity columns, and under `_` the indices of its data set, model, seed and pretraining."""
    rows = []
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
                                "_is_done": k < scenario.pairs_of_cells[d, m],
                                **{"_d": d, "_m": m, "_k": k, "_p": p or 0, "_share": share},
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


def _frame(rows: list[dict[str, Any]], schema: pa.Schema) -> pl.DataFrame:
    found = pl.from_arrow(pa.Table.from_pylist(rows, schema))
    assert isinstance(found, pl.DataFrame)
    return found


def _empty(schema: pa.Schema) -> pl.DataFrame:
    return _frame([], schema)
