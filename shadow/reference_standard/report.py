"""ORU^R01 to reports: one for each OBR group, with its accession number, status, times and text.

Nothing here knows a key, a store or a rule: identifiers leave this module only inside `ParsedReport`, which
lives no longer than the message is being worked on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from shadow.domain.errors import MalformedMessage
from shadow.domain.hl7 import Message, Segment
from shadow.domain.shift import local_instant
from shadow.reference_standard.coded_finding import CodedFinding, finding_of_observation
from shadow.reference_standard.patient_merge import patient_identifier
from shadow.reference_standard.result_status import (
    ObservationResultStatus,
    ResultStatus,
    observation_result_status,
    result_status,
)

TEXT_VALUE_TYPES = frozenset({"TX", "FT", "ST"})
"""OBX-2 of the lines that are report text; numbers and documents (NM, ED ...) are not read."""

CODED_VALUE_TYPES = frozenset({"CWE", "CE", "CNE", "CD"})
"""OBX-2 of coded findings."""

_PRODUCTION = ("", "P")
_TIMESTAMP = re.compile(
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)(?P<hour>\d\d)(?P<minute>\d\d)"
    r"(?:(?P<second>\d\d)(?:\.(?P<fraction>\d{1,6})\d*)?)?"
    r"(?:(?P<sign>[+-])(?P<offset_hours>\d\d):?(?P<offset_minutes>\d\d))?"
)
_YEARS = range(1900, 2101)
_ADDENDUM_HEADING = re.compile(r"(?im)^[ \t>*#=_-]*addend(?:um|a)\b[^\n:]{0,60}(?::|$)")


@dataclass(frozen=True, slots=True)
class ParsedReport:
    """One report of one message, for one accession, with its identifiers still in clear.

    Attributes:
        group: number of its OBR within the message, from 1.
        observed_at: OBR-7; None where it is missing, no instant, or no date.
        reported_at: OBR-22, else MSH-7.
        text: the report's lines (OBX-5 of TX, FT and ST), joined by newlines.
        addendum_start: character offset of the first ADDENDUM heading in `text`; None without one.
        patient_class: PV1-2 where it is a short code (table 0004), else None.
        codes: findings stated as codes, in lines that are final and not withdrawn; a report may hold these alone.
    """

    group: int
    accession_number: str
    patient_id: str | None
    result_status: ResultStatus
    observed_at: datetime | None
    reported_at: datetime | None
    text: str
    addendum_start: int | None
    patient_class: str | None
    codes: tuple[CodedFinding, ...] = ()


@dataclass(frozen=True, slots=True)
class UnusableReport:
    """An OBR group that cannot become a report version, and why: a stable code that is counted."""

    group: int
    reason: str


@dataclass(frozen=True, slots=True)
class _Group:
    """One OBR with the OBX that follow it."""

    number: int
    order: Segment
    observations: list[Segment] = field(default_factory=list)


def parse_reports(message: Message, zone: ZoneInfo) -> tuple[ParsedReport | UnusableReport, ...]:
    """The reports of one message, one for each OBR group, in the message's order.

    One text for several orders: where one group of a message carries text, groups without lines share it.
    The accession number is OBR-18 (Placer Field 1, where imaging orders put it), else OBR-3 (Filler Order
    Number).

    Args:
        message: a parsed message.
        zone: the site's time zone, for times that carry no offset.

    Raises:
        MalformedMessage: `not_oru`; `not_production` (MSH-11 says training or debugging); `no_order` where no
            OBR stands in it.
    """
    header = message.segments[0]
    if message.value(header, 9).upper() != "ORU" or message.value(header, 9, 2).upper() not in ("", "R01"):
        raise MalformedMessage("not_oru", "MSH-9 is not ORU^R01")
    if message.value(header, 11).upper() not in _PRODUCTION:
        raise MalformedMessage("not_production", "MSH-11 says training or debugging")
    groups = _groups(message)
    if not groups:
        raise MalformedMessage("no_order", "no OBR segment")
    with_text = [group for group in groups if _text_lines(message, group)]
    shared = with_text[0] if len(with_text) == 1 else None
    return tuple(
        _report(message, group, group if _has_lines(message, group) else shared or group, zone) for group in groups
    )


def addendum_start(text: str) -> int | None:
    """Where the first ADDENDUM heading begins; None without one."""
    found = _ADDENDUM_HEADING.search(text)
    return found.start() if found else None


def timestamp(text: str, zone: ZoneInfo) -> datetime | None:
    """An HL7 time stamp as an instant in UTC.

    None where it is empty, names no minute (a date alone is no instant), or no date of this calendar.

    >>> timestamp("20260824103000-0400", ZoneInfo("UTC"))
    datetime.datetime(2026, 8, 24, 14, 30, tzinfo=datetime.timezone.utc)
    """
    found = _TIMESTAMP.fullmatch(text.strip())
    if found is None or int(found["year"]) not in _YEARS:
        return None
    try:
        day = date(int(found["year"]), int(found["month"]), int(found["day"]))
        clock = time(
            int(found["hour"]),
            int(found["minute"]),
            int(found["second"] or "0"),
            int((found["fraction"] or "0").ljust(6, "0")),
        )
    except ValueError:
        return None
    if found["sign"] is None:
        return local_instant(day, clock, zone).astimezone(UTC)
    offset = timedelta(hours=int(found["offset_hours"]), minutes=int(found["offset_minutes"]))
    if offset > timedelta(hours=14):
        return None
    return local_instant(day, clock, zone, -offset if found["sign"] == "-" else offset)


def _groups(message: Message) -> list[_Group]:
    groups: list[_Group] = []
    for segment in message.segments:
        if segment.name == "OBR":
            groups.append(_Group(len(groups) + 1, segment))
        elif segment.name == "OBX" and groups:
            groups[-1].observations.append(segment)
    return groups


def _report(message: Message, group: _Group, source: _Group, zone: ZoneInfo) -> ParsedReport | UnusableReport:
    """One group's report, with its text from `source`."""
    order = group.order
    accession_number = message.value(order, 18) or message.value(order, 3)
    if not accession_number:
        return UnusableReport(group.number, "no_accession_number")
    text = "\n".join(_text_lines(message, source))
    status = result_status(message.value(order, 25), _line_statuses(message, source))
    codes = _codes(message, [*group.observations, *([] if source is group else source.observations)], status)
    if not text.strip() and not codes and status is not ResultStatus.CANCELLED:
        return UnusableReport(group.number, "no_text")
    return ParsedReport(
        group=group.number,
        accession_number=accession_number,
        patient_id=_patient_id(message),
        result_status=status,
        observed_at=timestamp(message.value(order, 7), zone),
        reported_at=timestamp(message.value(order, 22), zone) or timestamp(message.value(message.segments[0], 7), zone),
        text=text,
        addendum_start=addendum_start(text),
        patient_class=_patient_class(message),
        codes=codes,
    )


def _is_text(message: Message, observation: Segment) -> bool:
    return message.value(observation, 2).upper() in TEXT_VALUE_TYPES


def _has_lines(message: Message, group: _Group) -> bool:
    return any(_is_text(message, one) for one in group.observations)


def _line_status(message: Message, observation: Segment) -> ObservationResultStatus:
    return observation_result_status(message.value(observation, 11))


def _line_statuses(message: Message, group: _Group) -> tuple[ObservationResultStatus, ...]:
    """Of the text lines; of the coded ones where there is no text."""
    text = [one for one in group.observations if _is_text(message, one)]
    coded = [one for one in group.observations if message.value(one, 2).upper() in CODED_VALUE_TYPES]
    return tuple(_line_status(message, one) for one in text or coded)


def _text_lines(message: Message, group: _Group) -> list[str]:
    """The lines of the group's text that were not withdrawn."""
    lines: list[str] = []
    for observation in group.observations:
        if _is_text(message, observation) and not _line_status(message, observation).withdrawn:
            lines.extend(message.lines(observation, 5))
    return lines


def _codes(message: Message, observations: Sequence[Segment], status: ResultStatus) -> tuple[CodedFinding, ...]:
    """What coded observations state: those that are final themselves, or of a final report where they do not say."""
    found: list[CodedFinding] = []
    for one in observations:
        line = _line_status(message, one)
        settled = line.final or (line is ObservationResultStatus.UNSTATED and status.final)
        if message.value(one, 2).upper() in CODED_VALUE_TYPES and settled:
            values = [_coding(message, repetition) for repetition in message.repetitions(one, 5)]
            interpretations = [message.component(repetition) for repetition in message.repetitions(one, 8)]
            asked = _coding(message, message.repetitions(one, 3)[0])
            words = " ".join(message.value(one, 3, number) for number in (1, 2, 4, 5))
            found += finding_of_observation(asked, words, [pair for value in values for pair in value], interpretations)
    return tuple(dict.fromkeys(found))


def _coding(message: Message, value: str) -> list[tuple[str, str]]:
    """(system, code) of a CWE: the first coding and the alternate one."""
    pairs = [(message.component(value, system), message.component(value, code)) for code, system in ((1, 3), (4, 6))]
    return [(system, code) for system, code in pairs if code]


def _patient_id(message: Message) -> str | None:
    segment = message.first("PID")
    return (patient_identifier(message, segment, 3) or None) if segment else None


def _patient_class(message: Message) -> str | None:
    """A code only: what does not look like one may be anything, and stays out of the ledger."""
    visit = message.first("PV1")
    code = message.value(visit, 2).upper() if visit else ""
    return code if re.fullmatch(r"[A-Z]{1,4}", code) else None
