"""What the doctor finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FindingState(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `remedy` is empty where nothing has to be done."""

    state: FindingState
    what: str
    remedy: str = ""


def ok(what: str) -> Finding:
    """Nothing has to be done."""
    return Finding(FindingState.OK, what)


def warning(what: str, remedy: str) -> Finding:
    """It works, and will not for ever."""
    return Finding(FindingState.WARNING, what, remedy)


def problem(what: str, remedy: str) -> Finding:
    """Studies would be lost to it, or nothing starts."""
    return Finding(FindingState.PROBLEM, what, remedy)
