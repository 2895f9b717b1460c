"""The journal of messages to the ledger, batch by batch and safe to kill; see `reception` for what each one becomes."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from shadow.domain.identifiers import Pseudonymiser
from shadow.protocol.site import Site
from shadow.protocol.trial import TrialProtocol
from shadow.reference_standard.label_rule import LabelRule
from shadow.reference_standard.reception import QUARANTINED, Reception, reception_of
from shadow.store.blobs import Blobs
from shadow.store.events import Audited, Event, Kind, ReportVersion
from shadow.store.journal import Cursor, JournalReader, Record
from shadow.store.ledger import Ledger

CURSOR = "reports.cursor"
_BATCH = 64
_LOGGER = logging.getLogger("shadow.reports")


@dataclass(frozen=True, slots=True)
class DrainedReports:
    """What one drain did.

    Attributes:
        messages: journal records read.
        versions, labels: report versions and labels appended.
        quarantined: messages (or OBR groups) appended as quarantined, each with its reason.
        duplicates: report versions and quarantined messages that the ledger knew already.
    """

    messages: int
    versions: int
    labels: int
    quarantined: int
    duplicates: int


def receive_reports(
    records: Iterable[Record],
    *,
    sites: Sequence[Site],
    pseudonymiser: Pseudonymiser,
    blobs: Blobs,
    rule: LabelRule,
    target_condition: str,
) -> list[Event]:
    """The events of journal records, in their order; a key occurs once, as its first record says.

    Each record yields at least one event, unless all of its keys occurred before.
    """
    reception = Reception(sites, pseudonymiser, blobs, rule, target_condition)
    return list(_first_of_each(event for record in records for event in reception.events_of(record)).values())


def drain_reports(
    *,
    journal: Path,
    ledger: Ledger,
    blobs: Blobs,
    sites: Sequence[Site],
    pseudonymiser: Pseudonymiser,
    protocol: TrialProtocol,
    limit: int,
    journal_key: bytes | None = None,
) -> DrainedReports:
    """Bring the ledger up to the journal, from the cursor on and by at most `limit` messages.

    Texts are durable before the events that name them, and events before the cursor moves. Killed anywhere,
    the next drain reads the last batch again and finds its events there: the first record of a content gives
    the report version its `received_at`, whatever is sent or read again later.

    Raises:
        ConfigurationError: the protocol's label rule is unknown or reads another condition.
        StoreError, OSError: the ledger or a disk refused; nothing is lost, drain again.
    """
    reception = reception_of(protocol, sites, pseudonymiser, blobs)
    reader, cursor = JournalReader(journal, journal_key), Cursor(journal / CURSOR)
    position = cursor.read()
    drained = DrainedReports(0, 0, 0, 0, 0)
    while drained.messages < limit:
        records = reader.read(position, min(_BATCH, limit - drained.messages))
        if not records:
            break
        drained = _append_batch(ledger, reception, records, drained)
        position = records[-1].position
        cursor.move(position)
    if drained.messages:
        _LOGGER.info(
            "drained messages=%d versions=%d labels=%d quarantined=%d duplicates=%d",
            drained.messages,
            drained.versions,
            drained.labels,
            drained.quarantined,
            drained.duplicates,
        )
    return drained


def _append_batch(
    ledger: Ledger, reception: Reception, records: Sequence[Record], so_far: DrainedReports
) -> DrainedReports:
    offered = [event for record in records for event in reception.events_of(record)]
    fresh = ledger.append_new(offered)
    return DrainedReports(
        messages=so_far.messages + len(records),
        versions=so_far.versions + _count(fresh, Kind.REPORT_VERSION),
        labels=so_far.labels + _count(fresh, Kind.LABEL),
        quarantined=so_far.quarantined + sum(_is_quarantine(event) for event in fresh),
        duplicates=so_far.duplicates + _states(offered) - _states(fresh),
    )


def _first_of_each(events: Iterable[Event]) -> dict[tuple[Kind, str], Event]:
    first: dict[tuple[Kind, str], Event] = {}
    for event in events:
        first.setdefault((event.KIND, event.key), event)
    return first


def _count(events: Iterable[Event], kind: Kind) -> int:
    return sum(kind is event.KIND for event in events)


def _is_quarantine(event: Event) -> bool:
    return isinstance(event, Audited) and event.action == QUARANTINED


def _states(events: Collection[Event]) -> int:
    """Report versions and quarantined messages: the states in which a message can end."""
    return sum(isinstance(event, ReportVersion) or _is_quarantine(event) for event in events)
