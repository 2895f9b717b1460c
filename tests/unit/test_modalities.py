"""From a de-identified study to a model's input, for every kind of input but CT slices (test_volume, test_infer)."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from head_ct import PSEUDONYMISER, ROOT, RULES, as_file, head_slice, tiny_model
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from shadow.domain.errors import ModelContractError, NotEvaluable
from shadow.index_test.deidentify import deidentify_instance, pixel_refusal
from shadow.index_test.deidentify_values import DeidentificationContext
from shadow.index_test.instance import read_instance
from shadow.index_test.model import InputKind, ModelContract, ModelInput
from shadow.index_test.model_input import ModelStudyInput, prepare_study
from shadow.index_test.series import Verdict

CONTEXT = DeidentificationContext(PSEUDONYMISER, "P" + "2" * 20, "A" + "3" * 20, -70)
ANY = replace(RULES, minimum_slices=1)


def prepared(
    tmp_path: Path, datasets: list[Dataset], kind: InputKind, rows: int = 16, spacing: float = 0.0, columns: int = 16
) -> ModelStudyInput:
    """The input that a model of this kind is given, after de-identification."""
    contract = replace(tiny_model(tmp_path), input=ModelInput("hu", kind, rows, columns, spacing))
    instances = [read_instance(as_file(one)) for one in datasets]
    assert {pixel_refusal(one) for one in instances} == {None}
    copies = {f"{number}": deidentify_instance(one, CONTEXT) for number, one in enumerate(instances)}
    return prepare_study(copies, ANY, contract)


def radiograph(pixels: np.ndarray, number: int = 1, *, photometric: str = "MONOCHROME2", **changes: object) -> Dataset:
    """A digital X-ray for presentation (PS3.3 A.26)."""
    dataset = head_slice(number=number, pixels=pixels, image_type=("DERIVED", "PRIMARY"))
    dataset.SOPClassUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.1.1", "DX"
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "PixelSpacing"):
        del dataset[keyword]
    dataset.PresentationIntentType, dataset.PhotometricInterpretation = "FOR PRESENTATION", photometric
    dataset.RescaleIntercept, dataset.RescaleType = "0", "US"
    dataset.ImagerPixelSpacing = ["0.2", "0.2"]
    dataset.WindowCenter, dataset.WindowWidth = "2048", "4096"
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return dataset


def left_bright(rows: int = 32, columns: int = 32) -> np.ndarray:
    pixels = np.full((rows, columns), 100)
    pixels[:, : columns // 2] = 4000
    return pixels


def test_dense_tissue_is_high_in_either_photometric_interpretation(tmp_path: Path) -> None:
    same = prepared(tmp_path, [radiograph(left_bright())], InputKind.RADIOGRAPHS).slices[0, 0]
    turned = [radiograph(4095 - left_bright(), photometric="MONOCHROME1")]
    other = prepared(tmp_path, turned, InputKind.RADIOGRAPHS).slices[0, 0]
    assert same.shape == (16, 16)
    assert same[:, :7].min() > 0.95 > 0.05 > same[:, 9:].max()
    np.testing.assert_allclose(same, other, atol=1e-3)


def test_an_image_keeps_its_proportions_and_what_it_does_not_fill_is_dark(tmp_path: Path) -> None:
    tall = prepared(tmp_path, [radiograph(np.full((64, 32), 4000))], InputKind.RADIOGRAPHS).slices[0, 0]
    assert tall[:, 4:12].min() > 0.9
    assert tall[:, :3].max() == tall[:, 13:].max() == 0.0
    oblong = radiograph(np.full((32, 32), 4000), ImagerPixelSpacing=["0.4", "0.2"])
    np.testing.assert_allclose(prepared(tmp_path, [oblong], InputKind.RADIOGRAPHS).slices[0, 0], tall, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "middle"),
    [
        ({}, 0.5),
        ({"VOILUTFunction": "SIGMOID"}, 0.5),
        ({"WindowCenter": "1024", "WindowWidth": "1024"}, 1.0),
        ({"RescaleSlope": "0.5", "RescaleIntercept": "1024"}, 0.5),
    ],
)
def test_the_window_is_applied_to_the_modality_values(
    tmp_path: Path, changes: dict[str, object], middle: float
) -> None:
    found = prepared(tmp_path, [radiograph(np.full((32, 32), 2048), **changes)], InputKind.RADIOGRAPHS)
    assert found.slices[0, 0].mean() == pytest.approx(middle, abs=0.01)
    assert found.findings == ()


def test_an_image_without_a_window_is_scaled_and_says_so(tmp_path: Path) -> None:
    image = radiograph(left_bright())
    del image.WindowCenter
    found = prepared(tmp_path, [image], InputKind.RADIOGRAPHS)
    assert found.findings == ("no_window",)
    assert found.slices[0, 0, 8, 2] > 0.95


def test_every_view_is_given_and_what_is_for_processing_is_not(tmp_path: Path) -> None:
    raw = radiograph(left_bright(), 3, PresentationIntentType="FOR PROCESSING")
    views = [radiograph(left_bright(), 2), radiograph(np.full((32, 32), 4000), 1), raw]
    found = prepared(tmp_path, views, InputKind.RADIOGRAPHS)
    assert found.slices.shape == (2, 1, 16, 16)
    assert found.slices[0].mean() > found.slices[1].mean(), "in the order of their numbers"
    with pytest.raises(NotEvaluable, match="no_series_qualifies: for_processing=1"):
        prepared(tmp_path, [raw], InputKind.RADIOGRAPHS)


@pytest.mark.parametrize("spacing", [["1000000", "0.000001"], ["0.000001", "1000000"]])
def test_pixels_of_impossible_size_cost_no_memory(tmp_path: Path, spacing: list[str]) -> None:
    image = radiograph(left_bright(), ImagerPixelSpacing=spacing)
    found = prepared(tmp_path, [image], InputKind.RADIOGRAPHS)
    square = prepared(tmp_path, [radiograph(left_bright())], InputKind.RADIOGRAPHS)
    assert np.array_equal(found.slices, square.slices), "such numbers are no size"


def mammogram(pixels: np.ndarray, **changes: object) -> Dataset:
    return radiograph(pixels, SOPClassUID="1.2.840.10008.5.1.4.1.1.1.2", Modality="MG", **changes)


@pytest.mark.parametrize(
    ("side", "orientation", "findings"),
    [
        ("L", ["A", "F"], ()),
        ("R", ["P", "F"], ()),
        ("R", ["PR", "FL"], ()),
        ("R", None, ("orientation_by_content",)),
    ],
)
def test_the_chest_wall_lies_left_whichever_breast_it_is(
    tmp_path: Path, side: str, orientation: list[str] | None, findings: tuple[str, ...]
) -> None:
    pixels = left_bright() if side == "L" else left_bright()[:, ::-1]
    image = mammogram(pixels, ImageLaterality=side)
    if orientation:
        image.PatientOrientation = orientation
    found = prepared(tmp_path, [image], InputKind.MAMMOGRAMS)
    assert found.slices[0, 0, :, :7].min() > 0.95
    assert found.slices[0, 0, :, 9:].max() < 0.05
    assert found.findings == findings


def test_a_radiograph_is_no_mammogram(tmp_path: Path) -> None:
    with pytest.raises(NotEvaluable, match="wrong_sop_class"):
        prepared(tmp_path, [radiograph(left_bright())], InputKind.MAMMOGRAMS)


@pytest.mark.parametrize(("most", "refused"), [(None, False), (15.0, False), (5.0, True)])
def test_more_tilt_than_the_protocol_allows_is_not_evaluable(tmp_path: Path, most: float | None, refused: bool) -> None:
    head = [
        head_slice(number=number, change=lambda one: setattr(one, "GantryDetectorTilt", "-12")) for number in range(8)
    ]
    copies = {str(number): as_file(one) for number, one in enumerate(head)}
    rules = replace(RULES, gantry_tilt_degrees_maximum=most)
    if refused:
        with pytest.raises(NotEvaluable, match=r"gantry_tilt: 12\.0 degrees, at most 5"):
            prepare_study(copies, rules, tiny_model(tmp_path))
    else:
        assert prepare_study(copies, rules, tiny_model(tmp_path)).findings == ("gantry_tilt",)


def magnetic(number: int, change: Callable[[Dataset], None] = lambda _: None) -> Dataset:
    pixels = np.linspace(0, 1500, 32 * 32).reshape(32, 32) + 10 * number
    dataset = head_slice(number=number, pixels=pixels)
    dataset.SOPClassUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.4", "MR"
    for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType", "KVP"):
        del dataset[keyword]
    dataset.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]
    dataset.ImagePositionPatient = [f"{-5 * number}", "-10", "10"]
    change(dataset)
    return dataset


def test_slices_of_mr_are_given_between_their_own_percentiles_in_any_plane(tmp_path: Path) -> None:
    found = prepared(tmp_path, [magnetic(number) for number in range(8)], InputKind.MR_SLICES, spacing=3.0)
    assert found.slices.shape == (8, 1, 16, 16)
    assert found.slices.min() >= 0.0
    assert found.slices.max() <= 1.0
    assert found.slices[0, 0, 0].mean() < 0.1 < 0.9 < found.slices[-1, 0, -1].mean()
    assert found.findings == ()


def tile(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((32, 32, 3), colour, np.uint8)


GLASS_TILE, TISSUE_TILE, OTHER_TILE = tile((250, 250, 250)), tile((180, 90, 160)), tile((90, 40, 120))


def slide(
    tiles: list[np.ndarray], *, name: str = "1", spacing: float = 0.001, kind: str = "VOLUME", sparse: bool = False
) -> Dataset:
    """One level of a whole-slide image (PS3.3 A.32.8): 3 x 2 tiles, JPEG as scanners write it, or sparse and RLE."""
    dataset = head_slice(series="7", pixels=np.zeros((2, 2)))
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "PixelSpacing",
                    "RescaleSlope", "RescaleIntercept", "RescaleType", "KVP"):  # fmt: skip
        del dataset[keyword]
    dataset.SOPClassUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.77.1.6", "SM"
    dataset.SOPInstanceUID = f"{ROOT}.7.{name}"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", kind, "NONE"]
    dataset.SpecimenLabelInImage, dataset.BurnedInAnnotation = "NO", "NO"
    dataset.Rows = dataset.Columns = 32
    dataset.TotalPixelMatrixColumns, dataset.TotalPixelMatrixRows = 96, 64
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.NumberOfFrames = str(len(tiles))
    shared, measures = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [f"{spacing}", f"{spacing}"], "0.005"
    shared.PixelMeasuresSequence = [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.DimensionOrganizationType = "TILED_SPARSE" if sparse else "TILED_FULL"
    if sparse:
        frames = []
        for number in range(len(tiles)):
            item, place = Dataset(), Dataset()
            row, column = divmod(number, 3)
            place.RowPositionInTotalImagePixelMatrix = 32 * row + 1
            place.ColumnPositionInTotalImagePixelMatrix = 32 * column + 1
            item.PlanePositionSlideSequence = [place]
            frames.append(item)
        dataset.PerFrameFunctionalGroupsSequence = frames[::-1]
        dataset.PhotometricInterpretation = "RGB"
        dataset.PixelData = b"".join(one.tobytes() for one in tiles[::-1])
        dataset.compress(RLELossless, generate_instance_uid=False)
        return dataset
    encoded = []
    for one in tiles:
        written = io.BytesIO()
        Image.fromarray(one).save(written, "JPEG", quality=95, subsampling="4:2:2")
        encoded.append(written.getvalue())
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.LossyImageCompression, dataset.LossyImageCompressionMethod = "01", "ISO_10918_1"
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = encapsulate(encoded)
    dataset["PixelData"].VR = "OB"
    return dataset


TILES = [GLASS_TILE, TISSUE_TILE, GLASS_TILE, OTHER_TILE, GLASS_TILE, GLASS_TILE]


@pytest.mark.parametrize("sparse", [False, True])
def test_a_slide_is_given_as_its_tissue_in_colour_and_in_reading_order(tmp_path: Path, sparse: bool) -> None:
    found = prepared(tmp_path, [slide(TILES, sparse=sparse)], InputKind.SLIDE_TILES, rows=32, columns=32, spacing=0.001)
    assert found.slices.shape == (2, 3, 32, 32)
    for number, colour in enumerate((TISSUE_TILE, OTHER_TILE)):
        np.testing.assert_allclose(found.slices[number].mean(axis=(1, 2)) * 255, colour[0, 0], atol=3)


def test_the_level_is_the_coarsest_of_those_that_are_fine_enough(tmp_path: Path) -> None:
    levels = [
        slide([OTHER_TILE] * 6, name="1", spacing=0.00025),
        slide([TISSUE_TILE] * 6, name="2", spacing=0.001),
        slide([OTHER_TILE] * 6, name="3", spacing=0.004),
    ]
    found = prepared(tmp_path, levels, InputKind.SLIDE_TILES, rows=16, columns=16, spacing=0.002)
    assert found.slices.shape == (6, 3, 16, 16), "a tile of 16 pixels of 2 um is one of 32 pixels of 1 um"
    np.testing.assert_allclose(found.slices.mean(axis=(0, 2, 3)) * 255, TISSUE_TILE[0, 0], atol=3)
    with pytest.raises(NotEvaluable, match="too_coarse"):
        prepared(tmp_path, levels[2:], InputKind.SLIDE_TILES, rows=16, columns=16, spacing=0.002)
    with pytest.raises(NotEvaluable, match="too_fine"):
        prepared(tmp_path, levels[:1], InputKind.SLIDE_TILES, rows=16, columns=16, spacing=0.01)


def test_every_slide_of_a_study_is_given_from_a_level_of_its_own(tmp_path: Path) -> None:
    slides = [slide([colour] * 6, name=name) for name, colour in (("1", OTHER_TILE), ("2", TISSUE_TILE))]
    slides[1].FrameOfReferenceUID, slides[1].SeriesInstanceUID = f"{ROOT}.8", f"{ROOT}.1.8"
    found = prepared(tmp_path, slides, InputKind.SLIDE_TILES, rows=32, columns=32, spacing=0.001)
    assert found.slices.shape == (12, 3, 32, 32)
    means = found.slices.mean(axis=(2, 3)) * 255
    assert sorted(np.round(means[[0, 6], 0])) == [89.0, 180.0]
    assert [one.verdict for one in found.verdicts] == [Verdict.CHOSEN, Verdict.CHOSEN]


def test_a_fluorescent_slide_is_left_out_beside_one_in_colour(tmp_path: Path) -> None:
    stained, fluorescent = slide([TISSUE_TILE] * 6, name="1"), slide([OTHER_TILE] * 6, name="2")
    fluorescent.FrameOfReferenceUID, fluorescent.SeriesInstanceUID = f"{ROOT}.8", f"{ROOT}.1.8"
    fluorescent.SamplesPerPixel, fluorescent.PhotometricInterpretation = 1, "MONOCHROME2"
    found = prepared(tmp_path, [stained, fluorescent], InputKind.SLIDE_TILES, rows=32, columns=32, spacing=0.001)
    assert found.slices.shape == (6, 3, 32, 32)
    assert sorted(one.verdict.value for one in found.verdicts) == ["chosen", "not_colour"]
    with pytest.raises(NotEvaluable, match="no_series_qualifies: not_colour"):
        prepared(tmp_path, [fluorescent], InputKind.SLIDE_TILES, rows=32, columns=32, spacing=0.001)


def test_one_focal_plane_and_one_optical_path_are_given(tmp_path: Path) -> None:
    planes = slide([*TILES, *[OTHER_TILE] * 6])
    found = prepared(tmp_path, [planes], InputKind.SLIDE_TILES, rows=32, columns=32, spacing=0.001)
    assert found.slices.shape == (2, 3, 32, 32)


def test_focal_planes_of_a_sparse_level_are_not_mixed(tmp_path: Path) -> None:
    order = [(place, plane) for place in range(6) for plane in ((1, 2) if place % 2 else (2, 1))]
    level = slide([OTHER_TILE if plane == 1 else TISSUE_TILE for _, plane in order[::-1]], sparse=True)
    for frame, (place, plane) in zip(level.PerFrameFunctionalGroupsSequence, order, strict=True):
        position, content = frame.PlanePositionSlideSequence[0], Dataset()
        position.RowPositionInTotalImagePixelMatrix = 32 * (place // 3) + 1
        position.ColumnPositionInTotalImagePixelMatrix = 32 * (place % 3) + 1
        content.DimensionIndexValues = [place + 1, plane]
        frame.FrameContentSequence = [content]
    found = prepared(tmp_path, [level], InputKind.SLIDE_TILES, rows=32, columns=32, spacing=0.001)
    assert found.slices.shape == (6, 3, 32, 32)
    np.testing.assert_allclose(found.slices.mean(axis=(2, 3))[:, 0] * 255, OTHER_TILE[0, 0, 0], atol=1)


def without_place(image: Dataset) -> None:
    del image.PerFrameFunctionalGroupsSequence[0].PlanePositionSlideSequence


def between_places(image: Dataset) -> None:
    for frame in image.PerFrameFunctionalGroupsSequence:
        frame.PlanePositionSlideSequence[0].ColumnPositionInTotalImagePixelMatrix += 16


@pytest.mark.parametrize(
    ("sparse", "change"),
    [
        (True, without_place),
        (True, between_places),
        (True, lambda image: image.pop("PerFrameFunctionalGroupsSequence")),
        (True, lambda image: image.PerFrameFunctionalGroupsSequence.pop()),
        (False, lambda image: setattr(image, "TotalPixelMatrixRows", 96)),
        (False, lambda image: setattr(image, "ConcatenationUID", f"{ROOT}.77")),
        (True, lambda image: image.update({"TotalPixelMatrixRows": 10**9, "TotalPixelMatrixColumns": 10**9})),
    ],
)
def test_a_level_whose_tiles_have_no_certain_place_is_not_guessed_at(
    tmp_path: Path, sparse: bool, change: Callable[[Dataset], object]
) -> None:
    level = slide(TILES, sparse=sparse)
    change(level)
    with pytest.raises(NotEvaluable, match="no_series_qualifies: no_geometry"):
        prepared(tmp_path, [level], InputKind.SLIDE_TILES, rows=32, columns=32, spacing=0.001)


def coded(pixels: list[np.ndarray], syntax: UID, photometric: str) -> Dataset:
    """The same level, compressed by pydicom's encoders."""
    level = slide(TILES, sparse=True)
    level.file_meta.TransferSyntaxUID, level.DimensionOrganizationType = ExplicitVRLittleEndian, "TILED_FULL"
    del level.PerFrameFunctionalGroupsSequence
    level.PixelData, level.PhotometricInterpretation = b"".join(one.tobytes() for one in pixels), photometric
    settings = {"j2k_cr": [5]} if syntax == JPEG2000 else {}
    level.compress(syntax, generate_instance_uid=False, **settings)
    return level


@pytest.mark.parametrize(
    ("syntax", "photometric"),
    [(JPEG2000Lossless, "YBR_RCT"), (JPEG2000, "YBR_ICT"), (JPEG2000Lossless, "RGB"), (JPEGLSLossless, "RGB")],
)
def test_colours_are_the_same_from_every_codec(tmp_path: Path, syntax: UID, photometric: str) -> None:
    level = coded(TILES, syntax, photometric)
    found = prepared(tmp_path, [level], InputKind.SLIDE_TILES, rows=32, columns=32, spacing=0.001)
    for number, colour in enumerate((TISSUE_TILE, OTHER_TILE)):
        np.testing.assert_allclose(found.slices[number].mean(axis=(1, 2)) * 255, colour[0, 0], atol=1)


def test_a_slide_of_glass_has_no_tissue(tmp_path: Path) -> None:
    with pytest.raises(NotEvaluable, match="no_tissue"):
        prepared(tmp_path, [slide([GLASS_TILE] * 6)], InputKind.SLIDE_TILES, rows=32, columns=32, spacing=0.001)


@pytest.mark.parametrize("kind", ["LABEL", "OVERVIEW"])
def test_the_sticker_of_a_slide_is_never_copied(kind: str) -> None:
    assert pixel_refusal(read_instance(as_file(slide(TILES, kind=kind)))) == "image_type_painted"


def test_a_contract_says_what_its_kind_of_input_needs(tmp_path: Path) -> None:
    ModelInput("x", InputKind.RADIOGRAPHS, 16, 16)
    with pytest.raises(ValueError, match="pixel_spacing_mm"):
        ModelInput("x", InputKind.SLIDE_TILES, 16, 16)
    with pytest.raises(ValueError, match="outside_hu"):
        ModelInput("x", InputKind.AXIAL_SLICES, 16, 16, 1.0)
    contract: ModelContract = tiny_model(tmp_path)
    colour = replace(contract, input=ModelInput("hu", InputKind.SLIDE_TILES, 16, 16, 0.001))
    from shadow.adapters.onnx_session import OnnxSession

    OnnxSession(contract)
    with pytest.raises(ModelContractError, match=r"\[3, 16, 16\]"):
        OnnxSession(colour)
