"""The sentences that answer the study's question, and the words of a verdict. No number is computed here.

Next: `analysis/page/masthead.py`, which opens the page with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.findings import Findings
from analysis.page.number_text import count_of, parameters_text, signed
from analysis.statistics.effect import Estimate
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
    """The answer in at most two sentences, the benefit and its growth with size, and what it does not hold for.

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
    return Headline(benefit, _growth_sentence(estimates), _generality(findings))


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
    weights = weights_clause(effect)
    if effect.verdict in (Verdict.POSITIVE, Verdict.NEGATIVE):
        is_small = effect.equivalence is Equivalence.INSIDE
        small = f", but by less than the {margin} that matter" if is_small else ""
        return f"{weights}, pretraining {BENEFIT[effect.verdict]}{small}: {span}."
    if effect.verdict is Verdict.EQUIVALENT:
        return f"{weights}, pretraining makes no meaningful difference: {span}, within {margin}."
    return f"{weights}, whether pretraining helps is unresolved: {span}."


def weights_clause(one: Estimate) -> str:
    """What an estimate is conditional on, as the beginning of a sentence."""
    if one.is_conditional:
        return "With the pretrained weights used here"
    return f"Over {one.n_pretrainings} pretrainings of each size"


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
    weights = "For these weights, the" if growth.is_conditional else "The"
    if growth.verdict in (Verdict.POSITIVE, Verdict.NEGATIVE):
        is_small = growth.equivalence is Equivalence.INSIDE
        note = f", but by less than the ±{estimates.margin:g} that matter" if is_small else ""
        return f"{weights} benefit {GROWTH[growth.verdict]} with model size{note}: {span}."
    if growth.verdict is Verdict.EQUIVALENT:
        return f"{weights} benefit is the same at all sizes, within ±{estimates.margin:g}: {span}."
    return f"{weights} change of the benefit with model size is unresolved: {span}."


def _generality(findings: Findings) -> str:
    """What the answer holds for, and what it does not hold for: other weights, data sets and test sequences."""
    estimates = findings.estimates
    if estimates.overall.verdict in (None, Verdict.NOT_ESTIMABLE):
        return ""
    open_for = []
    if estimates.overall.is_conditional:
        open_for.append("other pretrained weights of these sizes")
    overall = estimates.overall_random
    if not overall.has_interval or not estimates.sample_is_informative:
        open_for.append("other data sets (these are too few to tell)")
    elif overall.verdict is not estimates.overall.verdict:
        open_for.append(f"other data sets like these ({signed(overall.low)} to {signed(overall.high)})")
    again = findings.new_test_sequences
    if again is not None and again.overall.verdict is not estimates.overall.verdict:
        span = f"{signed(again.overall.low)} to {signed(again.overall.high)}"
        open_for.append(f"new test sequences of the same kind ({span})")
    if open_for:
        return f"This answer is about what was studied; it does not extend to {_listed(open_for)}."
    low, high = signed(overall.low), signed(overall.high)
    return f"On other data sets like these, a mean benefit of {signed(overall.effect)} is expected ({low} to {high})."


def _listed(parts: Sequence[str]) -> str:
    """a, b or c."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"


def _these(estimates: Estimates) -> str:
    cells = estimates.comparison.estimable
    datasets, sizes = cells["dataset"].n_unique(), cells["model"].n_unique()
    first = "this data set" if datasets == 1 else f"these {datasets} data sets"
    return f"{first} and {count_of(sizes, 'model size')}"


def pretraining_note(estimates: Estimates) -> str:
    """How many pretrainings the estimates rest on, and how much these differ; empty without an estimate."""
    known = [count for count in estimates.pretrainings.values() if count]
    treated = estimates.comparison.arms[0]
    if estimates.overall.effect is None or not known:
        return ""
    if estimates.is_conditional:
        return (
            f"All {treated} runs of a size start from the same weights, so the intervals hold for these weights. No "
            "run here shows how much another pretraining of the same size would change the benefit or its growth."
        )
    low, high = min(known), max(known)
    count = f"{low}" if low == high else f"{low} to {high}"
    text = f"The {treated} runs of a size start from {count} pretrainings, which are the unit of the intervals."
    if estimates.pretraining_sd is None:
        return text
    if estimates.pretraining_sd == 0:
        return f"{text} No difference between pretrainings is seen beyond the spread of seeds."
    unit = estimates.comparison.unit
    return f"{text} They differ in their mean benefit by {estimates.pretraining_sd:.2f} {unit} (standard deviation)."


def tipping_text(tipping: float | None, unit: str) -> str:
    """How much pretrainings may differ before a verdict falls; empty where there is nothing to overturn."""
    if tipping is None:
        return ""
    if tipping < 0.005:
        return "any difference between pretrainings would overturn this"
    return f"overturned if pretrainings of a size differ by a standard deviation of more than {tipping:.2f} {unit}"
