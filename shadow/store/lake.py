"""Typed Parquet behind a manifest, rebuilt from the ledger at will.

Parts are immutable and named by trial and range of events; the manifest that lists them is replaced as one. A
reader sees one consistent snapshot across kinds and needs no lock. No process opens a shared .duckdb file.
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
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from shadow.domain.project import project_folder
from shadow.store.durable import sync_folder, write_durably
from shadow.store.ledger import Ledger, Row

CONFIGURATION = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": "1GB",
    "threads": "2",
}
COMPACT_OVER = 24
MANIFEST = "manifest.json"
TAIL_SCHEMA = pa.schema(
    [("trial", pa.string()), ("seq", pa.int64())]
    + [(name, pa.string()) for name in ("kind", "key", "subject", "recorded_at", "body_sha256", "prev", "hash", "body")]
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the lake holds: the newest event exported, and the parts of each kind in order of events."""

    generation: int
    upto: int
    files: tuple[tuple[str, tuple[str, ...]], ...]

    def of(self, kind: str) -> tuple[str, ...]:
        """The parts of a kind."""
        return dict(self.files).get(kind, ())


def kinds() -> tuple[str, ...]:
    """The tables of the lake: one statement each under sql/export/."""
    return tuple(path.stem for path in sorted((project_folder("sql") / "export").glob("*.sql")))


class Lake:
    """The lake of one trial."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def manifest(self) -> Manifest:
        """The newest manifest; an empty one before the first export."""
        try:
            content = json.loads((self._root / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Manifest(0, 0, ())
        files = tuple((kind, tuple(parts)) for kind, parts in sorted(content["files"].items()))
        return Manifest(content["generation"], content["upto"], files)

    def export(self, ledger: Ledger, limit: int = 50_000) -> int:
        """Export every event that is not yet in the lake; returns how many. One exporter at a time."""
        exported = 0
        with self._alone():
            while rows := ledger.since(self.manifest().upto, limit):
                self._export(rows)
                exported += len(rows)
            self._compact()
        return exported

    def rebuild(self, ledger: Ledger) -> int:
        """Throw the lake away and export the whole ledger; returns the events exported."""
        with self._alone():
            (self._root / MANIFEST).unlink(missing_ok=True)
            sync_folder(self._root)
            for kind in kinds():
                shutil.rmtree(self._root / kind, ignore_errors=True)
        return self.export(ledger)

    def collect_garbage(self, grace_seconds: float = 86_400) -> int:
        """Remove files that no manifest lists and that are older than the grace; returns how many."""
        with self._alone():
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

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A connection with one view a kind over one consistent snapshot; a kind without events is empty."""
        manifest = self.manifest()
        connection = _connection()
        connection.register("tail", TAIL_SCHEMA.empty_table())
        for kind in kinds():
            parts = [str(self._root / part) for part in manifest.of(kind)]
            if parts:
                connection.from_parquet(parts, union_by_name=True).create_view(kind)
            else:
                empty = connection.sql(_export_statement(kind)).to_arrow_table()
                connection.register(kind, empty)
        connection.unregister("tail")
        return connection

    def _export(self, rows: list[Row]) -> None:
        manifest = self.manifest()
        files = dict(manifest.files)
        connection = _connection()
        columns = {name: [getattr(row, name) for row in rows] for name in TAIL_SCHEMA.names}
        connection.register("tail", pa.table(columns, schema=TAIL_SCHEMA))
        for kind in kinds():
            table = connection.sql(_export_statement(kind)).to_arrow_table()
            if table.num_rows:
                part = f"{kind}/{rows[0].trial}-{rows[0].seq:012d}-{rows[-1].seq:012d}.parquet"
                self._write(part, table)
                files[kind] = (*files.get(kind, ()), part)
        connection.close()
        self._commit(manifest.generation, rows[-1].seq, files)

    def _compact(self) -> None:
        """Merge many small parts of a kind into one under a new name; the old ones wait for the garbage."""
        manifest = self.manifest()
        files = dict(manifest.files)
        for kind, parts in manifest.files:
            if len(parts) > COMPACT_OVER:
                connection = _connection()
                sources = [str(self._root / part) for part in parts]
                merged = connection.from_parquet(sources, union_by_name=True).order("seq").to_arrow_table()
                connection.close()
                first, last = parts[0].rsplit("-", 1)[0], parts[-1].rsplit("-", 1)[1]
                self._write(f"{first}-{last}", merged)
                files[kind] = (f"{first}-{last}",)
        if files != dict(manifest.files):
            self._commit(manifest.generation, manifest.upto, files)

    def _write(self, part: str, table: pa.Table) -> None:
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        path = self._root / part
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_durably(path, buffer.getvalue())

    def _commit(self, generation: int, upto: int, files: dict[str, tuple[str, ...]]) -> None:
        content = {"generation": generation + 1, "upto": upto, "files": files}
        write_durably(self._root / MANIFEST, json.dumps(content).encode())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = os.open(self._root / ".exporter.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _connection() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config=CONFIGURATION)
    connection.execute("set TimeZone = 'UTC'")
    return connection


def _export_statement(kind: str) -> str:
    return (project_folder("sql") / "export" / f"{kind}.sql").read_text(encoding="utf-8")
