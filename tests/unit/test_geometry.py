"""How slices lie: two thicknesses, tilt of either sign, gaps, rounding, several images of a place."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from head_ct import PSEUDONYMISER, RULES, as_file, head_slice
from pydicom.dataset import Dataset
from test_volume import enhanced_ct

from shadow.domain.errors import NotEvaluable
from shadow.index_test.deidentify import deidentify_instance
from shadow.index_test.deidentify_values import DeidentificationContext
from shadow.index_test.instance import read_instance
from shadow.index_test.series import ChosenSeries, choose_series
from shadow.index_test.volume import Volume, build_volume

CONTEXT = DeidentificationContext(PSEUDONYMISER, "P" + "2" * 20, "A" + "3" * 20, -70)
ANY = replace(RULES, minimum_slices=2)
Place = tuple[float, float]


def chosen(datasets: Sequence[Dataset]) -> ChosenSeries:
    """The series of the copies of these images, which came in no order."""
    copies = [read_instance(deidentify_instance(read_instance(as_file(one)), CONTEXT)) for one in datasets]
    random.Random(5).shuffle(copies)
    return choose_series(copies, ANY)


def built(datasets: Sequence[Dataset]) -> Volume:
    return build_volume(chosen(datasets).slices, 2)


def scanned(
    places: Sequence[Place],
    lean: float = 0.0,
    tag: float | None = None,
    change: Callable[[Dataset, int], None] = lambda _, __: None,
) -> list[Dataset]:
    """A sequential head: table position and thickness of each slice, images leaning about x by so many degrees."""
    cosine, sine = float(np.cos(np.radians(lean))), float(np.sin(np.radians(lean)))
    images = []
    for number, (z, thickness) in enumerate(places, 1):
        image = head_slice(number=number, thickness=thickness, pixels=np.full((8, 8), 1024 + number))
        image.ImageOrientationPatient = ["1", "0", "0", "0", f"{cosine:.6f}", f"{-sine:.6f}"]
        image.ImagePositionPatient = ["-120", f"{-120 * cosine:.3f}", f"{z + 120 * sine:.3f}"]
        if tag is not None:
            image.GantryDetectorTilt = f"{tag:g}"
        change(image, number)
        images.append(image)
    return images


def thin_then_thick(thick: int, between: float) -> list[Place]:
    """Ten slices of 4 mm, then so many of 7 mm; `between` the last thin and the first thick one, mm."""
    return [(4.0 * n, 4.0) for n in range(10)] + [(36 + between + 7.0 * n, 7.0) for n in range(thick)]


@pytest.mark.parametrize("lean", [18.5, -18.5, 0.0])
@pytest.mark.parametrize("between", [4.0, 5.5, 7.0])
@pytest.mark.parametrize("thick", [2, 3, 8])
def test_a_few_thick_slices_above_thin_ones_are_no_gap(lean: float, between: float, thick: int) -> None:
    places = thin_then_thick(thick, between)
    for ordered in (places, [(50 - z, thickness) for z, thickness in places]):
        volume = built(scanned(ordered, lean, lean))
        tilt = {"gantry_tilt"} if lean else set()
        assert set(volume.findings) == {"uneven_spacing", "mixed_slice_thickness"} | tilt
        assert volume.tilt_degrees == pytest.approx(abs(lean), abs=0.05)
        assert len(volume.positions_mm) == len(places)


@pytest.mark.parametrize("lean", [18.5, -18.5, 0.0])
@pytest.mark.parametrize("between", [4.0, 5.5, 7.0])
@pytest.mark.parametrize("gone", range(1, 17))
def test_a_slice_missing_anywhere_in_two_thicknesses_is_a_gap(lean: float, between: float, gone: int) -> None:
    places = thin_then_thick(8, between)
    with pytest.raises(NotEvaluable, match="missing_slices: 1 in gaps"):
        built(scanned(places[:gone] + places[gone + 1 :], lean, lean))


def test_thick_slices_between_very_thin_ones_are_no_gap() -> None:
    thin, thick = [(1.25 * n, 1.25) for n in range(4)], [(3.75 + 5.0 * n, 5.0) for n in range(1, 4)]
    assert len(built(scanned([*thin, *thick])).positions_mm) == 7


@pytest.mark.parametrize(("lean", "tag"), [(18.5, None), (-18.5, None), (18.5, -18.5), (18.5, 0.0), (0.0, -18.5)])
def test_tilt_has_the_right_angle_by_the_images_or_by_the_tag(lean: float, tag: float | None) -> None:
    volume = built(scanned([(5.0 * n, 5.0) for n in range(8)], lean, tag))
    assert volume.findings == ("gantry_tilt",)
    assert volume.tilt_degrees == pytest.approx(18.5, abs=0.05)


def test_slices_that_overlap_are_nothing_odd() -> None:
    assert built(scanned([(2.5 * n, 5.0) for n in range(8)])).findings == ()


@pytest.mark.parametrize("lean", [18.5, 0.0])
def test_a_head_without_every_second_slice_is_not_taken_for_a_whole_one(lean: float) -> None:
    volume = built(scanned([(5.0 * n, 5.0) for n in range(0, 16, 2)], lean))
    assert volume.findings == (("slices_apart", "gantry_tilt") if lean else ("slices_apart",))
    assert built(scanned([(7.0 * n, 5.0) for n in range(8)])).findings == (), "gaps as protocols leave them"


def rounded(keyword: str, even: Sequence[str], odd: Sequence[str]) -> Callable[[Dataset, int], None]:
    return lambda image, number: setattr(image, keyword, list(odd if number % 2 else even))


@pytest.mark.parametrize(
    "change",
    [
        rounded("PixelSpacing", ["0.45005", "0.45005"], ["0.4500499", "0.4500499"]),
        rounded("ImageOrientationPatient", "1 0 0 0 1 0.000501".split(), "1 0 0 0 1 0.000499".split()),
    ],
)
def test_what_differs_by_rounding_is_one_geometry(change: Callable[[Dataset, int], None]) -> None:
    volume = built(scanned([(5.0 * n, 5.0) for n in range(8)], change=change))
    assert (len(volume.positions_mm), volume.findings) == (8, ())


@pytest.mark.parametrize(
    ("keyword", "value", "finding"),
    [
        ("PixelSpacing", ["0.9", "0.9"], "mixed_pixel_spacing"),
        ("ImageOrientationPatient", ["1", "0", "0", "0", "0.98", "-0.199"], "mixed_orientation"),
    ],
)
def test_another_geometry_is_put_aside_and_named(keyword: str, value: list[str], finding: str) -> None:
    def change(image: Dataset, number: int) -> None:
        if number > 6:
            setattr(image, keyword, value)

    volume = built(scanned([(5.0 * n, 5.0) for n in range(8)], change=change))
    assert (len(volume.positions_mm), volume.findings) == (6, (finding,))


@pytest.mark.parametrize(
    "keyword", ["TemporalPositionIdentifier", "AcquisitionNumber", "EchoNumbers", "InstanceNumber"]
)
def test_of_two_runs_over_one_place_all_slices_are_of_the_first(keyword: str) -> None:
    def run(which: int) -> Callable[[Dataset, int], None]:
        def change(image: Dataset, number: int) -> None:
            # The names of both runs are interleaved, so a choice by name would mix them.
            image.SOPInstanceUID += f".{(which + number) % 2}"
            setattr(image, keyword, str(number + 100 * which if keyword == "InstanceNumber" else which))
            image.PixelData = np.full((8, 8), 1024 + 10 * which + number, np.uint16).tobytes()

        return change

    places = [(5.0 * n, 5.0) for n in range(8)]
    volume = built([*scanned(places, change=run(2)), *scanned(places, change=run(1))])
    assert volume.findings == ("duplicate_positions",)
    assert volume.values[:, 0, 0].tolist() == [11.0 + n for n in range(8)]


def test_a_table_that_goes_to_and_fro_stops_at_the_same_places() -> None:
    def back(image: Dataset, number: int) -> None:
        image.SOPInstanceUID += ".2"
        image.AcquisitionNumber = "2"

    there, returned = ([(5.0 * n + off, 5.0) for n in range(8)] for off in (0.0, 0.1))
    volume = built([*scanned(there), *scanned(returned, change=back)])
    assert (volume.positions_mm, volume.findings) == (tuple(z for z, _ in there), ("duplicate_positions",))


def test_thin_slices_that_overlap_are_each_a_place() -> None:
    assert len(built(scanned([(0.1 * n, 1.0) for n in range(30)])).positions_mm) == 30


def test_frames_of_two_phases_are_not_mixed() -> None:
    dataset = enhanced_ct()
    order = [number * 3 % 8 for number in range(8)]
    for number, (frame, z) in enumerate(zip(dataset.PerFrameFunctionalGroupsSequence, order, strict=True)):
        content = Dataset()
        content.TemporalPositionIndex = 1 + number % 2
        frame.FrameContentSequence = [content]
        frame.PlanePositionSequence[0].ImagePositionPatient = ["-10", "-10", f"{5 * (z // 2)}"]
    volume = built([dataset])
    assert volume.findings == ("duplicate_positions",)
    first = sorted((z // 2, number) for number, z in enumerate(order) if number % 2 == 0)
    assert volume.values[:, 3, 3].tolist() == [
        float(order[number]) + (24.0 if order[number] % 2 else 0.0) for _, number in first
    ]


def test_frames_of_two_echoes_are_not_mixed() -> None:
    dataset = enhanced_ct()
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        place, echo = number // 2, (number + number // 2) % 2  # the order of echoes changes from place to place
        content = Dataset()
        content.DimensionIndexValues = [1, place + 1, echo + 1]
        frame.FrameContentSequence = [content]
        frame.PlanePositionSequence[0].ImagePositionPatient = ["-10", "-10", f"{5 * place}"]
        frame.pop("PixelValueTransformationSequence", None)
        start = 2 * 32 * 32 * number
        pixels = np.full((32, 32), 1024 + 100 * echo + place, np.uint16).tobytes()
        dataset.PixelData = dataset.PixelData[:start] + pixels + dataset.PixelData[start + len(pixels) :]
    volume = built([dataset])
    assert volume.findings == ("duplicate_positions",)
    assert volume.values[:, 0, 0].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_kernel_and_tilt_of_a_multi_frame_ct_are_in_its_functional_groups() -> None:
    dataset = enhanced_ct()
    del dataset.ConvolutionKernel
    shared, reconstruction, acquisition = dataset.SharedFunctionalGroupsSequence[0], Dataset(), Dataset()
    reconstruction.ConvolutionKernel, acquisition.GantryDetectorTilt = "H31s", -18.5
    shared.CTReconstructionSequence, shared.CTAcquisitionDetailsSequence = [reconstruction], [acquisition]
    series = chosen([dataset])
    assert series.verdicts[0].convolution_kernel == "H31s"
    assert build_volume(series.slices, 2).tilt_degrees == pytest.approx(18.5)


def test_kernel_and_tilt_of_a_converted_ct_are_among_its_unassigned_attributes() -> None:
    dataset = enhanced_ct()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.2"
    del dataset.ConvolutionKernel
    shared, of_all = dataset.SharedFunctionalGroupsSequence[0], Dataset()
    of_all.ConvolutionKernel = "H31s"
    shared.UnassignedSharedConvertedAttributesSequence = [of_all]
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        own = Dataset()
        own.GantryDetectorTilt = "-18.5"
        frame.UnassignedPerFrameConvertedAttributesSequence = [own]
    series = chosen([dataset])
    assert series.verdicts[0].convolution_kernel == "H31s"
    assert build_volume(series.slices, 2).tilt_degrees == pytest.approx(18.5)


def test_localizers_and_reformats_in_the_chosen_series_are_left_out_and_named() -> None:
    strangers = [
        head_slice(number=40, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")),
        head_slice(number=41, image_type=("DERIVED", "SECONDARY", "MPR"), position=900),
    ]
    series = chosen([*scanned([(5.0 * n, 5.0) for n in range(8)]), *strangers])
    assert series.findings == ("derived_left_out", "localizer_left_out")
    assert len(series.slices) == 8


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("ImagePositionPatient", ["-1", "-1", "1e999"], "no_series_qualifies: no_geometry=1"),
        ("RescaleSlope", "1e999", "not_hounsfield_units"),
        ("SliceThickness", "1e999", "no_series_qualifies: no_slice_thickness=1"),
    ],
)
def test_a_number_that_is_not_finite_is_none(keyword: str, value: object, reason: str) -> None:
    def change(image: Dataset, _: int) -> None:
        setattr(image, keyword, value)

    with pytest.raises(NotEvaluable, match=reason):
        built(scanned([(5.0 * n, 5.0) for n in range(8)], change=change))
