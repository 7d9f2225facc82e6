"""Studies that never ran, drawn from a known truth: what the coverage of the intervals is measured on.

Test accuracy of a run, in percentage points = level of its data set
    + share of its arm in the benefit × (benefit of the cell + luck of the pretraining + effect of the seed on its size)
    + effect of the seed on the cell, which all arms share + noise of the run.
Where the test examples are a sample, the accuracy is counted over examples instead: some always separate the arms, some
are a coin toss in every run. Axis letters: D data sets, M models. Next: `tests/support/scenario.py` for the truth,
`tests/support/simulated_folders.py` for the same studies as files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis.results import Results
from sweep.schema import EPOCHS, PRETRAINING
from tests.support.scenario import Floats, Scenario, contrasts, frame, layout
from tests.support.synthetic_results import scores

#: Accuracy of a run that has collapsed, in percent.
CHANCE = 50.0


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
        return Results(
            self.scenario.name, study_record(self.scenario), plan, runs, frame([], EPOCHS), frame([], PRETRAINING)
        )


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
    noise = scenario.shared_by_arms * of_cell + (1 - scenario.seed_share) ** 0.5 * rng.normal(size=len(spread))
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
    """Examples of one data set that each run of an arm has wrong, of shape (2, M): the control first."""
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
