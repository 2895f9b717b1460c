"""What every chart shares: type, colours of axes, and how a chart becomes a specification."""

from __future__ import annotations

from typing import Any

import altair as alt

INK = "#1F2933"
QUIET_INK = "#4A545E"
RULE_INK = "#3E4750"
GRID = "#E3E6E9"

TEXT_SIZE = 13
SMALL_TEXT_SIZE = 12
LARGE_TEXT_SIZE = 17


def specification(chart: alt.Chart | alt.LayerChart | alt.HConcatChart) -> dict[str, Any]:
    """The chart's Vega-Lite specification with the shared type: dark labels that are large enough to read."""
    return dict(
        chart.configure_axis(
            labelColor=INK,
            labelFontSize=TEXT_SIZE,
            titleColor=QUIET_INK,
            titleFontSize=SMALL_TEXT_SIZE,
            titleFontWeight="normal",
            gridColor=GRID,
            labelFlush=False,
            labelLimit=260,
            domain=False,
            ticks=False,
        )
        .configure_view(strokeWidth=0)
        .configure_title(color=QUIET_INK, fontSize=SMALL_TEXT_SIZE, fontWeight="bold")
        .to_dict()
    )
