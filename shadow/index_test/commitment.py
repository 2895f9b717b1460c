"""Storage commitment: what was asked, kept until it is answered, and answered from the files on the disk.

A request is one JSON file in `spool/commitments/`; it is there before its sender is told that it was accepted.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

from shadow.domain.errors import StoreError
from shadow.index_test.spool_index import SpoolIndex
from shadow.index_test.spooled_instance import instance_of, is_uid
from shadow.store.durable import make_folder, sync_folder, write_durably

NO_SUCH_INSTANCE, CLASS_CONFLICT = 0x0112, 0x0119
"""Failure Reason (0008,1197), PS3.3 C.14.1.1."""
SECONDS_FOR_SORTING = 5.0
_HEAD_BYTES = 1024
_BESIDE_STUDIES = (("arrived", "*/*.dcm"), ("quarantine", "*.dcm"))
"""Where instances lie that are of no study yet, or of none: they were acknowledged, and are kept."""


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """What one N-ACTION asked.

    Attributes:
        calling_ae_title: who asked, and hears the answer.
        transaction_uid: (0008,1195).
        references: SOP Class and SOP Instance UID of each instance.
    """

    calling_ae_title: str
    transaction_uid: str
    references: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class CommitmentAnswer:
    """What N-EVENT-REPORT says: references that are safe, and those that are not with their failure reason."""

    request: CommitmentRequest
    committed: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str, int], ...]


class Commitments:
    """The requests that are not answered yet."""

    def __init__(self, spool: Path) -> None:
        self._folder = spool / "commitments"
        self._beside_studies = tuple((spool / name, pattern) for name, pattern in _BESIDE_STUDIES)
        make_folder(self._folder)

    def accept(self, request: CommitmentRequest) -> None:
        """Keep a request, durable on return; the same one again is one.

        Raises:
            ValueError: a UID is none.
            OSError: the disk refused.
        """
        uids = [request.transaction_uid, *(uid for pair in request.references for uid in pair)]
        if not request.references or not all(is_uid(uid) for uid in uids):
            raise ValueError("a UID of the request is none, or it names no instance")
        content = {
            "calling_ae_title": request.calling_ae_title,
            "transaction_uid": request.transaction_uid,
            "references": request.references,
        }
        name = hashlib.sha256(f"{request.calling_ae_title}\n{request.transaction_uid}".encode()).hexdigest()
        write_durably(self._folder / f"{name}.json", json.dumps(content).encode())

    def waiting(self) -> list[Path]:
        """The files of the requests, oldest first."""
        return sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime)

    def read(self, path: Path) -> CommitmentRequest:
        """One request.

        Raises:
            StoreError: the file is not one.
        """
        try:
            content = json.loads(path.read_bytes())
            references = tuple((str(one), str(other)) for one, other in content["references"])
            return CommitmentRequest(content["calling_ae_title"], content["transaction_uid"], references)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path.name}: not a commitment request: {type(error).__name__}") from error

    def answer(self, path: Path, index: SpoolIndex) -> CommitmentAnswer | None:
        """What the disk says to a request; None where what arrived just before it is still being sorted.

        Raises:
            StoreError: the file is not a request.
            OSError: the disk refuses to make durable what is there.
        """
        request = self.read(path)
        committed: list[tuple[str, str]] = []
        failed: list[tuple[str, str, int]] = []
        folders: set[Path] = set()
        of_no_study: dict[str, Path] | None = None
        for sop_class_uid, sop_instance_uid in request.references:
            found = index.find(sop_instance_uid)
            if found is None:
                of_no_study = of_no_study if of_no_study is not None else self._files_of_no_study()
                found = of_no_study.get(sop_instance_uid)
            if found is None:
                failed.append((sop_class_uid, sop_instance_uid, NO_SUCH_INSTANCE))
            elif not _is_of_class(found, sop_class_uid):
                failed.append((sop_class_uid, sop_instance_uid, CLASS_CONFLICT))
            else:
                committed.append((sop_class_uid, sop_instance_uid))
                folders.add(found.parent)
        for folder in folders:  # an instance whose sender was refused for a failing disk lies there by name alone
            sync_folder(folder)
        if failed and time.time() - path.stat().st_mtime < SECONDS_FOR_SORTING:
            return None
        return CommitmentAnswer(request, tuple(committed), tuple(failed))

    def done(self, path: Path) -> None:
        """Forget a request: it was answered, or given up."""
        path.unlink(missing_ok=True)
        sync_folder(self._folder)

    def _files_of_no_study(self) -> dict[str, Path]:
        paths = (path for folder, pattern in self._beside_studies for path in folder.glob(pattern))
        found = ((instance_of(path.name), path) for path in paths)
        return {one.sop_instance_uid: path for one, path in found if one is not None}


def _is_of_class(path: Path, sop_class_uid: str) -> bool:
    """Whether the file's head, which the spool wrote, names this SOP class."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    at = head.find(b"\x02\0\x02\0UI")
    length = int.from_bytes(head[at + 6 : at + 8], "little")
    return at > 0 and head[at + 8 : at + 8 + length].rstrip(b"\0").decode("ascii", "replace") == sop_class_uid
