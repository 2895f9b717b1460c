"""A stack of images to scroll through and window, drawn on a canvas by the browser; the values come by fetch."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from shadow.adjudication.images import ShownSeries

_ASSETS = Path(__file__).parent / "assets"
_DRAW = st.components.v2.component(
    "shadow_image_stack",
    html='<div class="viewer"></div>\n',
    css=(_ASSETS / "image_stack.css").read_text(encoding="utf-8"),
    js=(_ASSETS / "image_stack.js").read_text(encoding="utf-8"),
)


def image_stack(token: str, series: tuple[ShownSeries, ...]) -> None:
    """Draw the stacks of the study that this token opens."""
    stacks = [
        {
            "label": f"Series {one.number}: {len(one.values)} images" if one.number else f"{len(one.values)} images",
            "images": len(one.values),
            "rows": int(one.values.shape[1]),
            "columns": int(one.values.shape[2]),
            "aspect": one.pixel_spacing_mm[0] / one.pixel_spacing_mm[1],
            "centre": one.centre,
            "width": one.width,
            "inverted": one.inverted,
            "hounsfield": one.hounsfield,
        }
        for one in series
    ]
    _DRAW(key=f"stack-{token}", data={"token": token, "stacks": stacks})
