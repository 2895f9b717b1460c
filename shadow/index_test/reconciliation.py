"""What the archive had for the trial, and what of it never reached us: the denominator, checked from outside.

A scanner that does not route looks like a scanner without misses. So each night every site's router or PACS is
asked for the studies that the protocol's rules admit, and each one is put on record once, with whether it was here.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from shadow.domain.errors import ArchiveUnavailable
from shadow.domain.identifiers import Pseudonymiser, normalise_accession_number
from shadow.domain.shift import local_instant
from shadow.index_test.archive import Archive, ListedStudy
from shadow.index_test.spooled_instance import is_uid
from shadow.protocol.deployment import ArchivePeer
from shadow.protocol.site import Site
from shadow.protocol.trial import TrialProtocol
from shadow.store.events import ArchiveStudyListed, Audited, Kind
from shadow.store.ledger import Ledger

ACTOR = "reconciliation"
ASKED, SILENT = "archive_asked", "archive_silent"
FETCHER, FETCHED, INSTANCES = "backfill", "study_fetched", "instances="
"""Who fetches a study, and what stands on record of it, with how many of its instances came that way."""
UNLISTED, UNKNOWN = "unlisted", "unknown"
MIDDAY = time(12)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DayReconciled:
    """One day of one site.

    Attributes:
        listed: studies of the archive's answer.
        admitted: of these admitted by the protocol, settled, and put on record now.
        missing: of the admitted, those that are not here.
        absent: all that are admitted, settled and not here now, whenever they were put on record.
        unsettled: admitted, and too young to be missed.
        unusable: listed without a usable Study Instance UID; nobody can say whether they are here.
        asked: False where there is no answer; then the rest is 0 and says nothing.
    """

    site: str
    day: date
    listed: int
    admitted: int
    missing: int
    absent: int = 0
    unsettled: int = 0
    unusable: int = 0
    asked: bool = True


@dataclass(frozen=True, slots=True)
class _Admitted:
    study_key: str
    acquired_at: datetime
    study: ListedStudy


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
        settled_before = now - timedelta(hours=peer.settle_hours)
        try:
            listed = _once(archive.studies_of(day, self.protocol.eligibility.modality))
            admitted = self._admitted(site, archive, listed)
            settled = [one for one in admitted if one.acquired_at < settled_before]
            known = self._on_record([one.study_key for one in settled])
            here = known | {one.study_key for one in settled if self.instance_count(one.study_key)}
            events = list(self._events(site, archive, settled, known, here, now))
        except ArchiveUnavailable as error:
            _log.error("%s", error)
            self.ledger.append_new([Audited(f"{SILENT}:{where}:{asked_on}", ACTOR, SILENT, where, "no answer")])
            return DayReconciled(site.identifier, day, 0, 0, 0, asked=False)
        self.ledger.append_new(events)
        found = DayReconciled(
            site=site.identifier,
            day=day,
            listed=len(listed),
            admitted=len(events),
            missing=sum(not one.received for one in events),
            absent=len(settled) - len(here),
            unsettled=len(admitted) - len(settled),
            unusable=sum(not is_uid(one.study_instance_uid) for one in listed),
        )
        if datetime.combine(day + timedelta(days=1), time(), site.time_zone) <= settled_before:
            # Only a day that is over and settled has its answer: until then more of it may come.
            self.ledger.append_new([Audited(f"{ASKED}:{where}:{asked_on}", ACTOR, ASKED, where, _detail(found))])
        return found

    def admitted_studies(self, site: Site, archive: Archive, day: date) -> list[tuple[str, ListedStudy]]:
        """The studies of a day that the protocol admits, each with its key.

        Raises:
            ArchiveUnavailable: the archive does not answer.
        """
        listed = _once(archive.studies_of(day, self.protocol.eligibility.modality))
        return [(one.study_key, one.study) for one in self._admitted(site, archive, listed)]

    def _admitted(self, site: Site, archive: Archive, listed: Sequence[ListedStudy]) -> list[_Admitted]:
        """Those that the protocol admits, young or not."""
        admitted = []
        for one in listed:
            acquired_at = self._acquired_at(site, one)
            if is_uid(one.study_instance_uid) and self._admits(archive, one, acquired_at):
                admitted.append(_Admitted(self.pseudonymiser.study_key(one.study_instance_uid), acquired_at, one))
        return admitted

    def _on_record(self, study_keys: Sequence[str]) -> frozenset[str]:
        found = self.ledger.known(Kind.STUDY, [f"{key}:r1" for key in study_keys])
        return frozenset(key for key in study_keys if f"{key}:r1" in found)

    def _events(
        self,
        site: Site,
        archive: Archive,
        settled: Sequence[_Admitted],
        known: frozenset[str],
        here: frozenset[str],
        now: datetime,
    ) -> Iterator[ArchiveStudyListed]:
        """What is listed for the first time. `here` holds `known`, and what lies in the spool and waits."""
        keys = [one.study_key for one in settled]
        listed_before = self.ledger.known(Kind.ARCHIVE_STUDY, keys)
        fetched = self.ledger.known(Kind.AUDIT, [fetched_first(key) for key in keys])
        fetched_instances = self._fetched_instances()
        for one in settled:
            if one.study_key in listed_before:
                continue
            received = one.study_key in here and fetched_first(one.study_key) not in fetched
            number = normalise_accession_number(site.accession_rule, one.study.accession_number)
            scanner, shift = ("", "") if one.study_key in known else self._place(site, archive, one)
            yield ArchiveStudyListed(
                study_key=one.study_key,
                accession_key=self.pseudonymiser.accession_key(site.accession_issuer, number) if number else None,
                site=site.identifier,
                scanner=scanner,
                shift=shift,
                acquired_at=one.acquired_at,
                listed_at=now,
                received=received,
                instances_listed=one.study.instances,
                instances_received=max(0, self.instance_count(one.study_key) - fetched_instances[one.study_key])
                if received
                else 0,
            )

    def _fetched_instances(self) -> Counter[str]:
        """By study, how many of its instances are here because we fetched them."""
        fetched: Counter[str] = Counter()
        for row in self.ledger.about(FETCHER, Kind.AUDIT):
            entry = json.loads(row.body or "{}")
            if entry.get("action") == FETCHED:
                fetched[entry["object"]] += int(entry["detail"].removeprefix(INSTANCES))
        return fetched

    def _place(self, site: Site, archive: Archive, one: _Admitted) -> tuple[str, str]:
        """Scanner and shift by the archive's word."""
        station = archive.station_name(one.study.study_instance_uid, self.protocol.eligibility.modality)
        scanner = site.scanner_of(station or "")
        shift = site.calendar().shift_at(one.acquired_at) if one.study.study_time else UNKNOWN
        return scanner.identifier if scanner else UNLISTED, shift

    @staticmethod
    def _acquired_at(site: Site, study: ListedStudy) -> datetime:
        return local_instant(study.study_date, study.study_time or MIDDAY, site.time_zone)

    def _admits(self, archive: Archive, study: ListedStudy, acquired_at: datetime) -> bool:
        """Whether the protocol admits it on what a list tells; what a list does not tell does not exclude.

        Of a study whose modalities the list does not tell, the archive is asked for its series.
        """
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
        if not self.protocol.index_window_start <= acquired_at < self.protocol.index_window_end:
            return False
        return bool(study.modalities) or archive.station_name(study.study_instance_uid, rules.modality) is not None


def fetched_first(study_key: str) -> str:
    """The key of the entry that says: this study came because we fetched it, not by its route."""
    return f"fetched-first:{study_key}"


def _once(listed: Iterable[ListedStudy]) -> list[ListedStudy]:
    """Each study once, as it was told first; those without a usable UID all stay."""
    found: dict[object, ListedStudy] = {}
    for number, one in enumerate(listed):
        found.setdefault(one.study_instance_uid if is_uid(one.study_instance_uid) else number, one)
    return list(found.values())


def _detail(found: DayReconciled) -> str:
    return f"listed={found.listed} admitted={found.admitted} missing={found.missing} unusable={found.unusable}"
