"""From estimates to sentences: verdicts by rule, the headline, the methods. No number is computed here.

Rule of a verdict, from the 95 % interval and the margin m: above 0 → up word, below 0 → down word; otherwise
"equivalent" where the 90 % interval lies inside ±m (two one-sided tests at 5 %), otherwise "unresolved". Without an
interval the verdict is "not estimable". Next: `analysis/page/html.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from analysis.results import Results
from analysis.statistics.contrasts import Estimate
from analysis.statistics.estimates import Estimates
from analysis.statistics.pairs import OUTCOMES, Comparison

#: Verdict → what a reader sees beside the word, so that colour is never alone.
SYMBOLS = {
    "grows": "▲",
    "helps": "▲",
    "shrinks": "▼",
    "hurts": "▼",
    "equivalent": "≈",
    "unresolved": "?",
    "not estimable": "·",
}


@dataclass(frozen=True)
class Headline:
    """The answer: a sentence, the two verdicts and what they lean on."""

    answer: str
    growth_sentence: str
    generality: str
    benefit_verdict: str
    growth_verdict: str


def verdict(estimate: Estimate, margin: float, up: str = "helps", down: str = "hurts") -> str:
    """The word that the rule above gives."""
    if estimate.low is None or estimate.high is None or estimate.low90 is None or estimate.high90 is None:
        return "not estimable"
    if estimate.low > 0:
        return up
    if estimate.high < 0:
        return down
    return "equivalent" if -margin < estimate.low90 and estimate.high90 < margin else "unresolved"


def is_negligible(estimate: Estimate, margin: float) -> bool:
    """Whether the 90 % interval lies inside ±margin, whatever the sign."""
    if estimate.low90 is None or estimate.high90 is None:
        return False
    return -margin < estimate.low90 and estimate.high90 < margin


def signed(value: float | None, digits: int = 2) -> str:
    """+1.24, −0.30; an en dash for a number that is not there."""
    if value is None:
        return "–"
    text = f"{abs(value):.{digits}f}"
    return ("−" if value < 0 and float(text) else "+") + text


def interval(estimate: Estimate, digits: int = 2) -> str:
    """[low, high] with true minus signs; an en dash where no interval is warranted."""
    if not estimate.has_interval:
        return "–"
    return f"[{signed(estimate.low, digits)}, {signed(estimate.high, digits)}]"


def interval90(estimate: Estimate, digits: int = 2) -> str:
    """The 90 % interval, which decides equivalence."""
    return interval(replace(estimate, low=estimate.low90, high=estimate.high90), digits)


def p_text(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def parameters_text(count: float | None) -> str:
    """436354 → 0.44 M."""
    if count is None:
        return "–"
    for factor, letter in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if count >= factor * 0.1 and (letter != " k" or count >= 1e3):
            return f"{count / factor:.2g}{letter}" if count / factor < 100 else f"{count / factor:,.0f}{letter}"
    return f"{count:,.0f}"


def count_of(number: int, thing: str, plural: str | None = None) -> str:
    return f"{number:,} {thing if number == 1 else plural or thing + 's'}"


def headline(results: Results, estimates: Estimates) -> Headline:
    """The answer to: does pretraining help here, by how much, and does the benefit grow with size?"""
    benefit = verdict(estimates.overall, estimates.margin)
    growth = verdict(estimates.growth, estimates.margin, "grows", "shrinks")
    return Headline(
        answer=_benefit_sentence(results, estimates, benefit),
        growth_sentence=_growth_sentence(estimates, growth),
        generality=_generality(estimates),
        benefit_verdict=benefit,
        growth_verdict=growth,
    )


def nothing_to_compare(results: Results, estimates: Estimates) -> str:
    """Why no effect can be given at all."""
    comparison = estimates.comparison
    treated, control = comparison.arms
    planned = set(results.plan["init"].unique())
    if results.plan.is_empty():
        return "Nothing can be concluded: the study plans no run, and none has landed."
    unusable = sum(problem.path.startswith("runs/") for problem in results.problems)
    if results.runs.is_empty() and unusable:
        files = count_of(unusable, "file of a run", "files of runs")
        return f"No run can be counted: {files} could not be used ({results.problems[0].reason}). Nothing can be said."
    if results.runs.is_empty():
        return f"No run has ended yet: {count_of(results.plan.height, 'run')} planned, none done. Nothing can be said."
    if results.done.is_empty():
        count = f"{results.failed.height} of {results.plan.height} planned"
        return f"Every run that ended has failed ({count}). Nothing can be said."
    present = [arm for arm in comparison.arms if (comparison.runs["init"] == arm).any()]
    absent = [arm for arm in comparison.arms if arm not in present]
    if len(absent) == 1 and present:
        lacking = "is not part of the plan" if absent[0] not in planned else "has no finished run yet"
        return (
            f"Only the {present[0]} arm has results; the {absent[0]} arm {lacking}. Without both arms the benefit of "
            "pretraining cannot be estimated."
        )
    if comparison.runs.is_empty():
        return f"No run of {comparison.epochs} epochs, which the answer is about, is done. Nothing can be said."
    return f"No setting has both a {treated} and a {control} run done yet. Nothing can be concluded."


def _benefit_sentence(results: Results, estimates: Estimates, word: str) -> str:
    effect = estimates.overall
    if effect.effect is None:
        return nothing_to_compare(results, estimates)
    where = f"on {_these(estimates)}"
    change = f"{signed(effect.effect)} {estimates.comparison.unit} of test accuracy"
    if word == "not estimable":
        return f"Whether pretraining helps cannot be told yet: {change} {where} were seen, with {effect.reason}."
    span = f"{change} {where} (95 % interval {signed(effect.low)} to {signed(effect.high)})"
    margin = f"±{estimates.margin:g} {estimates.comparison.unit}"
    if word in ("helps", "hurts"):
        small = f", by less than the {margin} that matter" if is_negligible(effect, estimates.margin) else ""
        return f"Pretraining {word}{small}: {span}."
    if word == "equivalent":
        return f"Pretraining makes no difference that matters: {span}, within {margin}."
    return f"Whether pretraining helps is unresolved: {span}."


def _growth_sentence(estimates: Estimates, word: str) -> str:
    growth, sizes = estimates.growth, estimates.comparison.sizes
    if growth.effect is None:
        if len(sizes) == 1:
            return "One model size has results, so whether the benefit grows with size cannot be said."
        return f"Whether the benefit grows with size cannot be said: {growth.reason}." if sizes else ""
    reach = f"from {parameters_text(sizes[0][1])} to {parameters_text(sizes[-1][1])} parameters"
    change = f"{signed(growth.effect)} {estimates.comparison.unit}"
    if word == "not estimable":
        return f"Nor can it be told whether the benefit grows with size: {change} were seen {reach}."
    span = f"{change} {reach} (95 % interval {signed(growth.low)} to {signed(growth.high)})"
    if word in ("grows", "shrinks"):
        small = is_negligible(growth, estimates.margin)
        note = f", though by less than the ±{estimates.margin:g} that matter" if small else ""
        return f"The benefit {word} with model size{note}: {span}."
    if word == "equivalent":
        return f"The benefit is the same at all sizes, within ±{estimates.margin:g}: {span}."
    return f"Whether the benefit changes with model size is unresolved: {span}."


def _generality(estimates: Estimates) -> str:
    """What may be said beyond the data sets of the study."""
    overall, growth = estimates.overall_random, estimates.growth_random
    if overall.effect is None:
        return ""
    if not overall.has_interval:
        return "These data sets alone are spoken for: " + overall.reason.removeprefix("no interval: ") + "."
    low, high = signed(overall.low), signed(overall.high)
    if estimates.comparison.unit == "points" and not -100 <= (overall.low or 0) <= (overall.high or 0) <= 100:
        return (
            f"{count_of(overall.n, 'data set')} are too few to speak for others: the interval for data sets like these "
            f"reaches beyond what is possible ({low} to {high})."
        )
    text = f"Taken as a sample of data sets like these, the mean benefit is {signed(overall.effect)} ({low} to {high})"
    if growth.has_interval:
        text += f" and its growth {signed(growth.effect)} ({signed(growth.low)} to {signed(growth.high)})"
    if verdict(overall, estimates.margin) == "unresolved":
        text += "; whether pretraining helps on other data sets stays open"
    return text + "."


def _these(estimates: Estimates) -> str:
    cells = estimates.comparison.estimable
    datasets, sizes = cells["dataset"].n_unique(), cells["model"].n_unique()
    first = "this data set" if datasets == 1 else f"these {datasets} data sets"
    return f"{first} and {count_of(sizes, 'model size')}"


def methods(results: Results, estimates: Estimates) -> list[str]:
    """How the numbers came about, from what was really computed; one paragraph each."""
    comparison = estimates.comparison
    treated, control = comparison.arms
    words, unit, _ = OUTCOMES[comparison.outcome]
    done = comparison.runs.height
    paragraphs = [
        f"The outcome is {words}, in percentage {unit} when differences are taken: Δ = {treated} − {control}. The "
        "epoch is "
        f"always the last one ({comparison.epochs or '–'} epochs); nothing is selected on the test set.",
        comparison.why + f" {count_of(done, 'finished run')} at this number of epochs; {_seeds(estimates)}.",
    ]
    if comparison.variant:
        paragraphs.append(
            f"Hyperparameters differ within the study. The answer is about {comparison.variant}, the group with the "
            "most "
            f"pairs (the first planned among equals); unlike groups are never averaged. All groups: "
            f"{'; '.join(comparison.variants)}."
        )
    if comparison.correlation is not None:
        gain = comparison.correlation > 0.1
        use = "pairing narrows the intervals" if gain else "pairing by seed gains little here"
        paragraphs.append(
            f"Correlation of the two arms over seeds, within cells: {signed(comparison.correlation)}; {use}."
        )
    if estimates.residual_sd is not None:
        paragraphs.append(_pooled(estimates))
    elif estimates.overall.effect is not None:
        paragraphs.append(f"On these data sets: {estimates.overall.reason}.")
    if estimates.growth.effect is not None:
        paragraphs.append(_growth_method(estimates))
    paragraphs.append(_random_method(estimates))
    if caveat := one_pretraining(results, comparison):
        paragraphs.append(caveat)
    paragraphs.append(
        f"Verdicts follow a rule fixed beforehand: a 95 % interval above or below 0 decides the direction; otherwise a "
        f"90 % interval inside ±{estimates.margin:g} {unit} (two one-sided tests at 5 %) means equivalent; otherwise "
        "unresolved. Growth is the one primary test. Over sizes p is adjusted by Holm's method, over cells by "
        "Benjamini "
        "and Hochberg's; the intervals drawn are not adjusted. No missing cell is imputed."
    )
    return paragraphs


def one_pretraining(results: Results, comparison: Comparison) -> str:
    """That intervals speak of the weights there are; empty where a size has those of several pretrainings, or none."""
    treated = comparison.runs.filter(pl.col("init") == comparison.arms[0])
    weights = treated.join(results.done.select("run_id", "weights_digest"), on="run_id").drop_nulls("weights_digest")
    of_a_size = weights.group_by("size").agg(pl.col("weights_digest").n_unique())["weights_digest"]
    if of_a_size.is_empty() or (of_a_size > 1).any():
        return ""
    return (
        f"All {comparison.arms[0]} runs of a size start from the same weights, so the intervals speak of these. How "
        "far another pretraining of the same size would move the benefit, and with it its growth, no run here shows."
    )


def _seeds(estimates: Estimates) -> str:
    cells = estimates.comparison.estimable
    if cells.is_empty():
        return "no cell can be compared"
    if estimates.comparison.paired:
        counts = cells["n_pairs"].to_list()
        low, high = min(counts), max(counts)
        return f"{low if low == high else f'{low} to {high}'} pairs a cell, {count_of(cells.height, 'cell')}"
    parts = []
    for arm, column in zip(estimates.comparison.arms, ("n_treated", "n_control"), strict=True):
        counts = cells[column].to_list()
        low, high = min(counts), max(counts)
        parts.append(f"{low if low == high else f'{low} to {high}'} {arm}")
    return f"runs a cell: {', '.join(parts)}; {count_of(cells.height, 'cell')}"


def _pooled(estimates: Estimates) -> str:
    text = "; ".join(estimates.overall.assumptions)
    return (
        "On these data sets: ordinary least squares on cell indicators; intervals are t intervals of linear "
        "contrasts of "
        f"the cell means, with the residual standard deviation pooled over cells ({estimates.residual_sd:.3f} "
        f"{estimates.comparison.unit}, {estimates.df} degrees of freedom). Assumed: {text}."
    )


def _growth_method(estimates: Estimates) -> str:
    growth = estimates.growth
    note = f" ({growth.reason})" if growth.reason else ""
    return (
        "Growth is the slope of Δ on centred log10(trainable parameters), averaged over data sets and multiplied by "
        "the "
        f"range of sizes studied, over {count_of(growth.n_datasets, 'data set')}{note}. Per tenfold parameters it is "
        f"{signed(estimates.per_tenfold.effect)} {interval(estimates.per_tenfold)}; largest minus smallest size "
        f"{signed(estimates.largest_minus_smallest.effect)} {interval(estimates.largest_minus_smallest)}."
    )


def _random_method(estimates: Estimates) -> str:
    overall = estimates.overall_random
    if overall.has_interval:
        return (
            f"On a new data set: one value per data set is the unit (one-sample t, {overall.df:.0f} degrees of "
            "freedom); "
            "this assumes that the data sets are a random sample of those the answer is meant for."
        )
    return f"On a new data set: {overall.reason or 'nothing can be said'}."
