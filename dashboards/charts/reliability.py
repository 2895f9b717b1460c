"""Score against observed share: the CORP step line in its band, and tenths of the studies with their intervals."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from dashboards import figures
from dashboards.charts import looks
from shadow.assessment.evidence import ScoreCalibration

BAND, LINE, POINTS, SIDE = "#BFD7EA", "#0072B2", "#1F2933", 400


def reliability(found: ScoreCalibration, target_plural: str) -> dict[str, Any]:
    """The specification, square."""
    unit = alt.Scale(domain=[0, 1])
    axis = alt.Axis(format=".0%", values=[0, 0.25, 0.5, 0.75, 1.0])
    x = alt.X("score:Q", title="Score", scale=unit, axis=alt.Axis(format=".2f", values=[0, 0.25, 0.5, 0.75, 1.0]))
    curve = pd.DataFrame(
        [{"score": one.score, "observed": one.observed, "lower": one.lower, "upper": one.upper} for one in found.curve]
    )
    bins = pd.DataFrame(
        [
            {
                "score": one.mean_score,
                "observed": one.present / one.of,
                "lower": one.lower,
                "upper": one.upper,
                "words": f"Mean score {one.mean_score:.2f}: {figures.counted(one.present)} of "
                f"{figures.counted(one.of)} ({figures.interval(one.lower, one.upper)})",
            }
            for one in found.bins
        ]
    )
    y = alt.Y("observed:Q", title=f"Studies with {target_plural}", scale=unit, axis=axis)
    diagonal = (
        alt.Chart(pd.DataFrame({"score": [0, 1], "observed": [0, 1]}))
        .mark_line(strokeDash=[5, 4], color=looks.RULE_INK, aria=False)
        .encode(x=x, y=y)
    )
    band = (
        alt.Chart(curve)
        .mark_area(color=BAND, opacity=0.75, interpolate="step-after", aria=False)
        .encode(x=x, y=alt.Y("lower:Q", scale=unit, title=f"Studies with {target_plural}", axis=axis), y2="upper:Q")
    )
    line = alt.Chart(curve).mark_line(color=LINE, strokeWidth=2, interpolate="step-after", aria=False).encode(x=x, y=y)
    whiskers = alt.Chart(bins).mark_rule(color=POINTS, aria=False).encode(
        x=x, y=alt.Y("lower:Q", scale=unit, title=f"Studies with {target_plural}", axis=axis), y2="upper:Q"
    )  # fmt: skip
    points = alt.Chart(bins).mark_point(color=POINTS, filled=True, size=45, opacity=1).encode(
        x=x, y=y, tooltip=[alt.Tooltip("words:N", title=" ")], description="words:N"
    )  # fmt: skip
    layers = alt.layer(band, diagonal, line, whiskers, points)
    return looks.specification(layers.properties(height=SIDE, width=SIDE))
