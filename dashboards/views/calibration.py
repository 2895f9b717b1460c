"""Calibration and threshold: can the score be trusted, and what if the threshold moved?"""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboards import figures
from dashboards.access import EVERYONE, require
from dashboards.charts.reliability import reliability
from dashboards.components.figure_table import figure_table
from dashboards.components.page_frame import opening
from shadow.assessment.evidence import ScoreCalibration, ThresholdPoint, ThresholdWhatIf
from shadow.assessment.snapshot import Snapshot

QUESTION = "Can the score be trusted, and what if the threshold moved?"
NATURAL = 1000


def as_page() -> st.Page:
    """The page for the menu."""
    return st.Page(page, title="Calibration & threshold", icon=":material/tune:", url_path="calibration")


def page() -> None:
    """The page as the menu runs it."""
    require(*EVERYONE)
    published = opening(QUESTION)
    if published is not None:
        render(published.snapshot)


def render(snapshot: Snapshot) -> None:
    """Draw the page for a snapshot."""
    calibration, thresholds = snapshot.evidence.calibration, snapshot.evidence.thresholds
    if calibration is None:
        st.info("No calibration yet: it takes labelled studies of both kinds with a score between 0 and 1.")
    else:
        _calibration(calibration, snapshot)
    if thresholds is not None and thresholds.points:
        _thresholds(thresholds, snapshot)
    with st.expander("How to read this"):
        st.markdown(_how_to_read(snapshot))


def _calibration(found: ScoreCalibration, snapshot: Snapshot) -> None:
    st.markdown(
        f"**{found.verdict}** It rests on {figures.positives(found.events, snapshot.target_plural)} among "
        f"{figures.number_of(found.cases, 'labelled study', 'labelled studies')} with a score."
    )
    if found.exploratory:
        st.markdown("Fewer than 200 events: the curve is exploratory.")
    left, right = st.columns((5, 4), gap="large")
    with left:
        specification: dict[str, Any] = reliability(found, snapshot.target_plural)
        st.vega_lite_chart(
            spec=specification, width="content", key="reliability", alt=f"Reliability of the score: {found.verdict}"
        )
    with right:
        st.markdown(
            "**What recalibration would do**, cross-fitted. A what-if for the next protocol; it changes nothing."
        )
        rows = [
            {
                "Method": one.method.capitalize(),
                "Brier score now": f"{one.brier_before:.3f}",
                "Brier score then": f"{one.brier_after:.3f}",
            }
            for one in found.what_ifs
        ]
        if rows:
            st.table(pd.DataFrame(rows), hide_index=True, border="horizontal", alt="Recalibration as a what-if")
        if found.sampled:
            st.markdown(f"Curve, smoother and what-ifs on {figures.counted(found.sampled)} studies drawn at random.")
    with st.expander("Show the figures"):
        figure_table(found.figures, "Calibration in figures")


def _thresholds(found: ThresholdWhatIf, snapshot: Snapshot) -> None:
    st.subheader("What if the threshold moved?", anchor=False)
    st.markdown(
        "**What-if only.** Changing the threshold needs a new protocol version and new data: a threshold chosen on "
        "these studies looks better on them than it is."
    )
    nearest = min(found.points, key=lambda one: abs(one.threshold - snapshot.threshold))
    options = [one.threshold for one in found.points]
    chosen = st.select_slider(
        "Threshold", options, value=nearest.threshold, format_func=lambda one: f"{one:.3f}", key="threshold"
    )
    point = next(one for one in found.points if one.threshold == chosen)
    st.markdown(_in_natural_frequencies(point, found, snapshot))
    step = max(1, len(found.points) // 10)
    rows = [_row(one, found) for one in found.points[::step]]
    with st.expander("Show as table"):
        st.table(pd.DataFrame(rows), hide_index=True, border="horizontal", alt="Other thresholds")


def _in_natural_frequencies(point: ThresholdPoint, found: ThresholdWhatIf, snapshot: Snapshot) -> str:
    scans = found.present + found.absent
    present = round(NATURAL * found.present / scans)
    hit = round(present * point.found / found.present) if found.present else 0
    flagged = round((NATURAL - present) * point.flagged / found.absent) if found.absent else 0
    a_week = (point.found + point.flagged) / found.days * 7
    return (
        f"At {point.threshold:.3f} (the protocol's is {snapshot.threshold:.3f}): of {NATURAL:,} scans "
        f"**{present} have {snapshot.target_plural}: {hit} found, {present - hit} missed**; {NATURAL - present} have "
        f"none: {flagged} flagged for nothing. That is {a_week:.0f} flags a week here."
    )


def _row(point: ThresholdPoint, found: ThresholdWhatIf) -> dict[str, str]:
    return {
        "Threshold": f"{point.threshold:.3f}",
        "Found": f"{figures.counted(point.found)} of {figures.counted(found.present)}",
        "Flagged for nothing": f"{figures.counted(point.flagged)} of {figures.counted(found.absent)}",
        "Flags a week": f"{(point.found + point.flagged) / found.days * 7:.0f}",
    }


def _how_to_read(snapshot: Snapshot) -> str:
    return f"""
- A calibrated score of 0.3 means that about 30 of 100 such studies have {snapshot.target_plural}. The AI's decisions
  use the threshold only: a score that ranks well and is not calibrated can still find what it should.
- **The step line** is the observed share by score, without bins or tuning (CORP). Inside the blue band chance alone
  would explain its distance from the diagonal.
- **The points** are tenths of the studies by score, with 95% intervals.
- Below 100 events there is no verdict, below 200 the curve is exploratory.
- At other thresholds, studies without a result stay not found and not flagged.
"""
