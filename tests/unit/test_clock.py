"""The clock of a folder, on real files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from shadow.domain.clock import RehearsalClock, read_clock, write_clock

START = datetime(2026, 8, 24, 4, tzinfo=UTC)
END = START + timedelta(weeks=12)


def test_a_process_that_was_there_before_the_rehearsal_takes_up_its_clock(tmp_path: Path) -> None:
    """The receivers start first; what they receive bears the calendar's time all the same."""
    clock = read_clock(tmp_path / "clock.json")
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
    write_clock(tmp_path / "clock.json", RehearsalClock(START, END, datetime.now(UTC) + timedelta(hours=1), 1000.0))
    assert clock.now() == START
    write_clock(tmp_path / "clock.json", RehearsalClock(START, END, datetime.now(UTC) - timedelta(minutes=1), 3600.0))
    assert timedelta(hours=60) <= clock.now() - START < timedelta(hours=65)
    (tmp_path / "clock.json").unlink()
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)


def test_a_rehearsal_stands_still_at_its_end(tmp_path: Path) -> None:
    write_clock(tmp_path / "clock.json", RehearsalClock(START, END, datetime.now(UTC) - timedelta(days=1), 3600.0))
    assert read_clock(tmp_path / "clock.json").now() == END
