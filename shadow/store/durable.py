"""Files that are whole or not there, also after a power cut: write, fdatasync, rename, fsync the folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_durably(path: Path, content: bytes) -> None:
    """Put `content` under `path`, mode 0600; on return it survives a power cut, and no reader ever sees a part of it.

    Raises:
        OSError: the disk is full or failing; what was under `path` is untouched and nothing is left beside it.
    """
    temporary = _written(path, content)
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def create_durably(path: Path, content: bytes) -> None:
    """As `write_durably`, for a file that must not be there yet.

    Raises:
        FileExistsError: it is there already, whole; it was not touched.
    """
    temporary = _written(path, content)
    try:
        os.link(temporary, path)
    finally:
        temporary.unlink()
    sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """A folder of mode 0700 whose name, and those of the new folders above it, survive a power cut."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    sync_folder(path.parent)


def _written(path: Path, content: bytes) -> Path:
    """A durable file beside `path` under a name of its own: two threads may write one path at once."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)  # mode 0600
    try:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        Path(name).unlink(missing_ok=True)  # a full disk needs the room
        raise
    return Path(name)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
