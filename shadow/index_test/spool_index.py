"""Where each instance of the spool lies, by SOP Instance UID: an index over file names, never the record itself.

It answers storage commitment. It is rebuilt from the spool where it is missing or cannot be read, and at each
start it takes up the studies that changed around its last write, so a crash leaves no gap. No acknowledgement
waits for it, and a disk that refuses it stops nothing else.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from shadow.index_test.spooled_instance import SpooledInstance, instance_of

log = logging.getLogger(__name__)

FILE = "index.db"
SECONDS_LOOKED_BACK = 3600.0
SECONDS_UNTIL_NEXT_ATTEMPT = 10.0
_SCHEMA = """
create table if not exists instance (
    sop_instance_uid text primary key, study_key text not null, file text not null
) without rowid;
pragma user_version = 1;
"""

Answer = TypeVar("Answer")


class SpoolIndex:
    """One spool's index; any thread may use it.

    Args:
        spool: the spool's folder.
    """

    def __init__(self, spool: Path) -> None:
        self._guard = threading.Lock()
        self._new: list[tuple[str, str, str]] = []
        self._studies = spool / "studies"
        self._path = spool / FILE
        self._next_attempt_at = 0.0
        self._database: sqlite3.Connection | None = None
        self._take_up((self._path.stat().st_mtime if self._path.exists() else 0.0) - SECONDS_LOOKED_BACK)
        self.write()

    def __enter__(self) -> SpoolIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what is not yet written, and close; what the disk refuses, the next start takes up."""
        with self._guard:
            with suppress(sqlite3.Error):
                self._insert()
            self._disconnect()

    def add(self, study_key: str, instances: Iterable[SpooledInstance]) -> None:
        """Enter instances of a study; of two with one UID the last counts: somebody may have emptied the spool since.

        `write` makes them last.
        """
        with self._guard:
            self._new += [(one.sop_instance_uid, study_key, one.file) for one in instances]

    def write(self) -> None:
        """Commit what was added; cheap where there is nothing. What the disk refuses is tried again later."""
        with self._guard:
            if time.monotonic() < self._next_attempt_at:
                return
            try:
                self._whole(self._insert)
            except sqlite3.OperationalError as error:
                self._next_attempt_at = time.monotonic() + SECONDS_UNTIL_NEXT_ATTEMPT
                log.error("index_waits", extra={"error": type(error).__name__})

    def find(self, sop_instance_uid: str) -> Path | None:
        """The instance's file, or None where the spool does not have it.

        Raises:
            sqlite3.OperationalError: the disk refuses.
        """
        query = "select study_key, file from instance where sop_instance_uid = ?"

        def found() -> tuple[str, str] | None:
            row: tuple[str, str] | None = self._insert().execute(query, (sop_instance_uid,)).fetchone()
            return row

        with self._guard:
            row = self._whole(found)
        path = None if row is None else self._studies / row[0] / row[1]
        return path if path is not None and path.exists() else None

    def _whole(self, step: Callable[[], Answer]) -> Answer:
        """What the step answers; where the file turns out to be damaged, on one that was made anew."""
        try:
            return step()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            self._disconnect()
            self._new = []
            self._take_up(0.0)
            for path in self._path.parent.glob(f"{FILE}*"):
                path.unlink()
            return step()

    def _disconnect(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = None

    def _insert(self) -> sqlite3.Connection:
        """Enter what is new; the database, opened where it is not."""
        if self._database is None:
            self._database = self._open()
        if self._new:
            with self._database:
                self._database.executemany("insert or replace into instance values (?, ?, ?)", self._new)
            self._new = []
        return self._database

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, check_same_thread=False)
        try:
            database.execute("pragma journal_mode = wal")
            database.execute("pragma synchronous = normal")
            database.executescript(_SCHEMA)
            database.execute("select count(*) from (select 1 from instance limit 1)").fetchone()
        except sqlite3.DatabaseError:
            database.close()
            raise
        self._path.chmod(0o600)
        return database

    def _take_up(self, changed_after: float) -> None:
        for folder in self._studies.iterdir():
            if folder.stat().st_mtime >= changed_after:
                self._new += [(one.sop_instance_uid, folder.name, one.file) for one in _instances(folder)]


def _instances(folder: Path) -> Iterator[SpooledInstance]:
    return (one for path in folder.iterdir() if (one := instance_of(path.name)) is not None)
