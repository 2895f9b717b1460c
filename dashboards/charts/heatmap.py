"""Scanner by shift: one cell a group, coloured by how it stands and never by its value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from dashboards import figures
from dashboards.charts import looks
from dashboards.standing import LOOKS, Measure, Standing, measured, standing_of
from shadow.assessment.snapshot import Group, Snapshot

ROW_HEIGHT = 62
STRIPES = 46


def heatmap(snapshot: Snapshot, cells: Sequence[Group], measure: Measure) -> dict[str, Any]:
    """The specification of the heatmap over these cells, rows and columns in the snapshot's order."""
    labels = {(one.site, one.scanner): one.label for one in snapshot.of_dimension("scanner")}
    rows = pd.DataFrame([_row(snapshot, cell, measure, labels) for cell in cells])
    scanners = list(dict.fromkeys(rows["scanner"]))
    shifts = list(dict.fromkeys(rows["shift"]))
    base = alt.Chart(rows).encode(
        x=alt.X("shift:N", sort=shifts, title=None, axis=alt.Axis(orient="top", labelAngle=0)),
        y=alt.Y("scanner:N", sort=scanners, title=None, axis=alt.Axis(labelPadding=10)),
        description="words:N",
    )
    squares = base.mark_rect(stroke="#FFFFFF", strokeWidth=4, cornerRadius=6).encode(
        color=alt.Color(
            "standing:N",
            scale=alt.Scale(domain=[one.value for one in Standing], range=[LOOKS[one].fill for one in Standing]),
            legend=None,
        ),
        tooltip=[alt.Tooltip("words:N", title=" ")],
    )
    hatched = (
        base.transform_filter(alt.datum.standing == Standing.TOO_FEW.value)
        .mark_rect(stroke="#FFFFFF", strokeWidth=4, cornerRadius=6, fill=_stripes())
        .encode(tooltip=[alt.Tooltip("words:N", title=" ")])
    )
    large = base.mark_text(dy=-9, fontSize=looks.LARGE_TEXT_SIZE, fontWeight=600, color=looks.INK, aria=False)
    small = base.mark_text(dy=12, fontSize=looks.SMALL_TEXT_SIZE, color=looks.INK, aria=False)
    few = base.mark_text(fontSize=looks.TEXT_SIZE, color=looks.QUIET_INK, aria=False).encode(text="few:N")
    layers = [squares, hatched, large.encode(text="large:N"), small.encode(text="small:N"), few]
    layers += _site_rules(cells, labels, scanners)
    chart = alt.layer(*layers).properties(width="container", height=ROW_HEIGHT * len(scanners))
    return looks.specification(chart)


def _row(snapshot: Snapshot, cell: Group, measure: Measure, labels: dict[tuple[str, str], str]) -> dict[str, str]:
    standing = standing_of(snapshot, cell, measure)
    figure = measured(cell, measure)
    look = LOOKS[standing]
    few = standing is Standing.TOO_FEW
    small = "" if few else figures.share(figure)
    if look.shape:
        small += f" · {look.shape} {standing.value.lower()}"
    return {
        "scanner": labels.get((cell.site, cell.scanner), cell.label.rsplit(",", 1)[0]),
        "shift": cell.shift,
        "standing": standing.value,
        "large": "" if few else figures.estimate(figure),
        "small": small,
        "few": f"n = {figures.counted(figure.of)}, too few" if few else "",
        "words": cell_in_words(cell, measure, standing),
    }


def cell_in_words(cell: Group, measure: Measure, standing: Standing) -> str:
    """A cell as a screen reader says it: `Riverside CT-2, Night: 19 of 31 found, 61%, Not met`."""
    figure = measured(cell, measure)
    if standing is Standing.TOO_FEW:
        return f"{cell.label}: n = {figures.counted(figure.of)}, too few"
    verb = "found" if measure is Measure.SENSITIVITY else "cleared"
    return f"{cell.label}: {figures.share(figure)} {verb}, {figures.estimate(figure)}, {standing.value}"


def _site_rules(cells: Sequence[Group], labels: dict[tuple[str, str], str], scanners: list[str]) -> list[alt.Chart]:
    """A line above the first scanner of every site but the first."""
    first_of_site: dict[str, str] = {}
    for cell in cells:
        first_of_site.setdefault(cell.site, labels.get((cell.site, cell.scanner), ""))
    starts = [name for name in first_of_site.values() if name and name != scanners[0]]
    if not starts:
        return []
    rule = alt.Chart(pd.DataFrame({"scanner": starts})).mark_rule(color="#9AA3AC", strokeWidth=1.5, aria=False)
    return [rule.encode(y=alt.Y("scanner:N", sort=scanners, bandPosition=0))]


def _stripes() -> alt.LinearGradient:
    """Grey diagonal hatching: stripes by hard stops of one gradient, since Vega knows no pattern fill."""
    stops = []
    for stripe in range(STRIPES):
        colour = "#FFFFFF" if stripe % 2 else "#EDEFF1"
        stops += [
            alt.GradientStop(color=colour, offset=stripe / STRIPES),
            alt.GradientStop(color=colour, offset=(stripe + 1) / STRIPES),
        ]
    return alt.LinearGradient(gradient="linear", x1=0, y1=0, x2=1, y2=1, stops=stops)
