"""Key files: 32 random bytes that only their owner can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from shadow.domain.errors import VaultLocked
from shadow.store.durable import create_durably, make_folder

KEY_BYTES = 32


def create_key_file(path: Path) -> bytes:
    """Write a new key (0600 in a 0700 folder) and return it.

    Raises:
        FileExistsError: there is a key already; it is never overwritten.
    """
    make_folder(path.parent)
    key = os.urandom(KEY_BYTES)
    create_durably(path, key)
    return key


def read_key_file(path: Path) -> bytes:
    """The key of a file.

    Raises:
        VaultLocked: the file is missing, readable by others, or too short; the message says what to do.
    """
    try:
        mode = path.stat().st_mode
        key = path.read_bytes()
    except OSError as error:
        raise VaultLocked(f"{path}: cannot be read ({error.strerror}); restore the key file") from error
    if stat.S_IMODE(mode) & 0o077:
        raise VaultLocked(f"{path}: others can read it; run `chmod 600 {path}` and consider the key as known")
    if len(key) < KEY_BYTES:
        raise VaultLocked(f"{path}: has {len(key)} bytes, a key has {KEY_BYTES}; restore the key file")
    return key


def read_or_create_key_file(path: Path) -> bytes:
    """The key of a file, made on first use; of two processes that make it, both get the one that stands."""
    if not path.exists():
        try:
            return create_key_file(path)
        except FileExistsError:
            pass
    return read_key_file(path)
