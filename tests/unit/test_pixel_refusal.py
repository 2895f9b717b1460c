"""Which instances get no copy for what their pixels may show, and which pixels a copy has."""

import struct

import pytest
from deidentified import CONTEXT, PLANTED, copy_of, element, file_of, named
from head_ct import as_file, head_slice
from pydicom.dataset import Dataset

from shadow.index_test.deidentify import deidentify_instance, pixel_refusal
from shadow.index_test.instance import read_instance


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({}, None),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "sop_class_without_detector"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.67"}, "sop_class_without_detector"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "image_type_painted"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]}, "image_type_painted"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "OTHER", "CT_SOM5 PROT"]}, "image_type_painted"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "OTHER", "CT_SOM7 PROT"]}, "image_type_painted"),
        ({"BurnedInAnnotation": "YES"}, "burned_in_annotation"),
        ({"BurnedInAnnotation": "UNKNOWN"}, "burned_in_annotation"),
        ({"BurnedInAnnotation": ["NO", "YES"]}, "burned_in_annotation"),
        ({"BurnedInAnnotation": "NO"}, None),
        ({"BurnedInAnnotation": ""}, None),
        ({"SpecimenLabelInImage": "YES"}, "specimen_label_in_image"),
        ({"SpecimenLabelInImage": "NO"}, None),
    ],
)
def test_what_may_have_burned_in_text_gets_no_copy(change: dict[str, object], refusal: str | None) -> None:
    def changed(dataset: Dataset) -> None:
        for keyword, value in change.items():
            setattr(dataset, keyword, value)

    assert pixel_refusal(read_instance(as_file(head_slice(change=changed)))) == refusal


@pytest.mark.parametrize("groups", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
@pytest.mark.parametrize(
    ("macro", "keyword", "value", "refusal"),
    [
        ("CTImageFrameTypeSequence", "FrameType", ["DERIVED", "PRIMARY", "SCREEN SAVE", "NONE"], "image_type_painted"),
        ("CTImageFrameTypeSequence", "FrameType", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], None),
        ("UnassignedPerFrameConvertedAttributesSequence", "BurnedInAnnotation", "YES", "burned_in_annotation"),
        ("UnassignedSharedConvertedAttributesSequence", "BurnedInAnnotation", "UNKNOWN", "burned_in_annotation"),
        ("UnassignedPerFrameConvertedAttributesSequence", "BurnedInAnnotation", "NO", None),
        ("UnassignedSharedConvertedAttributesSequence", "SpecimenLabelInImage", "YES", "specimen_label_in_image"),
    ],
)
def test_one_frame_that_may_have_burned_in_text_keeps_its_instance_from_being_copied(
    groups: str, macro: str, keyword: str, value: object, refusal: str | None
) -> None:
    def change(dataset: Dataset) -> None:
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.2"
        item, other, attributes = Dataset(), Dataset(), Dataset()
        setattr(attributes, keyword, value)
        setattr(item, macro, [attributes])
        setattr(dataset, groups, [other, item])

    assert pixel_refusal(read_instance(as_file(head_slice(change=change)))) == refusal


@pytest.mark.parametrize(("with_data", "refusal"), [(False, "overlay_in_pixels"), (True, None)])
def test_an_overlay_in_the_unused_bits_of_the_pixels_gets_no_copy(with_data: bool, refusal: str | None) -> None:
    def overlaid(dataset: Dataset) -> None:
        dataset.add_new(0x60020010, "US", 32)
        dataset.add_new(0x60020102, "US", 0 if with_data else 12)
        if with_data:
            dataset.add_new(0x60023000, "OW", bytes(128))

    assert pixel_refusal(read_instance(as_file(head_slice(change=overlaid)))) == refusal


@pytest.mark.parametrize(
    ("elements", "refusal"),
    [
        ({0x0102: ("US", 12)}, "overlay_in_pixels"),
        ({0x0100: ("US", 16)}, "overlay_in_pixels"),
        ({0x0010: ("US", 32), 0x3000: ("OW", b"")}, "overlay_in_pixels"),
        ({0x0010: ("US", 32), 0x0100: ("US", 16), 0x0102: ("US", 12), 0x3000: ("OW", bytes(128))}, "overlay_in_pixels"),
        ({0x0010: ("US", 32), 0x0100: ("US", 1), 0x3000: ("OW", bytes(128))}, None),
        ({0x3000: ("OW", bytes(128))}, None),
        ({0x0022: ("LO", "no plane")}, None),
    ],
)
def test_an_overlay_that_may_lie_in_the_pixels_by_any_of_its_attributes_gets_no_copy(
    elements: dict[int, tuple[str, object]], refusal: str | None
) -> None:
    def overlaid(dataset: Dataset) -> None:
        for number, (vr, value) in elements.items():
            dataset.add_new(0x60020000 | number, vr, value)

    assert pixel_refusal(read_instance(as_file(head_slice(change=overlaid)))) == refusal


def test_pixels_that_no_matrix_describes_are_not_copied() -> None:
    def change(dataset: Dataset) -> None:
        del dataset.Rows
        dataset.PixelData = PLANTED.encode() * 8

    content, copy = copy_of(head_slice(change=change))
    assert PLANTED.encode() not in content
    assert "PixelData" not in copy


def test_native_pixels_of_subsampled_colour_take_two_samples() -> None:
    def change(dataset: Dataset) -> None:
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "YBR_FULL_422"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelData = bytes(32 * 32 * 2) + PLANTED.encode() * 2

    content, copy = copy_of(head_slice(change=change))
    assert PLANTED.encode() not in content
    assert len(copy.PixelData) == 32 * 32 * 2


@pytest.mark.parametrize("frames", ["nan", "inf", "-3", "1e2"])
def test_a_number_of_frames_that_is_none_stops_nothing(frames: str) -> None:
    one = struct.pack("<H", 1)
    matrix = [element(0x00280010, b"US", one), element(0x00280011, b"US", one), element(0x00280100, b"US", b"\x10\0")]
    parts = [named(), element(0x00280008, b"IS", frames.encode()), *matrix, element(0x7FE00010, b"OW", b"\0" * 4)]
    assert deidentify_instance(read_instance(file_of(b"".join(parts))), CONTEXT)
