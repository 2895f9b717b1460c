"""ORU^R01 to reports: groups, accession numbers, times, texts, addenda."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadow.domain.errors import MalformedMessage
from shadow.domain.hl7 import parse_message
from shadow.reference_standard.report import ParsedReport, UnusableReport, parse_reports, timestamp

NEW_YORK = ZoneInfo("America/New_York")


def msh(kind: str = "ORU^R01^ORU_R01", processing: str = "P") -> str:
    return f"MSH|^~\\&|RIS|RIVERSIDE|||20260824120000-0400||{kind}|C1|{processing}|2.5.1"


def obr(
    accession: str = "R00001234",
    status: str = "F",
    filler: str = "FILL1",
    reported: str = "20260824113000-0400",
) -> str:
    fields = [""] * 26
    fields[0], fields[1], fields[2], fields[3] = "OBR", "1", "PLAC1", filler
    fields[7], fields[18], fields[22], fields[25] = "20260824103000-0400", accession, reported, status
    return "|".join(fields)


def obx(text: str, status: str = "F", kind: str = "TX") -> str:
    return f"OBX|1|{kind}|T||{text}||||||{status}"


def reports(*segments: str) -> tuple[ParsedReport | UnusableReport, ...]:
    return parse_reports(parse_message("\r".join(segments).encode(), "utf-8"), NEW_YORK)


def report(*segments: str) -> ParsedReport:
    (one,) = reports(*segments)
    assert isinstance(one, ParsedReport)
    return one


def test_a_final_report_is_read_whole() -> None:
    one = report(
        msh(),
        "PID|1||MRN7^^^RIVERSIDE^MR",
        "ORC|RE",
        obr(),
        obx("FINDINGS:"),
        obx("Normal."),
        obx("7", kind="NM"),
    )
    assert (one.group, one.accession_number, one.patient_id) == (1, "R00001234", "MRN7")
    assert one.result_status.final
    assert one.text == "FINDINGS:\nNormal."
    assert one.observed_at == datetime(2026, 8, 24, 14, 30, tzinfo=UTC)
    assert one.reported_at == datetime(2026, 8, 24, 15, 30, tzinfo=UTC)
    assert one.addendum_start is None


def test_the_accession_number_is_obr_18_else_the_filler_order_number() -> None:
    assert report(msh(), obr("R1", filler="R2"), obx("x")).accession_number == "R1"
    assert report(msh(), obr("", filler="R2^RIS"), obx("x")).accession_number == "R2"
    assert reports(msh(), obr("", filler=""), obx("x")) == (UnusableReport(1, "no_accession_number"),)


def test_without_a_results_time_the_messages_own_time_counts() -> None:
    assert report(msh(), obr(reported=""), obx("x")).reported_at == datetime(2026, 8, 24, 16, tzinfo=UTC)


def test_each_order_group_is_a_report_of_its_own() -> None:
    first, second = reports(
        msh(), "ORC|RE", obr("R1"), obx("one"), "ORC|RE", obr("R2", status="P"), obx("two", status="P")
    )
    assert isinstance(first, ParsedReport)
    assert isinstance(second, ParsedReport)
    assert (first.group, first.accession_number, first.text, first.result_status.final) == (
        1,
        "R1",
        "one",
        True,
    )
    assert (second.group, second.accession_number, second.text) == (2, "R2", "two")
    assert not second.result_status.final


def test_orders_without_lines_share_the_one_text_of_their_message() -> None:
    texts = [one.text for one in reports(msh(), obr("R1"), obr("R2"), obx("both")) if isinstance(one, ParsedReport)]
    assert texts == ["both", "both"]
    third = reports(msh(), obr("R1"), obx("a"), obr("R2"), obx("b"), obr("R3"))[2]
    assert third == UnusableReport(3, "no_text")


def test_an_order_whose_lines_were_withdrawn_does_not_borrow_a_text() -> None:
    _, withdrawn = reports(msh(), obr("R1"), obx("one"), obr("R2"), obx("wrong patient", status="W"))
    assert isinstance(withdrawn, ParsedReport)
    assert (withdrawn.text, withdrawn.result_status.value) == ("", "X")


def test_a_withdrawn_line_is_no_text() -> None:
    assert report(msh(), obr(), obx("kept"), obx("posted in error", status="W")).text == "kept"


def test_a_report_without_text_is_unusable_unless_it_is_cancelled() -> None:
    assert reports(msh(), obr()) == (UnusableReport(1, "no_text"),)
    assert reports(msh(), obr(), obx("JVBERi0", kind="ED")) == (UnusableReport(1, "no_text"),)
    assert report(msh(), obr(status="X")).text == ""


@pytest.mark.parametrize("heading", ["ADDENDUM:", "Addendum #1 by reader 2:", "*** ADDENDUM", "ADDENDA"])
def test_an_addendum_is_found_by_its_heading(heading: str) -> None:
    one = report(msh(), obr(), obx("IMPRESSION: normal"), obx(heading), obx("A bleed."))
    assert one.addendum_start is not None
    assert one.text[one.addendum_start :].startswith(heading)


def test_a_word_about_an_addendum_is_not_one() -> None:
    assert report(msh(), obr(), obx("See the addendum of the earlier study for details.")).addendum_start is None


@pytest.mark.parametrize(
    ("segments", "reason"),
    [
        ((msh("ADT^A01"), "PID|1"), "not_oru"),
        ((msh("ORU^R30"), obr()), "not_oru"),
        ((msh(processing="T"), obr(), obx("x")), "not_production"),
        ((msh(), "PID|1", obx("x")), "no_order"),
    ],
)
def test_what_cannot_be_a_report_is_refused_with_a_stable_code(segments: tuple[str, ...], reason: str) -> None:
    with pytest.raises(MalformedMessage) as refused:
        reports(*segments)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("20260824103000-0400", datetime(2026, 8, 24, 14, 30, tzinfo=UTC)),
        ("20260824103000.123456+0530", datetime(2026, 8, 24, 5, 0, 0, 123456, tzinfo=UTC)),
        ("202608241030", datetime(2026, 8, 24, 14, 30, tzinfo=UTC)),
        ("202601241030", datetime(2026, 1, 24, 15, 30, tzinfo=UTC)),
        ("20261101013000", datetime(2026, 11, 1, 5, 30, tzinfo=UTC)),
        ("20261101013000-0500", datetime(2026, 11, 1, 6, 30, tzinfo=UTC)),
        ("20260824", None),
        ("2026082410", None),
        ("20260230103000", None),
        ("20260824253000", None),
        ("00010101000000+1400", None),
        ("20260824103000+9900", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_a_time_stamp_is_an_instant_or_unknown(text: str, instant: datetime | None) -> None:
    assert timestamp(text, NEW_YORK) == instant


def test_the_medical_record_number_is_preferred_among_a_patients_identifiers() -> None:
    assert report(msh(), "PID|1||SS1^^^X^SS~M2^^^X^MR", obr(), obx("x")).patient_id == "M2"
    assert report(msh(), "PID|1||", obr(), obx("x")).patient_id is None
    assert report(msh(), obr(), obx("x")).patient_id is None


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["OBR", "OBX", "PID", "ORC", "ZDS"]), st.text(max_size=60)), max_size=8))
def test_no_segments_break_the_reader(segments: list[tuple[str, str]]) -> None:
    text = "\r".join([msh(), *(f"{name}|{rest}" for name, rest in segments)])
    try:
        found = parse_reports(parse_message(text.encode("utf-8", "replace"), "utf-8"), NEW_YORK)
    except MalformedMessage:
        return
    assert [one.group for one in found] == list(range(1, len(found) + 1))
