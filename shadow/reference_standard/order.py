"""ORM^O01, OMG^O19 and OMI^O23 to imaging orders: what was asked for, so that what never came can be counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from shadow.domain.errors import MalformedMessage
from shadow.domain.hl7 import Message, Segment
from shadow.reference_standard.patient_merge import patient_identifier
from shadow.reference_standard.report import UnusableReport, timestamp

ORDER_TYPES = frozenset({"ORM", "OMG", "OMI"})
_CANCELLING = frozenset({"CA", "OC", "CR", "DC", "OD", "UC"})  # table 0119
_CANCELLED = frozenset({"CA", "DC", "RP"})  # table 0038
_KNOWN = frozenset({"NW", "SN", "OK", "XO", "XX", "SC", "RE", "NA", "PA", "CH", "RO", "RP", "RU", "XR"})


class OrderState(StrEnum):
    """Whether the examination is still to be expected."""

    ACTIVE = "active"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ParsedOrder:
    """One order, with its identifiers in clear.

    Attributes:
        number: of its ORC or OBR within the message, from 1.
        procedure: OBR-4, identifier and text; never kept, only compared with the protocol's words.
        planned_at: TQ1-7, else OBR-36, else ORC-7.4, else ORC-9.
    """

    number: int
    accession_number: str
    patient_id: str | None
    state: OrderState
    procedure: str
    planned_at: datetime | None


def parse_orders(message: Message, zone: ZoneInfo) -> tuple[ParsedOrder | UnusableReport, ...]:
    """Every order of the message; IPC-1 (the accession of OMI) goes before OBR-18, OBR-3 and ORC-3.

    Raises:
        MalformedMessage: `not_production`; `no_order` where neither ORC nor OBR stands in it.
    """
    if message.value(message.segments[0], 11).upper() not in ("", "P"):
        raise MalformedMessage("not_production", "MSH-11 says training or debugging")
    patient = message.first("PID")
    patient_id = patient_identifier(message, patient, 3) if patient else ""
    groups: list[dict[str, Segment]] = []
    for segment in message.segments:
        if segment.name == "ORC" or (segment.name == "OBR" and (not groups or "OBR" in groups[-1])):
            groups.append({})
        if segment.name in ("ORC", "OBR", "TQ1", "IPC") and groups:
            groups[-1].setdefault(segment.name, segment)
    if not groups:
        raise MalformedMessage("no_order", "no ORC or OBR segment")
    return tuple(_order(message, one, number, patient_id or None, zone) for number, one in enumerate(groups, 1))


def _order(
    message: Message, group: dict[str, Segment], number: int, patient_id: str | None, zone: ZoneInfo
) -> ParsedOrder | UnusableReport:
    def value(name: str, field: int, component: int = 1) -> str:
        segment = group.get(name)
        return message.value(segment, field, component) if segment else ""

    accession_number = value("IPC", 1) or value("OBR", 18) or value("OBR", 3) or value("ORC", 3)
    if not accession_number:
        return UnusableReport(number, "no_accession_number")
    times = (value("TQ1", 7), value("OBR", 36), value("ORC", 7, 4), value("ORC", 9))
    return ParsedOrder(
        number=number,
        accession_number=accession_number,
        patient_id=patient_id,
        state=_state(value("ORC", 1).upper(), value("ORC", 5).upper()),
        procedure=f"{value('OBR', 4)} {value('OBR', 4, 2)} {value('OBR', 4, 5)}",
        planned_at=next((at for one in times if (at := timestamp(one, zone)) is not None), None),
    )


def _state(control: str, status: str) -> OrderState:
    """ORC-1 (table 0119), refined by ORC-5 (table 0038): an order that either cancels is not expected any more."""
    if control in _CANCELLING or status in _CANCELLED:
        return OrderState.CANCELLED
    return OrderState.ACTIVE if control in _KNOWN or not control else OrderState.UNKNOWN
