"""A folder into which others put files: read once they are whole, then put away under their digest."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shadow.store.durable import sync_folder

SETTLED_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class DropFolder:
    """Files come into `incoming` and go to `done`.

    Who writes takes a name that begins with a dot and renames the file when it is whole. A file that was written in
    place is read two seconds after its last change.
    """

    incoming: Path
    done: Path

    def settled(self, suffixes: Sequence[str]) -> list[Path]:
        """The files with one of these suffixes (`.csv`) that are whole, by name."""
        self.incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        return [
            path
            for path in sorted(self.incoming.iterdir())
            if path.suffix.lower() in suffixes
            and not path.name.startswith(".")
            and time.time() - path.stat().st_mtime >= SETTLED_SECONDS
        ]

    def put_away(self, path: Path, content: bytes) -> None:
        """Move a file that has been taken in; the same content under the same name lands on itself."""
        self.done.mkdir(mode=0o700, parents=True, exist_ok=True)
        digest = hashlib.sha256(content).hexdigest()
        path.replace(self.done / f"{path.stem}-{digest[:12]}{path.suffix}")
        sync_folder(self.done)
        sync_folder(self.incoming)
