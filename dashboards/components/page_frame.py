"""What every page has: the status line, a question as title, warnings that come first, and fresh figures."""

from __future__ import annotations

import html

import streamlit as st

from dashboards import figures, installation
from dashboards.access import EVERYONE, require
from shadow.assessment.snapshot import Snapshot
from shadow.assessment.snapshot_file import Published, read_current

REFRESH_SECONDS = 10
_SHOWN = "snapshot shown"

_SILENT = "<strong>SILENT TRIAL.</strong> AI results are recorded but not shown to the treating team."
_STYLE = """<style>
.block-container, [data-testid="stMainBlockContainer"] { padding-top: 2.4rem; padding-bottom: 3rem; max-width: 1180px; }
[data-testid="stHeader"] { background: transparent; }
h1 { font-size: 2.15rem !important; padding-bottom: .6rem !important; }
h2 { font-size: 1.4rem !important; } h3 { font-size: 1.15rem !important; }
.shadow-status { font-size: .84rem; line-height: 1.5; color: #4A545E; border-bottom: 1px solid #D5DADF;
  padding-bottom: .5rem; }
.shadow-status span + span::before { content: "|"; margin: 0 .55rem; color: #A7AFB7; }
.shadow-status strong { color: #1F2933; letter-spacing: .03em; }
.shadow-demonstration { background: #FFF6DA; border: 1px solid #E4CF86; border-radius: 8px; padding: .45rem .8rem;
  font-size: .9rem; color: #1F2933; }
[class*="st-key-verdict"] { border-left: 6px solid #7A7F87; }
.st-key-verdict-met { border-left-color: #0072B2; }
.st-key-verdict-not-met { border-left-color: #D55E00; }
.shadow-person { font-size: .92rem; color: #4A545E; line-height: 1.7; }
.shadow-person a { color: #0B5CAD; }
</style>"""


def page_style() -> None:
    """Type and spacing shared by all pages."""
    st.html(_STYLE)


def opening(question: str) -> Published | None:
    """Status line, title and warnings of a page.

    Returns:
        The newest snapshot; None where nothing is published yet or it cannot be read, which the page then
        says: there is nothing more to draw.
    """
    try:
        published = read_current(installation.home().snapshots)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        st.session_state[_SHOWN] = ""
        st.title(question, anchor=False)
        st.error(f"The published snapshot cannot be shown: {problem}")
        return None
    st.session_state[_SHOWN] = published.sha256 if published else ""
    if published is None:
        _nothing_yet(question)
        return None
    status_line(published)
    st.title(question, anchor=False)
    warnings(published.snapshot)
    return published


def silent_line() -> None:
    """The status line of a page that speaks for no snapshot."""
    st.html(f'<div class="shadow-status">{_SILENT}</div>')


def _nothing_yet(question: str) -> None:
    silent_line()
    st.title(question, anchor=False)
    st.info(
        "**Nothing is published yet.** The first figures appear once the first studies have been assessed. "
        "This page looks again by itself.",
        icon=":material/hourglass_empty:",
    )


def status_line(published: Published) -> None:
    """What this page speaks for: product, protocol, data and snapshot."""
    snapshot = published.snapshot
    parts = (
        html.escape(f"{snapshot.model} {snapshot.model_version}"),
        html.escape(f"protocol {snapshot.protocol_version}"),
        f"data to {figures.instant(snapshot.data_until)}",
        f"snapshot {published.sha256[:8]}",
    )
    details = "".join(f"<span>{part}</span>" for part in parts)
    st.html(f'<div class="shadow-status">{_SILENT}<br>{details}</div>')


def warnings(snapshot: Snapshot) -> None:
    """What a reader must know before any figure: broken promises, sums that do not add up, a demonstration."""
    if snapshot.broken_promises:
        names = ", ".join(figures.code_in_words(one) for one in snapshot.broken_promises)
        st.error(f"**Do not use these figures.** A promise of the trial is broken: {names}.", icon=":material/error:")
    broken = snapshot.flow.broken_sums()
    if broken:
        st.error(f"**Do not use these figures.** Studies do not add up: {'; '.join(broken)}.", icon=":material/error:")
    if snapshot.demonstration:
        st.html(
            '<div class="shadow-demonstration"><strong>Demonstration model.</strong> Made to show how a trial '
            "runs; its figures say nothing about a product, and it must never be used in care.</div>"
        )


def follow_new_snapshots() -> None:
    """Draw the page again once a newer snapshot is published; end it once its session is revoked."""
    st.fragment(_look_again, run_every=REFRESH_SECONDS)()


def _look_again() -> None:
    require(*EVERYONE)
    try:
        published = read_current(installation.home().snapshots)
    except (OSError, ValueError, KeyError, TypeError):
        return  # the next full run says what is wrong
    sha256 = published.sha256 if published else ""
    if sha256 != st.session_state.get(_SHOWN, sha256):
        st.rerun()
