"""Doorbells: triggers that wake a DAG as soon as something waits in the trial's folder.

A doorbell looks into a folder five times a second and never ends. What it sends is a count: no name of a
file, no key, nothing of a study passes through the scheduler's database. It reads nothing and moves nothing,
so ringing twice or not at all changes no result, only when work begins.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from shadow.domain.home import Home

HOME_VARIABLE = "SHADOW_HOME"
LOOK_SECONDS = 0.2
REST_SECONDS = 1.0
PATIENCE_SECONDS = 30.0

Waiting = frozenset[tuple[str, int]]


class Door(StrEnum):
    """Where a doorbell looks."""

    ADMISSION = "admission"
    MODELS = "models"
    JOURNAL = "journal"
    VENDOR = "vendor"


def home_of_this_process() -> Home:
    """The trial's folder, as the supervisor named it to every process.

    Raises:
        KeyError: SHADOW_HOME is not set.
    """
    return Home(Path(os.environ[HOME_VARIABLE]))


def waiting(home: Home, door: Door) -> Waiting:
    """What stands at a door now: names with sizes. A folder that is not there yet has nothing."""
    match door:
        case Door.ADMISSION:
            return _files(home.queues, "admission/*.ready")
        case Door.MODELS:
            return _files(home.queues, "model-*/*.ready")
        case Door.JOURNAL:
            dropped = _files(home.report_files, "incoming/*/[!.]*.*")
            return _files(home.journal, "*.journal") | _files(home.fhir, "journal/*.journal") | dropped
        case Door.VENDOR:
            return _files(home.vendor, "journal/*.journal") | _files(home.vendor, "incoming/*/*/[!.]*.csv")


def _files(folder: Path, pattern: str) -> Waiting:
    found = []
    for path in folder.glob(pattern):
        try:
            found.append((str(path.relative_to(folder)), path.stat().st_size))
        except FileNotFoundError:
            continue  # a lane has just finished it
    return frozenset(found)


def due(now: Waiting, rung: Mapping[tuple[str, int], float], moment: float, patience: float | None) -> int:
    """How many of those who wait have not been rung for, or have waited `patience` seconds since.

    >>> due(frozenset({("a", 1), ("b", 1)}), {("a", 1): 0.0}, 5.0, 30.0)
    1
    >>> due(frozenset({("a", 1)}), {("a", 1): 0.0}, 31.0, 30.0)
    1
    """
    return sum(1 for one in now if one not in rung or (patience is not None and moment - rung[one] >= patience))


class Doorbell(BaseEventTrigger):  # type: ignore[misc] # airflow is not typed
    """Rings when something new waits at a door, and again when it still waits after half a minute.

    The journal's files stay for ever, so there only growth rings; a queue's files leave when their work is
    done, so one that stays has been forgotten by a failed run. Rings are a second apart at least: a busy lane
    sees what arrives by itself, and each ring costs the scheduler a row.
    """

    def __init__(self, door: str, look_seconds: float = LOOK_SECONDS, rest_seconds: float = REST_SECONDS) -> None:
        super().__init__()
        self.door = Door(door)
        self.look_seconds = look_seconds
        self.rest_seconds = rest_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How the triggerer makes this doorbell anew."""
        return (
            "shadow.adapters.airflow_doorbell.Doorbell",
            {"door": str(self.door), "look_seconds": self.look_seconds, "rest_seconds": self.rest_seconds},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ring for ever. The event holds the number of files that waited."""
        home = home_of_this_process()
        patience = None if self.door in (Door.JOURNAL, Door.VENDOR) else PATIENCE_SECONDS
        rung: dict[tuple[str, int], float] = {}
        while True:
            now = await asyncio.to_thread(waiting, home, self.door)
            moment = time.monotonic()
            count = due(now, rung, moment, patience)
            rung = {one: moment if count else rung[one] for one in now if count or one in rung}
            if count:
                yield TriggerEvent({"waiting": count})
                await asyncio.sleep(self.rest_seconds)
            await asyncio.sleep(self.look_seconds)
