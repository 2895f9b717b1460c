"""Overview: is the AI ready to be switched on?"""

from __future__ import annotations

import streamlit as st

from dashboards import figures, sentences
from dashboards.access import EVERYONE, require
from dashboards.components.criteria_table import criteria_table, status_words
from dashboards.components.page_frame import opening
from dashboards.views import subgroups
from shadow.assessment.snapshot import IndexState, ReferenceState, Snapshot, Verdict

QUESTION = "Is the AI ready to be switched on?"


def as_page() -> st.Page:
    """The page for the menu; it is the first page, at `/`."""
    return st.Page(page, title="Overview", icon=":material/flag:", default=True)


def page() -> None:
    """The page as the menu runs it."""
    require(*EVERYONE)
    published = opening(QUESTION)
    if published is not None:
        render(published.snapshot)


def render(snapshot: Snapshot) -> None:
    """Draw the page for a snapshot."""
    _verdict_card(snapshot)
    _progress(snapshot)
    st.subheader(f"Acceptance criteria (protocol {snapshot.protocol_version})", anchor=False)
    if snapshot.criteria:
        criteria_table(snapshot)
    else:
        st.markdown("The protocol registers no criterion.")
    _cards(snapshot)
    with st.expander("How to read this"):
        st.markdown(_how_to_read(snapshot))


def _verdict_card(snapshot: Snapshot) -> None:
    answer = sentences.readiness(snapshot)
    trusted = not snapshot.broken_promises and not snapshot.flow.broken_sums()
    state = answer.verdict.value.replace(" ", "-") if trusted else "not-met"
    with st.container(border=True, key=f"verdict-{state}"):
        if not trusted:
            st.markdown("### Cannot be said: the figures do not hold")
            st.markdown("See the error above. It has to be cleared before any figure is read.")
            return
        st.markdown(f"### {status_icon(answer.verdict)} {answer.headline}")
        st.markdown(sentences.worst_cell(snapshot))
        if snapshot.completeness is None or snapshot.completeness.alarms or snapshot.completeness.unknown:
            st.markdown(sentences.arrival(snapshot))
        if snapshot.monitoring.alarms:
            st.markdown(sentences.alarms(snapshot))
        if answer.sentence:
            st.markdown(answer.sentence)
        if snapshot.worst_cell() is not None:
            st.page_link(subgroups.as_page(), label="See all scanners and shifts", icon=":material/grid_on:")


def status_icon(verdict: Verdict) -> str:
    """The verdict's icon in its colour."""
    return status_words(verdict).split(": **")[0] + ":]"


def _progress(snapshot: Snapshot) -> None:
    confirmed, planned = snapshot.overall.sensitivity.of, snapshot.planned_positives
    words = f"**{figures.counted(confirmed)} of {figures.counted(planned)}** planned {snapshot.target_plural} confirmed"
    st.progress(min(1.0, confirmed / planned) if planned else 0.0, text=words)
    waiting = sentences.pending(snapshot)
    if waiting:
        st.markdown(waiting)


def _cards(snapshot: Snapshot) -> None:
    flow, latency = snapshot.flow, snapshot.latency
    in_time = flow.count(IndexState.POSITIVE) + flow.count(IndexState.NEGATIVE)
    without = flow.eligible - in_time
    pending = flow.count(reference_state=ReferenceState.PENDING)
    median = "none yet" if latency.median_seconds is None else f"{latency.median_seconds:.1f} s"
    cards = (
        ("Eligible studies", figures.counted(flow.eligible), f"of {figures.counted(flow.received)} received"),
        ("AI results in time", figures.counted(in_time), f"{figures.counted(without)} late, failed or awaited"),
        ("Waiting for a final report", figures.counted(pending), "pending is not negative"),
        ("Study complete to locked", median, f"median of {figures.counted(latency.locked)} results"),
    )
    for column, (label, value, remark) in zip(st.columns(len(cards)), cards, strict=True):
        column.metric(label, value, delta=remark, delta_color="off", delta_arrow="off", border=True)


def _how_to_read(snapshot: Snapshot) -> str:
    return f"""
- **Met**: the lower limit has reached the floor. **Not met**: the upper limit is below it. **Not yet known**:
  neither; more cases will tell. There is no state in between.
- A study on which the AI failed, answered late or has not answered counts as a miss when the final report says
  that {snapshot.target_plural} are present, and as a false alert when it says that they are absent.
- A study without a final report is *pending*: it is in no figure of accuracy, and never counts as negative.
- A criterion for every scanner and shift shows the cell that decided. Cells with fewer than
  {snapshot.minimum_positives_shown} confirmed {snapshot.target_plural} print no figure on the Subgroups page.
- {sentences.DAILY_LOOKS}
"""
