"""The sentences that answer the study's question, and the words of a verdict. No number is computed here.

Next: `analysis/page/masthead.py`, which opens the page with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.findings import Findings
from analysis.page.number_text import count_of, parameters_text, signed
from analysis.statistics.estimates import Estimates
from analysis.statistics.verdicts import Equivalence, Verdict

_SAME = {
    Verdict.EQUIVALENT: "equivalent",
    Verdict.UNRESOLVED: "unresolved",
    Verdict.NOT_ESTIMABLE: "not estimable",
}
#: Words for a verdict on a benefit, and on its growth with size.
BENEFIT: Mapping[Verdict, str] = {Verdict.POSITIVE: "helps", Verdict.NEGATIVE: "hurts"} | _SAME
GROWTH: Mapping[Verdict, str] = {Verdict.POSITIVE: "grows", Verdict.NEGATIVE: "shrinks"} | _SAME

#: What a reader sees beside the word, so that colour is never alone.
SYMBOLS = {
    Verdict.POSITIVE: "▲",
    Verdict.NEGATIVE: "▼",
    Verdict.EQUIVALENT: "≈",
    Verdict.UNRESOLVED: "?",
    Verdict.NOT_ESTIMABLE: "·",
}

#: Words for the result of the equivalence test.
EQUIVALENCE: Mapping[Equivalence, str] = {
    Equivalence.INSIDE: "too small to matter",
    Equivalence.OUTSIDE: "matters",
    Equivalence.OPEN: "open",
    Equivalence.NOT_ESTIMABLE: "not estimable",
}


@dataclass(frozen=True)
class Headline:
    """The answer in sentences: the benefit, its growth with size, and what holds beyond these data sets.

    `growth` and `generality` are empty where there is nothing to say.
    """

    benefit: str
    growth: str
    generality: str

    @property
    def answer(self) -> str:
        return f"{self.benefit} {self.growth}".strip()


def headline(findings: Findings) -> Headline:
    """The answer to: does pretraining help here, by how much, and does the benefit grow with size?"""
    estimates = findings.estimates
    benefit = _nothing_to_compare(findings) if estimates.overall.effect is None else _benefit_sentence(estimates)
    return Headline(benefit, _growth_sentence(estimates), _generality(estimates))


def _nothing_to_compare(findings: Findings) -> str:
    """Why no effect can be estimated."""
    results, comparison = findings.results, findings.comparison
    treated, control = comparison.arms
    planned = set(results.plan["init"].unique())
    if results.plan.is_empty():
        return "There are no results: the study plans no run, and the folder holds none."
    unusable = sum(problem.path.startswith("runs/") for problem in results.problems)
    if results.runs.is_empty() and unusable:
        files = count_of(unusable, "run file")
        return f"There are no usable results: {files} could not be used ({results.problems[0].reason})."
    if results.runs.is_empty():
        return f"No run has ended yet: {count_of(results.plan.height, 'run')} planned."
    if results.done.is_empty():
        count = f"{results.failed.height} of {results.plan.height} planned"
        return f"There are no results: every run that ended has failed ({count})."
    present = [arm for arm in comparison.arms if (comparison.runs["init"] == arm).any()]
    absent = [arm for arm in comparison.arms if arm not in present]
    if len(absent) == 1 and present:
        lacking = "is not part of the plan" if absent[0] not in planned else "has no finished run yet"
        return (
            f"Only the {present[0]} arm has results; the {absent[0]} arm {lacking}. The benefit of pretraining "
            "cannot be estimated without both arms."
        )
    if comparison.runs.is_empty():
        group = f" with {comparison.variant}" if comparison.variant else ""
        return f"The answer is about runs of {comparison.epochs} epochs{group}, and none of them is done."
    return f"No setting has both a {treated} and a {control} run done yet, so the arms cannot be compared."


def _benefit_sentence(estimates: Estimates) -> str:
    effect = estimates.overall
    where = f"on {_these(estimates)}"
    change = f"{signed(effect.effect)} {estimates.comparison.unit} of test accuracy"
    if effect.verdict is Verdict.NOT_ESTIMABLE:
        return f"It is too early to say whether pretraining helps: we observed {change} {where}, with {effect.reason}."
    span = f"{change} {where} (95 % interval {signed(effect.low)} to {signed(effect.high)})"
    margin = f"±{estimates.margin:g} {estimates.comparison.unit}"
    if effect.verdict in (Verdict.POSITIVE, Verdict.NEGATIVE):
        is_small = effect.equivalence is Equivalence.INSIDE
        small = f", but by less than the {margin} that matter" if is_small else ""
        return f"Pretraining {BENEFIT[effect.verdict]}{small}: {span}."
    if effect.verdict is Verdict.EQUIVALENT:
        return f"Pretraining makes no meaningful difference: {span}, within {margin}."
    return f"Whether pretraining helps is unresolved: {span}."


def _growth_sentence(estimates: Estimates) -> str:
    growth, sizes = estimates.growth, estimates.comparison.sizes
    if growth.effect is None:
        if len(sizes) == 1:
            return "Only one model size has results, so growth with size cannot be estimated."
        return f"Growth with size cannot be estimated: {growth.reason}." if sizes else ""
    reach = f"from {parameters_text(sizes[0][1])} to {parameters_text(sizes[-1][1])} parameters"
    change = f"{signed(growth.effect)} {estimates.comparison.unit}"
    if growth.verdict is Verdict.NOT_ESTIMABLE:
        return f"It is also too early to say whether the benefit grows with size: we observed {change} {reach}."
    span = f"{change} {reach} (95 % interval {signed(growth.low)} to {signed(growth.high)})"
    if growth.verdict in (Verdict.POSITIVE, Verdict.NEGATIVE):
        is_small = growth.equivalence is Equivalence.INSIDE
        note = f", but by less than the ±{estimates.margin:g} that matter" if is_small else ""
        return f"The benefit {GROWTH[growth.verdict]} with model size{note}: {span}."
    if growth.verdict is Verdict.EQUIVALENT:
        return f"The benefit is the same at all sizes, within ±{estimates.margin:g}: {span}."
    return f"Whether the benefit changes with model size is unresolved: {span}."


def _generality(estimates: Estimates) -> str:
    """What holds beyond the data sets of the study."""
    overall, growth = estimates.overall_random, estimates.growth_random
    if overall.effect is None:
        return ""
    if not overall.has_interval:
        return f"This holds for these data sets only ({overall.reason.removeprefix('no interval: ')})."
    low, high = signed(overall.low), signed(overall.high)
    if not estimates.sample_is_informative:
        return (
            f"{count_of(overall.n, 'data set')} are too few to generalise from: the interval for data sets like these "
            f"exceeds the possible range ({low} to {high})."
        )
    text = (
        f"As a sample of data sets like these, they give a mean benefit of {signed(overall.effect)} ({low} to {high})"
    )
    if growth.has_interval:
        text += f" and a growth of {signed(growth.effect)} ({signed(growth.low)} to {signed(growth.high)})"
    if overall.verdict is Verdict.UNRESOLVED:
        text += "; whether pretraining helps on other data sets is unresolved"
    return text + "."


def _these(estimates: Estimates) -> str:
    cells = estimates.comparison.estimable
    datasets, sizes = cells["dataset"].n_unique(), cells["model"].n_unique()
    first = "this data set" if datasets == 1 else f"these {datasets} data sets"
    return f"{first} and {count_of(sizes, 'model size')}"


def one_pretraining(findings: Findings) -> str:
    """The caveat that intervals hold for the weights there are; empty where sizes have several pretrainings."""
    if not findings.has_one_pretraining:
        return ""
    return (
        f"All {findings.comparison.arms[0]} runs of a size start from the same weights, so the intervals hold for "
        "these weights. No run here shows how much another pretraining of the same size would change the benefit or "
        "its growth."
    )
