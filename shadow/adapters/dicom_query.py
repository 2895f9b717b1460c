"""Query and retrieve by DIMSE: C-FIND, C-GET and C-MOVE against a router or PACS (PS3.4 annex C, Study Root).

It reads. No association here offers storage to anybody as an SCU, and a query names no patient.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from shadow.adapters.dicom_peer import close_refused, is_listening
from shadow.domain.errors import ArchiveUnavailable, ShadowError
from shadow.index_test.archive import (
    FetchedInstance,
    ListCutShort,
    Listed,
    ListedStudy,
    every_study,
    parsed_count,
)
from shadow.index_test.dicom_time import acquisition_date, parsed_date, parsed_time
from shadow.index_test.rewriting import PYDICOM_ERRORS
from shadow.index_test.sop_classes import BESIDE_IMAGES, IMAGE_CLASSES, WITHOUT_DETECTOR
from shadow.protocol.deployment import ArchivePeer, Retrieve

SECONDS_FOR_AN_ANSWER = 120
PENDING = (0xFF00, 0xFF01)
WARNING = 0xB000
OUT_OF_RESOURCES, CANCELLED = 0xA700, 0xFE00
CUT_SHORT = (OUT_OF_RESOURCES, CANCELLED)
"""An answer that stops at the archive's own limit; Orthanc calls it cancelled, though nobody cancelled."""
IN_WORDS = {
    0x0122: "does not offer this service",
    0x0124: "does not let us ask",
    OUT_OF_RESOURCES: "is out of resources",
    0xA701: "is out of resources and cannot count what there is",
    0xA702: "is out of resources and could not send all of it",
    0xA801: "does not know our AE title as a destination: add it there with the receiver's host and port",
    0xA900: "does not take the question: identifier and SOP class differ",
    WARNING: "could not send all of it",
}
"""PS3.4 tables C.4-1, C.4-2 and C.4-3, PS3.7 annex C."""
OFTEN_COMPRESSED = tuple(sorted(IMAGE_CLASSES | {"1.2.840.10008.5.1.4.1.1.7"}))
SELDOM_COMPRESSED = tuple(sorted((WITHOUT_DETECTOR | BESIDE_IMAGES) - set(OFTEN_COMPRESSED)))
STORAGE_CLASSES = OFTEN_COMPRESSED + SELDOM_COMPRESSED
"""What C-GET takes. An archive may give up the whole study for one instance whose class is not among these."""
UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
TRANSFER_SYNTAXES = (
    *UNCOMPRESSED, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless,
)  # fmt: skip

_Find = Callable[[Dataset], Iterator[Dataset]]


class DimseArchive:
    """A query/retrieve SCP.

    Args:
        calling_ae_title: ours; it is also where C-MOVE sends to.
        peer: its title and address.
        tls: None where the network itself is trusted.
    """

    def __init__(self, calling_ae_title: str, peer: ArchivePeer, tls: ssl.SSLContext | None = None) -> None:
        self._calling_ae_title, self._peer, self._tls = calling_ae_title, peer, tls

    def studies_of(self, day: date, modality: str) -> Iterator[ListedStudy]:
        """The studies of a day that hold a series of the modality."""
        with self._asking() as find:
            try:
                yield from every_study(day, partial(self._listed_between, find, modality))
            except ListCutShort:
                raise self._unavailable("lists too many studies for its own limits") from None

    def _listed_between(self, find: _Find, modality: str, begin: datetime, end: datetime) -> Listed:
        query = _study_query()
        query.StudyDate = begin.strftime("%Y%m%d")
        query.ModalitiesInStudy = modality
        if end - begin < timedelta(days=1):
            query.StudyTime = f"{begin:%H%M%S}-{end - timedelta(seconds=1):%H%M%S}.999999"
        found: list[ListedStudy] = []
        try:
            found.extend(_listed(one, begin.date()) for one in find(query))
        except _TooMany:
            return Listed(found, is_cut=True)
        return Listed(found)

    def instance_count(self, study_instance_uid: str) -> int | None:
        """Number of Study Related Instances, or None."""
        query = _study_query()
        query.StudyInstanceUID = study_instance_uid
        counts = [parsed_count(_text(one, "NumberOfStudyRelatedInstances")) for one in self._find(query)]
        return next((one for one in counts if one is not None), None)

    def station_name(self, study_instance_uid: str, modality: str) -> str | None:
        """Station Name of the study's first series of the modality that has one; None where it has no such series."""
        query = Dataset()
        query.QueryRetrieveLevel = "SERIES"
        query.StudyInstanceUID = study_instance_uid
        query.Modality = modality
        query.SeriesInstanceUID = query.StationName = ""
        series = [one for one in self._find(query) if _text(one, "Modality").upper() in ("", modality)]
        names = [_text(one, "StationName") for one in series]
        return next((name for name in names if name), "") if series else None

    def fetch(self, study_instance_uid: str, take: Callable[[FetchedInstance], None]) -> None:
        """Fetch a study by C-GET; with C-MOVE the receiver gets it and `take` is never called."""
        query = Dataset()
        query.QueryRetrieveLevel = "STUDY"
        query.StudyInstanceUID = study_instance_uid
        if self._peer.retrieve is Retrieve.C_MOVE:
            with self._associated([StudyRootQueryRetrieveInformationModelMove]) as association:
                answers = association.send_c_move(
                    query, self._calling_ae_title, StudyRootQueryRetrieveInformationModelMove
                )
                self._await_all(answers)
            return

        refused: list[ShadowError] = []

        def store(event: evt.Event) -> int:
            request = event.request
            fetched = FetchedInstance(
                str(request.AffectedSOPClassUID),
                str(request.AffectedSOPInstanceUID),
                str(event.context.transfer_syntax),
                request.DataSet.getbuffer(),
            )
            try:
                take(fetched)
            except ShadowError as error:  # raised again below: from here pynetdicom would answer for us
                refused.append(error)
                return OUT_OF_RESOURCES
            return 0x0000

        try:
            with self._associated([StudyRootQueryRetrieveInformationModelGet], STORAGE_CLASSES, store) as association:
                self._await_all(association.send_c_get(query, StudyRootQueryRetrieveInformationModelGet))
        except ArchiveUnavailable as error:
            raise (refused[0] if refused else error) from None
        if refused:
            raise refused[0]

    def _await_all(self, answers: Iterator[tuple[Dataset, Dataset | None]]) -> None:
        for status, _ in answers:
            if "Status" not in status:
                raise self._unavailable("ended the association while it was sending")
            if status.Status in PENDING:
                continue
            failed = int(status.get("NumberOfFailedSuboperations", 0) or 0)
            if status.Status not in (0x0000, WARNING) or failed:
                raise self._unavailable(f"{_said(status.Status)}, {failed} instances failed")

    def _find(self, query: Dataset) -> Iterator[Dataset]:
        with self._asking() as find:
            yield from find(query)

    @contextmanager
    def _asking(self) -> Iterator[_Find]:
        """Asks over one association, and over another where the archive has ended it after an answer."""
        with ExitStack() as stack:
            associations: list[Association] = []

            def find(query: Dataset) -> Iterator[Dataset]:
                if not associations or not associations[-1].is_established:
                    model = StudyRootQueryRetrieveInformationModelFind
                    associations.append(stack.enter_context(self._associated([model])))
                yield from self._answers(associations[-1], query)

            yield find

    def _answers(self, association: Association, query: Dataset) -> Iterator[Dataset]:
        for status, found in association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind):
            if "Status" not in status:
                raise self._unavailable("ended the association while it was answering")
            if status.Status in CUT_SHORT:
                raise _TooMany(f"archive of {self._peer.site}: {_said(status.Status)}")
            if status.Status in PENDING:
                if found is None:
                    raise self._unavailable("sent an answer that cannot be decoded")
                yield found
            elif status.Status != 0x0000:
                raise self._unavailable(_said(status.Status))

    @contextmanager
    def _associated(
        self, models: list[str], storage: tuple[str, ...] = (), store: Callable[[evt.Event], int] | None = None
    ) -> Iterator[Any]:
        if not is_listening(self._peer.host, self._peer.port, SECONDS_FOR_AN_ANSWER / 10):
            raise self._unavailable("nobody listens there")
        entity = AE(self._calling_ae_title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = SECONDS_FOR_AN_ANSWER
        # A context for each pair: with several syntaxes in one the archive would choose, and transcode to its choice.
        contexts = [build_context(model) for model in models]
        contexts += [
            build_context(one, syntax) for one in storage if one in OFTEN_COMPRESSED for syntax in TRANSFER_SYNTAXES
        ]
        contexts += [build_context(one, list(UNCOMPRESSED)) for one in storage if one in SELDOM_COMPRESSED]
        association = entity.associate(
            self._peer.host,
            self._peer.port,
            contexts=contexts,
            ae_title=self._peer.ae_title,
            ext_neg=[build_role(one, scp_role=True) for one in storage],
            evt_handlers=[(evt.EVT_C_STORE, store)] if store else [],
            tls_args=(self._tls, self._peer.host) if self._tls else None,
        )
        if not association.is_established:
            reason = _refusal(association)
            close_refused(association)
            raise self._unavailable(reason)
        try:
            yield association
        except (RuntimeError, ValueError) as error:  # pynetdicom's, where the association ended on the way
            raise self._unavailable(f"{type(error).__name__} in the midst of an answer") from error
        finally:
            if association.is_established:
                association.release()

    def _unavailable(self, what: str) -> ArchiveUnavailable:
        return ArchiveUnavailable(f"archive of {self._peer.site} ({self._peer.ae_title}): {what}")


class _TooMany(ArchiveUnavailable):
    """The archive does not list so many at once; fewer it may."""


def _study_query() -> Dataset:
    """Which attributes come back. The patient's name and number are not asked for."""
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    for keyword in (
        "StudyDate", "StudyTime", "StudyInstanceUID", "AccessionNumber", "StudyDescription", "ModalitiesInStudy",
        "PatientBirthDate", "NumberOfStudyRelatedInstances",
    ):  # fmt: skip
        setattr(query, keyword, None if keyword == "NumberOfStudyRelatedInstances" else "")
    return query


def _said(status: int) -> str:
    """A status with its number, and in words where it has some."""
    words = IN_WORDS.get(status)
    return f"answered 0x{status:04X}" + (f" ({words})" if words else "")


def _refusal(association: Association) -> str:
    """Why it is not established, and what to look at."""
    if association.is_rejected:
        answer = association.acceptor.primitive
        return f"rejects the association ({answer.reason_str}): check both AE titles there"
    return "ends the connection before an association: check there whether it asks for TLS, and whom it trusts"


def _listed(found: Dataset, asked: date) -> ListedStudy:
    """A study of the answer; one without a usable date counts on the day that was asked about."""
    return ListedStudy(
        study_instance_uid=_text(found, "StudyInstanceUID"),
        accession_number=_text(found, "AccessionNumber"),
        study_date=acquisition_date(_text(found, "StudyDate")) or asked,
        study_time=parsed_time(_text(found, "StudyTime")),
        study_description=_text(found, "StudyDescription"),
        modalities=frozenset(
            name.strip().upper() for name in _text(found, "ModalitiesInStudy").split("\\") if name.strip()
        ),
        birth_date=parsed_date(_text(found, "PatientBirthDate")),
        instances=parsed_count(_text(found, "NumberOfStudyRelatedInstances")),
    )


def _text(found: Dataset, keyword: str) -> str:
    """An attribute as text, its values joined by backslashes; empty where there is none, or none that can be read."""
    try:
        value = found.get(keyword)
    except PYDICOM_ERRORS:
        return ""
    if value is None:
        return ""
    return "\\".join(str(one) for one in value) if isinstance(value, MultiValue) else str(value).strip()
