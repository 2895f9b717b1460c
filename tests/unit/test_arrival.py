"""The short way to an instance's study says what pydicom says, or leaves the file to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from shadow.domain.errors import UnreadableInstance
from shadow.index_test.arrival import SOP_INSTANCE_UID, STUDY_INSTANCE_UID, near_start, uids_of_plain_head

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
