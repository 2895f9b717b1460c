from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from shadow.domain.shift import ShiftCalendar, ShiftStart, local_instant

NEW_YORK = ZoneInfo("America/New_York")
WEEKDAY = (
    ShiftStart(time(7), "Day"),
    ShiftStart(time(15), "Evening"),
    ShiftStart(time(23), "Night"),
)
CALENDAR = ShiftCalendar(NEW_YORK, WEEKDAY, WEEKDAY)


@pytest.mark.parametrize(
    ("local", "shift"),
    [
        ((2026, 9, 1, 6, 59, 59), "Night"),
        ((2026, 9, 1, 7, 0, 0), "Day"),
        ((2026, 9, 1, 14, 59, 59), "Day"),
        ((2026, 9, 1, 15, 0, 0), "Evening"),
        ((2026, 9, 1, 22, 59, 59), "Evening"),
        ((2026, 9, 1, 23, 0, 0), "Night"),
        ((2026, 9, 1, 0, 0, 0), "Night"),
    ],
)
def test_a_shift_begins_on_its_second_and_lasts_until_the_next(local: tuple[int, ...], shift: str) -> None:
    assert CALENDAR.shift_at(datetime(*local, tzinfo=NEW_YORK)) == shift


def test_the_night_of_the_autumn_change_lasts_nine_hours() -> None:
    start = datetime(2026, 10, 31, 23, 0, tzinfo=NEW_YORK).astimezone(UTC)
    hours = [CALENDAR.shift_at(start + timedelta(hours=hour)) for hour in range(10)]
    assert hours == ["Night"] * 9 + ["Day"]


def test_the_night_of_the_spring_change_lasts_seven_hours() -> None:
    start = datetime(2026, 3, 7, 23, 0, tzinfo=NEW_YORK).astimezone(UTC)
    hours = [CALENDAR.shift_at(start + timedelta(hours=hour)) for hour in range(8)]
    assert hours == ["Night"] * 7 + ["Day"]


def test_a_weekend_night_that_began_on_sunday_lasts_into_monday() -> None:
    weekend = (ShiftStart(time(9), "Weekend day"), ShiftStart(time(21), "Weekend night"))
    calendar = ShiftCalendar(NEW_YORK, WEEKDAY, weekend)
    assert calendar.shift_at(datetime(2026, 9, 6, 10, tzinfo=NEW_YORK)) == "Weekend day"
    assert calendar.shift_at(datetime(2026, 9, 7, 3, tzinfo=NEW_YORK)) == "Weekend night"
    assert calendar.shift_at(datetime(2026, 9, 7, 7, tzinfo=NEW_YORK)) == "Day"


def test_a_holiday_follows_the_weekend_schedule() -> None:
    weekend = (ShiftStart(time(0), "Holiday"),)
    calendar = ShiftCalendar(NEW_YORK, WEEKDAY, weekend, frozenset({date(2026, 9, 7)}))
    assert calendar.shift_at(datetime(2026, 9, 7, 12, tzinfo=NEW_YORK)) == "Holiday"
    assert calendar.shift_at(datetime(2026, 9, 8, 12, tzinfo=NEW_YORK)) == "Day"


def test_an_instant_without_a_zone_has_no_shift() -> None:
    with pytest.raises(ValueError, match="time zone"):
        CALENDAR.shift_at(datetime(2026, 9, 1, 12))  # noqa: DTZ001


def test_the_hour_that_occurs_twice_is_settled_by_the_offset() -> None:
    day, clock = date(2026, 11, 1), time(1, 30)
    assert local_instant(day, clock, NEW_YORK) == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
    second = local_instant(day, clock, NEW_YORK, timedelta(hours=-5))
    assert second == datetime(2026, 11, 1, 6, 30, tzinfo=UTC)


def test_a_time_that_the_clocks_skipped_keeps_the_earlier_offset() -> None:
    skipped = local_instant(date(2026, 3, 8), time(2, 30), NEW_YORK)
    assert skipped == datetime(2026, 3, 8, 7, 30, tzinfo=UTC)
