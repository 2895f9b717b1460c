"""Asks the sites' archives what they had, and fetches from them what somebody orders."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from shadow.domain.errors import ArchiveUnavailable, ConfigurationError, LaneBusy, ShadowError
from shadow.index_test.archive import Archive, ListedStudy
from shadow.index_test.reconciliation import DayReconciled
from shadow.protocol.deployment import ArchivePeer, Retrieve
from shadow.protocol.site import Site
from shadow.wiring.tasks import task_trial
from shadow.wiring.trial import Trial

if TYPE_CHECKING:
    from shadow.index_test.backfill import Backfill
    from shadow.store.ledger import Ledger

_log = logging.getLogger(__name__)


def reconcile_archives() -> int:
    """Reconcile every site that has an archive. Returns how many days are on record, those without an answer too.

    Raises:
        ShadowError: one site cannot be asked as the deployment says; the others were.
    """
    trial = task_trial()
    days, failures = 0, list[ShadowError]()
    for peer in trial.deployment.archives:
        try:
            days += len(reconcile_site(trial, peer.site))
        except ShadowError as error:
            _log.error("reconciliation of %s failed: %s", peer.site, error)
            failures.append(error)
    if failures:
        raise failures[0]
    return days


def reconcile_site(trial: Trial, site: str, days: tuple[date, ...] | None = None) -> list[DayReconciled]:
    """Reconcile one site's last days, or the days given.

    Raises:
        ConfigurationError: the deployment names no archive of the site, or the trial has no such site.
    """
    from shadow.index_test.reconciliation import Reconciler

    found, peer = _site_and_peer(trial, site)
    with trial.open_ledger() as ledger:
        reconciler = Reconciler(trial.protocol, trial.pseudonymiser(), ledger, partial(_instances_here, trial))
        return reconciler.reconcile(found, peer, archive_of(trial, peer), trial.clock.now(), days)


def _instances_here(trial: Trial, study_key: str) -> int:
    from shadow.index_test.spooled_instance import instance_of

    folder = trial.home.spool / "studies" / study_key
    return sum(instance_of(path.name) is not None for path in folder.iterdir()) if folder.exists() else 0


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of one study that was to be fetched, or of a day whose studies nobody told.

    Attributes:
        study_key: empty for a day.
        day: the day.
        instances: that were not here and are now; None where the archive was asked to send them to the receiver.
        listed: instances of the study by the archive's list; None where it does not say.
        failure: why it could not be fetched; empty where it was.
    """

    study_key: str
    day: date
    instances: int | None = 0
    listed: int | None = None
    failure: str = ""


def backfill_site(trial: Trial, site: str, days: tuple[date, ...]) -> Iterator[Fetched]:
    """Fetch every study of these days that the protocol admits and that is not here, or not all of it.

    One that fails does not hold up those behind it.

    Raises:
        ConfigurationError: the deployment names no archive of the site, or the trial has no such site.
        LaneBusy: another fetch is at work.
        SetupError: the disk is full; what was fetched before is here.
    """
    from shadow.index_test.backfill import Backfill
    from shadow.index_test.reconciliation import Reconciler

    found, peer = _site_and_peer(trial, site)
    archive, receiver = archive_of(trial, peer), trial.deployment.receiver
    with _alone(trial.home.root / "backfill.lock"), trial.open_ledger() as ledger:
        reconciler = Reconciler(trial.protocol, trial.pseudonymiser(), ledger, partial(_instances_here, trial))
        backfill = Backfill(
            spool=trial.home.spool,
            calling_ae_title=found.calling_ae_titles[0],
            minimum_free_bytes=receiver.minimum_free_bytes,
            maximum_object_bytes=receiver.maximum_object_bytes,
            pseudonymiser=trial.pseudonymiser(),
            record=lambda event: ledger.append_new([event]),
        )
        backfill.recover()
        for day in days:
            try:
                admitted = reconciler.admitted_studies(found, archive, day)
            except ArchiveUnavailable as error:
                yield Fetched("", day, failure=str(error))
                continue
            wanted = [(key, one) for key, one in admitted if not _is_whole(trial, ledger, key, one)]
            for study_key, study in wanted:
                yield _fetched(backfill, archive, peer, study_key, study)


def _fetched(backfill: Backfill, archive: Archive, peer: ArchivePeer, study_key: str, study: ListedStudy) -> Fetched:
    by_move = peer.retrieve is Retrieve.C_MOVE
    try:
        instances = backfill.fetch(archive, study.study_instance_uid, by_move=by_move)
    except ArchiveUnavailable as error:
        return Fetched(study_key, study.study_date, listed=study.instances, failure=str(error))
    return Fetched(study_key, study.study_date, None if by_move else instances, study.instances)


def _is_whole(trial: Trial, ledger: Ledger, study_key: str, study: ListedStudy) -> bool:
    """Whether nothing is to be fetched: it is here, with as many instances as the archive lists or more."""
    from shadow.store.events import Kind

    here = _instances_here(trial, study_key)
    if here:
        return study.instances is None or here >= study.instances
    return bool(ledger.known(Kind.STUDY, [f"{study_key}:r1"]))  # it was here, and somebody emptied the spool


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """While it lasts, no other fetch works in this trial's folder. The kernel lets go when the process ends."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise LaneBusy("another `shadow backfill` is at work in this folder; wait until it ends") from error
        yield
    finally:
        os.close(descriptor)


def archive_of(trial: Trial, peer: ArchivePeer) -> Archive:
    """How this archive is spoken to."""
    from shadow.adapters.dicom_query import DimseArchive
    from shadow.adapters.dicomweb import WebArchive
    from shadow.adapters.mutual_tls import client_context

    if peer.ae_title:
        receiver = trial.deployment.receiver
        tls = client_context(receiver.tls, trial.home.root, "receiver.tls") if peer.tls and receiver.tls else None
        return DimseArchive(receiver.ae_title, peer, tls)
    return WebArchive(peer, trial.home.root)


def archives_that_count(trial: Trial) -> dict[str, Archive]:
    """By calling AE title, the archives that are asked how many instances a quiet study has."""
    peers = {peer.site: peer for peer in trial.deployment.archives if peer.ask_instance_count}
    return {
        title: archive_of(trial, peers[site.identifier])
        for site in trial.sites
        if site.identifier in peers
        for title in site.calling_ae_titles
    }


def days_between(first: date, last: date) -> tuple[date, ...]:
    """Both ends included."""
    return tuple(first + timedelta(days=number) for number in range((last - first).days + 1))


def _site_and_peer(trial: Trial, site: str) -> tuple[Site, ArchivePeer]:
    file = str(trial.home.configuration / "deployment.toml")
    found = next((one for one in trial.sites if one.identifier == site), None)
    if found is None:
        known = ", ".join(one.identifier for one in trial.sites)
        raise ConfigurationError(
            str(trial.home.configuration / "trials" / "trial.toml"),
            "sites",
            f"does not name '{site}'; it names {known}",
        )
    peer = next((one for one in trial.deployment.archives if one.site == site), None)
    if peer is None:
        raise ConfigurationError(file, "archives", f"names none for site '{site}'; add one to ask it")
    return found, peer
