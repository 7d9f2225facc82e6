"""What must hold for any results: identities between equal questions asked in two ways."""

from typing import Any, cast

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.page.document import columns
from analysis.page.html import json_script, text
from analysis.results import DEFAULT_TAU_SCALE
from analysis.statistics.effect import Estimate, t_estimate
from analysis.statistics.estimates import estimate
from analysis.statistics.pairs import Comparison
from analysis.statistics.verdicts import Verdict

VALUE = st.floats(-5, 5).map(lambda value: round(value, 3))
SIZES = (("s", 1_000), ("m", 30_000), ("l", 1_000_000))


@st.composite
def studies(draw):
    """[(data set, size, parameters, [(treated, control) of each seed])], some cells missing."""
    rows = []
    for dataset in "abc"[: draw(st.integers(1, 3))]:
        for size, parameters in SIZES[: draw(st.integers(1, 3))]:
            couples = draw(st.lists(st.tuples(VALUE, VALUE), min_size=1, max_size=5))
            rows.append((dataset, size, parameters, couples))
    return rows


def comparison_of(rows, *, swap=False, paired=True, shift=0.0, scale=1.0):
    pairs = []
    for dataset, size, parameters, couples in rows:
        for seed, (treated, control) in enumerate(couples):
            treated, control = (control, treated) if swap else (treated, control)
            treated, control = scale * treated + shift, scale * control + shift
            pairs.append(
                (f"{dataset}{size}", dataset, size, size, parameters, seed, treated, control, treated - control)
            )
    names = ["setting_id", "dataset", "model", "size", "parameters", "seed", "treated", "control", "difference"]
    frame = pl.DataFrame(pairs, schema=names, orient="row").with_columns(pretraining=pl.lit(None, pl.String))
    runs = pl.concat(
        frame.select(
            *names[:6], "pretraining", pl.lit(init).alias("init"), pl.col(name).cast(pl.Float64).alias("value")
        )
        for init, name in (("pretrained", "treated"), ("scratch", "control"))
    )
    cells = frame.group_by(names[:5], maintain_order=True).agg(pl.col("difference").mean().alias("effect"))
    cells = cells.with_columns(
        pl.lit(None, pl.String).alias("reason"), l_max=pl.lit(None, pl.Int64), n_treated=2, n_control=2
    )
    cells = cells.sort("dataset", "parameters")
    return Comparison(
        "test_accuracy", "points", ("pretrained", "scratch"), 1, "", ("",), cells, runs, frame, paired, "", None
    )


def main_estimates(found):
    return [found.overall, found.overall_random, found.growth, found.growth_random, found.largest_minus_smallest,
            *found.cells, *found.sizes, *found.sizes_random]  # fmt: skip


def same(one, other):
    return (one is None) == (other is None) and (one is None or one == pytest.approx(other, abs=1e-7, rel=1e-6))


@settings(max_examples=20, deadline=None)
@given(studies(), st.booleans())
def test_swapping_the_arms_negates_every_effect_and_mirrors_its_interval(rows, paired):
    straight = main_estimates(estimate(comparison_of(rows, paired=paired)))
    swapped = main_estimates(estimate(comparison_of(rows, swap=True, paired=paired)))
    for one, other in zip(straight, swapped, strict=True):
        assert same(one.effect, None if other.effect is None else -other.effect)
        assert same(one.low, None if other.high is None else -other.high)
        assert same(one.se, other.se)


@settings(max_examples=15, deadline=None)
@given(studies(), st.floats(-50, 50), st.floats(0.1, 10))
def test_a_shift_of_both_arms_changes_nothing_and_a_change_of_unit_scales_all(rows, shift, scale):
    plain = main_estimates(estimate(comparison_of(rows)))
    moved = main_estimates(estimate(comparison_of(rows, shift=shift, scale=scale), tau_scale=scale * DEFAULT_TAU_SCALE))
    for one, other in zip(plain, moved, strict=True):
        if one.has_interval != other.has_interval:
            continue  # rounding decides whether runs that agree exactly still do
        assert same(one.effect, None if other.effect is None else other.effect / scale)
        assert same(one.se, None if other.se is None else other.se / scale)


@settings(max_examples=15, deadline=None)
@given(studies())
def test_paired_and_unpaired_agree_on_effects_and_the_order_of_runs_does_not_matter(rows):
    paired = estimate(comparison_of(rows))
    unpaired = estimate(comparison_of(rows, paired=False))
    shuffled = estimate(comparison_of([(*row[:3], row[3][::-1]) for row in rows[::-1]]))
    for one, other, third in zip(paired.cells, unpaired.cells, shuffled.cells, strict=True):
        assert same(one.effect, other.effect)
        assert same(one.effect, third.effect)
    assert same(paired.growth.effect, unpaired.growth.effect)
    assert same(paired.growth.low, shuffled.growth.low)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(VALUE, VALUE), min_size=2, max_size=8))
def test_one_cell_is_the_classical_paired_test(couples):
    differences = [round(treated - control, 6) for treated, control in couples]
    found = estimate(comparison_of([("a", "s", 1_000, couples)])).overall
    if max(differences) - min(differences) < 1e-3:
        return
    classical = stats.ttest_1samp(differences, 0)
    assert found.p_value == pytest.approx(classical.pvalue, rel=1e-6, abs=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(classical.confidence_interval()), abs=1e-6)


@given(st.floats(-3, 3), st.floats(0.01, 3), st.floats(0.1, 2))
def test_verdicts_mirror_and_a_wider_margin_never_unsettles(effect, se, margin):
    one, other = (t_estimate(Estimate("x"), value, se, 12, "") for value in (effect, -effect))
    mirror = {Verdict.POSITIVE: Verdict.NEGATIVE, Verdict.NEGATIVE: Verdict.POSITIVE}
    verdict = one.judged(margin).verdict
    assert other.judged(margin).verdict is mirror.get(verdict, verdict)
    if verdict is not Verdict.UNRESOLVED:
        assert one.judged(margin * 1.5).verdict is verdict


@given(st.text())
def test_no_text_becomes_markup(value):
    assert not {"<", ">", '"'} & set(text(value))
    assert "<" not in json_script({"value": value, value: [value]})


@given(st.lists(st.one_of(st.none(), st.floats()), max_size=20), st.lists(st.one_of(st.none(), st.text()), max_size=20))
def test_columns_are_valid_json_and_keep_their_values(numbers, words):
    found = columns(pl.DataFrame({"number": pl.Series(numbers, dtype=pl.Float64)}), digits=17)["number"]
    json_script(found)
    finite = [None if value is None or abs(value) == float("inf") or value != value else value for value in numbers]
    assert [None if value is None else float(value) for value in cast(list[Any], found)] == finite
    coded = columns(pl.DataFrame({"word": pl.Series(words, dtype=pl.String)}))["word"]
    assert [None if code is None else coded["words"][code] for code in coded["codes"]] == words
