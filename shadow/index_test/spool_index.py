"""Where each instance of the spool lies, by SOP Instance UID: an index over file names, never the record itself.

It answers storage commitment. It is rebuilt from the spool where it is missing or cannot be read, and at each
start it takes up the studies that changed around its last write, so a crash leaves no gap. No acknowledgement
waits for it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

from shadow.index_test.spooled_instance import SpooledInstance, instance_of

FILE = "index.db"
SECONDS_LOOKED_BACK = 3600.0
_SCHEMA = """
create table if not exists instance (
    sop_instance_uid text primary key, study_key text not null, file text not null
) without rowid;
pragma user_version = 1;
"""


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
        written_at = self._path.stat().st_mtime if self._path.exists() else 0.0
        try:
            self._database = self._open()
        except sqlite3.DatabaseError:
            for path in spool.glob(f"{FILE}*"):
                path.unlink()
            written_at = 0.0
            self._database = self._open()
        self._take_up(written_at - SECONDS_LOOKED_BACK)

    def __enter__(self) -> SpoolIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what is not yet written, and close."""
        with self._guard:
            self._insert()
            self._database.close()

    def add(self, study_key: str, instances: Iterable[SpooledInstance]) -> None:
        """Enter instances of a study; of two with one UID the first stays. `write` makes them last."""
        with self._guard:
            self._new += [(one.sop_instance_uid, study_key, one.file) for one in instances]

    def write(self) -> None:
        """Commit what was added; cheap where there is nothing."""
        with self._guard:
            self._insert()

    def find(self, sop_instance_uid: str) -> Path | None:
        """The instance's file, or None where the spool does not have it."""
        query = "select study_key, file from instance where sop_instance_uid = ?"
        with self._guard:
            self._insert()
            row = self._database.execute(query, (sop_instance_uid,)).fetchone()
        path = None if row is None else self._studies / row[0] / row[1]
        return path if path is not None and path.exists() else None

    def _insert(self) -> None:
        if not self._new:
            return
        with self._database:
            self._database.executemany("insert or ignore into instance values (?, ?, ?)", self._new)
        self._new = []

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
                self.add(folder.name, _instances(folder))
        self.write()


def _instances(folder: Path) -> Iterator[SpooledInstance]:
    return (one for path in folder.iterdir() if (one := instance_of(path.name)) is not None)
