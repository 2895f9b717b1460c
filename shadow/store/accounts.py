"""Who may look at the dashboard: local accounts with one role each, and their sessions, in one SQLite file.

Passwords are kept as argon2id hashes (RFC 9106), sessions as the SHA-256 of a random token: neither can be
read back from the file. Instants are the machine's, never the rehearsal's: a session lasts real hours.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import (
    Column,
    ForeignKey,
    MetaData,
    Row,
    String,
    Table,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from shadow.domain.clock import Clock, SystemClock, from_text, to_text
from shadow.store.engine import Database

SESSION_LASTS = timedelta(hours=12)
LONGEST_NAME = 64
LONGEST_PASSWORD = 1024
SHORTEST_PASSWORD = 12

# argon2id as RFC 9106 recommends where memory is limited (section 4, second choice).
TIME_COST = 3
MEMORY_KIB = 64 * 1024
PARALLELISM = 4
# The hash of a random password that nobody has kept, with the same costs: verified against when there is no such
# account, so that a name cannot be guessed from the time taken.
_HASH_OF_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$U7EnVm84f1tnCBV9H3u0tA$4kG+q8xA9rlmGDXnZlvwviNC/nURKZu2qkygCvmweOs"

_CONSONANTS = "bdfghjklmnprstvz"
_VOWELS = "aeiou"
_WORDS_IN_A_PASSWORD = 5

_METADATA = MetaData()
_ACCOUNT = Table(
    "account",
    _METADATA,
    Column("name", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("password_hash", String, nullable=False),
    Column("created_at", String, nullable=False),
)
_SESSION = Table(
    "session",
    _METADATA,
    Column("identifier", String, primary_key=True),
    Column("account_name", ForeignKey("account.name"), nullable=False),
    Column("opened_at", String, nullable=False),
    Column("expires_at", String, nullable=False),
    Column("revoked_at", String),
)


class Role(StrEnum):
    """What a person may do. Roles do not contain one another: an admin cannot sign."""

    VIEWER = "viewer"  # aggregates only
    REVIEWER = "reviewer"  # also single cases
    SIGNER = "signer"  # also signs; sees cases, and should not be the only one who judged them
    ADMIN = "admin"  # also accounts and settings; never signs


@dataclass(frozen=True, slots=True)
class Account:
    """A person's account."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class FirstAccount:
    """One of the accounts made for a new trial, with the password that is shown once and stored nowhere."""

    name: str
    role: Role
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Session:
    """A person signed in, until `expires_at`. `identifier` is safe to log; the token is not."""

    identifier: str
    name: str
    role: Role
    expires_at: datetime


class AccountAction(StrEnum):
    """What happened to an account or a session."""

    SIGNED_IN = "signed_in"
    SIGN_IN_REFUSED = "sign_in_refused"
    SESSION_REVOKED = "session_revoked"
    ACCOUNT_ADDED = "account_added"


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """One line for an audit trail. `name` is an account's name, or what was typed as one."""

    at: datetime
    action: AccountAction
    name: str


def create_first_accounts(path: Path) -> tuple[FirstAccount, ...]:
    """Make one account for each role, named like the role, when the file holds no account yet.

    Returns:
        The new accounts with their passwords, to be shown once; empty where accounts exist already.
    """
    accounts = Accounts(path)
    try:
        if accounts.count():
            return ()
        made = tuple(FirstAccount(role.value, role, new_password()) for role in Role)
        try:
            accounts.add(*made)
        except IntegrityError:  # another process was first: its passwords stand
            return ()
        return made
    finally:
        accounts.close()


def new_password() -> str:
    """A random password that can be read aloud, about 83 bits: `bofik-rudam-tezol-vanip-sulor`."""
    pattern = (_CONSONANTS, _VOWELS, _CONSONANTS, _VOWELS, _CONSONANTS)
    words = ("".join(secrets.choice(letters) for letters in pattern) for _ in range(_WORDS_IN_A_PASSWORD))
    return "-".join(words)


def session_identifier(token: str) -> str:
    """What the file keeps of a session's token.

    >>> session_identifier("token")[:12]
    '3c469e9d6c58'
    """
    return hashlib.sha256(token.encode()).hexdigest()


class Accounts:
    """The accounts of one file; safe to use from several threads and processes."""

    def __init__(
        self,
        path: Path,
        clock: Clock | None = None,
        audit: Callable[[AccountEvent], None] | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._audit = audit
        self._hasher = PasswordHasher(TIME_COST, MEMORY_KIB, PARALLELISM)
        self._database = Database(f"sqlite:///{path}")
        with self._database.write() as connection:
            _METADATA.create_all(connection)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def count(self) -> int:
        """How many accounts there are."""
        with self._database.read() as connection:
            return connection.execute(select(func.count()).select_from(_ACCOUNT)).scalar_one()

    def all(self) -> tuple[Account, ...]:
        """Every account, by name."""
        with self._database.read() as connection:
            rows = connection.execute(select(_ACCOUNT.c.name, _ACCOUNT.c.role).order_by(_ACCOUNT.c.name)).all()
        return tuple(Account(row.name, Role(row.role)) for row in rows)

    def add(self, *accounts: FirstAccount) -> None:
        """Add accounts, all or none.

        Raises:
            ValueError: a name is empty, too long or not printable, or a password too short or too long.
            sqlalchemy.exc.IntegrityError: a name is taken.
        """
        for one in accounts:
            if not 0 < len(one.name) <= LONGEST_NAME:
                raise ValueError(f"a name has 1 to {LONGEST_NAME} characters")
            if not one.name.isprintable():
                raise ValueError("a name has printable characters alone")
            if not SHORTEST_PASSWORD <= len(one.password) <= LONGEST_PASSWORD:
                raise ValueError(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters")
        now = to_text(self._clock.now())
        rows = [
            {
                "name": one.name,
                "role": one.role.value,
                "password_hash": self._hasher.hash(one.password),
                "created_at": now,
            }
            for one in accounts
        ]
        with self._database.write() as connection:
            connection.execute(insert(_ACCOUNT), rows)
        for one in accounts:
            self._tell(AccountAction.ACCOUNT_ADDED, one.name)

    def authenticate(self, name: str, password: str) -> Account | None:
        """The account, where name and password are right; takes as long where they are not."""
        row = self._row_of(name) if len(name) <= LONGEST_NAME else None
        stored = _HASH_OF_NOBODY if row is None else row.password_hash
        right: bool
        try:
            right = self._hasher.verify(stored, password[:LONGEST_PASSWORD])
        except (VerificationError, InvalidHashError):
            right = False
        if row is None or not right or len(password) > LONGEST_PASSWORD:
            self._tell(AccountAction.SIGN_IN_REFUSED, name[:LONGEST_NAME])
            return None
        return Account(row.name, Role(row.role))

    def open_session(self, account: Account) -> str:
        """A new session's token: 256 random bits, for the browser's cookie alone."""
        token = secrets.token_urlsafe(32)
        now = self._clock.now()
        with self._database.write() as connection:
            connection.execute(delete(_SESSION).where(_SESSION.c.expires_at <= to_text(now)))
            connection.execute(
                insert(_SESSION).values(
                    identifier=session_identifier(token),
                    account_name=account.name,
                    opened_at=to_text(now),
                    expires_at=to_text(now + SESSION_LASTS),
                )
            )
        self._tell(AccountAction.SIGNED_IN, account.name)
        return token

    def session(self, identifier: str) -> Session | None:
        """The session with this identifier and the role its account has now; None once revoked or expired."""
        statement = (
            select(_SESSION.c.account_name, _SESSION.c.expires_at, _ACCOUNT.c.role)
            .join(_ACCOUNT, _ACCOUNT.c.name == _SESSION.c.account_name)
            .where(_SESSION.c.identifier == identifier, _SESSION.c.revoked_at.is_(None))
        )
        with self._database.read() as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            return None
        expires_at = from_text(row.expires_at)
        if expires_at <= self._clock.now():
            return None
        return Session(identifier, row.account_name, Role(row.role), expires_at)

    def revoke(self, identifier: str) -> None:
        """End one session; nothing happens where there is none."""
        session = self.session(identifier)
        if session is None:
            return
        self._end(_SESSION.c.identifier == identifier)
        self._tell(AccountAction.SESSION_REVOKED, session.name)

    def revoke_all(self, name: str) -> None:
        """End every session of an account."""
        self._end(_SESSION.c.account_name == name)
        self._tell(AccountAction.SESSION_REVOKED, name)

    def _end(self, which: object) -> None:
        statement = update(_SESSION).where(which, _SESSION.c.revoked_at.is_(None))  # type: ignore[arg-type]
        with self._database.write() as connection:
            connection.execute(statement.values(revoked_at=to_text(self._clock.now())))

    def _row_of(self, name: str) -> Row[Any, Any, Any] | None:
        columns = (_ACCOUNT.c.name, _ACCOUNT.c.role, _ACCOUNT.c.password_hash)
        with self._database.read() as connection:
            return connection.execute(select(*columns).where(_ACCOUNT.c.name == name)).one_or_none()

    def _tell(self, action: AccountAction, name: str) -> None:
        if self._audit is not None:
            self._audit(AccountEvent(self._clock.now(), action, name))
