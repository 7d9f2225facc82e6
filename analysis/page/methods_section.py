"""The methods behind the numbers of this page, and the references.

Next: `analysis/statistics/estimates.py`.
"""

from __future__ import annotations

from analysis.findings import Findings
from analysis.page.document import Block
from analysis.page.html import details, paragraphs
from analysis.page.number_text import count_of, interval, signed
from analysis.page.wording import one_pretraining
from analysis.statistics.estimates import Estimates
from analysis.statistics.pairs import OUTCOMES

_REFERENCES = (
    "Pooled t contrasts: statsmodels OLS; simulated coverage of the nominal 95 % interval with 4 data sets is .956, "
    ".949 and .948 at 3, 5 and 10 seeds, where a percentile bootstrap covers .86 to .93.",
    "Nguyen et al., HyenaDNA: long-range genomic sequence modeling at single nucleotide resolution (2023).",
    "Higgins, Thompson and Spiegelhalter, A re-evaluation of random-effects meta-analysis (2009).",
    "Schuirmann, A comparison of the two one-sided tests procedure (1987); Holm (1979); Benjamini and Hochberg (1995).",
    "Bouthillier et al., Accounting for variance in machine learning benchmarks (2021).",
)


def blocks(findings: Findings) -> list[Block]:
    return [paragraphs(_sentences(findings)), details("References", paragraphs(_REFERENCES))]


def _sentences(findings: Findings) -> list[str]:
    """One string per paragraph."""
    estimates, comparison = findings.estimates, findings.comparison
    treated, control = comparison.arms
    description, unit, _ = OUTCOMES[comparison.outcome]
    done = comparison.runs.height
    found = [
        f"The outcome is {description}; differences are in percentage {unit}: Δ = {treated} − {control}. "
        f"Every run is evaluated after its last epoch ({comparison.epochs or '–'} epochs); nothing is selected on the "
        "test set.",
        comparison.why + f" {count_of(done, 'finished run')} with this number of epochs; {_seeds(estimates)}.",
    ]
    if comparison.variant:
        found.append(_group(findings))
    if comparison.correlation is not None:
        use = "pairing narrows the intervals" if comparison.gains_from_pairing else "pairing by seed gains little here"
        found.append(f"Correlation of the two arms over seeds, within cells: {signed(comparison.correlation)}; {use}.")
    if estimates.residual_sd is not None:
        found.append(_pooled(estimates))
    elif estimates.overall.effect is not None:
        found.append(f"On these data sets: {estimates.overall.reason}.")
    if estimates.growth.effect is not None:
        found.append(_growth_method(estimates))
    found.append(_random_method(estimates))
    if caveat := one_pretraining(findings):
        found.append(caveat)
    found.append(
        f"Verdicts follow a rule fixed in advance: a 95 % interval above or below 0 decides the direction; otherwise a "
        f"90 % interval inside ±{estimates.margin:g} {unit} (two one-sided tests at 5 %) means equivalent; otherwise "
        "the question is unresolved. Growth is the only primary test. p-values are adjusted over sizes by Holm's "
        "method and over cells by Benjamini and Hochberg's; the intervals, and so the verdicts, are not adjusted. "
        "Missing cells are not imputed."
    )
    return found


def _group(findings: Findings) -> str:
    comparison = findings.comparison
    reason = (
        "the group that the study names"
        if findings.results.group
        else "of the groups that can be compared the one with the most training examples (among equals the most pairs, "
        "then the first planned)"
    )
    return (
        f"Hyperparameters differ within the study. The answer is about {comparison.variant}, {reason}; different "
        f"groups are never averaged. All groups: {'; '.join(comparison.variants)}."
    )


def _seeds(estimates: Estimates) -> str:
    cells = estimates.comparison.estimable
    if cells.is_empty():
        return "no cell can be compared"
    if estimates.comparison.paired:
        counts = cells["n_pairs"].to_list()
        low, high = min(counts), max(counts)
        return f"{low if low == high else f'{low} to {high}'} pairs per cell, {count_of(cells.height, 'cell')}"
    parts = []
    for arm, column in zip(estimates.comparison.arms, ("n_treated", "n_control"), strict=True):
        counts = cells[column].to_list()
        low, high = min(counts), max(counts)
        parts.append(f"{low if low == high else f'{low} to {high}'} {arm}")
    return f"runs per cell: {', '.join(parts)}; {count_of(cells.height, 'cell')}"


def _pooled(estimates: Estimates) -> str:
    text = "; ".join(estimates.overall.assumptions)
    return (
        "On these data sets: ordinary least squares on cell indicators; intervals are t intervals of linear contrasts "
        f"of the cell means, with the residual standard deviation pooled over cells ({estimates.residual_sd:.3f} "
        f"{estimates.comparison.unit}, {estimates.df} degrees of freedom). Assumptions: {text}."
    )


def _growth_method(estimates: Estimates) -> str:
    growth = estimates.growth
    note = f" ({growth.reason})" if growth.reason else ""
    return (
        "Growth is the slope of Δ on centred log10(trainable parameters), averaged over "
        f"{count_of(growth.n_datasets, 'data set')} and multiplied by the range of sizes studied{note}. Per tenfold "
        f"parameters it is {signed(estimates.per_tenfold.effect)} {interval(estimates.per_tenfold)}; largest minus "
        f"smallest size {signed(estimates.largest_minus_smallest.effect)} {interval(estimates.largest_minus_smallest)}."
    )


def _random_method(estimates: Estimates) -> str:
    overall = estimates.overall_random
    if overall.has_interval:
        return (
            f"On a new data set: one value per data set is the unit (one-sample t, {overall.df:.0f} degrees of "
            "freedom); this assumes that the data sets are a random sample of those to which the answer is applied."
        )
    return f"On a new data set: {overall.reason or 'nothing can be estimated'}."
