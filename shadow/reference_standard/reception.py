"""Journal to ledger: every received message becomes report versions and their labels, or is quarantined.

Identifiers end here. The patient's and the accession's number leave as keyed pseudonyms, the text goes into
the encrypted blob store, and what is logged or appended holds digests, codes and offsets only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from shadow.domain.errors import ConfigurationError, MalformedMessage
from shadow.domain.hl7 import Message, parse_message, sending_facility, split_messages, without_send_time
from shadow.domain.identifiers import Pseudonymiser, normalise_accession_number
from shadow.protocol.site import Site
from shadow.protocol.trial import Eligibility, TrialProtocol
from shadow.reference_standard.fhir import fhir_resources
from shadow.reference_standard.label import Label, read_label
from shadow.reference_standard.label_rule import LabelRule, load_rule
from shadow.reference_standard.model_mention import (
    ModelMentions,
    load_model_mentions,
    mentions_model,
    names_of_models,
)
from shadow.reference_standard.order import ORDER_TYPES, ParsedOrder, parse_orders
from shadow.reference_standard.patient_merge import MERGES, PatientMerge, parse_merges
from shadow.reference_standard.report import ParsedReport, UnusableReport, parse_reports
from shadow.reference_standard.report_table import table_reports
from shadow.reference_standard.result_status import ResultStatus
from shadow.reference_standard.structured_report import structured_report
from shadow.store.blobs import Blobs
from shadow.store.events import (
    Audited,
    Event,
    LabelRead,
    LinkCorrected,
    LinkOf,
    OrderReceived,
    ReportVersion,
)
from shadow.store.journal import Record

QUARANTINED = "message_quarantined"
NOT_USED = "message_not_used"
NOT_REPORTS = frozenset({"not_a_report", "nothing_to_read"})
"""Why a file is set aside without being at fault: other documents, and notifications without content."""
REPLACED = "characters_replaced"
_ACTOR = "reports"


@dataclass(frozen=True, slots=True)
class _ReadMessage:
    site: Site
    faithful: bool
    reports: tuple[tuple[ParsedReport, tuple[Label, ...]], ...]
    unusable: tuple[UnusableReport, ...]


@dataclass(frozen=True, slots=True)
class Reception:
    """What turns messages into events: the sites, the trial's keys, the text store, the rules, the model's names."""

    sites: Sequence[Site]
    pseudonymiser: Pseudonymiser
    blobs: Blobs
    rule: LabelRule
    target_condition: str
    additional_rules: tuple[LabelRule, ...] = ()
    mentions: ModelMentions = field(default_factory=load_model_mentions)
    eligibility: Eligibility | None = None

    def events_of(self, record: Record) -> list[Event]:
        """The events of one journal record; never none, so that every message is in a counted state."""
        if record.received_at is None:
            return [_quarantined(record.payload, "journal_damaged")]
        return [
            event
            for message in split_messages(record.payload)
            for event in self._events_of_message(message, record.received_at)
        ]

    def _events_of_message(self, octets: bytes, received_at: datetime) -> list[Event]:
        try:
            site, message = self._opened(octets)
            others = self._events_beside_reports(octets, site, message, received_at)
            if others is not None:
                return others
            read = self._read(site, message)
        except MalformedMessage as malformed:
            return [_quarantined(octets, malformed.reason)]
        except Exception as error:  # noqa: BLE001 - one message must not hold up those behind it
            return [_quarantined(octets, f"reader_failed:{type(error).__name__}")]
        events: list[Event] = [] if read.faithful else [_replaced(octets)]
        events.extend(_quarantined(octets, one.reason, one.group) for one in read.unusable)
        for report, labels in read.reports:
            events.extend(self._events_of_report(octets, read.site, report, labels, received_at))
        return events

    def events_of_file(self, content: bytes, suffix: str, site: Site, received_at: datetime) -> list[Event]:
        """The events of a file of reports; never none. A report that cannot be used leaves its neighbours alone."""
        events: list[Event] = []
        for octets, reports in self._readable(content, suffix, site):
            for one, labels in reports:
                if isinstance(one, ParsedOrder):
                    events.append(self._ordered(octets, site, one, received_at))
                elif isinstance(one, ParsedReport):
                    events.extend(self._events_of_report(octets, site, one, labels, received_at))
                elif one.reason in NOT_REPORTS:
                    digest = _sha256(octets)
                    events.append(Audited(f"message:{digest[:32]}", _ACTOR, NOT_USED, digest, one.reason))
                else:
                    events.append(_quarantined(octets, one.reason, one.group or None))
        return events or [_quarantined(content, "no_report")]

    def parts_of_file(self, content: bytes, suffix: str, site: Site) -> list[bytes]:
        """The resources or rows of a file, as the ledger knows them by digest."""
        return [octets for octets, _ in self._readable(content, suffix, site)]

    def _readable(
        self, content: bytes, suffix: str, site: Site
    ) -> Iterator[tuple[bytes, list[tuple[ParsedReport | ParsedOrder | UnusableReport, tuple[Label, ...]]]]]:
        """What a file says until it cannot be read, then the reason (group 0), without a store.

        Whatever goes wrong here is the file's fault; what a disk refuses later must stop the drain instead.
        """
        try:
            for octets, reports in self._reports_of_file(content, suffix, site):
                yield octets, [(one, self._labels(one) if isinstance(one, ParsedReport) else ()) for one in reports]
        except MalformedMessage as malformed:
            yield content, [(UnusableReport(0, malformed.reason), ())]
        except Exception as error:  # noqa: BLE001 - one file must not hold up those behind it
            yield content, [(UnusableReport(0, f"reader_failed:{type(error).__name__}"), ())]

    @staticmethod
    def quarantine(octets: bytes, reason: str) -> Event:
        """Bytes that cannot be used, by their digest."""
        return _quarantined(octets, reason)

    @staticmethod
    def _reports_of_file(
        content: bytes, suffix: str, site: Site
    ) -> Iterator[tuple[bytes, Sequence[ParsedReport | ParsedOrder | UnusableReport]]]:
        if suffix in (".json", ".ndjson"):
            return fhir_resources(content)
        if suffix == ".dcm":
            return iter([structured_report(content, site.time_zone)])
        if site.report_table is None:
            raise MalformedMessage("no_report_table", "the site file does not say how tables are read")
        return table_reports(content, site.report_table, site.time_zone)

    def _events_beside_reports(
        self, octets: bytes, site: Site, message: Message, received_at: datetime
    ) -> list[Event] | None:
        """Orders, merges of patients, and ADT messages of no use here; None for everything that may be a report."""
        header = message.segments[0]
        kind, trigger = message.value(header, 9).upper(), message.value(header, 9, 2).upper()
        if kind == "ADT" and trigger in MERGES:
            return [self._merged(octets, site, one, received_at) for one in parse_merges(message)]
        if kind in ORDER_TYPES:
            return [self._ordered(octets, site, one, received_at) for one in parse_orders(message, site.time_zone)]
        if kind == "ADT":
            digest = _sha256(octets)
            return [Audited(f"message:{digest[:32]}", _ACTOR, NOT_USED, digest, "adt_without_merge")]
        return None

    def _merged(self, octets: bytes, site: Site, merge: PatientMerge, known_at: datetime) -> Event:
        from_key, to_key = (
            self.pseudonymiser.patient_key(site.accession_issuer, one)
            for one in (merge.from_patient_id, merge.to_patient_id)
        )
        return LinkCorrected(
            what=LinkOf.PATIENT,
            site=site.identifier,
            from_key=from_key,
            to_key=to_key,
            active=True,
            source="adt_merge",
            actor=_ACTOR,
            reason="merged",
            origin=_sha256(without_send_time(octets))[:32],
            known_at=known_at,
        )

    def _ordered(self, octets: bytes, site: Site, order: ParsedOrder | UnusableReport, received_at: datetime) -> Event:
        if isinstance(order, UnusableReport):
            return _quarantined(octets, order.reason, order.group)
        normalised = normalise_accession_number(site.accession_rule, order.accession_number)
        patient_id = order.patient_id
        return OrderReceived(
            order_key=f"{_sha256(without_send_time(octets))[:32]}:{order.number}",
            site=site.identifier,
            accession_key=self.pseudonymiser.accession_key(site.accession_issuer, normalised),
            patient_key=self.pseudonymiser.patient_key(site.accession_issuer, patient_id) if patient_id else None,
            state=order.state.value,
            admitted=self.eligibility is not None and self.eligibility.admits_description(order.procedure),
            planned_at=order.planned_at,
            received_at=received_at,
        )

    def _opened(self, octets: bytes) -> tuple[Site, Message]:
        facility = sending_facility(octets)
        site = next((one for one in self.sites if facility in one.sending_facilities), None)
        if site is None:
            raise MalformedMessage("unknown_sending_facility", "no site file lists MSH-4")
        return site, parse_message(octets, site.default_character_set)

    def _read(self, site: Site, message: Message) -> _ReadMessage:
        """What a message says, without a store: whatever goes wrong here is the message's fault."""
        parsed = parse_reports(message, site.time_zone)
        return _ReadMessage(
            site=site,
            faithful=message.faithful,
            reports=tuple((one, self._labels(one)) for one in parsed if isinstance(one, ParsedReport)),
            unusable=tuple(one for one in parsed if isinstance(one, UnusableReport)),
        )

    def _rules(self, report: ParsedReport) -> tuple[LabelRule, ...]:
        """The primary rule reads every version; those of other conditions, final ones only."""
        return (self.rule, *self.additional_rules) if report.result_status.final else (self.rule,)

    def _events_of_report(
        self, octets: bytes, site: Site, report: ParsedReport, labels: Sequence[Label], received_at: datetime
    ) -> list[Event]:
        """Its version and labels. Codes alone say something only where the primary rule lists one of them."""
        silent = not report.text.strip() and report.result_status is not ResultStatus.CANCELLED
        if silent and labels[0].code_state is None:
            return [_quarantined(octets, "no_text", report.group)]
        return self._version_and_labels(octets, site, report, labels, received_at)

    def _labels(self, report: ParsedReport) -> tuple[Label, ...]:
        return tuple(read_label(rule, report.text, report.codes) for rule in self._rules(report))

    def _version_and_labels(
        self, octets: bytes, site: Site, report: ParsedReport, labels: Sequence[Label], received_at: datetime
    ) -> list[Event]:
        normalised = normalise_accession_number(site.accession_rule, report.accession_number)
        accession_key = self.pseudonymiser.accession_key(site.accession_issuer, normalised)
        message_sha256 = _sha256(octets)
        version = ReportVersion(
            report_key=f"{_sha256(without_send_time(octets))[:16]}:{report.group}",
            site=site.identifier,
            accession_key=accession_key,
            patient_key=self._patient_key(site, report),
            result_status=report.result_status.value,
            final=report.result_status.final,
            addendum=report.addendum_start is not None,
            addendum_only=report.addendum_start is not None and not report.text[: report.addendum_start].strip(),
            observed_at=report.observed_at,
            reported_at=report.reported_at,
            received_at=received_at,
            text_sha256=self.blobs.put(report.text.encode("utf-8")),
            message_sha256=message_sha256,
            patient_class=report.patient_class,
            mentions_model=mentions_model(self.mentions, report.text),
        )
        return [version, *map(partial(_label_read, version), self._rules(report), labels)]

    def _patient_key(self, site: Site, report: ParsedReport) -> str | None:
        if report.patient_id is None:
            return None
        return self.pseudonymiser.patient_key(site.accession_issuer, report.patient_id)


def label_rules_of(protocol: TrialProtocol) -> tuple[LabelRule, ...]:
    """The primary rule of a protocol, then the others.

    Raises:
        ConfigurationError: one is unknown, or the primary one reads another condition.
    """
    rule = load_rule(protocol.reference.label_rule)
    if rule.target_condition != protocol.target_condition:
        raise ConfigurationError(
            "trial file", "reference.label_rule", f"reads '{rule.target_condition}', not the target condition"
        )
    return rule, *(load_rule(one) for one in protocol.reference.additional_label_rules)


def reception_of(
    protocol: TrialProtocol, sites: Sequence[Site], pseudonymiser: Pseudonymiser, blobs: Blobs
) -> Reception:
    """The reception of a trial.

    Raises:
        ConfigurationError: a label rule of the protocol is unknown, or its primary one reads another condition.
    """
    rule, *additional = label_rules_of(protocol)
    return Reception(
        sites,
        pseudonymiser,
        blobs,
        rule,
        protocol.target_condition,
        tuple(additional),
        load_model_mentions(names_of_models(protocol)),
        protocol.eligibility,
    )


def _label_read(version: ReportVersion, rule: LabelRule, label: Label) -> LabelRead:
    return LabelRead(
        report_key=version.report_key,
        accession_key=version.accession_key,
        target_condition=rule.target_condition,
        state=label.state.value,
        rule=rule.identifier,
        spans=label.spans,
        source=label.source,
        text_state=label.text_state.value,
        code_state=None if label.code_state is None else label.code_state.value,
    )


def _quarantined(octets: bytes, reason: str, group: int | None = None) -> Audited:
    digest = _sha256(octets)
    part = "" if group is None else f":{group}"
    return Audited(f"message:{digest[:32]}{part}", _ACTOR, QUARANTINED, digest, reason)


def _replaced(octets: bytes) -> Audited:
    """Some bytes were not of the declared character set; the journal keeps the message as it came."""
    digest = _sha256(octets)
    return Audited(f"characters:{digest[:32]}", _ACTOR, REPLACED, digest, "not_of_the_declared_character_set")


def _sha256(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()
