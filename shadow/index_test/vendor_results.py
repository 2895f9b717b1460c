"""Results of vendors' products that run elsewhere: from HL7 messages, CSV tables and DICOM SR to locked events.

They belong to the model's side: they come in by a listener and a folder of their own and never meet a report here.
What cannot be read becomes a counted entry with its reason; identifiers end here as keyed pseudonyms.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from shadow.domain.errors import MalformedMessage
from shadow.domain.hl7 import Message, parse_message, sending_facility, split_messages
from shadow.domain.identifiers import Pseudonymiser, normalise_accession_number
from shadow.index_test.rewriting import PYDICOM_ERRORS
from shadow.protocol.site import Site
from shadow.protocol.trial import ModelUnderTrial
from shadow.protocol.vendor import ResultCoding
from shadow.store.drop_folder import DropFolder
from shadow.store.events import Audited, Event, VendorResult
from shadow.store.journal import Cursor, JournalReader
from shadow.store.ledger import Ledger

QUARANTINED = "vendor_result_quarantined"
CURSOR = "vendor-results.cursor"
ACTOR = "vendor_results"
_BATCH = 64
_ROWS_A_BATCH = 500

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one result says: positive, negative, or None with the reason; the score where there is one."""

    positive: bool | None
    score: float | None
    failure_reason: str | None


@dataclass(frozen=True, slots=True)
class VendorReception:
    """What turns results into events: the products, the sites, the trial's keys."""

    vendors: Sequence[ModelUnderTrial]
    sites: Sequence[Site]
    pseudonymiser: Pseudonymiser

    def of_message(self, octets: bytes, received_at: datetime) -> list[Event]:
        """The results of one HL7 message (ORU^R01): one an OBR group; at least one event."""
        try:
            return self._of_message(octets, received_at)
        except MalformedMessage as malformed:
            return [_quarantined(octets, malformed.reason)]
        except Exception as error:  # noqa: BLE001 (one message must not hold up those behind it)
            return [_quarantined(octets, f"reader_failed:{type(error).__name__}")]

    def _of_message(self, octets: bytes, received_at: datetime) -> list[Event]:
        facility = sending_facility(octets)
        site = next((one for one in self.sites if facility in one.sending_facilities), None)
        if site is None:
            raise MalformedMessage("unknown_sending_facility")
        message = parse_message(octets, site.default_character_set)
        sender = message.value(message.segments[0], 3)
        events: list[Event] = []
        for model in self.vendors:
            coding = model.vendor.hl7 if model.vendor else None
            if coding is None or coding.sender != sender:
                continue
            for number, (accession_number, values) in enumerate(_groups(message), 1):
                answer = answer_of(coding, values)
                digest = hashlib.sha256(f"{number}\n".encode() + octets).hexdigest()
                if not accession_number or isinstance(answer, str):
                    reason = answer if isinstance(answer, str) else "no_accession_number"
                    events.append(_quarantined(octets, reason, number))
                else:
                    key = self._accession_key(site, accession_number)
                    events.append(_result(model, "hl7", site.identifier, None, key, answer, received_at, digest))
        if not events:
            raise MalformedMessage("no_product_of_this_sender" if not self._knows(sender) else "no_result")
        return events

    def _knows(self, sender: str) -> bool:
        return any(one.vendor and one.vendor.hl7 and one.vendor.hl7.sender == sender for one in self.vendors)

    def of_table(self, content: bytes, model: ModelUnderTrial, site: Site, received_at: datetime) -> Iterator[Event]:
        """The results of a CSV table: one a row, in UTF-8 with a header line; each row yields one event.

        The same row of the same product is the same result, in whatever table it comes again.
        """
        coding = model.vendor.csv if model.vendor else None
        assert coding is not None
        try:
            rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
            names = rows.fieldnames or []
            missing = [one for one in (coding.accession, coding.finding, coding.score) if one and one not in names]
            if missing:
                yield _quarantined(content, "column_missing")
                return
            for number, row in enumerate(rows, 2):
                yield self._of_row(model, coding, site, row, number, received_at)
        except (UnicodeDecodeError, csv.Error):
            yield _quarantined(content, "not_csv_in_utf_8")

    def _of_row(
        self,
        model: ModelUnderTrial,
        coding: ResultCoding,
        site: Site,
        row: dict[str, str | None],
        number: int,
        received_at: datetime,
    ) -> Event:
        accession_number = (row.get(coding.accession) or "").strip()
        key = self._accession_key(site, accession_number) if accession_number else ""
        # The digest stands in the ledger: over the accession number itself it could be reversed by trying them all.
        values = {name: row.get(name) or "" for name in (coding.finding, coding.score) if name}
        octets = "\x1f".join((site.identifier, key, *(f"{name}={one}" for name, one in values.items()))).encode()
        answer = answer_of(coding, values)
        if not key or isinstance(answer, str):
            reason = answer if isinstance(answer, str) else "no_accession_number"
            return _quarantined(octets, reason, number)
        digest = hashlib.sha256(octets).hexdigest()
        return _result(model, "csv", site.identifier, None, key, answer, received_at, digest)

    def of_structured_report(self, content: bytes, study_key: str, site: str, received_at: datetime) -> list[Event]:
        """The results of one DICOM SR instance (PS3.3 A.35, template of the vendor); empty where it is of no product.

        Only a COMPLETE document (Completion Flag (0040,A491)) is a result; one that is not is quarantined.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                document = pydicom.dcmread(io.BytesIO(content), force=True)
            sender = str(document.get("ManufacturerModelName", ""))
            events: list[Event] = []
            for model in self.vendors:
                coding = model.vendor.sr if model.vendor else None
                if coding is None or coding.sender != sender:
                    continue
                answer: Answer | str = "not_complete"
                if str(document.get("CompletionFlag", "")) == "COMPLETE":
                    answer = answer_of(coding, dict(_items(document)))
                if isinstance(answer, str):
                    events.append(_quarantined(content, answer))
                else:
                    digest = hashlib.sha256(content).hexdigest()
                    events.append(_result(model, "sr", site, study_key, None, answer, received_at, digest))
            return events
        except PYDICOM_ERRORS as error:
            return [_quarantined(content, f"unreadable_document:{type(error).__name__}")]

    def _accession_key(self, site: Site, accession_number: str) -> str:
        normalised = normalise_accession_number(site.accession_rule, accession_number)
        return self.pseudonymiser.accession_key(site.accession_issuer, normalised)


def answer_of(coding: ResultCoding, values: dict[str, str]) -> Answer | str:
    """What a result's values say, or the reason why they say nothing.

    >>> coding = ResultCoding("ICH", ("POS",), ("NEG",), ("ERR",), score="ICH-P", accession="acc")
    >>> answer_of(coding, {"ICH": "pos", "ICH-P": "0.91"})
    Answer(positive=True, score=0.91, failure_reason=None)
    >>> answer_of(coding, {"ICH": "ERR"})
    Answer(positive=None, score=None, failure_reason='product_failed')
    >>> answer_of(coding, {"ICH": "maybe"}), answer_of(coding, {})
    ('unknown_value', 'no_finding')
    """
    said = values.get(coding.finding, "").strip().casefold()
    if not said:
        return "no_finding"
    if said in (one.casefold() for one in coding.failed):
        return Answer(None, None, "product_failed")
    score = None
    if coding.score and values.get(coding.score, "").strip():
        try:
            score = float(values[coding.score])
        except ValueError:
            return "score_is_no_number"
        if not math.isfinite(score):
            return "score_is_no_number"
    if said in (one.casefold() for one in coding.positive):
        return Answer(True, score, None)
    return Answer(False, score, None) if said in (one.casefold() for one in coding.negative) else "unknown_value"


def drain_messages(journal: Path, ledger: Ledger, reception: VendorReception, journal_key: bytes | None = None) -> int:
    """Bring the ledger up to the journal of the results' listener; returns the messages read."""
    reader, cursor = JournalReader(journal, journal_key), Cursor(journal / CURSOR)
    position, messages = cursor.read(), 0
    while records := reader.read(position, _BATCH):
        events: list[Event] = []
        for record in records:
            if record.received_at is None:
                events.append(_quarantined(record.payload, "journal_damaged"))
                continue
            for octets in split_messages(record.payload):
                events += reception.of_message(octets, record.received_at)
        ledger.append_new(events)
        messages += len(records)
        position = records[-1].position
        cursor.move(position)
    return messages


def drain_tables(folder: Path, ledger: Ledger, reception: VendorReception, now: Callable[[], datetime]) -> int:
    """Read every settled table of `incoming/<model>/<site>/*.csv` and move it to `done/`; returns how many.

    A table is settled two seconds after its last change; names that begin with a dot are left alone. Its results are
    in the ledger before it moves, so a crash between the two reads it again and finds them there.
    """
    tables = 0
    for model in reception.vendors:
        if model.vendor is None or model.vendor.csv is None:
            continue
        for site in reception.sites:
            place = Path(model.identifier) / site.identifier
            drop = DropFolder(folder / "incoming" / place, folder / "done" / place)
            for path in drop.settled((".csv",)):
                content = path.read_bytes()
                for batch in _batches(reception.of_table(content, model, site, now()), _ROWS_A_BATCH):
                    ledger.append_new(batch)
                drop.put_away(path, content)
                tables += 1
    return tables


def _batches(events: Iterable[Event], size: int) -> Iterator[list[Event]]:
    batch: list[Event] = []
    for event in events:
        batch.append(event)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _groups(message: Message) -> Iterator[tuple[str, dict[str, str]]]:
    """Each OBR's accession number (OBR-18, else OBR-3) with its OBX values by OBX-3.1."""
    groups: list[tuple[str, dict[str, str]]] = []
    for segment in message.segments:
        if segment.name == "OBR":
            groups.append((message.value(segment, 18) or message.value(segment, 3), {}))
        elif segment.name == "OBX" and groups:
            groups[-1][1].setdefault(message.value(segment, 3), message.value(segment, 5))
    yield from groups


def _items(item: Dataset) -> Iterator[tuple[str, str]]:
    """Concept name's code value with CODE, TEXT or NUM value, at every depth; the last of a name wins."""
    for one in item.get("ContentSequence", []):
        names = one.get("ConceptNameCodeSequence", [])
        name = str(names[0].get("CodeValue", "")) if names else ""
        kind = str(one.get("ValueType", ""))
        if kind == "CODE" and one.get("ConceptCodeSequence"):
            yield name, str(one.ConceptCodeSequence[0].get("CodeValue", ""))
        elif kind == "TEXT":
            yield name, str(one.get("TextValue", ""))
        elif kind == "NUM" and one.get("MeasuredValueSequence"):
            yield name, str(one.MeasuredValueSequence[0].get("NumericValue", ""))
        yield from _items(one)


def _result(
    model: ModelUnderTrial,
    channel: str,
    site: str,
    study_key: str | None,
    accession_key: str | None,
    answer: Answer,
    received_at: datetime,
    digest: str,
) -> VendorResult:
    return VendorResult(
        model=model.identifier,
        model_sha256=model.digest,
        channel=channel,
        site=site,
        study_key=study_key,
        accession_key=accession_key,
        index_test_positive=answer.positive,
        score=answer.score,
        failure_reason=answer.failure_reason,
        received_at=received_at,
        source_sha256=digest,
    )


def _quarantined(octets: bytes, reason: str, part: int | None = None) -> Audited:
    digest = hashlib.sha256(octets).hexdigest()
    suffix = "" if part is None else f":{part}"
    _log.warning("vendor result quarantined: %s sha256=%s", reason, digest[:16])
    return Audited(f"vendor-result:{digest[:32]}{suffix}", ACTOR, QUARANTINED, digest, reason)
