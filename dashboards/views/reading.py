"""Blinded reading: what do the images show?"""

from __future__ import annotations

import streamlit as st

from dashboards import figures, reading_room
from dashboards.access import require
from dashboards.components.image_stack import image_stack
from dashboards.components.page_frame import silent_line
from dashboards.reading_room import Room
from shadow.adjudication.desk import AlreadyRead, Answer
from shadow.adjudication.images import ImagesMissing
from shadow.domain.errors import ShadowError
from shadow.store.accounts import Session

QUESTION = "What do the images show?"
_SAID = "reading said"


def as_page() -> st.Page:
    """The page for the menu."""
    return st.Page(page, title="Blinded reading", icon=":material/visibility:", url_path="reading")


def page() -> None:
    """The page as the menu runs it."""
    session = require(*reading_room.READERS)
    silent_line()
    st.title(QUESTION, anchor=False)
    try:
        room = reading_room.room()
    except (ShadowError, OSError, ValueError) as problem:
        st.error(f"The reading room cannot be opened: {problem}")
        return
    if room is None:
        st.info("The protocol plans no blinded reading.")
        return
    render(room, session)


def render(room: Room, session: Session) -> None:
    """Draw the page for a person."""
    if said := st.session_state.pop(_SAID, ""):
        st.toast(said)
    study_key = room.desk.next_study(session.name)
    progress = room.desk.progress(session.name)
    st.markdown(
        f"You have read **{figures.number_of(progress.read, 'study', 'studies')}**; "
        f"{figures.counted(progress.open)} {'is' if progress.open == 1 else 'are'} open to you. You see images alone: "
        "what the AI, the report and other readers say is kept from you until the study is settled."
    )
    if study_key is None:
        st.info("Nothing is left for you to read. Studies come once their report is final and the embargo is over.")
        return
    try:
        held = reading_room.hold(room, session, study_key)
    except ImagesMissing as problem:
        st.error(f"The images of the next study cannot be shown: {problem}. Tell informatics.")
        return
    viewer, answers = st.columns([3, 1.25], gap="large")
    with viewer:
        image_stack(held.token, held.images.series)
    with answers:
        _answer(room, session, held)
    if held.images.hidden:
        st.warning(f"{figures.number_of(held.images.hidden, 'image', 'images')} of this study cannot be shown.")


def _answer(room: Room, session: Session, held: reading_room.Held) -> None:
    words = {
        Answer.PRESENT: f"{room.question.capitalize()} present",
        Answer.ABSENT: f"No {room.question}",
        Answer.INDETERMINATE: "The images do not tell",
    }
    with st.form(key=f"answer-{held.token}", border=True):
        chosen = st.radio("Your answer", list(Answer), index=None, format_func=lambda one: words[one])
        st.caption("It is locked like a prediction: nobody can change it, you neither.")
        locked = st.form_submit_button("Lock my answer", type="primary", width="stretch")
    if not locked:
        return
    if chosen is None:
        st.warning("Choose an answer first.")
        return
    try:
        room.desk.lock(session.name, held.study_key, chosen, held.images.sha256)
        st.session_state[_SAID] = "Locked. The next study is here."
    except AlreadyRead:
        st.session_state[_SAID] = "Others have settled that study meanwhile; your answer was not needed."
    st.rerun()
