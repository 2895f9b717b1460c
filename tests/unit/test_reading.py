"""The reading desk over a real ledger, and what a reader is shown of real DICOM files."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from head_ct import as_file, head_slice, head_study
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage

from shadow.adjudication.desk import AlreadyRead, Answer, Progress, ReadingDesk
from shadow.adjudication.images import ImagesMissing, read_images
from shadow.store.events import Kind
from shadow.store.ledger import Ledger

NOW = datetime(2026, 10, 1, tzinfo=UTC)
YES, NO = Answer.PRESENT, Answer.ABSENT


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[], Ledger]:
    def open_ledger() -> Ledger:
        return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", "trial")

    with open_ledger() as ledger:
        ledger.migrate()
    return open_ledger


def desk(opened: Callable[[], Ledger], *studies: str) -> ReadingDesk:
    return ReadingDesk(opened, "bleed", lambda: studies, lambda: NOW)


def reads(opened: Callable[[], Ledger]) -> list[tuple[str, str, str, bool]]:
    with opened() as ledger:
        bodies = [json.loads(row.body or "") for row in ledger.of_kind(Kind.ADJUDICATION)]
    return [(one["study_key"], one["reader"], one["answer"], one["arbiter"]) for one in bodies]


def test_two_people_read_a_study_and_nobody_reads_it_again(opened: Callable[[], Ledger]) -> None:
    one = desk(opened, "S1")
    one.lock("ann", "S1", YES, "0" * 64)
    with pytest.raises(AlreadyRead):
        one.lock("ann", "S1", NO, "0" * 64)
    assert one.next_study("ann") is None
    one.lock("bob", "S1", YES, "0" * 64)
    assert one.next_study("cy") is None
    with pytest.raises(AlreadyRead):
        one.lock("cy", "S1", NO, "0" * 64)
    assert reads(opened) == [("S1", "ann", "present", False), ("S1", "bob", "present", False)]


def test_a_third_person_settles_and_never_one_of_the_two(opened: Callable[[], Ledger]) -> None:
    one = desk(opened, "S1")
    one.lock("ann", "S1", YES, "0" * 64)
    one.lock("bob", "S1", NO, "0" * 64)
    assert one.next_study("ann") is None and one.next_study("bob") is None
    assert one.next_study("cy") == "S1"
    assert one.next_study("dee") is None, "one person settles"
    one.lock("cy", "S1", NO, "0" * 64)
    assert reads(opened)[-1] == ("S1", "cy", "absent", True)
    assert desk(opened, "S1").next_study("dee") is None


def test_a_study_is_held_for_whoever_has_it_and_a_page_drawn_again_shows_the_same(
    opened: Callable[[], Ledger],
) -> None:
    one = desk(opened, "S1", "S2", "S3")
    assert [one.next_study("ann"), one.next_study("ann"), one.next_study("bob")] == ["S1", "S1", "S1"]
    assert one.next_study("cy") == "S2", "two hold the first one already"
    one.lock("ann", "S1", YES, "0" * 64)
    assert one.next_study("ann") == "S2"
    assert one.progress("ann") == Progress(1, 2)


def test_what_is_not_on_the_list_cannot_be_read(opened: Callable[[], Ledger]) -> None:
    with pytest.raises(AlreadyRead):
        desk(opened, "S1").lock("ann", "S9", YES, "0" * 64)
    assert reads(opened) == []


def test_many_answers_at_once_leave_two_reads(opened: Callable[[], Ledger]) -> None:
    one = desk(opened, "S1")

    def answer(reader: str) -> bool:
        try:
            one.lock(reader, "S1", YES, "0" * 64)
        except AlreadyRead:
            return False
        return True

    with ThreadPoolExecutor(6) as people:
        kept = list(people.map(answer, [f"reader-{number}" for number in range(6)]))
    assert sum(kept) == len(reads(opened)) == 2


def test_opening_the_images_is_on_record_once(opened: Callable[[], Ledger]) -> None:
    one = desk(opened, "S1")
    one.opened("ann", "S1")
    one.opened("ann", "S1")
    with opened() as ledger:
        (row,) = ledger.of_kind(Kind.AUDIT)
    assert (row.subject, json.loads(row.body or "")["object"]) == ("ann", "S1")


def copies(folder: Path, *files: bytes) -> Path:
    folder.mkdir(parents=True)
    for number, content in enumerate(files):
        (folder / f"{number}.dcm").write_bytes(content)
    return folder


def test_slices_come_in_order_of_place_and_in_hounsfield_units(tmp_path: Path) -> None:
    """Stored 1024 + number is `number` HU; the file names say nothing of the order."""
    slices = [head_slice(number=number, pixels=np.full((32, 32), 1024 + number)) for number in (5, 2, 8, 1)]
    localizer = head_study(slices=1)[0]
    found = read_images(copies(tmp_path / "r1", *map(as_file, slices), localizer))
    stack, scout = found.series
    assert stack.values[:, 0, 0].tolist() == [1, 2, 5, 8] and stack.values.dtype == np.dtype("<i2")
    assert stack.hounsfield and (stack.centre, stack.width, stack.inverted) == (40.0, 80.0, False)
    assert len(scout.values) == 1 and found.hidden == 0


def test_a_radiograph_keeps_its_window_and_how_it_is_shown(tmp_path: Path) -> None:
    def radiograph(dataset: Dataset) -> None:
        dataset.SOPClassUID, dataset.Modality = ComputedRadiographyImageStorage, "CR"
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.WindowCenter, dataset.WindowWidth = "1500", "900"
        for keyword in ("RescaleType", "RescaleSlope", "RescaleIntercept", "PixelSpacing"):
            delattr(dataset, keyword)

    (stack,) = read_images(copies(tmp_path / "r1", as_file(head_slice(change=radiograph)))).series
    assert (stack.centre, stack.width, stack.inverted, stack.hounsfield) == (1500.0, 900.0, True, False)


def plain_film(stored: list[int], **changes: object) -> bytes:
    """One row of a CR image."""

    def change(dataset: Dataset) -> None:
        dataset.SOPClassUID, dataset.Modality = ComputedRadiographyImageStorage, "CR"
        dataset.BitsStored, dataset.HighBit = 16, 15
        for keyword in ("RescaleType", "RescaleSlope", "RescaleIntercept", "PixelSpacing"):
            delattr(dataset, keyword)
        for keyword, value in changes.items():
            setattr(dataset, keyword, value)

    return as_file(head_slice(pixels=np.array([stored]), change=change))


@pytest.mark.parametrize(("photometric", "shown"), [("MONOCHROME2", [0, 4095, 819]), ("MONOCHROME1", [4095, 0, 3276])])
def test_a_reader_sees_a_radiograph_through_its_table(tmp_path: Path, photometric: str, shown: list[int]) -> None:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [3, 10, 8])
    table.add_new("LUTData", "OW", bytes([0, 255, 51, 0]))
    film = plain_film([10, 11, 12], PhotometricInterpretation=photometric, VOILUTSequence=[table])
    (stack,) = read_images(copies(tmp_path / "r1", film)).series
    assert stack.values[0, 0].tolist() == shown
    assert (stack.centre, stack.width, stack.inverted) == (2047.5, 4095.0, False)


def test_values_of_16_bits_without_a_sign_are_moved_with_their_window(tmp_path: Path) -> None:
    film = plain_film([0, 40000, 65535], WindowCenter="40000", WindowWidth="2000")
    (stack,) = read_images(copies(tmp_path / "r1", film)).series
    assert stack.values[0, 0].tolist() == [-32768, 7232, 32767]
    assert (stack.centre, stack.width) == (7232.0, 2000.0)


def test_an_image_that_cannot_be_shown_is_counted_and_the_rest_is_shown(tmp_path: Path) -> None:
    files = head_study(slices=8)
    cut = files[3][: len(files[3]) // 2]
    found = read_images(copies(tmp_path / "r1", *files[:3], cut, b"no DICOM", *files[4:]))
    assert len(found.series[0].values) == 7 and found.hidden == 2
    with pytest.raises(ImagesMissing):
        read_images(copies(tmp_path / "none", b"no DICOM"))
    with pytest.raises(ImagesMissing):
        read_images(tmp_path / "nowhere")
