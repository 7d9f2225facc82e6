"""Paired tests over test examples: could other test examples have changed the sign of a cell's benefit?

The trained models are given and the test examples are the sample, unlike in the estimates, whose sample is the seeds.
The sizes of a data set share its test examples, so their benefits vary together; the covariance is kept for contrasts
over sizes. Predictions are read a few cells at a time. Next: `analysis/page/robustness_section.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import polars as pl
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from analysis.results import Problem, Results
from analysis.statistics.pairs import Comparison
from sweep.ended_runs import rows_of_runs
from sweep.result_tables import READ_ERRORS, UNREADABLE
from sweep.schema import PREDICTIONS

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
    """How much the effects of cells vary with the draw of the test examples, given the models as they were trained.

    Attributes:
        covariance: of the effects of two cells of one data set, by their setting ids in both orders, in points²: the
            sample covariance over test examples of the cells' per-example differences, divided by the number of
            examples. Cells of different data sets share no examples, so they have no entry.
        examples: data set → number of test examples that all its cells have, over which its covariances are taken; data
            sets without a cell that has predictions are left out.
    """

    __test__ = False  # a class of the analysis, which pytest need not collect

    covariance: Mapping[tuple[str, str], float]
    examples: Mapping[str, int]

    def variance(self, weights: Mapping[str, float]) -> float | None:
        """Variance in points² of a contrast of effects, from its weights by setting id.

        None where a cell with a weight other than 0 has no predictions.
        """
        used = {setting: weight for setting, weight in weights.items() if weight != 0}
        if not all((setting, setting) in self.covariance for setting in used):
            return None
        pairs = ((one, other) for one in used for other in used)
        total = sum(used[one] * used[other] * self.covariance.get((one, other), 0.0) for one, other in pairs)
        return max(float(total), 0.0)  # rounding may leave a contrast of equal cells just below


@dataclass(frozen=True)
class ExampleTests:
    """`cells`: dataset, size, n (test examples), effect, low, high (points), p_value, p_mcnemar.

    `p_mcnemar` is for a single pair of models (one run per arm): exact, over the examples on which the two disagree.
    `test_sets`: variance of contrasts of these effects. `problems`: runs left out because their predictions cannot be
    read or contradict the recorded accuracy.
    """

    cells: pl.DataFrame
    test_sets: TestSetVariance
    problems: tuple[Problem, ...]


def example_tests(results: Results, comparison: Comparison) -> ExampleTests:
    """Paired t test over test examples in each cell, and the covariance of the cells of each data set.

    Estimand: the mean over examples of (share of treated runs that are right − share of control runs that are right),
    for the models as they were trained. Resampling unit: the test example. Assumes independent examples. A run whose
    predictions do not reproduce its recorded accuracy is left out and listed in `problems`.
    """
    wanted = _compared_runs(results, comparison)
    if wanted.is_empty():
        return ExampleTests(pl.DataFrame(schema=_SCHEMA), TestSetVariance({}, {}), ())
    problems: list[Problem] = []
    rows = []
    covariance: dict[tuple[str, str], float] = {}
    examples: dict[str, int] = {}
    for dataset, shares in _by_data_set(results, wanted, comparison.arms, problems):
        of_cells = {}
        for setting, differences in shares:
            row = comparison.cells.row(by_predicate=pl.col("setting_id") == setting, named=True)
            runs = {row["n_pairs"]} if comparison.paired else {row["n_treated"], row["n_control"]}
            known = differences[~np.isnan(differences)]
            if len(known):
                rows.append({"dataset": dataset, "size": row["size"], **_example_test(known, is_one_pair=runs == {1})})
                of_cells[setting] = differences.astype(np.float32)
        if of_cells:
            found, examples[dataset] = _covariance(of_cells)
            covariance |= found
    tested = pl.DataFrame(rows, schema=_SCHEMA)
    order = comparison.cells.select("dataset", "size")
    cells = order.join(tested, on=["dataset", "size"], maintain_order="left")
    return ExampleTests(cells, TestSetVariance(covariance, examples), tuple(problems))


def _compared_runs(results: Results, comparison: Comparison) -> pl.DataFrame:
    """The runs that the comparison uses, of cells with both arms, whose predictions are there to be read."""
    if results.source is None:
        return comparison.runs.clear()
    runs = comparison.runs.filter(pl.col("init").n_unique().over("setting_id") == 2)
    if comparison.paired:
        used = pl.concat([comparison.pairs["treated_run"], comparison.pairs["control_run"]])
        runs = runs.filter(pl.col("run_id").is_in(used.to_list()))
    return runs.filter(pl.col("run_id").is_in(list(results.predictions)))


def _by_data_set(
    results: Results, wanted: pl.DataFrame, arms: tuple[str, str], problems: list[Problem]
) -> Iterator[tuple[str, Iterator[tuple[str, np.ndarray]]]]:
    """Each data set with its (setting, per-example differences), which are read as they are asked for."""
    batches = sorted(_batches(results, wanted), key=lambda batch: batch["dataset"][0])
    for dataset, of_dataset in groupby(batches, key=lambda batch: str(batch["dataset"][0])):
        yield dataset, (found for batch in of_dataset for found in _shares(results, batch, arms, problems).items())


def _covariance(of_cells: Mapping[str, np.ndarray]) -> tuple[dict[tuple[str, str], float], int]:
    """Covariances of one data set's effects in points², and the number of examples that all its cells have.

    of_cells: per setting, of each test example the difference of shares, NaN where some run lacks the example.
    """
    length = max(map(len, of_cells.values()))
    rows = [np.pad(values, (0, length - len(values)), constant_values=np.nan) for values in of_cells.values()]
    everywhere = ~np.isnan(rows).any(axis=0)
    n = int(everywhere.sum())
    if n < 2:
        return {}, n
    matrix = np.atleast_2d(np.cov([100 * values[everywhere] for values in rows], dtype=np.float64)) / n
    settings = list(of_cells)
    return {(one, other): float(matrix[i, j]) for i, one in enumerate(settings) for j, other in enumerate(settings)}, n


def _batches(results: Results, wanted: pl.DataFrame) -> list[pl.DataFrame]:
    """Whole settings of one data set, in batches of about `_BATCH_ROWS` predictions."""
    facts = results.done.select("run_id", "num_classes", pl.col("test_examples").fill_null(0))
    sized = wanted.join(facts, on="run_id", maintain_order="left")
    totals = sized.group_by("dataset", "setting_id", maintain_order=True).agg(pl.col("test_examples").sum())
    batch = pl.col("test_examples").cum_sum().over("dataset") // _BATCH_ROWS
    totals = totals.select("setting_id", batch.alias("batch"))
    return sized.join(totals, on="setting_id").partition_by("dataset", "batch", maintain_order=True)


def _shares(
    results: Results, batch: pl.DataFrame, arms: tuple[str, str], problems: list[Problem]
) -> dict[str, np.ndarray]:
    """Per setting, of each example: share of treated runs that are right − share of control runs that are right.

    NaN where some run of the setting lacks the example.
    """
    graded = _graded(results, batch, problems)
    runs = _agreeing(results, batch, graded, problems).filter(pl.col("init").n_unique().over("setting_id") == 2)
    sign = pl.when(pl.col("init") == arms[0]).then(1.0).otherwise(-1.0)
    runs = runs.with_columns((sign / pl.len().over("setting_id", "init")).alias("weight"))
    shares = {}
    for setting, row, weight in runs.group_by("setting_id", maintain_order=True).agg("row", "weight").iter_rows():
        of_setting = graded[row]
        share = (np.array(weight)[:, np.newaxis] * of_setting).sum(axis=0)
        share[(of_setting < 0).any(axis=0)] = np.nan
        shares[setting] = share
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


def _example_test(differences: np.ndarray, *, is_one_pair: bool) -> dict[str, float | int | None]:
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
