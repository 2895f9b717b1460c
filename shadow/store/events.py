"""What can be appended to the ledger: one frozen value a kind, validated here, the only gate.

`key` makes an append idempotent: the same key with the same body is success, with another body a conflict.
So a body holds nothing that a second run would compute differently. `subject` is what the event is about.
Bodies carry `schema`, because hashed rows cannot be migrated; typed columns live in sql/export/.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Protocol

from shadow.domain.clock import to_text

SCHEMA = 1
Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


class Kind(StrEnum):
    """The event kinds of the ledger."""

    TRIAL_PROTOCOL = "trial_protocol"
    STUDY = "study"
    EXCLUSION = "exclusion"
    PREDICTION = "prediction"
    PREDICTION_FAILURE = "prediction_failure"
    VENDOR_RESULT = "vendor_result"
    REPORT_VERSION = "report_version"
    LABEL = "label"
    LINK = "link"
    IMAGING_ORDER = "imaging_order"
    ADJUDICATION = "adjudication"
    ARCHIVE_STUDY = "archive_study"
    ALARM = "alarm"
    ASSESSMENT = "assessment"
    AUDIT = "audit"


class Event(Protocol):
    """Anything that can be appended."""

    KIND: ClassVar[Kind]

    @property
    def key(self) -> str:
        """Idempotency key within trial and kind; no newline."""
        ...

    @property
    def subject(self) -> str:
        """What the event is about; no newline."""
        ...


def body_of(event: Event) -> dict[str, Json]:
    """The event's body as JSON values: its fields and the schema version."""
    fields = dataclasses.fields(event)  # type: ignore[arg-type]
    return {"schema": SCHEMA, **{one.name: _json(getattr(event, one.name)) for one in fields}}


def _json(value: object) -> Json:
    if isinstance(value, datetime):
        return to_text(value)
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple):
        return [_json(one) for one in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _json(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"{type(value).__name__} has no place in an event body")


@dataclass(frozen=True, slots=True)
class TrialRegistered:
    """The protocol as registered: the file's digest, its text, and the digests of what it names."""

    KIND: ClassVar[Kind] = Kind.TRIAL_PROTOCOL
    trial: str
    version: str
    protocol_sha256: str
    protocol_text: str
    sites: tuple[FileDigest, ...]
    models: tuple[FileDigest, ...]

    @property
    def key(self) -> str:
        """One registration a version."""
        return self.version

    @property
    def subject(self) -> str:
        """The trial."""
        return self.trial


@dataclass(frozen=True, slots=True)
class FileDigest:
    """A file that the protocol names, by its SHA-256 in hex."""

    identifier: str
    sha256: str


@dataclass(frozen=True, slots=True)
class StudyClosed:
    """A study revision is complete: quiet, and no association still carries it.

    Attributes:
        revision: 1 is what the model would have had, and stays the primary.
        supersedes: the revision before, or None.
        patient_key, accession_key: keyed pseudonyms; accession_key None where the study has no accession.
        site: site identifier, or `unknown` where no site file lists the calling AE title.
        scanner: scanner identifier, or `unlisted`.
        shift: of `acquired_at` at the site; `unknown` without an acquisition time.
        acquired_at: from AcquisitionDate/Time, else StudyDate/Time; None where the study has neither.
        first_received_at, closed_at: the trial's clock.
        machine_closed_at: the machine's own clock at closing, from the manifest: latencies are real seconds.
        manifest_sha256: over the sorted SOP Instance UIDs and digests of the revision.
    """

    KIND: ClassVar[Kind] = Kind.STUDY
    study_key: str
    revision: int
    supersedes: int | None
    patient_key: str | None
    accession_key: str | None
    site: str
    scanner: str
    shift: str
    acquired_at: datetime | None
    first_received_at: datetime
    closed_at: datetime
    machine_closed_at: datetime
    instance_count: int
    manifest_sha256: str
    manufacturer: str | None
    manufacturer_model_name: str | None
    convolution_kernel: str | None
    kvp: float | None
    slice_thickness_mm: float | None
    patient_age_years: int | None
    patient_sex: str | None
    software_versions: str | None = None

    @property
    def key(self) -> str:
        """One event a study revision."""
        return f"{self.study_key}:r{self.revision}"

    @property
    def subject(self) -> str:
        """The study."""
        return self.study_key


@dataclass(frozen=True, slots=True)
class StudyExcluded:
    """A closed study revision that the protocol does not admit. `reason` is a stable code."""

    KIND: ClassVar[Kind] = Kind.EXCLUSION
    study_key: str
    revision: int
    reason: str
    detail: str

    @property
    def key(self) -> str:
        """One exclusion a study revision."""
        return f"{self.study_key}:r{self.revision}"

    @property
    def subject(self) -> str:
        """The study."""
        return self.study_key


@dataclass(frozen=True, slots=True)
class PredictionLocked:
    """A model's answer to one study revision. Its place in the chain is its lock.

    Attributes:
        score: the study's score, compared with `threshold` once, here.
        threshold: from the model's contract.
        index_test_positive: score >= threshold.
        input_sha256: of the array given to the model (float32, C order) with its shape.
        findings: geometry findings that did not forbid the answer.
        input_summary: what the model was given, in a few numbers that drift is watched by
            (shadow.index_test.model_input.summary_of).
        series_verdicts: every series of the study by its pseudonym, with what became of it and why.
    """

    KIND: ClassVar[Kind] = Kind.PREDICTION
    study_key: str
    revision: int
    model: str
    model_sha256: str
    series_key: str
    slices: int
    input_sha256: str
    score: float
    threshold: float
    index_test_positive: bool
    findings: tuple[str, ...]
    input_summary: tuple[float, ...] = ()
    series_verdicts: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """One answer a model and study revision."""
        return f"{self.model}@{self.model_sha256[:16]}:{self.study_key}:r{self.revision}"

    @property
    def subject(self) -> str:
        """The study."""
        return self.study_key


@dataclass(frozen=True, slots=True)
class PredictionFailed:
    """A model gave no answer to one study revision. It stays in the denominator.

    Attributes:
        reason: stable code, counted.
        detail: for the engineer; never an identifier or a tag value.
    """

    KIND: ClassVar[Kind] = Kind.PREDICTION_FAILURE
    study_key: str
    revision: int
    model: str
    model_sha256: str
    reason: str
    detail: str

    @property
    def key(self) -> str:
        """One failure a model and study revision."""
        return f"{self.model}@{self.model_sha256[:16]}:{self.study_key}:r{self.revision}"

    @property
    def subject(self) -> str:
        """The study."""
        return self.study_key


@dataclass(frozen=True, slots=True)
class VendorResult:
    """What a vendor's product said about a study. The first one counts; its place in the chain is its lock.

    Attributes:
        model, model_sha256: identifier in the protocol, and the digest of all that is declared about the product.
        channel: hl7, sr or csv. site: identifier.
        study_key, accession_key: what the result is about; one of them is None.
        index_test_positive: None where the product failed. score: None where it gives none.
        failure_reason: stable code, counted; None where it answered.
        received_at: the trial's clock.
        source_sha256: of the message, the object, or the file's row with the accession key in its number's place.
    """

    KIND: ClassVar[Kind] = Kind.VENDOR_RESULT
    model: str
    model_sha256: str
    channel: str
    site: str
    study_key: str | None
    accession_key: str | None
    index_test_positive: bool | None
    score: float | None
    failure_reason: str | None
    received_at: datetime
    source_sha256: str

    @property
    def key(self) -> str:
        """One event a model, study and source: a result sent twice is one."""
        return f"{self.model}@{self.model_sha256[:16]}:{self.subject}:{self.source_sha256[:32]}"

    @property
    def subject(self) -> str:
        """The study, or the accession where the source names only that."""
        return self.study_key or self.accession_key or ""


@dataclass(frozen=True, slots=True)
class ReportVersion:
    """One version of one report as it came, for one accession.

    Attributes:
        report_key: `<sha256 of the message without its time of sending, 16 characters>:<number of the OBR group>`.
        accession_key: keyed pseudonym of the normalised accession number.
        result_status: OBR-25 refined by OBX-11 (HL7 table 0123): P, F, C, X ...
        final: whether the status is one of the final family.
        observed_at: OBR-7; reported_at: OBR-22, else MSH-7; both from the message.
        received_at: the trial's clock.
        text_sha256: of the report text in the blob store.
        message_sha256: of the message in the journal.
        patient_class: PV1-2 (HL7 table 0004): E, I, O ...; None where the message has none.
        mentions_model: the text mentions the model or another AI, so its writer may not have been blind to it.
        addendum_only: the text begins with an addendum's heading: what it adds to came before it.
    """

    KIND: ClassVar[Kind] = Kind.REPORT_VERSION
    report_key: str
    site: str
    accession_key: str
    patient_key: str | None
    result_status: str
    final: bool
    addendum: bool
    observed_at: datetime | None
    reported_at: datetime | None
    received_at: datetime
    text_sha256: str
    message_sha256: str
    patient_class: str | None = None
    mentions_model: bool = False
    addendum_only: bool = False

    @property
    def key(self) -> str:
        """One event a message and OBR group: a message sent twice is one version."""
        return self.report_key

    @property
    def subject(self) -> str:
        """The accession, by its pseudonym."""
        return self.accession_key


@dataclass(frozen=True, slots=True)
class Span:
    """Where in the report text a mention stands, and what decided its state.

    Attributes:
        start, end: character offsets into the report text.
        section: the section's name in capitals.
        state: present, absent or indeterminate.
        trigger: the words that decided, empty for a plain affirmation.
    """

    start: int
    end: int
    section: str
    state: str
    trigger: str


@dataclass(frozen=True, slots=True)
class LabelRead:
    """What a rule read in one report version about the target condition.

    Attributes:
        state: present, absent, indeterminate or not_mentioned; the protocol says what the last one means.
        rule: identifier of the rule set with its version.
        source: whether the text or a coded finding decided: text or code.
        text_state, code_state: what each says alone; code_state None without a listed code, text_state None in bodies
            older than this field, where the text alone decided.
    """

    KIND: ClassVar[Kind] = Kind.LABEL
    report_key: str
    accession_key: str
    target_condition: str
    state: str
    rule: str
    spans: tuple[Span, ...]
    source: str = "text"
    text_state: str | None = None
    code_state: str | None = None

    @property
    def key(self) -> str:
        """One label a report version, condition and rule."""
        return f"{self.report_key}:{self.target_condition}:{self.rule}"

    @property
    def subject(self) -> str:
        """The accession, by its pseudonym."""
        return self.accession_key


class LinkOf(StrEnum):
    """Whose keys a correction of linkage joins."""

    PATIENT = "patient"
    ACCESSION = "accession"


@dataclass(frozen=True, slots=True)
class LinkCorrected:
    """What stands under one key belongs to another: a merge of patients, or a person's word on an accession.

    Attributes:
        from_key, to_key: keyed pseudonyms.
        active: False takes the correction back. The newest word on a pair counts.
        source: `adt_merge`, or `person`.
        actor: the process or the person's name. reason: stable code, or a person's words without an identifier.
        origin: digest of the message, or the instant of the decision: a retry is the same entry.
        known_at: the trial's clock.
    """

    KIND: ClassVar[Kind] = Kind.LINK
    what: LinkOf
    site: str
    from_key: str
    to_key: str
    active: bool
    source: str
    actor: str
    reason: str
    origin: str
    known_at: datetime

    @property
    def key(self) -> str:
        """One event a pair and origin."""
        return f"{self.what}:{self.from_key}:{self.to_key}:{self.origin}"

    @property
    def subject(self) -> str:
        """The key that moved."""
        return self.from_key


@dataclass(frozen=True, slots=True)
class OrderReceived:
    """An imaging order of a site that sends them: for the denominator, never for eligibility.

    Attributes:
        order_key: `<message sha256, 32 characters>:<number of the order within it>`.
        state: active, cancelled or unknown, by ORC-1 and ORC-5.
        admitted: whether the ordered procedure's words are ones that the protocol admits.
        planned_at: when the examination is, or was, to be; None where the message says none.
        received_at: the trial's clock.
    """

    KIND: ClassVar[Kind] = Kind.IMAGING_ORDER
    order_key: str
    site: str
    accession_key: str
    patient_key: str | None
    state: str
    admitted: bool
    planned_at: datetime | None
    received_at: datetime

    @property
    def key(self) -> str:
        """One event a message and order."""
        return self.order_key

    @property
    def subject(self) -> str:
        """The accession, by its pseudonym."""
        return self.accession_key


@dataclass(frozen=True, slots=True)
class AdjudicationRead:
    """What one person saw in the images of a study, blind to model, report and other readers. Never changed.

    Attributes:
        reader: the account's name.
        answer: present, absent or indeterminate.
        arbiter: whether it settles a study on which two readers differ.
        copies_sha256: of the de-identified images that were shown.
        read_at: the trial's clock.
    """

    KIND: ClassVar[Kind] = Kind.ADJUDICATION
    study_key: str
    target_condition: str
    reader: str
    answer: str
    arbiter: bool
    copies_sha256: str
    read_at: datetime

    @property
    def key(self) -> str:
        """One read a study, condition and person: nobody reads a study twice, or settles what they read."""
        return f"{self.study_key}:{self.target_condition}:{self.reader}"

    @property
    def subject(self) -> str:
        """The study."""
        return self.study_key


@dataclass(frozen=True, slots=True)
class AssessmentPublished:
    """A snapshot was published: its digest, and the ledger position that it speaks for."""

    KIND: ClassVar[Kind] = Kind.ASSESSMENT
    snapshot_sha256: str
    ledger_seq: int
    ledger_hash: str

    @property
    def key(self) -> str:
        """One event a snapshot."""
        return self.snapshot_sha256

    @property
    def subject(self) -> str:
        """The snapshot."""
        return self.snapshot_sha256


@dataclass(frozen=True, slots=True)
class ArchiveStudyListed:
    """The archive lists a study that the protocol admits, old enough to have reached us. The first listing stands.

    Attributes:
        study_key: keyed pseudonym of (0020,000D), the same that a received study has.
        accession_key: of (0008,0050); None where the archive gives none.
        site: whose archive was asked.
        scanner, shift: where the study did not reach us, by the archive's own words; empty where it did.
        acquired_at: Study Date and Time by the site's clock, UTC.
        listed_at: the trial's clock when it was listed.
        received: whether the study was on record here when it was listed.
        instances_listed: Number of Study Related Instances (0020,1208), or None.
        instances_received: those on record here, 0 where there are none.
    """

    KIND: ClassVar[Kind] = Kind.ARCHIVE_STUDY
    study_key: str
    accession_key: str | None
    site: str
    scanner: str
    shift: str
    acquired_at: datetime
    listed_at: datetime
    received: bool
    instances_listed: int | None
    instances_received: int

    @property
    def key(self) -> str:
        """One event a study."""
        return self.study_key

    @property
    def subject(self) -> str:
        """The study."""
        return self.study_key


@dataclass(frozen=True, slots=True)
class AlarmRaised:
    """A declared group alarmed. It stands in the ledger whatever later data say: alarms latch.

    Attributes:
        stream: model, threshold and label rule that the evidence is about; any change starts a new stream.
        dimension, site, scanner, shift: the group; empty where it spans them.
        week: start of the week of index time in which the evidence sufficed.
        reason: below the floor, below the rest, or both.
        found, present: monitored cases when the alarm was raised.
    """

    KIND: ClassVar[Kind] = Kind.ALARM
    stream: str
    dimension: str
    site: str
    scanner: str
    shift: str
    week: datetime
    reason: str
    found: int
    present: int

    @property
    def key(self) -> str:
        """One alarm a group and stream."""
        return ":".join((self.stream, self.dimension, self.site, self.scanner, self.shift))

    @property
    def subject(self) -> str:
        """The stream."""
        return self.stream


@dataclass(frozen=True, slots=True)
class Audited:
    """Something done or met that belongs on record: a quarantined message, a login, a start.

    Attributes:
        identifier: unique and stable, so that a retry is the same entry.
        actor: who or which process.
        action: stable code, counted.
        object: what it was done to, by surrogate or digest.
        detail: no identifier, no report text.
    """

    KIND: ClassVar[Kind] = Kind.AUDIT
    identifier: str
    actor: str
    action: str
    object: str
    detail: str

    @property
    def key(self) -> str:
        """The entry's identifier."""
        return self.identifier

    @property
    def subject(self) -> str:
        """The actor."""
        return self.actor
