"""Drift: has what the AI sees changed?"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from dashboards import figures
from dashboards.access import EVERYONE, require
from dashboards.components.figure_table import number, p_value
from dashboards.components.page_frame import opening
from shadow.assessment.evidence import Drift, DriftRow
from shadow.assessment.snapshot import Snapshot

QUESTION = "Has what the AI sees changed?"
KINDS = {
    "quality": "Data quality",
    "alerts": "Flags",
    "score": "Scores",
    "attribute": "Scanner settings",
    "input": "Images as the AI sees them",
}


def as_page() -> st.Page:
    """The page for the menu."""
    return st.Page(page, title="Drift", icon=":material/water:", url_path="drift")


def page() -> None:
    """The page as the menu runs it."""
    require(*EVERYONE)
    published = opening(QUESTION)
    if published is not None:
        render(published.snapshot)


def render(snapshot: Snapshot) -> None:
    """Draw the page for a snapshot."""
    drift = snapshot.evidence.drift
    if not drift.rows:
        st.info(f"Nothing to compare yet: the first {drift.reference_weeks} weeks are the reference.")
        return
    st.markdown(_answer(drift))
    st.markdown(f"*{drift.caveat}*")
    for kind, title in KINDS.items():
        rows = [one for one in drift.rows if one.kind == kind]
        if rows:
            st.subheader(title, anchor=False)
            marked = [one for one in rows if one.outside or one.watch]
            shown = marked or [one for one in rows if one.group == rows[0].group]
            st.table(pd.DataFrame([_row(one) for one in shown]), hide_index=True, border="horizontal", alt=title)
            if len(shown) < len(rows):
                with st.expander(f"All groups: {title}"):
                    table = pd.DataFrame([_row(one) for one in rows])
                    st.table(table, hide_index=True, border="horizontal", alt=f"{title}, all groups")
    if drift.unlabelled:
        st.subheader("What unlabelled scores would say", anchor=False)
        for one in drift.unlabelled:
            held = " :orange[:material/visibility: **Watch**]: what it rests on has changed." if one.watch else ""
            st.markdown(f"- {one.name}: **{figures.percent(one.value)}**.{held} {one.caveat}")
    with st.expander("How to read this"):
        st.markdown(_how_to_read(drift))


def _answer(drift: Drift) -> str:
    watched = [f"{one.group}: {one.what}" for one in drift.rows if one.watch]
    outside = [f"{one.group}: {one.what}" for one in drift.rows if one.outside]
    over = f"{len(drift.rows)} things looked at, the first {drift.reference_weeks} weeks against the later ones"
    if watched:
        return f"**A change that the weekly detector holds on to: {'; '.join(dict.fromkeys(watched))}.** {over}."
    if outside:
        return (
            f"No change that the weekly detector holds on to. At one look these stand out: {'; '.join(outside)}. "
            f"{over}; about one in a hundred does so by chance."
        )
    return f"**No sign of change.** {over}."


def _row(one: DriftRow) -> dict[str, str]:
    shown = figures.percent if one.share else number
    return {
        "Group": one.group,
        "What": one.what,
        "First weeks": _cell(one.reference, shown, one.reference_cases),
        "Later": _cell(one.current, shown, one.current_cases),
        "Distance": "" if one.distance is None else f"{number(one.distance)} ({one.measure})",
        "p, one look": p_value(one.p_value),
        "Standing": _standing(one),
    }


def _cell(value: float | None, shown: Callable[[float], str], cases: int) -> str:
    n = f"n = {figures.counted(cases)}"
    return n if value is None else f"{shown(value)} ({n})"


def _standing(one: DriftRow) -> str:
    if one.watch:
        return ":orange[:material/visibility: **Watch**]"
    return ":gray[:material/info: **Outside at one look**]" if one.outside else ":gray[Quiet]"


def _how_to_read(drift: Drift) -> str:
    return f"""
- The first {drift.reference_weeks} weeks are the reference; limits and tests allow for the number of studies on
  either side, so a small scanner is not called changed because it is small.
- **Outside at one look**: one in a hundred unchanged rows looks like that. **Watch**: the weekly detector has crossed
  a limit that an unchanged stream crosses once in five years on average.
- Read from the top: a missing header value or a failing series explains more than any distance of scores.
- Drift explains and warns. Whether the AI found the cases only the reports can say.
"""
