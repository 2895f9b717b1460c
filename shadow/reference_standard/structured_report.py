"""DICOM Structured Reports to the one report model (PS3.3 A.35 and C.17; PS3.16 TID 2000, basic diagnostic report).

Final is what is COMPLETE (0040,A491) and VERIFIED (0040,A493) and not flagged PRELIMINARY (0040,A496). A document that
names predecessors (0040,A360) replaces them. Containers become headings, so that the label rules find their sections.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import pydicom
from pydicom.dataset import Dataset

from shadow.domain.errors import MalformedMessage
from shadow.reference_standard.coded_finding import REQUEST_WORDS, CodedFinding, finding_of_observation
from shadow.reference_standard.report import ParsedReport, UnusableReport, addendum_start, timestamp
from shadow.reference_standard.result_status import ResultStatus

REPORT_CLASSES = frozenset(f"1.2.840.10008.5.1.4.1.1.88.{last}" for last in ("11", "22", "33", "34"))
"""Basic Text, Enhanced, Comprehensive and Comprehensive 3D SR Storage. CAD and dose documents have other classes."""

MAXIMUM_DEPTH = 32
MAXIMUM_ITEMS = 20_000
MAXIMUM_TEXT = 1 << 20
_MEASUREMENTS = frozenset({"126000", "126001", "126002"})  # imaging measurement report, oncology, dynamic contrast


def structured_report(content: bytes, zone: ZoneInfo) -> tuple[bytes, list[ParsedReport | UnusableReport]]:
    """The document's own bytes with its reports, one an accession number.

    Raises:
        MalformedMessage: `not_dicom`, `not_a_report` (another SOP class, or measurements alone), or
            `document_too_large`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            document = pydicom.dcmread(io.BytesIO(content), force=False)
            return content, _reports(document, zone)
    except MalformedMessage:
        raise
    except Exception as error:  # noqa: BLE001 - pydicom's errors are many, and a file must not hold up the others
        raise MalformedMessage("not_dicom", type(error).__name__) from None


def _reports(document: Dataset, zone: ZoneInfo) -> list[ParsedReport | UnusableReport]:
    if str(document.get("SOPClassUID", "")) not in REPORT_CLASSES:
        raise MalformedMessage("not_a_report", "SOP Class UID")
    titles = document.get("ConceptNameCodeSequence") or []
    if any(str(one.get("CodeValue", "")) in _MEASUREMENTS for one in titles):
        raise MalformedMessage("not_a_report", "measurements")
    status, text = _status(document), _text(document)
    accession_numbers = _accession_numbers(document)
    if not accession_numbers:
        return [UnusableReport(1, "no_accession_number")]
    codes = tuple(dict.fromkeys(_codes(document, 0)))
    if not text.strip() and not codes:
        return [UnusableReport(1, "no_text")]
    return [
        ParsedReport(
            group=number,
            accession_number=accession_number,
            patient_id=str(document.get("PatientID", "")).strip() or None,
            result_status=status,
            observed_at=_at(document.get("StudyDate", ""), document.get("StudyTime", ""), zone),
            reported_at=_verified_at(document, zone)
            or _at(document.get("ContentDate", ""), document.get("ContentTime", ""), zone),
            text=text,
            addendum_start=addendum_start(text),
            patient_class=None,
            codes=codes,
        )
        for number, accession_number in enumerate(accession_numbers, 1)
    ]


def _status(document: Dataset) -> ResultStatus:
    """Never more final than any of the three flags says; a missing one says nothing for it."""
    complete = str(document.get("CompletionFlag", "")).upper() == "COMPLETE"
    verified = str(document.get("VerificationFlag", "")).upper() == "VERIFIED"
    if str(document.get("PreliminaryFlag", "")).upper() == "PRELIMINARY":
        return ResultStatus.PRELIMINARY
    if not complete:
        return ResultStatus.SOME_AVAILABLE
    if not verified:
        return ResultStatus.NOT_VERIFIED
    return ResultStatus.CORRECTED if document.get("PredecessorDocumentsSequence") else ResultStatus.FINAL


def _accession_numbers(document: Dataset) -> list[str]:
    """The document's own, then those of the requests that it answers, without repeats."""
    requests = document.get("ReferencedRequestSequence") or []
    named = [document.get("AccessionNumber", ""), *(one.get("AccessionNumber", "") for one in requests)]
    return list(dict.fromkeys(stripped for one in named if (stripped := str(one or "").strip())))


def _verified_at(document: Dataset, zone: ZoneInfo) -> datetime | None:
    observers = document.get("VerifyingObserverSequence") or []
    times = [timestamp(_hl7(str(one.get("VerificationDateTime", ""))), zone) for one in observers]
    return max((one for one in times if one is not None), default=None)


def _at(day: object, clock: object, zone: ZoneInfo) -> datetime | None:
    return timestamp(_hl7(f"{day or ''}{clock or ''}"), zone)


def _hl7(value: str) -> str:
    """A DICOM date and time (VR DT) is written like an HL7 one."""
    return value.strip().replace(":", "").replace(" ", "")


def _text(document: Dataset) -> str:
    lines = list(_lines(document, 0, [0]))
    return "\n".join(lines)[:MAXIMUM_TEXT]


def _lines(item: Dataset, depth: int, seen: list[int]) -> Iterator[str]:
    """The tree in document order: a container's name as a heading, a text under its own name unless that is a heading.

    Codes are written as their meaning; numbers, references, times and the like are not report text.
    """
    seen[0] += 1
    if depth > MAXIMUM_DEPTH or seen[0] > MAXIMUM_ITEMS:
        raise MalformedMessage("document_too_large", "items")
    kind, name = str(item.get("ValueType", "")).upper(), _meaning(item.get("ConceptNameCodeSequence"))
    if kind == "CONTAINER" and depth and name:
        yield f"{name.upper()}:"
    elif kind == "TEXT":
        text = str(item.get("TextValue", ""))
        yield from text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    elif kind == "CODE" and str(item.get("RelationshipType", "")).upper() in ("CONTAINS", ""):
        meaning = _meaning(item.get("ConceptCodeSequence"))
        if meaning:
            yield f"{meaning}."
    for child in item.get("ContentSequence") or []:
        if str(child.get("RelationshipType", "")).upper() == "CONTAINS":
            yield from _lines(child, depth + 1, seen)


def _codes(item: Dataset, depth: int) -> Iterator[CodedFinding]:
    """What coded items state, in the whole tree below what the document contains."""
    if depth > MAXIMUM_DEPTH:
        return
    for child in item.get("ContentSequence") or []:
        if str(child.get("RelationshipType", "")).upper() != "CONTAINS":
            continue
        name = child.get("ConceptNameCodeSequence")
        if _is_history(_meaning(name)):
            continue
        if str(child.get("ValueType", "")).upper() == "CODE":
            answered = _pairs(child.get("ConceptCodeSequence"))
            yield from finding_of_observation(_pairs(name), _meaning(name), answered, [])
        yield from _codes(child, depth + 1)


def _is_history(name: str) -> bool:
    return bool(REQUEST_WORDS.search(name))


def _pairs(codes: object) -> list[tuple[str, str]]:
    found = list(codes) if codes else []  # type: ignore[call-overload]
    return [(str(one.get("CodingSchemeDesignator", "")), str(one.get("CodeValue", ""))) for one in found]


def _meaning(codes: object) -> str:
    found = list(codes) if codes else []  # type: ignore[call-overload]
    return str(found[0].get("CodeMeaning", "")).strip() if found else ""
