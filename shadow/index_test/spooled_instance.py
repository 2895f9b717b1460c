"""An instance in the spool, by the name of its file: `<SOP Instance UID>~b3-<BLAKE3 of the file>.dcm`."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from blake3 import blake3

MAXIMUM_UID_CHARACTERS = 64
DIGEST_PREFIX = "b3-"
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_INSTANCE_NAME = re.compile(r"([0-9.]{1,64})~((?:b3-)?[0-9a-f]{64})\.dcm")


def is_uid(text: str) -> bool:
    """Whether this is a UID by PS3.5 section 9.1, leading zeros allowed: they are sent, and harm nobody.

    >>> is_uid("1.2.840.10008.1.1"), is_uid("../../etc/passwd"), is_uid("1." + "2" * 63)
    (True, False, False)
    """
    return len(text) <= MAXIMUM_UID_CHARACTERS and _UID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class SpooledInstance:
    """One instance in a study's folder.

    Attributes:
        file: the file's name in `spool/studies/<study_key>/`.
        sop_instance_uid: (0008,0018), in clear: the spool is on the identified side.
        digest: of the whole file: `b3-` and its BLAKE3 in hex, as `b3sum` prints it, or the bare SHA-256 that an
            earlier version gave.
    """

    file: str
    sop_instance_uid: str
    digest: str

    def is_whole(self, content: bytes) -> bool:
        """Whether these are the bytes that were acknowledged."""
        if self.digest.startswith(DIGEST_PREFIX):
            return blake3(content).hexdigest() == self.digest.removeprefix(DIGEST_PREFIX)
        return hashlib.sha256(content).hexdigest() == self.digest


def instance_of(file: str) -> SpooledInstance | None:
    """The instance that a file's name records, or None where it is no instance's name."""
    match = _INSTANCE_NAME.fullmatch(file)
    return SpooledInstance(file, match[1], match[2]) if match else None


def name_of(sop_instance_uid: str, blake3_in_hex: str) -> str:
    """The file's name of an instance."""
    return f"{sop_instance_uid}~{DIGEST_PREFIX}{blake3_in_hex}.dcm"
