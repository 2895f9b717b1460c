"""All figures: what exactly do the figures say, and what could still change them?"""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboards import figures
from dashboards.access import EVERYONE, require
from dashboards.components.figure_table import figure_table
from dashboards.components.page_frame import opening
from shadow.assessment.evidence import DelayedReports, ReferenceWhatIf, ShiftTurnaround
from shadow.assessment.snapshot import Snapshot

QUESTION = "What exactly do the figures say?"


def as_page() -> st.Page:
    """The page for the menu."""
    return st.Page(page, title="All figures", icon=":material/table_chart:", url_path="all-figures")


def page() -> None:
    """The page as the menu runs it."""
    require(*EVERYONE)
    published = opening(QUESTION)
    if published is not None:
        render(published.snapshot)


def render(snapshot: Snapshot) -> None:
    """Draw the page for a snapshot."""
    evidence = snapshot.evidence
    st.markdown(_answer(snapshot))
    for section in dict.fromkeys(one.section for one in evidence.figures):
        st.subheader(section, anchor=False)
        figure_table([one for one in evidence.figures if one.section == section], section)
    st.subheader("Reports still to come", anchor=False)
    _delayed(evidence.delayed, snapshot)
    if evidence.what_ifs:
        st.subheader("What if the reports miss what the AI misses?", anchor=False)
        _what_ifs(evidence.what_ifs, snapshot)
    with st.expander("How to read this"):
        st.markdown(_how_to_read(snapshot))


def _answer(snapshot: Snapshot) -> str:
    overall = snapshot.overall.sensitivity
    if not overall.of:
        return f"No final report has confirmed {snapshot.target_plural} yet."
    return (
        f"Against the first final reports the AI found **{figures.share(overall)} {snapshot.target_plural}** "
        f"({figures.estimate_with_interval(overall)}). Every figure below is the same trial counted another way."
    )


def _delayed(delayed: DelayedReports, snapshot: Snapshot) -> None:
    pending = snapshot.overall.pending
    if delayed.weighted is None or delayed.unweighted is None:
        st.markdown(
            f"{figures.number_of(pending, 'report is', 'reports are')} pending; none is old enough to weigh yet."
        )
    else:
        span = snapshot.sensitivity_if_pending
        bounds = "" if span is None else (
            f" Whatever the {figures.number_of(pending, 'pending report', 'pending reports')} will say, sensitivity "
            f"over all studies ends between {figures.percent(span.lowest)} and {figures.percent(span.highest)}."
        )  # fmt: skip
        st.markdown(
            f"Early reports are the easy cases. Weighted for those still to come, sensitivity is "
            f"**{figures.percent(delayed.weighted)}** (95% CI {figures.interval(delayed.lower, delayed.upper)}) on "
            f"{figures.positives(delayed.labelled_positives, snapshot.target_plural)} at least {delayed.maturity_days} "
            f"days old; unweighted the same cases say {figures.percent(delayed.unweighted)}.{bounds}"
        )
    shifts = pd.DataFrame([_turnaround(one) for one in delayed.shifts])
    if len(shifts):
        st.table(shifts, hide_index=True, border="horizontal", alt="Time to the final report by shift")
    with st.expander("Bounds for every scanner and shift"):
        rows = [
            {
                "Scanner and shift": one.label,
                "Found": f"{figures.counted(one.found)} of {figures.counted(one.present)}",
                "Pending": figures.counted(one.pending),
                "Never came": figures.counted(one.never),
                "Sensitivity ends between": figures.interval(one.lowest, one.highest),
            }
            for one in delayed.cells
        ]
        st.table(pd.DataFrame(rows), hide_index=True, border="horizontal", alt="Bounds for pending reports by cell")


def _turnaround(one: ShiftTurnaround) -> dict[str, str]:
    return {
        "Shift": one.shift,
        "Studies": figures.counted(one.studies),
        "Pending": figures.counted(one.pending),
        "Half reported within": _days(one.median_days),
        "90 of 100 within": _days(one.ninetieth_days),
    }


def _days(days: float | None) -> str:
    if days is None:
        return "not reached"
    return f"{days * 24:.1f} h" if days < 2 else f"{days:.1f} days"


def _what_ifs(rows: tuple[ReferenceWhatIf, ...], snapshot: Snapshot) -> None:
    st.markdown(
        f"{snapshot.target_plural.capitalize()} that neither the AI nor the report names are counted nowhere, so "
        "sensitivity against reports is too high, most of all at night. Adjudication would measure it; until then:"
    )
    table = [
        {
            f"Of the {snapshot.target_plural} that the AI misses, reports find": figures.percent(one.reports_find),
            "True sensitivity": figures.percent(one.sensitivity),
            "95% CI carried over": figures.interval(one.lower, one.upper),
        }
        for one in rows
    ]
    st.table(pd.DataFrame(table), hide_index=True, border="horizontal", alt="Sensitivity if reports miss cases too")


def _how_to_read(snapshot: Snapshot) -> str:
    return f"""
- **Each study** counts every study with confirmed {snapshot.target_plural}; patients with several are allowed for in
  the interval. **Each patient** and **each episode** ask whether any of their studies was found.
- A study without a result, or with one that came after the report, is **not found**. It is never left out, except in
  the row that says so.
- The intervals on this page are for reading once. Verdicts and alarms rest on limits that hold at every look: see
  Overview and Over time.
- Predictive values hold for this trial's share of {snapshot.target_plural} only; the rows that name another share say
  what they would be there.
"""
