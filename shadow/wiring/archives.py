"""Asks the sites' archives what they had, and fetches from them what somebody orders."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from shadow.domain.errors import ConfigurationError
from shadow.index_test.archive import Archive
from shadow.index_test.reconciliation import DayReconciled
from shadow.protocol.deployment import ArchivePeer
from shadow.protocol.site import Site
from shadow.wiring.tasks import task_trial
from shadow.wiring.trial import Trial


def reconcile_archives() -> int:
    """Reconcile every site that has an archive. Returns how many days were asked about."""
    trial = task_trial()
    return sum(one.asked for peer in trial.deployment.archives for one in reconcile_site(trial, peer.site))


def reconcile_site(trial: Trial, site: str, days: tuple[date, ...] | None = None) -> list[DayReconciled]:
    """Reconcile one site's last days, or the days given.

    Raises:
        ConfigurationError: the deployment names no archive of the site, or the trial has no such site.
    """
    from shadow.index_test.reconciliation import Reconciler
    from shadow.index_test.spool import instance_of

    found, peer = _site_and_peer(trial, site)
    studies = trial.home.spool / "studies"

    def instance_count(study_key: str) -> int:
        folder = studies / study_key
        return sum(instance_of(path.name) is not None for path in folder.iterdir()) if folder.exists() else 0

    with trial.open_ledger() as ledger:
        reconciler = Reconciler(trial.protocol, trial.pseudonymiser(), ledger, instance_count)
        return reconciler.reconcile(found, peer, archive_of(trial, peer), trial.clock.now(), days)


def backfill_site(trial: Trial, site: str, days: tuple[date, ...]) -> Iterator[tuple[str, int]]:
    """Fetch every study of these days that the protocol admits and that is not here: its key and its instances.

    Raises:
        ConfigurationError: the deployment names no archive of the site, or the trial has no such site.
        ArchiveUnavailable: the archive does not answer; what was fetched before is here.
    """
    from shadow.index_test.backfill import Backfill
    from shadow.store.events import Kind

    found, peer = _site_and_peer(trial, site)
    archive, receiver = archive_of(trial, peer), trial.deployment.receiver
    pseudonymiser, rules = trial.pseudonymiser(), trial.protocol.eligibility
    with trial.open_ledger() as ledger:
        backfill = Backfill(
            spool=trial.home.spool,
            calling_ae_title=found.calling_ae_titles[0],
            minimum_free_bytes=receiver.minimum_free_bytes,
            maximum_object_bytes=receiver.maximum_object_bytes,
            pseudonymiser=pseudonymiser,
            record=lambda event: ledger.append([event]),
        )
        for day in days:
            for study in list(archive.studies_of(day, rules.modality)):
                key = pseudonymiser.study_key(study.study_instance_uid)
                if rules.admits_description(study.study_description) and not ledger.known(Kind.STUDY, [f"{key}:r1"]):
                    yield key, backfill.fetch(archive, study.study_instance_uid)


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
        raise ConfigurationError("trial file", "sites", f"does not name '{site}'; it names {known}")
    peer = next((one for one in trial.deployment.archives if one.site == site), None)
    if peer is None:
        raise ConfigurationError(file, "archives", f"names none for site '{site}'; add one to ask it")
    return found, peer
