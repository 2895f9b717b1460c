"""Reports that come as files: FHIR DiagnosticReports and tables become the same versions and labels as messages."""

from __future__ import annotations

import base64
import io
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadow.domain.errors import MalformedMessage
from shadow.domain.identifiers import Pseudonymiser
from shadow.domain.project import project_folder
from shadow.protocol.site import ReportTable, read_site
from shadow.protocol.trial import read_trial
from shadow.reference_standard.fhir import fhir_resources
from shadow.reference_standard.order import OrderState, ParsedOrder
from shadow.reference_standard.reception import Reception, reception_of
from shadow.reference_standard.report import ParsedReport, UnusableReport
from shadow.reference_standard.report_files import InboundFile, drain_files, read_inbound_file, take_files
from shadow.reference_standard.report_table import table_reports
from shadow.reference_standard.result_status import ResultStatus
from shadow.store.blobs import Blobs
from shadow.store.events import Kind
from shadow.store.ledger import Ledger

CONFIGS = project_folder("configs")
KEYED = Pseudonymiser(b"k" * 32)
NOON = datetime(2026, 8, 24, 16, tzinfo=UTC)
JOURNAL_KEY = b"j" * 32
COLUMNS = ReportTable(
    "accession", "report", "state", ("FINAL",), corrected=("AMENDED",), preliminary=("PRELIM",),
    cancelled=("VOID",), reported_at="signed", patient_id="mrn",
)  # fmt: skip
SITE = replace(read_site(CONFIGS / "sites" / "riverside.toml"), report_table=COLUMNS)
PROTOCOL = read_trial(CONFIGS / "trials" / "demo-head-ct.toml")
BLEED = "FINDINGS: Acute subdural haematoma. Read by ZEBEDEE."


def identifier(value: str, kind: str = "ACSN") -> dict[str, object]:
    system = "http://terminology.hl7.org/CodeSystem/v2-0203"
    return {"type": {"coding": [{"system": system, "code": kind}]}, "value": value}


def diagnostic_report(status: str = "final", **changes: object) -> dict[str, object]:
    return {
        "resourceType": "DiagnosticReport",
        "status": status,
        "identifier": [identifier("R00001234")],
        "subject": {"reference": "Patient/zebedee", "identifier": identifier("MRN778899", "MR")},
        "effectiveDateTime": "2026-08-24T10:30:00-04:00",
        "issued": "2026-08-24T15:30:00Z",
        "conclusion": BLEED,
    } | changes


def read(*resources: dict[str, object]) -> list[ParsedReport | ParsedOrder | UnusableReport]:
    content = "\n".join(json.dumps(one) for one in resources).encode()
    return [report for _, reports in fhir_resources(content) for report in reports]


def one_of(resource: dict[str, object]) -> ParsedReport:
    (report,) = read(resource)
    assert isinstance(report, ParsedReport)
    return report


def test_a_diagnostic_report_says_who_what_and_when() -> None:
    report = one_of(diagnostic_report())
    assert (report.accession_number, report.patient_id, report.text) == ("R00001234", "MRN778899", BLEED)
    assert report.observed_at == datetime(2026, 8, 24, 14, 30, tzinfo=UTC)
    assert report.reported_at == datetime(2026, 8, 24, 15, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("code", "status", "final"),
    [
        ("registered", "O", False), ("partial", "A", False), ("preliminary", "P", False), ("modified", "P", False),
        ("final", "F", True), ("amended", "C", True), ("corrected", "C", True), ("appended", "C", True),
        ("cancelled", "X", False), ("entered-in-error", "X", False), ("unknown", "unstated", False),
        ("something", "unstated", False),
    ],
)  # fmt: skip
def test_every_status_of_the_value_set_is_final_or_not(code: str, status: str, final: bool) -> None:
    report = one_of(diagnostic_report(code))
    assert (report.result_status, report.result_status.final) == (ResultStatus(status), final)


def test_the_text_is_the_presented_form_then_the_conclusion_then_the_narrative() -> None:
    def form(kind: str, text: str) -> dict[str, str]:
        return {"contentType": kind, "data": base64.b64encode(text.encode()).decode()}

    page = "<style>p {}</style><p>No <b>acute</b> bleed.</p><p>Stable &amp; old.</p>"
    both = [form("text/html; charset=utf-8", page), form("text/plain", "PLAIN œdema")]
    assert one_of(diagnostic_report(presentedForm=both)).text == "PLAIN œdema"
    assert one_of(diagnostic_report(presentedForm=both[:1])).text == "No acute bleed.\nStable & old."
    assert one_of(diagnostic_report(presentedForm=[form("application/pdf", "%PDF")])).text == BLEED
    narrative = {"status": "generated", "div": "<div>Small <i>bleed</i>.</div>"}
    assert one_of(diagnostic_report(conclusion=None, text=narrative)).text == "Small bleed."


def test_accession_numbers_come_from_the_report_or_its_orders_one_report_each() -> None:
    order = {"resourceType": "ServiceRequest", "identifier": [identifier("R7"), identifier("P1", "PLAC")]}
    found = read(diagnostic_report(identifier=[identifier("77", "FILL")], contained=[order],
                                   basedOn=[{"identifier": identifier("R8")}]))  # fmt: skip
    assert [(one.group, getattr(one, "accession_number", "")) for one in found] == [(1, "R8"), (2, "R7")]
    assert read(diagnostic_report(identifier=[identifier("77", "FILL")])) == [UnusableReport(1, "no_accession_number")]
    assert read(diagnostic_report(conclusion=" ")) == [UnusableReport(1, "no_text")]


def test_a_bundle_and_lines_hold_several_and_what_is_none_is_said() -> None:
    bundle = {"resourceType": "Bundle", "entry": [
        {"resource": diagnostic_report()}, {"resource": {"resourceType": "Patient"}}, {"fullUrl": "x"},
    ]}  # fmt: skip
    assert len(read(bundle)) == 1
    assert len(read(diagnostic_report(), diagnostic_report("corrected"))) == 2
    for content, reason in ((b"{", "not_json"), (b"[1]", "not_json"), (b"\xff\xfe", "not_json"),
                            (b'{"resourceType": "Patient"}', "no_diagnostic_report")):  # fmt: skip
        with pytest.raises(MalformedMessage) as refused:
            list(fhir_resources(content))
        assert refused.value.reason == reason


def rows(content: bytes) -> list[ParsedReport | UnusableReport]:
    return [one for _, reports in table_reports(content, COLUMNS, ZoneInfo("America/New_York")) for one in reports]


def test_a_table_is_read_by_the_columns_that_the_site_file_names() -> None:
    header = "mrn,accession,state,signed,report,reader\r\n"
    lines = 'M1,R1,final,2026-08-24 11:30:00,"Subdural\nhaematoma.",X\r\nM2,R2,Draft,,text,X\r\n,,FINAL,,text,X\r\n'
    first, second, third = rows((header + lines).encode())
    assert isinstance(first, ParsedReport) and isinstance(second, ParsedReport)
    assert (first.text, first.patient_id, first.result_status) == ("Subdural\nhaematoma.", "M1", ResultStatus.FINAL)
    assert first.reported_at == datetime(2026, 8, 24, 15, 30, tzinfo=UTC)
    assert (second.result_status, second.reported_at) == (ResultStatus.UNSTATED, None)
    assert third == UnusableReport(1, "no_accession_number")
    buffer = io.BytesIO()
    columns = {"mrn": ["M1"], "accession": ["R1"], "state": ["final"], "report": ["Subdural\nhaematoma."],
               "signed": ["2026-08-24T15:30:00Z"]}  # fmt: skip
    pq.write_table(pa.table(columns), buffer)
    (same,) = rows(buffer.getvalue())
    assert same == first


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"a,b\r\n1,2\r\n", "column_missing"), (b"\xff\xfe", "not_a_table"), (b"PAR1nonsense", "not_a_table")],
)
def test_a_table_that_is_none_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage) as refused:
        rows(content)
    assert refused.value.reason == reason


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", PROTOCOL.identifier) as opened:
        opened.migrate()
        yield opened


def dropped(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / "files" / "incoming" / "riverside" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (time.time() - 60, time.time() - 60))
    return path


def reception(tmp_path: Path) -> Reception:
    return reception_of(PROTOCOL, (SITE,), KEYED, Blobs(tmp_path / "blobs", bytes(32)))


def drained(folder: Path, ledger: Ledger, made: Reception) -> int:
    take_files(folder, JOURNAL_KEY, made.sites, lambda: NOON)
    return drain_files(folder / "journal", JOURNAL_KEY, ledger, made)


def test_a_crash_between_journal_and_removal_takes_a_file_twice_and_counts_it_once(
    tmp_path: Path, ledger: Ledger
) -> None:
    for _ in range(2):
        dropped(tmp_path, "a.json", json.dumps(diagnostic_report()).encode())
        assert drained(tmp_path / "files", ledger, reception(tmp_path)) == 1
    (tmp_path / "files" / "journal" / "reports.cursor").unlink()
    assert drained(tmp_path / "files", ledger, reception(tmp_path)) == 2
    assert ledger.count(Kind.REPORT_VERSION) == 1


def test_a_disk_that_refuses_the_text_stops_the_drain_and_quarantines_nothing(tmp_path: Path, ledger: Ledger) -> None:
    dropped(tmp_path, "a.json", json.dumps(diagnostic_report()).encode())
    (tmp_path / "no-folder").write_text("a file where the texts should go")
    refused = reception_of(PROTOCOL, (SITE,), KEYED, Blobs(tmp_path / "no-folder", bytes(32)))
    head = ledger.head()
    with pytest.raises(OSError):
        drained(tmp_path / "files", ledger, refused)
    assert ledger.head() == head
    assert drained(tmp_path / "files", ledger, reception(tmp_path)) == 1
    assert (ledger.count(Kind.REPORT_VERSION), ledger.count(Kind.AUDIT)) == (1, 0)


def test_a_record_of_the_journal_says_where_it_came_from() -> None:
    file = InboundFile("riverside", ".json", b"line one\nline two \xff")
    assert read_inbound_file(file.to_payload()) == file
    for payload in (b"", b"[]\nx", b'{"site": 1}\nx'):
        with pytest.raises(MalformedMessage, match="not_a_file"):
            read_inbound_file(payload)


def test_files_become_versions_and_labels_once_and_nothing_is_lost(tmp_path: Path, ledger: Ledger) -> None:
    lines = "mrn,accession,state,signed,report\r\nM1,R5,FINAL,,No intracranial haemorrhage.\r\n,,FINAL,,x\r\n"
    dropped(tmp_path, "a.json", json.dumps(diagnostic_report()).encode())
    dropped(tmp_path, "b.csv", lines.encode())
    dropped(tmp_path, "c.json", b"{")
    dropped(tmp_path, ".d.json", b"still being written")
    folder = tmp_path / "files"
    assert drained(folder, ledger, reception(tmp_path)) == 3
    assert (ledger.count(Kind.REPORT_VERSION), ledger.count(Kind.LABEL), ledger.count(Kind.AUDIT)) == (2, 2, 2)
    states = sorted(json.loads(row.body or "")["state"] for row in ledger.since(0) if row.kind == Kind.LABEL)
    assert states == ["absent", "present"]
    again = json.dumps({"resourceType": "Bundle", "entry": [{"resource": diagnostic_report()}]})
    dropped(tmp_path, "again.json", again.encode())
    assert drained(folder, ledger, reception(tmp_path)) == 1
    assert ledger.count(Kind.REPORT_VERSION) == 2, "the same resource elsewhere is the same version"
    (segment, *_) = (folder / "journal").glob("*.journal")
    assert b"ZEBEDEE" not in segment.read_bytes(), "text lies nowhere in clear once it is taken in"
    assert [path.name for path in (folder / "incoming" / "riverside").iterdir()] == [".d.json"]
    whole = "\n".join(row.body or "" for row in ledger.since(0))
    assert not any(planted in whole for planted in ("ZEBEDEE", "MRN778899", "R00001234"))


def test_a_table_of_a_site_that_names_none_is_quarantined(tmp_path: Path, ledger: Ledger) -> None:
    dropped(tmp_path, "b.csv", b"a,b\r\n")
    plain = reception_of(PROTOCOL, (replace(SITE, report_table=None),), KEYED, Blobs(tmp_path / "blobs", bytes(32)))
    assert drained(tmp_path / "files", ledger, plain) == 1
    (row,) = [one for one in ledger.since(0) if one.kind == Kind.AUDIT]
    assert '"no_report_table"' in (row.body or "")


def bundle(*resources: dict[str, object]) -> dict[str, object]:
    entries = [{"fullUrl": f"urn:uuid:{number}", "resource": one} for number, one in enumerate(resources)]
    return {"resourceType": "Bundle", "type": "searchset", "entry": entries}


def test_accession_numbers_are_looked_for_where_the_report_points() -> None:
    """An included order by its type and id, a study by its full URL, and a version of a resource."""
    order = {"resourceType": "ServiceRequest", "id": "o1", "identifier": [identifier("R8")]}
    study = {"resourceType": "ImagingStudy", "id": "s1", "identifier": [identifier("R9")]}
    for pointing in (
        {"basedOn": [{"reference": "ServiceRequest/o1"}]},
        {"basedOn": [{"reference": "ServiceRequest/o1/_history/3"}]},
    ):
        found = read(bundle(diagnostic_report(identifier=None, **pointing), order))
        assert [one.accession_number for one in found if isinstance(one, ParsedReport)] == ["R8"]
    for field in ("imagingStudy", "study"):
        pointing = {field: [{"reference": "urn:uuid:1"}]}
        found = read(bundle(diagnostic_report(identifier=None, **pointing), study))
        assert [one.accession_number for one in found if isinstance(one, ParsedReport)] == ["R9"]
    elsewhere = diagnostic_report(identifier=None, basedOn=[{"reference": "ServiceRequest/other"}])
    assert read(bundle(elsewhere, order))[0] == UnusableReport(1, "no_accession_number")


def test_a_service_request_is_an_order_and_notifications_hold_bundles() -> None:
    request = {
        "resourceType": "ServiceRequest", "status": "active", "identifier": [identifier("R8")],
        "code": {"text": "CT head without contrast"}, "occurrenceDateTime": "2026-08-25T08:00:00-04:00",
    }  # fmt: skip
    (order,) = read(request)
    assert isinstance(order, ParsedOrder)
    assert (order.accession_number, order.state, order.planned_at) == (
        "R8", OrderState.ACTIVE, datetime(2026, 8, 25, 12, tzinfo=UTC)
    )  # fmt: skip
    (revoked,) = read(request | {"status": "revoked", "code": {"concept": {"text": "CT head"}}})
    assert isinstance(revoked, ParsedOrder)
    assert (revoked.state, revoked.procedure.strip()) == (OrderState.CANCELLED, "CT head")
    status = {"resourceType": "SubscriptionStatus", "type": "event-notification"}
    notified = read(bundle(status, bundle(diagnostic_report())))
    assert [type(one) for one in notified] == [ParsedReport]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<DiagnosticReport xmlns='http://hl7.org/fhir'/>", "xml_not_read"),
        (b'{"resourceType": "OperationOutcome"}', "nothing_to_read"),
        (b'{"resourceType": "Bundle", "type": "searchset", "total": 0}', "nothing_to_read"),
        (b'{"resourceType": "Patient"}', "no_diagnostic_report"),
        (b'{"resourceType": "Bundle", "entry": {"resource": 7}}', "nothing_to_read"),
        (b"[" * 100_000, "not_json"),
    ],
)
def test_a_document_without_a_report_says_what_it_is(content: bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage) as said:
        list(fhir_resources(content))
    assert said.value.reason == reason


FIELDS = (
    "status identifier basedOn imagingStudy study contained presentedForm conclusion text issued effectiveDateTime "
    "effectivePeriod subject conclusionCode meta id _status"
).split()
PARTS = "identifier type coding code value reference resourceType id data contentType div start system".split()
LEAVES = (
    st.none()
    | st.booleans()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["final", "R1", "#a", "ACSN", "ServiceRequest"])
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(FIELDS),
        st.recursive(
            LEAVES,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(PARTS), inner, max_size=4),
            max_leaves=12,
        ),
    )
)
def test_whatever_stands_where_in_a_resource_it_ends_as_a_report_or_a_counted_reason(fields: dict[str, object]) -> None:
    resource = {"resourceType": "DiagnosticReport"} | fields
    for content in (json.dumps(resource), json.dumps(bundle(resource))):
        reports = [one for _, found in fhir_resources(content.encode()) for one in found]
        assert reports
        assert all(isinstance(one, ParsedReport | UnusableReport) for one in reports)
        finals = [one for one in reports if isinstance(one, ParsedReport) and one.result_status.final]
        assert not finals or fields.get("status") in ("final", "amended", "corrected", "appended")
