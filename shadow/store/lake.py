"""Typed Parquet behind a manifest, rebuilt from the ledger at will.

Parts are immutable and named by trial and range of events; the manifest that lists them is replaced as one. A
reader sees one consistent snapshot across kinds and needs no lock. No process opens a shared .duckdb file. A lake
that is damaged, has the columns of another version, or speaks for another ledger is made anew by the next export.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from shadow.domain.errors import StoreError
from shadow.domain.project import project_folder
from shadow.store.durable import make_folder, sync_folder, write_durably
from shadow.store.ledger import Ledger, Row

CONFIGURATION = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": "1GB",
    "threads": "2",
}
COMPACT_OVER = 24
GRACE_SECONDS = 86_400.0  # how long a reader may work on a snapshot
MAGIC = b"PAR1"  # both ends of a whole Parquet file
MANIFEST = "manifest.json"
TAIL_SCHEMA = pa.schema(
    [("trial", pa.string()), ("seq", pa.int64())]
    + [(name, pa.string()) for name in ("kind", "key", "subject", "recorded_at", "body_sha256", "prev", "hash", "body")]
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the lake holds: the newest event exported with its hash, and the parts of each kind in order of events."""

    generation: int
    upto: int
    upto_hash: str
    files: tuple[tuple[str, tuple[str, ...]], ...]

    def of(self, kind: str) -> tuple[str, ...]:
        """The parts of a kind."""
        return dict(self.files).get(kind, ())


def kinds() -> tuple[str, ...]:
    """The tables of the lake: one statement each under sql/export/."""
    return tuple(path.stem for path in sorted((project_folder("sql") / "export").glob("*.sql")))


class Lake:
    """The lake of one trial. Parts of `large_part_bytes` are not merged again, which bounds the work of merging."""

    def __init__(self, root: Path, large_part_bytes: int = 16 << 20) -> None:
        self._root = root
        self._large_part_bytes = large_part_bytes
        make_folder(root)

    def manifest(self) -> Manifest:
        """The newest manifest; an empty one before the first export.

        Raises:
            StoreError: it cannot be read; the next export makes the lake anew.
        """
        try:
            content = json.loads((self._root / MANIFEST).read_text(encoding="utf-8"))
            files = tuple((kind, tuple(parts)) for kind, parts in sorted(content["files"].items()))
            return Manifest(content["generation"], content["upto"], content["upto_hash"], files)
        except FileNotFoundError:
            return Manifest(0, 0, "", ())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError("the lake's manifest is damaged; the next export makes the lake anew") from error

    def export(self, ledger: Ledger, limit: int = 50_000) -> int:
        """Export every event that the ledger held when this began; returns how many. One exporter at a time.

        Where the lake is damaged or not this ledger's, it is thrown away and the whole ledger exported.
        """
        with self._alone():
            if not self._speaks_for(ledger):
                self._empty()
            return self._catch_up(ledger, limit)

    def rebuild(self, ledger: Ledger) -> int:
        """Throw the lake away and export the whole ledger; returns the events exported."""
        with self._alone():
            self._empty()
            return self._catch_up(ledger, 50_000)

    def compact(self) -> None:
        """Merge small parts where there are many; the old ones stay for their readers until they are garbage."""
        with self._alone():
            self._compact()

    def collect_garbage(self, grace_seconds: float = GRACE_SECONDS) -> int:
        """Remove files that no manifest lists and that are older than the grace; returns how many."""
        with self._alone():
            return self._collect_garbage(grace_seconds)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A connection with one view a kind over one consistent snapshot; a kind without events is empty.

        It lives in memory, works in UTC, loads no extension, and its settings are locked. Close it.

        Raises:
            StoreError: the manifest cannot be read; the next export makes the lake anew.
        """
        manifest = self.manifest()
        connection = in_memory()
        connection.register("tail", TAIL_SCHEMA.empty_table())
        for kind in kinds():
            parts = [str(self._root / part) for part in manifest.of(kind)]
            if parts:
                connection.from_parquet(parts, union_by_name=True).create_view(kind)
            else:
                empty = connection.sql(_export_statement(kind)).to_arrow_table()
                connection.register(kind, empty)
        connection.unregister("tail")
        connection.execute("set lock_configuration = true")
        return connection

    def _speaks_for(self, ledger: Ledger) -> bool:
        """Whether the lake's newest event is in this ledger, and every part is there from end to end."""
        try:
            manifest = self.manifest()
        except StoreError:
            return False
        if manifest.upto:
            newest = ledger.since(manifest.upto - 1, 1)
            if not newest or (newest[0].seq, newest[0].hash) != (manifest.upto, manifest.upto_hash):
                return False
        whole = all(_is_whole(self._root / part) for _, parts in manifest.files for part in parts)
        return whole and self._has_the_columns_of_today(manifest)

    def _has_the_columns_of_today(self, manifest: Manifest) -> bool:
        """Whether the oldest part of each kind has the columns of today: an upgrade may have added some."""
        with in_memory() as connection:
            connection.register("tail", TAIL_SCHEMA.empty_table())
            try:
                return all(
                    pq.read_schema(self._root / parts[0]).names == connection.sql(_export_statement(kind)).columns
                    for kind, parts in manifest.files
                    if parts
                )
            except (pa.ArrowException, OSError):
                return False

    def _empty(self) -> None:
        (self._root / MANIFEST).unlink(missing_ok=True)
        sync_folder(self._root)
        for kind in kinds():
            shutil.rmtree(self._root / kind, ignore_errors=True)

    def _catch_up(self, ledger: Ledger, limit: int) -> int:
        """Export up to the present head: to run after writers that append faster would never end."""
        exported, head = 0, ledger.head().seq
        while (upto := self.manifest().upto) < head:
            rows = ledger.since(upto, limit)
            self._export(rows)
            exported += len(rows)
        if self._compact():
            self._collect_garbage(GRACE_SECONDS)
        return exported

    def _collect_garbage(self, grace_seconds: float) -> int:
        listed = {part for _, parts in self.manifest().files for part in parts}
        old = [
            path
            for path in self._root.glob("*/*")
            if path.relative_to(self._root).as_posix() not in listed
            and time.time() - path.stat().st_mtime > grace_seconds
        ]
        for path in old:
            path.unlink()
        return len(old)

    def _export(self, rows: list[Row]) -> None:
        manifest = self.manifest()
        files = dict(manifest.files)
        connection = in_memory()
        columns = {name: [getattr(row, name) for row in rows] for name in TAIL_SCHEMA.names}
        connection.register("tail", pa.table(columns, schema=TAIL_SCHEMA))
        for kind in kinds():
            table = connection.sql(_export_statement(kind)).to_arrow_table()
            if table.num_rows:
                part = f"{kind}/{rows[0].trial}-{rows[0].seq:012d}-{rows[-1].seq:012d}.parquet"
                self._write(part, table)
                files[kind] = (*files.get(kind, ()), part)
        connection.close()
        self._commit(replace(manifest, upto=rows[-1].seq, upto_hash=rows[-1].hash), files)

    def _compact(self) -> bool:
        """Merge the newest parts of a kind, where many are small, into one under a new name."""
        manifest = self.manifest()
        files = dict(manifest.files)
        for kind, parts in manifest.files:
            small = self._newest_small(parts)
            if len(small) > COMPACT_OVER:
                connection = in_memory()
                sources = [str(self._root / part) for part in small]
                merged = connection.from_parquet(sources, union_by_name=True).order("seq").to_arrow_table()
                connection.close()
                first, last = small[0].rsplit("-", 1)[0], small[-1].rsplit("-", 1)[1]
                self._write(f"{first}-{last}", merged)
                files[kind] = (*parts[: len(parts) - len(small)], f"{first}-{last}")
        if files == dict(manifest.files):
            return False
        self._commit(manifest, files)
        return True

    def _newest_small(self, parts: tuple[str, ...]) -> tuple[str, ...]:
        """The run of small parts at the end: what is merged stays one range of events."""
        first = len(parts)
        while first and (self._root / parts[first - 1]).stat().st_size < self._large_part_bytes:
            first -= 1
        return parts[first:]

    def _write(self, part: str, table: pa.Table) -> None:
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        path = self._root / part
        make_folder(path.parent)
        write_durably(path, buffer.getvalue())

    def _commit(self, manifest: Manifest, files: dict[str, tuple[str, ...]]) -> None:
        content = {
            "generation": manifest.generation + 1,
            "upto": manifest.upto,
            "upto_hash": manifest.upto_hash,
            "files": files,
        }
        write_durably(self._root / MANIFEST, json.dumps(content).encode())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = os.open(self._root / ".exporter.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _is_whole(path: Path) -> bool:
    """Whether both ends of a Parquet file are there; what was cut short has no end."""
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
            file.seek(-len(MAGIC), os.SEEK_END)
            return head == file.read() == MAGIC
    except OSError:
        return False


def in_memory() -> duckdb.DuckDBPyConnection:
    """A connection in memory with the lake's settings: UTC, no extension is loaded, two threads. Close it."""
    connection = duckdb.connect(config=CONFIGURATION)
    connection.execute("set TimeZone = 'UTC'")
    return connection


def _export_statement(kind: str) -> str:
    return (project_folder("sql") / "export" / f"{kind}.sql").read_text(encoding="utf-8")
