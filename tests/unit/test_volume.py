from pathlib import Path

import numpy as np
import pydicom
import pytest
from head_ct import as_file, head_slice
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from shadow.domain.errors import NotEvaluable
from shadow.index_test.instance import Instance, read_instance
from shadow.index_test.volume import Volume, build_volume, hounsfield_units, resample_slices


def stack(positions: list[float], **settings: object) -> list[Instance]:
    return [
        read_instance(as_file(head_slice(number=number, position=position, **settings)))  # type: ignore[arg-type]
        for number, position in enumerate(positions, 1)
    ]


def refused(slices: list[Instance], minimum: int = 2) -> str:
    with pytest.raises(NotEvaluable) as caught:
        build_volume(slices, minimum)
    return caught.value.reason


def one_slice(stored: np.ndarray, **changes: object) -> Instance:
    def change(dataset: Dataset) -> None:
        for keyword, value in changes.items():
            if value is None:
                del dataset[keyword]
            else:
                setattr(dataset, keyword, value)

    return read_instance(as_file(head_slice(pixels=stored, change=change)))


def values(stored: list[int], **changes: object) -> list[float]:
    array = np.array([stored], np.int64).astype(np.uint16)
    return [float(one) for one in hounsfield_units([one_slice(array, **changes)])[0, 0]]


def test_slices_are_ordered_along_the_normal_not_by_their_numbers() -> None:
    positions = [20.0, 5.0, 15.0, 10.0]
    slices = [
        read_instance(as_file(head_slice(number=n, position=p, pixels=np.full((4, 4), 1024 + int(p)))))
        for n, p in enumerate(positions)
    ]
    volume = build_volume(slices, 2)
    assert volume.positions_mm == (5.0, 10.0, 15.0, 20.0)
    assert [float(one) for one in volume.hounsfield[:, 0, 0]] == [5.0, 10.0, 15.0, 20.0]
    assert volume.hounsfield.dtype == np.float32
    assert (volume.pixel_spacing_mm, volume.findings) == ((1.5, 1.5), ())


def test_missing_slices_are_not_evaluable() -> None:
    assert refused(stack([0, 5, 10, 20, 25, 30])) == "missing_slices"


@pytest.mark.parametrize(
    ("positions", "findings"),
    [
        ([0, 5, 10, 15, 20], ()),
        ([0, 5, 10.4, 15, 20], ()),
        ([0, 5, 10.6, 15, 20], ("uneven_spacing",)),
        ([0, 5, 5, 10, 15], ("duplicate_positions",)),
    ],
)
def test_odd_geometry_that_allows_an_answer_is_a_finding(positions: list[float], findings: tuple[str, ...]) -> None:
    volume = build_volume(stack(positions), 2)
    assert volume.findings == findings
    assert len(volume.positions_mm) == len(set(positions))


def test_too_few_places_are_not_evaluable() -> None:
    assert refused(stack([0, 0, 0, 5, 5, 5]), minimum=6) == "too_few_slices"


def test_a_tilted_gantry_is_found_by_the_table_or_by_the_tag() -> None:
    def tilt(dataset: Dataset) -> None:
        z = float(dataset.ImagePositionPatient[2])
        dataset.ImagePositionPatient = ["-10", f"{-10 + z * 0.364:g}", f"{z:g}"]

    by_tag = stack([0, 5, 10], change=lambda one: setattr(one, "GantryDetectorTilt", "-12"))
    assert build_volume(stack([0, 5, 10], change=tilt), 2).findings == ("gantry_tilt",)
    assert build_volume(by_tag, 2).findings == ("gantry_tilt",)


def test_slices_of_another_matrix_are_put_aside() -> None:
    volume = build_volume([*stack([0, 5, 10, 15]), *stack([20, 25], matrix=16)], 2)
    assert volume.findings == ("mixed_matrix",)
    assert volume.hounsfield.shape == (4, 32, 32)


def test_stored_values_become_hounsfield_units() -> None:
    assert values([0, 1024, 2048]) == [-1024.0, 0.0, 1024.0]
    assert values([0, 1024], RescaleSlope="0.5", RescaleIntercept="-100") == [-100.0, 412.0]
    assert values([24], RescaleType=None) == [-1000.0]


def test_bits_above_the_stored_ones_are_masked() -> None:
    assert values([0xF000 | 1024, 1024]) == [0.0, 0.0]


def test_signed_values_are_sign_extended() -> None:
    signed = {"PixelRepresentation": 1, "RescaleIntercept": "0"}
    assert values([0x0FFF, 0x0800, 5], **signed) == [-1.0, -2048.0, 5.0]
    assert values([0xFFFF], **signed, BitsStored=16, HighBit=15) == [-1.0]


def test_padding_is_air() -> None:
    signed = {"PixelRepresentation": 1, "RescaleIntercept": "0", "BitsStored": 16, "HighBit": 15}
    assert values([0xF830, 100], **signed, PixelPaddingValue=-2000) == [-1024.0, 100.0]
    assert values([4095, 1024], PixelPaddingValue=4095) == [-1024.0, 0.0]
    assert values([4090, 4095, 1024], PixelPaddingValue=4095, PixelPaddingRangeLimit=4090) == [-1024.0, -1024.0, 0.0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"RescaleType": "US"}, None),
        ({"RescaleType": "OD"}, "not_hounsfield_units"),
        ({"RescaleSlope": None}, "not_hounsfield_units"),
        ({"RescaleSlope": "0"}, "not_hounsfield_units"),
        ({"HighBit": 15}, "unsupported_pixel_format"),
        ({"SamplesPerPixel": 3}, "unsupported_pixel_format"),
        ({"NumberOfFrames": "2"}, "unsupported_pixel_format"),
        ({"BitsAllocated": 32}, "unsupported_pixel_format"),
        ({"PixelData": bytes(30)}, "unreadable_pixel_data"),
        ({"PixelData": None}, "unreadable_pixel_data"),
        ({"PixelSpacing": None}, "no_pixel_spacing"),
        ({"PixelSpacing": ["0", "0"]}, "no_pixel_spacing"),
    ],
)
def test_pixels_that_are_no_hounsfield_units_are_not_evaluable(changes: dict[str, object], reason: str | None) -> None:
    def change(dataset: Dataset) -> None:
        for keyword, value in changes.items():
            if value is None:
                del dataset[keyword]
            else:
                setattr(dataset, keyword, value)

    slices = stack([0, 5, 10], change=change, matrix=8)
    if reason is None:
        assert build_volume(slices, 2).findings == ()
    else:
        assert refused(slices) == reason


def test_compressed_pixels_are_read_or_the_study_is_counted_as_unreadable() -> None:
    path = get_testdata_file("MR_small_RLE.dcm")
    reference = get_testdata_file("MR_small.dcm")
    assert path
    assert reference
    content = Path(path).read_bytes()
    dataset = pydicom.dcmread(path)
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"
    instance = read_instance(as_file(dataset))
    assert np.array_equal(hounsfield_units([instance])[0], pydicom.dcmread(reference).pixel_array)
    broken = as_file(dataset)
    place = broken.rfind(content[-200:-150])
    assert place > 0
    damaged = read_instance(broken[: place - 2000] + bytes(2000) + broken[place:])
    with pytest.raises(NotEvaluable, match="unreadable_pixel_data"):
        hounsfield_units([damaged])


def test_pixels_are_those_that_pydicom_reads() -> None:
    path = get_testdata_file("CT_small.dcm")
    assert path
    dataset = pydicom.dcmread(path)
    expected = dataset.pixel_array.astype(np.float32) * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    expected[dataset.pixel_array == dataset.PixelPaddingValue] = -1024
    assert np.array_equal(hounsfield_units([read_instance(Path(path).read_bytes())])[0], expected)


def volume_of(array: np.ndarray, spacing: tuple[float, float]) -> Volume:
    return Volume(array.astype(np.float32), spacing, tuple(float(one) for one in range(len(array))), ())


def slow_resample(
    image: np.ndarray, spacing: tuple[float, float], size: int, target: float, outside: float
) -> np.ndarray:
    """The definition, pixel by pixel: area of overlap times value, what is not covered is outside."""
    rows, columns = image.shape
    result = np.zeros((size, size))
    for r in range(size):
        for c in range(size):
            top, left = (r - size / 2) * target, (c - size / 2) * target
            covered = total = 0.0
            for i in range(rows):
                for j in range(columns):
                    y, x = (i - rows / 2) * spacing[0], (j - columns / 2) * spacing[1]
                    height = max(0.0, min(top + target, y + spacing[0]) - max(top, y))
                    width = max(0.0, min(left + target, x + spacing[1]) - max(left, x))
                    covered += height * width
                    total += height * width * image[i, j]
            result[r, c] = (total + (target**2 - covered) * outside) / target**2
    return result


@given(
    rows=st.integers(1, 7),
    columns=st.integers(1, 7),
    spacing=st.tuples(st.floats(0.3, 3.0), st.floats(0.3, 3.0)),
    size=st.integers(1, 6),
    target=st.floats(0.3, 4.0),
)
@settings(max_examples=60, deadline=None)
def test_resampling_is_the_area_weighted_average_on_a_centred_grid(
    rows: int, columns: int, spacing: tuple[float, float], size: int, target: float
) -> None:
    image = np.random.default_rng(5).uniform(-1000, 1000, (1, rows, columns))
    found = resample_slices(volume_of(image, spacing), size, size, target, -1024.0)
    assert found.shape == (1, size, size)
    np.testing.assert_allclose(found[0], slow_resample(image[0], spacing, size, target, -1024.0), rtol=1e-4, atol=0.5)


def test_resampling_onto_the_same_grid_changes_nothing() -> None:
    image = np.random.default_rng(6).uniform(-1000, 1000, (2, 9, 9))
    np.testing.assert_allclose(
        resample_slices(volume_of(image, (1.5, 1.5)), 9, 9, 1.5, -1024.0), image, rtol=1e-5, atol=1e-3
    )
