"""FHIR resources as hospitals and attackers send them: each ends as a report or as a counted reason; nothing raises."""

from __future__ import annotations

import base64
import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shadow.domain.errors import MalformedMessage
from shadow.domain.identifiers import Pseudonymiser
from shadow.domain.project import project_folder
from shadow.protocol.site import read_site
from shadow.protocol.trial import read_trial
from shadow.reference_standard.fhir import fhir_resources
from shadow.reference_standard.order import ParsedOrder
from shadow.reference_standard.reception import reception_of
from shadow.reference_standard.report import ParsedReport, UnusableReport
from shadow.reference_standard.result_status import ResultStatus
from shadow.store.blobs import Blobs
from shadow.store.events import Audited, ReportVersion

CONFIGS = project_folder("configs")
SITE = read_site(CONFIGS / "sites" / "riverside.toml")
NOON = datetime(2026, 8, 24, 16, tzinfo=UTC)
ACCESSION = "http://terminology.hl7.org/CodeSystem/v2-0203"


def identifier(value: object, kind: str = "ACSN", **more: object) -> dict[str, Any]:
    return {"type": {"coding": [{"system": ACCESSION, "code": kind}]}, "value": value} | more


def report(**changes: object) -> dict[str, Any]:
    written = {
        "resourceType": "DiagnosticReport", "id": "r1", "status": "final",
        "identifier": [identifier("R1")], "conclusion": "Small bleed.",
    } | changes  # fmt: skip
    return {name: value for name, value in written.items() if value is not None}


def bundle(*resources: dict[str, Any], base: str = "https://fhir.example/r4") -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "searchset", "entry": [
        {"fullUrl": f"{base}/{one['resourceType']}/{one.get('id', 'x')}", "resource": one} for one in resources
    ]}  # fmt: skip


def read(document: object) -> list[ParsedReport | UnusableReport]:
    """The reports; orders are of another test."""
    found = [one for _, some in fhir_resources(json.dumps(document).encode()) for one in some]
    return [one for one in found if not isinstance(one, ParsedOrder)]


def one_of(document: object) -> ParsedReport:
    (found,) = read(document)
    assert isinstance(found, ParsedReport), found
    return found


def accessions(document: object) -> list[str]:
    return [one.accession_number if isinstance(one, ParsedReport) else one.reason for one in read(document)]


ORDER = {"resourceType": "ServiceRequest", "id": "o1", "identifier": [identifier("P1", "PLAC"), identifier("R7")]}
BARE = report(identifier=None)


def test_examples_in_the_manner_of_the_standard_end_as_no_accession_number_and_are_not_lost() -> None:
    # As the examples f201 (brain CT), ultrasound and dgr-1.p3 of HL7/fhir, source/diagnosticreport.
    brain = {
        "resourceType": "DiagnosticReport", "id": "f201", "status": "final",
        "subject": {"reference": "Patient/f201", "display": "Roel"}, "issued": "2012-12-01T12:00:00+01:00",
        "conclusion": "CT brains: large tumor sphenoid/clivus.",
        "conclusionCode": [{"coding": [{"system": "http://snomed.info/sct", "code": "188340000"}]}],
    }  # fmt: skip
    ultrasound = brain | {"id": "ultrasound", "image": [{"link": {"reference": "Media/1.2.840.11361907579238403408"}}]}
    composed = {
        "resourceType": "DiagnosticReport", "id": "dgr-1.p3.pass", "status": "final",
        "contained": [{"resourceType": "Composition", "id": "comp"}, {"resourceType": "Observation", "id": "obs1"}],
        "result": [{"reference": "#obs1"}], "composition": {"reference": "#comp"},
    }  # fmt: skip
    assert accessions(bundle(brain, ultrasound, composed)) == ["no_accession_number"] * 3
    named = brain | {"identifier": [identifier("R1")]}
    assert one_of(named).reported_at == datetime(2012, 12, 1, 11, tzinfo=UTC)
    assert read(composed | {"identifier": [identifier("R1")]}) == [UnusableReport(1, "no_text")]


@pytest.mark.parametrize(
    "reference",
    ["ServiceRequest/o1", "https://fhir.example/r4/ServiceRequest/o1", "ServiceRequest/o1/_history/3"],
)
def test_an_order_in_the_same_bundle_names_the_accession(reference: str) -> None:
    based = BARE | {"basedOn": [{"reference": reference}]}
    assert accessions(bundle(based, ORDER)) == ["R7"]
    assert accessions(bundle(based)) == ["no_accession_number"], "nothing is fetched"
    assert accessions(based) == ["no_accession_number"]
    requisition = {"resourceType": "ServiceRequest", "id": "o1", "requisition": identifier("R8")}
    assert accessions(bundle(based, requisition)) == ["R8"]


def test_an_order_of_a_message_bundle_is_found_by_its_uuid() -> None:
    entries = [
        {"fullUrl": "urn:uuid:1", "resource": BARE | {"basedOn": [{"reference": "urn:uuid:2"}]}},
        {"fullUrl": "urn:uuid:2", "resource": ORDER},
    ]
    assert accessions({"resourceType": "Bundle", "type": "message", "entry": entries}) == ["R7"]


def test_a_reference_names_nothing_of_another_server_or_of_another_type() -> None:
    other = BARE | {"basedOn": [{"reference": "https://elsewhere.example/ServiceRequest/o1"}]}
    assert accessions(bundle(other, ORDER)) == ["no_accession_number"]
    patient = {"resourceType": "Patient", "id": "o1", "identifier": [identifier("R9")]}
    assert accessions(bundle(BARE | {"basedOn": [{"reference": "Patient/o1"}]}, patient)) == ["no_accession_number"]
    twice = bundle(BARE | {"basedOn": [{"reference": "ServiceRequest/o1"}]}, ORDER)
    twice["entry"].append({"fullUrl": "urn:uuid:1", "resource": ORDER | {"identifier": [identifier("R8")]}})
    assert accessions(twice) == ["R7"], "the one with the report's own base"
    for entry in twice["entry"]:
        del entry["fullUrl"]
    assert accessions(twice) == ["no_accession_number"], "two of one name are nobody"


@pytest.mark.parametrize("element", ["imagingStudy", "study"])
def test_an_imaging_study_names_the_accession_where_report_and_order_do_not(element: str) -> None:
    uid = {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}
    study = {"resourceType": "ImagingStudy", "id": "s1", "identifier": [uid, identifier("R5")]}
    seen = BARE | {element: [{"reference": "ImagingStudy/s1"}]}
    assert accessions(bundle(seen, study)) == ["R5"]
    assert accessions(BARE | {element: [{"identifier": identifier("R6")}]}) == ["R6"]
    assert accessions(BARE | {"contained": [study], element: [{"reference": "#s1"}]}) == ["R5"]
    ordered = study | {"identifier": [uid], "basedOn": [{"reference": "ServiceRequest/o1"}]}
    assert accessions(bundle(seen, ordered, ORDER)) == ["R7"]
    assert accessions(bundle(seen | {"identifier": [identifier("R1")]}, study)) == ["R1"]
    assert accessions(bundle(seen, study | {"identifier": [uid]})) == ["no_accession_number"]


def test_a_patient_of_the_bundle_is_known_by_the_medical_record_number() -> None:
    patient = {"resourceType": "Patient", "id": "p1", "identifier": [identifier("SSN1", "SS"), identifier("M1", "MR")]}
    assert one_of(bundle(report(subject={"reference": "Patient/p1"}), patient)).patient_id == "M1"
    assert one_of(report(subject={"reference": "Patient/p1"})).patient_id is None


def observation(name: str, said: object, status: str = "final", **more: object) -> dict[str, Any]:
    code = {"coding": [{"display": name}]}
    return {"resourceType": "Observation", "id": name, "status": status, "code": code, "valueString": said} | more


def test_observations_of_the_bundle_or_contained_are_text_before_the_conclusion() -> None:
    result = [{"reference": "Observation/Findings"}, {"reference": "#Bones"}, {"reference": "Observation/Dose"}]
    group = observation("Findings", "Midline shift.", hasMember=[{"reference": "Observation/Ventricles"}])
    dose = {"resourceType": "Observation", "id": "Dose", "status": "final", "valueQuantity": {"value": 1.0}}
    whole = bundle(
        report(result=result, contained=[observation("Bones", "Intact.")]),
        group, observation("Ventricles", "Wide.", hasMember=[{"reference": "Observation/Findings"}]), dose,
    )  # fmt: skip
    said = "Findings: Midline shift.\nVentricles: Wide.\nBones: Intact.\nIMPRESSION: Small bleed."
    assert one_of(whole).text == said
    assert one_of(report(result=result)).text == "Small bleed."


@pytest.mark.parametrize(
    ("lines", "conclusion", "status", "text"),
    [
        (["final"], "Bleed.", "F", "A: a\nIMPRESSION: Bleed."),
        (["preliminary"], "Bleed.", "P", "A: a\nIMPRESSION: Bleed."),
        (["registered"], None, "P", "A: a"),
        (["amended"], None, "C", "A: a"),
        (["something"], None, "F", "A: a"),
        (["entered-in-error"], "Bleed.", "F", "Bleed."),
        (["cancelled"], None, "X", ""),
    ],
)
def test_a_report_is_never_more_final_than_its_observations(
    lines: list[str], conclusion: str | None, status: str, text: str
) -> None:
    contained = [observation("A", "a", one) for one in lines]
    found = one_of(report(contained=contained, result=[{"reference": "#A"}], conclusion=conclusion))
    assert (found.result_status, found.text) == (ResultStatus(status), text)
    open_report = one_of(report(status="preliminary", contained=contained, result=[{"reference": "#A"}]))
    assert not open_report.result_status.final
    unknown = one_of(report(status="unknown", contained=contained, result=[{"reference": "#A"}]))
    assert unknown.result_status is ResultStatus.UNSTATED


@pytest.mark.parametrize("status", [None, 1, ["final"], {"value": "final"}, "Final", "final ", "", "unknown", True])
def test_a_status_outside_of_the_value_set_is_not_final(status: object) -> None:
    absent = {
        "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "error"}]
    }
    assert one_of(report(status=status, _status=absent)).result_status is ResultStatus.UNSTATED


def form(kind: str, text: bytes, **more: object) -> dict[str, Any]:
    return {"contentType": kind, "data": base64.b64encode(text).decode()} | more


def test_forms_are_read_in_their_character_set_and_never_fetched() -> None:
    assert one_of(report(presentedForm=[form("text/plain; charset=ISO-8859-1", b"\xd6dem")])).text == "Ödem"
    assert one_of(report(presentedForm=[form("text/plain;charset=rot13", "Ödem".encode())])).text == "Ödem"
    linked = {"contentType": "text/plain", "url": "http://127.0.0.1:1/report.txt"}
    assert one_of(report(presentedForm=[linked])).text == "Small bleed."
    assert read(report(presentedForm=[linked], conclusion=None)) == [UnusableReport(1, "no_text")]
    empty = [form("text/plain", b" "), {"contentType": "text/plain", "data": 5}, form("text/html", b"<p>Bleed")]
    assert one_of(report(presentedForm=empty)).text == "Bleed"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        (b"</script></style><script>alert('bleed')</script>Calm.", "Calm."),
        (b"<table><tr><td>A</td></tr><tr><td>B</td></tr></table>", "A\nB"),
        (b"<![nonsense[ x ]]><p>Bleed <5 mm, stable.", "Bleed <5 mm, stable."),
        (b"No <b>acute</b> bleed.<br/><STYLE>p {}</Style >Old", "No acute bleed.\nOld"),
        (b"&#" + b"9" * 9_000 + b";", "Small bleed."),
        (b"<!--" * 500_000, "Small bleed."),
        (b"<!-- bleed --><p>No &#98;leed.</p>", "No bleed."),
        (b"<p " * 500_000, "Small bleed."),
        (b"x" * (5 << 20), "Small bleed."),
    ],
)
def test_hostile_html_is_words_or_passed_over(markup: bytes, text: str) -> None:
    assert one_of(report(presentedForm=[form("text/html", markup)])).text == text


def test_identifiers_that_are_no_strings_or_no_longer_valid_name_nothing() -> None:
    for broken in (identifier(1234), identifier(None), identifier(["R1"]), identifier(" "), {"value": "R1"}):
        assert accessions(report(identifier=[broken])) == ["no_accession_number"]
    assert accessions(report(identifier=[identifier("R0", use="old"), identifier("R1")])) == ["R1"]
    assert accessions(report(identifier=[identifier("R1"), identifier(" R1 "), identifier("R2")])) == ["R1", "R2"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"meta": {"tag": [{"code": "SUBSETTED"}]}}, "subsetted"),
        ({"meta": {"security": [{"code": "HTEST"}]}}, "not_production"),
        ({"modifierExtension": [{"url": "http://example.org/negated"}]}, "unknown_modifier_extension"),
    ],
)  # fmt: skip
def test_what_must_not_be_read_is_counted(changes: dict[str, object], reason: str) -> None:
    assert read(report(**changes)) == [UnusableReport(1, reason)]


def test_the_servers_version_makes_a_version_and_dates_a_report_that_is_not_dated() -> None:
    def written(version: str, **more: object) -> bytes:
        meta = {"versionId": version, "lastUpdated": "2026-08-24T15:30:00.123Z"}
        ((octets, _),) = fhir_resources(json.dumps(report(meta=meta, **more)).encode())
        return octets

    assert written("1") == written("1") != written("2")
    (found,) = read(report(meta={"lastUpdated": "2026-08-24T15:30:00Z"}))
    assert isinstance(found, ParsedReport) and found.reported_at == datetime(2026, 8, 24, 15, 30, tzinfo=UTC)
    dated = one_of(report(issued="2026-08-24T14:00:00Z", meta={"lastUpdated": "2026-08-24T15:30:00Z"}))
    assert dated.reported_at == datetime(2026, 8, 24, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    "issued",
    ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-08-24", 5, "T", "2026-02-30T01:00:00Z"],
)
def test_a_time_that_is_none_stays_unknown(issued: object) -> None:
    assert one_of(report(issued=issued)).reported_at is None


def test_the_same_resource_is_the_same_bytes_unless_the_document_adds_something() -> None:
    def octets(document: object) -> bytes:
        read = fhir_resources(json.dumps(document).encode())
        return next(octets for octets, found in read if not isinstance(found[0], ParsedOrder))

    assert octets(report()) == octets(bundle(report(), ORDER))
    based = BARE | {"basedOn": [{"reference": "ServiceRequest/o1"}]}
    assert octets(based) != octets(bundle(based, ORDER)) == octets(bundle(ORDER, based))


def test_bundles_within_bundles_and_lines_leave_their_neighbours_alone() -> None:
    inner = bundle(report(identifier=[identifier("R2")]))
    assert accessions({"resourceType": "Bundle", "entry": [{"resource": inner}, {"resource": report()}, 5, None]}) == [
        "R2", "R1",
    ]  # fmt: skip
    lines = b"\n".join(
        [json.dumps(report(conclusion="A\u2028B"), ensure_ascii=False).encode(), b"{broken", b"[1]", b""]
    )
    found = [one for _, reports in fhir_resources(lines) for one in reports]
    assert [one.text if isinstance(one, ParsedReport) else one.reason for one in found] == [
        "A\u2028B", "not_json", "not_json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'\xef\xbb\xbf <?xml version="1.0"?><DiagnosticReport/>', "xml_not_read"),
        (b"", "not_json"), (b"null", "not_json"), (b"{}\n{", "no_diagnostic_report"), (b"[" * 100_000, "not_json"),
        (b'{"a":' * 400 + b"1" + b"}" * 400, "nested_too_deep"),
        (b'{"status": ' + b"9" * 5_000 + b"}", "not_json"),
        (json.dumps({"resourceType": "DiagnosticReport"}).encode("utf-16"), "not_json"),
        (b'{"resourceType": "Bundle", "entry": []}', "nothing_to_read"),
    ],
)  # fmt: skip
def test_a_document_without_reports_is_refused_with_its_reason(content: bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage) as refused:
        list(fhir_resources(content))
    assert refused.value.reason == reason


def test_halves_of_surrogate_pairs_reach_no_store(tmp_path: Path) -> None:
    content = json.dumps(report(conclusion="Bleed \ud800.", identifier=[identifier("R1\udfff")])).encode()
    assert [type(one) for one in events(tmp_path, content)][:1] == [ReportVersion]


def events(tmp_path: Path, content: bytes) -> list[Any]:
    protocol = read_trial(CONFIGS / "trials" / "demo-head-ct.toml")
    reception = reception_of(protocol, (SITE,), Pseudonymiser(b"k" * 32), Blobs(tmp_path / "blobs", bytes(32)))
    return reception.events_of_file(content, ".json", SITE, NOON)


def test_whatever_is_put_in_the_place_of_a_value_ends_in_a_counted_state(tmp_path: Path) -> None:
    generator = random.Random(20260824)
    study = {"resourceType": "ImagingStudy", "id": "s1", "identifier": [identifier("R5")]}
    whole = bundle(
        report(basedOn=[{"reference": "ServiceRequest/o1"}], result=[{"reference": "Observation/Findings"}],
               presentedForm=[form("text/html", b"<p>Bleed.</p>")], contained=[observation("Bones", "Intact.")],
               subject={"reference": "Patient/p1", "identifier": identifier("M1", "MR")}, meta={"tag": [{"code": "x"}]},
               effectivePeriod={"start": "2026-08-24T10:30:00Z"}, imagingStudy=[{"reference": "ImagingStudy/s1"}]),
        ORDER, study, observation("Findings", "Shift."), {"resourceType": "Patient", "id": "p1"},
    )  # fmt: skip
    junk: list[Any] = [None, 5, -1.5, True, "", "#", "x/y", [], {}, [[]], [None], {"reference": 5}, "\ud800", "9" * 99]
    for _ in range(400):
        broken = json.loads(json.dumps(whole))
        for _ in range(generator.randint(1, 4)):
            place: Any = broken
            while True:
                keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
                if not keys:
                    break
                key = generator.choice(keys)
                if isinstance(place[key], dict | list) and place[key] and generator.random() < 0.85:
                    place = place[key]
                else:
                    place[key] = json.loads(json.dumps(generator.choice(junk)))
                    break
        found = events(tmp_path, json.dumps(broken).encode())
        assert found
        details = [one.detail for one in found if isinstance(one, Audited)]
        assert not [one for one in details if one.startswith("reader_failed")], details
