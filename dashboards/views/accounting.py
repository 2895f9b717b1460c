"""Case accounting: where did every study go?"""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboards import boxes, figures, sentences
from dashboards.access import CASE_READERS, EVERYONE, require
from dashboards.boxes import Box
from dashboards.components.page_frame import opening
from dashboards.components.study_flow import study_flow
from shadow.assessment.snapshot import Flow, MonitorState, Reason
from shadow.assessment.snapshot_file import Published
from shadow.store.accounts import Role

QUESTION = "Where did every study go?"
NO_BOX = ""


def as_page() -> st.Page:
    """The page for the menu."""
    return st.Page(page, title="Case accounting", icon=":material/account_tree:", url_path="accounting")


def page() -> None:
    """The page as the menu runs it."""
    session = require(*EVERYONE)
    published = opening(QUESTION)
    if published is not None:
        render(published, session.role)


def render(published: Published, role: Role) -> None:
    """Draw the page for a snapshot, with lists of cases for those who may read them."""
    flow = published.snapshot.flow
    may_list = role in CASE_READERS
    if flow.broken_sums():
        st.markdown("The boxes below do not add up; see the error above.")
    else:
        hint = " Select a box to list its studies." if may_list else ""
        st.markdown(f"{sentences.accounting(published.snapshot)} Each row of boxes adds up to the box above it.{hint}")
    drawing, below = st.container(), st.container()
    selected = ""
    if may_list:
        with below:
            selected = _case_list(published)
    with drawing:
        study_flow(
            flow,
            published.snapshot.target_plural,
            selectable=may_list,
            selected=selected,
            on_selected_change=_take_selection,
        )
    _arrival(published)
    _reports(flow)
    with st.expander("Show as table"):
        st.table(pd.DataFrame(_table(flow)), hide_index=True, border="horizontal", alt="The study flow as a table")
    with st.expander("How to read this"):
        st.markdown(_how_to_read(published))


def _take_selection() -> None:
    """A box was selected in the drawing: the list below follows."""
    key = st.session_state["flow"].selected
    if boxes.box_named(str(key)) is not None:
        st.session_state["box"] = key


def _case_list(published: Published) -> str:
    """The list of the chosen box, and the key of that box; empty where none is chosen."""
    titles = {box.key: _list_title(box) for box in boxes.LISTABLE}
    key = st.selectbox(
        "List the studies in",
        list(titles),
        index=None,
        format_func=lambda one: titles[one],
        key="box",
        placeholder="Choose a box here or in the drawing",
        bind="query-params",
    )
    box = boxes.box_named(key or NO_BOX)
    if box is None:
        return ""
    require(*CASE_READERS)
    flow = published.snapshot.flow
    count, listed = box.count(flow), box.listed_count(flow)
    cases = boxes.read_cases(published.cases, box)
    if len(cases) != listed:
        st.error(f"The case list holds {len(cases)} studies and the box {listed}. Publish a new snapshot.")
        return box.key
    words = f"**{_list_title(box)}**: {figures.number_of(count, 'study', 'studies')}."
    if listed < count:
        words += f" {figures.counted(count - listed)} without a final report are counted here but never listed."
    cases = tuple(one for one in cases if not one.withheld)
    if len(cases) < listed:
        kept = listed - len(cases)
        words += f" {figures.counted(kept)} {'is' if kept == 1 else 'are'} being read blind and listed once settled."
    st.markdown(words)
    if cases:
        names = {(one.site, one.scanner): one.label for one in published.snapshot.of_dimension("scanner")}
        rows = [
            {
                "Study": one.study_key,
                "Scanner": names.get((one.site, one.scanner), one.scanner),
                "Shift": one.shift,
                "Acquired": figures.instant(one.acquired_at),
                "AI": one.index_state.value,
                "Final report": one.reference_state.value,
            }
            for one in cases
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True, height=min(36 * len(rows) + 38, 360), key="cases")
    return box.key


def _list_title(box: Box) -> str:
    """A box's title with what sets it apart from another of the same name."""
    parent = {"present-no-result": "reported present", "absent-no-result": "reported absent"}.get(box.key)
    if parent:
        return f"{box.title} ({parent})"
    return f"Report: {box.title.lower()}" if box in boxes.BY_REFERENCE else box.title


def _arrival(published: Published) -> None:
    """Whether every study that the archives list reached us."""
    st.subheader("And every study that should have come?", anchor=False)
    snapshot = published.snapshot
    st.markdown(sentences.arrival(snapshot))
    arrived = snapshot.completeness
    if arrived is None:
        return
    alarms = {one.label for one in arrived.alarms}
    monitors = arrived.monitoring.monitors if arrived.monitoring else ()
    watched = {one.label for one in monitors if one.state is MonitorState.WATCH}
    rows = [
        {
            "Group": one.label,
            "Reached us": figures.estimate(one.received),
            "95% CI": figures.interval(one.received.lower, one.received.upper),
            "n": figures.share(one.received),
            "Came later": figures.counted(one.later),
            "Never came": figures.counted(one.never),
            "Monitor": "▼ alarm" if one.label in alarms else "watch" if one.label in watched else "",
        }
        for one in arrived.rows
        if one.dimension not in ("site_and_shift", "cell") or one.received.count < one.listed
    ]
    st.table(pd.DataFrame(rows), hide_index=True, border="horizontal", alt="Studies listed by the archives, by group")


def _reports(flow: Flow) -> None:
    """What came in beside the studies: reports, and what could not be read."""
    st.subheader("And every report?", anchor=False)
    cards = (
        ("Report versions", flow.report_versions, "all versions"),
        ("Reports linked", flow.reports_linked, "to a study"),
        ("Reports unmatched", flow.reports_unmatched, "no study came"),
        ("Messages quarantined", _sum(flow.messages_quarantined), "unreadable"),
        ("Images quarantined", _sum(flow.instances_quarantined), "unreadable"),
    )
    for column, (label, count, remark) in zip(st.columns(len(cards)), cards, strict=True):
        column.metric(label, figures.counted(count), delta=remark, delta_color="off", delta_arrow="off", border=True)
    for what, reasons in (("Messages", flow.messages_quarantined), ("Images", flow.instances_quarantined)):
        if reasons:
            why = ", ".join(f"{figures.counted(one.count)} {figures.code_in_words(one.reason)}" for one in reasons)
            st.markdown(f"{what} in quarantine: {why}.")
    beside = []
    if flow.orders:
        beside.append(
            f"Of {figures.counted(flow.orders)} orders that are due, {figures.counted(flow.orders_without_study)} have "
            "no study here."
        )
    for one in flow.links_corrected:
        whom = "by messages that merge patients" if one.reason == "adt_merge" else "by a person"
        beside.append(f"{figures.number_of(one.count, 'link was', 'links were')} corrected {whom}.")
    if flow.messages_not_used:
        beside.append(f"{figures.number_of(flow.messages_not_used, 'message was', 'messages were')} of no use here.")
    if beside:
        st.markdown(" ".join(beside))


def _sum(reasons: tuple[Reason, ...]) -> int:
    return sum(one.count for one in reasons)


def _table(flow: Flow) -> list[dict[str, str]]:
    """The drawing's boxes, one a row, with their reasons under them."""
    rows = [_line("Studies", "Received", flow.received), _line("Studies", "Excluded", flow.received - flow.eligible)]
    rows += _reason_rows(flow.excluded)
    rows.append(_line("Studies", "Eligible", flow.eligible))
    for box in boxes.BY_INDEX + boxes.BY_REFERENCE:
        rows.append(_line(box.stage, box.title, box.count(flow)))
        rows += _reason_rows(boxes.reasons_of(box, flow))
    for row in (boxes.OF_PRESENT, boxes.OF_ABSENT):
        parent = "Report: present" if row is boxes.OF_PRESENT else "Report: absent"
        rows += [_line(parent, box.title, box.count(flow)) for box in row]
    rows += [
        _line("Also", "Received again after closing (counted, not run again)", flow.late_revisions),
        _line("Reports", "Versions received", flow.report_versions),
        _line("Reports", "Linked to a study", flow.reports_linked),
        _line("Reports", "Unmatched", flow.reports_unmatched),
        _line("Reports", "Messages quarantined", _sum(flow.messages_quarantined)),
        *_reason_rows(flow.messages_quarantined),
        _line("Images", "Quarantined", _sum(flow.instances_quarantined)),
        *_reason_rows(flow.instances_quarantined),
    ]
    return rows


def _line(stage: str, box: str, count: int) -> dict[str, str]:
    return {"Stage": stage, "Box": box, "Count": figures.counted(count)}


def _reason_rows(reasons: tuple[Reason, ...]) -> list[dict[str, str]]:
    return [_line("", f"of these: {figures.code_in_words(one.reason)}", one.count) for one in reasons]


def _how_to_read(published: Published) -> str:
    plural = published.snapshot.target_plural
    return f"""
- Every study received is in exactly one box of each row; the sums are checked each time the page is drawn.
- **Late result**: locked after the first version of the report had arrived. It counts as no result.
- **Present, absent, indeterminate**: what the first *final* report says about {plural}. **Pending**: there is no
  final report yet. Pending is not negative.
- **Found and missed** divide the studies that are reported present; **cleared and flagged** those reported absent.
  *No result* is a late, failed or awaited result: it counts as a miss, or as a false alert.
- The table of those that should have come shows every site, scanner and shift, and each shift of a site or scanner
  from which any is missing.
- **Should have come** is what each site's router or PACS lists for the trial's rules, asked every night. A study that
  came after it was listed, or was fetched by hand, counts as missing there: its route had failed.
- No study is listed before its report is final, so that nobody can carry an AI result into a report.
"""
