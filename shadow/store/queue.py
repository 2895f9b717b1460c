"""Work that is ready, as files in a folder; whoever holds the folder's lane owns all of it.

There is no claim and no lease: the lane is a file lock, and the kernel releases it with the process that held
it. An item stays until it is done, so a process that is killed leaves its work to the next one.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shadow.domain.errors import LaneBusy
from shadow.store.durable import make_folder, sync_folder, write_durably

READY = ".ready"
ATTEMPTS = ".attempts"


class WorkQueue:
    """One folder of work."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_folder(folder)

    def put(self, name: str, payload: bytes = b"") -> None:
        """Add an item, durable on return; an item of that name is replaced."""
        write_durably(self._folder / (name + READY), payload)

    def ready(self) -> list[str]:
        """The names of all items, oldest first."""
        found = []
        for entry in os.scandir(self._folder):
            if entry.name.endswith(READY) and not entry.name.startswith("."):
                try:
                    found.append((entry.stat().st_mtime_ns, entry.name.removesuffix(READY)))
                except FileNotFoundError:
                    continue  # done by the lane's holder since the folder was listed
        return [name for _, name in sorted(found)]

    def read(self, name: str) -> bytes:
        """An item's payload."""
        return (self._folder / (name + READY)).read_bytes()

    def begin(self, name: str) -> int:
        """Count one more attempt at an item, before it is tried; returns which attempt this is, from 1."""
        path = self._folder / (name + ATTEMPTS)
        attempt = (int(path.read_text() or 0) if path.exists() else 0) + 1
        path.write_text(str(attempt), encoding="utf-8")
        return attempt

    def done(self, name: str) -> None:
        """Remove an item; its result is durable elsewhere."""
        (self._folder / (name + READY)).unlink(missing_ok=True)
        (self._folder / (name + ATTEMPTS)).unlink(missing_ok=True)

    @contextmanager
    def lane(self) -> Iterator[None]:
        """Hold the lane.

        Raises:
            LaneBusy: another process holds it.
        """
        descriptor = os.open(self._folder / ".lane", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LaneBusy(f"another process works on {self._folder.name}") from error
            yield
            sync_folder(self._folder)
        finally:
            os.close(descriptor)
