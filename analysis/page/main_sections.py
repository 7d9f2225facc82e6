"""The sections of the page, in the order of the reader's questions. Words and markup only; numbers come in as records.

Next: `analysis/page/html.py` for the frame, `analysis/page/wording.py` for the sentences.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from analysis.page import charts
from analysis.page.html import Markup, Page, details, number, paragraphs, table, text
from analysis.page.wording import (
    SYMBOLS,
    count_of,
    headline,
    interval,
    interval90,
    one_pretraining,
    p_text,
    parameters_text,
    signed,
    verdict,
)
from analysis.results import Results
from analysis.statistics.contrasts import Estimate
from analysis.statistics.estimates import Estimates
from analysis.statistics.pairs import Comparison
from analysis.statistics.robustness import cells_at_chance, welch


def chip(word: str) -> Markup:
    """A verdict as a word with its symbol; the colour repeats what they say."""
    style = "none" if word == "not estimable" else word
    return Markup(
        f'<span class="chip {text(style)}"><span aria-hidden="true">{SYMBOLS[word]}</span>{text(word)}</span>'
    )


def progress(results: Results) -> str:
    """How many of the planned runs have ended: 36 runs of 48 done, 1 failed."""
    failed = f", {results.failed.height} failed" if results.failed.height else ""
    return f"{count_of(results.done.height, 'run')} of {results.plan.height:,} done{failed}"


def masthead(results: Results, estimates: Estimates, caveats: Sequence[str] = ()) -> str:
    """The answer: question, sentences, verdicts, the few numbers that carry them, and what was left out."""
    head = headline(results, estimates)
    parts = [
        f'<p class="kicker">{text(results.name)} · {text(progress(results))}</p>',
        "<h1>Is pretraining worth it, and does that grow with the model?</h1>",
        f'<p class="answer" id="answer">{text(head.answer)} {text(head.growth_sentence)}</p>',
        f'<p class="generality">{text(head.generality)}</p>' if head.generality else "",
    ]
    if estimates.overall.effect is not None:
        parts.append(_cards(results, estimates))
        caveats = [*caveats, *_chance_note(results, estimates.comparison), *_spread_note(estimates)]
    parts.append(notes(results, [*caveats, *_group_note(estimates.comparison)]))
    return "".join(parts)


def _chance_note(results: Results, comparison: Comparison) -> list[str]:
    """Where the control arm has learnt nothing yet, a benefit is one of pace."""
    found = cells_at_chance(results, comparison).join(comparison.estimable, on=["dataset", "size"], how="semi")
    if found.is_empty():
        return []
    total = comparison.estimable.height
    control = comparison.arms[1]
    return [
        f"In {found.height} of {count_of(total, 'cell')} the {control} arm ends no better than naming the largest "
        "class throughout. What the arms differ by there is how soon they learn; longer training may make it smaller."
    ]


def _spread_note(estimates: Estimates) -> list[str]:
    """Where an answer hangs on the spread being the same in all cells, which the primary estimates assume."""
    own = welch(estimates.comparison)
    found = []
    for what, primary, other, up, down in (
        ("Whether pretraining helps", estimates.overall, own[0], "helps", "hurts"),
        ("Whether the benefit grows", estimates.growth, own[1], "grows", "shrinks"),
    ):
        words = [verdict(one, estimates.margin, up, down) for one in (primary, other)]
        if other.has_interval and words[0] != words[1]:
            found.append(
                f"{what} depends on the assumption that runs vary alike in all cells ({words[0]}): with each cell's "
                f"own spread the 95 % interval is {interval(other)} ({words[1]})."
            )
    return found


def _group_note(comparison: Comparison) -> list[str]:
    if len(comparison.variants) < 2:
        return []
    return [
        f"The study has {len(comparison.variants)} groups of hyperparameters, which are never averaged. The answer "
        "above is "
        f"about {comparison.variant} ({len(comparison.variants) - 1} other in the sections below)."
    ]


def _cards(results: Results, estimates: Estimates) -> str:
    comparison = estimates.comparison
    cells = comparison.estimable
    unit = comparison.unit
    items = [
        _card("Benefit", estimates.overall, verdict(estimates.overall, estimates.margin), "overall-effect", unit),
        _card(
            "Growth, smallest to largest size",
            estimates.growth,
            verdict(estimates.growth, estimates.margin, "grows", "shrinks"),
            "growth-effect",
            unit,
        ),
    ]
    declared = "declared in the study" if (results.study.get("analysis") or {}).get("margin") else "the default"
    kind = "paired by seed" if comparison.paired else "unpaired"
    items.append(
        f'<div class="card"><dt>Evidence</dt><dd><span class="big">{comparison.runs.height:,} runs</span>'
        f'<div class="small">'
        f"{count_of(cells['model'].n_unique(), 'size')} × {count_of(cells['dataset'].n_unique(), 'data set')}, {kind}, "
        f"{comparison.epochs} epochs</div></dd></div>"
    )
    items.append(
        f'<div class="card"><dt>Margin that matters</dt><dd><span class="big">±{estimates.margin:g}</span>'
        f'<div class="small">{text(unit)}, {declared}</div></dd></div>'
    )
    return f'<dl class="cards">{"".join(items)}</dl>'


def _card(title: str, one: Estimate, word: str, key: str, unit: str) -> str:
    value = number(one.effect, signed(one.effect), key)
    span = f"95 % interval {interval(one)}" if one.has_interval else one.reason or "no interval"
    return (
        f'<div class="card"><dt>{text(title)}</dt><dd><span class="big">{value}</span> {chip(word)}'
        f'<div class="small">{text(unit)}; {text(span)}</div></dd></div>'
    )


def _data_notes(results: Results) -> list[tuple[str, str]]:
    """What the sweep noted of its data sets, as (data set, note); and which splits are not the ones they came with."""
    data = results.study.get("data")
    entries = data.items() if isinstance(data, dict) else ()
    found = [
        (str(name), str(note))
        for name, facts in entries
        if isinstance(facts, dict) and isinstance(facts.get("notes"), list)
        for note in facts["notes"]
    ]
    regrouped = results.done.filter(pl.col("split") == "regroup")["dataset"].unique().sort().to_list()
    return found + [
        (name, "training, validation and test were cut anew, so that no overlapping sequences face each other")
        for name in regrouped
    ]


def notes(results: Results, caveats: Sequence[str] = ()) -> str:
    """What a reader must know before the numbers: what was skipped, what is not in the plan, known faults."""
    lines: list[str] = [text(one) for one in caveats]
    if results.problems:
        named = "".join(f"<li><code>{text(one.path)}</code>: {text(one.reason)}</li>" for one in results.problems[:20])
        more = f"<li>and {len(results.problems) - 20} more</li>" if len(results.problems) > 20 else ""
        count = count_of(len(results.problems), "file or row", "files or rows")
        lines.append(f"{count} could not be used and count nowhere:<ul>{named}{more}</ul>")
    if results.unplanned:
        lines.append(
            f"{count_of(results.unplanned, 'run')} in the folder {_is(results.unplanned)} not part of the present "
            "plan and count nowhere."
        )
    if not results.plan_known:
        lines.append("There is no readable plan, so every run found counts, and missing runs cannot be seen.")
    for column, what in (
        ("commit", "versions of the code"),
        ("device", "kinds of device"),
        ("precision", "precisions"),
    ):
        kinds = results.done[column].drop_nulls().n_unique()
        if kinds > 1:
            lines.append(f"The runs were made with {kinds} {what}; what these do is not told apart from chance.")
    lines += [f"{text(name)}: {text(note)}." for name, note in _data_notes(results)]
    if results.failed.height:
        lines.append(f'{count_of(results.failed.height, "run")} failed; <a href="#runs">the reasons are below</a>.')
    if not lines:
        return ""
    inner = f"<p>{lines[0]}</p>" if len(lines) == 1 else "<ul>" + "".join(f"<li>{one}</li>" for one in lines) + "</ul>"
    return f'<aside class="note" aria-label="What was left out">{inner}</aside>'


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def where_it_helps(page: Page, estimates: Estimates) -> str:
    if not estimates.cells:
        return ""
    paired = estimates.comparison.paired
    caption = (
        "Δ by data set and size. Lines: 95 % intervals (pooled spread); shapes: verdicts by the rule below; "
        + ("small dots: single pairs; " if paired else "")
        + f"grey band: ±{estimates.margin:g} {estimates.comparison.unit}, the margin that matters. "
        + ("Intervals that leave the figure go on beyond it. " if charts.clips(estimates) else "")
        + "The first block of means speaks for these data sets, the "
        "second takes them as a sample of data sets."
    )
    figure = page.figure("forest", charts.forest(estimates), caption, cells_table(estimates))
    spread = estimates.heterogeneity
    extra = ""
    if spread:
        extra = (
            f"Between data sets the true benefit differs by an estimated standard deviation of {spread.tau:.2f} "
            f"{estimates.comparison.unit} (τ); {spread.i2 * 100:.0f} % of the variance between them is not due to "
            "single runs (I²). "
            f"One further data set like these would show between {signed(spread.prediction_low)} and "
            f"{signed(spread.prediction_high)} (95 % prediction interval)."
        )
    missing = estimates.comparison.cells.filter(pl.col("reason").is_not_null())
    lacking = "; ".join(
        f"{row['dataset']}, {row['size']}: {row['reason']}" for row in missing.head(12).iter_rows(named=True)
    )
    if missing.height > 12:
        lacking += f"; and {missing.height - 12} more"
    return figure + paragraphs([extra, f"Not shown, because nothing is imputed: {lacking}." if lacking else ""])


def cells_table(estimates: Estimates) -> str:
    comparison = estimates.comparison
    rows = []
    found = {(row["dataset"], row["model"]): row for row in comparison.estimable.iter_rows(named=True)}
    for one in estimates.cells:
        cell = found[one.dataset, one.model]
        rows.append(
            [
                one.dataset,
                one.size,
                f"{cell['mean_treated']:.2f} ({cell['n_treated']})",
                f"{cell['mean_control']:.2f} ({cell['n_control']})",
                Markup(number(one.effect, signed(one.effect))),
                interval(one),
                p_text(one.p_adjusted),
                chip(verdict(one, estimates.margin)),
            ]
        )
    headers = [
        "data set",
        "size",
        f"{comparison.arms[0]} % (runs)",
        f"{comparison.arms[1]} % (runs)",
        "Δ",
        "95 % interval",
        "p (Benjamini–Hochberg)",
        "verdict",
    ]
    return table(headers, rows, "Benefit of each cell", numeric_from=2)


def does_it_grow(page: Page, results: Results, estimates: Estimates) -> str:
    if not estimates.sizes:
        return ""
    content = ""
    if len(estimates.sizes) > 1:
        caption = (
            "Mean benefit (diamonds, 95 % intervals for these data sets) against trainable parameters on a "
            "logarithmic axis. "
            "Thin lines: data sets; pick one to single it out in every figure."
        )
        content += page.figure("scaling", charts.scaling(estimates), caption, growth_table(estimates))
        content += paragraphs([one_pretraining(results, estimates.comparison)])
    else:
        content += paragraphs(["One model size has results; growth needs at least two."])
    return content + sizes_table(estimates)


def sizes_table(estimates: Estimates) -> str:
    rows = [
        [
            fixed.size,
            parameters_text(fixed.parameters),
            Markup(number(fixed.effect, signed(fixed.effect))),
            interval(fixed),
            p_text(fixed.p_adjusted),
            chip(verdict(fixed, estimates.margin)),
            interval(random),
            f"{fixed.n_datasets}",
        ]
        for fixed, random in zip(estimates.sizes, estimates.sizes_random, strict=True)
    ]
    headers = [
        "size",
        "parameters",
        "mean Δ",
        "95 %, these data sets",
        "p (Holm)",
        "verdict",
        "95 %, data sets like these",
        "data sets",
    ]
    return "<h3>By size</h3>" + table(headers, rows, "Benefit by size")


def growth_table(estimates: Estimates) -> str:
    lines: list[Estimate] = [
        estimates.growth,
        estimates.per_tenfold,
        estimates.largest_minus_smallest,
        estimates.growth_random,
        *estimates.dataset_growth,
    ]
    rows = [
        [
            one.label if one.dataset is None else f"growth on {one.dataset}",
            signed(one.effect),
            interval(one),
            interval90(one),
            p_text(one.p_value),
            "–" if one.df is None else f"{one.df:.0f}",
            one.method or one.reason,
        ]
        for one in lines
    ]
    headers = ["estimate", "Δ", "95 % interval", "90 % (equivalence)", "p", "df", "how"]
    return table(headers, rows, "Growth of the benefit with size")


def beside_published(estimates: Estimates, reference: Estimates, name: str) -> str:
    """This study's main estimates and those of a published one, side by side; they are never pooled."""
    rows = []
    for label, ours, theirs in (
        ("benefit, all cells", estimates.overall, reference.overall),
        ("benefit, data sets as a sample", estimates.overall_random, reference.overall_random),
        ("growth, smallest to largest size", estimates.growth, reference.growth),
        ("growth per tenfold parameters", estimates.per_tenfold, reference.per_tenfold),
        ("growth, data sets as a sample", estimates.growth_random, reference.growth_random),
    ):
        rows.append([label, signed(ours.effect), interval(ours), signed(theirs.effect), interval(theirs)])
    intro = (
        f"For comparison, not pooled: {name} ({count_of(reference.comparison.runs.height, 'run')} of "
        f"{reference.comparison.epochs} epochs, one unseeded pretrained run a cell, whose spread is assumed)."
    )
    headers = ["estimate", "this study", "95 % interval", "published", "95 % interval"]
    return paragraphs([intro]) + table(headers, rows, "This study beside the published one")


def methods_list(sentences: Sequence[str]) -> str:
    return paragraphs(sentences) + details("References", paragraphs(REFERENCES))


REFERENCES = (
    "Pooled t contrasts: statsmodels OLS; simulated coverage of the nominal 95 % interval with 4 data sets is .956, "
    ".949 and "
    ".948 at 3, 5 and 10 seeds, where a percentile bootstrap covers .86 to .93.",
    "Nguyen et al., HyenaDNA: long-range genomic sequence modeling at single nucleotide resolution (2023).",
    "Higgins, Thompson and Spiegelhalter, A re-evaluation of random-effects meta-analysis (2009).",
    "Schuirmann, A comparison of the two one-sided tests procedure (1987); Holm (1979); Benjamini and Hochberg (1995).",
    "Bouthillier et al., Accounting for variance in machine learning benchmarks (2021).",
)
