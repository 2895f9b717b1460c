"""The text of a FHIR DiagnosticReport: what it presents, else conclusion and Observations, else the narrative."""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shadow.reference_standard.fhir_documents import Document, Json, Resource, objects
from shadow.reference_standard.result_status import ObservationResultStatus

LONGEST_MARKUP = 4 << 20
MAXIMUM_OBSERVATION_DEPTH = 5
OBSERVATION_STATUSES = {
    "registered": ObservationResultStatus.ORDER_ONLY,
    "specimen-in-process": ObservationResultStatus.SPECIMEN_PENDING,
    "preliminary": ObservationResultStatus.PRELIMINARY,
    "final": ObservationResultStatus.FINAL,
    "amended": ObservationResultStatus.AMENDED,
    "corrected": ObservationResultStatus.CORRECTED,
    "appended": ObservationResultStatus.APPENDED,
    "cancelled": ObservationResultStatus.NOT_OBTAINABLE,
    "entered-in-error": ObservationResultStatus.WRONG,
    "cannot-be-obtained": ObservationResultStatus.NOT_OBTAINABLE,
}
"""Value set ObservationStatus of R5 and R4, by HL7 table 0085."""
_CHARACTER_SETS = frozenset({"utf-8", "us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252", "utf-16"})
_TAG = re.compile(r"<!--|</?[A-Za-z][A-Za-z0-9]{0,15}|<[!?]")
_HIDDEN = frozenset({"script", "style"})
_BREAKS = frozenset({"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6"})
_FORMS = ("text/plain", "text/html", "application/xhtml+xml")


@dataclass(frozen=True, slots=True)
class ReportText:
    """A report's text.

    Attributes:
        text: empty where there is none that can be read.
        lines: the statuses of the Observations it is made of; empty where it is made of none.
        alone: whether it is made of Observations alone.
    """

    text: str
    lines: tuple[ObservationResultStatus, ...] = ()
    alone: bool = False


def report_text(document: Document, resource: Resource) -> ReportText:
    """The presented form (plain, else HTML), else the Observations' strings with the conclusion, else the narrative.

    A form that is only linked is not fetched.
    """
    presented = _presented(resource.content)
    if presented:
        return ReportText(presented)
    conclusion = _string(resource.content.get("conclusion"))
    found = list(_observations(document, resource))
    standing = [line for line, status in found if not status.withdrawn]
    if standing and conclusion:
        standing.append(f"IMPRESSION: {conclusion}")
    if standing or conclusion or found:
        text = "\n".join(standing) if standing else conclusion
        return ReportText(text, tuple(status for _, status in found), not conclusion)
    narrative = resource.content.get("text")
    div = narrative.get("div") if isinstance(narrative, dict) else None
    return ReportText(_plain(div) if isinstance(div, str) else "")


def _presented(content: Json) -> str:
    forms = objects(content.get("presentedForm"))
    for wanted in _FORMS:
        for form in forms:
            kind, _, parameters = str(form.get("contentType", "")).partition(";")
            data = form.get("data")
            if kind.strip().lower() != wanted or not isinstance(data, str):
                continue
            text = _decoded(data, parameters)
            text = text if wanted == "text/plain" else _plain(text)
            if text.strip():
                return text
    return ""


def _decoded(data: str, parameters: str) -> str:
    named = dict(one.strip().lower().partition("=")[::2] for one in parameters.split(";"))
    character_set = named.get("charset", "").strip("\"' ")
    try:
        octets = base64.b64decode(data, validate=False)
    except (binascii.Error, ValueError):
        return ""
    return octets.decode(character_set if character_set in _CHARACTER_SETS else "utf-8", errors="replace")


def _observations(document: Document, resource: Resource) -> Iterator[tuple[str, ObservationResultStatus]]:
    """Strings of the results and their members, each once, after their name; numbers and codes are not text."""
    seen: set[int] = set()
    waiting = [(one, 0) for one in reversed(objects(resource.content.get("result")))]
    while waiting:
        reference, depth = waiting.pop()
        found = document.referred(resource, reference, "Observation")
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        said = _string(found.get("valueString"))
        if said:
            name = _name(found.get("code"))
            status = OBSERVATION_STATUSES.get(str(found.get("status", "")), ObservationResultStatus.UNSTATED)
            yield (f"{name}: {said}" if name else said), status
        if depth < MAXIMUM_OBSERVATION_DEPTH:
            waiting.extend((one, depth + 1) for one in reversed(objects(found.get("hasMember"))))


def _name(concept: Any) -> str:
    if not isinstance(concept, dict):
        return ""
    codings = objects(concept.get("coding"))
    names = [_string(concept.get("text")), *(_string(one.get("display")) for one in codings)]
    return " ".join(next((one for one in names if one), "").split()).rstrip(":")


def _string(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _plain(markup: str) -> str:
    """The words of HTML; empty where it is longer than any report.

    One pass from left to right, in a time that grows with the length alone: html.parser needs minutes for 150 kB of
    tags that never end. What is in a comment, a script, a style or a tag is left out.
    """
    if len(markup) > LONGEST_MARKUP:
        return ""
    try:
        words = html.unescape("".join(_words(markup)))
    except ValueError:  # a character number of thousands of digits
        return ""
    lines = (" ".join(line.split()) for line in words.split("\n"))
    return "\n".join(line for line in lines if line)


def _words(markup: str) -> Iterator[str]:
    position = 0
    while (start := markup.find("<", position)) >= 0:
        yield markup[position:start]
        named = _TAG.match(markup, start)
        if named is None:
            yield "<"
            position = start + 1
            continue
        comment, tag = named[0] == "<!--", named[0][1:].lower()
        end = markup.find("-->" if comment else ">", start)
        if end >= 0 and tag in _HIDDEN:
            closing = re.compile(f"</{tag}", re.IGNORECASE).search(markup, end)
            end = markup.find(">", closing.start()) if closing else -1
        if end < 0:
            return
        position = end + (3 if comment else 1)
        if tag.lstrip("/") in _BREAKS:
            yield "\n"
    yield markup[position:]
