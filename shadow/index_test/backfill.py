"""Fetching studies from an archive into the spool, where they take the way of every other study.

A study is fetched beside the spool first and moved in whole, so that a slow archive does not make its first
revision half a study. It is on record as fetched before it is moved. What was fetched after its report is late, like
any other result that came too late: fetching fills gaps in the data, never in the denominator.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shadow.domain.errors import ArchiveUnavailable, SetupError
from shadow.domain.identifiers import Pseudonymiser
from shadow.index_test.archive import Archive, FetchedInstance
from shadow.index_test.inlet import Inlet, Offer, Receipt
from shadow.index_test.reconciliation import FETCHED, FETCHER, INSTANCES, fetched_first
from shadow.index_test.spooled_instance import instance_of
from shadow.store.durable import make_folder, sync_folder, write_durably
from shadow.store.events import Audited

NOT_HERE = "study_was_not_here"
WHOLE = "whole"
"""A file beside a fetched study: all of it is here and on record, and may be moved to the spool."""
DISK_REFUSES = (Receipt.NO_SPACE, Receipt.WRITE_FAILED)


@dataclass(frozen=True, slots=True)
class Backfill:
    """What it takes to fetch a study.

    Attributes:
        spool: the spool's folder.
        calling_ae_title: under which title of the site the instances count as sent.
        minimum_free_bytes, maximum_object_bytes: as the receiver has them.
        record: appends an event durably; one whose key is there changes nothing.
    """

    spool: Path
    calling_ae_title: str
    minimum_free_bytes: int
    maximum_object_bytes: int
    pseudonymiser: Pseudonymiser
    record: Callable[[Audited], object]

    def recover(self) -> int:
        """Take up what a run that was killed left: whole studies go to the spool, the rest is fetched again.

        Returns how many studies were moved.
        """
        moved = 0
        for staging in sorted((self.spool / "fetching").glob("*")):
            if (staging / WHOLE).exists():
                self._move(staging)
                moved += 1
            shutil.rmtree(staging)
        return moved

    def fetch(self, archive: Archive, study_instance_uid: str, *, by_move: bool = False) -> int:
        """Fetch one study; the mirror finds it within seconds. Returns its instances that were not here.

        Args:
            archive: where it is.
            study_instance_uid: of the study.
            by_move: whether the archive sends it to our receiver instead (C-MOVE); then 0 is returned.

        Raises:
            ArchiveUnavailable: the archive did not send all of it, or an instance that cannot be kept.
            SetupError: the disk is full, or refuses.
        """
        study_key = self.pseudonymiser.study_key(study_instance_uid)
        staging = self.spool / "fetching" / study_key
        shutil.rmtree(staging, ignore_errors=True)
        if by_move:
            self._record_absence(study_key)
            archive.fetch(study_instance_uid, lambda _: None)
            return 0
        limits = {
            "minimum_free_bytes": self.minimum_free_bytes,
            "maximum_object_bytes": self.maximum_object_bytes,
        }
        try:
            with Inlet(staging, (self.calling_ae_title,), **limits) as inlet:
                archive.fetch(study_instance_uid, lambda one: self._keep(inlet, one))
            new = self._drop_what_is_here(staging, study_key)
            if new:
                self._record_absence(study_key)
                here = len(self._here(study_key))
                detail = f"{INSTANCES}{new}"
                self.record(Audited(f"{FETCHER}:{study_key}:{here}:{detail}", FETCHER, FETCHED, study_key, detail))
                write_durably(staging / WHOLE, b"")
                self._move(staging)
        finally:
            # What is whole and on record, and could not be moved, is moved by the next run.
            if not (staging / WHOLE).exists():
                shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(staging, ignore_errors=True)
        return new

    def _record_absence(self, study_key: str) -> None:
        """That nothing of the study was here: from now on it never counts as having come by its route."""
        if not self._here(study_key):
            self.record(Audited(fetched_first(study_key), FETCHER, NOT_HERE, study_key, ""))

    def _here(self, study_key: str) -> frozenset[str]:
        """SOP Instance UIDs of the study that are in the spool."""
        folder = self.spool / "studies" / study_key
        files = folder.iterdir() if folder.exists() else ()
        return frozenset(one.sop_instance_uid for path in files if (one := instance_of(path.name)) is not None)

    def _drop_what_is_here(self, staging: Path, study_key: str) -> int:
        """Leave what is new: the same image in another router's bytes would count as a conflict."""
        here, new = self._here(study_key), 0
        for path in _fetched_files(staging):
            found = instance_of(path.name)
            if found is None or found.sop_instance_uid in here:
                path.unlink()
            else:
                new += 1
        return new

    def _keep(self, inlet: Inlet, fetched: FetchedInstance) -> None:
        offer = Offer(
            self.calling_ae_title, fetched.sop_class_uid, fetched.sop_instance_uid, fetched.transfer_syntax_uid
        )
        receipt, _ = inlet.receive(offer, fetched.data_set)
        if receipt in DISK_REFUSES:
            raise SetupError(
                f"the spool's disk refuses ({receipt.value}): minimum_free_bytes must stay free. Make room, then run "
                "the command again; what was fetched before is here"
            )
        if receipt is not Receipt.STORED:
            raise ArchiveUnavailable(f"an instance was not kept: {receipt.value}")

    def _move(self, staging: Path) -> None:
        """Move a whole study to what has arrived; a second time it moves what is left."""
        targets = set()
        for path in _fetched_files(staging):
            target = self.spool / "arrived" / path.parent.name
            if target not in targets:
                make_folder(target)
                targets.add(target)
            path.rename(target / path.name)
        for target in targets:
            sync_folder(target)


def _fetched_files(staging: Path) -> list[Path]:
    return sorted(path for path in staging.glob("*/*") if path.is_file())
