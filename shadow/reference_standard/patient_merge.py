"""ADT messages that say that two patient identifiers are one person: A18, A34 and A40 (HL7 v2.5.1 chapter 3)."""

from __future__ import annotations

from dataclasses import dataclass

from shadow.domain.errors import MalformedMessage
from shadow.domain.hl7 import Message, Segment

MERGES = frozenset({"A18", "A34", "A40"})


@dataclass(frozen=True, slots=True)
class PatientMerge:
    """The identifier that goes and the one that stays, in clear."""

    from_patient_id: str
    to_patient_id: str


def parse_merges(message: Message) -> tuple[PatientMerge, ...]:
    """Every merge of the message: each MRG-1 with the PID-3 before it; both by CX.5 `MR` where one is marked.

    Raises:
        MalformedMessage: `no_merge` where no pair of identifiers stands in it.
    """
    merges: list[PatientMerge] = []
    stays = ""
    for segment in message.segments:
        if segment.name == "PID":
            stays = patient_identifier(message, segment, 3)
        elif segment.name == "MRG" and stays:
            goes = patient_identifier(message, segment, 1)
            if goes and goes != stays:
                merges.append(PatientMerge(goes, stays))
    if not merges:
        raise MalformedMessage("no_merge", "no MRG-1 with a PID-3 before it")
    return tuple(merges)


def patient_identifier(message: Message, segment: Segment, number: int) -> str:
    """The medical record number (CX.5 `MR`) where one is marked as such, else the first identifier; else empty."""
    identifiers = message.repetitions(segment, number)
    marked = (message.component(one) for one in identifiers if message.component(one, 5).upper() == "MR")
    return next(marked, "") or message.component(identifiers[0])
