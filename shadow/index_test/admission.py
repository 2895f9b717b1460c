"""One closed study revision: read, judged, de-identified. Nothing here is appended; intake does that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shadow.domain.errors import NotEvaluable, UnreadableInstance
from shadow.domain.identifiers import Pseudonymiser, normalise_accession_number
from shadow.index_test.copies import ReadyStudy, copies_folder, write_copies
from shadow.index_test.deidentify import copied_uid, deidentify_instance, pixel_refusal
from shadow.index_test.deidentify_values import DeidentificationContext
from shadow.index_test.eligibility import Exclusion, ExclusionReason, exclusion_of
from shadow.index_test.instance import Instance, read_instance
from shadow.index_test.series import SLICE_CLASSES, choose_series
from shadow.index_test.spooled_instance import SpooledInstance
from shadow.index_test.study_header import StudyHeader, decoded, read_study_header, with_acquisition_of
from shadow.index_test.study_manifest import StudyManifest
from shadow.index_test.vendor_results import VendorReception
from shadow.protocol.site import Site
from shadow.protocol.trial import TrialProtocol
from shadow.store.events import Audited, Event, StudyClosed, StudyExcluded
from shadow.store.vault import Identity

ACTOR = "admission"
UNKNOWN, UNLISTED = "unknown", "unlisted"


@dataclass(frozen=True, slots=True)
class Admission:
    """What a study revision is, ready to be recorded.

    Attributes:
        closed: its event.
        excluded: the refusal, or None where the study is eligible.
        unreadable: one audit entry an instance that could not be read, one a reason for those without a copy, and
            one where the study names several orders.
        identities: what the vault keeps, by pseudonym, before the event is appended.
        ready: what the models' lanes get; None for an excluded study and for revisions after the first,
            because the first is what a model would have had.
        vendor_results: what products' structured reports in this revision said.
        report_documents: structured reports of no product, unread: the report side looks at them.
    """

    closed: StudyClosed
    excluded: StudyExcluded | None
    unreadable: tuple[Audited, ...]
    identities: tuple[tuple[str, Identity], ...]
    ready: ReadyStudy | None
    vendor_results: tuple[Event, ...] = ()
    report_documents: tuple[Path, ...] = ()

    @property
    def eligible(self) -> bool:
        """Whether the protocol admits the study revision."""
        return self.excluded is None


@dataclass(frozen=True, slots=True)
class _Pseudonyms:
    patient_key: str | None
    accession_key: str | None
    date_shift_days: int


def admit_study(
    manifest: StudyManifest,
    folder: Path,
    *,
    sites: Sequence[Site],
    protocol: TrialProtocol,
    pseudonymiser: Pseudonymiser,
    studies_folder: Path,
) -> Admission:
    """Judge one study revision and, where it is eligible, write its de-identified copies.

    The same spool gives the same admission, so a second run after a crash records nothing new and puts the
    copies back.

    Args:
        manifest: of the revision.
        folder: the spool's folder of the study, with the manifest's files.
        sites: the trial's sites; the calling AE title says which one sent the study.
        protocol: the trial's rules.
        pseudonymiser: names the study's copies and keys.
        studies_folder: where copies go, in `<study_key>/r<revision>/`.

    Raises:
        OSError: the disk failed; try again. A single file that is gone is a finding, not an error.
        ConfigurationError: the site's accession rule is unknown.
    """
    site = next((one for one in sites if manifest.calling_ae_title in one.calling_ae_titles), None)
    instances, unreadable, documents = _read_instances(manifest, folder, pseudonymiser)
    if not instances:
        reason = Exclusion(ExclusionReason.NO_READABLE_INSTANCE, f"{len(manifest.instances)} instances, none readable")
        return Admission(
            closed=closed_without_header(manifest, site),
            excluded=_excluded(manifest, reason),
            unreadable=unreadable,
            identities=(),
            ready=None,
            report_documents=_report_documents(folder, documents, ()),
        )
    header = _as_given(read_study_header(instances, site.time_zone if site else None), instances, protocol)
    pseudonyms = _pseudonyms(header, site, pseudonymiser)
    refusal = exclusion_of(header, protocol, site_is_known=site is not None)
    ready = None
    if refusal is None and manifest.revision == 1:
        context = DeidentificationContext(
            pseudonymiser, pseudonyms.patient_key, pseudonyms.accession_key, pseudonyms.date_shift_days
        )
        digest = write_copies(
            copies_folder(studies_folder, manifest.study_key, manifest.revision), _copies(instances, header, context)
        )
        ready = ReadyStudy(manifest.study_key, manifest.revision, digest)
    vendor_results = _vendor_results(manifest, folder, documents, site, protocol, pseudonymiser)
    return Admission(
        closed=_closed(manifest, site, header, pseudonyms),
        excluded=None if refusal is None else _excluded(manifest, refusal),
        unreadable=unreadable
        + _ambiguous(manifest, header, site)
        + (_uncopied(manifest, instances, header) if ready else ()),
        identities=_identities(manifest, header, pseudonyms),
        ready=ready,
        vendor_results=vendor_results,
        report_documents=_report_documents(folder, documents, vendor_results),
    )


def _as_given(header: StudyHeader, instances: Sequence[Instance], protocol: TrialProtocol) -> StudyHeader:
    """The header with kernel, kVp and thickness of the series that the protocol chooses, since misses may share them.

    As it is where no series can be chosen.
    """
    modality = protocol.eligibility.modality
    if modality not in SLICE_CLASSES:
        return header
    try:
        chosen = choose_series([one for one in instances if _refusal(one, header) is None], protocol.series, modality)
    except NotEvaluable:
        return header
    return with_acquisition_of(header, min(chosen.slices, key=lambda one: (one.text("SOPInstanceUID"), one.index)))


def _report_documents(
    folder: Path, documents: Sequence[SpooledInstance], vendor_results: Sequence[Event]
) -> tuple[Path, ...]:
    """The documents that no product sent. None where one did: its own documents must not reach the report side."""
    return () if vendor_results else tuple(folder / one.file for one in documents)


def _vendor_results(
    manifest: StudyManifest,
    folder: Path,
    documents: Sequence[SpooledInstance],
    site: Site | None,
    protocol: TrialProtocol,
    pseudonymiser: Pseudonymiser,
) -> tuple[Event, ...]:
    """What structured reports of products under trial say; they may come with any revision of the study."""
    if site is None or not any(one.vendor and one.vendor.sr for one in protocol.vendors):
        return ()
    reception = VendorReception(protocol.vendors, (site,), pseudonymiser)
    found: list[Event] = []
    for document in documents:
        content = (folder / document.file).read_bytes()
        found += reception.of_structured_report(content, manifest.study_key, site.identifier, manifest.closed_at)
    return tuple(found)


def failed_admission(manifest: StudyManifest, sites: Sequence[Site], failure: str) -> Admission:
    """The admission of a study that could not be judged: excluded, with the failure in its reason."""
    site = next((one for one in sites if manifest.calling_ae_title in one.calling_ae_titles), None)
    refusal = Exclusion(f"{ExclusionReason.ADMISSION_FAILED}:{failure}", "")
    return Admission(closed_without_header(manifest, site), _excluded(manifest, refusal), (), (), None)


def closed_without_header(manifest: StudyManifest, site: Site | None) -> StudyClosed:
    """The event of a study of which nothing is known but its arrival."""
    return StudyClosed(
        study_key=manifest.study_key,
        revision=manifest.revision,
        supersedes=manifest.supersedes,
        patient_key=None,
        accession_key=None,
        site=site.identifier if site else UNKNOWN,
        scanner=UNLISTED,
        shift=UNKNOWN,
        acquired_at=None,
        first_received_at=manifest.first_received_at,
        closed_at=manifest.closed_at,
        machine_closed_at=manifest.machine_closed_at,
        instance_count=len(manifest.instances),
        manifest_sha256=manifest.manifest_sha256,
        manufacturer=None,
        manufacturer_model_name=None,
        convolution_kernel=None,
        kvp=None,
        slice_thickness_mm=None,
        patient_age_years=None,
        patient_sex=None,
    )


def _closed(manifest: StudyManifest, site: Site | None, header: StudyHeader, pseudonyms: _Pseudonyms) -> StudyClosed:
    scanner = site.scanner_of(header.station_name) if site else None
    return StudyClosed(
        study_key=manifest.study_key,
        revision=manifest.revision,
        supersedes=manifest.supersedes,
        patient_key=pseudonyms.patient_key,
        accession_key=pseudonyms.accession_key,
        site=site.identifier if site else UNKNOWN,
        scanner=scanner.identifier if scanner else UNLISTED,
        shift=site.calendar().shift_at(header.acquired_at) if site and header.acquired_at else UNKNOWN,
        acquired_at=header.acquired_at,
        first_received_at=manifest.first_received_at,
        closed_at=manifest.closed_at,
        machine_closed_at=manifest.machine_closed_at,
        instance_count=len(manifest.instances),
        manifest_sha256=manifest.manifest_sha256,
        manufacturer=header.manufacturer,
        manufacturer_model_name=header.manufacturer_model_name,
        convolution_kernel=header.convolution_kernel,
        kvp=header.kvp,
        slice_thickness_mm=header.slice_thickness_mm,
        patient_age_years=header.shown_age_years,
        patient_sex=header.patient_sex,
        software_versions=header.software_versions,
    )


def _excluded(manifest: StudyManifest, exclusion: Exclusion) -> StudyExcluded:
    return StudyExcluded(manifest.study_key, manifest.revision, str(exclusion.reason), exclusion.detail)


def _read_instances(
    manifest: StudyManifest, folder: Path, pseudonymiser: Pseudonymiser
) -> tuple[list[Instance], tuple[Audited, ...], list[SpooledInstance]]:
    """The readable instances, an entry for each that is not, and which of them are structured reports."""
    instances: list[Instance] = []
    unreadable: list[Audited] = []
    documents: list[SpooledInstance] = []
    for spooled in manifest.instances:
        try:
            instance = _read_spooled(folder, spooled)
            _check_identity(instance, spooled, manifest.study_key, pseudonymiser)
            instances.append(instance)
            if instances[-1].text("Modality").upper() == "SR":
                documents.append(spooled)
        except UnreadableInstance as error:
            unreadable.append(
                Audited(
                    identifier=f"instance:{manifest.study_key}:r{manifest.revision}:{spooled.digest[:32]}",
                    actor=ACTOR,
                    action="instance_unreadable",
                    object=spooled.digest,
                    detail=error.reason,
                )
            )
    return instances, tuple(unreadable), documents


def _read_spooled(folder: Path, spooled: SpooledInstance) -> Instance:
    try:
        content = (folder / spooled.file).read_bytes()
    except FileNotFoundError:
        raise UnreadableInstance("missing_in_spool") from None
    if not spooled.is_whole(content):
        raise UnreadableInstance("changed_in_spool")
    return read_instance(content)


def _check_identity(instance: Instance, spooled: SpooledInstance, study_key: str, pseudonymiser: Pseudonymiser) -> None:
    """That the instance is who it was at arrival: a second UID further in would put it in another one's place."""
    copied_uid(instance, pseudonymiser)
    if instance.text("SOPInstanceUID") != spooled.sop_instance_uid:
        raise UnreadableInstance("several_sop_instance_uids")
    if pseudonymiser.study_key(instance.text("StudyInstanceUID")) != study_key:
        raise UnreadableInstance("several_study_instance_uids")


def _pseudonyms(header: StudyHeader, site: Site | None, pseudonymiser: Pseudonymiser) -> _Pseudonyms:
    if site is None:
        return _Pseudonyms(None, None, 0)
    issuer = site.accession_issuer
    patient_id = header.identified("PatientID")
    accession_number = header.identified("AccessionNumber")
    normalised = normalise_accession_number(site.accession_rule, accession_number)
    # A patient without an ID is only known by this study: its dates move by the study's own weeks.
    known_by = patient_id or header.identified("StudyInstanceUID")
    return _Pseudonyms(
        patient_key=pseudonymiser.patient_key(issuer, patient_id) if patient_id else None,
        accession_key=pseudonymiser.accession_key(issuer, normalised) if normalised else None,
        date_shift_days=pseudonymiser.date_shift_days(issuer, known_by),
    )


def _copies(instances: Sequence[Instance], header: StudyHeader, context: DeidentificationContext) -> dict[str, bytes]:
    """Copies of images from a detector alone: dose screens, captures and burned-in text are not forwarded."""
    return {
        copied_uid(instance, context.pseudonymiser): deidentify_instance(instance, context)
        for instance in instances
        if _refusal(instance, header) is None
    }


def _refusal(instance: Instance, header: StudyHeader) -> str | None:
    """Why an instance gets no copy: what its pixels may hold, or that they are another patient's."""
    # The pseudonym of a patient is the same in either case.
    if decoded(instance, "PatientID").upper() not in ("", header.identified("PatientID").upper()):
        return "another_patient"
    return pixel_refusal(instance)


def _uncopied(manifest: StudyManifest, instances: Sequence[Instance], header: StudyHeader) -> tuple[Audited, ...]:
    """One entry a study and reason for the instances that got no copy."""
    counted = Counter(refusal for one in instances if (refusal := _refusal(one, header)) is not None)
    return tuple(
        Audited(
            identifier=f"no-copy:{manifest.study_key}:r{manifest.revision}:{reason}",
            actor=ACTOR,
            action="instances_not_copied",
            object=manifest.study_key,
            detail=f"{reason}={counted[reason]}",
        )
        for reason in sorted(counted)
    )


def _ambiguous(manifest: StudyManifest, header: StudyHeader, site: Site | None) -> tuple[Audited, ...]:
    """An entry for a study that names more than one order: its report is looked for under the first."""
    written = header.accession_numbers
    orders = {normalise_accession_number(site.accession_rule, one) for one in written} if site else written
    if len(orders) < 2:
        return ()
    identifier = f"accessions:{manifest.study_key}:r{manifest.revision}"
    detail = f"accession_numbers={len(orders)}"
    return (Audited(identifier, ACTOR, "several_accession_numbers", manifest.study_key, detail),)


def _identities(
    manifest: StudyManifest, header: StudyHeader, pseudonyms: _Pseudonyms
) -> tuple[tuple[str, Identity], ...]:
    """The study under each of its keys, so that whoever holds one and the vault's key can go back."""
    of_patient = {"PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate"}
    patient = tuple(pair for pair in header.identity if pair[0] in of_patient)
    study = tuple(pair for pair in header.identity if pair[0] not in of_patient)
    found = [(manifest.study_key, Identity("study", header.identity))]
    if pseudonyms.patient_key:
        found.append((pseudonyms.patient_key, Identity("patient", patient)))
    if pseudonyms.accession_key:
        found.append((pseudonyms.accession_key, Identity("accession", study)))
    return tuple(found)
