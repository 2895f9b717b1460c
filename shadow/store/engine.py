"""One SQLAlchemy engine for SQLite and PostgreSQL, with the settings that durability needs.

SQLite: WAL, synchronous=FULL, BEGIN IMMEDIATE for writers, and a file lock around each write transaction. The
kernel queues writers, and commits never overlap a checkpoint, where SQLite before 3.51.3 can corrupt its file.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import sqlalchemy as sa

from shadow.store.durable import make_folder, sync_folder

WRITES = "shadow_writes"
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF")


class Database:
    """A database of one process. Create it in the process that uses it, close it there."""

    def __init__(self, url: str) -> None:
        parsed = sa.make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self._lock: Path | None = None
        if self.is_sqlite:
            assert parsed.database is not None
            path = Path(parsed.database)
            self._lock = path.with_name(path.name + ".lock")
            _create_private(path)
            self.engine = sa.create_engine(parsed, connect_args={"timeout": 60}, module=sqlite_module())
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)
        else:
            self.engine = sa.create_engine(parsed, pool_pre_ping=True)
            sa.event.listen(self.engine, "connect", _prepare_postgresql)

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A write transaction, committed and durable when the block ends without an error."""
        with (
            self._serialised(),
            self.engine.connect().execution_options(**{WRITES: True}) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A read transaction; it never waits for the writers' lock."""
        with self.engine.connect() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections, under the lock: closing the last one may checkpoint."""
        with self._serialised():
            self.engine.dispose()

    @contextmanager
    def _serialised(self) -> Iterator[None]:
        if self._lock is None:
            yield
            return
        descriptor = os.open(self._lock, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)  # releases the lock; so does kill -9


def sqlite_module() -> ModuleType:
    """The newest SQLite at hand: pysqlite3 brings its own, the interpreter's may be old."""
    try:
        import pysqlite3.dbapi2 as module
    except ImportError:
        import sqlite3 as module
    return cast(ModuleType, module)


def _create_private(path: Path) -> None:
    make_folder(path.parent)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    sync_folder(path.parent)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # no implicit BEGIN: the listener below issues it
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").close()


def _prepare_postgresql(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        # A server set to acknowledge before its disk has the commit is overruled; a stricter setting stays.
        cursor.execute(
            "select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'"
        )
    connection.commit()


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
