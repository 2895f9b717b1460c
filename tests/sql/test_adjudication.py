"""Blinded reading from real events: the draw, the order, who may still be listed, and figures weighted back."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from test_cohorts import MONDAY, case
from test_linkage import PROTOCOL, linked

from shadow.assessment.adjudication import adjudicated, draw, draw_studies, expected_reads
from shadow.assessment.evidence import Adjudicated
from shadow.assessment.linkage import broken_promises
from shadow.domain.project import sql
from shadow.protocol.adjudication import Adjudication, IndexTest, Report, SampledShare
from shadow.store.events import AdjudicationRead, Event

pytestmark = pytest.mark.slow

EVERY = tuple(SampledShare(index, report, 1.0) for index in IndexTest for report in Report)
LONG_AFTER = MONDAY + timedelta(days=200)
PLAN = Adjudication(7, EVERY)


def read(key: str, reader: str, answer: str, *, arbiter: bool = False, at: datetime = LONG_AFTER) -> AdjudicationRead:
    return AdjudicationRead(key, PROTOCOL.target_condition, reader, answer, arbiter, "0" * 64, at)


def twice(key: str, answer: str) -> list[Event]:
    return [read(key, "ann", answer), read(key, "bob", answer)]


def summary(folder: Path, events: list[Event], plan: Adjudication = PLAN, until: datetime = LONG_AFTER) -> Adjudicated:
    protocol = replace(PROTOCOL, adjudication=plan)
    with linked(folder, *events, protocol=protocol) as connection:
        found = adjudicated(draw_studies(connection, protocol, until), plan)
    assert found is not None
    return found


def listed(folder: Path, events: list[Event], plan: Adjudication, until: datetime) -> list[str]:
    protocol = replace(PROTOCOL, adjudication=plan)
    with linked(folder, *events, protocol=protocol) as connection:
        draw_studies(connection, protocol, until)
        return [key for (key,) in connection.execute(sql("queries/assessment/reading_list.sql")).fetchall()]


def test_concordant_studies_must_be_read_too() -> None:
    with pytest.raises(ValueError, match="negative/absent"):
        Adjudication(1, tuple(one for one in EVERY if (one.index_test, one.report) != ("negative", "absent")))


def test_the_draw_takes_its_share_and_stays_when_the_share_grows() -> None:
    keys = [str(number) for number in range(20_000)]
    few = {key for key in keys if draw(3, key) < 0.02}
    more = {key for key in keys if draw(3, key) < 0.06}
    assert 330 < len(few) < 470 and few < more
    assert few != {key for key in keys if draw(4, key) < 0.02}


def test_a_shift_may_be_read_more_than_the_rest() -> None:
    night = SampledShare(IndexTest.NEGATIVE, Report.ABSENT, 0.5, "Night")
    plan = Adjudication(1, (night, *EVERY))
    assert plan.share_of(IndexTest.NEGATIVE, Report.ABSENT, "Night") == 0.5
    assert plan.share_of(IndexTest.NEGATIVE, Report.ABSENT, "Day") == 1.0


def test_the_workload_is_two_reads_a_drawn_study() -> None:
    """10 positives a week at night among 100 studies: 8 found, 2 missed, 9 flagged, 81 cleared."""
    shares = {("positive", "present"): 0.25, ("negative", "absent"): 0.1, ("positive", "absent"): 0.5}
    plan = Adjudication(1, tuple(replace(one, share=shares.get((one.index_test, one.report), 1.0)) for one in EVERY))
    expected = 2 * (8 * 0.25 + 2 + 9 * 0.5 + 81 * 0.1)
    assert expected_reads(plan, {"Night": 10.0}, 0.8, 0.9, 0.1) == pytest.approx(expected)


def test_the_order_of_reading_says_nothing_of_what_model_and_report_said(tmp_path: Path) -> None:
    """A rare kind that is always read must not come first, nor last."""
    plan = Adjudication(7, tuple(replace(one, share=0.1 if one.report == "absent" else 1.0) for one in EVERY))
    events: list[Event] = []
    for number in range(300):
        events += case(f"s{number}", number % 60, "present" if number < 20 else "absent", 0.1)
    order = listed(tmp_path, events, plan, LONG_AFTER)
    rare = [place for place, key in enumerate(order) if int(key[1:]) < 20]
    assert len(rare) == 20 and 30 < len(order) < 75
    assert min(rare) < len(order) / 3 and max(rare) > 2 * len(order) / 3
    assert order != sorted(order)


def test_a_study_is_read_only_once_its_report_is_final_and_the_embargo_has_passed(tmp_path: Path) -> None:
    events = case("1", 0, "present", 0.9)
    pending = case("2", 0, "present", 0.9)[:2]
    assert listed(tmp_path / "a", [*events, *pending], PLAN, LONG_AFTER) == ["1"]
    final_at = next(one.received_at for one in events if hasattr(one, "received_at"))
    assert listed(tmp_path / "b", events, PLAN, final_at + timedelta(hours=23)) == []
    found = summary(tmp_path / "c", events, until=final_at + timedelta(hours=23))
    assert (found.drawn, found.under_embargo, found.unread) == (1, 1, 0)


def test_two_readers_settle_and_an_arbiter_where_they_differ(tmp_path: Path) -> None:
    events = [one for number in "12345" for one in case(number, 0, "present", 0.9)]
    reads: list[Event] = [
        *twice("1", "present"),
        *(read("2", "ann", "present"), read("2", "bob", "absent"), read("2", "cy", "absent", arbiter=True)),
        *(read("3", "ann", "present"), read("3", "bob", "absent")),
        read("4", "ann", "absent"),
        read("1", "dee", "absent"),  # a third read that nobody asked for changes nothing
    ]
    found = summary(tmp_path, [*events, *reads])
    assert (found.drawn, found.unread, found.read_once, found.differ, found.settled) == (5, 1, 1, 1, 2)
    assert found.minutes_left == (2 + 1 + 1) * 3.0
    (kind,) = found.kinds
    assert (kind.settled, kind.present, kind.unsure) == (2, 1, 1)
    (all_cases, *_) = found.agreement
    assert (all_cases.cases, all_cases.observed) == (3, pytest.approx(1 / 3))


def test_reports_that_miss_what_the_model_misses_are_found_out(tmp_path: Path) -> None:
    """The reports say .80; the readers, weighted back from a sample of what both called negative, say .60."""
    plan = Adjudication(11, tuple(replace(one, share=0.5 if one.report == "absent" else 1.0) for one in EVERY))
    events: list[Event] = []
    reads: list[Event] = []
    for number in range(200):
        key = f"s{number}"
        present, found = number < 60, number < 36
        reported = found or 36 <= number < 45  # of the 24 that the model misses the reports find 9
        events += case(key, number % 60, "present" if reported else "absent", 0.9 if found else 0.1)
        if reported or draw(plan.seed, key) < 0.5:
            reads += twice(key, "present" if present else "absent")
    found = summary(tmp_path, [*events, *reads], plan)
    figures = {one.identifier: one for one in found.figures}
    model, report = figures["adjudicated-model-sensitivity-All"], figures["adjudicated-report-sensitivity-All"]
    assert 36 / 45 == 0.8 and not found.missing
    assert model.value == pytest.approx(0.6, abs=0.05) and model.lower < 0.6 < model.upper  # type: ignore[operator]
    assert report.value == pytest.approx(0.75, abs=0.05)
    assert figures["adjudicated-model-specificity-All"].value == 1.0
    prevalence = figures["adjudicated-prevalence-All"]
    assert prevalence.value == pytest.approx(0.3, abs=0.05) and prevalence.lower < 0.3 < prevalence.upper  # type: ignore[operator]


def test_a_stratum_without_a_read_leaves_its_group_without_a_figure(tmp_path: Path) -> None:
    events = [*case("1", 0, "present", 0.9), *case("2", 0, "absent", 0.1)]
    found = summary(tmp_path, [*events, *twice("1", "present")])
    assert found.figures == ()
    assert "All: AI negative, report absent (1 studies, none read twice)" in found.missing


def test_what_the_images_do_not_tell_is_counted_both_ways(tmp_path: Path) -> None:
    events = [one for number in range(10) for one in case(str(number), 0, "present", 0.9 if number else 0.1)]
    reads = [one for number in range(10) for one in twice(str(number), "present" if number else "indeterminate")]
    figures = {one.identifier: one.value for one in summary(tmp_path, [*events, *reads]).figures}
    assert figures["adjudicated-model-sensitivity-All"] == 1.0
    assert figures["adjudicated-model-sensitivity-All-unsure-present"] == pytest.approx(0.9)


def test_a_study_that_is_being_read_is_withheld_from_every_list(tmp_path: Path) -> None:
    protocol = replace(PROTOCOL, adjudication=PLAN)
    events = [*case("1", 0, "present", 0.9), *case("2", 0, "absent", 0.1), *twice("2", "absent")]
    with linked(tmp_path, *events, protocol=protocol) as connection:
        draw_studies(connection, protocol, LONG_AFTER)
        rows = connection.execute(sql("queries/assessment/case_list.sql")).fetchall()
    assert {row[0]: row[-1] for row in rows} == {"1": True, "2": False}


def test_a_read_before_the_report_and_a_person_who_read_twice_break_promises(tmp_path: Path) -> None:
    events = case("1", 0, "present", 0.9)
    with linked(tmp_path / "good", *events, *twice("1", "present")) as connection:
        assert not {"read_before_report", "reader_settles_own_read"} & set(broken_promises(connection))
    early = [*events[:2], read("1", "ann", "present"), *events[2:]]
    with linked(tmp_path / "early", *early) as connection:
        assert "read_before_report" in broken_promises(connection)
    again = replace(read("1", "ann", "absent"), target_condition="other")
    with linked(tmp_path / "again", *events, read("1", "ann", "present"), again) as connection:
        assert Counter(broken_promises(connection))["reader_settles_own_read"] == 0
        connection.execute("create or replace table twin as select * from adjudication limit 1")
        connection.execute(
            "create or replace temp view adjudication as select * from twin union all select * from twin"
        )
        assert "reader_settles_own_read" in broken_promises(connection)


def test_without_a_plan_nobody_reads(tmp_path: Path) -> None:
    protocol = replace(PROTOCOL, adjudication=None)
    with linked(tmp_path, *case("1", 0, "present", 0.9), protocol=protocol) as connection:
        assert draw_studies(connection, protocol, LONG_AFTER) == ()
        assert adjudicated((), None) is None
        rows = connection.execute(sql("queries/assessment/case_list.sql")).fetchall()
    assert [row[-1] for row in rows] == [False]
