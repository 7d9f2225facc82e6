"""The forest plot: the benefit of each cell with its interval, then the means over data sets.

Next: `analysis/page/charts.py`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import altair as alt
import polars as pl

from analysis.page.chart_style import GREY, INK, SIGNED, VERDICTS, Chart, linked, standing_out, zero_line
from analysis.page.number_text import interval
from analysis.page.wording import BENEFIT
from analysis.statistics.effect import Estimate
from analysis.statistics.estimates import Estimates

#: Separates the group from the label in a row's key; no name may hold it.
_CUT = "\u001f"

#: Pixels that a row's label may take.
_LABEL_LIMIT = 130

_THESE, _LIKE_THESE = "Mean over these data sets", "Mean over data sets like these"


@dataclass(frozen=True)
class ForestRow:
    """One row of the plot; `kind` is header, cell, fixed, random or prediction, `shown` the interval as text."""

    key: str
    group: str | None
    name: str
    kind: str
    dataset: str | None = None
    size: str | None = None
    verdict: str = ""
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    shown: str = ""
    n: int | None = None


def _header(group: str, dataset: str | None = None) -> ForestRow:
    return ForestRow(f"{group}{_CUT}", group, group, "header", dataset)


def _row(group: str, label: str, kind: str, one: Estimate, dataset: str | None = None) -> ForestRow:
    return ForestRow(
        key=f"{group}{_CUT}{label}",
        group=None,
        name=f"{group}, {label}".strip(", "),
        kind=kind,
        dataset=dataset,
        size=one.size,
        verdict="" if one.verdict is None else BENEFIT[one.verdict],
        effect=one.effect,
        low=one.low,
        high=one.high,
        shown=interval(one),
        n=one.n,
    )


def forest_rows(estimates: Estimates) -> pl.DataFrame:
    """Rows (`ForestRow`) from top to bottom: a header per data set, its sizes, then the means over data sets."""
    rows: list[ForestRow] = []
    for dataset in dict.fromkeys(one.dataset or "" for one in estimates.cells):
        rows.append(_header(dataset, dataset))
        cells = [one for one in estimates.cells if one.dataset == dataset]
        rows += [_row(dataset, one.size or "", "cell", one, dataset) for one in cells]
    if not rows:
        return pl.DataFrame()
    for title, kind, members, total in (
        (_THESE, "fixed", estimates.sizes, estimates.overall),
        (_LIKE_THESE, "random", estimates.sizes_random, estimates.overall_random),
    ):
        rows.append(_header(title))
        rows += [_row(title, one.size or "", kind, one) for one in members]
        if len(members) > 1:
            rows.append(_row(title, "all sizes", kind, total))
    rows += _prediction(estimates)
    numbers = dict.fromkeys(("effect", "low", "high"), pl.Float64())
    return pl.DataFrame([asdict(row) for row in rows], schema_overrides=numbers, infer_schema_length=None)


def _prediction(estimates: Estimates) -> list[ForestRow]:
    """The prediction interval for one further data set, where there are enough data sets for one."""
    spread = estimates.heterogeneity
    if spread is None or spread.prediction_low is None or spread.prediction_high is None:
        return []
    low, high = spread.prediction_low, spread.prediction_high
    one = Estimate("", effect=estimates.overall_random.effect, low=low, high=high, n=len(estimates.datasets))
    row = _row(_LIKE_THESE, "one new data set", "prediction", one)
    return [replace(row, shown=f"[{low:+.2f}, {high:+.2f}]")]


def _forest_domain(rows: pl.DataFrame, margin: float) -> list[float] | None:
    """Limits of the axis where wide intervals over few data sets would squash all others; else None."""
    own = rows.filter(pl.col("kind").is_in(["cell", "fixed"]))
    reach = pl.concat([own["low"], own["high"], own["effect"], pl.Series([0.0, margin, -margin])]).drop_nulls()
    wide = pl.concat([rows["low"], rows["high"]]).drop_nulls()
    low, high = min(reach), max(reach)
    padding = 0.35 * (high - low)
    if wide.is_empty() or (min(wide) > low - 2 * padding and max(wide) < high + 2 * padding):
        return None
    return [low - padding, high + padding]


def clips(estimates: Estimates) -> bool:
    """Whether some interval continues beyond the plot."""
    return _forest_domain(forest_rows(estimates), estimates.margin) is not None


def forest(estimates: Estimates) -> Chart:
    """Benefit of each cell with its 95 % interval and its single pairs, then means with fixed and random data sets."""
    rows = forest_rows(estimates)
    unit = estimates.comparison.unit
    order = rows["key"].to_list()
    y = alt.Y(
        "key:N",
        sort=order,
        title=None,
        scale=alt.Scale(domain=order),
        axis=alt.Axis(labelExpr=f"split(datum.value, '{_CUT}')[1]", ticks=False, domain=False, labelLimit=_LABEL_LIMIT),
    )
    tip = [
        alt.Tooltip("name:N", title="where"),
        alt.Tooltip("effect:Q", title=f"Δ, {unit}", format="+.2f"),
        alt.Tooltip("shown:N", title="95 % interval"),
        alt.Tooltip("verdict:N"),
        alt.Tooltip("n:Q"),
    ]
    colour, shape = _verdict_encodings(rows)
    drawn = rows.filter(pl.col("effect").is_not_null())
    points = drawn.filter(pl.col("kind") != "prediction")
    base = alt.Chart(points).encode(y=y, tooltip=tip)
    domain = _forest_domain(rows, estimates.margin)
    scale = alt.Scale(domain=domain, nice=False) if domain else alt.Scale(padding=8)
    axis = alt.Axis(tickCount=7, labelExpr=SIGNED)
    x = alt.X("effect:Q", title=f"Δ accuracy, pretrained − scratch ({unit})", scale=scale, axis=axis)
    base = base.encode(color=colour, opacity=standing_out(1))
    bars = base.mark_rule(strokeWidth=2.2, clip=True, cursor="pointer").encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"))
    marks = base.mark_point(filled=True, size=95, clip=True, cursor="pointer").encode(x=x, shape=shape)
    layers = [_margin_band(estimates.margin), zero_line("zero", vertical=True)]
    if estimates.comparison.paired and estimates.comparison.pairs.height:
        layers.append(_pair_dots(estimates, y))
    layers += [bars, marks]
    prediction = drawn.filter(pl.col("kind") == "prediction")
    if prediction.height:
        dotted = alt.Chart(prediction).mark_rule(strokeWidth=2, strokeDash=[2, 3], color=GREY, clip=True)
        layers.append(dotted.encode(y=y, tooltip=tip, x=alt.X("low:Q"), x2=alt.X2("high:Q")))
    headers = alt.Chart(rows.filter(pl.col("kind") == "header"))
    layers.append(
        headers.mark_text(align="left", baseline="middle", fontWeight=600, fontSize=12.5, color=INK).encode(
            y=y, x=alt.XValue(-_label_width(rows)), text=alt.Text("group:N"), opacity=standing_out(1)
        )
    )
    count = estimates.comparison.estimable.height
    return linked(layers).properties(
        width="container",
        height=len(order) * (25 if len(order) <= 60 else 16),
        description=f"Forest plot: benefit of pretraining with 95 % intervals for {count} cells of size and data set, "
        "and means over data sets. The table below holds the same numbers.",
    )


def _verdict_encodings(rows: pl.DataFrame) -> tuple[alt.Color, alt.Shape]:
    """Colour and shape by verdict, with a legend of those that occur."""
    shown = [verdict for verdict in VERDICTS if BENEFIT[verdict] in set(rows["verdict"])]
    words = [BENEFIT[verdict] for verdict in shown]
    colours = alt.Scale(domain=words, range=[VERDICTS[verdict][0] for verdict in shown])
    shapes = alt.Scale(domain=words, range=[VERDICTS[verdict][1] for verdict in shown])
    legend = alt.Legend(title=None, orient="top", symbolSize=90)
    return alt.Color("verdict:N", legend=legend, scale=colours), alt.Shape("verdict:N", legend=legend, scale=shapes)


def _label_width(rows: pl.DataFrame) -> float:
    """Approximate width of the longest label in pixels: headers start where it does."""
    labels = [key.split(_CUT)[1] for key in rows["key"]]
    return min(6.0 * max(len(label) for label in labels), _LABEL_LIMIT)


def _margin_band(margin: float) -> alt.Chart:
    frame = pl.DataFrame({"from": [-margin], "to": [margin]})
    return alt.Chart(frame).mark_rect(color=GREY, opacity=0.13).encode(x=alt.X("from:Q"), x2=alt.X2("to:Q"))


def _pair_dots(estimates: Estimates, y: alt.Y) -> alt.Chart:
    """The difference of each pair, as a faint dot."""
    frame = estimates.comparison.pairs.select(
        pl.concat_str("dataset", "size", separator=_CUT).alias("key"),
        "dataset",
        "size",
        "seed",
        pl.col("difference").alias("effect"),
    )
    tip = [alt.Tooltip("seed:Q"), alt.Tooltip("effect:Q", title="Δ of this pair", format="+.2f")]
    dots = alt.Chart(frame).mark_circle(size=22, color=GREY, yOffset=7, clip=True)
    return dots.encode(y=y, x=alt.X("effect:Q"), opacity=standing_out(0.45), tooltip=tip)
