"""Numbers and matrices that no scanner has: a named failure of one study, and never of the lane or the machine."""

from __future__ import annotations

import io
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from head_ct import (
    RULES,
    as_file,
    head_slice,
)
from pydicom import dcmread
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless
from test_hostile_files import altered, element
from test_infer import Trial, bright, trial  # noqa: F401 (a fixture)
from test_modalities import TILES, prepared, radiograph, slide

from shadow.adapters.onnx_session import OnnxSession
from shadow.domain.errors import NotEvaluable
from shadow.index_test import decoder, pixels
from shadow.index_test.decoder import DecoderPool
from shadow.index_test.instance import read_instance
from shadow.index_test.model import InputKind, ModelContract
from shadow.index_test.pixels import Floats
from shadow.index_test.series import choose_series
from shadow.index_test.volume import build_volume


def sliced(count: int = 8, **settings: object) -> list[bytes]:
    return [as_file(head_slice(number=number, **settings)) for number in range(1, count + 1)]  # type: ignore[arg-type]


def volume_refusal(files: list[bytes]) -> str:
    with pytest.raises(NotEvaluable) as found:
        build_volume(choose_series([read_instance(one) for one in files], RULES).slices, RULES.minimum_slices)
    return found.value.reason


@pytest.mark.parametrize(
    ("tag", "value", "reason"),
    [
        (0x00280030, b"1e-4\\1e-4 ", "no_series_qualifies"),
        (0x00280030, b"1e9\\1e9 ", "no_series_qualifies"),
        (0x00281053, b"1e38", "not_hounsfield_units"),
        (0x00281052, b"-1e38 ", "not_hounsfield_units"),
        (0x00200032, b"0\\0\\1e300 ", "no_series_qualifies"),
    ],
)
def test_numbers_that_no_scanner_writes_are_not_computed_with(tag: int, value: bytes, reason: str) -> None:
    assert volume_refusal([altered(one, element(tag, b"DS", value)) for one in sliced()]) == reason


def test_a_volume_larger_than_any_is_given_up_at_its_first_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    def compressed(file: bytes) -> bytes:
        dataset = dcmread(io.BytesIO(file))
        dataset.compress(RLELossless, generate_instance_uid=False)
        written = io.BytesIO()
        dataset.save_as(written)
        return written.getvalue()

    monkeypatch.setattr(pixels, "MAXIMUM_VOXELS", 8 * 32 * 32 - 1)
    assert volume_refusal([compressed(one) for one in sliced()]) == "volume_too_large"
    monkeypatch.setattr(pixels, "MAXIMUM_VOXELS", 8 * 32 * 32)
    files = [compressed(one) for one in sliced()]
    chosen = choose_series([read_instance(one) for one in files], RULES)
    assert build_volume(chosen.slices, 6).values.shape == (8, 32, 32)


def test_a_matrix_that_no_detector_has_is_refused_before_it_is_decoded() -> None:
    most = struct.pack("<H", 65535)
    changes = element(0x00280010, b"US", most), element(0x00280011, b"US", most)
    assert volume_refusal([altered(one, *changes) for one in sliced()]) == "unsupported_pixel_format"


def test_a_decoded_image_larger_than_any_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = DecoderPool(1)
    monkeypatch.setattr(decoder, "MAXIMUM_FRAME_BYTES", 2 * 32 * 32 - 1)
    dataset = dcmread(io.BytesIO(as_file(head_slice())))
    dataset.compress(RLELossless, generate_instance_uid=False)
    written = io.BytesIO()
    dataset.save_as(written)
    with pytest.raises(NotEvaluable, match="larger than any"):
        workers.decode(written.getvalue(), 0)
    monkeypatch.undo()
    assert workers.decode(written.getvalue(), 0).shape == (32, 32)
    workers.close()


def test_the_pixels_of_a_multi_frame_image_are_not_copied_for_each_frame() -> None:
    frames = 1000
    groups = [Dataset() for _ in range(frames)]
    for number, one in enumerate(groups):
        place = Dataset()
        place.ImagePositionPatient = ["0", "0", f"{5 * number}"]
        one.PlanePositionSequence = [place]

    def change(dataset: Dataset) -> None:
        dataset.SOPClassUID, dataset.NumberOfFrames = "1.2.840.10008.5.1.4.1.1.2.1", frames
        dataset.PerFrameFunctionalGroupsSequence = groups
        dataset.Rows = dataset.Columns = 128
        dataset.PixelData = bytes(2 * 128 * 128 * frames)

    chosen = choose_series([read_instance(as_file(head_slice(change=change)))], RULES)
    start = time.process_time()
    build_volume(chosen.slices, 6)
    assert time.process_time() - start < 1.0, "33 MB for each of 1,000 frames are 33 GB"


class Exhausted:
    """A machine, or a study, that takes all memory."""

    def __init__(self, contract: ModelContract) -> None:
        self._session = OnnxSession(contract)

    def run(self, batch: Floats) -> Floats:
        if batch.max() > 500:
            raise MemoryError
        return self._session.run(batch)


def test_a_study_that_takes_all_memory_is_counted_and_does_not_hold_the_lane(trial: Trial) -> None:  # noqa: F811
    (bomb,) = trial.admit("1", pixels=bright(600))
    (good,) = trial.admit("2", pixels=bright(10))
    assert trial.drain(Exhausted) == 2
    assert trial.results() == {bomb: "out_of_memory", good: pytest.approx(0.1)}


def test_a_study_whose_input_takes_all_memory_is_counted(
    trial: Trial,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (bomb,), (good,) = trial.admit("1", slices=7), trial.admit("2")
    whole = pixels.hounsfield_units

    def hungry(slices: list[object]) -> Floats:
        if len(slices) == 7:
            raise MemoryError
        return whole(slices)  # type: ignore[arg-type]

    monkeypatch.setattr("shadow.index_test.model_input.hounsfield_units", hungry)
    assert trial.drain() == 2
    assert trial.results() == {bomb: "out_of_memory", good: 0.0}


def test_a_study_of_many_slices_goes_through_the_model_in_several_runs(trial: Trial) -> None:  # noqa: F811
    class Counted(Exhausted):
        def run(self, batch: Floats) -> Floats:
            trial.runs.append(len(batch))
            return super().run(batch)

    (key,) = trial.admit("1", slices=300, matrix=8)
    trial.drain(Counted)
    assert trial.runs == [256, 44]
    assert trial.results() == {key: 0.0}


@pytest.mark.parametrize(
    "changes",
    [
        {"NumberOfFrames": "2147483647"},
        {"TotalPixelMatrixRows": 0xFFFFFFFF, "TotalPixelMatrixColumns": 0xFFFFFFFF},
        {"Rows": 65535, "Columns": 65535},
    ],
)
def test_a_slide_of_absurd_size_has_no_geometry(tmp_path: Path, changes: dict[str, object]) -> None:
    level = slide(TILES)
    with disable_value_validation():
        for keyword, value in changes.items():
            setattr(level, keyword, value)
        with pytest.raises(NotEvaluable) as found:
            prepared(tmp_path, [level], InputKind.SLIDE_TILES, 32, 0.001, 32)
    assert (found.value.reason, found.value.detail) == ("no_series_qualifies", "no_geometry")


def test_a_slide_of_pixels_too_small_to_be_cut_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotEvaluable) as found:
        prepared(tmp_path, [slide(TILES, spacing=1e-9)], InputKind.SLIDE_TILES, 32, 0.001, 32)
    assert (found.value.reason, found.value.detail) == ("no_series_qualifies", "too_fine")


def test_a_pixel_a_million_times_as_long_as_wide_is_taken_as_square(tmp_path: Path) -> None:
    image = radiograph(np.full((32, 32), 4095), ImagerPixelSpacing=["1000000", "1"])
    found = prepared(tmp_path, [image], InputKind.RADIOGRAPHS)
    assert found.slices[0, 0].min() > 0.99


def test_an_input_that_is_no_number_is_not_given_to_the_model(tmp_path: Path) -> None:
    image = radiograph(np.full((32, 32), 2048), WindowCenter="2048", WindowWidth="1e-300", VOILUTFunction="SIGMOID")
    with np.errstate(all="ignore"), pytest.raises(NotEvaluable) as found:
        prepared(tmp_path, [image], InputKind.RADIOGRAPHS)
    assert found.value.reason == "input_not_finite"
