"""What time it is: one clock, handed in.

A hospital runs `SystemClock`. A rehearsal compresses weeks into minutes with `RehearsalClock`, which every
process reads from the same file. Event times (acquisition, report) come from DICOM and HL7 and never from
here. Durations that a machine needs (a quiet period, a time-out, a latency) are real seconds and never
compressed. The order of the ledger is the real order of its commits under either clock.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Tells the trial's now, always aware and in UTC."""

    def now(self) -> datetime:
        """The trial's present instant."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The machine's present instant, UTC."""
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class RehearsalClock:
    """Maps real time onto a compressed calendar, and stands still at the rehearsal's end.

    Attributes:
        trial_start: the calendar's first instant.
        trial_end: the calendar's last instant; `now` never passes it.
        real_start: the real instant at which the calendar starts to run; before it, `now` is `trial_start`.
        factor: trial seconds that pass in one real second.
    """

    trial_start: datetime
    trial_end: datetime
    real_start: datetime
    factor: float

    def now(self) -> datetime:
        """The calendar's present instant, UTC."""
        elapsed = max(0.0, (datetime.now(UTC) - self.real_start).total_seconds())
        return min(self.trial_start + timedelta(seconds=elapsed * self.factor), self.trial_end)


def write_clock(path: Path, clock: RehearsalClock) -> None:
    """Write the rehearsal's clock where every process of the folder reads it."""
    content = {
        "trial_start": clock.trial_start.isoformat(),
        "trial_end": clock.trial_end.isoformat(),
        "real_start": clock.real_start.isoformat(),
        "factor": clock.factor,
    }
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


class FolderClock:
    """The clock of a folder: the rehearsal's once its file is there, else the machine's.

    A process that was started before the rehearsal began takes its clock up when it begins.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: int | None = None
        self._clock: Clock = SystemClock()

    def now(self) -> datetime:
        """The trial's present instant, UTC."""
        try:
            written = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            written = None
        if written != self._written:
            self._clock = SystemClock() if written is None else _read(self._path)
            self._written = written
        return self._clock.now()


def read_clock(path: Path) -> Clock:
    """The clock of a folder."""
    return FolderClock(path)


def _read(path: Path) -> RehearsalClock:
    content = json.loads(path.read_text(encoding="utf-8"))
    return RehearsalClock(
        trial_start=datetime.fromisoformat(content["trial_start"]),
        trial_end=datetime.fromisoformat(content["trial_end"]),
        real_start=datetime.fromisoformat(content["real_start"]),
        factor=float(content["factor"]),
    )


def to_text(instant: datetime) -> str:
    """An instant as the ledger writes it: UTC, microseconds, `Z`.

    >>> from datetime import timezone
    >>> to_text(datetime(2026, 3, 1, 4, 5, tzinfo=timezone.utc))
    '2026-03-01T04:05:00.000000Z'
    """
    if instant.tzinfo is None:
        raise ValueError("an instant without a time zone has no place in the ledger")
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_text(text: str) -> datetime:
    """The instant that `to_text` wrote."""
    return datetime.fromisoformat(text)
