"""DICOM Structured Reports as real files: which are reports, which are final, and what they say."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    ComprehensiveSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    MammographyCADSRStorage,
    XRayRadiationDoseSRStorage,
)

from shadow.domain.errors import MalformedMessage
from shadow.reference_standard.coded_finding import CodedFinding
from shadow.reference_standard.label import read_label
from shadow.reference_standard.label_rule import load_rule
from shadow.reference_standard.report import ParsedReport, UnusableReport
from shadow.reference_standard.structured_report import structured_report

ZONE = ZoneInfo("America/New_York")
TITLE = ("18748-4", "LN", "Diagnostic imaging report")


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def item(kind: str, name: tuple[str, str, str] | None, *children: Dataset, relationship: str = "CONTAINS") -> Dataset:
    made = Dataset()
    made.RelationshipType, made.ValueType = relationship, kind
    if name:
        made.ConceptNameCodeSequence = [code(*name)]
    if children:
        made.ContentSequence = list(children)
    return made


def text(value: str, name: tuple[str, str, str] = ("121071", "DCM", "Finding"), **more: str) -> Dataset:
    made = item("TEXT", name, **more)
    made.TextValue = value
    return made


def section(name: str, *children: Dataset) -> Dataset:
    return item("CONTAINER", ("1", "99T", name), *children)


def document(change: Callable[[Dataset], None] = lambda _: None, sop_class: UID = BasicTextSRStorage) -> bytes:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SpecificCharacterSet = "ISO_IR 100"
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = sop_class, "1.2.3.4", "SR"
    made.AccessionNumber, made.PatientID = "R00001234", "MRN778899"
    made.StudyDate, made.StudyTime = "20260824", "103000"
    made.ContentDate, made.ContentTime = "20260824", "110000"
    made.CompletionFlag, made.VerificationFlag = "COMPLETE", "VERIFIED"
    made.ValueType, made.ConceptNameCodeSequence = "CONTAINER", [code(*TITLE)]
    made.ContentSequence = [
        section("History", text("Fall. Rule out haemorrhage.")),
        section("Findings", text("Akutes Hämatom?\r\nSmall acute subdural haematoma."), item("IMAGE", None)),
    ]
    change(made)
    written = io.BytesIO()
    made.save_as(written, enforce_file_format=True)
    return written.getvalue()


def report(change: Callable[[Dataset], None] = lambda _: None) -> ParsedReport:
    content = document(change)
    octets, (found,) = structured_report(content, ZONE)
    assert octets == content and isinstance(found, ParsedReport)
    return found


def test_a_document_becomes_a_report_with_its_sections_as_headings() -> None:
    found = report()
    assert (
        found.text
        == "HISTORY:\nFall. Rule out haemorrhage.\nFINDINGS:\nAkutes Hämatom?\nSmall acute subdural haematoma."
    )
    assert (found.accession_number, found.patient_id, found.result_status.value) == ("R00001234", "MRN778899", "F")
    assert found.observed_at == datetime(2026, 8, 24, 14, 30, tzinfo=UTC)
    assert found.reported_at == datetime(2026, 8, 24, 15, tzinfo=UTC)
    label = read_label(load_rule("subdural-haemorrhage/2"), found.text)
    assert [span.section for span in label.spans] == ["FINDINGS"] * len(label.spans) and label.spans


def flags(completion: str | None, verification: str | None, preliminary: str | None) -> Callable[[Dataset], None]:
    def change(made: Dataset) -> None:
        for keyword, value in (
            ("CompletionFlag", completion), ("VerificationFlag", verification), ("PreliminaryFlag", preliminary)
        ):  # fmt: skip
            if value is None:
                made.pop(keyword, None)
            else:
                setattr(made, keyword, value)

    return change


@pytest.mark.parametrize(
    ("said", "final"),
    [
        (("COMPLETE", "VERIFIED", None), True),
        (("COMPLETE", "VERIFIED", "FINAL"), True),
        (("COMPLETE", "VERIFIED", "PRELIMINARY"), False),
        (("COMPLETE", "UNVERIFIED", "FINAL"), False),
        (("PARTIAL", "VERIFIED", "FINAL"), False),
        ((None, "VERIFIED", None), False),
        (("COMPLETE", None, None), False),
        ((None, None, None), False),
    ],
)
def test_only_what_is_complete_and_verified_is_final(said: tuple[str | None, ...], final: bool) -> None:
    assert report(flags(*said)).result_status.final is final  # type: ignore[arg-type]


def test_a_document_with_predecessors_is_a_correction_and_the_last_verification_is_its_time() -> None:
    def change(made: Dataset) -> None:
        made.PredecessorDocumentsSequence = [Dataset()]
        observers = []
        for time in ("20260824120000", "20260824130000-0400"):
            observer = Dataset()
            observer.VerificationDateTime = time
            observers.append(observer)
        made.VerifyingObserverSequence = observers

    found = report(change)
    assert (found.result_status.value, found.result_status.final) == ("C", True)
    assert found.reported_at == datetime(2026, 8, 24, 17, tzinfo=UTC)


def test_one_document_may_answer_several_requests() -> None:
    def change(made: Dataset) -> None:
        made.ReferencedRequestSequence = [Dataset(), Dataset(), Dataset()]
        for request, number in zip(made.ReferencedRequestSequence, ("R00001234", "R00001235", ""), strict=True):
            request.AccessionNumber = number

    _, found = structured_report(document(change), ZONE)
    assert [one.accession_number for one in found if isinstance(one, ParsedReport)] == ["R00001234", "R00001235"]


def test_what_only_supports_a_finding_is_no_report_text_and_a_code_is_its_meaning() -> None:
    def change(made: Dataset) -> None:
        inferred = text("CAD mark", relationship="INFERRED FROM")
        coded = item("CODE", ("121071", "DCM", "Finding"))
        coded.ConceptCodeSequence = [code("1386000", "SCT", "Intracranial haemorrhage")]
        finding = text("Bleed.")
        finding.ContentSequence = [inferred]
        made.ContentSequence = [section("Findings", finding, coded)]

    found = report(change)
    assert found.text == "FINDINGS:\nBleed.\nIntracranial haemorrhage."
    assert found.codes == (CodedFinding("SNOMED CT", "1386000"),)


def test_a_coded_history_is_no_finding() -> None:
    def change(made: Dataset) -> None:
        coded = item("CODE", ("121071", "DCM", "Finding"))
        coded.ConceptCodeSequence = [code("1386000", "SCT", "Intracranial haemorrhage")]
        made.ContentSequence = [section("Clinical history", coded), section("Findings", text("Nothing."))]

    assert report(change).codes == ()


@pytest.mark.parametrize("sop_class", [CTImageStorage, MammographyCADSRStorage, XRayRadiationDoseSRStorage])
def test_other_documents_are_no_reports(sop_class: UID) -> None:
    with pytest.raises(MalformedMessage) as said:
        structured_report(document(sop_class=sop_class), ZONE)
    assert said.value.reason == "not_a_report"


def test_measurements_alone_are_no_report() -> None:
    def change(made: Dataset) -> None:
        made.ConceptNameCodeSequence = [code("126000", "DCM", "Imaging Measurement Report")]

    with pytest.raises(MalformedMessage) as said:
        structured_report(document(change, ComprehensiveSRStorage), ZONE)
    assert said.value.reason == "not_a_report"


def test_what_is_missing_is_counted_with_its_reason() -> None:
    def nameless(made: Dataset) -> None:
        made.AccessionNumber = ""

    def empty(made: Dataset) -> None:
        made.ContentSequence = []

    assert structured_report(document(nameless), ZONE)[1] == [UnusableReport(1, "no_accession_number")]
    assert structured_report(document(empty), ZONE)[1] == [UnusableReport(1, "no_text")]


def test_a_tree_without_end_is_refused() -> None:
    def change(made: Dataset) -> None:
        inner = text("deep")
        for _ in range(60):
            inner = item("CONTAINER", ("1", "99T", "Part"), inner)
        made.ContentSequence = [inner]

    with pytest.raises(MalformedMessage) as said:
        structured_report(document(change), ZONE)
    assert said.value.reason == "document_too_large"


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2000), st.integers(0, 255), st.integers(1, 2000))
def test_a_damaged_document_ends_as_a_report_or_a_reason(at: int, value: int, end: int) -> None:
    content = bytearray(document())
    content[at % len(content)] = value
    for damaged in (bytes(content), bytes(content[: end % len(content)])):
        try:
            _, found = structured_report(damaged, ZONE)
        except MalformedMessage as said:
            assert said.reason
        else:
            assert found
