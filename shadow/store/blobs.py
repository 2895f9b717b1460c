"""Report texts by digest, encrypted at rest."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shadow.domain.errors import VaultLocked
from shadow.store.durable import make_folder, write_durably

NONCE_BYTES = 12


class Blobs:
    """A folder of AES-256-GCM files named by the SHA-256 of what they hold."""

    def __init__(self, root: Path, key: bytes) -> None:
        self._root = root
        self._cipher = AESGCM(hashlib.sha256(b"shadow/blobs/1" + key).digest())

    def put(self, content: bytes) -> str:
        """Keep the content and return its digest; durable on return, and the same content is kept once."""
        sha256 = hashlib.sha256(content).hexdigest()
        path = self._path(sha256)
        if not path.exists():
            make_folder(path.parent)
            nonce = os.urandom(NONCE_BYTES)
            write_durably(path, nonce + self._cipher.encrypt(nonce, content, sha256.encode()))
        return sha256

    def get(self, sha256: str) -> bytes:
        """The content of a digest.

        Raises:
            FileNotFoundError: it is not kept here.
            VaultLocked: the key is not the one it was kept with, or the file was changed.
        """
        stored = self._path(sha256).read_bytes()
        try:
            return self._cipher.decrypt(stored[:NONCE_BYTES], stored[NONCE_BYTES:], sha256.encode())
        except (InvalidTag, ValueError) as error:  # ValueError: too short to hold a nonce
            raise VaultLocked(f"blob {sha256[:16]}: wrong key file, or the file was changed") from error

    def _path(self, sha256: str) -> Path:
        return self._root / sha256[:2] / sha256
