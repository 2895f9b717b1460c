"""Identities behind pseudonyms, encrypted at rest; the only place that knows who a key stands for."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.dialects.sqlite import insert

from shadow.domain.errors import VaultLocked
from shadow.store.engine import Database

NONCE_BYTES = 12
# Sealed with the first key that opens the file. Another key is refused at once, before it seals rows that the first
# one could not read.
KEY_CHECK = "\nkey"
_IDENTITY = sa.Table(
    "identity",
    sa.MetaData(),
    sa.Column("pseudonym", sa.Text, primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a pseudonym stands for: kind (patient, study, accession), and DICOM keywords with their values."""

    kind: str
    values: tuple[tuple[str, str], ...]


class Vault:
    """One trial's identities. Each row is sealed with its pseudonym, so rows cannot change places.

    Raises:
        VaultLocked: the key is not the one that the vault was made with.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        self._cipher = AESGCM(hashlib.sha256(b"shadow/vault/1" + key).digest())
        self._database = Database(f"sqlite:///{path.absolute()}")
        with self._database.write() as connection:
            _IDENTITY.create(connection, checkfirst=True)
        self.put(KEY_CHECK, Identity("key", ()))
        try:
            self.get(KEY_CHECK)
        except VaultLocked:
            self.close()
            raise

    def put(self, pseudonym: str, identity: Identity) -> None:
        """Keep one identity; see `put_many`."""
        self.put_many([(pseudonym, identity)])

    def put_many(self, identities: Iterable[tuple[str, Identity]]) -> None:
        """Keep identities, durable on return. The first one of a pseudonym stays."""
        rows = [
            {"pseudonym": pseudonym, "sealed": self._seal(pseudonym, identity)} for pseudonym, identity in identities
        ]
        if rows:
            with self._database.write() as connection:
                connection.execute(insert(_IDENTITY).on_conflict_do_nothing(), rows)

    def get(self, pseudonym: str) -> Identity | None:
        """The identity behind a pseudonym, or None.

        Raises:
            VaultLocked: the key is not the vault's, or the row was changed.
        """
        query = sa.select(_IDENTITY.c.sealed).where(_IDENTITY.c.pseudonym == pseudonym)
        with self._database.read() as connection:
            sealed = connection.execute(query).scalar_one_or_none()
        if sealed is None:
            return None
        try:
            plain = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], pseudonym.encode())
        except (InvalidTag, ValueError) as error:  # ValueError: too short to hold a nonce
            raise VaultLocked("the vault cannot be read: wrong key file, or a row was changed") from error
        content = json.loads(plain)
        return Identity(content["kind"], tuple((keyword, value) for keyword, value in content["values"]))

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def _seal(self, pseudonym: str, identity: Identity) -> bytes:
        plain = json.dumps({"kind": identity.kind, "values": identity.values}, ensure_ascii=False).encode()
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, pseudonym.encode())
