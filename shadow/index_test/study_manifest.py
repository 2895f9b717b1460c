"""The manifest of a closed study revision: what the study held when it went quiet, written once and durably."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from shadow.domain.clock import from_text, to_text
from shadow.domain.errors import StoreError
from shadow.index_test.spooled_instance import SpooledInstance
from shadow.store.durable import write_durably


@dataclass(frozen=True, slots=True)
class StudyManifest:
    """A closed study revision.

    Attributes:
        study_key: keyed pseudonym of (0020,000D).
        revision: 1 for what was there when the study first went quiet.
        supersedes: the revision before, or None.
        calling_ae_title: who sent the study's first instance.
        first_received_at: the study's first instance, by the trial's clock.
        closed_at: the closing of this revision, by the trial's clock.
        machine_closed_at: the same by the machine's own clock, UTC.
        instances: every instance of the study, one a SOP Instance UID, sorted by it. Revision 2 holds those
            of revision 1 too.
        manifest_sha256: over the instances; see `digest_of`.
    """

    study_key: str
    revision: int
    supersedes: int | None
    calling_ae_title: str
    first_received_at: datetime
    closed_at: datetime
    machine_closed_at: datetime
    instances: tuple[SpooledInstance, ...]
    manifest_sha256: str


def digest_of(instances: Iterable[SpooledInstance]) -> str:
    r"""SHA-256 in hex over the sorted lines `<SOP Instance UID> <digest of the file>\n`."""
    lines = sorted(f"{one.sop_instance_uid} {one.digest}\n" for one in instances)
    return hashlib.sha256("".join(lines).encode("ascii")).hexdigest()


def manifest_path(spool: Path, study_key: str, revision: int) -> Path:
    """Where the manifest of a study revision lies; the instances lie beside it."""
    return spool / "studies" / study_key / f"manifest-r{revision}.json"


def write_manifest(path: Path, manifest: StudyManifest) -> None:
    """Write a manifest durably, and with it the names of the instances beside it."""
    content = asdict(manifest) | {
        name: to_text(getattr(manifest, name)) for name in ("first_received_at", "closed_at", "machine_closed_at")
    }
    write_durably(path, (json.dumps(content, indent=1) + "\n").encode())


def read_manifest(path: Path) -> StudyManifest:
    """Read a manifest.

    Raises:
        FileNotFoundError: there is no such revision.
        StoreError: the content is not the one that was written.
    """
    try:
        content = json.loads(path.read_bytes())
        manifest = StudyManifest(
            study_key=content["study_key"],
            revision=content["revision"],
            supersedes=content["supersedes"],
            calling_ae_title=content["calling_ae_title"],
            first_received_at=from_text(content["first_received_at"]),
            closed_at=from_text(content["closed_at"]),
            machine_closed_at=from_text(content["machine_closed_at"]),
            instances=tuple(_read_spooled(one) for one in content["instances"]),
            manifest_sha256=content["manifest_sha256"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path.parent.name}/{path.name}: not a manifest: {type(error).__name__}") from error
    if digest_of(manifest.instances) != manifest.manifest_sha256:
        raise StoreError(f"{path.parent.name}/{path.name}: instances and digest do not agree")
    return manifest


def _read_spooled(one: dict[str, str]) -> SpooledInstance:
    digest = one["sha256"] if "sha256" in one else one["digest"]  # the former as earlier versions wrote it
    return SpooledInstance(one["file"], one["sop_instance_uid"], digest)
