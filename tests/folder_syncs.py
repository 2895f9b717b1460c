"""Sees each folder that is made durable, and lets the disk refuse it: Python tells its audit hooks of every open."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_seen: list[Path] | None = None
_refused: Path | None = None


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event != "open" or _seen is None:
        return
    path, _, flags = arguments
    if isinstance(path, (str, Path)) and isinstance(flags, int) and flags & os.O_DIRECTORY:
        if Path(path) == _refused:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        _seen.append(Path(path))


sys.addaudithook(_hook)


@contextmanager
def folder_syncs(refused: Path | None = None) -> Iterator[list[Path]]:
    """The folders that are opened to be synced while this lasts; `refused` cannot be."""
    global _seen, _refused
    _seen, _refused = [], refused
    try:
        yield _seen
    finally:
        _seen = _refused = None
