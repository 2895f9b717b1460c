"""A snapshot as an immutable file under its digest, and the pointer to the newest one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from shadow.assessment.snapshot import Snapshot
from shadow.domain.clock import to_text

SNAPSHOT_FILE = "snapshot.json"
CASES_FILE = "cases.parquet"
READING_LIST_FILE = "reading-list.parquet"
POINTER_FILE = "current.json"


def to_bytes(snapshot: Snapshot) -> bytes:
    """The snapshot as canonical JSON (UTF-8, sorted keys)."""
    return json.dumps(_plain(snapshot), sort_keys=True, indent=1, ensure_ascii=False).encode()


class OtherVersion(ValueError):
    """A snapshot that another version of Shadow wrote; the next assessment replaces it."""


def from_bytes(content: bytes) -> Snapshot:
    """The snapshot that `to_bytes` wrote.

    Raises:
        OtherVersion: it has other fields than this version's.
    """
    try:
        return typing.cast(Snapshot, _value(json.loads(content), Snapshot))
    except (TypeError, KeyError) as error:
        raise OtherVersion("the snapshot is of another version of Shadow; the next assessment replaces it") from error


def sha256_of(content: bytes) -> str:
    """Hex digest of a snapshot file: what a signature binds to."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, slots=True)
class Published:
    """The newest snapshot of a folder, with where its case list lies."""

    sha256: str
    snapshot: Snapshot
    cases: Path

    @property
    def reading_list(self) -> Path:
        """The studies that may be read blind, in the order of reading; nothing but their keys."""
        return self.cases.with_name(READING_LIST_FILE)


def read_current(folder: Path) -> Published | None:
    """The newest published snapshot, or None where nothing is published yet.

    Raises:
        ValueError: the file's digest is not the one that the pointer names.
        OtherVersion: another version of Shadow wrote it.
    """
    try:
        sha256 = str(json.loads((folder / POINTER_FILE).read_text(encoding="utf-8"))["sha256"])
    except FileNotFoundError:
        return None
    content = (folder / sha256[:16] / SNAPSHOT_FILE).read_bytes()
    if sha256_of(content) != sha256:
        raise ValueError(f"snapshot {sha256[:16]} was changed after it was published; publish a new one")
    return Published(sha256, from_bytes(content), folder / sha256[:16] / CASES_FILE)


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, datetime):
        return to_text(value)
    return value


def _value(value: Any, hint: Any) -> Any:
    if get_origin(hint) is tuple:
        return tuple(_value(one, get_args(hint)[0]) for one in value)
    if get_origin(hint) in (types.UnionType, typing.Union):
        return None if value is None else _value(value, get_args(hint)[0])
    if dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint)
        return typing.cast(type, hint)(**{key: _value(one, hints[key]) for key, one in value.items()})
    if hint is datetime:
        return datetime.fromisoformat(value)
    if hint is float:
        return float(value)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint(value)
    return value
