"""Modality LUT, VOI LUT and window of radiographs (PS3.3 C.11), by hand, against pydicom, and through the copies."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from head_ct import as_file
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from test_modalities import CONTEXT, mammogram, prepared, radiograph

from shadow.domain.errors import NotEvaluable
from shadow.index_test.deidentify import deidentify_instance
from shadow.index_test.frames import frames_of
from shadow.index_test.instance import read_instance
from shadow.index_test.model import InputKind
from shadow.index_test.pixels import modality_values
from shadow.index_test.presentation import presented

STORED = np.array([[0, 9, 10, 11], [12, 13, 100, 4095]])


def table(
    entries: list[int], first: int = 0, bits: int = 16, *, packed: bool = False, count: int | None = None
) -> Dataset:
    """An item of a Modality LUT Sequence or VOI LUT Sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries) % 65536, first & 0xFFFF, bits])
    content = np.array(entries, np.uint8 if packed else "<u2").tobytes()
    item.add_new("LUTData", "OW", content + b"\0" * (len(content) % 2))
    return item


def seen(image: Dataset, syntax: UID = ExplicitVRLittleEndian) -> tuple[np.ndarray, list[str]]:
    """The image's copy as presented: within 0 and 1, and its findings."""
    content = as_file(image)
    if syntax != ExplicitVRLittleEndian:
        content = in_syntax(image, syntax)
    (frame,) = frames_of([read_instance(deidentify_instance(read_instance(content), CONTEXT))])
    findings: list[str] = []
    return presented(frame, modality_values(frame), findings), findings


def in_syntax(image: Dataset, syntax: UID) -> bytes:
    """The same in another encoding; pydicom leaves it to us to turn words of OW."""
    image = copy.deepcopy(image)
    if not syntax.is_little_endian:
        for holder, keyword in ((image, "PixelData"), (image.VOILUTSequence[0], "LUTData")):
            holder[keyword].value = np.frombuffer(holder[keyword].value, "<u2").byteswap().tobytes()
    image.file_meta.TransferSyntaxUID = syntax
    written = io.BytesIO()
    settings = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian}
    pydicom.dcmwrite(written, image, enforce_file_format=True, **settings)
    return written.getvalue()


def with_table(keyword: str, *items: Dataset, stored: np.ndarray = STORED, **changes: object) -> Dataset:
    """A radiograph with such a sequence, without rescaling; with a window only where `changes` gives one."""
    image = radiograph(stored)
    for unwanted in ("RescaleSlope", "RescaleIntercept", "RescaleType", "WindowCenter", "WindowWidth"):
        del image[unwanted]
    setattr(image, keyword, list(items))
    for name, value in changes.items():
        setattr(image, name, value)
    return image


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (table([0, 1000, 65535], first=10), [0, 0, 0, 1000 / 65535, 1, 1, 1, 1]),
        (table([0, 51, 255], first=10, bits=8), [0, 0, 0, 0.2, 1, 1, 1, 1]),
        (table([0, 51, 255], first=10, bits=8, packed=True), [0, 0, 0, 0.2, 1, 1, 1, 1]),
        (table([4095, 819, 0], first=10, bits=12), [1, 1, 1, 0.2, 0, 0, 0, 0]),
    ],
    ids=["16 bits", "8 bits in words", "8 bits packed", "12 bits"],
)
def test_a_voi_lut_maps_what_it_names_and_holds_its_ends_beyond(
    item: Dataset, expected: list[float], syntax: UID
) -> None:
    found, findings = seen(with_table("VOILUTSequence", item), syntax)
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-6)
    assert findings == []


def test_a_table_of_65536_entries_says_0() -> None:
    entries = list(range(65535, -1, -1))
    found, _ = seen(with_table("VOILUTSequence", table(entries)))
    np.testing.assert_allclose(found, (65535 - STORED) / 65535, atol=1e-6)


def test_the_first_value_mapped_is_negative_where_stored_values_may_be() -> None:
    stored = np.array([[-6, -5, -4, -3]]).astype(np.int16).view(np.uint16)
    signed = {"PixelRepresentation": 1, "BitsStored": 16, "HighBit": 15}
    for keyword in ("VOILUTSequence", "ModalityLUTSequence"):
        image = with_table(keyword, table([10, 20, 30], first=-5), stored=stored, **signed)
        if keyword == "ModalityLUTSequence":
            image.WindowCenter, image.WindowWidth, image.VOILUTFunction = "20", "40", "LINEAR_EXACT"
            expected = [0.25, 0.25, 0.5, 0.75]
        else:
            expected = [10 / 65535, 10 / 65535, 20 / 65535, 30 / 65535]
        np.testing.assert_allclose(seen(image)[0].ravel(), expected, atol=1e-6)
    unsigned = with_table("VOILUTSequence", table([0, 65535], first=40000), stored=np.array([[39999, 40001]]))
    unsigned.BitsStored, unsigned.HighBit = 16, 15
    assert seen(unsigned)[0].ravel().tolist() == [0.0, 1.0]


def test_a_voi_lut_behind_a_rescaling_takes_the_rescaled_values() -> None:
    image = with_table("VOILUTSequence", table([0, 65535], first=-1000), RescaleSlope="1", RescaleIntercept="-1010")
    assert seen(image)[0].ravel().tolist() == [0, 0, 0, 1, 1, 1, 1, 1]


def test_a_modality_lut_comes_before_the_window_and_before_the_voi_lut() -> None:
    modality = table([0, 1024, 2048, 3072, 4096], first=10)
    image = with_table("ModalityLUTSequence", modality, WindowCenter="2048", WindowWidth="4096")
    image.VOILUTFunction = "LINEAR_EXACT"
    np.testing.assert_allclose(seen(image)[0].ravel(), [0, 0, 0, 0.25, 0.5, 0.75, 1, 1], atol=1e-6)
    image.VOILUTSequence = [table([0, 65535], first=3071)]
    assert seen(image)[0].ravel().tolist() == [0, 0, 0, 0, 0, 1, 1, 1]


def test_a_table_goes_before_a_window_and_the_first_of_several_before_the_rest() -> None:
    items = [table([0, 65535], first=99), table([65535, 0], first=99)]
    image = with_table("VOILUTSequence", *items, WindowCenter=["5", "7"], WindowWidth=["2", "3"])
    assert seen(image)[0].ravel().tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    del image.VOILUTSequence
    assert seen(image)[0].ravel().tolist() == [0, 1, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("shape", [None, "INVERSE"])
def test_monochrome1_is_turned_over_once_after_the_table(shape: str | None) -> None:
    image = with_table("VOILUTSequence", table([0, 13107, 65535], first=10), PhotometricInterpretation="MONOCHROME1")
    if shape:
        image.PresentationLUTShape = shape
    found, findings = seen(image)
    np.testing.assert_allclose(found.ravel(), [1, 1, 1, 0.8, 0, 0, 0, 0], atol=1e-6)
    assert findings == []


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME2", "INVERSE"), ("MONOCHROME1", "IDENTITY")])
def test_a_shape_that_contradicts_the_photometric_interpretation_is_a_finding(photometric: str, shape: str) -> None:
    image = radiograph(STORED, photometric=photometric, PresentationLUTShape=shape)
    assert seen(image)[1] == ["presentation_contradicts"]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("windowed", [True, False])
def test_padding_is_dark_in_either_photometric_interpretation(photometric: str, windowed: bool) -> None:
    image = radiograph(np.array([[4095, 4095, 1000, 2000, 3000]]), photometric=photometric, PixelPaddingValue=4095)
    if not windowed:
        del image.WindowCenter
    found, _ = seen(image)
    assert found[0, :2].tolist() == [0.0, 0.0]
    assert found[0, 2:].max() > 0.7
    assert found[0, 3] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        # by hand: centre 100, width 10, at 94, 95, 100, 104 and 105
        (None, [0, 0, 5 / 9, 1, 1]),
        ("LINEAR", [0, 0, 0.5555556, 1, 1]),
        ("LINEAR_EXACT", [0, 0, 0.5, 0.9, 1]),
        ("SIGMOID", [1 / (1 + np.exp(2.4)), 0.1192029, 0.5, 1 / (1 + np.exp(-1.6)), 0.8807971]),
    ],
)
def test_every_function_of_a_window_is_the_standards(function: str | None, expected: list[float]) -> None:
    image = radiograph(np.array([[94, 95, 100, 104, 105]]), WindowCenter="100", WindowWidth="10")
    if function:
        image.VOILUTFunction = function
    np.testing.assert_allclose(seen(image)[0][0], expected, atol=1e-6)


def test_a_window_of_width_1_is_a_threshold_and_an_unknown_function_is_refused() -> None:
    image = radiograph(np.array([[98, 99, 100, 101]]), WindowCenter="100", WindowWidth="1")
    assert seen(image)[0][0].tolist() == [0, 0, 1, 1]
    image.VOILUTFunction = "CUBIC"
    with pytest.raises(NotEvaluable, match="unsupported_pixel_format: VOI LUT function"):
        seen(image)


def test_tables_and_windows_are_those_of_pydicom(tmp_path: Path) -> None:
    random = np.random.default_rng(8)
    stored = random.integers(0, 4096, (16, 16))
    image = with_table("ModalityLUTSequence", table(random.integers(0, 65536, 3000).tolist(), first=700), stored=stored)
    image.VOILUTSequence = [table(random.integers(0, 65536, 50000).tolist(), first=9000)]
    image = pydicom.dcmread(io.BytesIO(as_file(image)))
    modality = apply_modality_lut(image.pixel_array, image)
    expected = apply_voi(modality, image) / 65535
    np.testing.assert_allclose(seen(image)[0], expected, atol=1e-6)
    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        image = radiograph(stored, WindowCenter="1500.5", WindowWidth="777", VOILUTFunction=function)
        image = pydicom.dcmread(io.BytesIO(as_file(image)))
        np.testing.assert_allclose(seen(image)[0], apply_windowing(image.pixel_array, image) / 4095, atol=1e-5)


def described(values: list[int] | None) -> Callable[[Dataset], None]:
    def change(item: Dataset) -> None:
        del item.LUTDescriptor
        if values is not None:
            item.add_new("LUTDescriptor", "US", values)

    return change


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize(
    "change",
    [
        described(None),
        described([3, 10]),
        described([4, 10, 16]),
        described([2, 10, 16]),
        described([0, 10, 16]),
        described([3, 10, 7]),
        described([3, 10, 17]),
        described([3, 10, 0]),
        described([3, 10, 15]),
        lambda item: item.pop("LUTData"),
        lambda item: item.add_new("LUTData", "OW", b""),
        lambda item: item.add_new("LUTData", "OW", b"\0\0\0\0"),
    ],
)
def test_a_table_that_is_not_as_described_is_not_evaluable(
    tmp_path: Path, keyword: str, change: Callable[[Dataset], object]
) -> None:
    item = table([0, 1, 65535], first=10)
    change(item)
    with pytest.raises(NotEvaluable) as caught:
        prepared(tmp_path, [with_table(keyword, item)], InputKind.RADIOGRAPHS)
    assert caught.value.reason == "malformed_lookup_table"


def test_text_behind_a_table_gets_no_copy() -> None:
    item = table([1, 2, 3])
    item.LUTExplanation = "Planted"
    item["LUTData"].value += b"PLANTED^TEXT"
    image = with_table("VOILUTSequence", item)
    assert b"LANTED" not in deidentify_instance(read_instance(as_file(image)), CONTEXT)


def test_the_table_of_a_mammogram_reaches_the_models_grid(tmp_path: Path) -> None:
    pixels = np.full((32, 32), 1000)
    pixels[:, :16] = 3000
    image = mammogram(pixels, PatientOrientation=["A", "FR"], VOILUTSequence=[table([0, 65535], first=1999)])
    found = prepared(tmp_path, [image], InputKind.MAMMOGRAMS)
    assert found.findings == ()
    assert (found.slices[0, 0, :, :7].min(), found.slices[0, 0, :, 9:].max()) == (1.0, 0.0)


@pytest.mark.parametrize("intent", [None, "FOR PRESENTATION", "FOR PROCESSING"])
def test_an_image_for_processing_is_never_windowed_as_if_presented(tmp_path: Path, intent: str | None) -> None:
    image = radiograph(STORED, SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1.1", PresentationIntentType=intent)
    if intent is None:
        del image.PresentationIntentType
    with pytest.raises(NotEvaluable, match="no_series_qualifies: for_processing=1"):
        prepared(tmp_path, [image], InputKind.RADIOGRAPHS)
