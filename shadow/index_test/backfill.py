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

from shadow.domain.errors import ArchiveUnavailable
from shadow.domain.identifiers import Pseudonymiser
from shadow.index_test.archive import Archive, FetchedInstance
from shadow.index_test.spool import Inlet, Offer, Receipt, instance_of
from shadow.store.durable import make_folder, sync_folder
from shadow.store.events import Audited

ACTOR, FETCHED = "backfill", "study_fetched"


@dataclass(frozen=True, slots=True)
class Backfill:
    """What it takes to fetch a study.

    Attributes:
        spool: the spool's folder.
        calling_ae_title: under which title of the site the instances count as sent.
        minimum_free_bytes, maximum_object_bytes: as the receiver has them.
        record: appends an event durably.
    """

    spool: Path
    calling_ae_title: str
    minimum_free_bytes: int
    maximum_object_bytes: int
    pseudonymiser: Pseudonymiser
    record: Callable[[Audited], object]

    def fetch(self, archive: Archive, study_instance_uid: str) -> int:
        """Fetch one study; the mirror finds it within seconds. Returns its instances.

        With C-MOVE the archive sends to our receiver instead, and 0 is returned.

        Raises:
            ArchiveUnavailable: the archive did not send all of it, or an instance could not be kept.
        """
        study_key = self.pseudonymiser.study_key(study_instance_uid)
        staging = self.spool / "fetching" / study_key
        shutil.rmtree(staging, ignore_errors=True)
        limits = {
            "minimum_free_bytes": self.minimum_free_bytes,
            "maximum_object_bytes": self.maximum_object_bytes,
        }
        try:
            with Inlet(staging, (self.calling_ae_title,), **limits) as inlet:
                archive.fetch(study_instance_uid, lambda one: self._keep(inlet, one))
                files = sorted(path for path in inlet.arrived_from(self.calling_ae_title).iterdir())
                instances = [path for path in files if instance_of(path.name) is not None]
                if instances:
                    detail = f"instances={len(instances)}"
                    self.record(Audited(f"backfill:{study_key}:{detail}", ACTOR, FETCHED, study_key, detail))
                    self._move(instances, inlet)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return len(instances)

    def _keep(self, inlet: Inlet, fetched: FetchedInstance) -> None:
        offer = Offer(
            self.calling_ae_title, fetched.sop_class_uid, fetched.sop_instance_uid, fetched.transfer_syntax_uid
        )
        receipt, _ = inlet.receive(offer, fetched.data_set)
        if receipt is not Receipt.STORED:
            raise ArchiveUnavailable(f"an instance was not kept: {receipt.value}")

    def _move(self, instances: list[Path], inlet: Inlet) -> None:
        target = self.spool / "arrived" / inlet.arrived_from(self.calling_ae_title).name
        make_folder(target)
        for path in instances:
            path.rename(target / path.name)
        sync_folder(target)
