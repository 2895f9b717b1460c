import io
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from head_ct import PSEUDONYMISER, RULES, as_file, head_slice
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, JPEG2000Lossless, JPEGExtended12Bit, JPEGLSLossless, RLELossless

from shadow.domain.errors import NotEvaluable
from shadow.index_test.deidentify import deidentify_instance
from shadow.index_test.deidentify_values import DeidentificationContext
from shadow.index_test.frames import Frame, frames_of
from shadow.index_test.instance import read_instance
from shadow.index_test.pixels import hounsfield_units, intensities
from shadow.index_test.series import choose_series
from shadow.index_test.volume import Volume, build_volume, resample_slices

DCMCJPEG = Path("/usr/bin/dcmcjpeg")
CONTEXT = DeidentificationContext(PSEUDONYMISER, "P" + "2" * 20, "A" + "3" * 20, -70)


def framed(content: bytes) -> Frame:
    (frame,) = frames_of([read_instance(content)])
    return frame


def stack(positions: list[float], **settings: object) -> list[Frame]:
    return [
        framed(as_file(head_slice(number=number, position=position, **settings)))  # type: ignore[arg-type]
        for number, position in enumerate(positions, 1)
    ]


def refused(slices: list[Frame], minimum: int = 2) -> str:
    with pytest.raises(NotEvaluable) as caught:
        build_volume(slices, minimum)
    return caught.value.reason


def one_slice(stored: np.ndarray, **changes: object) -> Frame:
    def change(dataset: Dataset) -> None:
        for keyword, value in changes.items():
            if value is None:
                del dataset[keyword]
            else:
                setattr(dataset, keyword, value)

    return framed(as_file(head_slice(pixels=stored, change=change)))


def values(stored: list[int], **changes: object) -> list[float]:
    array = np.array([stored], np.int64).astype(np.uint16)
    return [float(one) for one in hounsfield_units([one_slice(array, **changes)])[0, 0]]


def test_slices_are_ordered_along_the_normal_not_by_their_numbers() -> None:
    positions = [20.0, 5.0, 15.0, 10.0]
    slices = [
        framed(as_file(head_slice(number=n, position=p, pixels=np.full((4, 4), 1024 + int(p)))))
        for n, p in enumerate(positions)
    ]
    volume = build_volume(slices, 2)
    assert volume.positions_mm == (5.0, 10.0, 15.0, 20.0)
    assert [float(one) for one in volume.values[:, 0, 0]] == [5.0, 10.0, 15.0, 20.0]
    assert volume.values.dtype == np.float32
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


def head_with_tilt(degrees: float, places: list[tuple[float, float]]) -> list[Frame]:
    """A head as a tilted gantry scans it: table positions along z with slice thickness, images tilted about x."""
    cosine, sine = float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees)))
    thickness_at = dict(places)

    def tilt(dataset: Dataset) -> None:
        z = float(dataset.ImagePositionPatient[2])
        dataset.ImageOrientationPatient = ["1", "0", "0", "0", f"{cosine:.6f}", f"{-sine:.6f}"]
        dataset.SliceThickness = f"{thickness_at[z]:g}"
        dataset.GantryDetectorTilt = f"{degrees:g}"

    return stack([z for z, _ in places], change=tilt)


def test_a_tilted_head_with_thin_slices_below_and_thick_above_has_the_right_findings() -> None:
    thin = [(4.0 * number, 4.0) for number in range(10)]
    thick = [(40.0 + 7.0 * number, 7.0) for number in range(12)]
    volume = build_volume(head_with_tilt(18.5, thin + thick), 6)
    assert set(volume.findings) == {"gantry_tilt", "uneven_spacing", "mixed_slice_thickness"}
    assert volume.tilt_degrees == pytest.approx(18.5, abs=0.05)
    along = np.diff(volume.positions_mm)
    assert along[0] == pytest.approx(4 * np.cos(np.radians(18.5)), abs=0.01)
    gap = [place for place in thin + thick if place[0] not in (16.0, 61.0)]
    with pytest.raises(NotEvaluable, match="missing_slices: 2 in gaps"):
        build_volume(head_with_tilt(18.5, gap), 6)


def noise(seed: int, shape: tuple[int, ...] = (32, 32)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4096, shape).astype(np.uint16)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_every_codec_gives_the_values_that_went_in(syntax: UID) -> None:
    pixels = noise(3)

    def compress(dataset: Dataset) -> None:
        dataset.compress(syntax, generate_instance_uid=False)

    expected = hounsfield_units([one_slice(pixels)])
    found = hounsfield_units([framed(as_file(head_slice(pixels=pixels, change=compress)))])
    assert np.array_equal(found, expected)


@pytest.mark.skipif(not DCMCJPEG.exists(), reason="dcmtk is not installed")
@pytest.mark.parametrize("option", ["+e1", "+el"])
def test_lossless_jpeg_of_dcmtk_gives_the_values_that_went_in(tmp_path: Path, option: str) -> None:
    pixels = noise(4)
    source, target = tmp_path / "raw.dcm", tmp_path / "compressed.dcm"
    source.write_bytes(as_file(head_slice(pixels=pixels)))
    subprocess.run([DCMCJPEG, option, "+un", source, target], check=True, capture_output=True)
    frame = framed(target.read_bytes())
    assert UID(frame.instance.transfer_syntax_uid).is_encapsulated
    assert np.array_equal(hounsfield_units([frame]), hounsfield_units([one_slice(pixels)]))


DCMDJPEG = Path("/usr/bin/dcmdjpeg")


@pytest.mark.skipif(not DCMDJPEG.exists(), reason="dcmtk is not installed")
@pytest.mark.parametrize("signed", [0, 1])
def test_lossy_jpeg_of_12_bits_gives_the_values_that_dcmtk_reads(tmp_path: Path, signed: int) -> None:
    source, lossy, plain = (tmp_path / name for name in ("raw.dcm", "lossy.dcm", "plain.dcm"))
    smooth = (2000 + 1500 * np.sin(np.arange(32 * 48) / 90)).reshape(32, 48)
    change = {"PixelRepresentation": signed}
    source.write_bytes(as_file(head_slice(pixels=smooth, change=lambda one: one.update(change))))
    subprocess.run([DCMCJPEG, "+ee", source, lossy], check=True, capture_output=True)
    subprocess.run([DCMDJPEG, lossy, plain], check=True, capture_output=True)
    assert framed(lossy.read_bytes()).instance.transfer_syntax_uid == JPEGExtended12Bit
    found = hounsfield_units([framed(lossy.read_bytes())])
    assert np.array_equal(found, hounsfield_units([framed(plain.read_bytes())]))
    assert len(np.unique(found)) > 100


@pytest.mark.parametrize("name", ["JPEG-lossy.dcm", "JPGExtended.dcm"])
def test_a_real_image_in_lossy_jpeg_of_12_bits_is_read(name: str) -> None:
    path = get_testdata_file(name)
    assert path
    (found,) = intensities([framed(Path(path).read_bytes())])
    assert found.shape == (1024, 256)
    assert (found.min(), found.max()) == (0.0, 264.0), "as dcmdjpeg reads it"


def enhanced_ct(count: int = 8, *, compressed: bool = False) -> Dataset:
    """An Enhanced CT (PS3.3 A.38.1): frames out of order, intercept of the odd ones their own."""
    dataset = head_slice(pixels=noise(1))
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
                    "RescaleSlope", "RescaleIntercept", "RescaleType"):  # fmt: skip
        del dataset[keyword]
    dataset.NumberOfFrames = str(count)
    order = [number * 3 % count for number in range(count)]
    frames = []
    for z in order:
        item, position, values = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = ["-10", "-10", f"{5 * z}"]
        item.PlanePositionSequence = [position]
        if z % 2:
            values.RescaleSlope, values.RescaleIntercept, values.RescaleType = "1", "-1000", "HU"
            item.PixelValueTransformationSequence = [values]
        frames.append(item)
    dataset.PerFrameFunctionalGroupsSequence = frames
    shared, orientation, measures, values, kind = (Dataset() for _ in range(5))
    orientation.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    measures.PixelSpacing, measures.SliceThickness = ["1.5", "1.5"], "5"
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = "1", "-1024", "HU"
    kind.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    shared.PixelValueTransformationSequence, shared.CTImageFrameTypeSequence = [values], [kind]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PixelData = np.stack([np.full((32, 32), 1024 + z, np.uint16) for z in order]).tobytes()
    if compressed:
        dataset.compress(RLELossless, generate_instance_uid=False)
    return dataset


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("deidentified", [False, True])
def test_a_multi_frame_ct_is_a_series_of_its_frames(compressed: bool, deidentified: bool) -> None:
    content = as_file(enhanced_ct(compressed=compressed))
    instance = read_instance(content)
    if deidentified:
        instance = read_instance(deidentify_instance(instance, CONTEXT))
    chosen = choose_series([instance], RULES)
    volume = build_volume(chosen.slices, 6)
    assert volume.positions_mm == tuple(5.0 * z for z in range(8))
    assert volume.findings == ()
    assert [float(one) for one in volume.values[:, 3, 3]] == [z + (24.0 if z % 2 else 0.0) for z in range(8)]


def test_frames_that_are_no_slices_are_left_out_by_their_own_frame_type() -> None:
    dataset = enhanced_ct()
    localizer = Dataset()
    localizer.FrameType = ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]
    dataset.PerFrameFunctionalGroupsSequence[0].CTImageFrameTypeSequence = [localizer]
    chosen = choose_series([read_instance(as_file(dataset))], RULES)
    assert len(chosen.slices) == 7


def test_slices_of_another_matrix_are_put_aside() -> None:
    volume = build_volume([*stack([0, 5, 10, 15]), *stack([20, 25], matrix=16)], 2)
    assert volume.findings == ("mixed_matrix",)
    assert volume.values.shape == (4, 32, 32)


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
        ({"PixelRepresentation": None}, "unsupported_pixel_format"),
        ({"PixelRepresentation": 2}, "unsupported_pixel_format"),
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
    instance = framed(as_file(dataset))
    assert np.array_equal(hounsfield_units([instance])[0], pydicom.dcmread(reference).pixel_array)
    broken = as_file(dataset)
    place = broken.rfind(content[-200:-150])
    assert place > 0
    damaged = framed(broken[: place - 2000] + bytes(2000) + broken[place:])
    with pytest.raises(NotEvaluable, match="unreadable_pixel_data"):
        hounsfield_units([damaged])


def test_pixels_are_those_that_pydicom_reads() -> None:
    path = get_testdata_file("CT_small.dcm")
    assert path
    dataset = pydicom.dcmread(path)
    expected = dataset.pixel_array.astype(np.float32) * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    expected[dataset.pixel_array == dataset.PixelPaddingValue] = -1024
    assert np.array_equal(hounsfield_units([framed(Path(path).read_bytes())])[0], expected)


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_bigendian.dcm",
        "MR_small_expb.dcm", "MR_small_implicit.dcm", "MR_small_padded.dcm",
    ],
)  # fmt: skip
def test_every_encoding_of_one_real_image_gives_the_same_values(name: str) -> None:
    path, reference = get_testdata_file(name), get_testdata_file("MR_small.dcm")
    assert path
    assert reference
    plain = np.frombuffer(pydicom.dcmread(reference).PixelData, "<i2").reshape(64, 64)
    assert np.array_equal(intensities([framed(Path(path).read_bytes())])[0], plain)


@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_big_endian_pixels_of_8_bits_are_turned_only_where_they_are_packed_in_words(vr: str) -> None:
    pixels = (np.arange(3 * 5) * 17).astype(np.uint8).reshape(3, 5)
    dataset = head_slice(pixels=pixels)
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    stored = np.frombuffer(pixels.tobytes() + b"\0", "<u2")
    dataset["PixelData"].VR = vr
    dataset.PixelData = stored.astype(">u2" if vr == "OW" else "<u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    written = io.BytesIO()
    pydicom.dcmwrite(written, dataset, implicit_vr=False, little_endian=False, enforce_file_format=True)
    assert np.array_equal(pydicom.dcmread(io.BytesIO(written.getvalue())).pixel_array, pixels)
    assert np.array_equal(hounsfield_units([framed(written.getvalue())])[0], pixels.astype(np.float32) - 1024)


def volume_of(array: np.ndarray, spacing: tuple[float, float]) -> Volume:
    return Volume(array.astype(np.float32), spacing, tuple(float(one) for one in range(len(array))), (), 0.0)


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
