"""A table of figures, each with its n, its interval and how it was found."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboards import figures
from shadow.assessment.evidence import Figure


def figure_table(rows: Sequence[Figure], alt: str) -> None:
    """Draw it; nothing where there is no figure."""
    if rows:
        table = pd.DataFrame([_row(one) for one in rows])
        st.table(table, hide_index=True, border="horizontal", alt=alt)


def value_of(figure: Figure) -> str:
    """The value alone: a percentage, a number to three digits, or that there is none yet."""
    if figure.value is None:
        return figures.NONE_YET
    return figures.percent(figure.value) if figure.share else number(figure.value)


def number(value: float) -> str:
    """A number that is no share, to three significant digits.

    >>> number(9.7092), number(0.00012), number(0.8949), number(-0.0862), number(-0.0002)
    ('9.71', '<0.001', '0.895', '-0.086', '0.000')
    """
    if 0 < value < 0.001:
        return "<0.001"
    if -0.0005 < value <= 0:
        return "0.000"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def points(value: float) -> str:
    """A difference of two shares in percentage points.

    >>> points(-0.0117), points(0.0)
    ('-1.2 points', '0.0 points')
    """
    return f"{100 * value + 0.0:.1f} points"


def points_interval(lower: float | None, upper: float | None) -> str:
    """The interval of such a difference."""
    if lower is None or upper is None:
        return figures.NONE_YET
    return f"{100 * lower:.1f} to {100 * upper:.1f}"


def p_value(p: float | None) -> str:
    """A p-value for reading; empty where there is none.

    >>> p_value(0.00001), p_value(0.0312), p_value(None)
    ('<0.001', '0.031', '')
    """
    if p is None:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _interval(figure: Figure) -> str:
    if figure.lower is None or figure.upper is None:
        return ""
    if figure.share:
        return figures.interval(figure.lower, figure.upper)
    return f"{number(figure.lower)} to {number(figure.upper)}"


def _row(figure: Figure) -> dict[str, str]:
    n = figures.counted(figure.of)
    return {
        "Figure": figure.name,
        "Value": value_of(figure),
        "95% CI": _interval(figure),
        "n": n if figure.count is None else f"{figures.counted(figure.count)} of {n}",
        "How": figure.method,
    }
