"""Robustness checks: does the answer depend on the assumptions, the metric, or the setting?

The sign-flip test and the probability of improvement need no normal distribution; one value per seed allows seeds to
matter alike in all cells. None of them is primary. Next: `analysis/statistics/example_tests.py`, which takes the test
examples as the sample; `analysis/page/robustness_section.py` shows all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from scipy import stats

from analysis.results import Results
from analysis.statistics.contrasts import CellModel
from analysis.statistics.datasets_as_sample import SampleSettings, over_datasets, weighted_by_precision
from analysis.statistics.effect import Estimate, t_estimate
from analysis.statistics.estimates import (
    Estimates,
    benefit_and_growth,
    cell_benefits,
    overall_weights,
    primary,
)
from analysis.statistics.failures import failures_at_chance
from analysis.statistics.growth import growth_weights
from analysis.statistics.pairs import OUTCOMES, Comparison, compare

#: How the label of the check with failed runs begins.
FAILURES = "failed runs counted at chance"
#: Seed of the Monte Carlo draw, used only where not every sign pattern can be tried.
PERMUTATION_SEED = 20_260_101
#: Sign patterns tried where there are too many for all; fewer with many pairs, to bound the time.
PERMUTATIONS, PERMUTATIONS_OF_MANY, MANY_PAIRS = 9_999, 1_999, 500


@dataclass(frozen=True)
class SignFlip:
    """Two-sided sign-flip test of "no effect in any pair"; `smallest` is the least p that n pairs can give."""

    p_value: float
    n: int
    smallest: float
    is_exact: bool
    patterns: int


@dataclass(frozen=True)
class RobustnessCheck:
    """Benefit and growth under one other assumption, metric or setting; `unit` is the outcome's.

    `cells`: the benefit of each cell, where the check compares another metric.
    """

    label: str
    unit: str
    benefit: Estimate
    growth: Estimate
    cells: tuple[Estimate, ...] = ()

    def judged(self, margin: float) -> RobustnessCheck:
        return replace(self, benefit=self.benefit.judged(margin), growth=self.growth.judged(margin))


@dataclass(frozen=True)
class Robustness:
    """All checks of one comparison; other metrics are not judged, because the margin is one of accuracy."""

    assumptions: tuple[RobustnessCheck, ...]
    sign_flip: SignFlip | None
    improvement: pl.DataFrame
    control_arms: tuple[RobustnessCheck, ...]
    outcomes: tuple[RobustnessCheck, ...]
    settings: tuple[RobustnessCheck, ...]


def robustness(results: Results, estimates: Estimates) -> Robustness:
    """Every check of `estimates`, with verdicts by its margin."""
    comparison, margin = estimates.comparison, estimates.margin

    def judged(checks: list[RobustnessCheck]) -> tuple[RobustnessCheck, ...]:
        return tuple(check.judged(margin) for check in checks)

    return Robustness(
        assumptions=judged([*other_assumptions(estimates), *with_failures(results, estimates)]),
        sign_flip=sign_flip(comparison),
        improvement=probability_of_improvement(comparison),
        control_arms=judged(control_arms(results, comparison)),
        outcomes=tuple(other_outcomes(results, comparison)),
        settings=judged(other_settings(results, comparison)),
    )


def other_assumptions(estimates: Estimates) -> list[RobustnessCheck]:
    """Benefit and growth under other assumptions on what varies; the primary estimates first."""
    comparison, unit, without = estimates.comparison, estimates.comparison.unit, estimates.conditional
    found = [RobustnessCheck("as above (primary)", unit, estimates.overall, estimates.growth)]
    if not estimates.is_conditional:
        label = "these weights only: without the spread between pretrainings"
        found.append(RobustnessCheck(label, unit, without.overall, without.growth))
    found.append(RobustnessCheck("one spread for all cells (pooled)", unit, *one_spread(comparison, estimates.margin)))
    by_seed = seeds_as_units(comparison)
    if by_seed is not None:
        found.append(RobustnessCheck("the seed as the unit, over all cells", unit, *by_seed))
    sample = RobustnessCheck("data sets as a sample", unit, estimates.overall_random, estimates.growth_random)
    return [*found, sample, _without_prior(estimates), _by_precision(estimates)]


def with_failures(results: Results, estimates: Estimates) -> list[RobustnessCheck]:
    """Benefit and growth with the failed runs at chance; none without failed runs."""
    is_accuracy = estimates.comparison.outcome == "test_accuracy"
    found = failures_at_chance(results, estimates.comparison) if is_accuracy else None
    if found is None:
        return []
    arms = estimates.comparison.arms
    label = f"{FAILURES} ({found.n_treated} {arms[0]}, {found.n_control} {arms[1]})"
    main = benefit_and_growth(found.comparison, estimates.margin)
    return [RobustnessCheck(label, estimates.comparison.unit, *main)]


def _without_prior(estimates: Estimates) -> RobustnessCheck:
    """Data sets as a sample, their spread known from their effects alone."""
    settings, without = SampleSettings(estimates.margin, None), estimates.conditional
    benefit, growth = (
        over_datasets(Estimate(label), effects, fixed, conditional, settings)
        for label, effects, fixed, conditional in (
            ("all data sets, random, no prior", estimates.datasets, estimates.overall, without.overall),
            ("growth, random, no prior", estimates.dataset_growth, estimates.growth, without.growth),
        )
    )
    return RobustnessCheck(
        "data sets as a sample, no prior on their spread (t)", estimates.comparison.unit, benefit, growth
    )


def _by_precision(estimates: Estimates) -> RobustnessCheck:
    """Data sets as a sample again, weighted by how precisely each is known."""
    benefit = weighted_by_precision(Estimate("all data sets, by precision"), estimates.datasets)
    growth = weighted_by_precision(Estimate("growth, by precision"), estimates.dataset_growth)
    return RobustnessCheck(
        "data sets as a sample, by precision (Hartung–Knapp)", estimates.comparison.unit, benefit, growth
    )


def one_spread(comparison: Comparison, margin: float) -> tuple[Estimate, Estimate]:
    """Benefit and growth if all cells had one spread, and every size one set of weights."""
    model = CellModel(comparison, one_spread=True)
    return primary(model, margin, conditional=True)[:2]


def seeds_as_units(comparison: Comparison) -> tuple[Estimate, Estimate] | None:
    """Benefit and growth with one value per seed, over all cells: for seeds whose effect all cells share.

    One-sample t. Estimand and sampling as in the primary estimates, but seeds need not be independent between cells.
    None unless every cell has the same seeds, two at least, once each.
    """
    pairs, cells = comparison.pairs, comparison.estimable.height
    seeds = pairs.group_by("seed").agg(pl.len(), pl.col("setting_id").n_unique().alias("cells"))
    whole = not seeds.is_empty() and seeds.select(((pl.col("len") == cells) & (pl.col("cells") == cells)).all()).item()
    if not comparison.paired or not whole or seeds.height < 2:
        return None
    found = []
    growth = growth_weights(comparison)
    for label, weights, note in (
        ("all cells, by seed", overall_weights(comparison), ""),
        ("growth, by seed", growth.all_data, growth.note),
    ):
        weight = pl.col("setting_id").replace_strict(weights, default=0.0, return_dtype=pl.Float64)
        values = pairs.group_by("seed").agg((pl.col("difference") * weight).sum())["difference"].to_numpy()
        shell, se = Estimate(label, n=len(values)), float(stats.sem(values))
        if not weights or not se > 0:
            found.append(replace(shell, reason=note or "no interval: all seeds agree exactly"))
        else:
            found.append(t_estimate(shell, float(values.mean()), se, len(values) - 1, "one value per seed, t"))
    return found[0], found[1]


def sign_flip(comparison: Comparison) -> SignFlip | None:
    """Permutation test of the mean over cells, flipping the sign of whole pairs.

    Estimand: the mean over cells of Δ. Resampling unit: the pair. Assumes that without an effect a pair's difference is
    as likely positive as negative, and nothing about its distribution. The pairs of one seed, from several
    pretrainings, share a control run and count as one. None without pairs.
    """
    pairs = comparison.pairs.group_by("setting_id", "seed", maintain_order=True).agg(pl.col("difference").mean())
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


def other_outcomes(results: Results, comparison: Comparison) -> list[RobustnessCheck]:
    """Benefit and growth in every other metric that the runs have, at the same epochs and hyperparameters."""
    found = []
    for outcome, (description, unit, _) in OUTCOMES.items():
        if outcome == comparison.outcome or outcome not in results.done.columns:
            continue
        if results.done[outcome].null_count() == results.done.height:
            continue
        other = compare(results, outcome, comparison.epochs, comparison.variant, comparison.arms)
        if other.estimable.height:
            found.append(RobustnessCheck(description, unit, *benefit_and_growth(other), cell_benefits(other)))
    return found


def other_settings(results: Results, comparison: Comparison) -> list[RobustnessCheck]:
    """Benefit and growth at the study's other numbers of epochs and in its other groups of hyperparameters."""
    found = []
    for epochs in results.plan["epochs"].unique().sort():
        at = compare(results, comparison.outcome, int(epochs), None, comparison.arms)
        for variant in at.variants:
            if (epochs, variant) != (comparison.epochs, comparison.variant):
                one = compare(results, comparison.outcome, int(epochs), variant, comparison.arms)
                label = f"{epochs} epochs" + (f", {variant}" if variant else "")
                found.append(RobustnessCheck(label, comparison.unit, *benefit_and_growth(one)))
    return found


def control_arms(results: Results, comparison: Comparison) -> list[RobustnessCheck]:
    """Every other arm of the plan against the control, and the treated arm against each of them.

    They tell what part of the benefit is learned structure: `shuffled` keeps the distribution of the pretrained weights
    but not their arrangement, `frozen` trains the head alone.
    """
    treated, control = comparison.arms
    others = [init for init in results.plan["init"].unique().sort() if init not in comparison.arms]
    couples = [arms for other in others for arms in ((other, control), (treated, other))]
    found = []
    for arms in couples:
        one = compare(results, comparison.outcome, comparison.epochs, comparison.variant, arms)
        found.append(RobustnessCheck(f"{arms[0]} − {arms[1]}", comparison.unit, *benefit_and_growth(one)))
    return found


def cells_at_chance(results: Results, comparison: Comparison) -> pl.DataFrame:
    """Estimable cells whose control arm does no better than always predicting the largest class: dataset, size.

    "No better": its mean accuracy is at most the largest class's share of the test examples plus two standard errors of
    that share. A benefit there shows how soon a model learns, not how much it can learn. Needs confusion matrices.
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
    cells = cells.filter(pl.col("value") <= pl.col("bound")).select("dataset", "size")
    return cells.join(comparison.estimable, on=["dataset", "size"], how="semi", maintain_order="left")
