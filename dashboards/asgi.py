"""The dashboard's server: `streamlit run dashboards/asgi.py`, with the trial's folder in SHADOW_HOME."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware
from starlette.routing import Route

from dashboards.gate import SIGN_IN_PATH, Gate
from dashboards.reading_room import IMAGE_PATH, serve_image
from dashboards.sign_in import SIGN_OUT_PATH, SignInPages

_pages = SignInPages()

app = st.App(
    Path(__file__).parent / "app.py",
    routes=[
        Route(SIGN_IN_PATH, _pages.sign_in, methods=["GET", "POST"]),
        Route(IMAGE_PATH, serve_image, methods=["GET"]),
        Route(SIGN_OUT_PATH, _pages.sign_out, methods=["GET", "POST"]),
    ],
    middleware=[Middleware(Gate)],
)
