"""Worklist: what would flags have done to reading times?"""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboards import figures
from dashboards.access import EVERYONE, require
from dashboards.components.page_frame import opening
from shadow.assessment.evidence import WorklistChange
from shadow.assessment.snapshot import Snapshot

QUESTION = "What would flags have done to the worklist?"


def as_page() -> st.Page:
    """The page for the menu."""
    return st.Page(page, title="Worklist", icon=":material/low_priority:", url_path="worklist")


def page() -> None:
    """The page as the menu runs it."""
    require(*EVERYONE)
    published = opening(QUESTION)
    if published is not None:
        render(published.snapshot)


def render(snapshot: Snapshot) -> None:
    """Draw the page for a snapshot."""
    worklist = snapshot.evidence.worklist
    whole = [one for one in worklist.changes if one.shift == "all"]
    if not whole:
        st.info("Nothing to replay yet: no study has been reported.")
        return
    st.markdown(" ".join(_sentence(one, snapshot) for one in whole))
    if worklist.flag_minutes is not None:
        st.markdown(f"A flag is there {worklist.flag_minutes:.1f} minutes after the last image, half of the time.")
    table = pd.DataFrame([_row(one, snapshot) for one in worklist.changes])
    st.table(table, hide_index=True, border="horizontal", alt="Minutes saved and lost by shift")
    with st.expander("How to read this"):
        st.markdown(_how_to_read(snapshot))


def _sentence(one: WorklistChange, snapshot: Snapshot) -> str:
    which = f"with {snapshot.target_plural}" if one.present else "without"
    way = "earlier" if one.mean >= 0 else "later"
    return (
        f"**Studies {which}: {abs(one.mean):.1f} minutes {way}** on average "
        f"(n = {figures.counted(one.studies)}{_limits(one)})."
    )


def _limits(one: WorklistChange) -> str:
    if one.lower is None or one.upper is None:
        return ""
    return f"; 95% CI {one.lower:.1f} to {one.upper:.1f}"


def _row(one: WorklistChange, snapshot: Snapshot) -> dict[str, str]:
    return {
        "Shift": "All" if one.shift == "all" else one.shift,
        "Studies": f"with {snapshot.target_plural}" if one.present else "without",
        "n": figures.counted(one.studies),
        "Minutes earlier, mean": f"{one.mean:.1f}",
        "95% CI": "" if one.lower is None or one.upper is None else f"{one.lower:.1f} to {one.upper:.1f}",
        "Half gain at least": f"{one.median:.1f}",
    }


def _how_to_read(snapshot: Snapshot) -> str:
    return f"""
- A replay, nothing was changed: readers keep the times at which they really reported, each site by itself; at every
  such time a flagged study whose flag was there goes first. What studies with {snapshot.target_plural} gain, all
  others lose; below 0 means later.
- The flag comes after the wait until the study is complete and after the AI's own time.
- Assumed: a flag overtakes everything on the list, urgent studies too; no reader ignores a flag or reads faster for
  it. Real gains are smaller.
- Intervals resample whole days, because one busy night is one event.
"""
