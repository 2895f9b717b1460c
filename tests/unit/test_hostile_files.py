"""A file may say anything: what it takes to read it is bounded, and the refusal has a name."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from head_ct import (
    ROOT,
    RULES,
    as_file,
    head_slice,
)
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from shadow.domain.errors import UnreadableInstance
from shadow.index_test import decoder, instance
from shadow.index_test.arrival import uids_of_file
from shadow.index_test.early_start import EarlyStart
from shadow.index_test.instance import read_instance


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """One element in explicit VR little endian; its length may lie."""
    size = len(value) if length is None else length
    if vr in instance.EXPLICIT_LONG_VRS:
        return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, size) + value
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, size) + value


def altered(file: bytes, *changes: bytes) -> bytes:
    """The file with elements put in, each in the place of the one that has its tag."""
    read = read_instance(file)
    parts = {}
    ends = [file.index(b"DICM") + 16 + int.from_bytes(file[140:144], "little") - 4]
    for one in read.elements.values():
        parts[one.tag] = file[ends[-1] : one.end]
        ends.append(one.end)
    for change in changes:
        group, number = struct.unpack_from("<HH", change)
        parts[group << 16 | number] = change
    return file[: ends[0]] + b"".join(parts[tag] for tag in sorted(parts))


def deflated(file: bytes, megabytes: int = 0, before: int = 0x7FE00010) -> bytes:
    """The file deflated, with so many megabytes of nothing in front of a tag."""
    start = 144 + int.from_bytes(file[140:144], "little")
    meta = file[:start].replace(
        b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x16\x00" + str(DeflatedExplicitVRLittleEndian).encode()
    )
    at = next(one.start - 12 for one in read_instance(file).elements.values() if one.tag >= before)
    at = file.rindex(struct.pack("<HH", before >> 16, before & 0xFFFF), start, at + 12)
    squeeze = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    parts = [squeeze.compress(file[start:at])]
    if megabytes:
        parts.append(squeeze.compress(struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, megabytes << 20)))
        parts += [squeeze.compress(bytes(1 << 20)) for _ in range(megabytes)]
    parts.append(squeeze.compress(file[at:]))
    body = b"".join(parts) + squeeze.flush()
    grown = len(meta) - start
    return meta[:140] + struct.pack("<L", start - 144 + grown) + meta[144:] + body


def refused(content: bytes) -> str:
    with pytest.raises(UnreadableInstance) as found:
        read_instance(content)
    return found.value.reason


def test_a_deflated_file_is_known_by_its_uids_and_a_bomb_is_not_inflated_for_them(tmp_path: Path) -> None:
    file = as_file(head_slice())
    plain, bomb = tmp_path / "plain", tmp_path / "bomb"
    plain.write_bytes(deflated(file))
    bomb.write_bytes(deflated(file, megabytes=200, before=0x00080050))
    assert uids_of_file(plain) == (f"{ROOT}.1.2.1", f"{ROOT}.1")
    tracemalloc.start()
    try:
        assert uids_of_file(bomb)[1] == ""
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_the_uids_of_a_file_that_begins_with_megabytes_are_found(tmp_path: Path) -> None:
    file = tmp_path / "long"
    file.write_bytes(altered(as_file(head_slice()), element(0x00104000, b"UT", b"x" * (5 << 20))))
    assert uids_of_file(file) == (f"{ROOT}.1.2.1", f"{ROOT}.1")


def test_a_deflated_file_is_read_and_a_bomb_costs_a_worker() -> None:
    file = as_file(head_slice())
    assert read_instance(deflated(file)).raw("PixelData") == read_instance(file).raw("PixelData")
    assert refused(deflated(file, megabytes=700)) == "reading_takes_too_much_memory"
    assert read_instance(deflated(file)).text("Modality") == "CT"


def test_reading_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "SECONDS_FOR_A_FILE", -1.0)
    assert refused(deflated(as_file(head_slice()))) == "reading_takes_too_long"


def test_a_file_of_millions_of_elements_is_given_up() -> None:
    file = as_file(head_slice())
    items = element(0x00081140, b"SQ", b"\xfe\xff\x00\xe0\0\0\0\0" * (instance.MAXIMUM_ELEMENTS + 1))
    assert refused(altered(file, items)) == "too_many_elements"


def test_a_transfer_syntax_that_nobody_registered_is_named() -> None:
    file = as_file(head_slice()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.113619.5.2\0\0")
    assert refused(file) == "unknown_transfer_syntax"


@pytest.mark.parametrize("value", [b"NaN ", b"inf ", b"1e400 ", b"-1e400"])
def test_what_is_no_finite_number_is_no_number(value: bytes) -> None:
    file = altered(as_file(head_slice()), element(0x00180060, b"DS", value))
    assert read_instance(file).number("KVP") is None
    file = altered(as_file(head_slice()), element(0x00180060, b"FD", struct.pack("<d", float(value))))
    assert read_instance(file).number("KVP") is None


def test_a_text_of_megabytes_is_read_no_further_than_any_text_goes() -> None:
    file = altered(as_file(head_slice()), element(0x00080008, b"UT", b"\\" * (4 << 20)))
    assert len(read_instance(file).texts("ImageType")) <= instance.MAXIMUM_TEXT_BYTES + 1


@pytest.mark.parametrize("value", [b"1e400 ", b"NaN "])
def test_a_series_number_that_is_none_does_not_stop_the_mirror(tmp_path: Path, value: bytes) -> None:
    early = EarlyStart(replace(RULES, start_after_quiet_seconds=0.5), "CT")
    for number in range(1, 9):
        file = tmp_path / f"{number}.dcm"
        file.write_bytes(altered(as_file(head_slice(number=number)), element(0x00200011, b"IS", value)))
        early.saw("S", file, 0.0)
    assert early.ready("S", 1.0)


def test_a_large_file_of_another_encoding_is_read_as_a_small_one_is() -> None:
    small = head_slice(matrix=64)
    large = head_slice(matrix=1024)
    for one in (small, large):
        one.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        assert read_instance(as_file(one)).raw("PixelData") == one.PixelData
