"""Reports that come as files or by FHIR: into an encrypted journal first, then to the ledger like messages.

A dropped file is on disk in the journal before it is removed, so its text lies in clear no longer than it must, and a
crash in between reads it twice and finds it there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from shadow.domain.errors import MalformedMessage
from shadow.protocol.site import Site
from shadow.reference_standard.reception import Reception
from shadow.reference_standard.report_journal import CURSOR
from shadow.store.drop_folder import DropFolder
from shadow.store.durable import sync_folder
from shadow.store.events import Event
from shadow.store.journal import Cursor, JournalReader, JournalWriter, Record
from shadow.store.ledger import Ledger

FILE_SUFFIXES = (".json", ".ndjson", ".csv", ".parquet", ".dcm")
JOURNAL = "journal"
_BATCH = 16


@dataclass(frozen=True, slots=True)
class InboundFile:
    """One file, or one body that a FHIR server sent, as a record of the journal."""

    site: str
    suffix: str
    content: bytes

    def to_payload(self) -> bytes:
        """A line of JSON, then the content as it came."""
        return json.dumps({"site": self.site, "suffix": self.suffix}).encode() + b"\n" + self.content


def read_inbound_file(payload: bytes) -> InboundFile:
    """The file that `to_payload` wrote.

    Raises:
        MalformedMessage: `not_a_file`.
    """
    head, _, content = payload.partition(b"\n")
    try:
        said = json.loads(head)
        return InboundFile(str(said["site"]), str(said["suffix"]), content)
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedMessage("not_a_file", "no head") from error


def take_files(folder: Path, key: bytes | None, sites: Sequence[Site], now: Callable[[], datetime]) -> int:
    """Move every whole file of `incoming/<site>/` into the journal beside it; returns how many.

    Raises:
        StoreError: another process does it.
        OSError: the disk refused; the file stays where it is.
    """
    settled = [(site, path) for site in sites for path in _drop(folder, site).settled(FILE_SUFFIXES)]
    if not settled:
        return 0
    with JournalWriter(folder / JOURNAL, key) as journal:
        for site, path in settled:
            arrived = InboundFile(site.identifier, path.suffix.lower(), path.read_bytes())
            journal.append(arrived.to_payload(), now())
            path.unlink()
            sync_folder(path.parent)
    return len(settled)


def _drop(folder: Path, site: Site) -> DropFolder:
    return DropFolder(folder / "incoming" / site.identifier, folder / "done" / site.identifier)


def drain_files(journal: Path, key: bytes | None, ledger: Ledger, reception: Reception) -> int:
    """Bring the ledger up to a journal of files; returns how many. Safe to repeat, and safe to kill.

    Raises:
        StoreError, OSError: the ledger or a disk refused; nothing is lost, drain again.
    """
    if not journal.is_dir():
        return 0
    reader, cursor = JournalReader(journal, key), Cursor(journal / CURSOR)
    position, files = cursor.read(), 0
    while records := reader.read(position, _BATCH):
        for record in records:
            ledger.append_new(events_of_record(record, reception))
            position = record.position
            cursor.move(position)
        files += len(records)
    return files


def events_of_record(record: Record, reception: Reception) -> list[Event]:
    """What a record of the journal says; never nothing."""
    if record.received_at is None:
        return [reception.quarantine(record.payload, "journal_damaged")]
    try:
        file = read_inbound_file(record.payload)
    except MalformedMessage as malformed:
        return [reception.quarantine(record.payload, malformed.reason)]
    site = next((one for one in reception.sites if one.identifier == file.site), None)
    if site is None:
        return [reception.quarantine(file.content, "unknown_site")]
    return reception.events_of_file(file.content, file.suffix, site, record.received_at)
