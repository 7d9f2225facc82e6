"""Paired tests over test examples: could other test examples have changed the sign of a cell's benefit?

The trained models are given and the test examples are the sample, unlike in the estimates, whose sample is the seeds.
Predictions are read a few cells at a time. Next: `analysis/page/robustness_section.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from analysis.results import Problem, Results
from analysis.statistics.pairs import Comparison
from sweep.ended_runs import rows_of_runs
from sweep.result_tables import READ_ERRORS, UNREADABLE
from sweep.schema import PREDICTIONS

Array = NDArray[np.float64]

#: Rows of predictions held in memory at once.
_BATCH_ROWS = 2_000_000

_SCHEMA = pl.Schema(
    {
        "dataset": pl.String,
        "size": pl.String,
        "n": pl.Int64,
        "effect": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "p_value": pl.Float64,
        "p_mcnemar": pl.Float64,
    }
)


@dataclass(frozen=True)
class TestSetVariance:
    """What the estimates would vary by if the test examples were drawn anew.

    Attributes:
        covariance: of the benefits of two cells (setting_id) of one data set, in points²; the sizes of a data set share
            its test examples.
        examples: number of test examples by data set that all its cells have.
    """

    __test__ = False  # not a test of pytest's

    covariance: Mapping[tuple[str, str], float]
    examples: Mapping[str, int]

    def variance(self, weights: Mapping[str, float]) -> float | None:
        """Variance of Σ weight · benefit over cells; None where a cell with a weight lacks predictions."""
        used = {setting: weight for setting, weight in weights.items() if weight}
        if any((setting, setting) not in self.covariance for setting in used):
            return None
        pairs = itertools.product(used.items(), repeat=2)
        return float(sum(v * w * self.covariance.get((s, t), 0.0) for (s, v), (t, w) in pairs))


@dataclass(frozen=True)
class ExampleTests:
    """`cells`: dataset, size, n (test examples), effect, low, high (points), p_value, p_mcnemar.

    `p_mcnemar` is for a single pair of models (one run per arm): exact, over the examples on which the two disagree.
    `problems`: runs left out because their predictions cannot be read or contradict the recorded accuracy.
    """

    cells: pl.DataFrame
    problems: tuple[Problem, ...]
    test_sets: TestSetVariance = TestSetVariance({}, {})


def example_tests(results: Results, comparison: Comparison) -> ExampleTests:
    """Paired t test over test examples in each cell.

    Estimand: the mean over examples of (share of treated runs that are right − share of control runs that are right),
    for the models as they were trained. Resampling unit: the test example. Assumes independent examples. A run whose
    predictions do not reproduce its recorded accuracy is left out and listed in `problems`.
    """
    empty = pl.DataFrame(schema=_SCHEMA)
    wanted = comparison.runs.filter(pl.col("init").n_unique().over("setting_id") == 2)
    if comparison.paired:
        wanted = wanted.join(comparison.pairs.select("setting_id", "seed"), on=["setting_id", "seed"], how="semi")
    wanted = wanted.filter(pl.col("run_id").is_in(list(results.predictions)))
    problems: list[Problem] = []
    if wanted.is_empty() or results.source is None:
        return ExampleTests(empty, ())
    rows = []
    shares: dict[str, dict[str, Array]] = {}
    for batch in _batches(results, wanted):
        for setting, differences in _shares(results, batch, comparison.arms, problems).items():
            row = comparison.cells.row(by_predicate=pl.col("setting_id") == setting, named=True)
            runs = {row["n_pairs"]} if comparison.paired else {row["n_treated"], row["n_control"]}
            known = differences[~np.isnan(differences)]
            if len(known):
                found = _example_test(known, is_one_pair=runs == {1})
                rows.append({"dataset": row["dataset"], "size": row["size"], **found})
                shares.setdefault(row["dataset"], {})[setting] = differences
    tested = pl.DataFrame(rows, schema=_SCHEMA) if rows else empty
    order = comparison.cells.select("dataset", "size")
    return ExampleTests(
        order.join(tested, on=["dataset", "size"], maintain_order="left"), tuple(problems), _covariances(shares)
    )


def _covariances(shares: Mapping[str, Mapping[str, Array]]) -> TestSetVariance:
    """From the differences of each example by data set and setting; over the examples that all settings have."""
    covariance, examples = {}, {}
    for dataset, of_dataset in shares.items():
        longest = max(map(len, of_dataset.values()))
        padded = [np.pad(one, (0, longest - len(one)), constant_values=np.nan) for one in of_dataset.values()]
        values = np.stack(padded) * 100
        values = values[:, ~np.isnan(values).any(axis=0)]
        examples[dataset] = values.shape[1]
        if values.shape[1] > 1:
            matrix = np.atleast_2d(np.cov(values)) / values.shape[1]
            for place in itertools.product(enumerate(of_dataset), repeat=2):
                (row, first), (column, second) = place
                covariance[first, second] = float(matrix[row, column])
    return TestSetVariance(covariance, examples)


def _batches(results: Results, wanted: pl.DataFrame) -> list[pl.DataFrame]:
    """Whole settings of one data set, in batches of about `_BATCH_ROWS` predictions."""
    facts = results.done.select("run_id", "num_classes", pl.col("test_examples").fill_null(0))
    sized = wanted.join(facts, on="run_id", maintain_order="left")
    totals = sized.group_by("dataset", "setting_id", maintain_order=True).agg(pl.col("test_examples").sum())
    batch = pl.col("test_examples").cum_sum().over("dataset") // _BATCH_ROWS
    totals = totals.select("setting_id", batch.alias("batch"))
    return sized.join(totals, on="setting_id").partition_by("dataset", "batch", maintain_order=True)


def _shares(results: Results, batch: pl.DataFrame, arms: tuple[str, str], problems: list[Problem]) -> dict[str, Array]:
    """Per setting, of each example: share of treated runs that are right − share of control runs that are right.

    NaN for examples that some run of the setting lacks.
    """
    graded = _graded(results, batch, problems)
    runs = _agreeing(results, batch, graded, problems).filter(pl.col("init").n_unique().over("setting_id") == 2)
    sign = pl.when(pl.col("init") == arms[0]).then(1.0).otherwise(-1.0)
    runs = runs.with_columns((sign / pl.len().over("setting_id", "init")).alias("weight"))
    shares = {}
    for setting, row, weight in runs.group_by("setting_id", maintain_order=True).agg("row", "weight").iter_rows():
        of_setting = graded[row]
        share = (np.array(weight)[:, np.newaxis] * of_setting).sum(axis=0)
        shares[setting] = np.where((of_setting >= 0).all(axis=0), share, np.nan)
    return shares


def _graded(results: Results, batch: pl.DataFrame, problems: list[Problem]) -> np.ndarray:
    """int8 of shape (runs, test examples): 1 right, 0 wrong, −1 absent. Unreadable files are appended to `problems`."""
    assert results.source is not None
    folder = results.source
    run = pl.Enum(batch["run_id"])
    right = (chosen_class(max(batch["num_classes"].drop_nulls(), default=2)) == pl.col("label")).fill_null(value=False)
    graded = np.full((batch.height, max(batch["test_examples"])), -1, np.int8)

    def read(files: dict[str, str]) -> None:
        rows = rows_of_runs(folder, files, PREDICTIONS, ["run_id", "example", "label", "logits"]).select(
            pl.col("run_id").cast(run).to_physical(), pl.col("example").fill_null(-1), right.alias("right")
        )
        row, example, value = (column.to_numpy() for column in rows.collect())
        known = (example >= 0) & (example < graded.shape[1])
        graded[row[known], example[known]] = value[known]

    files = {run_id: results.predictions[run_id] for run_id in batch["run_id"]}
    try:
        read(files)
    except READ_ERRORS:
        for path in sorted(set(files.values())):
            try:
                read({run_id: file for run_id, file in files.items() if file == path})
            except READ_ERRORS:
                problems.append(Problem(path, UNREADABLE))
    return graded


def chosen_class(classes: int) -> pl.Expr:
    """Index of the largest logit, the first among equals; null without logits.

    Computed class by class, because `list.arg_max` takes longer than reading the rows.
    """
    best = pl.col("logits").list.get(0, null_on_oob=True)
    chosen: pl.Expr = pl.when(best.is_not_null()).then(0)
    for index in range(1, classes):
        other = pl.col("logits").list.get(index, null_on_oob=True)
        chosen = pl.when(other > best).then(index).otherwise(chosen)
        best = pl.when(other > best).then(other).otherwise(best)
    return chosen


def _agreeing(results: Results, batch: pl.DataFrame, graded: np.ndarray, problems: list[Problem]) -> pl.DataFrame:
    """The runs whose predictions reproduce their recorded accuracy (to half an example), with their row in `graded`."""
    found = pl.DataFrame({"right": (graded == 1).sum(axis=1), "n": (graded >= 0).sum(axis=1)})
    everything = batch.with_row_index("row").hstack(found)
    runs = everything.filter(pl.col("n") > 0)
    named = {problem.path for problem in problems}
    for run_id in everything.filter(pl.col("n") == 0)["run_id"]:
        if results.predictions[run_id] not in named:
            reason = "no predictions of this run in its file; left out of the per-example tests"
            problems.append(Problem(f"predictions/{run_id}.parquet", reason))
    fits = (pl.col("right") - pl.col("value") / 100 * pl.col("n")).abs() < 0.5
    wrong = runs.filter(~fits).select("run_id", pl.col("right") / pl.col("n"), pl.col("value") / 100)
    for run_id, accuracy, recorded in wrong.iter_rows():
        reason = f"accuracy {accuracy:.2%} where the run records {recorded:.2%}; left out of the per-example tests"
        problems.append(Problem(f"predictions/{run_id}.parquet", reason))
    return runs.filter(fits)


def _example_test(differences: Array, *, is_one_pair: bool) -> dict[str, float | int | None]:
    """Columns of one cell; effect alone where all examples agree."""
    values = differences * 100
    effect: dict[str, float | int | None] = {"n": len(values), "effect": float(values.mean())}
    effect |= dict.fromkeys(("low", "high", "p_value", "p_mcnemar"))
    if len(values) < 2 or np.ptp(values) == 0:
        return effect
    if is_one_pair:
        better, worse = int((differences == 1).sum()), int((differences == -1).sum())
        effect["p_mcnemar"] = float(mcnemar([[0, better], [worse, 0]], exact=True).pvalue)
    test = stats.ttest_1samp(values, 0)
    interval = test.confidence_interval(0.95)
    return effect | {"low": float(interval.low), "high": float(interval.high), "p_value": float(test.pvalue)}
