"""The short way to an instance's study says what pydicom says, or leaves the file to it."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from head_ct import ROOT, as_file, head_slice
from pydicom.data import get_testdata_file

from shadow.domain.errors import UnreadableInstance
from shadow.index_test.arrival import (
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    checked_study_instance_uid,
    near_start,
    uids_of_file,
    uids_of_plain_head,
)
from shadow.index_test.file_head import file_head

FOLDER = Path(str(get_testdata_file("MR_small.dcm"))).parent
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file() and path.stat().st_size < 1_000_000)


def test_the_short_way_agrees_with_pydicom_on_its_own_files() -> None:
    short = {path: found for path in FILES if (found := uids_of_plain_head(path.read_bytes()[: 1 << 13]))}
    assert len(short) > 60, "most files should not need pydicom"
    for path, found in short.items():
        try:
            assert list(found) == near_start(path, SOP_INSTANCE_UID, STUDY_INSTANCE_UID), path.name
        except UnreadableInstance:
            pytest.fail(f"{path.name}: read here, and pydicom finds it unreadable")


@pytest.mark.parametrize("position", range(132, 700, 7))
def test_the_short_way_never_raises_on_damage(position: int) -> None:
    content = bytearray((FOLDER / "CT_small.dcm").read_bytes()[: 1 << 13])
    for octet in (0x00, 0x7F, 0xFF):
        content[position] = octet
        found = uids_of_plain_head(bytes(content))
        assert found is None or len(found) == 2
        assert uids_of_plain_head(bytes(content[:position])) is None


CT_IMAGE, EXPLICIT, IMPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


def test_explicit_vr_in_an_implicit_context_is_found_out_before_the_pixels_are_taken_for_elements(
    tmp_path: Path,
) -> None:
    path, uid = tmp_path / "instance", f"{ROOT}.1.2.1"
    dark = np.random.default_rng(1)
    for _ in range(16):
        file = as_file(head_slice(pixels=dark.integers(0, 3, (600, 600))))
        data_set = file[144 + int.from_bytes(file[140:144], "little") :]
        path.write_bytes(file_head(CT_IMAGE, uid, IMPLICIT, None) + data_set)
        assert uids_of_file(path) == (uid, f"{ROOT}.1")


STUDY_ALONE = struct.pack("<HH2sH", 0x0020, 0x000D, b"UI", 6) + b"1.2.9\0"
VALUE_WITHOUT_END = (
    struct.pack("<HH2sH", 0x0008, 0x0018, b"UI", 6) + b"1.2.3\0"
    + struct.pack("<HH2sHL", 0x0008, 0x0020, b"OB", 0, 0xFFFFFFFF)
)  # fmt: skip


@pytest.mark.parametrize("data_set", [STUDY_ALONE, VALUE_WITHOUT_END], ids=["it has none", "none can be read"])
def test_an_instance_that_does_not_say_which_it_is_is_not_said_to_be_another(tmp_path: Path, data_set: bytes) -> None:
    path = tmp_path / "instance"
    path.write_bytes(file_head(CT_IMAGE, "1.2.3", EXPLICIT, None) + data_set)
    with pytest.raises(UnreadableInstance) as refused:
        checked_study_instance_uid(uids_of_file(path), "1.2.3")
    assert refused.value.reason == "no_sop_instance_uid"
