"""FHIR DiagnosticReport (R4 and R5) to the one report model: a resource, a Bundle, or one resource a line.

Status by the value set DiagnosticReportStatus; the accession number is an Identifier of type ACSN (HL7 table 0203) of
the report, of what it is based on, or of the imaging study. A patient is known by an identifier of type MR. What
stands elsewhere is read only where it came along: contained, or in the same document. A ServiceRequest with an
accession number is an order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from shadow.domain.errors import MalformedMessage
from shadow.reference_standard.coded_finding import CodedFinding, coded_finding, finding_of_observation
from shadow.reference_standard.fhir_documents import Document, Json, Resource, objects, read_document
from shadow.reference_standard.fhir_text import ReportText, report_text
from shadow.reference_standard.order import OrderState, ParsedOrder
from shadow.reference_standard.report import ParsedReport, UnusableReport, addendum_start
from shadow.reference_standard.result_status import ResultStatus, result_status

STATUSES = {
    "registered": ResultStatus.ORDER_RECEIVED,
    "partial": ResultStatus.SOME_AVAILABLE,
    "preliminary": ResultStatus.PRELIMINARY,
    "modified": ResultStatus.PRELIMINARY,
    "final": ResultStatus.FINAL,
    "amended": ResultStatus.CORRECTED,
    "corrected": ResultStatus.CORRECTED,
    "appended": ResultStatus.CORRECTED,
    "cancelled": ResultStatus.CANCELLED,
    "entered-in-error": ResultStatus.CANCELLED,
}
ORDER_STATES = {
    "draft": OrderState.ACTIVE,
    "active": OrderState.ACTIVE,
    "on-hold": OrderState.ACTIVE,
    "completed": OrderState.ACTIVE,
    "revoked": OrderState.CANCELLED,
    "entered-in-error": OrderState.CANCELLED,
}
CARRIERS = frozenset({"OperationOutcome", "SubscriptionStatus", "Parameters", "Bundle"})
NOT_PRODUCTION, SUBSETTED = "HTEST", "SUBSETTED"
"""Codes of `meta`: test data (v3-ActReason), and a resource of which the server left parts out."""
_YEARS = range(1900, 2101)


def fhir_resources(content: bytes) -> Iterator[tuple[bytes, list[ParsedReport | ParsedOrder | UnusableReport]]]:
    """Each DiagnosticReport, and each ServiceRequest with an accession number, as canonical JSON with what it says.

    A report gives one ParsedReport an accession number. The bytes are the same for the same resource wherever it
    stands, so a report sent twice is one version; what was read in other resources of the document is part of them.

    Raises:
        MalformedMessage: as `read_document`; `nothing_to_read` (an OperationOutcome, or a Bundle without content), or
            `no_diagnostic_report` where there is none.
    """
    document = read_document(content)
    found = False
    for resource in document.resources:
        if resource.content.get("resourceType") == "DiagnosticReport":
            found = True
            octets, reports = _report(document, resource)
            yield octets, list(reports)
        elif resource.content.get("resourceType") == "ServiceRequest":
            found = True
            orders = _orders(document, resource)
            if orders:
                yield _canonical(resource.content), list(orders)
    if not found:
        if all(str(one.content.get("resourceType")) in CARRIERS for one in document.resources):
            raise MalformedMessage("nothing_to_read", "no resource with content")
        raise MalformedMessage("no_diagnostic_report", "no resource of this type")
    for line in document.unreadable:
        yield line, [UnusableReport(1, "not_json")]


def _canonical(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _orders(document: Document, resource: Resource) -> list[ParsedOrder]:
    """A ServiceRequest as orders, one an accession number; without one it can be joined with nothing."""
    content = resource.content
    period, asked = content.get("occurrencePeriod"), content.get("code")
    began = period.get("start") if isinstance(period, dict) else None
    planned = _instant(content.get("occurrenceDateTime") or began) or _instant(content.get("authoredOn"))
    state = ORDER_STATES.get(str(content.get("status", "")), OrderState.UNKNOWN)
    words = _names(asked) + " " + _names(asked.get("concept") if isinstance(asked, dict) else None)  # R5: a reference
    return [
        ParsedOrder(number, accession_number, _patient_id(document, resource), state, _scalars(words), planned)
        for number, accession_number in enumerate(dict.fromkeys(_of_order(content)), 1)
    ]


def _codes(document: Document, resource: Resource) -> tuple[CodedFinding, ...]:
    """Findings stated as codes: by conclusionCode (codedDiagnosis before R4), and by final Observations.

    Observations are contained, or `result` refers to them in the same document.
    """
    content = resource.content
    concluded = _codings(content.get("conclusionCode")) + _codings(content.get("codedDiagnosis"))
    found = [one for one in (coded_finding(system, code) for system, code in concluded) if one is not None]
    named = [document.referred(resource, one, "Observation") for one in objects(content.get("result"))]
    contained = [one for one in objects(content.get("contained")) if one.get("resourceType") == "Observation"]
    for one in (*contained, *(one for one in named if one is not None and one not in contained)):
        if one.get("status") in ("final", "amended", "corrected"):
            interpretations = [code for _, code in _codings(one.get("interpretation"))]
            value = _codings(one.get("valueCodeableConcept"))
            asked = one.get("code")
            found += finding_of_observation(_codings(asked), _names(asked), value, interpretations)
    return tuple(dict.fromkeys(found))


def _codings(concepts: Any) -> list[tuple[str, str]]:
    """(system, code) of every coding of one or several CodeableConcepts."""
    return [
        (str(coding.get("system", "")), str(coding.get("code", "")))
        for concept in objects(concepts)
        for coding in objects(concept.get("coding"))
    ]


def _names(concept: Any) -> str:
    """What a CodeableConcept is called, in words."""
    return " ".join(
        str(word)
        for one in objects(concept)
        for word in (one.get("text", ""), *(coding.get("display", "") for coding in objects(one.get("coding"))))
    )


def _report(document: Document, resource: Resource) -> tuple[bytes, list[ParsedReport | UnusableReport]]:
    """The resource is read with the document and without: only what the document adds changes the bytes."""
    whole, canonical = _reports(document, resource), _canonical(resource.content)
    if whole != _reports(Document(), resource):
        added = [
            [one.accession_number, one.patient_id, one.result_status, one.text, [f"{one.codes}"]]
            for one in whole
            if isinstance(one, ParsedReport)
        ]
        canonical = _canonical([resource.content, added])
    return canonical, whole


def _reports(document: Document, resource: Resource) -> list[ParsedReport | UnusableReport]:
    content = resource.content
    refused = _refusal(content)
    if refused:
        return [UnusableReport(1, refused)]
    accession_numbers = _accession_numbers(document, resource)
    if not accession_numbers:
        return [UnusableReport(1, "no_accession_number")]
    read = report_text(document, resource)
    text, status = _scalars(read.text), _status(content, read)
    codes = _codes(document, resource)
    if not text.strip() and not codes and status is not ResultStatus.CANCELLED:
        return [UnusableReport(1, "no_text")]
    period, meta = content.get("effectivePeriod"), content.get("meta")
    began = period.get("start") if isinstance(period, dict) else None
    updated = meta.get("lastUpdated") if isinstance(meta, dict) else None
    return [
        ParsedReport(
            group=number,
            accession_number=accession_number,
            patient_id=_patient_id(document, resource),
            result_status=status,
            observed_at=_instant(content.get("effectiveDateTime") or content.get("effectiveInstant") or began),
            reported_at=_instant(content.get("issued")) or _instant(updated),
            text=text,
            addendum_start=addendum_start(text),
            patient_class=None,
            codes=codes,
        )
        for number, accession_number in enumerate(accession_numbers, 1)
    ]


def _refusal(content: Json) -> str | None:
    """Why a resource must not be read at all, as a code; FHIR asks it of who does not know a modifier extension."""
    if content.get("modifierExtension"):
        return "unknown_modifier_extension"
    meta = content.get("meta")
    marks = [*objects(meta.get("tag")), *objects(meta.get("security"))] if isinstance(meta, dict) else []
    codes = [one.get("code") for one in marks]
    if NOT_PRODUCTION in codes:
        return "not_production"
    return "subsetted" if SUBSETTED in codes else None


def _status(content: Json, read: ReportText) -> ResultStatus:
    """What the report says of itself, never more final than the Observations that its text is made of."""
    code = content.get("status")
    stated = STATUSES.get(code, ResultStatus.UNSTATED) if isinstance(code, str) else ResultStatus.UNSTATED
    if not stated.final or not read.lines:
        return stated
    withdrawn = all(line.withdrawn for line in read.lines)
    if withdrawn and not read.alone:
        return stated
    return result_status(stated.value, read.lines)


def _accession_numbers(document: Document, resource: Resource) -> list[str]:
    """Without repeats, in order: what the report itself names, else its orders, else its imaging studies."""
    content = resource.content
    own = _of_type(content.get("identifier"), "ACSN")
    contained = objects(content.get("contained"))
    orders = _ordered(document, resource, content.get("basedOn"))
    for order in contained:
        if order.get("resourceType") == "ServiceRequest":
            orders += _of_order(order)
    if own or orders:
        return list(dict.fromkeys(own or orders))
    # `imagingStudy` is the element's name in R4, `study` in R5.
    references = [*objects(content.get("imagingStudy")), *objects(content.get("study"))]
    studies = [document.referred(resource, one, "ImagingStudy") for one in references]
    studies += [one for one in contained if one.get("resourceType") == "ImagingStudy"]
    found = _of_type([one.get("identifier") for one in references], "ACSN")
    for study in studies:
        if study is not None:
            found += _of_type(study.get("identifier"), "ACSN") or _ordered(document, resource, study.get("basedOn"))
    return list(dict.fromkeys(found))


def _ordered(document: Document, resource: Resource, references: Any) -> list[str]:
    """The accession numbers of the orders that these references name."""
    found: list[str] = []
    for reference in objects(references):
        found += _of_type(reference.get("identifier"), "ACSN")
        order = document.referred(resource, reference, "ServiceRequest")
        found += _of_order(order) if order is not None else []
    return found


def _of_order(order: Json) -> list[str]:
    return _of_type(order.get("identifier"), "ACSN") or _of_type(order.get("requisition"), "ACSN")


def _patient_id(document: Document, resource: Resource) -> str | None:
    subject = resource.content.get("subject")
    found = _of_type([subject.get("identifier")], "MR") if isinstance(subject, dict) else []
    referred = document.referred(resource, subject, "Patient")
    contained = [one for one in objects(resource.content.get("contained")) if one.get("resourceType") == "Patient"]
    for patient in [referred] if referred is not None else contained:
        found += _of_type(patient.get("identifier"), "MR")
    return found[0] if found else None


def _of_type(identifiers: Any, code: str) -> list[str]:
    """Values of the identifiers whose type has this code, without those that are no longer in use."""
    found = []
    for one in objects(identifiers):
        kind = one.get("type")
        codings = objects(kind.get("coding")) if isinstance(kind, dict) else []
        value = one.get("value")
        if isinstance(value, str) and one.get("use") != "old" and any(coding.get("code") == code for coding in codings):
            found.append(_scalars(value).strip())
    return [value for value in found if value]


def _scalars(text: str) -> str:
    """Text without the halves of surrogate pairs, which JSON can spell and no encoding can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _instant(value: Any) -> datetime | None:
    """A dateTime with a time and an offset, in UTC; None for anything less."""
    if not isinstance(value, str) or "T" not in value:
        return None
    try:
        found = datetime.fromisoformat(value)
        return found.astimezone(UTC) if found.tzinfo and found.year in _YEARS else None
    except (ValueError, OverflowError):
        return None
