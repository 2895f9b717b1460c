"""Merges of patients, corrected accessions, withdrawn reports and orders, on real events through ledger and lake."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from test_cohorts import MONDAY, case
from test_linkage import T0, label, linked, locked, registered, report, states, study

from shadow.assessment.flow import study_flow
from shadow.assessment.linkage import broken_promises
from shadow.assessment.snapshot import Reason
from shadow.domain.project import sql
from shadow.store.events import Event, LinkCorrected, LinkOf, OrderReceived, ReportVersion, VendorResult

pytestmark = pytest.mark.slow


def corrected(
    what: LinkOf, from_key: str, to_key: str, *, active: bool = True, origin: str = "1", source: str = "person"
) -> LinkCorrected:
    return LinkCorrected(what, "riverside", from_key, to_key, active, source, "ann", "misfiled", origin, T0)


def accession(from_key: str, to_key: str, **more: object) -> LinkCorrected:
    return corrected(LinkOf.ACCESSION, from_key, to_key, **more)  # type: ignore[arg-type]


def merged(from_key: str, to_key: str, **more: object) -> LinkCorrected:
    return corrected(LinkOf.PATIENT, from_key, to_key, source="adt_merge", **more)  # type: ignore[arg-type]


def patients(folder: Path, *events: Event) -> dict[str, str]:
    with linked(folder, registered(), *events) as connection:
        rows = connection.execute("select study_key, patient_key from evaluation_case order by study_key").fetchall()
        assert broken_promises(connection) == ()
    return dict(rows)


STUDY = (registered(), study("S1"), locked("S1", 0.9))
MISFILED = (report("X", "F"), label("X", "present"))


def test_a_report_under_a_corrected_accession_counts_for_its_study(tmp_path: Path) -> None:
    with linked(tmp_path, *STUDY, *MISFILED) as connection:
        assert states(connection)["S1"] == ("positive", "pending")
        assert study_flow(connection).reports_unmatched == 1
    with linked(tmp_path / "after", *STUDY, *MISFILED, accession("A-X", "A-S1")) as connection:
        assert states(connection)["S1"] == ("positive", "present")
        flow = study_flow(connection)
        assert (flow.reports_unmatched, flow.reports_linked, flow.links_corrected) == (0, 1, (Reason("person", 1),))
        assert broken_promises(connection) == ()


def test_the_newest_word_counts_and_a_correction_can_be_taken_back(tmp_path: Path) -> None:
    wrong = accession("A-X", "A-S1")
    back = accession("A-X", "A-S1", active=False, origin="2")
    with linked(tmp_path, *STUDY, *MISFILED, wrong, back) as connection:
        assert states(connection)["S1"] == ("positive", "pending")
        assert study_flow(connection).links_corrected == ()
    again = accession("A-X", "A-S1", origin="3")
    with linked(tmp_path / "again", *STUDY, *MISFILED, wrong, back, again) as connection:
        assert states(connection)["S1"] == ("positive", "present")


def test_one_report_may_stand_for_two_studies_and_corrections_are_followed(tmp_path: Path) -> None:
    more = (study("S2"), locked("S2", 0.1))
    links = (accession("A-X", "A-Y"), accession("A-Y", "A-S1"), accession("A-Y", "A-S2"))
    with linked(tmp_path, *STUDY, *more, *MISFILED, *links) as connection:
        assert states(connection) == {"S1": ("positive", "present"), "S2": ("negative", "present")}
        assert broken_promises(connection) == ()


def test_a_ring_of_corrections_ends(tmp_path: Path) -> None:
    ring = (accession("A-X", "A-Y"), accession("A-Y", "A-X"), merged("P-S1", "P-B"), merged("P-B", "P-S1"))
    with linked(tmp_path, *STUDY, *MISFILED, *ring) as connection:
        assert states(connection)["S1"] == ("positive", "pending")


def test_a_vendors_result_follows_its_accession(tmp_path: Path) -> None:
    result = VendorResult(
        "acme", "b" * 64, "csv", "riverside", None, "A-X", True, None, None, T0, "0" * 64
    )  # fmt: skip
    with linked(tmp_path, *STUDY, result, accession("A-X", "A-S1")) as connection:
        rows = connection.execute("select study_key from index_result where model = 'acme' order by 1").fetchall()
    assert rows == [("S1",)]


def test_merged_patients_are_one_by_the_newest_merge_and_count_once(tmp_path: Path) -> None:
    events = [one for key in ("1", "2", "3") for one in case(key, int(key), "present", 0.9)]
    assert patients(tmp_path / "before", *events) == {"1": "P-1", "2": "P-2", "3": "P-3"}
    chain = (merged("P-1", "P-2"), merged("P-2", "P-3", origin="2"))
    assert patients(tmp_path / "after", *events, *chain) == {"1": "P-3", "2": "P-3", "3": "P-3"}
    undone = merged("P-1", "P-2", active=False, origin="3")
    assert patients(tmp_path / "undone", *events, *chain, undone) == {"1": "P-1", "2": "P-3", "3": "P-3"}


def test_a_withdrawn_report_is_no_reference_until_another_is_final(tmp_path: Path) -> None:
    first = (report("S1", "F"), label("S1", "present"))
    with linked(tmp_path, *STUDY, *first, report("S1", "X", 2)) as connection:
        assert states(connection)["S1"] == ("positive", "pending")
        assert study_flow(connection).pending == (Reason("cancelled", 1),)
    again = (report("S1", "F", 3), label("S1", "absent", 3))
    with linked(tmp_path / "again", *STUDY, *first, report("S1", "X", 2), *again) as connection:
        assert states(connection)["S1"] == ("positive", "absent")
        assert broken_promises(connection) == ()


def test_the_latest_final_version_stands_beside_the_first(tmp_path: Path) -> None:
    events = (report("S1", "F"), label("S1", "absent"), report("S1", "C", 2), label("S1", "present", 2))
    with linked(tmp_path, *STUDY, *events) as connection:
        rows = connection.execute("select reference_state, latest_reference_state from evaluation_case order by 1")
        assert rows.fetchall() == [("absent", "present")]


def addendum(key: str, number: int) -> ReportVersion:
    return replace(report(key, "F", number), addendum=True, addendum_only=True)


def test_an_addendum_alone_adds_to_what_came_before_it_and_stands_for_nothing_itself(tmp_path: Path) -> None:
    first = (report("S1", "F"), label("S1", "present"))
    silent = (addendum("S1", 2), label("S1", "not_mentioned", 2))
    denying = (addendum("S1", 2), label("S1", "absent", 2))
    question = "select reference_state, latest_reference_state, pending_reason from evaluation_case order by 1"
    for folder, events, expected in (
        ("silent", (*first, *silent), ("present", "present", None)),
        ("denying", (*first, *denying), ("present", "absent", None)),
        ("alone", denying, ("pending", None, "addendum_only")),
        ("early", (*denying, report("S1", "F", 3), label("S1", "present", 3)), ("present", "present", None)),
    ):
        with linked(tmp_path / folder, *STUDY, *events) as connection:
            assert connection.execute(question).fetchall() == [expected], folder
            assert broken_promises(connection) == ()


def test_an_accession_number_that_comes_round_again_links_each_report_to_its_own_study(tmp_path: Path) -> None:
    """Two studies and two reports a year apart share one accession; a report of neither time is nobody's."""
    later = timedelta(days=365)
    new_study = replace(study("S2"), accession_key="A-S1", acquired_at=T0 + later)
    old_report = (report("S1", "F"), label("S1", "present"))
    new_report = (replace(report("S1", "F", 2), reported_at=T0 + later), label("S1", "absent", 2))
    with linked(tmp_path, *STUDY, new_study, locked("S2", 0.1), *old_report, *new_report) as connection:
        assert states(connection) == {"S1": ("positive", "present"), "S2": ("negative", "absent")}
        assert broken_promises(connection) == ()
    early = (replace(report("S1", "F"), reported_at=T0 - timedelta(days=30)), label("S1", "present"))
    with linked(tmp_path / "early", *STUDY, *early) as connection:
        assert states(connection) == {"S1": ("positive", "pending")}
        flow = study_flow(connection)
        assert flow.pending == (Reason("report_out_of_time", 1),) and flow.reports_unmatched == 1
        listed = connection.execute(sql("queries/assessment/report_list.sql")).fetchall()
        assert [row[3] for row in listed] == ["out_of_time"]
    old = (replace(report("S1", "F"), reported_at=T0 + timedelta(days=181)), label("S1", "present"))
    with linked(tmp_path / "old", *STUDY, *old) as connection:
        assert states(connection) == {"S1": ("positive", "pending")}
    soon = (replace(report("S1", "F"), reported_at=T0 - timedelta(hours=20)), label("S1", "present"))
    with linked(tmp_path / "soon", *STUDY, *soon) as connection:
        assert states(connection) == {"S1": ("positive", "present")}, "clocks differ by less than a day"


def order(key: str, *, state: str = "active", admitted: bool = True, hours: int = 0, number: int = 1) -> OrderReceived:
    at = MONDAY + timedelta(hours=hours)
    return OrderReceived(f"{key}:{number}", "riverside", f"A-{key}", f"P-{key}", state, admitted, at, at)


def test_orders_whose_study_never_came_are_counted_once_they_are_due(tmp_path: Path) -> None:
    orders = (
        order("S1"),
        order("never"),
        order("cancelled"),
        order("cancelled", state="cancelled", number=2),
        order("not-ours", admitted=False),
        order("still-to-come", hours=40),
    )
    with linked(tmp_path, *STUDY, *orders) as connection:
        flow = study_flow(connection, MONDAY + timedelta(hours=48))
        assert (flow.orders, flow.orders_without_study) == (2, 1)
        assert study_flow(connection).orders == 0


@pytest.mark.parametrize(("hours", "found"), [(2, "A-S1"), (100, None)])
def test_a_report_without_a_study_names_the_patients_open_studies_nearby(
    tmp_path: Path, hours: int, found: str | None
) -> None:
    lost = replace(report("X", "F"), patient_key="P-S1", reported_at=T0 + timedelta(hours=hours))
    taken = (study("S2"), replace(report("S2", "F"), patient_key="P-S1"))
    with linked(tmp_path, *STUDY, *taken, lost) as connection:
        rows = connection.execute(sql("queries/linkage/unmatched_report.sql")).fetchall()
    assert [(row[1], row[5]) for row in rows] == [("A-X", found)]
