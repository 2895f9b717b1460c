"""The hospital's archive: it answers C-FIND about every study, and knows of some that its router never forwarded."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from shadow.rehearsal.images import DESCRIPTIONS
from shadow.rehearsal.plan import SITES, HospitalPlan, PlannedStudy

LOST_STATION, LOST_EVERY = "HSCT2", 8
"""One in eight of this scanner's studies stays in the archive: a routing rule that forgets a protocol."""
ARCHIVES = {f"{site.identifier.upper()}_PACS": site.identifier for site in SITES}
PENDING, SUCCESS, UNABLE = 0xFF00, 0x0000, 0xC000


def unrouted_studies(plan: HospitalPlan) -> tuple[PlannedStudy, ...]:
    """The studies that the archive has and that were never sent: the same for the same plan."""
    own = [one for one in plan.studies if one.station.name == LOST_STATION and one.ineligible is None]
    return tuple(
        replace(
            one,
            arrival=one.arrival + timedelta(minutes=7),
            study_instance_uid=f"{one.study_instance_uid}.77",
            accession_number=f"HS-LOST-{one.number:06d}",
        )
        for one in own[2::LOST_EVERY]
    )


class SimulatedArchive:
    """One server for all sites; the called AE title says whose archive is meant."""

    def __init__(self, plan: HospitalPlan, host: str, port: int) -> None:
        _config.LOG_HANDLER_LEVEL = "none"
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
        self._studies: dict[tuple[str, str], list[PlannedStudy]] = {}
        self._by_uid: dict[str, PlannedStudy] = {}
        for one in (*plan.studies, *unrouted_studies(plan)):
            day = one.arrival.astimezone(one.site.zone).strftime("%Y%m%d")
            self._studies.setdefault((one.site.identifier, day), []).append(one)
            self._by_uid[one.study_instance_uid] = one
        entity = AE("SIMULATED_PACS")
        entity.maximum_associations = 500  # a peer that only looks whether somebody listens counts for a while
        entity.acse_timeout = entity.network_timeout = 5
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        self._server = entity.start_server((host, port), block=False, evt_handlers=[(evt.EVT_C_FIND, self._find)])

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        called = str(event.assoc.requestor.primitive.called_ae_title).strip()
        query = event.identifier
        site = ARCHIVES.get(called)
        if site is None:
            yield UNABLE, None
            return
        for study in self._meant(site, query):
            if str(query.QueryRetrieveLevel) == "SERIES":
                yield PENDING, _series(study)
            else:
                yield PENDING, _study(study)
        yield SUCCESS, None

    def _meant(self, site: str, query: Dataset) -> Sequence[PlannedStudy]:
        uid = str(query.get("StudyInstanceUID", "") or "")
        if uid:
            found = self._by_uid.get(uid)
            return [found] if found is not None and found.site.identifier == site else []
        return self._studies.get((site, str(query.get("StudyDate", "") or "")), [])


def _study(study: PlannedStudy) -> Dataset:
    local = study.arrival.astimezone(study.site.zone)
    answer = Dataset()
    answer.QueryRetrieveLevel = "STUDY"
    answer.StudyDate, answer.StudyTime = local.strftime("%Y%m%d"), local.strftime("%H%M%S")
    answer.StudyInstanceUID, answer.AccessionNumber = study.study_instance_uid, study.accession_number
    answer.StudyDescription, answer.ModalitiesInStudy = DESCRIPTIONS[study.ineligible][0], "CT"
    answer.PatientBirthDate = study.identity.birth_date.strftime("%Y%m%d")
    return answer


def _series(study: PlannedStudy) -> Dataset:
    answer = Dataset()
    answer.QueryRetrieveLevel = "SERIES"
    answer.StudyInstanceUID, answer.SeriesInstanceUID = study.study_instance_uid, f"{study.study_instance_uid}.2"
    answer.Modality, answer.StationName = "CT", study.station.name
    return answer
