"""Findings that a report states as codes: one spelling for a code system's many names, and denials kept apart."""

from __future__ import annotations

import re
from dataclasses import dataclass

SNOMED_CT, ICD_10, RADLEX, BI_RADS = "SNOMED CT", "ICD-10", "RadLex", "BI-RADS"
SYSTEMS = {
    "sct": SNOMED_CT,
    "snomed-ct": SNOMED_CT,
    "snomed ct": SNOMED_CT,
    "http://snomed.info/sct": SNOMED_CT,
    "2.16.840.1.113883.6.96": SNOMED_CT,
    "i10": ICD_10,
    "i10c": ICD_10,
    "icd10": ICD_10,
    "icd-10": ICD_10,
    "icd-10-cm": ICD_10,
    "http://hl7.org/fhir/sid/icd-10": ICD_10,
    "http://hl7.org/fhir/sid/icd-10-cm": ICD_10,
    "2.16.840.1.113883.6.3": ICD_10,
    "2.16.840.1.113883.6.90": ICD_10,
    "radlex": RADLEX,
    "http://radlex.org": RADLEX,
    "http://www.radlex.org": RADLEX,
    "2.16.840.1.113883.6.256": RADLEX,
    "birads": BI_RADS,
    "bi-rads": BI_RADS,
}
"""Names of HL7 table 0396, FHIR system addresses and OIDs, in lower case. ICD-10-CM refines ICD-10: one system here."""

_PRESENT = {(SNOMED_CT, "52101004"), ("hl70136", "Y"), ("hl70532", "Y"), ("ln", "LA9633-4")}
_ABSENT = {(SNOMED_CT, "2667000"), ("hl70136", "N"), ("hl70532", "N"), ("ln", "LA9634-2")}
_ALIASES = {
    "http://loinc.org": "ln",
    "http://terminology.hl7.org/codesystem/v2-0136": "hl70136",
    "http://terminology.hl7.org/codesystem/v2-0532": "hl70532",
}
_NO_FINDING = frozenset({"N", "NEG", "ND", "NR"})
REQUEST_WORDS = re.compile(r"reason|indication|history|clinical|request|prior|previous|comparison", re.IGNORECASE)
"""What names an indication, a history or a comparison: no evidence about today's scan."""

_REQUEST_CODES = frozenset(
    {("ln", code) for code in ("18785-6", "11329-0", "11348-0", "10164-2", "29299-5", "55752-0")}
)


@dataclass(frozen=True, slots=True)
class CodedFinding:
    """A finding by its code. `absent`: it is stated only to deny it."""

    system: str
    code: str
    absent: bool = False


def coded_finding(system: str, code: str, absent: bool = False) -> CodedFinding | None:
    """A finding of a system that rules know, in one spelling; None for any other.

    >>> coded_finding("I10C", "i60.9")
    CodedFinding(system='ICD-10', code='I609', absent=False)
    """
    known = _known(system)
    if known not in SYSTEMS.values() or not code.strip():
        return None
    return CodedFinding(known, plain_code(known, code), absent)


def plain_code(system: str, code: str) -> str:
    """A code in capitals; one of ICD-10 without its point, which many senders leave out."""
    capitals = code.strip().upper()
    return capitals.replace(".", "") if system == ICD_10 else capitals


def finding_of_observation(
    asked: list[tuple[str, str]], asked_in_words: str, answered: list[tuple[str, str]], interpretations: list[str]
) -> list[CodedFinding]:
    """What an observation states: its value's findings; or what was asked, where the value says present or absent.

    Args:
        asked: (system, code) of what was observed: OBX-3, Observation.code.
        asked_in_words: its name. An indication, a history or a comparison is no evidence about today's scan.
        answered: of its value: OBX-5, Observation.valueCodeableConcept.
        interpretations: OBX-8, table 0078. A value that counts as normal or negative is no finding.
    """
    if REQUEST_WORDS.search(asked_in_words) or _REQUEST_CODES & {
        (_known(system), code.strip()) for system, code in asked
    }:
        return []
    values = {(_known(system), code.strip().upper()) for system, code in answered}
    if values & (_PRESENT | _ABSENT):
        if values & _PRESENT and values & _ABSENT:
            return []
        found = [coded_finding(system, code, bool(values & _ABSENT)) for system, code in asked]
    elif any(one.strip().upper() in _NO_FINDING for one in interpretations):
        return []
    else:
        found = [coded_finding(system, code) for system, code in answered]
    return [one for one in found if one is not None]


def _known(system: str) -> str:
    name = system.strip().lower().removeprefix("urn:oid:")
    return SYSTEMS.get(name, _ALIASES.get(name, name))
