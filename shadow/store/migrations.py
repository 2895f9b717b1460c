"""Forward-only migrations: numbered files, each applied once and recorded with its digest."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from shadow.domain.clock import to_text
from shadow.domain.errors import MigrationEdited
from shadow.domain.project import project_folder
from shadow.store.engine import Database

ADVISORY_LOCK = 7_262_026
_APPLIED = sa.Table(
    "schema_migration",
    sa.MetaData(),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("applied_at", sa.Text, nullable=False),
)


def migrate(database: Database, folder: Path | None = None) -> None:
    """Apply what is not yet applied, in one transaction; other processes wait.

    Raises:
        MigrationEdited: a file that was applied has another digest now, or is gone: a newer release made the
            database, and this one does not know its tables.
    """
    dialect = "sqlite" if database.is_sqlite else "postgresql"
    files = sorted((folder or project_folder("sql") / "migrations").glob(f"[0-9]*.{dialect}.sql"))
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
        _APPLIED.create(connection, checkfirst=True)
        done = {row.version: row.sha256 for row in connection.execute(sa.select(_APPLIED))}
        for version in sorted(done.keys() - {_version(file) for file in files}):
            raise MigrationEdited(f"migration {version} was applied but its file is gone; use the newer release")
        for file in files:
            _apply(connection, file, done)


def _apply(connection: sa.Connection, file: Path, done: dict[int, str]) -> None:
    text = file.read_text(encoding="utf-8")
    version, sha256 = _version(file), hashlib.sha256(text.encode()).hexdigest()
    if version in done:
        if done[version] != sha256:
            raise MigrationEdited(f"{file.name} was edited after it was applied; restore it, add a new number")
        return
    for statement in split_statements(text):
        connection.exec_driver_sql(statement)
    applied = {
        "version": version,
        "name": file.name,
        "sha256": sha256,
        "applied_at": to_text(datetime.now(UTC)),
    }
    connection.execute(_APPLIED.insert().values(applied))


def _version(file: Path) -> int:
    return int(file.name.split("_", 1)[0])


def split_statements(text: str) -> list[str]:
    """The statements of a migration. A blank line after a semicolon ends one, so that bodies stay whole."""
    statements = re.split(r";[ \t]*\n(?=[ \t]*\n|\Z)", text.rstrip() + "\n")
    return [statement.strip() for statement in statements if statement.strip()]
