"""The methods behind the numbers of this page, and the references.

Next: `analysis/statistics/estimates.py`.
"""

from __future__ import annotations

from statistics import stdev

import polars as pl

from analysis.findings import Findings
from analysis.page.document import Block
from analysis.page.html import details, paragraphs
from analysis.page.number_text import count_of, interval, signed
from analysis.page.wording import pretraining_note
from analysis.statistics.estimates import Estimates
from analysis.statistics.pairs import OUTCOMES

_REFERENCES = (
    "Coverage of these intervals and rates of false verdicts on simulated studies of known truth: "
    "docs/statistics.md of "
    "this project.",
    "Smyth, Linear models and empirical Bayes methods for assessing differential expression (2004); Phipson et al., "
    "Robust hyperparameter estimation (2016).",
    "Gelman, Prior distributions for variance parameters in hierarchical models (2006); Röver, Bayesian random-effects "
    "meta-analysis using the bayesmeta R package (2020); Higgins, Thompson and Spiegelhalter (2009).",
    "Schuirmann, A comparison of the two one-sided tests procedure (1987); Holm (1979); Benjamini and Hochberg (1995); "
    "Pocock, Group sequential methods (1977); Johansen, The Welch–James approximation (1980).",
    "Nguyen et al., HyenaDNA: long-range genomic sequence modeling at single nucleotide resolution (2023).",
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
        found.append(_intervals(estimates))
    elif estimates.overall.effect is not None:
        found.append(f"On these data sets: {estimates.overall.reason}.")
    if estimates.growth.effect is not None:
        found.append(_growth_method(estimates))
    found.append(_random_method(findings))
    if note := pretraining_note(estimates):
        found.append(note)
    found += [_streams(findings), _verdict_method(estimates)]
    found = [one for one in found if one]
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


def _intervals(estimates: Estimates) -> str:
    overall = estimates.overall
    text = "; ".join(overall.assumptions)
    return (
        f"On these data sets: {overall.method}, {overall.df:.1f} degrees of freedom for the mean benefit. "
        "A single cell "
        "takes its variance moderated by those of the others. The standard deviation of one value within cells is "
        f"{estimates.residual_sd:.3f} {estimates.comparison.unit} on average. Assumptions: {text}."
    )


def _streams(findings: Findings) -> str:
    """Whether seeds of different cells are independent: not in results from before runs recorded their corpus."""
    runs = findings.results.done
    treated = runs.filter(pl.col("init") == findings.comparison.arms[0])
    if treated.is_empty() or treated["corpus"].null_count() < treated.height:
        return ""
    return (
        "These runs are of a release in which a seed had the same random draws in all data sets and "
        "sizes, so cells are "
        "not quite independent; “the seed as the unit” under Robustness allows for it."
    )


def _verdict_method(estimates: Estimates) -> str:
    unit, looks = estimates.comparison.unit, ""
    if estimates.looks > 1:
        looks = f" All are corrected for {estimates.looks} looks at the study while it grows (Pocock's level)."
    return (
        "Verdicts follow a rule fixed in advance: p below 0.05 decides the direction; otherwise two "
        "one-sided tests at 5 % "
        f"against ±{estimates.margin:g} {unit} decide for equivalent; otherwise the question is unresolved. Growth is "
        "the only primary test; it and the mean benefit stand alone, p-values of sizes are adjusted by "
        "Holm's method and "
        "those of cells by Benjamini and Hochberg's, and verdicts follow the adjusted ones. Intervals are not adjusted "
        f"for the number of sizes or cells. Missing cells are not imputed.{looks}"
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


def _random_method(findings: Findings) -> str:
    estimates = findings.estimates
    overall = estimates.overall_random
    if not overall.has_interval:
        return f"On a new data set: {overall.reason or 'nothing can be estimated'}."
    text = (
        f"On a new data set: one value per data set is the unit ({overall.method}); this assumes that the data sets "
        "are a random sample of those to which the answer is applied. On new test sequences: the variance of the mean "
        "per-example difference is added."
    )
    effects = [one.effect for one in estimates.datasets if one.effect is not None]
    scale, has_prior = findings.results.tau_scale, overall.df is None
    if has_prior and stdev(effects) > 2 * scale:
        text += (
            f" The effects of these data sets vary by a standard deviation of {stdev(effects):.1f}, far above the "
            f"scale of its prior ({scale:g}): see the interval without a prior under Robustness, or declare a larger "
            "tau_scale in the study."
        )
    return text
