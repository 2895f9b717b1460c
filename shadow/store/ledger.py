"""The truth: an append-only ledger of events, chained by hash, on SQLite or PostgreSQL by one code path.

hash = SHA-256 over the lines "st1", trial, seq, kind, key, subject, recorded_at, body_sha256, prev. It covers
the body's digest, so the hashes would hold though a body were erased by law; until an event says why a body is
gone, `verify` names it. One chain runs over all kinds of a trial: that a prediction came before its report is part
of the hashes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from shadow.domain.clock import to_text
from shadow.domain.errors import LedgerConflict, StoreError
from shadow.store.engine import Database
from shadow.store.events import Event, Kind, body_of
from shadow.store.migrations import migrate

FORMAT = "st1"
KEYS_A_QUERY = 500
ROWS_A_STEP = 10_000

_METADATA = sa.MetaData()
_EVENT = sa.Table(
    "event",
    _METADATA,
    sa.Column("trial", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    *(
        sa.Column(name, sa.Text, nullable=False)
        for name in ("kind", "key", "subject", "recorded_at", "body_sha256", "prev", "hash")
    ),
    sa.Column("body", sa.Text),
)
_HEAD = sa.Table(
    "head",
    _METADATA,
    sa.Column("trial", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Ack:
    """Where an event stands; `created` is False where it stood there already."""

    seq: int
    hash: str
    created: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One event as stored. `body` is canonical JSON; None where someone took it away."""

    trial: str
    seq: int
    kind: str
    key: str
    subject: str
    recorded_at: str
    body_sha256: str
    prev: str
    hash: str
    body: str | None


@dataclass(frozen=True, slots=True)
class Head:
    """The newest event of a trial's chain; seq 0 before the first."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An event with its canonical body, digested before the writers' lock is taken."""

    event: Event
    body: str
    body_sha256: str


@dataclass(frozen=True, slots=True)
class Verification:
    """Good events from the start, and what is wrong with the next one; None where the chain is whole."""

    events: int
    problem: str | None


def canonical(body: object) -> str:
    """JSON with sorted keys, no spaces, no NaN."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_hex(text: str) -> str:
    """Hex digest of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def genesis(trial: str) -> str:
    """What the first event of a trial points back to."""
    return sha256_hex(f"{FORMAT}\n{trial}")


def link(row: Row) -> str:
    """The hash of a row, from all its columns but the body and the hash itself."""
    parts = (
        FORMAT, row.trial, str(row.seq), row.kind, row.key, row.subject, row.recorded_at, row.body_sha256, row.prev
    )  # fmt: skip
    return sha256_hex("\n".join(parts))


class Ledger:
    """One trial's ledger, opened by one process.

    Every method raises StoreError where the database is away, its disk is full, or it refuses for another reason.
    """

    def __init__(self, url: str, trial: str) -> None:
        self._database = Database(url)
        self._trial = trial

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        with _refusals(), self._database.write() as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        with _refusals(), self._database.read() as connection:
            yield connection

    def migrate(self) -> None:
        """Bring the schema up to date and begin the trial's chain; safe to repeat."""
        with _refusals():
            migrate(self._database)
        insert = sqlite_insert if self._database.is_sqlite else postgresql_insert
        first = insert(_HEAD).values(trial=self._trial, seq=0, hash=genesis(self._trial))
        with self._write() as connection:
            connection.execute(first.on_conflict_do_nothing())

    def append(self, events: Sequence[Event]) -> list[Ack]:
        """Append all events or none; they are durable on return.

        An event whose key is there with the same body is acknowledged where it stands.

        Raises:
            LedgerConflict: a key is there with another body; nothing is appended.
            ValueError: a key or subject holds a newline or NUL, or a text or number of an event is not one that
                JSON in UTF-8 can hold; nothing is appended.
        """
        prepared = [_prepare(event) for event in events]
        with self._write() as connection:
            head = self._locked_head(connection)
            known = self._existing(connection, events)
            rows: list[Row] = []
            acks: list[Ack] = []
            for one in prepared:
                row = known.get((one.event.KIND.value, one.event.key))
                created = row is None
                if row is None:
                    row = self._next(head, one)
                    head = Head(row.seq, row.hash)
                    rows.append(row)
                    known[row.kind, row.key] = row
                elif row.body_sha256 != one.body_sha256:
                    kind, key = one.event.KIND, one.event.key
                    raise LedgerConflict(f"{kind} {key}: other content is recorded as event {row.seq}")
                acks.append(Ack(row.seq, row.hash, created))
            if rows:
                connection.execute(_EVENT.insert(), [_columns(row) for row in rows])
                moved = _HEAD.update().where(_HEAD.c.trial == self._trial)
                connection.execute(moved.values(seq=head.seq, hash=head.hash))
        return acks

    def append_new(self, events: Sequence[Event]) -> list[Event]:
        """Append those whose key is not there, whatever its body; of two with one key the first stands.

        Returns:
            What was appended, in the order given.

        Raises:
            LedgerConflict: another writer appended one of the keys meanwhile; nothing is appended.
            ValueError: as `append`.
        """
        first = {(one.KIND, one.key): one for one in reversed(events)}
        kinds = {kind for kind, _ in first}
        known = {kind: self.known(kind, [key for one, key in first if one is kind]) for kind in kinds}
        fresh = [one for one in events if first[one.KIND, one.key] is one and one.key not in known[one.KIND]]
        if fresh:
            self.append(fresh)
        return fresh

    def _locked_head(self, connection: sa.Connection) -> Head:
        """The head, locked until the transaction ends: on PostgreSQL this row serialises the writers."""
        query = sa.select(_HEAD.c.seq, _HEAD.c.hash).where(_HEAD.c.trial == self._trial).with_for_update()
        return Head(*connection.execute(query).one())

    def _existing(self, connection: sa.Connection, events: Sequence[Event]) -> dict[tuple[str, str], Row]:
        keys = [(event.KIND.value, event.key) for event in events]
        found: dict[tuple[str, str], Row] = {}
        for start in range(0, len(keys), KEYS_A_QUERY):
            some = sa.tuple_(_EVENT.c.kind, _EVENT.c.key).in_(keys[start : start + KEYS_A_QUERY])
            for row in connection.execute(self._select().where(some)):
                found[row.kind, row.key] = _row(row)
        return found

    def _next(self, head: Head, prepared: _Prepared) -> Row:
        row = Row(
            trial=self._trial,
            seq=head.seq + 1,
            kind=prepared.event.KIND.value,
            key=prepared.event.key,
            subject=prepared.event.subject,
            recorded_at=to_text(datetime.now(UTC)),
            body_sha256=prepared.body_sha256,
            prev=head.hash,
            hash="",
            body=prepared.body,
        )
        return replace(row, hash=link(row))

    def _select(self) -> sa.Select[Any]:
        return sa.select(*_EVENT.c).where(_EVENT.c.trial == self._trial)

    def _rows(self, query: sa.Select[Any]) -> list[Row]:
        with self._read() as connection:
            return [_row(row) for row in connection.execute(query)]

    def find(self, kind: Kind, key: str) -> Row | None:
        """The event of this kind and key, or None."""
        rows = self._rows(self._select().where(_EVENT.c.kind == kind.value, _EVENT.c.key == key))
        return rows[0] if rows else None

    def about(self, subject: str, kind: Kind) -> list[Row]:
        """All events of a kind about a subject, oldest first."""
        about = self._select().where(_EVENT.c.subject == subject, _EVENT.c.kind == kind.value)
        return self._rows(about.order_by(_EVENT.c.seq))

    def of_kind(self, kind: Kind) -> list[Row]:
        """All events of a kind, oldest first. For kinds that people make, not machines: it holds them all."""
        return self._rows(self._select().where(_EVENT.c.kind == kind.value).order_by(_EVENT.c.seq))

    def known(self, kind: Kind, keys: Collection[str]) -> frozenset[str]:
        """Those of the keys that are in the ledger under this kind."""
        wanted, found = list(keys), set[str]()
        with self._read() as connection:
            for start in range(0, len(wanted), KEYS_A_QUERY):
                query = sa.select(_EVENT.c.key).where(
                    _EVENT.c.trial == self._trial,
                    _EVENT.c.kind == kind.value,
                    _EVENT.c.key.in_(wanted[start : start + KEYS_A_QUERY]),
                )
                found.update(connection.execute(query).scalars())
        return frozenset(found)

    def latest(self, kind: Kind) -> Row | None:
        """The newest event of a kind, or None."""
        newest = self._select().where(_EVENT.c.kind == kind.value).order_by(_EVENT.c.seq.desc()).limit(1)
        rows = self._rows(newest)
        return rows[0] if rows else None

    def count(self, kind: Kind) -> int:
        """How many events of a kind there are."""
        query = sa.select(sa.func.count()).where(_EVENT.c.trial == self._trial, _EVENT.c.kind == kind.value)
        with self._read() as connection:
            return int(connection.execute(query).scalar_one())

    def since(self, seq: int, limit: int = 50_000) -> list[Row]:
        """Events after `seq`, oldest first, at most `limit`."""
        return self._rows(self._select().where(_EVENT.c.seq > seq).order_by(_EVENT.c.seq).limit(limit))

    def head(self) -> Head:
        """The newest position of the chain."""
        query = sa.select(_HEAD.c.seq, _HEAD.c.hash).where(_HEAD.c.trial == self._trial)
        with self._read() as connection:
            return Head(*connection.execute(query).one())

    def verify(self) -> Verification:
        """Walk the chain: every hash, every body, every number, and the head; writers may go on meanwhile."""
        good, prev = 0, genesis(self._trial)
        while True:
            head = self.head()  # before the rows: what it names was committed with it
            while rows := self.since(good, ROWS_A_STEP):
                for row in rows:
                    problem = _problem(row, good + 1, prev)
                    if problem is not None:
                        return Verification(good, problem)
                    good, prev = row.seq, row.hash
            if head == Head(good, prev):
                return Verification(good, None)
            if head == self.head():  # no writer was at work, so the difference stays
                return Verification(good, f"the head names event {head.seq}, the chain ends at {good}")


@contextmanager
def _refusals() -> Iterator[None]:
    """What the database raises, as the harness knows it."""
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        raise StoreError(f"the ledger's database is away, or refuses: {type(error).__name__}") from error


def _prepare(event: Event) -> _Prepared:
    for text in (event.key, event.subject):
        if "\n" in text or "\0" in text:
            raise ValueError(f"{event.KIND}: a key or subject holds a newline or NUL")
    body = canonical(body_of(event))
    try:
        sha256 = sha256_hex(body)
        sha256_hex(event.key + event.subject)
    except UnicodeEncodeError:
        # without the cause, which would quote the text
        raise ValueError(f"{event.KIND}: a text is not Unicode (a lone surrogate)") from None
    return _Prepared(event, body, sha256)


def _row(row: sa.Row[Any]) -> Row:
    return Row(**row._mapping)


def _problem(row: Row, expected_seq: int, prev: str) -> str | None:
    if row.seq != expected_seq:
        return f"event {expected_seq} is missing"
    if row.prev != prev:
        return f"event {row.seq} does not point to the event before it"
    if row.hash != link(row):
        return f"event {row.seq} was changed: its hash does not match its columns"
    if row.body is None:
        return f"event {row.seq} has no body, and no event says why"
    if sha256_hex(row.body) != row.body_sha256:
        return f"event {row.seq} was changed: its body does not match its digest"
    return None


def _columns(row: Row) -> dict[str, object]:
    return {name: getattr(row, name) for name in Row.__slots__}
