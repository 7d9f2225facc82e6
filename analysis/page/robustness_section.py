"""The sections on what would settle the question, and on whether the answer depends on the way of asking it.

Next: `analysis/statistics/power.py` and `analysis/statistics/robustness.py` for the numbers.
"""

from __future__ import annotations

from concurrent.futures import Future

import polars as pl

from analysis.page import charts
from analysis.page.html import Page, details, paragraphs, table, text
from analysis.page.main_sections import chip
from analysis.page.wording import count_of, interval, p_text, signed, verdict
from analysis.results import Results
from analysis.statistics.contrasts import Estimate
from analysis.statistics.estimates import Estimates, over_datasets_weighted
from analysis.statistics.power import MOST_DATASETS, MOST_SEEDS, WhatNext, what_next
from analysis.statistics.robustness import (
    ExampleTests,
    SignFlip,
    Way,
    control_arms,
    other_outcomes,
    other_settings,
    probability_of_improvement,
    sign_flip,
    welch,
)


def what_would_settle_it(page: Page, estimates: Estimates) -> str:
    """How many more seeds, how many more data sets, in words, drawn and tabulated."""
    found = what_next(estimates)
    if found is None:
        if estimates.overall.effect is None:
            return ""
        return paragraphs([_why_not(estimates)])
    content = paragraphs(what_next_sentences(found, estimates))
    for key, frame, now in (
        ("seeds", found.by_seeds, found.seeds_now),
        ("datasets", found.by_datasets, found.datasets_now),
    ):
        if frame.height > 1:
            rows = [[row["count"], row["basis"], f"{row['half_width']:.2f}"] for row in frame.iter_rows(named=True)]
            caption = (
                f"Expected half-width of the 95 % interval on the growth, {_which(key)}. Dashed: the margin of "
                f"±{estimates.margin:g}; grey line: the study as it is."
            )
            listing = table([frame["axis"][0], "basis", "half-width"], rows, f"Half-width by {frame['axis'][0]}", 2)
            content += page.figure(f"next-{key}", charts.half_widths(frame, estimates.margin, now), caption, listing)
    return content


def _which(key: str) -> str:
    if key == "seeds":
        return "for these data sets, as seeds are added"
    return "for data sets like these, as data sets are added"


def _why_not(estimates: Estimates) -> str:
    if len(estimates.comparison.sizes) < 2:
        return "A second model size would settle whether there is any growth; with one nothing can be planned."
    if estimates.residual_sd is None:
        return "A second seed in every cell is needed before the spread between runs can be told, and planned with."
    return "A data set with results at two sizes is needed before the growth can be planned for."


def what_next_sentences(found: WhatNext, estimates: Estimates) -> list[str]:
    """The same in words."""
    margin = f"±{estimates.margin:g} {estimates.comparison.unit}"
    power = ""
    if found.detectable is not None:
        least = f"{found.detectable:.2f} {estimates.comparison.unit}"
        power = f"As it stands, the study finds a growth of {least} or more with 80 % power."
    return [_seeds_sentence(found, margin), _datasets_sentence(found), power]


def _seeds_sentence(found: WhatNext, margin: str) -> str:
    if found.seeds is None:
        return f"Even {MOST_SEEDS:,} seeds a cell would not narrow the interval on the growth to {margin}."
    if found.seeds <= found.seeds_now:
        return f"For these data sets the {found.seeds_now} seeds a cell are enough for an interval within {margin}."
    more = found.seeds_cautious is not None and found.seeds_cautious > found.seeds
    cautious = f" ({found.seeds_cautious} to be safe)" if more else ""
    return (
        f"For these data sets, {found.seeds} seeds a cell{cautious} would bring the interval on the growth within "
        f"{margin}; "
        f"the smallest cell has {found.seeds_now}."
    )


def _datasets_sentence(found: WhatNext) -> str:
    if found.datasets_now < 2:
        return "A second data set is needed before anything can be said about data sets that are not in the study."
    if found.datasets is None:
        return f"For data sets like these, even {MOST_DATASETS:,} would not do with {found.seeds_now} seeds a cell."
    if found.datasets <= found.datasets_now:
        return f"For data sets like these, the {found.datasets_now} at hand are enough."
    return (
        f"For data sets like these, about {found.datasets} data sets would be needed; there are {found.datasets_now}. "
        f"The spread between data sets is itself known from {count_of(found.datasets_now, 'value')} only."
    )


def does_it_depend(results: Results, estimates: Estimates, examples: Future[ExampleTests]) -> str:
    """Other assumptions, metrics, epochs and hyperparameters, and test examples as the sample."""
    comparison = estimates.comparison
    if estimates.overall.effect is None:
        return ""
    ways = [
        Way("as above (primary)", comparison.unit, estimates.overall, estimates.growth),
        Way("own spread in each cell (Welch)", comparison.unit, *welch(comparison)),
        Way("data sets as a sample", comparison.unit, estimates.overall_random, estimates.growth_random),
        _weighted(estimates),
    ]
    improvement = probability_of_improvement(comparison)
    content = "<h3>Other assumptions</h3>" + _ways_table("assumption", ways, estimates.margin)
    content += paragraphs([_flip_sentence(sign_flip(comparison)), _improvement_sentence(improvement)])
    content += _improvement(improvement)
    arms = control_arms(results, comparison)
    if arms:
        what = (
            "Shuffled weights have the statistics of the pretrained ones without what they know; with frozen weights "
            "the head "
            "alone is trained."
        )
        content += "<h3>Control arms</h3>" + paragraphs([what]) + _ways_table("arms", arms, estimates.margin)
    outcomes = other_outcomes(results, comparison)
    if outcomes:
        content += "<h3>Other metrics</h3>" + _ways_table("metric", outcomes, None) + metric_cells(outcomes)
    settings = other_settings(results, comparison)
    if settings:
        content += "<h3>Other epochs and hyperparameters</h3>" + _ways_table("setting", settings, estimates.margin)
    return content + _examples(examples.result())


def _weighted(estimates: Estimates) -> Way:
    """Data sets as a sample again, the better known ones counting more."""
    label = "the same, by precision (Hartung–Knapp)"
    benefit = over_datasets_weighted(Estimate("all data sets, by precision"), estimates.datasets)
    growth = over_datasets_weighted(Estimate("growth, by precision"), estimates.dataset_growth)
    return Way(label, estimates.comparison.unit, benefit, growth)


def metric_cells(outcomes: list[Way]) -> str:
    """Δ and its interval in every cell for every other metric, folded: one row a cell, one column a metric."""
    cells = {(one.dataset, one.size): None for way in outcomes for one in way.cells}
    found = [{(one.dataset, one.size): one for one in way.cells} for way in outcomes]
    rows: list[list[object]] = []
    for key in cells:
        row: list[object] = [*key]
        for way, of_cell in zip(outcomes, found, strict=True):
            one, digits = of_cell.get(key), 4 if way.unit == "nats" else 2
            row.append("–" if one is None else f"{signed(one.effect, digits)} {interval(one, digits)}")
        rows.append(row)
    headers = ["data set", "size", *(f"{way.label}, {way.unit}" for way in outcomes)]
    return details("Every metric in each cell", table(headers, rows, "Every metric in each cell", 2))


def _ways_table(first: str, ways: list[Way], margin: float | None) -> str:
    """Benefit and growth of each way; verdicts where there is a margin to judge by, else the unit."""
    rows = []
    for way in ways:
        digits = 4 if way.unit == "nats" else 2
        row: list[object] = [way.label, *([] if margin is not None else [way.unit])]
        for one, up, down in ((way.benefit, "helps", "hurts"), (way.growth, "grows", "shrinks")):
            row += [signed(one.effect, digits), interval(one, digits)]
            row += [] if margin is None else [chip(verdict(one, margin, up, down))]
        rows.append(row)
    extra = [] if margin is None else ["verdict"]
    unit = ["unit"] if margin is None else []
    headers = [first, *unit, "benefit", "95 % interval", *extra, "growth", "95 % interval", *extra]
    return table(headers, rows, f"Benefit and growth by {first}") + paragraphs([_reasons(ways)])


def _reasons(ways: list[Way]) -> str:
    """Why an interval is missing."""
    said = []
    for way in ways:
        reasons = [one.reason for one in (way.benefit, way.growth) if one.reason and not one.has_interval]
        said += [f"{way.label}: {reasons[0].removeprefix('no interval: ')}"] if reasons else []
    return f"Without an interval: {'; '.join(said)}." if said else ""


def _flip_sentence(found: SignFlip | None) -> str:
    if found is None:
        return ""
    how = "all sign patterns" if found.is_exact else f"{found.patterns:,} random sign patterns"
    return (
        f"Sign-flip test of “no effect in any pair” over {count_of(found.n, 'pair')} ({how}): p "
        f"{_p_words(found.p_value)}; the "
        f"smallest p that it can give here is {found.smallest:.2g}. It needs no normal distribution."
    )


def _p_words(value: float) -> str:
    shown = p_text(value)
    return shown.replace(" ", "\u00a0") if shown.startswith("<") else f"=\u00a0{shown}"


def _improvement_sentence(cells: pl.DataFrame) -> str:
    if cells.is_empty():
        return ""
    mean = sum(cells["probability"].to_list()) / cells.height
    return (
        "Probability of improvement: a pretrained run is better than a scratch run of the same cell in "
        f"{mean * 100:.0f} % "
        "of the comparisons, mean over cells (ties count half). No interval: at few seeds it would leave 0 to 100 %."
    )


def _improvement(cells: pl.DataFrame) -> str:
    rows = [
        [row["dataset"], row["size"], f"{row['probability'] * 100:.0f} %", row["n_treated"], row["n_control"]]
        for row in cells.iter_rows(named=True)
    ]
    headers = ["data set", "size", "probability of improvement", "pretrained runs", "scratch runs"]
    return details("Probability of improvement in each cell", table(headers, rows, "Probability of improvement", 2))


def _examples(found: ExampleTests) -> str:
    if found.cells.is_empty():
        return ""
    rows = []
    single = found.cells["p_mcnemar"].null_count() < found.cells.height
    for row in found.cells.iter_rows(named=True):
        one = Estimate("", effect=row["effect"], low=row["low"], high=row["high"])
        p_values = [p_text(row[name]) for name in ("p_value", "p_mcnemar") if single or name == "p_value"]
        rows.append([row["dataset"], row["size"], f"{row['n']:,}", signed(row["effect"]), interval(one), *p_values])
    what = (
        "Here the test examples are the sample and the trained models are given: each example counts once, with the "
        "share of "
        "pretrained runs that get it right less that of scratch runs (paired t). It tells whether other test "
        "examples could "
        "have changed the sign, not whether other seeds could."
    )
    headers = ["data set", "size", "test examples", "Δ", "95 % interval", "p", *["p (McNemar, exact)"] * single]
    left_out = "".join(f"<li><code>{text(one.path)}</code>: {text(one.reason)}</li>" for one in found.problems[:20])
    note = f'<aside class="note" aria-label="Predictions left out"><ul>{left_out}</ul></aside>' if left_out else ""
    return (
        "<h3>Test examples as the sample</h3>"
        + paragraphs([what])
        + note
        + table(headers, rows, "Per-example tests", 2)
    )
