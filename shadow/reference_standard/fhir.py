"""FHIR DiagnosticReport (R4 and R5) to the one report model: a resource, a Bundle, or one resource a line.

Status by the value set DiagnosticReportStatus; the accession number is an Identifier of type ACSN (HL7 table 0203) of
the report, of what it is based on, or of the imaging study. ServiceRequests are orders. A patient is known by an
identifier of type MR; a mere reference names nobody here.
"""

from __future__ import annotations

import base64
import binascii
import html.parser
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from shadow.domain.errors import MalformedMessage
from shadow.reference_standard.coded_finding import CodedFinding, coded_finding, finding_of_observation
from shadow.reference_standard.order import OrderState, ParsedOrder
from shadow.reference_standard.report import ParsedReport, UnusableReport, addendum_start
from shadow.reference_standard.result_status import ResultStatus

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
MAXIMUM_NESTED_BUNDLES = 4
Json = dict[str, Any]


def fhir_resources(content: bytes) -> Iterator[tuple[bytes, list[ParsedReport | ParsedOrder | UnusableReport]]]:
    """Each DiagnosticReport and each ServiceRequest with an accession number, as canonical JSON with what it says.

    A report gives one ParsedReport an accession number. The bytes are the same for the same resource wherever it
    stands, so a report sent twice is one version. What is referenced is looked for among the contained resources and
    in the same document.

    Raises:
        MalformedMessage: `not_json`, `nothing_to_read` (an OperationOutcome, or a Bundle without content), or
            `no_diagnostic_report`.
    """
    found, empty = False, True
    for resource, neighbours in _resources(content):
        kind = resource.get("resourceType")
        empty = empty and kind in ("OperationOutcome", "SubscriptionStatus", "Parameters", "Bundle")
        if kind == "DiagnosticReport":
            found = True
            yield _canonical(resource), list(_reports(resource, neighbours))
        elif kind == "ServiceRequest":
            found = True
            orders = _orders(resource)
            if orders:
                yield _canonical(resource), list(orders)
    if not found:
        if empty:
            raise MalformedMessage("nothing_to_read", "no resource with content")
        raise MalformedMessage("no_diagnostic_report", "no resource of this type")


def _canonical(resource: Json) -> bytes:
    return json.dumps(resource, sort_keys=True, ensure_ascii=False).encode("utf-8", errors="replace")


def _resources(content: bytes) -> Iterator[tuple[Json, dict[str, Json]]]:
    """Every resource with those of its document by `Type/id`, `id` and full URL."""
    if content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise MalformedMessage("not_json", "XML is not read; ask the server for application/fhir+json")
    try:
        text = content.decode("utf-8-sig")
        try:
            documents = [json.loads(text)]
        except json.JSONDecodeError:
            documents = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise MalformedMessage("not_json", type(error).__name__) from error
    for document in documents:
        if not isinstance(document, dict):
            raise MalformedMessage("not_json", "no object")
        entries = list(_entries(document, 0))
        neighbours: dict[str, Json] = {}
        for url, resource in entries:
            name = f"{resource.get('resourceType')}/{resource.get('id')}"
            for key in (url, name):
                neighbours.setdefault(key, resource)
        for _, resource in entries:
            yield resource, neighbours
        if not entries:
            yield document, {}


def _entries(document: Json, depth: int) -> Iterator[tuple[str, Json]]:
    """(full URL, resource) of a document; of a Bundle its entries', and of Bundles within it theirs."""
    if document.get("resourceType") != "Bundle":
        yield "", document
        return
    for entry in _list(document.get("entry")):
        resource = entry.get("resource")
        if isinstance(resource, dict):
            if resource.get("resourceType") == "Bundle" and depth < MAXIMUM_NESTED_BUNDLES:
                yield from _entries(resource, depth + 1)
            else:
                yield str(entry.get("fullUrl", "")), resource


def _orders(resource: Json) -> list[ParsedOrder]:
    """A ServiceRequest as orders, one an accession number; without one it can be joined with nothing."""
    period = resource.get("occurrencePeriod")
    began = period.get("start") if isinstance(period, dict) else None
    planned = _instant(resource.get("occurrenceDateTime") or began) or _instant(resource.get("authoredOn"))
    status = str(resource.get("status", ""))
    state = (
        OrderState.CANCELLED
        if status in ("revoked", "entered-in-error")
        else OrderState.ACTIVE
        if status in ("draft", "active", "on-hold", "completed")
        else OrderState.UNKNOWN
    )
    asked = resource.get("code")
    words = _names(asked) + " " + _names(asked.get("concept") if isinstance(asked, dict) else None)  # R5: a reference
    return [
        ParsedOrder(number, accession_number, _patient_id(resource), state, words, planned)
        for number, accession_number in enumerate(dict.fromkeys(_of_type(resource.get("identifier"), "ACSN")), 1)
    ]


def _reports(resource: Json, neighbours: dict[str, Json]) -> list[ParsedReport | UnusableReport]:
    accession_numbers = _accession_numbers(resource, neighbours)
    status = STATUSES.get(str(resource.get("status", "")), ResultStatus.UNSTATED)
    text = _text(resource)
    if not accession_numbers:
        return [UnusableReport(1, "no_accession_number")]
    codes = _codes(resource, neighbours)
    if not text.strip() and not codes and status is not ResultStatus.CANCELLED:
        return [UnusableReport(1, "no_text")]
    period = resource.get("effectivePeriod")
    began = period.get("start") if isinstance(period, dict) else None
    return [
        ParsedReport(
            group=number,
            accession_number=accession_number,
            patient_id=_patient_id(resource),
            result_status=status,
            observed_at=_instant(resource.get("effectiveDateTime") or began),
            reported_at=_instant(resource.get("issued")),
            text=text,
            addendum_start=addendum_start(text),
            patient_class=None,
            codes=codes,
        )
        for number, accession_number in enumerate(accession_numbers, 1)
    ]


def _codes(resource: Json, neighbours: dict[str, Json]) -> tuple[CodedFinding, ...]:
    """Findings stated as codes: by conclusionCode (codedDiagnosis before R4), and by final Observations.

    Observations are contained, or `result` refers to them in the same document.
    """
    concluded = _codings(resource.get("conclusionCode")) + _codings(resource.get("codedDiagnosis"))
    found = [one for one in (coded_finding(system, code) for system, code in concluded) if one is not None]
    named = (neighbours.get(str(one.get("reference", ""))) for one in _list(resource.get("result")))
    for one in [*_list(resource.get("contained")), *(one for one in named if one is not None)]:
        if one.get("resourceType") == "Observation" and one.get("status") in ("final", "amended", "corrected"):
            interpretations = [code for _, code in _codings(one.get("interpretation"))]
            value = _codings(one.get("valueCodeableConcept"))
            asked = one.get("code")
            found += finding_of_observation(_codings(asked), _names(asked), value, interpretations)
    return tuple(dict.fromkeys(found))


def _codings(concepts: Any) -> list[tuple[str, str]]:
    """(system, code) of every coding of one or several CodeableConcepts."""
    return [
        (str(coding.get("system", "")), str(coding.get("code", "")))
        for concept in _list(concepts)
        for coding in _list(concept.get("coding"))
    ]


def _names(concept: Any) -> str:
    """What a CodeableConcept is called, in words."""
    return " ".join(
        str(word)
        for one in _list(concept)
        for word in (one.get("text", ""), *(coding.get("display", "") for coding in _list(one.get("coding"))))
    )


def _accession_numbers(resource: Json, neighbours: dict[str, Json]) -> list[str]:
    """Without repeats, in order; what the report itself names goes before what its orders and studies name.

    Orders: `basedOn`, by identifier or reference, and contained ServiceRequests. Studies: `imagingStudy` (R4) and
    `study` (R5), which an accession number may identify too.
    """
    own = _of_type(resource.get("identifier"), "ACSN")
    contained = _list(resource.get("contained"))
    within = {f"#{one.get('id')}": one for one in contained}
    found: list[str] = []
    for one in _list(resource.get("basedOn")) + _list(resource.get("imagingStudy")) + _list(resource.get("study")):
        found += _of_type(one.get("identifier"), "ACSN")
        named = str(one.get("reference", ""))
        target = within.get(named) or neighbours.get(named) or neighbours.get(named.split("/_history/")[0])
        if target is not None:
            found += _of_type(target.get("identifier"), "ACSN")
    for one in contained:
        if one.get("resourceType") == "ServiceRequest":
            found += _of_type(one.get("identifier"), "ACSN")
    return list(dict.fromkeys(own or found))


def _patient_id(resource: Json) -> str | None:
    subject = resource.get("subject")
    named = [subject.get("identifier")] if isinstance(subject, dict) else []
    contained = [one for one in _list(resource.get("contained")) if one.get("resourceType") == "Patient"]
    found = _of_type(named, "MR") + [value for one in contained for value in _of_type(one.get("identifier"), "MR")]
    return found[0] if found else None


def _of_type(identifiers: Any, code: str) -> list[str]:
    """Values of the identifiers whose type has this code."""
    found = []
    for one in _list(identifiers):
        kind = one.get("type")
        codings = _list(kind.get("coding")) if isinstance(kind, dict) else []
        value = one.get("value")
        if isinstance(value, str) and value.strip() and any(coding.get("code") == code for coding in codings):
            found.append(value.strip())
    return found


def _text(resource: Json) -> str:
    """The presented form (plain, else HTML), else the conclusion, else the narrative."""
    forms = {str(one.get("contentType", "")).split(";")[0].strip().lower(): one for one in reversed(
        _list(resource.get("presentedForm"))
    )}  # fmt: skip
    for kind in ("text/plain", "text/html", "application/xhtml+xml"):
        data = forms.get(kind, {}).get("data")
        if isinstance(data, str):
            try:
                text = base64.b64decode(data, validate=False).decode("utf-8", errors="replace")
            except (binascii.Error, ValueError):
                continue
            return text if kind == "text/plain" else _plain(text)
    conclusion = resource.get("conclusion")
    if isinstance(conclusion, str) and conclusion.strip():
        return conclusion
    narrative = resource.get("text")
    div = narrative.get("div") if isinstance(narrative, dict) else None
    return _plain(div) if isinstance(div, str) else ""


class _Words(html.parser.HTMLParser):
    BREAKS = frozenset({"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 (the base class calls it)
        self._hidden += tag in ("script", "style")
        if tag in self.BREAKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style")
        if tag in self.BREAKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if self._hidden <= 0:
            self.parts.append(" " + data if data[:1].isspace() else data)


def _plain(markup: str) -> str:
    words = _Words()
    words.feed(markup)
    words.close()
    lines = (" ".join(line.split()) for line in "".join(words.parts).split("\n"))
    return "\n".join(line for line in lines if line)


def _instant(value: Any) -> datetime | None:
    """A dateTime with a time and an offset, in UTC; None for anything less."""
    if not isinstance(value, str) or "T" not in value:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else None


def _list(value: Any) -> list[Json]:
    """The objects of an array; a single object counts as one, anything else as none."""
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, dict)]
