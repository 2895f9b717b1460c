"""Weekly cohorts from real events: who is counted, in which week, and which weeks are closed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from test_linkage import PROTOCOL, T0, label, linked, locked, report, study

from shadow.assessment.cohorts import Cohorts, weekly_cohorts
from shadow.assessment.snapshot import MaturedCounts
from shadow.store.events import Event

MONDAY = datetime(2026, 9, 7, tzinfo=UTC)
LONG_AFTER = datetime(2027, 3, 1, tzinfo=UTC)


def case(key: str, day: int, state: str, score: float, patient: str | None = None) -> list[Event]:
    """A study acquired so many days after the Monday, its locked prediction, its final report and label."""
    at = MONDAY + timedelta(days=day, hours=12)
    events: list[Event] = [
        replace(study(key), acquired_at=at, patient_key=patient or f"P-{key}"),
        locked(key, score),
        replace(report(key, "F"), reported_at=at + timedelta(hours=1)),
        label(key, state),
    ]
    return events


def cohorts(folder: Path, *events: Event, until: datetime = LONG_AFTER) -> Cohorts:
    with linked(folder, *events) as connection:
        return weekly_cohorts(connection, PROTOCOL, until)


def week_of(found: Cohorts, start: datetime) -> int:
    return next(number for number, week in enumerate(found.weeks) if week.start == start)


def test_a_patient_counts_once_by_the_first_study_with_the_finding_and_once_without(tmp_path: Path) -> None:
    events = [
        *case("1", 8, "present", 0.1, "ann"),
        *case("2", 1, "present", 0.9, "ann"),
        *case("3", 0, "absent", 0.1, "ann"),
        *case("4", 2, "absent", 0.9, "bob"),
    ]
    found = cohorts(tmp_path, *events)
    assert found.matured(("all", "", "", "")) == MaturedCounts(found=1, present=1, cleared=1, absent=2)
    first = week_of(found, MONDAY)
    assert found.of(("all", "", "", ""))[:, first].tolist() == [1, 1, 1, 2]
    assert found.of(("all", "", "", ""))[:, first + 1].sum() == 0


def test_a_study_belongs_to_its_place_and_to_every_place_around_it(tmp_path: Path) -> None:
    one = study("1")
    found = cohorts(tmp_path, *case("1", 0, "present", 0.9))
    places = {
        ("all", "", "", ""),
        ("site", one.site, "", ""),
        ("scanner", one.site, one.scanner, ""),
        ("shift", "", "", one.shift),
        ("site_and_shift", one.site, "", one.shift),
        ("cell", one.site, one.scanner, one.shift),
    }
    assert set(found.counts) == places
    assert all(found.matured(place).present == 1 for place in places)


def test_a_failure_and_a_late_answer_are_misses(tmp_path: Path) -> None:
    in_time = case("1", 0, "present", 0.9)
    late = case("2", 0, "present", 0.9)
    late = [late[0], late[2], late[1], late[3]]
    unanswered = [one for number, one in enumerate(case("3", 0, "present", 0.9)) if number != 1]
    found = cohorts(tmp_path, *in_time, *late, *unanswered)
    assert found.matured(("all", "", "", "")) == MaturedCounts(1, 3, 0, 0)


@pytest.mark.parametrize(
    ("reported", "days_after_the_week", "closed"),
    [(3, 13.9, False), (3, 14, True), (2, 14, False), (2, 27.9, False), (2, 28, True)],
)
def test_a_week_closes_when_it_is_ripe_and_labelled_or_when_it_is_old(
    tmp_path: Path, reported: int, days_after_the_week: float, closed: bool
) -> None:
    events = [
        one for number in range(3) for one in case(str(number), 0, "present", 0.9)[: 4 if number < reported else 2]
    ]
    until = MONDAY + timedelta(days=7 + days_after_the_week)
    found = cohorts(tmp_path, *events, until=until)
    week = found.weeks[week_of(found, MONDAY)]
    assert (week.eligible, week.labelled, week.closed) == (3, reported, closed)
    assert found.matured(("all", "", "", "")).present == (reported if closed else 0)


def test_no_week_closes_before_the_one_that_precedes_it(tmp_path: Path) -> None:
    waiting = case("1", 0, "present", 0.9)[:2]
    labelled = case("2", 7, "present", 0.9)
    found = cohorts(tmp_path, *waiting, *labelled, until=MONDAY + timedelta(days=14 + 14))
    first = week_of(found, MONDAY)
    assert [week.closed for week in found.weeks[first : first + 2]] == [False, False]


def test_what_lies_outside_the_window_is_in_no_week(tmp_path: Path) -> None:
    before = (PROTOCOL.index_window_start - MONDAY).days - 40
    found = cohorts(tmp_path, *case("1", before, "present", 0.9), *case("2", 0, "present", 0.9))
    assert found.matured(("all", "", "", "")).present == 1
    assert sum(week.eligible for week in found.weeks) == 1
    assert found.weeks[0].start == datetime(2026, 8, 24, tzinfo=UTC)
    assert T0 < LONG_AFTER


def test_before_the_trial_begins_there_is_no_closed_week(tmp_path: Path) -> None:
    found = cohorts(tmp_path, *case("1", 0, "present", 0.9), until=PROTOCOL.index_window_start + timedelta(days=1))
    assert found.closed == 0 and found.matured(("all", "", "", "")) == MaturedCounts(0, 0, 0, 0)
