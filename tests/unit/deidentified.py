"""What the tests of de-identification share: a context, and files made element by element."""

import io
import struct

import pydicom
from head_ct import PSEUDONYMISER, as_file
from pydicom.dataset import Dataset

from shadow.index_test.deidentify import deidentify_instance
from shadow.index_test.deidentify_values import DeidentificationContext
from shadow.index_test.instance import read_instance

CONTEXT = DeidentificationContext(PSEUDONYMISER, "P" + "2" * 20, "A" + "3" * 20, -70)


PLANTED = "ZQXPLANTED"


def copy_of(dataset: Dataset) -> tuple[bytes, pydicom.FileDataset]:
    content = deidentify_instance(read_instance(as_file(dataset)), CONTEXT)
    return content, pydicom.dcmread(io.BytesIO(content))


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    wide = vr in (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
    return head + (struct.pack("<HL", 0, len(value)) if wide else struct.pack("<H", len(value))) + value


def file_of(body: bytes) -> bytes:
    meta = element(0x00020010, b"UI", b"1.2.840.10008.1.2.1\0")
    return bytes(128) + b"DICM" + element(0x00020000, b"UL", struct.pack("<L", len(meta))) + meta + body


def named(uid: str = "1.2.3\0") -> bytes:
    return element(0x00080018, b"UI", uid.encode())
