"""Who is looking, asked anew on every run: a session that was revoked ends at the next click."""

from __future__ import annotations

from typing import NoReturn

import streamlit as st

from dashboards import installation
from shadow.store.accounts import Role, Session

EVERYONE = tuple(Role)
CASE_READERS = (Role.REVIEWER, Role.SIGNER, Role.ADMIN)


def current_session() -> Session | None:
    """The session behind this page, if it still stands. The gate puts its identifier into `st.user`."""
    identifier = st.user.get("session")
    return installation.accounts().session(str(identifier)) if identifier else None


def require(*roles: Role) -> Session:
    """The session, where its role is one of these; else the page stops with the reason."""
    session = current_session()
    if session is None:
        _end_page("Your session has ended. Please sign in again.", '<a href="/login" target="_self">Sign in</a>')
    if session.role not in roles:
        _end_page("This page is not open to your role.", '<a href="/" target="_self">To the first page</a>')
    return session


def _end_page(reason: str, link: str) -> NoReturn:
    st.error(reason)
    st.html(link)
    st.stop()
    raise AssertionError("a stopped page goes on")
