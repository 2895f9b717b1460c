"""What the archive had for the trial, and what of it never reached us: the denominator, checked from outside.

A scanner that does not route looks like a scanner without misses. So each night every site's router or PACS is
asked for the studies that the protocol's rules admit, and each one is put on record once, with whether it was here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from shadow.domain.errors import ArchiveUnavailable
from shadow.domain.identifiers import Pseudonymiser, normalise_accession_number
from shadow.domain.shift import local_instant
from shadow.index_test.archive import Archive, ListedStudy
from shadow.index_test.spool import is_uid
from shadow.protocol.deployment import ArchivePeer
from shadow.protocol.site import Site
from shadow.protocol.trial import TrialProtocol
from shadow.store.events import ArchiveStudyListed, Audited, Kind
from shadow.store.ledger import Ledger

ACTOR = "reconciliation"
ASKED, SILENT = "archive_asked", "archive_silent"
UNLISTED, UNKNOWN = "unlisted", "unknown"
MIDDAY = time(12)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DayReconciled:
    """One day of one site: studies listed for the protocol's modality, of these admitted and settled, not here."""

    site: str
    day: date
    listed: int
    admitted: int
    missing: int
    asked: bool = True


@dataclass(frozen=True, slots=True)
class Reconciler:
    """What it takes to compare an archive's list with the ledger."""

    protocol: TrialProtocol
    pseudonymiser: Pseudonymiser
    ledger: Ledger
    instance_count: Callable[[str], int]

    def reconcile(
        self, site: Site, peer: ArchivePeer, archive: Archive, now: datetime, days: Sequence[date] | None = None
    ) -> list[DayReconciled]:
        """Ask for each day of the last `lookback_days`, or for the days given, and put the answers on record.

        A study counts once it is `settle_hours` old; younger ones are left for the next night. An archive that does
        not answer is on record too: that nobody could ask is a finding, not an absence of missing studies.
        """
        today = now.astimezone(site.time_zone).date()
        wanted = (
            days if days is not None else [today - timedelta(days=back) for back in range(peer.lookback_days, -1, -1)]
        )
        return [self._day(site, peer, archive, now, day) for day in wanted if self._is_in_window(site, day)]

    def _is_in_window(self, site: Site, day: date) -> bool:
        begin = datetime.combine(day, time(), site.time_zone)
        window = self.protocol.index_window_start, self.protocol.index_window_end
        return begin + timedelta(days=1) > window[0] and begin < window[1]

    def _day(self, site: Site, peer: ArchivePeer, archive: Archive, now: datetime, day: date) -> DayReconciled:
        asked_on = now.astimezone(UTC).isoformat(timespec="seconds")
        where = f"{site.identifier}:{day.isoformat()}"
        try:
            listed = list(archive.studies_of(day, self.protocol.eligibility.modality))
            events = list(self._events(site, archive, listed, now - timedelta(hours=peer.settle_hours), now))
        except ArchiveUnavailable as error:
            _log.error("%s", error)
            self.ledger.append([Audited(f"{SILENT}:{where}:{asked_on}", ACTOR, SILENT, where, "no answer")])
            return DayReconciled(site.identifier, day, 0, 0, 0, asked=False)
        self.ledger.append_new(events)
        missing = sum(not one.received for one in events)
        detail = f"listed={len(listed)} admitted={len(events)} missing={missing}"
        self.ledger.append([Audited(f"{ASKED}:{where}:{asked_on}", ACTOR, ASKED, where, detail)])
        return DayReconciled(site.identifier, day, len(listed), len(events), missing)

    def _events(
        self, site: Site, archive: Archive, listed: Sequence[ListedStudy], settled_before: datetime, now: datetime
    ) -> Iterator[ArchiveStudyListed]:
        admitted = [
            (self.pseudonymiser.study_key(one.study_instance_uid), acquired_at, one)
            for one in listed
            if is_uid(one.study_instance_uid)
            and (acquired_at := self._acquired_at(site, one)) < settled_before
            and self._admits(one, acquired_at)
        ]
        here = self.ledger.known(Kind.STUDY, [f"{key}:r1" for key, _, _ in admitted])
        on_record = self.ledger.known(Kind.ARCHIVE_STUDY, [key for key, _, _ in admitted])
        for study_key, acquired_at, one in admitted:
            if study_key in on_record:
                continue
            received = f"{study_key}:r1" in here
            scanner, shift = "", ""
            if not received:
                station = archive.station_name(one.study_instance_uid, self.protocol.eligibility.modality)
                found = site.scanner_of(station)
                scanner = found.identifier if found else UNLISTED
                shift = site.calendar().shift_at(acquired_at) if one.study_time else UNKNOWN
            number = normalise_accession_number(site.accession_rule, one.accession_number)
            yield ArchiveStudyListed(
                study_key=study_key,
                accession_key=self.pseudonymiser.accession_key(site.accession_issuer, number) if number else None,
                site=site.identifier,
                scanner=scanner,
                shift=shift,
                acquired_at=acquired_at,
                listed_at=now,
                received=received,
                instances_listed=one.instances,
                instances_received=self.instance_count(study_key) if received else 0,
            )

    @staticmethod
    def _acquired_at(site: Site, study: ListedStudy) -> datetime:
        return local_instant(study.study_date, study.study_time or MIDDAY, site.time_zone)

    def _admits(self, study: ListedStudy, acquired_at: datetime) -> bool:
        """Whether the protocol admits it on what a list tells; what a list does not tell does not exclude."""
        rules = self.protocol.eligibility
        if study.modalities and rules.modality not in study.modalities:
            return False
        if not rules.admits_description(study.study_description):
            return False
        born = study.birth_date
        if born is not None:
            day = study.study_date
            age = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
            if age < rules.minimum_age_years:
                return False
        return self.protocol.index_window_start <= acquired_at < self.protocol.index_window_end
