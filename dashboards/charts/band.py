"""A group's sensitivity week by week inside the band that holds at all times at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import altair as alt
import pandas as pd

from dashboards import figures
from dashboards.charts import looks
from shadow.assessment.snapshot import Monitor, Monitoring, Week

FEWEST_SHOWN = 10
TICKS_AT_MOST = 14
BAND = "#BFD7EA"
LINE = "#0072B2"
OPEN_WEEKS = "#EEF0F2"


def band(monitoring: Monitoring, monitor: Monitor) -> dict[str, Any] | None:
    """The specification, or None before the group has `FEWEST_SHOWN` cases: before, the band is nearly everything.

    Weeks that are not closed lie on the axis in grey, with no figure: their reports are still coming in.
    """
    rows = _rows(monitoring, monitor)
    if not rows:
        return None
    data = pd.DataFrame(rows)
    lowest = min([row["lower"] for row in rows] + [monitoring.floor - 0.05])
    scale = alt.Scale(domain=[max(0.0, int(lowest * 10) / 10), 1.0], nice=False)
    weeks = alt.Scale(type="utc", domain=[_iso(monitoring.weeks[0]), _iso(monitoring.weeks[-1])])
    every = -(-len(monitoring.weeks) // TICKS_AT_MOST)
    starts = [_iso(week) for week in monitoring.weeks[::every]]
    x = alt.X(
        "week:T", title=None, scale=weeks, axis=alt.Axis(format="%-d %b", grid=False, labelAngle=0, values=starts)
    )
    base = alt.Chart(data).encode(x=x)
    area = base.mark_area(color=BAND, opacity=0.75, aria=False).encode(
        y=alt.Y("lower:Q", title="Sensitivity so far", scale=scale, axis=alt.Axis(format=".0%", tickCount=6)),
        y2="upper:Q",
    )
    line = base.mark_line(color=LINE, strokeWidth=2, point=alt.OverlayMarkDef(size=45, color=LINE)).encode(
        y=alt.Y("estimate:Q", scale=scale), tooltip=[alt.Tooltip("words:N", title=" ")], description="words:N"
    )
    layers = [*_open_weeks(monitoring.weeks, x), area, *_floor(monitoring.floor, scale), line]
    if monitor.alarm_week is not None:
        layers.append(_alarm(monitor, x))
    return looks.specification(alt.layer(*layers).properties(height=300, width="container"))


def _rows(monitoring: Monitoring, monitor: Monitor) -> list[dict[str, Any]]:
    totals = accumulate(((one.found, one.present) for one in monitor.weeks), lambda a, b: (a[0] + b[0], a[1] + b[1]))
    return [
        {
            "week": _iso(week),
            "lower": one.lower,
            "upper": one.upper,
            "estimate": found / present,
            "words": f"Week of {week.start:%-d %b}: {figures.counted(found)} of {figures.counted(present)} so far, "
            f"{figures.percent(found / present)} (band {figures.interval(one.lower, one.upper)})",
        }
        for week, one, (found, present) in zip(monitoring.weeks, monitor.weeks, totals, strict=False)
        if present >= FEWEST_SHOWN
    ]


def _open_weeks(weeks: Sequence[Week], x: alt.X) -> list[alt.Chart]:
    still = [week for week in weeks if not week.closed]
    if not still:
        return []
    data = pd.DataFrame([{"week": _iso(still[0]), "end": _iso(still[-1]), "words": "reports still coming in"}])
    grey = alt.Chart(data).mark_rect(color=OPEN_WEEKS, aria=False).encode(x=x, x2="end:T")
    words = alt.Chart(data).mark_text(align="left", dx=6, dy=12, color=looks.QUIET_INK, fontSize=12, baseline="top")
    return [grey, words.encode(x=x, y=alt.value(0), text="words:N")]


def _floor(floor: float, scale: alt.Scale) -> list[alt.Chart]:
    line = alt.Chart(pd.DataFrame({"floor": [floor], "words": [f"floor: {figures.percent(floor)}"]}))
    y = alt.Y("floor:Q", scale=scale)
    rule = line.mark_rule(strokeDash=[5, 4], strokeWidth=1.5, color=looks.RULE_INK).encode(y=y, description="words:N")
    name = line.mark_text(align="left", dx=4, dy=-7, color=looks.RULE_INK, fontSize=12, aria=False)
    return [rule, name.encode(y=y, x=alt.value(0), text="words:N")]


def _alarm(monitor: Monitor, x: alt.X) -> alt.Chart:
    assert monitor.alarm_week is not None
    words = f"alarm: {monitor.alarm_reason}"
    data = pd.DataFrame([{"week": monitor.alarm_week.isoformat(), "words": words}])
    return alt.Chart(data).mark_rule(color="#D55E00", strokeWidth=2).encode(x=x, description="words:N")


def _iso(week: Week) -> str:
    return week.start.isoformat()
