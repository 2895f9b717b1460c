"""Query and retrieve by DIMSE: C-FIND, C-GET and C-MOVE against a router or PACS (PS3.4 annex C, Study Root).

It reads. No association here offers storage to anybody as an SCU, and a query names no patient.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE, build_role, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from shadow.adapters.dicom_peer import is_listening
from shadow.domain.errors import ArchiveUnavailable
from shadow.index_test.archive import FetchedInstance, ListedStudy, parsed_count
from shadow.index_test.dicom_time import parsed_date, parsed_time
from shadow.index_test.sop_classes import IMAGE_CLASSES, WITHOUT_DETECTOR
from shadow.protocol.deployment import ArchivePeer, Retrieve

SECONDS_FOR_AN_ANSWER = 120
PENDING = (0xFF00, 0xFF01)
OUT_OF_RESOURCES = 0xA700
SHORTEST_SPAN = timedelta(minutes=15)
STORAGE_CLASSES = tuple(sorted(IMAGE_CLASSES | WITHOUT_DETECTOR))
"""What C-GET takes: the kinds that eligibility may look at. An instance of another class is not sent by the archive."""
TRANSFER_SYNTAXES = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless,
)  # fmt: skip


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
        begin = datetime.combine(day, time())
        yield from self._between(begin, begin + timedelta(days=1), modality)

    def _between(self, begin: datetime, end: datetime, modality: str) -> Iterator[ListedStudy]:
        """The studies of a span of one day; where it holds more than the archive wants to list, of its halves."""
        query = _study_query()
        query.StudyDate = begin.strftime("%Y%m%d")
        query.ModalitiesInStudy = modality
        if end - begin < timedelta(days=1):
            query.StudyTime = f"{begin:%H%M%S}-{end - timedelta(seconds=1):%H%M%S}.999999"
        try:
            found = list(self._find(query))
        except _TooMany:
            if end - begin <= SHORTEST_SPAN:
                raise self._unavailable("lists too many studies for its own limits") from None
            middle = begin + (end - begin) / 2
            yield from self._between(begin, middle, modality)
            yield from self._between(middle, end, modality)
            return
        for one in found:
            study = _listed(one)
            if study is not None:
                yield study

    def instance_count(self, study_instance_uid: str) -> int | None:
        """Number of Study Related Instances, or None."""
        query = _study_query()
        query.StudyInstanceUID = study_instance_uid
        counts = [parsed_count(str(one.get("NumberOfStudyRelatedInstances", "") or "")) for one in self._find(query)]
        return next((one for one in counts if one is not None), None)

    def station_name(self, study_instance_uid: str, modality: str) -> str:
        """Station Name of the study's first series of the modality that has one; empty where none has."""
        query = Dataset()
        query.QueryRetrieveLevel = "SERIES"
        query.StudyInstanceUID = study_instance_uid
        query.Modality = modality
        query.SeriesInstanceUID = query.StationName = ""
        names = (str(one.get("StationName", "") or "").strip() for one in self._find(query))
        return next((name for name in names if name), "")

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

        def store(event: evt.Event) -> int:
            request = event.request
            take(
                FetchedInstance(
                    str(request.AffectedSOPClassUID),
                    str(request.AffectedSOPInstanceUID),
                    str(event.context.transfer_syntax),
                    request.DataSet.getbuffer(),
                )
            )
            return 0x0000

        with self._associated([StudyRootQueryRetrieveInformationModelGet], STORAGE_CLASSES, store) as association:
            self._await_all(association.send_c_get(query, StudyRootQueryRetrieveInformationModelGet))

    def _await_all(self, answers: Iterator[tuple[Dataset, Dataset | None]]) -> None:
        for status, _ in answers:
            if "Status" not in status:
                raise self._unavailable("ended the association while it was sending")
            if status.Status in PENDING:
                continue
            failed = int(status.get("NumberOfFailedSuboperations", 0) or 0)
            if status.Status != 0x0000 or failed:
                raise self._unavailable(f"answered 0x{status.Status:04X}, {failed} instances failed")

    def _find(self, query: Dataset) -> Iterator[Dataset]:
        with self._associated([StudyRootQueryRetrieveInformationModelFind]) as association:
            for status, found in association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind):
                if "Status" not in status:
                    raise self._unavailable("ended the association while it was answering")
                if status.Status == OUT_OF_RESOURCES:
                    raise _TooMany(f"archive of {self._peer.site}: answered 0x{OUT_OF_RESOURCES:04X}")
                if status.Status in PENDING and found is not None:
                    yield found
                elif status.Status != 0x0000:
                    raise self._unavailable(f"answered 0x{status.Status:04X}")

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
        contexts += [build_context(sop_class, syntax) for sop_class in storage for syntax in TRANSFER_SYNTAXES]
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
            raise self._unavailable("does not accept the association: check both AE titles there")
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


def _listed(found: Dataset) -> ListedStudy | None:
    day = parsed_date(_text(found, "StudyDate"))
    uid = _text(found, "StudyInstanceUID")
    if day is None or not uid:
        return None
    modalities = found.get("ModalitiesInStudy") or ()
    names = [modalities] if isinstance(modalities, str) else [str(one) for one in modalities]
    return ListedStudy(
        study_instance_uid=uid,
        accession_number=_text(found, "AccessionNumber"),
        study_date=day,
        study_time=parsed_time(_text(found, "StudyTime")),
        study_description=_text(found, "StudyDescription"),
        modalities=frozenset(name.strip().upper() for name in names if name.strip()),
        birth_date=parsed_date(_text(found, "PatientBirthDate")),
        instances=parsed_count(_text(found, "NumberOfStudyRelatedInstances")),
    )


def _text(found: Dataset, keyword: str) -> str:
    value = found.get(keyword)
    return "" if value is None else str(value).strip()
