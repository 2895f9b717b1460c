"""`shadow deidentify --check` as a stranger meets it."""

import io
import os
import re
from pathlib import Path

import pytest
from deidentified import PLANTED, element, file_of
from head_ct import as_file, head_slice
from pydicom.dataset import Dataset
from rich.console import Console

from shadow.supervision.deidentify_check import REMEDIES, check


def test_the_check_prints_what_stays_and_nothing_of_what_goes(tmp_path: Path) -> None:
    def planted(dataset: Dataset) -> None:
        dataset.ImageComments = PLANTED
        dataset.StudyDescription = f"CT HEAD {PLANTED}"

    path, out = tmp_path / "one.dcm", io.StringIO()
    path.write_bytes(as_file(head_slice(change=planted)))
    assert check(path, Console(file=out, width=160)) == 0
    said = out.getvalue()
    assert "StationName" in said
    assert "RVCT1" in said
    assert "CT HEAD" in said
    assert not [word for word in (PLANTED, "Planted", "MRN84736251", "R00001234") if word in said]
    path.write_bytes(b"no file of DICOM")
    assert check(path, Console(file=out, width=160)) == 2
    path.write_bytes(as_file(head_slice(change=lambda one: setattr(one, "BurnedInAnnotation", "YES"))))
    assert check(path, Console(file=out, width=160)) == 1


def truncated(length: int) -> bytes:
    return as_file(head_slice())[:length]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no DICM at byte 128"),
        (b"a letter to the hospital" * 20, "no DICM at byte 128"),
        (truncated(132), "damaged or cut short"),
        (truncated(140), "damaged or cut short"),
        (truncated(700), "no pixel data"),
        (truncated(len(as_file(head_slice())) - 300), "shorter than its header says"),
        (file_of(element(0x00080060, b"CS", b"CT")), "no SOP Instance UID"),
        (as_file(head_slice()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.9.9\0"), "transfer syntax"),
    ],
)
def test_the_check_says_what_is_wrong_with_a_file_and_what_to_do(tmp_path: Path, content: bytes, said: str) -> None:
    path, out = tmp_path / "head [" / "slice].dcm", io.StringIO()
    path.parent.mkdir()
    path.write_bytes(content)
    assert check(path, Console(file=out, width=400)) == 2
    last = out.getvalue().strip().splitlines()[-1]
    assert last.startswith(f"{path}: ")
    assert said in last
    assert re.search(r"(Export|Copy|export)", last)


def test_the_check_has_a_remedy_for_every_reason_for_which_a_file_is_not_read() -> None:
    rows = (Path(__file__).parents[2] / "docs" / "receiver.md").read_text().splitlines()
    documented = {one for row in rows if "| admission |" in row for one in re.findall(r"`(\w+)`", row.split("|")[1])}
    of_the_spool = {one for one in documented if one.startswith("several_") or one.endswith("_in_spool")}
    assert len(documented) > 10
    assert documented - of_the_spool <= set(REMEDIES)


def test_the_check_shows_a_tag_as_a_tag(tmp_path: Path) -> None:
    def pointed(dataset: Dataset) -> None:
        dataset.FrameIncrementPointer = [0x0018001B, 0x00540010]

    path, out = tmp_path / "one.dcm", io.StringIO()
    path.write_bytes(as_file(head_slice(change=pointed)))
    assert check(path, Console(file=out, width=160)) == 0
    assert "(0018,001B)\\(0054,0010)" in out.getvalue()


def test_the_check_tells_a_missing_file_a_folder_and_a_pipe_apart(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, said in (("none.dcm", "no such file"), (".", "a folder"), ("pipe", "no regular file")):
        out = io.StringIO()
        assert check(tmp_path / name, Console(file=out, width=400)) == 2
        assert said in out.getvalue()


def test_the_check_shows_a_long_value_whole(tmp_path: Path) -> None:
    path, out = tmp_path / "one.dcm", io.StringIO()
    path.write_bytes(as_file(head_slice(change=lambda one: setattr(one, "SoftwareVersions", ["A" * 64, "B" * 64]))))
    assert check(path, Console(file=out, width=80)) == 0
    assert "…" not in out.getvalue()
    assert out.getvalue().count("B") >= 64
