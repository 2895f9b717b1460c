"""The mirror's second half: what was acknowledged is sorted into studies, and quiet studies are closed.

A closed study revision is a manifest, written once and durably, and an entry in the admission queue. Every
step can be repeated: a file that was sorted is a resend, a manifest that exists is not written again, and an
entry that was put twice is admitted once. `spool/open/` holds one small file for each revision between its
first instance and its place in the queue, so a start looks at these and not at the whole spool.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from shadow.domain.clock import Clock, from_text, to_text
from shadow.domain.errors import LedgerConflict, StoreError, UnreadableInstance
from shadow.domain.identifiers import Pseudonymiser
from shadow.index_test.arrival import Arrival, InstanceRefused, checked_study_instance_uid, uids_of_file
from shadow.index_test.completion import Completion
from shadow.index_test.early_start import EarlyStart
from shadow.index_test.spool import Spool
from shadow.index_test.spool_index import SpoolIndex
from shadow.index_test.spooled_instance import SpooledInstance, instance_of
from shadow.index_test.study_manifest import StudyManifest, digest_of, read_manifest, write_manifest
from shadow.store.durable import sync_folder, write_durably
from shadow.store.events import Audited, Event
from shadow.store.queue import WorkQueue

log = logging.getLogger(__name__)

ACTOR = "mirror"
STUDY_KEYS_KEPT = 256

LacksInstances = Callable[[str, Path, str, int], bool]


@dataclass(slots=True)
class _OpenRevision:
    """A revision between its first instance and its closing.

    Attributes:
        unrecorded: what the ledger is told of its closing, known before its manifest stands.
    """

    revision: int
    calling_ae_title: str
    first_received_at: datetime
    instances: dict[str, SpooledInstance]
    unrecorded: tuple[Audited, ...] = ()


class Mirror:
    """Sorts arrivals into studies and closes the quiet ones. One thread uses it.

    Args:
        spool: where the instances are.
        admission: where closed revisions are put, as `<study_key>.r<revision>`.
        pseudonymiser: gives the study keys.
        clock: the trial's clock.
        quiet_period_seconds: real seconds without a new instance after which a revision closes.
        record: appends events durably; the same event again changes nothing.
        index: told of every instance that is sorted; None keeps none.
        lacks_instances: asked of a study that has gone quiet, by its key, one of its files, its sender and how many
            instances it holds, whether its archive has more; a true answer delays, until the cap.
        early: tells of a first revision that it holds what the models need; None waits for whole studies.
    """

    def __init__(
        self,
        spool: Spool,
        admission: WorkQueue,
        pseudonymiser: Pseudonymiser,
        clock: Clock,
        quiet_period_seconds: float,
        record: Callable[[Sequence[Event]], object],
        index: SpoolIndex | None = None,
        lacks_instances: LacksInstances | None = None,
        early: EarlyStart | None = None,
    ) -> None:
        self._early = early
        self._closed_early: frozenset[str] = frozenset()
        self._lacks_instances = lacks_instances
        self._index = index
        self._spool = spool
        self._admission = admission
        self._pseudonymiser = pseudonymiser
        self._study_key = lru_cache(STUDY_KEYS_KEPT)(pseudonymiser.study_key)  # instances come a study at a time
        self._clock = clock
        self._record = record
        self._completion = Completion(quiet_period_seconds)
        self._open: dict[str, _OpenRevision] = {}
        self._forced: frozenset[str] = frozenset()

    def recover(self) -> list[Arrival]:
        """Take up what an earlier process left: open revisions count as just active.

        Returns:
            What was acknowledged but not sorted, oldest first; hand it to `sort`.
        """
        now = time.monotonic()
        for path in sorted(self._spool.open_revisions.glob("*.json")):
            try:
                self._take_up(path, now)
            except StoreError as error:  # a damaged file of one study must not stop the receiver; it stays as it is
                log.error("study_damaged", extra={"study_key": path.stem, "error": type(error).__name__})
        return self.unreported()

    def _take_up(self, path: Path, now: float) -> None:
        study_key = path.stem
        latest = self._latest_manifest(study_key)
        present = self._instances_in(study_key)
        is_queued = latest is None or self._is_queued_again(latest)
        if is_queued and len(present) == (0 if latest is None else len(latest.instances)):
            path.unlink()
            return
        title, first_received_at = _read_opening(path)
        revision = 1 if latest is None else latest.revision + int(is_queued)
        self._open[study_key] = _OpenRevision(revision, title, first_received_at, present)
        self._completion.touch(study_key, now, None)
        if self._early is not None and revision == 1:
            for one in present.values():
                self._early.saw(study_key, self._spool.studies / study_key / one.file, now)

    def _is_queued_again(self, latest: StudyManifest) -> bool:
        """Queue a revision that may have been closed without that; false where the disk refuses, as when it is full."""
        try:
            sync_folder(self._spool.studies / latest.study_key)  # the manifest's name may not be durable yet
            self._admission.put(f"{latest.study_key}.r{latest.revision}")
        except OSError as error:
            log.error("closing_waits", extra={"study_key": latest.study_key, "error": type(error).__name__})
            return False
        return True

    def unreported(self, older_than_seconds: float = 0.0) -> list[Arrival]:
        """What has lain in the spool unsorted for so long, whoever put it there: a fetch reports nothing."""
        now = time.monotonic()
        return [Arrival(title, file, now) for title, file in self._spool.waiting(older_than_seconds)]

    def sort(self, arrival: Arrival) -> None:
        """Move one instance to its study, or to the quarantine with the reason on record.

        Raises:
            OSError, StoreError: the disk or the ledger refused. The file is where it was; sort it again.
        """
        instance = instance_of(arrival.file)
        if instance is None or not self._spool.is_waiting(arrival.calling_ae_title, arrival.file):
            return  # a resend of the same bytes replaced the file, and was sorted with the first
        try:
            uids = arrival.uids or uids_of_file(self._source(arrival))
            study_instance_uid = checked_study_instance_uid(uids, instance.sop_instance_uid)
        except UnreadableInstance as unreadable:
            self._quarantine(self._source(arrival), arrival, instance, unreadable)
            return
        study_key = self._study_key(study_instance_uid)
        known = self._known_instances(study_key)
        first = known.get(instance.sop_instance_uid)
        if first is None:
            self._add(study_key, arrival, instance)
        elif first.digest == instance.digest:
            sync_folder(self._spool.studies / study_key)  # the kept copy first, then this one may go
            self._source(arrival).unlink()
        else:
            self._keep_aside(study_key, self._source(arrival), instance)
        if study_key in self._open:
            self._completion.touch(study_key, arrival.at, arrival.association_is_open)

    def count_refused(self, refused: InstanceRefused) -> None:
        """Put on record that an instance was refused, once however often its sender tries.

        Raises:
            OSError, StoreError: the disk or the ledger refused; count it again.
        """
        key = self._pseudonymiser.uid(f"{refused.calling_ae_title} {refused.sop_instance_uid}")
        self._record([Audited(f"refused:{refused.reason}:{key}", ACTOR, "instance_refused", key, refused.reason)])

    def due(self, at: float) -> list[str]:
        """The studies whose open revision is complete at this monotonic instant."""
        due = []
        for study_key in self._completion.due(at):
            waits = not self._completion.is_quiet(study_key, at) or self._waits_for_more(study_key)
            if not waits or self._completion.is_at_cap(study_key, at):
                due.append(study_key)
                self._forced = self._forced | {study_key} if waits else self._forced - {study_key}
        if self._early is not None:
            growing = [key for key, one in self._open.items() if one.revision == 1 and key not in due]
            early = [key for key in growing if self._early.ready(key, at)]
            self._closed_early = frozenset(early)
            due += early
        return due

    def _waits_for_more(self, study_key: str) -> bool:
        if self._lacks_instances is None:
            return False
        opened = self._open[study_key]
        one = next(iter(opened.instances.values()))
        path = self._spool.studies / study_key / one.file
        return self._lacks_instances(study_key, path, opened.calling_ae_title, len(opened.instances))

    def close(self, study_key: str) -> StudyManifest:
        """Close a study's open revision: manifest first, then the queue.

        Raises:
            OSError: the disk refused; the revision is still open, close it again.
        """
        opened = self._open[study_key]
        instances = tuple(sorted(opened.instances.values(), key=lambda one: one.sop_instance_uid))
        manifest = StudyManifest(
            study_key=study_key,
            revision=opened.revision,
            supersedes=opened.revision - 1 if opened.revision > 1 else None,
            calling_ae_title=opened.calling_ae_title,
            first_received_at=opened.first_received_at,
            closed_at=self._clock.now(),
            machine_closed_at=datetime.now(UTC),
            instances=instances,
            manifest_sha256=digest_of(instances),
        )
        path = self._spool.studies / study_key / f"manifest-r{opened.revision}.json"
        if path.exists():  # an earlier attempt got as far as this: its manifest stands
            manifest = read_manifest(path)
            sync_folder(path.parent)
        else:
            opened.unrecorded = tuple(self._before_its_time(study_key, f"{study_key}.r{opened.revision}"))
            write_manifest(path, manifest)
        self._admission.put(f"{study_key}.r{opened.revision}")
        if opened.unrecorded:
            self._record(opened.unrecorded)
        if len(manifest.instances) < len(instances):  # more came between the attempts
            opened.revision += 1
            return manifest
        (self._spool.open_revisions / f"{study_key}.json").unlink(missing_ok=True)
        del self._open[study_key]
        self._completion.forget(study_key)
        self._forced -= {study_key}
        self._closed_early -= {study_key}
        if self._early is not None:
            self._early.forget(study_key)
        return manifest

    def _before_its_time(self, study_key: str, name: str) -> Iterator[Audited]:
        """The entries that say that a revision closes though more of the study may come."""
        if study_key in self._forced:
            yield Audited(f"cap:{name}", ACTOR, "revision_closed_at_cap", study_key, name)
        if study_key in self._closed_early:
            yield Audited(f"early:{name}", ACTOR, "revision_closed_early", study_key, name)

    def _source(self, arrival: Arrival) -> Path:
        return self._spool.arrived_from(arrival.calling_ae_title) / arrival.file

    def _add(self, study_key: str, arrival: Arrival, instance: SpooledInstance) -> None:
        opened = self._open.get(study_key)
        if opened is None:
            opened = self._open[study_key] = self._open_revision(study_key, arrival.calling_ae_title)
        self._spool.move_to_study(arrival.calling_ae_title, arrival.file, study_key)
        opened.instances[instance.sop_instance_uid] = instance
        if self._early is not None and opened.revision == 1:
            self._early.saw(study_key, self._spool.studies / study_key / instance.file, arrival.at)
        if self._index is not None:
            self._index.add(study_key, (instance,))

    def _open_revision(self, study_key: str, calling_ae_title: str) -> _OpenRevision:
        (self._spool.studies / study_key).mkdir(mode=0o700, exist_ok=True)
        sync_folder(self._spool.studies)
        latest = self._latest_manifest(study_key)
        opened = _OpenRevision(
            revision=1 if latest is None else latest.revision + 1,
            calling_ae_title=calling_ae_title if latest is None else latest.calling_ae_title,
            first_received_at=self._clock.now() if latest is None else latest.first_received_at,
            instances=self._instances_in(study_key),
        )
        content = {
            "calling_ae_title": opened.calling_ae_title,
            "first_received_at": to_text(opened.first_received_at),
        }
        write_durably(self._spool.open_revisions / f"{study_key}.json", json.dumps(content).encode())
        return opened

    def _keep_aside(self, study_key: str, source: Path, instance: SpooledInstance) -> None:
        """Keep other bytes under a SOP Instance UID that is already there: the first feeds the trial."""
        self._audit("conflict", "instance_conflict", instance, "same_sop_instance_uid_other_bytes")
        aside = self._spool.studies / study_key / "other"
        aside.mkdir(mode=0o700, exist_ok=True)
        source.rename(aside / instance.file)
        sync_folder(aside)

    def _quarantine(
        self, source: Path, arrival: Arrival, instance: SpooledInstance, unreadable: UnreadableInstance
    ) -> None:
        reason = {
            "reason": unreadable.reason,
            "detail": unreadable.detail,
            "calling_ae_title": arrival.calling_ae_title,
        }
        sidecar = self._spool.quarantine / f"{instance.file}.reason.json"
        write_durably(sidecar, (json.dumps(reason) + "\n").encode())
        self._audit("instance", "instance_quarantined", instance, unreadable.reason)
        source.rename(self._spool.quarantine / instance.file)
        sync_folder(self._spool.quarantine)

    def _audit(self, purpose: str, action: str, instance: SpooledInstance, detail: str) -> None:
        identifier = f"{purpose}:{instance.digest[:32]}"
        try:
            self._record([Audited(identifier, ACTOR, action, instance.digest, detail)])
        except LedgerConflict:
            log.warning("already_on_record", extra={"action": action})  # with another reason: the first stands

    def _known_instances(self, study_key: str) -> dict[str, SpooledInstance]:
        opened = self._open.get(study_key)
        return self._instances_in(study_key) if opened is None else opened.instances

    def _instances_in(self, study_key: str) -> dict[str, SpooledInstance]:
        folder = self._spool.studies / study_key
        if not folder.exists():
            return {}
        found = [instance for path in folder.iterdir() if (instance := instance_of(path.name)) is not None]
        return {instance.sop_instance_uid: instance for instance in found}

    def _latest_manifest(self, study_key: str) -> StudyManifest | None:
        folder = self._spool.studies / study_key
        revisions = [int(path.stem.removeprefix("manifest-r")) for path in folder.glob("manifest-r*.json")]
        return read_manifest(folder / f"manifest-r{max(revisions)}.json") if revisions else None


def _read_opening(path: Path) -> tuple[str, datetime]:
    try:
        content = json.loads(path.read_bytes())
        return content["calling_ae_title"], from_text(content["first_received_at"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path.name}: not an open revision: {type(error).__name__}") from error
