"""The entry of every run: who is looking, the menu for that role, the chosen page."""

from __future__ import annotations

import html
from pathlib import Path

import streamlit as st

from dashboards.access import EVERYONE, require
from dashboards.components.page_frame import follow_new_snapshots, page_style
from dashboards.reading_room import READERS
from dashboards.views import (
    accounting,
    adjudication,
    all_figures,
    calibration,
    comparison,
    drift,
    over_time,
    overview,
    reading,
    subgroups,
    worklist,
)

st.set_page_config(page_title="Shadow", page_icon=str(Path(__file__).parent / "assets" / "icon.png"), layout="wide")
page_style()
session = require(*EVERYONE)
menu = st.navigation(
    {
        "Trial": [overview.as_page()],
        "Results": [
            subgroups.as_page(),
            over_time.as_page(),
            all_figures.as_page(),
            calibration.as_page(),
            comparison.as_page(),
            drift.as_page(),
            worklist.as_page(),
            adjudication.as_page(),
        ],
        "Cases": [accounting.as_page(), *([reading.as_page()] if session.role in READERS else [])],
    },
    expanded=True,
)
with st.sidebar:
    st.html(
        f'<div class="shadow-person">Signed in: <strong>{html.escape(session.name)}</strong> '
        f'({session.role.value})<br><a href="/logout" target="_self">Sign out</a></div>'
    )
menu.run()
follow_new_snapshots()
