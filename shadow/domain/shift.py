"""Which shift an instant belongs to, by the site's wall clock, right over both daylight-saving nights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

SATURDAY = 5


@dataclass(frozen=True, slots=True, order=True)
class ShiftStart:
    """A shift begins at this wall-clock time and lasts until the next one begins."""

    starts: time
    name: str


@dataclass(frozen=True, slots=True)
class ShiftCalendar:
    """A site's shifts: one schedule for weekdays, one for weekends and holidays, both in local time."""

    zone: ZoneInfo
    weekday: tuple[ShiftStart, ...]
    weekend_and_holiday: tuple[ShiftStart, ...]
    holidays: frozenset[date] = frozenset()

    def shift_at(self, instant: datetime) -> str:
        """The name of the shift at an instant.

        The wall clock decides, so a night shift lasts 7 or 9 real hours when the clocks change. A shift that
        began yesterday lasts past midnight by yesterday's schedule.
        """
        if instant.tzinfo is None:
            raise ValueError("a shift needs an instant with a time zone")
        local = instant.astimezone(self.zone)
        today = self._schedule(local.date())
        begun = [shift for shift in today if shift.starts <= local.time()]
        if begun:
            return max(begun).name
        return max(self._schedule(local.date() - timedelta(days=1))).name

    def _schedule(self, day: date) -> tuple[ShiftStart, ...]:
        if day.weekday() >= SATURDAY or day in self.holidays:
            return self.weekend_and_holiday
        return self.weekday

    def names(self) -> tuple[str, ...]:
        """All shift names in the order of the weekday schedule, then any that only weekends have."""
        return tuple(dict.fromkeys(shift.name for shift in _in_order(self.weekday, self.weekend_and_holiday)))


def _in_order(*schedules: Iterable[ShiftStart]) -> Iterable[ShiftStart]:
    for schedule in schedules:
        yield from sorted(schedule)


def local_instant(day: date, wall_clock: time, zone: ZoneInfo, offset: timedelta | None = None) -> datetime:
    """The instant of a local date and time as DICOM writes them (PS3.3 C.12.1.1.8), in UTC.

    Args:
        day: the local date.
        wall_clock: the local time.
        zone: the site's time zone, used where the data carry no offset.
        offset: Timezone Offset From UTC (0008,0201), which settles an ambiguous hour.

    Without an offset, the hour that occurs twice is taken as its first occurrence, and a time that the clocks
    skipped is read with the offset that held before the change.
    """
    naive = datetime.combine(day, wall_clock)
    if offset is not None:
        return (naive - offset).replace(tzinfo=UTC)
    return naive.replace(tzinfo=zone, fold=0).astimezone(UTC)
