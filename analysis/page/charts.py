"""Estimates and runs as Altair charts. Each function takes typed records or a Polars frame and returns one chart.

Colours are Okabe and Ito's, and nothing is told by colour alone: arms differ in dash and shape, verdicts in shape. The
page swaps `LIGHT` for `DARK` colours. Charts are as wide as their container. Channels are named by their
classes: to find the class of a bare string takes Altair 20 ms. Next: `analysis/page/html.py`.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from analysis.page.wording import interval, verdict
from analysis.statistics.contrasts import Estimate
from analysis.statistics.estimates import Estimates

BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE, GREY = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#6b7280",
)
INK, LINE = "#1f2328", "#d0d4da"

#: Light colour → the one to draw with on a dark page.
DARK = {BLUE: "#62b6f0", VERMILION: "#f28e2b", GREEN: "#35c79b", GREY: "#9aa3af", INK: "#e6e8eb", LINE: "#3a4048"}

VERDICTS = {
    "helps": (GREEN, "triangle-up"),
    "hurts": (PURPLE, "triangle-down"),
    "equivalent": (SKY, "square"),
    "unresolved": (GREY, "circle"),
    "not estimable": (GREY, "cross"),
}
DATASET_COLOURS = [BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE, GREY]
SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right"]

#: Separates the group from the label in a row's key; no name may hold it.
_CUT = "\u001f"

#: Pixels that a row's label may take in the forest plot.
_LABEL_LIMIT = 130

#: Tick labels with a sign, and a bare 0.
_SIGNED = "datum.value == 0 ? '0' : format(datum.value, '+~g')"

#: Tick labels of counts: nothing stands between whole numbers.
_WHOLE = "datum.value % 1 ? '' : format(datum.value, 'd')"

#: Whether a row is of what was singled out; a row without the field always is.
_IS_CHOSEN = " && ".join(
    f"(chosen_{name} === null || datum.{name} == null || datum.{name} === chosen_{name})"
    for name in ("dataset", "size")
)

Chart = alt.LayerChart | alt.FacetChart | alt.Chart


def _arms(arms: tuple[str, str]) -> tuple[alt.Color, alt.StrokeDash, alt.Shape]:
    """Colour, dash and shape of the two arms; the page shows one key for all panels of a figure."""
    domain = list(arms)
    return (
        alt.Color("init:N", scale=alt.Scale(domain=domain, range=[BLUE, VERMILION]), legend=None),
        alt.StrokeDash("init:N", scale=alt.Scale(domain=domain, range=[[1, 0], [5, 3]]), legend=None),
        alt.Shape("init:N", scale=alt.Scale(domain=domain, range=["circle", "square"]), legend=None),
    )


def _linked(layers: list[alt.Chart]) -> Chart:
    """With what the reader singled out as parameters, null where nothing; the page's script sets them in all charts."""
    return alt.layer(*layers).add_params(*(alt.param(f"chosen_{name}", value=None) for name in ("dataset", "size")))


def _standing_out(opacity: float) -> alt.OpacityValue:
    """Rows of what the reader singled out keep their opacity, all others fade."""
    return alt.OpacityValue(opacity / 6, condition={"test": _IS_CHOSEN, "value": opacity})


def forest_rows(estimates: Estimates) -> pl.DataFrame:
    """Rows of the forest plot from top to bottom: a header per data set, its sizes, then the means over data sets."""
    rows: list[dict[str, Any]] = []

    def add(group: str, label: str, kind: str, one: Estimate | None = None, dataset: str | None = None) -> None:
        word = "" if one is None else verdict(one, estimates.margin)
        rows.append(
            {
                "key": f"{group}{_CUT}{label}",
                "group": group if one is None else None,
                "name": f"{group}, {label}".strip(", "),
                "kind": kind,
                "dataset": dataset,
                "size": one and one.size,
                "verdict": word,
                "effect": one and one.effect,
                "low": one and one.low,
                "high": one and one.high,
                "shown": "" if one is None else interval(one),
                "n": one and one.n,
            }
        )

    for dataset in dict.fromkeys(one.dataset or "" for one in estimates.cells):
        add(dataset, "", "header", dataset=dataset)
        for one in estimates.cells:
            if one.dataset == dataset:
                add(dataset, one.size or "", "cell", one, dataset)
    if not rows:
        return pl.DataFrame(rows)
    everywhere = "Mean over these data sets"
    elsewhere = "Mean over data sets like these"
    for title, members, total in (
        (everywhere, estimates.sizes, estimates.overall),
        (elsewhere, estimates.sizes_random, estimates.overall_random),
    ):
        add(title, "", "header")
        for one in members:
            add(title, one.size or "", "fixed" if title == everywhere else "random", one)
        if len(members) > 1:
            add(title, "all sizes", "fixed" if title == everywhere else "random", total)
    spread = estimates.heterogeneity
    if spread and spread.prediction_low is not None:
        one = Estimate("prediction", effect=estimates.overall_random.effect, n=len(estimates.datasets))
        add(elsewhere, "one new data set", "prediction", one)
        rows[-1] |= {
            "low": spread.prediction_low,
            "high": spread.prediction_high,
            "verdict": "",
            "shown": f"[{spread.prediction_low:+.2f}, {spread.prediction_high:+.2f}]",
        }
    numbers = dict.fromkeys(("effect", "low", "high"), pl.Float64())
    return pl.DataFrame(rows, schema_overrides=numbers, infer_schema_length=None)


def _forest_domain(rows: pl.DataFrame, margin: float) -> list[float] | None:
    """Limits of the axis where intervals over data sets would squash all others (few data sets); else None."""
    own = rows.filter(pl.col("kind").is_in(["cell", "fixed"]))
    reach = pl.concat([own["low"], own["high"], own["effect"], pl.Series([0.0, margin, -margin])]).drop_nulls()
    wide = pl.concat([rows["low"], rows["high"]]).drop_nulls()
    low, high = min(reach), max(reach)
    room = 0.35 * (high - low)
    if wide.is_empty() or (min(wide) > low - 2 * room and max(wide) < high + 2 * room):
        return None
    return [low - room, high + room]


def clips(estimates: Estimates) -> bool:
    """Whether the forest plot ends before some interval does."""
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
    words = [word for word in VERDICTS if word in set(rows["verdict"])]
    legend = alt.Legend(title=None, orient="top", symbolSize=90)
    colour = alt.Color("verdict:N", legend=legend, scale=alt.Scale(domain=words, range=[VERDICTS[w][0] for w in words]))
    shape = alt.Shape("verdict:N", legend=legend, scale=alt.Scale(domain=words, range=[VERDICTS[w][1] for w in words]))
    drawn = rows.filter(pl.col("effect").is_not_null())
    points = drawn.filter(pl.col("kind") != "prediction")
    base = alt.Chart(points).encode(y=y, tooltip=tip)
    domain = _forest_domain(rows, estimates.margin)
    scale = alt.Scale(domain=domain, nice=False) if domain else alt.Scale(padding=8)
    axis = alt.Axis(tickCount=7, labelExpr=_SIGNED)
    x = alt.X("effect:Q", title=f"Δ accuracy, pretrained − scratch ({unit})", scale=scale, axis=axis)
    base = base.encode(color=colour, opacity=_standing_out(1))
    bars = base.mark_rule(strokeWidth=2.2, clip=True, cursor="pointer").encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"))
    marks = base.mark_point(filled=True, size=95, clip=True, cursor="pointer").encode(x=x, shape=shape)
    layers = [_margin_band(estimates.margin), _zero_line()]
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
            y=y, x=alt.XValue(-_label_width(rows)), text=alt.Text("group:N"), opacity=_standing_out(1)
        )
    )
    count = estimates.comparison.estimable.height
    return _linked(layers).properties(
        width="container",
        height=len(order) * (25 if len(order) <= 60 else 16),
        description=f"Forest plot: benefit of pretraining with 95 % intervals for {count} cells of size and data set, "
        "and means over data sets. The table below holds the same numbers.",
    )


def _label_width(rows: pl.DataFrame) -> float:
    """Pixels that the labels of the rows take, about: headers start where the longest label does."""
    labels = [key.split(_CUT)[1] for key in rows["key"]]
    return min(6.0 * max(len(label) for label in labels), _LABEL_LIMIT)


def _margin_band(margin: float) -> alt.Chart:
    frame = pl.DataFrame({"from": [-margin], "to": [margin]})
    return alt.Chart(frame).mark_rect(color=GREY, opacity=0.13).encode(x=alt.X("from:Q"), x2=alt.X2("to:Q"))


def _zero_line() -> alt.Chart:
    return alt.Chart(pl.DataFrame({"zero": [0.0]})).mark_rule(color=INK, strokeWidth=1).encode(x=alt.X("zero:Q"))


def _pair_dots(estimates: Estimates, y: alt.Y) -> alt.Chart:
    """Each pair's own difference, faint."""
    frame = estimates.comparison.pairs.select(
        pl.concat_str("dataset", "size", separator=_CUT).alias("key"),
        "dataset",
        "size",
        "seed",
        pl.col("difference").alias("effect"),
    )
    tip = [alt.Tooltip("seed:Q"), alt.Tooltip("effect:Q", title="Δ of this pair", format="+.2f")]
    dots = alt.Chart(frame).mark_circle(size=22, color=GREY, yOffset=7, clip=True)
    return dots.encode(y=y, x=alt.X("effect:Q"), opacity=_standing_out(0.45), tooltip=tip)


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
    y = alt.Y("effect:Q", title=f"Δ accuracy ({unit})", axis=alt.Axis(tickCount=6, labelExpr=_SIGNED))
    legend = alt.Legend(title=None, orient="bottom", columns=2, labelLimit=260, direction="vertical")
    repeat = -(-len(datasets) // len(SHAPES))
    scale = alt.Scale(domain=datasets, range=(DATASET_COLOURS * repeat)[: len(datasets)])
    shapes = alt.Scale(domain=datasets, range=(SHAPES * repeat)[: len(datasets)])
    base = alt.Chart(cells).encode(
        x=x,
        y=y,
        color=alt.Color("dataset:N", scale=scale, legend=legend),
        opacity=_standing_out(0.85),
        tooltip=[
            alt.Tooltip("dataset:N"),
            alt.Tooltip("size:N"),
            alt.Tooltip("effect:Q", format="+.2f", title=f"Δ, {unit}"),
        ],
    )
    lines = base.mark_line(strokeWidth=1.2, cursor="pointer").encode(
        detail=alt.Detail("dataset:N"), opacity=_standing_out(0.85)
    )
    dots = base.mark_point(filled=True, size=45, cursor="pointer").encode(
        shape=alt.Shape("dataset:N", scale=shapes, legend=legend)
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
    zero = alt.Chart(pl.DataFrame({"effect": [0.0]})).mark_rule(color=INK, strokeWidth=1).encode(y=alt.Y("effect:Q"))
    layers = [
        zero,
        lines,
        dots,
        mean.mark_line(color=INK, strokeWidth=3),
        mean.mark_rule(color=INK, strokeWidth=2.5).encode(
            y=alt.Y("low:Q"), y2=alt.Y2("high:Q"), opacity=_standing_out(1)
        ),
        mean.mark_point(color=INK, filled=True, size=110, shape="diamond").encode(opacity=_standing_out(1)),
    ]
    shown = ", ".join(f"{row['size']} {row['effect']:+.2f}" for row in sizes.iter_rows(named=True))
    return _linked(layers).properties(
        width="container",
        height=360,
        description=f"Benefit of pretraining against trainable parameters, a line per data set. Mean by size: {shown}.",
    )


def _accuracy(field: str, padding: int = 0) -> alt.Y:
    scale = alt.Scale(zero=False, nice=True, padding=padding)
    axis = alt.Axis(tickCount=5, labelExpr="datum.value > 100 ? '' : datum.label")  # room for labels is no accuracy
    return alt.Y(field, title="test accuracy (%)", scale=scale, axis=axis)


def learning_curve(
    data: pl.DataFrame | alt.NamedData, arms: tuple[str, str], *, bands: bool = True, raw_lines: bool = True
) -> Chart:
    """Test accuracy after each epoch of both arms. Rows: init, epoch; mean, low, high, n (bands); run, value (lines).

    `bands`, `raw_lines`: whether the rows hold any; a layer without rows would leave its axis without an extent.
    """
    colour, dash, _ = _arms(arms)
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickCount=6, labelExpr=_WHOLE))
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
        .encode(y=_accuracy("low:Q"), y2=alt.Y2("high:Q"))
    )
    raw = base.transform_filter("isValid(datum.value)").mark_line(strokeWidth=0.9, opacity=0.5)
    mean = base.transform_filter("isValid(datum.mean)").mark_line(strokeWidth=2.2, point=alt.OverlayMarkDef(size=14))
    layers = [band] if bands else []
    layers += [raw.encode(y=_accuracy("value:Q"), detail=alt.Detail("run:N"))] if raw_lines else []
    layers.append(mean.encode(y=_accuracy("mean:Q"), strokeDash=dash, tooltip=tip))
    return alt.layer(*layers).properties(width="container", height=180, description="Learning curves of both arms")


def paired_runs(data: pl.DataFrame | alt.NamedData, arms: tuple[str, str], sizes: list[str]) -> Chart:
    """Every run's accuracy by size and arm; a line joins the two runs of one seed. Rows: size, init, seed, value."""
    colour, _, shape = _arms(arms)
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
    y = _accuracy("value:Q", padding=8)
    base = alt.Chart(data).encode(x=x, xOffset=offset, y=y)
    lines = base.mark_line(strokeWidth=0.9, color=GREY).encode(
        detail=[alt.Detail("seed:N"), alt.Detail("size:N")], opacity=_standing_out(0.6)
    )
    dots = base.mark_point(filled=True, size=34, cursor="pointer").encode(
        color=colour,
        shape=shape,
        opacity=_standing_out(0.8),
        tooltip=[
            alt.Tooltip("size:N"),
            alt.Tooltip("init:N"),
            alt.Tooltip("seed:Q"),
            alt.Tooltip("value:Q", format=".2f", title="accuracy, %"),
        ],
    )
    return _linked([lines, dots]).properties(width="container", height=220, description="Every run, paired by seed")


def cost(data: pl.DataFrame | alt.NamedData, arms: tuple[str, str], *, logarithmic: bool = True) -> Chart:
    """Mean accuracy against mean training time, a point per size and arm.

    Rows: size, init, minutes, accuracy, label (the size, on the lower of its points; null on the other).
    """
    scale = alt.Scale(type="log", nice=False, padding=30) if logarithmic else alt.Scale(domainMin=0, nice=True)
    colour, dash, shape = _arms(arms)
    x = alt.X(
        "minutes:Q",
        title="training time of one run (minutes)",
        scale=scale,
        axis=alt.Axis(format="~g", grid=False, labelOverlap=True, tickCount=5),
    )
    base = alt.Chart(data).encode(x=x, y=_accuracy("accuracy:Q", padding=22), color=colour)
    tip = [
        alt.Tooltip("size:N"),
        alt.Tooltip("init:N"),
        alt.Tooltip("minutes:Q", format=".3g"),
        alt.Tooltip("accuracy:Q", format=".2f"),
    ]
    lines = base.mark_line(strokeWidth=1.4).encode(strokeDash=dash)
    dots = base.mark_point(filled=True, size=70, cursor="pointer")
    dots = dots.encode(shape=shape, opacity=_standing_out(1), tooltip=tip)
    labelled = base.transform_filter("isValid(datum.label)")
    labels = labelled.mark_text(dy=14, fontSize=10.5, color=INK).encode(
        text=alt.Text("label:N"), color=alt.ColorValue(INK)
    )
    labels = labels.encode(opacity=_standing_out(1))
    return _linked([lines, dots, labels]).properties(
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
    y = alt.Y("effect:Q", title=f"Δ accuracy ({unit})", axis=alt.Axis(tickCount=6, labelExpr=_SIGNED))
    zero = alt.Chart(pl.DataFrame({"effect": [0.0]})).mark_rule(color=INK, strokeWidth=1).encode(y=alt.Y("effect:Q"))
    bars = base.mark_rule(color=BLUE, strokeWidth=2.2).encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q"))
    line = base.mark_line(color=BLUE, point=alt.OverlayMarkDef(size=70, filled=True)).encode(y=y)
    return alt.layer(zero, bars, line).properties(
        width="container", height=260, description="Benefit of pretraining against the share of the training data used"
    )


def half_widths(frame: pl.DataFrame, margin: float, now: int) -> Chart:
    """Half-width of the growth interval as seeds (or data sets) are added. Rows: count, half_width, basis."""
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
                axis=alt.Axis(tickMinStep=1, labelExpr=_WHOLE),
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
    """Next-nucleotide loss in bits per base against nucleotides seen, a line per model."""
    models = frame["model"].unique(maintain_order=True).to_list()
    repeat = -(-len(models) // len(DATASET_COLOURS))
    legend = alt.Legend(title=None, orient="top", labelLimit=260)
    colour = alt.Color(
        "model:N", legend=legend, scale=alt.Scale(domain=models, range=(DATASET_COLOURS * repeat)[: len(models)])
    )
    x = alt.X("tokens:Q", title="nucleotides seen", axis=alt.Axis(format="~s", tickCount=7))
    y = alt.Y("train_bits_per_base:Q", title="bits per base", scale=alt.Scale(zero=False))
    base = alt.Chart(frame).encode(x=x, color=colour)
    train = base.mark_line(strokeWidth=1.4, opacity=0.8).encode(
        y=y, tooltip=[alt.Tooltip("model:N"), alt.Tooltip("tokens:Q"), alt.Tooltip("train_bits_per_base:Q")]
    )
    held_out = (
        base.transform_filter("isValid(datum.validation_bits_per_base)")
        .mark_point(filled=True, size=45)
        .encode(
            y=alt.Y("validation_bits_per_base:Q"),
            shape=alt.Shape(
                "model:N", legend=legend, scale=alt.Scale(domain=models, range=(SHAPES * repeat)[: len(models)])
            ),
            tooltip=[
                alt.Tooltip("model:N"),
                alt.Tooltip("tokens:Q"),
                alt.Tooltip("validation_bits_per_base:Q", format=".4f"),
            ],
        )
    )
    return alt.layer(train, held_out).properties(
        width="container",
        height=280,
        description="Pretraining: bits per base against nucleotides seen; lines: training, points: held-out sequence.",
    )
