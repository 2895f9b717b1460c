"""Groups one below the other with their intervals, the lowest first, against the criterion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from dashboards import figures
from dashboards.charts import looks
from dashboards.charts.heatmap import cell_in_words
from dashboards.standing import LOOKS, Measure, Standing, measured, rule_for, standing_of
from shadow.assessment.snapshot import Group, Snapshot

ROW_HEIGHT = 27
PLOT_WIDTH = 430


def forest(snapshot: Snapshot, groups: Sequence[Group], measure: Measure) -> dict[str, Any] | None:
    """The specification of the forest plot, or None where no group has enough cases.

    Rows are sorted by their estimate; the last row is the whole trial. Groups with too few cases are left to
    the table: they have no place on the axis.
    """
    shown = [one for one in groups if standing_of(snapshot, one, measure) is not Standing.TOO_FEW]
    shown = [one for one in shown if measured(one, measure).estimate is not None]
    if not shown:
        return None
    shown.sort(key=lambda one: (measured(one, measure).estimate or 0.0, one.label))
    whole = snapshot.overall
    rows = pd.DataFrame([_row(snapshot, one, measure) for one in (*shown, whole)])
    order = list(rows["label"])
    height = ROW_HEIGHT * len(order)
    y = alt.Y("label:N", sort=order, title=None, axis=alt.Axis(labelPadding=10))
    plot = _plot(rows, y, snapshot, shown[0].dimension, measure).properties(width=PLOT_WIDTH, height=height)
    hidden = alt.Y("label:N", sort=order, axis=None)
    counts = _column(rows, hidden, "counts", "found / total" if measure is Measure.SENSITIVITY else "cleared / total")
    intervals = _column(rows, hidden, "interval", "estimate (95% CI)")
    chart = alt.hconcat(
        plot,
        counts.properties(width=100, height=height),
        intervals.properties(width=160, height=height),
        spacing=6,
    )
    return looks.specification(chart)


def _row(snapshot: Snapshot, group: Group, measure: Measure) -> dict[str, str | float | None]:
    figure = measured(group, measure)
    standing = standing_of(snapshot, group, measure)
    interval = f"{figures.estimate(figure)} ({figures.interval(figure.lower, figure.upper)})"
    return {
        "label": group.label,
        "standing": standing.value,
        "estimate": figure.estimate,
        "lower": figure.lower,
        "upper": figure.upper,
        "counts": f"{figures.counted(figure.count)} / {figures.counted(figure.of)}" if figure.of else "",
        "interval": interval if figure.of else figures.NONE_YET,
        "words": cell_in_words(group, measure, standing),
    }


def _plot(rows: pd.DataFrame, y: alt.Y, snapshot: Snapshot, dimension: str, measure: Measure) -> alt.LayerChart:
    criterion = rule_for(snapshot, measure, dimension) or rule_for(snapshot, measure, "all")
    floor = criterion.floor if criterion else None
    # The axis also holds the criterion with some room, so that its line never hides in the frame.
    on_axis = [value for value in rows["lower"] if value is not None] + ([floor - 0.02] if floor is not None else [])
    lowest = min(on_axis, default=0.0)
    scale = alt.Scale(domain=[max(0.0, int(lowest * 10) / 10), 1.0], nice=False)
    axis = alt.Axis(format=".0%", orient="bottom", tickCount=6)
    x = alt.X("estimate:Q", title=measure.value, scale=scale, axis=axis)
    colour = alt.Color(
        "standing:N",
        scale=alt.Scale(domain=[one.value for one in Standing], range=[LOOKS[one].ink for one in Standing]),
        legend=None,
    )
    shape = alt.Shape(
        "standing:N",
        scale=alt.Scale(
            domain=[one.value for one in Standing],
            range=["circle", "diamond", "triangle-down", "circle", "square"],
        ),
        legend=None,
    )
    base = alt.Chart(rows).encode(y=y, color=colour, description="words:N")
    bars = base.mark_rule(strokeWidth=2, aria=False).encode(x=alt.X("lower:Q", scale=scale), x2="upper:Q")
    points = base.mark_point(filled=True, size=95, opacity=1).encode(
        x=x, shape=shape, tooltip=[alt.Tooltip("words:N", title=" ")]
    )
    layers = [bars, points]
    if floor is not None:
        line = alt.Chart(pd.DataFrame({"floor": [floor], "words": [f"criterion: {figures.percent(floor)}"]}))
        rule = line.mark_rule(strokeDash=[5, 4], strokeWidth=1.5, color=looks.RULE_INK)
        layers.insert(0, rule.encode(x=alt.X("floor:Q", scale=scale), description="words:N"))
        name = line.mark_text(align="left", dx=5, baseline="bottom", color=looks.RULE_INK, fontSize=12, aria=False)
        layers.append(name.encode(x=alt.X("floor:Q", scale=scale), y=alt.value(-4), text="words:N"))
    return alt.layer(*layers)


def _column(rows: pd.DataFrame, y: alt.Y, field: str, title: str) -> alt.Chart:
    text = alt.Chart(rows, title=alt.Title(title, anchor="start", offset=10))
    return text.mark_text(align="left", color=looks.INK, fontSize=looks.TEXT_SIZE, aria=False).encode(
        y=y, x=alt.value(2), text=f"{field}:N"
    )
