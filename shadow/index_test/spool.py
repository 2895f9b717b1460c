"""The spool: DICOM instances as they came, durable before anybody is told so.

    arrived/<calling AE title>/<instance>       acknowledged, not yet sorted
    studies/<study_key>/<instance>              one file a SOP Instance UID
    studies/<study_key>/other/<instance>        same SOP Instance UID, other bytes
    studies/<study_key>/manifest-r<N>.json      a closed revision
    open/<study_key>.json                       a revision that is not yet closed and queued
    quarantine/<instance>                       unreadable; <instance>.reason.json says why

<instance> is `<SOP Instance UID>~b3-<BLAKE3 of the file>.dcm`: the name is the record. What lies there
after a power cut is what was acknowledged. Earlier versions named files by their SHA-256, without a prefix; those
are read as before. The spool holds identities in clear: its folders are readable by
their owner alone.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from urllib.parse import unquote

from shadow.domain.errors import SetupError
from shadow.index_test.inlet import Inlet
from shadow.index_test.spooled_instance import instance_of
from shadow.store.durable import sync_folder


class Spool(Inlet):
    """One trial's spool; opening takes the folder's only lock.

    Raises:
        SetupError: another process has this spool open.
    """

    def __init__(
        self,
        root: Path,
        calling_ae_titles: tuple[str, ...],
        *,
        minimum_free_bytes: int,
        maximum_object_bytes: int,
    ) -> None:
        self.studies = root / "studies"
        self.open_revisions, self.quarantine = root / "open", root / "quarantine"
        for folder in (root, self.studies, self.open_revisions, self.quarantine):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock(root / ".lock")
        for part in (*root.glob("arrived/*.part"), *root.glob("arrived/*/*.part")):
            part.unlink()  # a trial of the disk, and what was never acknowledged
        for opened in self.open_revisions.glob("*.json"):
            _remove_unfinished(self.studies / opened.stem)
        for folder in (self.open_revisions, self.quarantine):
            _remove_unfinished(folder)
        super().__init__(
            root / "arrived",
            calling_ae_titles,
            minimum_free_bytes=minimum_free_bytes,
            maximum_object_bytes=maximum_object_bytes,
        )
        sync_folder(root)

    def close(self) -> None:
        """Release the folders and the lock."""
        super().close()
        os.close(self._lock)

    # Text in what is done to every instance: a path put together of objects costs as much as moving the file.

    def is_waiting(self, calling_ae_title: str, file: str) -> bool:
        """Whether this file is not yet sorted."""
        return os.path.exists(f"{self.arrived_from(calling_ae_title)}/{file}")  # noqa: PTH110

    def move_to_study(self, calling_ae_title: str, file: str, study_key: str) -> None:
        """Sort a file into a study, whose folder is there.

        Raises:
            OSError: the disk refuses; the file is where it was.
        """
        os.rename(f"{self.arrived_from(calling_ae_title)}/{file}", f"{self.studies}/{study_key}/{file}")  # noqa: PTH104

    def waiting(self, older_than_seconds: float = 0.0) -> list[tuple[str, str]]:
        """Calling AE title and name of every file not yet sorted, in the order of arrival; of so old ones alone."""
        found = [
            (path.stat().st_mtime, unquote(folder.name), path.name)
            for folder in self.arrived.iterdir()
            if folder.is_dir()  # a process that starts tries the disk beside the folders
            for path in folder.iterdir()
            if instance_of(path.name) is not None
        ]
        newest = time.time() - older_than_seconds
        return [(title, name) for at, title, name in sorted(found) if not older_than_seconds or at <= newest]


def _remove_unfinished(folder: Path) -> None:
    """Delete what a process that was killed had begun to write durably: nobody knows it by its name yet."""
    for path in folder.glob(".*.tmp"):
        path.unlink()


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise SetupError(f"{path.parent}: another mirror has this spool open; stop it first") from None
    return descriptor
