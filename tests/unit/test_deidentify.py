import hashlib
import io
import re
import struct
from datetime import date
from pathlib import Path

import numpy as np
import pydicom
import pytest
from deidentified import CONTEXT, PLANTED, copy_of, element, file_of, named
from head_ct import PSEUDONYMISER, ROOT, as_file, head_slice
from pydicom.data import get_testdata_file
from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from shadow.domain.errors import UnreadableInstance
from shadow.index_test import deidentify_table
from shadow.index_test.copies import deidentify_file
from shadow.index_test.deidentify import METHOD_CODES, deidentify, deidentify_instance
from shadow.index_test.deidentify_table import BY_KEYWORD, BY_VR, PUBLIC_CODING_SCHEMES, WORDS
from shadow.index_test.deidentify_values import DeidentificationContext, clean_description
from shadow.index_test.frames import frames_of
from shadow.index_test.instance import read_instance
from shadow.index_test.sop_classes import IMAGE_CLASSES

TEXT_VRS = {"AE": 16, "CS": 16, "LO": 64, "LT": 64, "PN": 64, "SH": 16, "ST": 64, "UC": 64, "UR": 64, "UT": 64}


DEVICE_TEXT = {
    "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "StationName", "DeviceSerialNumber", "GantryID",
    "DetectorID", "ConvolutionKernel", "FilterType",
}  # fmt: skip


"""Free text about the device that is kept on purpose: Retain Device Identity, and the kernel for the subgroups."""


def public_tags() -> list[int]:
    groups = [0x0008, 0x0010, 0x0012, 0x0014, 0x0016, 0x0018, 0x0020, 0x0022, 0x0024, 0x0028, 0x0032, 0x0034,
              0x0038, 0x003A, 0x0040, 0x0042, 0x0044, 0x0046, 0x0048, 0x0050, 0x0052, 0x0054, 0x0060, 0x0062,
              0x0064, 0x0066, 0x0068, 0x006A, 0x0070, 0x0072, 0x0074, 0x0076, 0x0078, 0x0080, 0x0082, 0x0088,
              0x0100, 0x0400, 0x2000, 0x2010, 0x2030, 0x2050, 0x2100, 0x2200, 0x3002, 0x3004, 0x3006, 0x3008,
              0x300A, 0x300C, 0x300E, 0x3010, 0x4000, 0x4008, 0x4010, 0x5600]  # fmt: skip
    return [
        group << 16 | number
        for group in groups
        for number in range(1, 0x10000)
        if dictionary_has_tag(group << 16 | number)
    ]


def test_no_attribute_of_the_standard_lets_planted_text_through_but_the_named_device_text() -> None:
    found = set()
    tags = public_tags()
    assert len(tags) > 4000
    for tag in tags:
        vr = dictionary_VR(tag).split(" or ")[0]
        if vr == "SQ" or tag == 0x00080018:
            continue
        value = PLANTED.encode()
        for declared in {*dictionary_VR(tag).split(" or "), "LO", "UN", "OB"}:
            body = element(tag, declared.encode(), value)
            nested = element(0x00081115, b"SQ", b"\xfe\xff\x00\xe0" + struct.pack("<L", len(body)) + body)
            parts = sorted([(tag, body), (0x00080018, named()), (0x00081115, nested)])
            copied = deidentify_instance(read_instance(file_of(b"".join(part for _, part in parts))), CONTEXT)
            if b"ZQX" in copied:
                found.add(tag)
    assert found == {tag_for_keyword(keyword) for keyword in DEVICE_TEXT}


def plant_everywhere(dataset: Dataset) -> None:
    dataset.PatientName = f"{PLANTED}^Name"
    dataset.PatientID = f"{PLANTED}ID"
    dataset.AccessionNumber = f"{PLANTED}1"
    dataset.StudyDescription = f"CT HEAD {PLANTED} WITHOUT CONTRAST"
    dataset.SeriesDescription = f"{PLANTED} 5.0 H30s"
    dataset.ProtocolName = f"HeadRoutine {PLANTED}"
    dataset.ImageComments = dataset.PatientComments = PLANTED
    dataset.InstitutionName, dataset.OperatorsName = PLANTED, f"{PLANTED}^Operator"
    dataset.add_new(0x50000022, "LO", PLANTED)  # curve description
    dataset.add_new(0x50003000, "OW", (PLANTED + PLANTED).encode())
    dataset.add_new(0x60003000, "OW", (PLANTED + PLANTED).encode())
    dataset.add_new(0x60004000, "LT", PLANTED)
    dataset.add_new(0x00091001, "LO", PLANTED)
    dataset.add_new(0x00090010, "LO", f"{PLANTED} CREATOR")
    dataset.add_new(0xFFFCFFFC, "OB", (PLANTED + PLANTED).encode())
    dataset.add_new(0x0018FFF1, "UN", PLANTED.encode())
    deepest = Dataset()
    deepest.OperatorsName, deepest.InstitutionName = f"{PLANTED}^Deep", PLANTED
    deepest.PatientID, deepest.AccessionNumber = PLANTED, PLANTED
    deepest.RescaleSlope = "1"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = PLANTED, "99SITE", PLANTED
    public = Dataset()
    public.CodeValue, public.CodingSchemeDesignator, public.CodeMeaning = "T-A0100", "SRT", PLANTED
    middle = Dataset()
    middle.DerivationCodeSequence = [code]
    middle.AnatomicRegionSequence = [public]
    middle.ReferencedInstanceSequence = [deepest]
    private = Dataset()
    private.PatientName = f"{PLANTED}^Private"
    middle.add_new(0x00111001, "SQ", [private])
    dataset.SourceImageSequence = [middle]
    dataset.add_new(0x00091002, "SQ", [private])
    dataset.file_meta.SourceApplicationEntityTitle = PLANTED
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3"
    dataset.file_meta.PrivateInformation = PLANTED.encode()
    dataset.preamble = PLANTED.encode().ljust(128, b"\0")


def test_planted_identifiers_in_every_corner_are_gone_from_the_bytes() -> None:
    original = as_file(head_slice(change=plant_everywhere))
    assert original.count(PLANTED.encode()) > 20
    content, copy = copy_of(head_slice(change=plant_everywhere))
    for encoded in (PLANTED.encode(), PLANTED.lower().encode(), PLANTED.encode("utf-16-le"), b"Planted", b"84736251"):
        assert encoded not in content
    assert copy.StudyDescription == "CT HEAD WITHOUT CONTRAST"
    assert copy.SeriesDescription == "5.0"
    nested = copy.SourceImageSequence[0].get("ReferencedInstanceSequence", [Dataset()])[0]
    assert "PatientID" not in nested, "a nested patient may be another one than the study's"
    kept = copy.SourceImageSequence[0].AnatomicRegionSequence[0]
    assert (kept.CodeValue, kept.CodingSchemeDesignator, kept.CodeMeaning) == ("T-A0100", "SRT", "T-A0100")


def test_text_behind_a_terminator_and_behind_the_pixels_is_not_copied() -> None:
    def change(dataset: Dataset) -> None:
        dataset["StationName"]._value = "RVCT1"
        dataset.PixelData += PLANTED.encode() * 2

    content = as_file(head_slice(change=change)) + element(0xFFFCFFFC, b"OB", PLANTED.encode()) + PLANTED.encode()
    content = content.replace(b"RVCT1 ", b"RV\0ZQX")
    copied = deidentify_instance(read_instance(content), CONTEXT)
    assert b"ZQX" not in copied
    assert pydicom.dcmread(io.BytesIO(copied)).StationName == "RV"


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00180060, b"DS", b"120 JOHN DOE"),
        (0x00180060, b"DS", b"555-123-4567"),
        (0x00180060, b"DS", b"+49 30 1234567"),
        (0x00180060, b"DS", b"14.03.1952"),
        (0x00180060, b"DS", b"1952-03-14"),
        (0x00180060, b"DS", b"1e"),
        (0x00180060, b"DS", b"."),
        (0x00180060, b"DS", b"0." + b"1" * 31),
        (0x00200013, b"IS", b"12ab"),
        (0x00200013, b"IS", b"12-03-1952"),
        (0x00200013, b"IS", b"555 1234567"),
        (0x00200013, b"IS", b"14.03.1952"),
        (0x00200013, b"IS", b"12.5e3"),
        (0x00200013, b"IS", b"."),
        (0x00080032, b"TM", b"031400 Doe"),
        (0x00080022, b"DA", b"2026090A"),
        (0x0008002A, b"DT", b"20260901 by Doe"),
        (0x00101010, b"AS", b"DOE "),
        (0x00200052, b"UI", b"1.2.DOE"),
        (0x00080201, b"SH", b"JOHN"),
        (0x00080201, b"SH", b"+8473"),
        (0x00080032, b"TM", b"847362"),
        (0x00080032, b"TM", b"84736251"),
        (0x0008002A, b"DT", b"20260901847362"),
        (0x0008002A, b"DT", b"20260901031403.25+8473"),
        (0x00080022, b"DA", b"18520314"),
        (0x00080022, b"DA", b"00011231"),
        (0x00080022, b"DA", b"84730112"),
        (0x00080022, b"DA", b"20260901-20260930"),
        (0x00100040, b"CS", b"DOE"),
        (0x00080060, b"CS", b"DOE"),
        (0x00180022, b"CS", b"HELICAL DOE"),
        (0x00189307, b"FD", b"JOHN DOE"),
        (0x00189307, b"FD", b"+7731942"),
        (0x00189307, b"FD", b"(555)123"),
        (0x00283006, b"OW", b"JOHN DOE"),
        (0x00283006, b"US", b"JOHN DOE 1952"),
        (0x00280010, b"US", b"JOHN DOE" * 40),
        (0x00081010, b"SH", "Böck".encode("latin-1")),
    ],
)
def test_a_value_that_is_not_written_as_its_vr_demands_is_emptied(tag: int, vr: bytes, value: bytes) -> None:
    parts = sorted([(tag, element(tag, vr, value)), (0x00080018, named())])
    copied = deidentify_instance(read_instance(file_of(b"".join(part for _, part in parts))), CONTEXT)
    copy = pydicom.dcmread(io.BytesIO(copied))
    assert copy.get_item(tag).value in (None, b"")


@pytest.mark.parametrize(
    "number", ["0", "-1024", "+7", "1.", ".5", "-.5", "1.50", "1e3", "-2.5E-07", "-123.456789012345678", ""]
)
def test_a_number_stays_however_a_scanner_writes_it(number: str) -> None:
    parts = [named(), element(0x00281050, b"DS", f"{number}\\40".encode())]
    copied = deidentify_instance(read_instance(file_of(b"".join(parts))), CONTEXT)
    assert read_instance(copied).texts("WindowCenter") == (number, "40")


@pytest.mark.parametrize("number", ["14.5", "250.00", "-3.", "12"])
def test_a_whole_number_stays_though_a_scanner_writes_it_with_a_fraction(number: str) -> None:
    parts = [named(), *(element(tag, b"IS", number.encode()) for tag in (0x00181151, 0x00181152, 0x00200012))]
    copied = read_instance(deidentify_instance(read_instance(file_of(b"".join(parts))), CONTEXT))
    assert [copied.text(one) for one in ("XRayTubeCurrent", "Exposure", "AcquisitionNumber")] == [number] * 3


def test_what_the_subgroups_need_survives() -> None:
    _, copy = copy_of(head_slice(number=3))
    assert (copy.StationName, copy.DeviceSerialNumber, copy.Manufacturer) == ("RVCT1", "SN-77", "SIEMENS")
    assert (copy.ConvolutionKernel, copy.KVP, copy.SliceThickness) == ("H30s", 120, 5)
    assert (copy.PatientSex, copy.PatientAge) == ("F", "074Y")
    assert copy.AcquisitionTime == "031403.250"
    assert copy.ImagePositionPatient == [-10, -10, 15]


def test_device_text_of_any_length_and_number_of_values_survives_as_the_standard_allows() -> None:
    def change(dataset: Dataset) -> None:
        dataset.ConvolutionKernel = ["Hr40d", "3", "SAFIRE 3 STRONG."]
        dataset.SoftwareVersions = ["syngo CT VB20A", "A" * 64, "B" * 64]
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"]
        dataset.PatientAge, dataset.PatientSex = "045Y", "O"

    _, copy = copy_of(head_slice(change=change))
    assert copy.ConvolutionKernel == ["Hr40d", "3", "SAFIRE 3 STRONG."]
    assert copy.SoftwareVersions == ["syngo CT VB20A", "A" * 64, "B" * 64]
    assert copy.ImageType == ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"]
    assert (copy.PatientAge, copy.PatientSex) == ("045Y", "O")


def test_a_term_that_the_standard_does_not_know_leaves_its_place_empty() -> None:
    def change(dataset: Dataset) -> None:
        dataset.PatientOrientation, dataset.ScanOptions = ["ZQXDOE", "P"], ["HELICAL MODE", "ZQXDOE"]

    content, copy = copy_of(head_slice(change=change))
    assert b"ZQX" not in content
    assert (list(copy.PatientOrientation), copy.ScanOptions) == (["", "P"], "HELICAL MODE")


def test_an_image_type_that_the_standard_does_not_know_is_marked_in_its_place() -> None:
    types = ["ORIGINAL", "PRIMARY", "ZQXDOE", "CT_SOM5 ZQXDOE", "", "AXIAL", "ZQXDOE"]
    content, copy = copy_of(head_slice(image_type=types))
    assert b"ZQX" not in content
    assert list(copy.ImageType) == ["ORIGINAL", "PRIMARY", "UNKNOWN", "UNKNOWN", "", "AXIAL", "UNKNOWN"]


@pytest.mark.parametrize("keyword", ["RescaleType", "VOILUTFunction", "PresentationLUTShape"])
def test_a_term_without_which_numbers_would_mean_something_else_is_marked(keyword: str) -> None:
    dataset = head_slice()
    for written, kept in (("HU_MOD", "HU_MOD"), (PLANTED, "UNKNOWN"), ("", "")):
        setattr(dataset, keyword, written)
        assert copy_of(dataset)[1][keyword].value == kept


@pytest.mark.parametrize(
    ("code", "scheme", "stays"),
    [
        ("69536005", "SCT", True), ("69536006", "SCT", False), ("QUXLEY", "SCT", False), ("84736251", "SCT", False),
        ("T-A0100", "SRT", True), ("T-QUXLE", "SRT", False), ("113100", "DCM", True), ("QUXLEY", "DCM", False),
        ("24725-4", "LN", True), ("DOE.JOHN", "LN", False), ("RID6434", "RADLEX", True), ("RIDDOE", "RADLEX", False),
        ("mm", "UCUM", True), ("DOE", "UCUM", False), ("69536005", "99SITE", False), ("69536005", "SCT DOE", False),
    ],
)  # fmt: skip
def test_a_code_stays_where_it_is_written_like_one_of_its_scheme(code: str, scheme: str, stays: bool) -> None:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, scheme, PLANTED
    item.LongCodeValue = item.URNCodeValue = PLANTED
    item.CodingSchemeVersion, item.ContextIdentifier, item.MappingResource = "ZQX", "ZQX", "ZQX"
    content, copy = copy_of(head_slice(change=lambda one: setattr(one, "ProcedureCodeSequence", [item])))
    assert b"ZQX" not in content
    kept = copy.get("ProcedureCodeSequence", [])
    assert [one.CodeValue for one in kept] == ([code] if stays else [])


def test_a_number_keeps_as_many_values_as_it_may_have() -> None:
    parts = [named(), element(0x00180060, b"DS", b"120\\84736251\\12"), element(0x00181210, b"SH", b"H30s")]
    copied = deidentify_instance(read_instance(file_of(b"".join(parts))), CONTEXT)
    copy = pydicom.dcmread(io.BytesIO(copied))
    assert (copy.KVP, copy.ConvolutionKernel) == (120, "H30s")


def test_dates_move_by_whole_weeks_and_times_stay() -> None:
    _, copy = copy_of(head_slice(change=lambda one: setattr(one, "AcquisitionDateTime", "20260901031403.25-0400")))
    assert copy.StudyDate == "20260623"
    assert date(2026, 6, 23).weekday() == date(2026, 9, 1).weekday()
    assert copy.AcquisitionDateTime == "20260623031403.25-0400"
    assert copy.StudyTime == "031000"
    assert copy.PatientBirthDate == ""
    assert copy.LongitudinalTemporalInformationModified == "MODIFIED"


def test_an_element_of_the_standard_that_came_as_unknown_is_what_the_standard_says() -> None:
    came = {
        0x00081010: b"CT QUXLEY", 0x00081090: b"Somatom ", 0x00100010: b"Quxley^Jo ", 0x00180050: b"5.0 ",
        0x00180060: b"120 ", 0x00181210: b"H30s", 0x00280030: b"0.5\\0.5 ", 0x00280010: struct.pack("<H", 512),
        0x00280120: struct.pack("<h", -2000), 0x00204000: b"Quxley",
    }  # fmt: skip
    body = b"".join(element(tag, b"UN", value) for tag, value in sorted(came.items()))
    copied = deidentify_instance(read_instance(file_of(named() + body)), CONTEXT)
    copy = pydicom.dcmread(io.BytesIO(copied))
    assert (copy.KVP, copy.ConvolutionKernel, copy.SliceThickness, copy.Rows) == (120, "H30s", 5, 512)
    assert (copy.ManufacturerModelName, copy.PixelSpacing) == ("Somatom", [0.5, 0.5])
    assert (copy.PatientName, copy.StationName) == ("", "")
    assert b"QUXLEY" not in copied.upper()


def implicit(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


def test_a_sequence_of_the_standard_that_came_as_unknown_is_read_like_any_other() -> None:
    place = implicit(0x00200032, b"0\\0\\5 ") + implicit(0x00081070, PLANTED.encode())
    groups = implicit(0xFFFEE000, implicit(0x00209113, implicit(0xFFFEE000, place)))
    parts = [element(0x00080016, b"UI", b"1.2.840.10008.5.1.4.1.1.2.1\0"), named(), element(0x52009230, b"UN", groups)]
    copied = deidentify_instance(read_instance(file_of(b"".join(parts))), CONTEXT)
    (frame,) = frames_of([read_instance(copied)])
    assert frame.numbers("ImagePositionPatient") == (0, 0, 5)
    assert PLANTED.encode() not in copied


@pytest.mark.parametrize("content", [PLANTED.encode(), implicit(0xFFFEE000, PLANTED.encode()), b""])
def test_an_unknown_sequence_that_is_none_costs_the_image_nothing_else(content: bytes) -> None:
    parts = [named(), element(0x00081010, b"SH", b"RVCT1"), element(0x52009230, b"UN", content)]
    copied = deidentify_instance(read_instance(file_of(b"".join(parts))), CONTEXT)
    assert pydicom.dcmread(io.BytesIO(copied)).StationName == "RVCT1"
    assert PLANTED.encode() not in copied


def test_an_unknown_element_too_long_for_the_standards_vr_is_removed() -> None:
    long = element(0x00281050, b"UN", b"\\".join([b"123456789012345"] * 4200))
    copied = read_instance(deidentify_instance(read_instance(file_of(named() + long)), CONTEXT))
    assert copied.raw("WindowCenter") is None


def test_uids_are_mapped_alike_in_every_instance_and_registered_ones_stay() -> None:
    _, first = copy_of(head_slice(number=1))
    content, second = copy_of(head_slice(number=2))
    assert first.StudyInstanceUID == second.StudyInstanceUID == PSEUDONYMISER.uid(f"{ROOT}.1")
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert second.SOPInstanceUID.startswith("2.25.")
    assert second.file_meta.MediaStorageSOPInstanceUID == second.SOPInstanceUID
    assert second.SOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert ROOT.encode() not in content


def test_a_reference_still_finds_what_it_points_at() -> None:
    def refer(dataset: Dataset) -> None:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = dataset.SOPClassUID, f"{ROOT}.1.2.2"
        dataset.ReferencedImageSequence = [item]

    _, first = copy_of(head_slice(number=1, change=refer))
    _, second = copy_of(head_slice(number=2))
    assert first.ReferencedImageSequence[0].ReferencedSOPInstanceUID == second.SOPInstanceUID


@pytest.mark.parametrize(
    "uid", ["1.2.840.10008.1.2.1.84736251", "1.2.840.10008.1.2.01", "1.2.840.10008", "1.2.840.10008."]
)
def test_a_uid_of_the_standards_arc_that_nobody_registered_is_mapped(uid: str) -> None:
    parts = [named(), element(0x00200052, b"UI", uid.encode() + b"\0" * (len(uid) % 2))]
    copied = deidentify_instance(read_instance(file_of(b"".join(parts))), CONTEXT)
    assert pydicom.dcmread(io.BytesIO(copied)).FrameOfReferenceUID.startswith("2.25.")


@pytest.mark.parametrize(("keyword", "kept"), [("RelatedGeneralSOPClassUID", 1024), ("FrameOfReferenceUID", 1)])
def test_uids_that_grow_beyond_what_an_element_holds_are_left_out(keyword: str, kept: int) -> None:
    tag, uids = tag_for_keyword(keyword), b"\\".join([b"1.2.3"] * 9000)
    assert tag is not None
    parts = sorted([(0x00080018, named()), (tag, element(tag, b"UI", uids))])
    copied = deidentify_instance(read_instance(file_of(b"".join(part for _, part in parts))), CONTEXT)
    assert read_instance(copied).texts(keyword) == (PSEUDONYMISER.uid("1.2.3"),) * kept


@pytest.mark.parametrize("uid", ["1.2.3" + ".4567" * 13, "1.2.3\r\n", "1.2.3 \t"])
def test_a_uid_that_is_too_long_or_oddly_padded_is_mapped_and_not_lost(uid: str) -> None:
    series = element(0x0020000E, b"UI", uid.encode() + b"\0" * (len(uid) % 2))
    copied = read_instance(deidentify_instance(read_instance(file_of(named() + series)), CONTEXT))
    assert copied.text("SeriesInstanceUID") == PSEUDONYMISER.uid(uid.strip())


def test_a_uid_that_only_pretends_to_be_the_standards_is_mapped() -> None:
    _, copy = copy_of(head_slice(change=lambda one: setattr(one, "FrameOfReferenceUID", "1.2.840.10008.84736251")))
    assert copy.FrameOfReferenceUID.startswith("2.25.")


@pytest.mark.parametrize(
    ("age", "copied"),
    [
        ("089Y", "089Y"), ("090Y", "090Y"), ("104Y", "090Y"), ("120Y", "090Y"), ("011M", "011M"), ("999M", "999M"),
        ("003D", "003D"), ("45Y", "045Y"), ("095y", "090Y"), ("95", ""), ("DOE", ""),
    ],
)  # fmt: skip
def test_ages_of_ninety_and_more_become_ninety(age: str, copied: str) -> None:
    parts = [named(), element(0x00101010, b"AS", age.encode())]
    copy = pydicom.dcmread(io.BytesIO(deidentify_instance(read_instance(file_of(b"".join(parts))), CONTEXT)))
    assert copy.PatientAge == copied


def test_the_copy_says_who_it_is_by_pseudonym_and_how_it_was_made() -> None:
    _, copy = copy_of(head_slice())
    assert copy.PatientID == CONTEXT.patient_key
    assert copy.AccessionNumber == CONTEXT.accession_key[:16]  # type: ignore[index]
    assert copy.PatientName == ""
    assert copy.PatientIdentityRemoved == "YES"
    codes = [(item.CodeValue, item.CodeMeaning) for item in copy.DeidentificationMethodCodeSequence]
    assert codes == list(METHOD_CODES)
    assert [tag for tag in copy if tag.tag.is_private] == []


def test_a_study_without_patient_and_accession_number_stays_without() -> None:
    context = DeidentificationContext(PSEUDONYMISER, None, None, -7)
    copy = pydicom.dcmread(io.BytesIO(deidentify_instance(read_instance(as_file(head_slice())), context)))
    assert (copy.PatientID, copy.AccessionNumber) == ("", "")


def test_pixels_are_copied_byte_by_byte(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 4096, (32, 32), np.uint16)
    (tmp_path / "in.dcm").write_bytes(as_file(head_slice(pixels=pixels)))
    deidentify_file(tmp_path / "in.dcm", tmp_path / "out.dcm", CONTEXT)
    assert pydicom.dcmread(tmp_path / "out.dcm").PixelData == pixels.tobytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_compressed_pixels_stay_compressed_and_the_same() -> None:
    path = get_testdata_file("JPEG2000.dcm")
    assert path
    original = pydicom.dcmread(path)
    copy = pydicom.dcmread(io.BytesIO(deidentify_instance(read_instance(Path(path).read_bytes()), CONTEXT)))
    assert copy.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
    assert len(copy.PixelData) == len(original.PixelData)
    assert np.array_equal(copy.pixel_array, original.pixel_array)


@pytest.mark.parametrize("name", ["MR_small_implicit.dcm", "MR_small_bigendian.dcm"])
def test_other_encodings_come_out_as_explicit_little_endian_with_the_same_pixels(name: str) -> None:
    path, reference = get_testdata_file(name), get_testdata_file("MR_small.dcm")
    assert path
    assert reference
    copy = pydicom.dcmread(io.BytesIO(deidentify_instance(read_instance(Path(path).read_bytes()), CONTEXT)))
    assert np.array_equal(copy.pixel_array, pydicom.dcmread(reference).pixel_array)


@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_pixels_of_a_byte_come_out_of_big_endian_in_their_order(vr: str) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (32, 32), np.uint8)
    dataset = head_slice()
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = pixels.tobytes() if vr == "OB" else pixels.view("<u2").byteswap().tobytes()
    dataset["PixelData"].VR = vr
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    original = as_file(dataset)
    assert np.array_equal(pydicom.dcmread(io.BytesIO(original)).pixel_array, pixels)
    copied = deidentify_instance(read_instance(original), CONTEXT)
    assert np.array_equal(pydicom.dcmread(io.BytesIO(copied)).pixel_array, pixels)


def test_a_data_set_in_memory_goes_through_the_same_engine() -> None:
    copy = deidentify(head_slice(change=plant_everywhere), CONTEXT)  # type: ignore[arg-type]
    assert copy.PatientName == ""
    assert PLANTED not in str(copy)


def test_sequences_nested_too_deep_are_refused() -> None:
    def nest(dataset: Dataset) -> None:
        item = Dataset()
        item.RescaleSlope = "1"
        for _ in range(18):
            outer = Dataset()
            outer.ReferencedImageSequence = [item]
            item = outer
        dataset.ReferencedImageSequence = [item]

    with pytest.raises(UnreadableInstance, match="nesting_too_deep"):
        read_instance(as_file(head_slice(change=nest)))


def test_an_instance_without_a_name_is_refused() -> None:
    content = file_of(element(0x00080060, b"CS", b"CT"))
    with pytest.raises(UnreadableInstance, match="no_sop_instance_uid"):
        deidentify_instance(read_instance(content), CONTEXT)


def test_no_file_of_the_pydicom_collection_stops_the_reader_or_leaks_its_patient() -> None:
    folder = Path(str(get_testdata_file("MR_small.dcm"))).parent
    outcomes = {"copied": 0, "refused": 0}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            instance = read_instance(path.read_bytes())
            copied = deidentify_instance(instance, CONTEXT)
        except UnreadableInstance:
            outcomes["refused"] += 1
            continue
        outcomes["copied"] += 1
        name = (instance.raw("PatientName") or b"").strip(b" \0^")
        head = copied[: copied.find(b"\xe0\x7f\x10\x00")]
        if len(name) > 5 and name.upper() not in (b"ANONYMIZED", b"TEST"):
            assert name not in head, path.name
        pydicom.dcmread(io.BytesIO(copied), stop_before_pixels=True).walk(lambda *_: None)
    assert outcomes["copied"] > 130
    assert outcomes["refused"] < 40


def test_cutting_a_file_anywhere_is_refused_or_copied_but_never_an_unknown_error() -> None:
    content = as_file(head_slice(change=plant_everywhere, matrix=4))
    for length in range(0, len(content), 3):
        try:
            copied = deidentify_instance(read_instance(content[:length]), CONTEXT)
        except UnreadableInstance:
            continue
        assert PLANTED.encode() not in copied


def test_bytes_that_flip_are_refused_or_copied_but_never_an_unknown_error() -> None:
    content = as_file(head_slice(change=plant_everywhere, matrix=4))
    random = np.random.default_rng(11)
    for _ in range(400):
        damaged = bytearray(content)
        for place in random.integers(132, len(content), 3):
            damaged[place] = random.integers(0, 256)
        try:
            deidentify_instance(read_instance(bytes(damaged)), CONTEXT)
        except UnreadableInstance:
            continue


def test_every_keyword_of_the_table_is_the_standards() -> None:
    assert [keyword for keyword in BY_KEYWORD if tag_for_keyword(keyword) is None] == []


def test_the_table_changes_only_with_its_version() -> None:
    content = repr((
        sorted((key, str(action)) for key, action in BY_KEYWORD.items()),
        sorted((key, str(action)) for key, action in BY_VR.items()),
        sorted(deidentify_table.REMOVED_GROUPS), sorted(PUBLIC_CODING_SCHEMES.items()), sorted(WORDS),
        sorted(deidentify_table.TERMS), sorted(deidentify_table.DEVICE_WORDS), deidentify_table.IDENTIFIER_KEYWORDS,
        deidentify_table.FIRST_YEAR, deidentify_table.LAST_YEAR, deidentify_table.OVERLAY_GROUPS,
        sorted(deidentify_table.SAFE_PRIVATE.items()), sorted(IMAGE_CLASSES),
        sorted(deidentify_table.PAINTED_IMAGE_TYPES),
    ))  # fmt: skip
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    assert (deidentify_table.VERSION, digest) == ("5", "432eb53e0cbf7606")


@pytest.mark.parametrize("implicit", [True, False])
def test_implicit_and_explicit_files_of_one_image_have_the_same_copy(implicit: bool) -> None:
    dataset = head_slice(change=plant_everywhere)
    if implicit:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        dataset["PixelData"].VR = "OW"
    _, copy = copy_of(dataset)
    _, reference = copy_of(head_slice(change=plant_everywhere))
    assert copy == reference


@pytest.mark.parametrize("vr", [b"OW", b"US"])
def test_text_of_the_length_of_a_lookup_table_is_none(vr: bytes) -> None:
    for content, stays in ((b"JOHN DOE 19520314", False), (bytes(range(18)), True)):
        table = content.ljust(18, b"\0")
        item = element(0x00283002, b"US", struct.pack("<HHH", 9, 0, 16)) + element(0x00283006, vr, table)
        tables = element(0x00283010, b"SQ", b"\xfe\xff\x00\xe0" + struct.pack("<L", len(item)) + item)
        copied = deidentify_instance(read_instance(file_of(named() + tables)), CONTEXT)
        assert (table in copied) is stays
        assert b"JOHN" not in copied


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("CT HEAD W/O CONTRAST", "CT HEAD W/O CONTRAST"),
        ("head_routine 5.0mm", "HEAD ROUTINE 5.0MM"),
        ("Brain for Mr. Smith, born 1952", "BRAIN"),
        ("4711 CT 12345", "CT"),
        ("HEAD DOB 12 03 52", "HEAD"),
        ("HEAD 92 years, tel. 555 123", "HEAD"),
        ("HEAD 8.4 7.3 6.2", "HEAD"),
        ("HEAD 0.6 5MM", "HEAD 0.6 5MM"),
        ("", ""),
    ],
)
def test_a_description_keeps_the_words_of_the_table_and_small_numbers(text: str, clean: str) -> None:
    assert clean_description(text) == clean
    assert re.fullmatch(r"[A-Z0-9/+.,\- ]*", clean)


@pytest.mark.parametrize("without_a_place", [(1,), (0, 1, 2, 3)])
def test_a_frame_of_which_nothing_stays_keeps_its_turn(without_a_place: tuple[int, ...]) -> None:
    def change(dataset: Dataset) -> None:
        dataset.SOPClassUID, dataset.NumberOfFrames = "1.2.840.10008.5.1.4.1.1.2.1", "4"
        dataset.PerFrameFunctionalGroupsSequence = [Dataset() for _ in range(4)]
        for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            content, place = Dataset(), Dataset()
            content.FrameComments = PLANTED
            place.ImagePositionPatient = ["0", "0", str(5 * number)]
            group.FrameContentSequence = [content]
            if number not in without_a_place:
                group.PlanePositionSequence = [place]
        dataset.PixelData *= 4

    original = read_instance(as_file(head_slice(change=change)))
    copied = deidentify_instance(original, CONTEXT)
    places, places_of_copy = (
        [one.numbers("ImagePositionPatient") for one in frames_of([instance])]
        for instance in (original, read_instance(copied))
    )
    assert PLANTED.encode() not in copied
    assert places_of_copy == places


def private_of(dataset: pydicom.Dataset) -> dict[tuple[int, int], object]:
    return {(one.tag.group, one.tag.element): one.value for one in dataset if one.tag.is_private}


@pytest.mark.parametrize("implicit", [False, True])
def test_private_elements_stay_by_creator_and_element_and_only_as_numbers(implicit: bool) -> None:
    dataset = head_slice()
    block = dataset.private_block(0x0019, "GEMS_ACQU_01", create=True)
    block.add_new(0x23, "DS", "39.37")
    block.add_new(0x24, "DS", "1.5")
    block.add_new(0x02, "SL", 912)
    stranger = dataset.private_block(0x0019, f"{PLANTED} ACQU", create=True)
    stranger.add_new(0x23, "DS", "39.37")
    ratio = dataset.private_block(0x0043, "GEMS_PARM_01", create=True)
    ratio.add_new(0x27, "SH", PLANTED)
    if implicit:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    content, copy = copy_of(dataset)
    assert private_of(copy) == {(0x0019, 0x0010): "GEMS_ACQU_01", (0x0019, 0x1023): 39.37, (0x0019, 0x1024): 1.5}
    assert PLANTED.encode() not in content


@pytest.mark.parametrize(
    ("ratio", "stays"),
    [
        ("0.984:1", True), ("1.375", True), ("0.531:1.0", True), ("84736251", False), ("5551234567", False),
        ("14.03.1952", False), ("19:52", False), ("", False),
    ],
)  # fmt: skip
def test_a_pitch_ratio_is_nothing_else_written_in_digits(ratio: str, stays: bool) -> None:
    dataset = head_slice()
    dataset.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x27, "SH", ratio)
    _, copy = copy_of(dataset)
    assert private_of(copy).get((0x0043, 0x1027)) == (ratio if stays else None)


def test_private_elements_in_sequences_follow_the_same_list() -> None:
    dataset, item = head_slice(), Dataset()
    block = item.private_block(0x0019, "GEMS_ACQU_01", create=True)
    block.add_new(0x23, "DS", "39.37")
    block.add_new(0x90, "LO", PLANTED)
    item.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.ReferencedImageSequence = [item]
    content, copy = copy_of(dataset)
    assert private_of(copy.ReferencedImageSequence[0]) == {(0x0019, 0x0010): "GEMS_ACQU_01", (0x0019, 0x1023): 39.37}
    assert PLANTED.encode() not in content
