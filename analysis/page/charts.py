"""Estimates and runs as Altair charts: each function takes typed records or a Polars frame and returns one chart.

Charts are as wide as their container. Channels are given by their classes, because Altair takes 20 ms to find the class
of a bare string. Next: `analysis/page/forest_plot.py` for the largest of them, `analysis/page/chart_style.py`.
"""

from __future__ import annotations

import altair as alt
import polars as pl

from analysis.page.chart_style import (
    BLUE,
    COLOURS,
    GREY,
    INK,
    SHAPES,
    SIGNED,
    VERMILION,
    WHOLE,
    Chart,
    accuracy_axis,
    arm_encodings,
    cycled,
    linked,
    standing_out,
    zero_line,
)
from analysis.page.forest_plot import forest
from analysis.statistics.estimates import Estimates

__all__ = ["cost", "forest", "half_widths", "learning_curve", "paired_runs", "pretraining", "scaling", "shares"]


def scaling(estimates: Estimates) -> Chart:
    """Benefit against trainable parameters: a thin line per data set, the mean with its interval on top."""
    unit = estimates.comparison.unit
    cells = estimates.frame("cells").select("dataset", "size", "parameters", "effect", "low", "high")
    sizes = estimates.frame("sizes").select("size", "parameters", "effect", "low", "high")
    datasets = cells["dataset"].unique(maintain_order=True).to_list()
    x = alt.X(
        "parameters:Q",
        title="trainable parameters",
        scale=alt.Scale(type="log", nice=False, padding=24),
        axis=alt.Axis(format=".3~s", values=sorted(set(sizes["parameters"])), labelOverlap=True),
    )
    y = alt.Y("effect:Q", title=f"Δ accuracy ({unit})", axis=alt.Axis(tickCount=6, labelExpr=SIGNED))
    legend = alt.Legend(title=None, orient="bottom", columns=2, labelLimit=260, direction="vertical")
    base = alt.Chart(cells).encode(
        x=x,
        y=y,
        color=alt.Color("dataset:N", scale=cycled(datasets, COLOURS), legend=legend),
        opacity=standing_out(0.85),
        tooltip=[
            alt.Tooltip("dataset:N"),
            alt.Tooltip("size:N"),
            alt.Tooltip("effect:Q", format="+.2f", title=f"Δ, {unit}"),
        ],
    )
    lines = base.mark_line(strokeWidth=1.2, cursor="pointer").encode(
        detail=alt.Detail("dataset:N"), opacity=standing_out(0.85)
    )
    dots = base.mark_point(filled=True, size=45, cursor="pointer").encode(
        shape=alt.Shape("dataset:N", scale=cycled(datasets, SHAPES), legend=legend)
    )
    mean = alt.Chart(sizes).encode(
        x=x,
        y=y,
        tooltip=[
            alt.Tooltip("size:N"),
            alt.Tooltip("effect:Q", title="mean Δ", format="+.2f"),
            alt.Tooltip("low:Q", format="+.2f"),
            alt.Tooltip("high:Q", format="+.2f"),
        ],
    )
    layers = [
        zero_line("effect"),
        lines,
        dots,
        mean.mark_line(color=INK, strokeWidth=3),
        mean.mark_rule(color=INK, strokeWidth=2.5).encode(
            y=alt.Y("low:Q"), y2=alt.Y2("high:Q"), opacity=standing_out(1)
        ),
        mean.mark_point(color=INK, filled=True, size=110, shape="diamond").encode(opacity=standing_out(1)),
    ]
    shown = ", ".join(f"{row['size']} {row['effect']:+.2f}" for row in sizes.iter_rows(named=True))
    return linked(layers).properties(
        width="container",
        height=360,
        description=f"Benefit of pretraining against trainable parameters, a line per data set. Mean by size: {shown}.",
    )


def learning_curve(
    data: pl.DataFrame | alt.NamedData, arms: tuple[str, str], *, bands: bool = True, raw_lines: bool = True
) -> Chart:
    """Test accuracy after each epoch of both arms. Rows: init, epoch; mean, low, high, n (bands); run, value (lines).

    `bands`, `raw_lines`: whether the rows have any; a layer without rows would leave its axis without an extent.
    """
    colour, dash, _ = arm_encodings(arms)
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickCount=6, labelExpr=WHOLE))
    base = alt.Chart(data).encode(x=x, color=colour)
    tip = [
        alt.Tooltip("init:N"),
        alt.Tooltip("epoch:Q"),
        alt.Tooltip("mean:Q", format=".2f"),
        alt.Tooltip("low:Q", format=".2f"),
        alt.Tooltip("high:Q", format=".2f"),
        alt.Tooltip("n:Q", title="runs"),
    ]
    band = (
        base.transform_filter("isValid(datum.low)")
        .mark_area(opacity=0.2)
        .encode(y=accuracy_axis("low:Q"), y2=alt.Y2("high:Q"))
    )
    raw = base.transform_filter("isValid(datum.value)").mark_line(strokeWidth=0.9, opacity=0.5)
    mean = base.transform_filter("isValid(datum.mean)").mark_line(strokeWidth=2.2, point=alt.OverlayMarkDef(size=14))
    layers = [band] if bands else []
    layers += [raw.encode(y=accuracy_axis("value:Q"), detail=alt.Detail("run:N"))] if raw_lines else []
    layers.append(mean.encode(y=accuracy_axis("mean:Q"), strokeDash=dash, tooltip=tip))
    return alt.layer(*layers).properties(width="container", height=180, description="Learning curves of both arms")


def paired_runs(data: pl.DataFrame | alt.NamedData, arms: tuple[str, str], sizes: list[str]) -> Chart:
    """Every run's accuracy by size and arm; a line joins the two runs of one seed. Rows: size, init, seed, value."""
    colour, _, shape = arm_encodings(arms)
    x = alt.X(
        "size:N",
        sort=sizes,
        title=None,
        scale=alt.Scale(domain=sizes),
        axis=alt.Axis(labelAngle=0, labelExpr="split(datum.value, '-')"),
    )
    offset = alt.XOffset(
        "init:N", sort=[arms[1], arms[0]], scale=alt.Scale(domain=[arms[1], arms[0]], paddingOuter=0.3)
    )
    y = accuracy_axis("value:Q", padding=8)
    base = alt.Chart(data).encode(x=x, xOffset=offset, y=y)
    lines = base.mark_line(strokeWidth=0.9, color=GREY).encode(
        detail=[alt.Detail("seed:N"), alt.Detail("size:N")], opacity=standing_out(0.6)
    )
    dots = base.mark_point(filled=True, size=34, cursor="pointer").encode(
        color=colour,
        shape=shape,
        opacity=standing_out(0.8),
        tooltip=[
            alt.Tooltip("size:N"),
            alt.Tooltip("init:N"),
            alt.Tooltip("seed:Q"),
            alt.Tooltip("value:Q", format=".2f", title="accuracy, %"),
        ],
    )
    return linked([lines, dots]).properties(width="container", height=220, description="Every run, paired by seed")


def cost(data: pl.DataFrame | alt.NamedData, arms: tuple[str, str], *, logarithmic: bool = True) -> Chart:
    """Mean accuracy against mean training time, a point per size and arm.

    Rows: size, init, minutes, accuracy, label (the size, on the lower of its points; null on the other).
    """
    scale = alt.Scale(type="log", nice=False, padding=30) if logarithmic else alt.Scale(domainMin=0, nice=True)
    colour, dash, shape = arm_encodings(arms)
    x = alt.X(
        "minutes:Q",
        title="training time of one run (minutes)",
        scale=scale,
        axis=alt.Axis(format="~g", grid=False, labelOverlap=True, tickCount=5),
    )
    base = alt.Chart(data).encode(x=x, y=accuracy_axis("accuracy:Q", padding=22), color=colour)
    tip = [
        alt.Tooltip("size:N"),
        alt.Tooltip("init:N"),
        alt.Tooltip("minutes:Q", format=".3g"),
        alt.Tooltip("accuracy:Q", format=".2f"),
    ]
    lines = base.mark_line(strokeWidth=1.4).encode(strokeDash=dash)
    dots = base.mark_point(filled=True, size=70, cursor="pointer")
    dots = dots.encode(shape=shape, opacity=standing_out(1), tooltip=tip)
    labelled = base.transform_filter("isValid(datum.label)")
    labels = labelled.mark_text(dy=14, fontSize=10.5, color=INK).encode(
        text=alt.Text("label:N"), color=alt.ColorValue(INK)
    )
    labels = labels.encode(opacity=standing_out(1))
    return linked([lines, dots, labels]).properties(
        width="container", height=230, description="Accuracy against training time"
    )


def shares(frame: pl.DataFrame, unit: str) -> Chart:
    """Benefit with its 95 % interval against the share of the training data. Rows: share, effect, low, high."""
    x = alt.X("share:Q", title="share of the training data", scale=alt.Scale(type="log", padding=24))
    x = x.axis(format="%", values=frame["share"].to_list(), labelOverlap=True)
    tip = [
        alt.Tooltip("share:Q", format="%"),
        *(alt.Tooltip(f"{name}:Q", format="+.2f") for name in ("effect", "low", "high")),
    ]
    base = alt.Chart(frame).encode(x=x, tooltip=tip)
    y = alt.Y("effect:Q", title=f"Δ accuracy ({unit})", axis=alt.Axis(tickCount=6, labelExpr=SIGNED))
    bars = base.mark_rule(color=BLUE, strokeWidth=2.2).encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q"))
    line = base.mark_line(color=BLUE, point=alt.OverlayMarkDef(size=70, filled=True)).encode(y=y)
    return alt.layer(zero_line("effect"), bars, line).properties(
        width="container", height=260, description="Benefit of pretraining against the share of the training data used"
    )


def half_widths(frame: pl.DataFrame, margin: float, now: int) -> Chart:
    """Half-width of the growth interval as seeds (or data sets) are added. Rows: count, half_width, basis."""
    frame = frame.filter(pl.col("half_width").is_finite())
    basis = frame["basis"].unique(maintain_order=True).to_list()
    legend = alt.Legend(
        title=None, orient="top", labelLimit=320, direction="vertical", symbolType="stroke", symbolSize=500
    )
    colour = alt.Color("basis:N", scale=alt.Scale(domain=basis, range=[BLUE, VERMILION][: len(basis)]), legend=legend)
    dash = alt.StrokeDash("basis:N", scale=alt.Scale(domain=basis, range=[[1, 0], [5, 3]][: len(basis)]), legend=legend)
    lines = (
        alt.Chart(frame)
        .mark_line(strokeWidth=2.2)
        .encode(
            x=alt.X(
                "count:Q",
                title=frame["axis"][0],
                axis=alt.Axis(tickMinStep=1, labelExpr=WHOLE),
                scale=alt.Scale(zero=False),
            ),
            y=alt.Y("half_width:Q", title="half-width of the 95 % interval (points)", scale=alt.Scale(domainMin=0)),
            color=colour,
            strokeDash=dash,
            tooltip=[alt.Tooltip("basis:N"), alt.Tooltip("count:Q"), alt.Tooltip("half_width:Q", format=".2f")],
        )
    )
    target = (
        alt.Chart(pl.DataFrame({"margin": [margin]}))
        .mark_rule(color=INK, strokeDash=[3, 3])
        .encode(y=alt.Y("margin:Q"))
    )
    today = alt.Chart(pl.DataFrame({"count": [now]})).mark_rule(color=GREY, strokeWidth=1).encode(x=alt.X("count:Q"))
    return alt.layer(target, today, lines).properties(
        width="container",
        height=260,
        description=f"Half-width of the growth interval against {frame['axis'][0]}; dashed: margin {margin:g}.",
    )


def pretraining(frame: pl.DataFrame) -> Chart:
    """Next-nucleotide loss in bits per base against nucleotides seen, a line per pretraining, a colour per model."""
    models = frame["model"].unique(maintain_order=True).to_list()
    legend = alt.Legend(title=None, orient="top", labelLimit=260)
    colour = alt.Color("model:N", legend=legend, scale=cycled(models, COLOURS))
    x = alt.X("tokens:Q", title="nucleotides seen", axis=alt.Axis(format="~s", tickCount=7))
    y = alt.Y("train_bits_per_base:Q", title="bits per base", scale=alt.Scale(zero=False))
    which = [alt.Tooltip("model:N"), alt.Tooltip("pretraining_seed:Q", title="seed"), alt.Tooltip("tokens:Q")]
    base = alt.Chart(frame).encode(x=x, color=colour, detail=alt.Detail("weights_key:N"))
    train = base.mark_line(strokeWidth=1.4, opacity=0.8).encode(
        y=y, tooltip=[*which, alt.Tooltip("train_bits_per_base:Q")]
    )
    held_out = (
        base.transform_filter("isValid(datum.validation_bits_per_base)")
        .mark_point(filled=True, size=45)
        .encode(
            y=alt.Y("validation_bits_per_base:Q"),
            shape=alt.Shape("model:N", legend=legend, scale=cycled(models, SHAPES)),
            tooltip=[*which, alt.Tooltip("validation_bits_per_base:Q", format=".4f")],
        )
    )
    return alt.layer(train, held_out).properties(
        width="container",
        height=280,
        description="Pretraining: bits per base against nucleotides seen; lines: training, points: held-out sequence.",
    )
