"""What the archives list against what came, from real events: a route that fails is seen, and alarms."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from head_ct import riverside
from test_linkage import PROTOCOL, linked, study

from shadow.assessment.completeness import completeness
from shadow.assessment.snapshot import Completeness, MonitorState
from shadow.protocol.monitoring import Completeness as Rule
from shadow.store.events import ArchiveStudyListed, Audited, Event

pytestmark = pytest.mark.slow

SITES = (riverside(),)
RULED = replace(PROTOCOL, completeness=Rule(0.95))
START = PROTOCOL.index_window_start + timedelta(days=7)
NIGHT = ("cell", "riverside", "riverside-ct-2", "Night")


def listed(key: str, day: int = 0, *, received: bool = True, here: bool | None = None) -> list[Event]:
    """A study of the archive's list at the night of a day, on CT-2; `here`: whether it is on record by now."""
    at = START + timedelta(days=day)
    one = ArchiveStudyListed(
        key, None, "riverside", "" if received else "riverside-ct-2", "" if received else "Night", at, at, received, 9,
        9 if received else 0,
    )  # fmt: skip
    came = replace(study(key), site="riverside", scanner="riverside-ct-2", shift="Night", acquired_at=at)
    return [one, came] if (received if here is None else here) else [one]


def asked(day: int, action: str = "archive_asked", site: str = "riverside") -> Audited:
    where = f"{site}:{(START + timedelta(days=day)).date().isoformat()}"
    return Audited(f"{action}:{where}", "reconciliation", action, where, "")


def found(folder: Path, *events: Event) -> Completeness | None:
    with linked(folder, *events) as connection:
        return completeness(connection, SITES, RULED)


def test_nobody_was_asked_is_not_nothing_is_missing(tmp_path: Path) -> None:
    assert found(tmp_path, study("1")) is None


def test_a_study_that_came_later_was_missing_all_the_same(tmp_path: Path) -> None:
    events = [
        *listed("1"),
        *listed("2", received=False),
        *listed("3", received=False, here=True),
        replace(listed("4")[0], instances_received=5),  # type: ignore[type-var]
        listed("4")[1],
        asked(0),
    ]
    result = found(tmp_path, *events)
    assert result is not None
    cell = next(one for one in result.rows if one.dimension == "cell")
    assert (cell.listed, cell.received.count, cell.later, cell.never) == (4, 2, 1, 1)
    assert (cell.site, cell.scanner, cell.shift) == NIGHT[1:]
    assert result.short_of_instances == 1
    assert result.never_from(*NIGHT[1:]) == 1
    assert result.never_from("riverside", "riverside-ct-1", "Night") == 0


def test_days_without_an_answer_are_counted_until_they_have_one(tmp_path: Path) -> None:
    before = [asked(day) for day in range(-8, 1)]  # by the site's clock the window begins the evening before
    result = found(tmp_path, *before, asked(1, "archive_silent"), asked(2, "archive_silent"), asked(2))
    assert result is not None
    (site,) = result.asked
    assert (site.days_without_answer, site.asked_until) == (1, START + timedelta(days=2))
    silent = found(tmp_path / "silent", asked(1, "archive_silent"))
    assert silent is not None
    assert silent.asked[0].asked_until is None


@pytest.mark.parametrize(("every", "alarms"), [(2, True), (10_000, False)])
def test_a_scanner_that_does_not_route_alarms_and_a_healthy_one_does_not(
    tmp_path: Path, every: int, alarms: bool
) -> None:
    events: list[Event] = [asked(75)]
    for number in range(280):
        events += listed(str(number), number // 4, received=bool(number % every) or every > 280)
    result = found(tmp_path, *events)
    assert result is not None
    assert result.monitoring is not None
    assert bool(result.alarms) is alarms
    if alarms:
        cell = next(
            one for one in result.monitoring.monitors if (one.dimension, one.site, one.scanner, one.shift) == NIGHT
        )
        assert cell.state is MonitorState.ALARM
        assert "below the floor" in cell.alarm_reason
    assert {one.label for one in result.alarms} <= {one.label for one in result.rows}


def test_a_week_is_closed_once_every_archive_has_answered_for_a_day_after_it(tmp_path: Path) -> None:
    assert START.weekday() == 0
    for number, (answers, closed) in enumerate((
        ([asked(6)], False), ([asked(7)], True), ([asked(7), asked(6, site="hillside")], False)
    )):  # fmt: skip
        result = found(tmp_path / str(number), *listed("1"), *answers)
        assert result is not None
        assert result.monitoring is not None
        (week,) = (one for one in result.monitoring.weeks if one.start == START)
        assert (week.closed, week.eligible, week.labelled) == (closed, 1, 1)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
def test_days_of_the_index_window_are_those_of_the_sites_clock(tmp_path: Path, zone: str) -> None:
    """At its first midnight there it is another day by UTC."""
    site = replace(riverside(), time_zone=ZoneInfo(zone))
    midnight = datetime.combine((START - timedelta(days=7)).date(), time(), site.time_zone)
    ruled = replace(RULED, index_window_start=midnight, index_window_end=midnight + timedelta(days=8))
    with linked(tmp_path, *(asked(day) for day in range(-7, 1)), *listed("1", 30)) as connection:
        result = completeness(connection, (site,), ruled)
    assert result is not None
    assert result.asked[0].days_without_answer == 0
    assert not result.unknown


def test_days_that_nobody_asked_about_have_no_answer_either(tmp_path: Path) -> None:
    """The window began eight days there before the first question; then the scheduler slept while studies came."""
    result = found(tmp_path, asked(0), *listed("1", 10))
    assert result is not None
    (site,) = result.asked
    assert (site.days_without_answer, site.asked_until) == (8 + 7, START)


def test_a_site_whose_archive_is_never_asked_is_named_and_holds_up_no_alarm(tmp_path: Path) -> None:
    hillside = replace(riverside(), identifier="hillside")
    with linked(tmp_path, *listed("1"), asked(7)) as connection:
        result = completeness(connection, (*SITES, hillside), RULED)
    assert result is not None
    assert [(one.site, one.asked_until is None) for one in result.asked] == [("hillside", True), ("riverside", False)]
    assert result.unknown
    with linked(tmp_path / "later", *listed("1"), asked(7 + 28)) as connection:
        result = completeness(connection, (*SITES, hillside), RULED)
    assert result is not None and result.monitoring is not None
    assert next(one for one in result.monitoring.weeks if one.start == START).closed


def test_a_night_scanner_that_routes_nothing_at_all_alarms(tmp_path: Path) -> None:
    """Zero of its studies came; the other scanner's all did."""
    events: list[Event] = [asked(75)]
    for number in range(60):
        events += listed(f"lost-{number}", number, received=False)
        healthy = listed(f"healthy-{number}", number)
        events += [healthy[0], replace(healthy[1], scanner="riverside-ct-1", shift="Day")]  # type: ignore[type-var]
    result = found(tmp_path, *events)
    assert result is not None
    row = next(one for one in result.rows if (one.dimension, one.site, one.scanner, one.shift) == NIGHT)
    assert (row.received.count, row.listed, row.never) == (0, 60, 60)
    shifts = {one.shift: (one.received.count, one.listed) for one in result.rows if one.dimension == "shift"}
    assert shifts == {"Day": (60, 60), "Night": (0, 60)}
    assert row.received.upper is not None and row.received.upper < 0.1
    assert "Riverside CT-2, Night" in [one.label for one in result.alarms]


def test_a_study_in_two_archives_counts_once_and_where_it_was_acquired(tmp_path: Path) -> None:
    other, came = listed("1")
    result = found(tmp_path, replace(other, site="hillside"), came, asked(0))  # type: ignore[type-var]
    assert result is not None
    assert [one.site for one in result.rows if one.dimension == "site"] == ["riverside"]
