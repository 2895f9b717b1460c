"""The de-identified copies of one study revision, and the note that tells the models they are ready.

Copies are not synced: they can be made again from the spool. What makes that safe is their digest, which
travels in the durable queue entry. A model lane that finds other bytes (a power cut, a failing disk, a folder
that was cleaned) sends the study back to admission instead of answering from what is left.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shadow.domain.errors import StoreError
from shadow.index_test.deidentify import deidentify_instance
from shadow.index_test.deidentify_values import DeidentificationContext
from shadow.index_test.instance import read_instance

SUFFIX = ".dcm"


class CopiesMissing(Exception):
    """The copies on disk are not those that admission wrote."""


@dataclass(frozen=True, slots=True)
class ReadyStudy:
    """A model lane's item: an admitted study revision and the digest of its copies."""

    study_key: str
    revision: int
    copies_sha256: str

    @property
    def name(self) -> str:
        """The item's name in every queue, as the mirror put it."""
        return f"{self.study_key}.r{self.revision}"

    def to_bytes(self) -> bytes:
        """The queue entry's payload."""
        content = {
            "study_key": self.study_key,
            "revision": self.revision,
            "copies_sha256": self.copies_sha256,
        }
        return json.dumps(content).encode()


def read_ready_study(payload: bytes) -> ReadyStudy:
    """The item that `to_bytes` wrote.

    Raises:
        StoreError: the payload is not one.
    """
    try:
        content = json.loads(payload)
        return ReadyStudy(content["study_key"], int(content["revision"]), content["copies_sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"a model lane's queue entry is damaged: {type(error).__name__}") from error


def copies_folder(studies: Path, study_key: str, revision: int) -> Path:
    """Where the copies of a study revision lie."""
    return studies / study_key / f"r{revision}"


def write_copies(folder: Path, copies: Mapping[str, bytes]) -> str:
    """Make the folder hold these copies and no others.

    Args:
        folder: of the study revision.
        copies: PS3.10 bytes by the copy's SOP Instance UID.

    Returns:
        The digest that `read_copies` asks for.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = {f"{uid}{SUFFIX}" for uid in copies}
    for stale in folder.iterdir():
        if stale.name not in names:
            stale.unlink()
    for uid, content in copies.items():
        _write_whole(folder / f"{uid}{SUFFIX}", content)
    return digest_of_copies(copies)


def read_copies(folder: Path, expected_sha256: str) -> dict[str, bytes]:
    """The copies of a study revision by SOP Instance UID.

    Raises:
        CopiesMissing: they are not those that admission wrote.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == SUFFIX and path.name[0] != ".")
        copies = {path.name.removesuffix(SUFFIX): path.read_bytes() for path in paths}
    except FileNotFoundError as error:
        raise CopiesMissing from error
    if digest_of_copies(copies) != expected_sha256:
        raise CopiesMissing
    return copies


def digest_of_copies(copies: Mapping[str, bytes]) -> str:
    """SHA-256 in hex over the sorted lines of UID and SHA-256."""
    lines = sorted(f"{uid} {hashlib.sha256(content).hexdigest()}\n" for uid, content in copies.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def deidentify_file(source: Path, target: Path, context: DeidentificationContext) -> None:
    """De-identify one file into another, which appears whole or not at all; it is not synced.

    Raises:
        UnreadableInstance: the source cannot be read as DICOM.
    """
    _write_whole(target, deidentify_instance(read_instance(source.read_bytes()), context))


def _write_whole(target: Path, content: bytes) -> None:
    """Put a copy in its place whole; a crash leaves nothing or a dot file, and a copy can be made again."""
    temporary = target.with_name(f".{target.name}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(target)
