"""The study flow (STARD 2015, item 19) as a drawing whose boxes can be selected.

The layout is computed here, from one snapshot; the browser only draws it. Streamlit's own HTML element strips
SVG, so the drawing is a component.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import streamlit as st

from dashboards import boxes, figures
from dashboards.boxes import Box
from shadow.assessment.snapshot import Flow, IndexState, Reason, ReferenceState

WIDTH = 960
GAP = 18
LINE = 17
HEADING = 26
TALL = 56
ARROW = 26
LONGEST_REASONS = 4

_ASSETS = Path(__file__).parent / "assets"
_DRAW = st.components.v2.component(
    "shadow_study_flow",
    html='<div class="flow"></div>\n',
    css=(_ASSETS / "study_flow.css").read_text(encoding="utf-8"),
    js=(_ASSETS / "study_flow.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A box as drawn, in units of the drawing (960 wide).

    Attributes:
        key: names it; empty where it cannot be selected.
        lines: small print under the count.
        tone: plain, found, missed or quiet.
        label: what a screen reader says.
    """

    key: str
    x: float
    y: float
    width: float
    height: float
    title: str
    count: str
    lines: tuple[str, ...]
    tone: str
    label: str


@dataclass(frozen=True, slots=True)
class Heading:
    """The question that a row of boxes answers."""

    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """The whole flow. `lines` are polylines as flat lists x1, y1, x2, y2, ..."""

    height: float
    rectangles: tuple[Rectangle, ...]
    headings: tuple[Heading, ...]
    lines: tuple[tuple[float, ...], ...]
    label: str


def study_flow(
    flow: Flow, target_plural: str, *, selectable: bool, selected: str, on_selected_change: Callable[[], None]
) -> None:
    """Draw the flow. The key of a box that was just selected is in the session state `flow.selected`.

    Args:
        flow: what is drawn.
        target_plural: what the reports are about, in words.
        selectable: whether this reader may list the studies of a box.
        selected: the key of the box whose studies are listed now, or empty.
        on_selected_change: called when the reader selects a box.
    """
    drawing = layout(flow, target_plural, selectable=selectable)
    _DRAW(
        key="flow",
        data={"drawing": asdict(drawing), "selected": selected},
        on_selected_change=on_selected_change,
    )


def layout(flow: Flow, target_plural: str, *, selectable: bool) -> Drawing:
    """Where each box and line of the flow goes."""
    middle = WIDTH / 2
    received = _rectangle("", 330, 0, 300, TALL, "Studies received", flow.received)
    excluded_count = flow.received - flow.eligible
    excluded_lines = _reason_lines(flow.excluded)
    excluded = _rectangle(
        "", 700, 0, 260, TALL + LINE * len(excluded_lines), "Excluded", excluded_count, excluded_lines, "quiet"
    )
    y = max(TALL, excluded.height) + ARROW
    eligible = _rectangle("", 330, y, 300, TALL, "Eligible studies", flow.eligible)
    lines: list[tuple[float, ...]] = [
        (middle, TALL, middle, y),
        (received.x + received.width, TALL / 2, excluded.x, TALL / 2),
    ]
    y += TALL
    by_index, index_lines, y, index_y = _row(flow, boxes.BY_INDEX, y, (1, 1, 1, 1.15, 1), selectable)
    lines += index_lines
    lines += _joined(by_index, y)
    y += ARROW / 2
    by_reference, reference_lines, y, reference_y = _row(flow, boxes.BY_REFERENCE, y, (1.45, 1.45, 0.85, 1), selectable)
    lines += reference_lines
    of_present = _children(flow, boxes.OF_PRESENT, by_reference[0], y, selectable)
    of_absent = _children(flow, boxes.OF_ABSENT, by_reference[1], y, selectable)
    for parent, children in ((by_reference[0], of_present), (by_reference[1], of_absent)):
        lines += _split(parent.x + parent.width / 2, parent.y + parent.height, children)
    return Drawing(
        height=of_present[0].y + of_present[0].height + 2,
        rectangles=(received, excluded, eligible, *by_index, *by_reference, *of_present, *of_absent),
        headings=(
            Heading(index_y, boxes.INDEX_STAGE),
            Heading(reference_y, f"What did the first final report say about {target_plural}?"),
        ),
        lines=tuple(lines),
        label="Study flow: from studies received to results compared with the final report",
    )


def _row(
    flow: Flow, row: Sequence[Box], y: float, shares: Sequence[float], selectable: bool
) -> tuple[list[Rectangle], list[tuple[float, ...]], float, float]:
    """A row of boxes that together hold every eligible study, with the lines into it, its end, its heading's place."""
    small_print = [_small_print(box, flow) for box in row]
    height = TALL + LINE * max(len(one) for one in small_print)
    top = y + ARROW + HEADING
    unit = (WIDTH - GAP * (len(row) - 1)) / sum(shares)
    rectangles, x = [], 0.0
    for box, share, lines in zip(row, shares, small_print, strict=True):
        rectangles.append(_of_box(box, flow, x, top, unit * share, height, lines, selectable))
        x += unit * share + GAP
    into = _split(WIDTH / 2, y, rectangles, bus=top - 12)
    return rectangles, into, top + height, y + ARROW - 2


def _children(flow: Flow, row: Sequence[Box], parent: Rectangle, y: float, selectable: bool) -> list[Rectangle]:
    gap = 8.0
    width = (parent.width - gap * (len(row) - 1)) / len(row)
    return [
        _of_box(box, flow, parent.x + place * (width + gap), y + ARROW, width, TALL, (), selectable)
        for place, box in enumerate(row)
    ]


def _of_box(
    box: Box,
    flow: Flow,
    x: float,
    y: float,
    width: float,
    height: float,
    lines: tuple[str, ...],
    selectable: bool,
) -> Rectangle:
    tone = {"missed": "missed", "present-no-result": "missed", "found": "found"}.get(box.key, "plain")
    key = box.key if selectable and boxes.box_named(box.key) else ""
    return _rectangle(key, x, y, width, height, box.title, box.count(flow), lines, tone)


def _rectangle(
    key: str,
    x: float,
    y: float,
    width: float,
    height: float,
    title: str,
    count: int,
    lines: tuple[str, ...] = (),
    tone: str = "plain",
) -> Rectangle:
    small = f" ({', '.join(lines)})" if lines else ""
    label = f"{title}: {figures.counted(count)}{small}"
    return Rectangle(key, x, y, width, height, title, figures.counted(count), lines, tone, label)


def _small_print(box: Box, flow: Flow) -> tuple[str, ...]:
    if box.key == "indeterminate":
        flagged = flow.count(IndexState.POSITIVE, ReferenceState.INDETERMINATE)
        cleared = flow.count(IndexState.NEGATIVE, ReferenceState.INDETERMINATE)
        rest = box.count(flow) - flagged - cleared
        counted = ((flagged, "AI positive"), (cleared, "AI negative"), (rest, "no result"))
        return tuple(f"{figures.counted(count)} {words}" for count, words in counted if count)
    return _reason_lines(boxes.reasons_of(box, flow))


def _reason_lines(reasons: tuple[Reason, ...]) -> tuple[str, ...]:
    """Reasons as small print, the most frequent first; what does not fit is summed."""
    ordered = sorted(reasons, key=lambda one: (-one.count, one.reason))
    shown = ordered if len(ordered) <= LONGEST_REASONS else ordered[: LONGEST_REASONS - 1]
    lines = [f"{figures.counted(one.count)} {figures.code_in_words(one.reason)}" for one in shown]
    rest = sum(one.count for one in ordered[len(shown) :])
    if rest:
        lines.append(f"{figures.counted(rest)} for other reasons")
    return tuple(lines)


def _split(x: float, y: float, children: Sequence[Rectangle], bus: float | None = None) -> list[tuple[float, ...]]:
    """Lines from one point down to the top of each box."""
    level = children[0].y - ARROW / 2 if bus is None else bus
    centres = [one.x + one.width / 2 for one in children]
    across = (min(centres), level, max(centres), level)
    return [(x, y, x, level), across, *((centre, level, centre, children[0].y) for centre in centres)]


def _joined(row: Sequence[Rectangle], y: float) -> list[tuple[float, ...]]:
    """Lines from every box of a row back to one: the same studies, divided anew."""
    level = y + ARROW / 2
    centres = [one.x + one.width / 2 for one in row]
    return [*((centre, y, centre, level) for centre in centres), (min(centres), level, max(centres), level)]
