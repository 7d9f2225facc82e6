"""The same question asked in other ways, to see whether the answer depends on the way.

Per-example tests take the test examples as the sample, rather than the seeds; the sign-flip test and the probability of
improvement need no normal distribution; Welch's contrast does not assume equal spread. None of them is primary. Next:
`analysis/page/robustness_section.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from analysis.results import Problem, Results
from analysis.statistics.contrasts import CellModel, Estimate
from analysis.statistics.estimates import benefit_and_growth, cell_benefits, growth_weights, mean_weights
from analysis.statistics.pairs import OUTCOMES, Comparison, compare
from sweep.ended_runs import rows_of_runs
from sweep.result_tables import READ_ERRORS, UNREADABLE
from sweep.schema import PREDICTIONS

#: Seed of the Monte Carlo draw, used only where not every sign pattern can be tried.
PERMUTATION_SEED = 20_260_101
#: Sign patterns tried where there are too many for all; fewer with many pairs, to bound the time.
PERMUTATIONS, PERMUTATIONS_OF_MANY, MANY_PAIRS = 9_999, 1_999, 500
#: Rows of predictions held in memory at once.
_BATCH_ROWS = 2_000_000


@dataclass(frozen=True)
class SignFlip:
    """Two-sided sign-flip test of "no effect in any pair"; `smallest` is the least p that n pairs can give."""

    p_value: float
    n: int
    smallest: float
    is_exact: bool
    patterns: int


def sign_flip(comparison: Comparison) -> SignFlip | None:
    """Permutation test of the mean over cells, flipping the sign of whole pairs.

    Estimand: the mean over cells of Δ. Resampling unit: the pair. Assumes that without an effect a pair's difference is
    as likely positive as negative, and nothing about its distribution. None without pairs.
    """
    pairs = comparison.pairs
    if not comparison.paired or pairs.height < 2:
        return None
    sizes = pairs.select(pl.len().over("setting_id"))["len"].to_numpy()
    contributions = pairs["difference"].to_numpy() / (sizes * pairs["setting_id"].n_unique())
    exact = len(contributions) <= 13
    patterns = PERMUTATIONS if len(contributions) <= MANY_PAIRS else PERMUTATIONS_OF_MANY
    patterns = 2 ** len(contributions) if exact else patterns
    found = stats.permutation_test(
        (contributions,),
        lambda values, axis: np.sum(values, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=patterns,
        batch=1_000,
        rng=np.random.default_rng(PERMUTATION_SEED),
    )
    smallest = 2.0 ** (1 - len(contributions)) if exact else 2 / (patterns + 1)
    return SignFlip(float(found.pvalue), len(contributions), smallest, exact, patterns)


def probability_of_improvement(comparison: Comparison) -> pl.DataFrame:
    """Per cell, the share of couples (treated, control) in which treated is better; ties count half.

    Mann and Whitney's U / (n · m). No interval: at few seeds it would leave [0, 1]. Columns: dataset, size,
    probability, n_treated, n_control.
    """
    rows = []
    values = [
        comparison.runs.filter(pl.col("init") == arm).group_by("setting_id").agg("value") for arm in comparison.arms
    ]
    for setting, ours, theirs in values[0].join(values[1], on="setting_id").iter_rows():
        statistic = float(stats.mannwhitneyu(ours, theirs, method="asymptotic").statistic)
        rows.append((setting, statistic / (len(ours) * len(theirs))))
    schema = {"setting_id": pl.String, "probability": pl.Float64}
    found = pl.DataFrame(rows, schema=schema, orient="row")
    cells = comparison.estimable.select("setting_id", "dataset", "size", "n_treated", "n_control")
    return cells.join(found, on="setting_id", maintain_order="left").drop("setting_id")


def welch(comparison: Comparison) -> tuple[Estimate, Estimate]:
    """Benefit over all cells and growth, each cell with its own spread (Satterthwaite's degrees of freedom)."""
    model = CellModel(comparison)
    rows = comparison.estimable
    overall, growth = Estimate("all cells, own spreads"), Estimate("growth, own spreads")
    if rows.is_empty():
        return overall, growth
    overall = model.welch(overall, dict.fromkeys(rows["setting_id"], 1 / rows.height))
    weights, _ = growth_weights(comparison)
    return overall, model.welch(growth, mean_weights(list(weights.values()))) if weights else growth


@dataclass(frozen=True)
class Way:
    """One way of asking: its name, the outcome's unit, and the two answers; `cells`, where asked for, one by one."""

    label: str
    unit: str
    benefit: Estimate
    growth: Estimate
    cells: tuple[Estimate, ...] = ()


def other_outcomes(results: Results, comparison: Comparison) -> list[Way]:
    """The same question for every other metric that the runs carry, at the same epochs and hyperparameters."""
    found = []
    for outcome, (words, unit, _) in OUTCOMES.items():
        if outcome == comparison.outcome or outcome not in results.done.columns:
            continue
        if results.done[outcome].null_count() == results.done.height:
            continue
        other = compare(results, outcome, comparison.epochs, comparison.variant, comparison.arms)
        if other.estimable.height:
            found.append(Way(words, unit, *benefit_and_growth(other), cell_benefits(other)))
    return found


def other_settings(results: Results, comparison: Comparison) -> list[Way]:
    """The same question at the study's other numbers of epochs and other groups of hyperparameters."""
    found = []
    for epochs in results.plan["epochs"].unique().sort():
        at = compare(results, comparison.outcome, int(epochs), None, comparison.arms)
        for variant in at.variants:
            if (epochs, variant) != (comparison.epochs, comparison.variant):
                one = compare(results, comparison.outcome, int(epochs), variant, comparison.arms)
                label = f"{epochs} epochs" + (f", {variant}" if variant else "")
                found.append(Way(label, comparison.unit, *benefit_and_growth(one)))
    return found


def control_arms(results: Results, comparison: Comparison) -> list[Way]:
    """What part of the benefit is knowledge: every other arm against the control, and the treated arm against each.

    `shuffled` keeps the statistics of the pretrained weights without what they know, `frozen` trains the head alone.
    """
    treated, control = comparison.arms
    others = [init for init in results.plan["init"].unique().sort() if init not in comparison.arms]
    couples = [arms for other in others for arms in ((other, control), (treated, other))]
    found = []
    for arms in couples:
        one = compare(results, comparison.outcome, comparison.epochs, comparison.variant, arms)
        found.append(Way(f"{arms[0]} − {arms[1]}", comparison.unit, *benefit_and_growth(one)))
    return found


def cells_at_chance(results: Results, comparison: Comparison) -> pl.DataFrame:
    """Cells whose control arm does no better than naming the largest class throughout: dataset, size.

    "No better": its mean accuracy is at most the largest class's share of the test examples plus two standard errors of
    that share. A benefit there says how soon a model learns, not how far it comes. Needs confusion matrices.
    """
    runs = comparison.runs.filter(pl.col("init") == comparison.arms[1])
    runs = runs.join(results.done.select("run_id", "test_confusion").drop_nulls(), on="run_id", maintain_order="left")
    of_class = pl.col("test_confusion").list.eval(pl.element().list.sum())
    cells = runs.with_columns(of_class.list.max().alias("largest"), of_class.list.sum().alias("examples"))
    share = pl.col("largest") / pl.col("examples")
    bound = 100 * (share + 2 * (share * (1 - share) / pl.col("examples")).sqrt())
    cells = cells.group_by("dataset", "size", maintain_order=True).agg(
        pl.col("value").mean(), bound.mean().alias("bound")
    )
    return cells.filter(pl.col("value") <= pl.col("bound")).select("dataset", "size")


@dataclass(frozen=True)
class ExampleTests:
    """`cells`: dataset, size, n (test examples), effect, low, high (points), p_value, p_mcnemar.

    `p_mcnemar` is for a single pair of models (one run an arm): exact, over the examples on which the two disagree.
    """

    cells: pl.DataFrame
    problems: tuple[Problem, ...]


def example_tests(results: Results, comparison: Comparison) -> ExampleTests:
    """Paired test over test examples, per cell: is the difference more than the choice of these test examples?

    Estimand: the mean over examples of (share of treated runs that are right − share of control runs that are right),
    for the models as they were trained. Resampling unit: the test example. Assumes independent examples. Predictions
    are read a few cells at a time; a run whose predictions do not give its recorded accuracy is left out and named.
    """
    schema: dict[str, Any] = {"dataset": pl.String, "size": pl.String, "n": pl.Int64}
    schema |= dict.fromkeys(("effect", "low", "high", "p_value", "p_mcnemar"), pl.Float64)
    empty = pl.DataFrame(schema=schema)
    wanted = comparison.runs.filter(pl.col("init").n_unique().over("setting_id") == 2)
    if comparison.paired:
        wanted = wanted.join(comparison.pairs.select("setting_id", "seed"), on=["setting_id", "seed"], how="semi")
    wanted = wanted.filter(pl.col("run_id").is_in(list(results.predictions)))
    problems: list[Problem] = []
    if wanted.is_empty() or results.source is None:
        return ExampleTests(empty, ())
    rows = []
    for batch in _batches(results, wanted):
        for setting, differences in _shares(results, batch, comparison.arms, problems).items():
            row = comparison.cells.row(by_predicate=pl.col("setting_id") == setting, named=True)
            runs = {row["n_pairs"]} if comparison.paired else {row["n_treated"], row["n_control"]}
            if len(differences):
                found = _example_test(differences, is_one_pair=runs == {1})
                rows.append({"dataset": row["dataset"], "size": row["size"], **found})
    tested = pl.DataFrame(rows, schema=empty.schema) if rows else empty
    order = comparison.cells.select("dataset", "size")
    return ExampleTests(order.join(tested, on=["dataset", "size"], maintain_order="left"), tuple(problems))


def _batches(results: Results, wanted: pl.DataFrame) -> list[pl.DataFrame]:
    """Whole settings of one data set, gathered until they hold about `_BATCH_ROWS` predictions."""
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

    Examples that some run of the setting lacks are left out.
    """
    graded = _graded(results, batch, problems)
    runs = _agreeing(results, batch, graded, problems).filter(pl.col("init").n_unique().over("setting_id") == 2)
    sign = pl.when(pl.col("init") == arms[0]).then(1.0).otherwise(-1.0)
    runs = runs.with_columns((sign / pl.len().over("setting_id", "init")).alias("weight"))
    shares = {}
    for setting, row, weight in runs.group_by("setting_id", maintain_order=True).agg("row", "weight").iter_rows():
        of_setting = graded[row]
        everywhere = (of_setting >= 0).all(axis=0)
        shares[setting] = (np.array(weight)[:, np.newaxis] * of_setting[:, everywhere]).sum(axis=0)
    return shares


def _graded(results: Results, batch: pl.DataFrame, problems: list[Problem]) -> np.ndarray:
    """A row a run and a column a test example: 1 right, 0 wrong, −1 not there; files that cannot be read are named."""
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

    Class by class, because `list.arg_max` takes longer than to read the rows.
    """
    best = pl.col("logits").list.get(0, null_on_oob=True)
    chosen: pl.Expr = pl.when(best.is_not_null()).then(0)
    for index in range(1, classes):
        other = pl.col("logits").list.get(index, null_on_oob=True)
        chosen = pl.when(other > best).then(index).otherwise(chosen)
        best = pl.when(other > best).then(other).otherwise(best)
    return chosen


def _agreeing(results: Results, batch: pl.DataFrame, graded: np.ndarray, problems: list[Problem]) -> pl.DataFrame:
    """The runs of a batch whose predictions give the accuracy that they record (to half an example), with their row."""
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
