"""Messages in quarantine, read again once what was wrong is mended: the journal has them as they came."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from shadow.domain.errors import MalformedMessage
from shadow.domain.hl7 import split_messages
from shadow.reference_standard.reception import QUARANTINED, Reception
from shadow.reference_standard.report_files import events_of_record, read_inbound_file
from shadow.store.events import Audited, Kind
from shadow.store.journal import START, JournalReader, Record
from shadow.store.ledger import Ledger

REPLAYED = "message_replayed"
_RECORDS = 256


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A message that could not be used, by the digest of its bytes: why, and since when on record. Never its text."""

    sha256: str
    reason: str
    recorded_at: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one message that was read again.

    Attributes:
        events: appended; 0 where it is in quarantine still.
        reason: why it is still there; empty where it is not.
    """

    sha256: str
    events: int
    reason: str


def quarantined(ledger: Ledger) -> list[Quarantined]:
    """The messages in quarantine, in the order in which they came; those that were replayed are not in it."""
    waiting: dict[str, Quarantined] = {}
    for row in ledger.of_kind(Kind.AUDIT):
        body = json.loads(row.body or "{}")
        if body.get("action") == QUARANTINED:
            waiting.setdefault(body["object"], Quarantined(body["object"], body["detail"], row.recorded_at))
        elif body.get("action") == REPLAYED:
            waiting.pop(body["object"], None)
    return list(waiting.values())


def replay_files(
    reader: JournalReader, ledger: Ledger, reception: Reception, wanted: Collection[str], actor: str
) -> Iterator[Replayed]:
    """The same for a journal of files: a file is read again where it, or a resource or row of it, is wanted.

    Those that are not in this journal are not spoken of.
    """
    left = set(wanted)
    for record in _all(reader):
        events = events_of_record(record, reception) if record.received_at is not None and left else []
        digests = _digests(record, reception) & left
        if not digests:
            continue
        left -= digests
        still = {one.object: one.detail for one in events if isinstance(one, Audited) and one.action == QUARANTINED}
        mended = sorted(digests - still.keys())
        events += [Audited(f"replayed:{one[:32]}", actor, REPLAYED, one, "mended") for one in mended]
        fresh = len(ledger.append_new(events)) if mended else 0
        yield from (
            Replayed(one, 0, still[one]) if one in still else Replayed(one, fresh, "") for one in sorted(digests)
        )


def _digests(record: Record, reception: Reception) -> set[str]:
    """Of the file and of each part of it that stands for itself in the ledger."""
    try:
        file = read_inbound_file(record.payload)
    except MalformedMessage:
        return {_sha256(record.payload)}
    site = next((one for one in reception.sites if one.identifier == file.site), None)
    parts = reception.parts_of_file(file.content, file.suffix, site) if site else []
    return {_sha256(record.payload), _sha256(file.content), *map(_sha256, parts)}


def _sha256(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def replay(
    reader: JournalReader, ledger: Ledger, reception: Reception, wanted: Collection[str], actor: str
) -> Iterator[Replayed]:
    """Read these messages of the journal again, with the instant of their first arrival.

    A message that can be used now becomes what it would have been, and an audit entry says that it was replayed. One
    that cannot changes nothing. Safe to repeat, and safe to kill.

    Raises:
        StoreError, OSError: the ledger or a disk refused; replay again.
    """
    left = set(wanted)
    for record in _all(reader):
        if record.received_at is None:
            continue
        for octets in split_messages(record.payload):
            digest = _sha256(octets)
            if digest not in left:
                continue
            left.discard(digest)
            events = reception.events_of(Record(record.position, record.received_at, octets))
            reason = next((one.detail for one in events if isinstance(one, Audited) and one.action == QUARANTINED), "")
            if reason:
                yield Replayed(digest, 0, reason)
                continue
            events.append(Audited(f"replayed:{digest[:32]}", actor, REPLAYED, digest, "mended"))
            yield Replayed(digest, len(ledger.append_new(events)), "")


def _all(reader: JournalReader) -> Iterator[Record]:
    position = START
    while records := reader.read(position, _RECORDS):
        yield from records
        position = records[-1].position
