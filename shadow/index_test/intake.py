"""The admission lane: closed study revisions become events, and eligible ones go to the models' lanes.

The order makes a crash harmless anywhere: identities into the vault, events into the ledger, entries into the
models' queues, and only then is the item done. Each step done twice is done once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from shadow.domain.errors import ConfigurationError, LedgerConflict, StoreError
from shadow.domain.home import Home
from shadow.domain.identifiers import Pseudonymiser
from shadow.index_test.admission import ACTOR, Admission, admit_study, failed_admission
from shadow.index_test.copies import ReadyStudy
from shadow.index_test.lane import MAXIMUM_ATTEMPTS, Patience, Work, drain
from shadow.index_test.study_manifest import StudyManifest, manifest_path, read_manifest
from shadow.protocol.site import Site
from shadow.protocol.trial import TrialProtocol
from shadow.store.durable import make_folder, write_durably
from shadow.store.events import Audited, Event, Kind
from shadow.store.ledger import Ledger
from shadow.store.queue import WorkQueue
from shadow.store.vault import Vault

QUEUE = "admission"
BATCH = 16

_log = logging.getLogger(__name__)


def drain_admissions(
    *,
    home: Home,
    ledger: Ledger,
    vault: Vault,
    sites: Sequence[Site],
    protocol: TrialProtocol,
    pseudonymiser: Pseudonymiser,
    linger_seconds: float,
    budget_seconds: float,
    stop: Callable[[], bool],
) -> int:
    """Admit every closed study that is ready, and linger for more. Returns how many were admitted or excluded.

    Raises:
        LaneBusy: another process admits.
        OSError, StoreError: the disk, ledger or vault failed; what is in the queue stays there.
    """
    lane = _Admissions(home, ledger, vault, sites, protocol, pseudonymiser)
    work = Work(lane.finish, lane.give_up, BATCH)
    patience = Patience(linger_seconds, budget_seconds, stop)
    return drain(lane.queue, home.queues / f".in-flight-{QUEUE}", work, patience)


def model_queue(home: Home, model: str) -> WorkQueue:
    """The queue of a model's lane."""
    return WorkQueue(home.queues / f"model-{model}")


@dataclass(frozen=True, slots=True)
class _Admissions:
    home: Home
    ledger: Ledger
    vault: Vault
    sites: Sequence[Site]
    protocol: TrialProtocol
    pseudonymiser: Pseudonymiser

    @property
    def queue(self) -> WorkQueue:
        return WorkQueue(self.home.queues / QUEUE)

    def finish(self, names: list[str]) -> Collection[str]:
        """Admit a batch with one vault write and one append."""
        admissions: dict[str, Admission] = {}
        impossible: dict[str, Audited] = {}
        for name in names:
            manifest = self._manifest(name)
            if isinstance(manifest, Audited):
                impossible[name] = manifest
                continue
            admission = self._admit(name, manifest)
            if admission is not None:
                admissions[name] = admission
        self._record(list(admissions.values()), list(impossible.values()))
        return admissions.keys() | impossible.keys()

    def give_up(self, name: str) -> None:
        """Exclude a study on which the process died too often."""
        manifest = self._manifest(name)
        if isinstance(manifest, Audited):
            self._record([], [manifest])
        else:
            self._record([failed_admission(manifest, self.sites, "process_died")], [])

    def _manifest(self, name: str) -> StudyManifest | Audited:
        """The item's manifest, or the audit entry that says why there is none to read."""
        study_key, _, revision = name.rpartition(".r")
        try:
            return read_manifest(manifest_path(self.home.spool, study_key, int(revision)))
        except (FileNotFoundError, ValueError):
            reason = "manifest_missing"
        except StoreError:
            reason = "manifest_damaged"
        _log.error("admission impossible: %s study_key=%s", reason, study_key)
        return Audited(f"admission:{name}", ACTOR, "admission_impossible", study_key or name, reason)

    def _admit(self, name: str, manifest: StudyManifest) -> Admission | None:
        """Admit one study; None where it failed and comes again."""
        try:
            return admit_study(
                manifest,
                manifest_path(self.home.spool, manifest.study_key, manifest.revision).parent,
                sites=self.sites,
                protocol=self.protocol,
                pseudonymiser=self.pseudonymiser,
                studies_folder=self.home.studies,
            )
        except (OSError, StoreError, ConfigurationError):
            raise
        except Exception as error:  # noqa: BLE001 (the edge: any study may hold what nobody thought of)
            failure = type(error).__name__
            attempts = self.queue.begin(name)
            _log.error("admission failed: %s attempt=%d study_key=%s", failure, attempts, manifest.study_key)
            if attempts < MAXIMUM_ATTEMPTS:
                return None
            return failed_admission(manifest, self.sites, failure)

    def _record(self, admissions: list[Admission], audits: list[Audited]) -> None:
        """Put a batch on record, then hand the eligible ones to the models. What is on record already stands."""
        for admission in admissions:
            self._pass_on(admission)
        self.vault.put_many([one for admission in admissions for one in admission.identities])
        known = self.ledger.known(Kind.STUDY, [admission.closed.key for admission in admissions])
        # A study and its refusal are appended together, so of a known study there is nothing new to say.
        events = [
            event
            for admission in admissions
            for event in ([admission.closed] if admission.closed.key in known else _events(admission))
        ]
        try:
            self.ledger.append([*events, *audits])
        except LedgerConflict:
            self.ledger.append([*audits, *(one for one in map(self._conflict, admissions) if one is not None)])
            self.ledger.append([
                event
                for admission in admissions
                if admission.closed.key not in known
                for event in _events(admission)
            ])  # fmt: skip
        self._hand_over(admissions)

    def _pass_on(self, admission: Admission) -> None:
        """Structured reports go to the report side's folder, unread; the same one twice is one report."""
        site = admission.closed.site
        folder = self.home.report_files / "incoming" / site
        for document in admission.report_documents if any(one.identifier == site for one in self.sites) else ():
            make_folder(folder)
            write_durably(folder / f"{admission.closed.study_key}-{document.stem}.dcm", document.read_bytes())

    def _conflict(self, admission: Admission) -> Audited | None:
        """An audit entry where the ledger holds another content of this study."""
        try:
            if self.ledger.find(Kind.STUDY, admission.closed.key) is not None:
                self.ledger.append([admission.closed])
        except LedgerConflict:
            key = admission.closed.key
            _log.error("admission differs from the recorded one: study_key=%s", admission.closed.study_key)
            return Audited(f"admission-conflict:{key}", ACTOR, "admission_conflict", key, "the first stands")
        return None

    def _hand_over(self, admissions: list[Admission]) -> None:
        """Give the models every first revision that the ledger does not refuse."""
        refused = self.ledger.known(Kind.EXCLUSION, [admission.closed.key for admission in admissions])
        queues = [model_queue(self.home, model.identifier) for model in self.protocol.run_here]
        for admission in admissions:
            closed = admission.closed
            if closed.revision != 1 or closed.key in refused:
                continue
            # Without copies the models' lanes ask for them again, and count a failure in the end.
            ready = admission.ready or ReadyStudy(closed.study_key, closed.revision, "")
            for queue in queues:
                queue.put(ready.name, ready.to_bytes())


def _events(admission: Admission) -> list[Event]:
    """The study before its refusal, so that no reader of the ledger meets a refusal of nothing."""
    excluded = [admission.excluded] if admission.excluded else []
    return [*admission.unreadable, admission.closed, *excluded, *admission.vendor_results]
