"""The style that all charts share: colours, shapes, axes, and the link to what a reader highlights.

Colours are Okabe and Ito's, and nothing is shown by colour alone: arms also differ in dash and shape, verdicts in
shape. The page swaps light colours for those of `DARK`. Next: `analysis/page/charts.py`.
"""

from __future__ import annotations

import altair as alt
import polars as pl

from analysis.statistics.verdicts import Verdict

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

#: Verdict → colour and shape, in the order of the legend.
VERDICTS = {
    Verdict.POSITIVE: (GREEN, "triangle-up"),
    Verdict.NEGATIVE: (PURPLE, "triangle-down"),
    Verdict.EQUIVALENT: (SKY, "square"),
    Verdict.UNRESOLVED: (GREY, "circle"),
    Verdict.NOT_ESTIMABLE: (GREY, "cross"),
}
COLOURS = [BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE, GREY]
SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right"]

#: Tick labels with a sign, and a bare 0.
SIGNED = "datum.value == 0 ? '0' : format(datum.value, '+~g')"

#: Tick labels of counts: whole numbers only.
WHOLE = "datum.value % 1 ? '' : format(datum.value, 'd')"

#: Whether a row belongs to what was highlighted; a row without the field always does.
_IS_CHOSEN = " && ".join(
    f"(chosen_{name} === null || datum.{name} == null || datum.{name} === chosen_{name})"
    for name in ("dataset", "size")
)

Chart = alt.LayerChart | alt.FacetChart | alt.Chart


def arm_encodings(arms: tuple[str, str]) -> tuple[alt.Color, alt.StrokeDash, alt.Shape]:
    """Colour, dash and shape of the two arms; the page shows one key for all panels of a figure."""
    domain = list(arms)
    return (
        alt.Color("init:N", scale=alt.Scale(domain=domain, range=[BLUE, VERMILION]), legend=None),
        alt.StrokeDash("init:N", scale=alt.Scale(domain=domain, range=[[1, 0], [5, 3]]), legend=None),
        alt.Shape("init:N", scale=alt.Scale(domain=domain, range=["circle", "square"]), legend=None),
    )


def linked(layers: list[alt.Chart]) -> Chart:
    """Layers with the highlighted data set and size as parameters (null for none); the page's script sets them."""
    return alt.layer(*layers).add_params(*(alt.param(f"chosen_{name}", value=None) for name in ("dataset", "size")))


def standing_out(opacity: float) -> alt.OpacityValue:
    """Highlighted rows keep their opacity, all others fade."""
    return alt.OpacityValue(opacity / 6, condition={"test": _IS_CHOSEN, "value": opacity})


def cycled(domain: list[str], values: list[str]) -> alt.Scale:
    """One value per name; values are used again where there are more names."""
    repeat = -(-len(domain) // len(values))
    return alt.Scale(domain=domain, range=(values * repeat)[: len(domain)])


def accuracy_axis(field: str, padding: int = 0) -> alt.Y:
    """The vertical axis of test accuracy in percent."""
    scale = alt.Scale(zero=False, nice=True, padding=padding)
    axis = alt.Axis(tickCount=5, labelExpr="datum.value > 100 ? '' : datum.label")  # padding may reach above 100 %
    return alt.Y(field, title="test accuracy (%)", scale=scale, axis=axis)


def zero_line(field: str, *, vertical: bool = False) -> alt.Chart:
    """A rule at no difference, in the column of the chart's own values."""
    rule = alt.Chart(pl.DataFrame({field: [0.0]})).mark_rule(color=INK, strokeWidth=1)
    return rule.encode(x=alt.X(f"{field}:Q")) if vertical else rule.encode(y=alt.Y(f"{field}:Q"))
