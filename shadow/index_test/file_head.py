"""What stands before the data set in a file of the spool."""

from __future__ import annotations

import struct
from functools import lru_cache

from shadow.store.direct_file import BLOCK_BYTES

IMPLEMENTATION_CLASS_UID = "2.25.279340120217871930187446340916532803417"
IMPLEMENTATION_VERSION_NAME = "SHADOW"
KINDS_KEPT = 256
"""Pairs of SOP class and transfer syntax: instances come a series at a time."""
_BEFORE_META_BYTES = 128 + 4 + 12
"""Preamble, prefix and the group's length."""


def file_head(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, data_set_bytes: int | None) -> bytes:
    """Preamble and file meta information (PS3.10 section 7.1); the same for the same instance, always.

    Where the data set's length is known, private information of zeros makes the file a number of whole blocks.
    """
    before, behind = _around_instance_uid(sop_class_uid, transfer_syntax_uid)
    meta = before + _element(0x0003, b"UI", sop_instance_uid) + behind
    if data_set_bytes is not None:
        meta += _filling(-(_BEFORE_META_BYTES + len(meta) + data_set_bytes) % BLOCK_BYTES)
    return bytes(128) + b"DICM" + struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(meta)) + meta


@lru_cache(KINDS_KEPT)
def _around_instance_uid(sop_class_uid: str, transfer_syntax_uid: str) -> tuple[bytes, bytes]:
    """The elements of the file meta information before and behind the Media Storage SOP Instance UID."""
    before = struct.pack("<HH2sHL", 2, 0x0001, b"OB", 0, 2) + b"\0\1" + _element(0x0002, b"UI", sop_class_uid)
    behind = (
        _element(0x0010, b"UI", transfer_syntax_uid),
        _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
        _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
    )
    return before, b"".join(behind)


def _filling(count: int) -> bytes:
    """So many bytes, or a block more, of Private Information (0002,0102) and its creator; nothing for an odd number."""
    creator = _element(0x0100, b"UI", IMPLEMENTATION_CLASS_UID)
    least = len(creator) + 12
    if count == 0 or count % 2:
        return b""
    length = count - least + (BLOCK_BYTES if count < least else 0)
    return creator + struct.pack("<HH2sHL", 2, 0x0102, b"OB", 0, length) + bytes(length)


def _element(element: int, vr: bytes, value: str) -> bytes:
    padding = b"\0" if vr == b"UI" else b" "
    content = value.encode("ascii") + padding * (len(value) % 2)
    return struct.pack("<HH2sH", 2, element, vr, len(content)) + content
