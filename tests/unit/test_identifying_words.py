"""Names, identifiers and dates of a header, looked for in what its copy keeps of text and numbers."""

import io
import re
import struct

import pydicom
import pytest
from deidentified import CONTEXT, copy_of, element, file_of, named
from head_ct import head_slice
from pydicom.dataset import Dataset

from shadow.index_test.deidentify import deidentify_instance
from shadow.index_test.instance import read_instance


def planted_patient(dataset: Dataset) -> None:
    dataset.PatientName, dataset.PatientID = "Quxley-Brzin^Jo=\u5c71\u7530", "MZ7731942"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.OperatorsName = ["Wintersley^A", "CT2"]
    dataset.StudyID, dataset.AccessionNumber = "S773", "R00055123"


@pytest.mark.parametrize(
    "keyword", ["StationName", "DeviceSerialNumber", "ConvolutionKernel", "ManufacturerModelName", "Manufacturer"]
)
@pytest.mark.parametrize(
    "text",
    ["CT QUXLEY", "ct_brzin", "QuxleyBrzin", "joquxley", "MZ7731942", "X7731942", "jbrzin", "Wintersley's", "R00055123",
     "CT S773", "19520314", "CT 14.03.1952", "03/14/1952"],
)  # fmt: skip
def test_device_text_in_which_a_person_of_the_header_stands_is_emptied(keyword: str, text: str) -> None:
    def change(dataset: Dataset) -> None:
        planted_patient(dataset)
        setattr(dataset, keyword, text)
        dataset.SoftwareVersions = ["VA48A", text]

    _, copy = copy_of(head_slice(change=change))
    assert not copy[keyword].value
    assert copy.SoftwareVersions == "VA48A"


@pytest.mark.parametrize(
    ("name", "keyword", "text"),
    [
        ("Smith^Philip", "Manufacturer", "Philips Medical Systems"),
        ("Philips^Ann", "Manufacturer", "Philips"),
        ("Mens^Ann", "Manufacturer", "SIEMENS"),
        ("Bone^Ann", "ConvolutionKernel", "BONE"),
        ("Standard^Ann", "ConvolutionKernel", "STANDARDPLUS"),
        ("Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", "StationName", "3ED"),
        ("Hall^Li", "StationName", "MARSHALL_OLI"),
        ("Quxley^Jo", "StationName", "CT2"),
        ("Upton^B", "ConvolutionKernel", "UB"),
        ("Li^Ya", "ConvolutionKernel", "YA"),
        ("Quxley^John^A", "StationName", "CT JA"),
        ("As^Ann", "ManufacturerModelName", "SOMATOM Definition AS+"),
        ("Sim^Ah", "ManufacturerModelName", "SOMATOM go.Sim"),
        ("Bright^Ann", "ManufacturerModelName", "BrightSpeed Elite"),
        ("Tran^Max", "ManufacturerModelName", "Mobilett Elara Max"),
        ("Quxley^Sp", "ManufacturerModelName", "Aquilion PRIME SP"),
        ("Mec^Ann", "Manufacturer", "CANON_MEC"),
        ("Hall^Ed", "StationName", "CT-ED-1"),
        ("West^Ann", "StationName", "CT-WEST"),
        ("Quxley^Jo", "DeviceSerialNumber", "773"),
    ],
)
def test_a_name_that_is_also_a_word_of_devices_costs_the_scanner_nothing(name: str, keyword: str, text: str) -> None:
    def change(dataset: Dataset) -> None:
        planted_patient(dataset)
        dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        dataset.PatientName = name
        setattr(dataset, keyword, text)

    _, copy = copy_of(head_slice(change=change))
    assert copy[keyword].value == text


@pytest.mark.parametrize(
    ("operator", "station", "stays"),
    [
        ("RVSOUTH-02", "RVSOUTH-02", True),
        ("rvsouth 02", "RVSOUTH_02", True),
        (["Wintersley^A", "RVSOUTH-02"], "RVSOUTH-02", True),
        ("RVSOUTH-03", "RVSOUTH-02", False),
        ("WINTERSLEY", "WINTERSLEY", False),
        ("Wintersley^2", "WINTERSLEY-02", False),
    ],
)
def test_an_operator_who_is_entered_as_the_station_costs_it_nothing(
    operator: str | list[str], station: str, stays: bool
) -> None:
    def change(dataset: Dataset) -> None:
        dataset.OperatorsName, dataset.StationName = operator, station

    _, copy = copy_of(head_slice(change=change))
    assert copy.StationName == (station if stays else "")


def test_a_patient_who_is_entered_as_the_station_is_looked_for() -> None:
    def change(dataset: Dataset) -> None:
        dataset.PatientName = dataset.StationName = "QUXLEY-02"

    _, copy = copy_of(head_slice(change=change))
    assert copy.StationName == ""


@pytest.mark.parametrize("character_set", ["ISO_IR 100", "ISO_IR 192"])
@pytest.mark.parametrize("text", ["CT MUELLER", "CT Muller", "annemuller", "ct-oezguer"])
def test_a_name_with_accents_is_found_as_an_english_keyboard_writes_it(character_set: str, text: str) -> None:
    def change(dataset: Dataset) -> None:
        dataset.SpecificCharacterSet = character_set
        dataset.PatientName, dataset.StationName = "Müller^Anné^Özgür", text

    _, copy = copy_of(head_slice(change=change))
    assert copy.StationName == ""


@pytest.mark.parametrize(
    ("character_set", "name", "text"),
    [
        ("ISO_IR 101", "Wałęsa^Łukasz", "CT WALESA"),
        ("ISO_IR 101", "Novák^Jiří", "CT_JIRI"),
        ("ISO_IR 148", "Yılmaz^Çağla", "YILMAZ"),
        ("ISO_IR 192", "Lœuwen^Anné", "LOEUWEN"),
        ("ISO 2022 IR 100", "Müller^Anné", "MULLER"),
        (["", "ISO 2022 IR 100"], "Müller^Anné", "MULLER"),
        (["ISO 2022 IR 100", "ISO 2022 IR 126"], "Müller^Anné=Μύλλερ", "MULLER"),
        ("GB18030", "Lǐqiáng^Xiǎo=李强", "LIQIANG"),
        ("ISO_IR 100", "Sørensen^Bo", "SORENSEN"),
        ("ISO_IR 192", "Kjærgård^Bo", "KJAERGARD"),
        ("ISO_IR 192", "Kjærgård^Bo", "KJAERGAARD"),
        ("ISO_IR 192", "Đoković^Ana", "DOKOVIC"),
        ("ISO_IR 100", "Þórsson^Jón", "THORSSON"),
    ],
)
def test_a_name_is_found_in_plain_letters_whatever_character_set_it_came_in(
    character_set: str | list[str], name: str, text: str
) -> None:
    def change(dataset: Dataset) -> None:
        dataset.SpecificCharacterSet = character_set
        dataset.PatientName, dataset.StationName = name, text

    _, copy = copy_of(head_slice(change=change))
    assert copy.StationName == ""


@pytest.mark.parametrize(("declared", "sent"), [("ISO_IR 100", "utf-8"), ("ISO_IR 192", "latin-1"), ("", "utf-8")])
def test_a_name_is_found_though_its_sender_declares_the_wrong_character_set(declared: str, sent: str) -> None:
    parts = [element(0x00080005, b"CS", declared.encode()), named(), element(0x00081010, b"SH", b"CT MULLER")]
    parts.append(element(0x00100010, b"PN", "Müller^Anné".encode(sent)))
    copied = deidentify_instance(read_instance(file_of(b"".join(parts))), CONTEXT)
    assert pydicom.dcmread(io.BytesIO(copied)).StationName == ""


@pytest.mark.parametrize("name", ["王^小明", "Wang^Xiaoming=王^小明", "山田^太郎"])
def test_letters_of_another_script_are_not_read_as_accents(name: str) -> None:
    def change(dataset: Dataset) -> None:
        dataset.SpecificCharacterSet = "GB18030"
        dataset.PatientName, dataset.StationName = name, "IO CT E3 OU"

    _, copy = copy_of(head_slice(change=change))
    assert copy.StationName == "IO CT E3 OU"


@pytest.mark.parametrize(
    ("patient_id", "station"), [("----", "-CT-"), ("1-2-", "CT 12"), ("1\\2", "CT 1"), ("...", "")]
)
def test_an_identifier_of_next_to_nothing_costs_the_scanner_nothing(patient_id: str, station: str) -> None:
    parts = [named(), element(0x00081010, b"SH", station.encode()), element(0x00100020, b"LO", patient_id.encode())]
    copied = deidentify_instance(read_instance(file_of(b"".join(parts))), CONTEXT)
    assert pydicom.dcmread(io.BytesIO(copied)).StationName == station


def test_a_name_is_looked_for_in_other_peoples_sequences_too() -> None:
    def change(dataset: Dataset) -> None:
        item, modified = Dataset(), Dataset()
        modified.PatientName, modified.PatientID = "Oldname^Planted", "OLD99123"
        item.ModifiedAttributesSequence = [modified]
        dataset.OriginalAttributesSequence = [item]
        dataset.StationName, dataset.DeviceSerialNumber = "OLDNAME", "OLD99123"

    _, copy = copy_of(head_slice(change=change))
    assert (copy.StationName, copy.DeviceSerialNumber) == ("", "")


def test_an_identifier_that_stands_in_a_number_is_emptied() -> None:
    def change(dataset: Dataset) -> None:
        planted_patient(dataset)
        dataset.AcquisitionNumber, dataset.WindowCenter = "7731942", ["40", "7731942.0"]
        block = dataset.private_block(0x0019, "GEMS_ACQU_01", create=True)
        block.add_new(0x23, "DS", "7731942")
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "69536005", "SCT", "Head"
        dataset.AnatomicRegionSequence = [code]
        dataset.OtherPatientIDs = "69536005"

    content, copy = copy_of(head_slice(change=change))
    assert b"7731942" not in content
    assert b"69536005" not in content
    assert copy.InstanceNumber == 1


@pytest.mark.parametrize(
    ("tag", "vr", "code"),
    [
        (0x00186018, b"UL", "I"), (0x00186020, b"SL", "i"), (0x0018602C, b"FD", "d"),
        (0x00189073, b"FD", "d"), (0x00189352, b"FL", "f"),
    ],
)  # fmt: skip
def test_an_identifier_that_stands_in_a_binary_number_is_emptied(tag: int, vr: bytes, code: str) -> None:
    for number, stays in ((7731942, False), (7731943, True), (0, True)):
        value = struct.pack(f"<{code}", number)
        patient = element(0x00100020, b"LO", b"MZ07731942")
        parts = sorted([(0x00080018, named()), (0x00100020, patient), (tag, element(tag, vr, value))])
        copied = read_instance(deidentify_instance(read_instance(file_of(b"".join(one for _, one in parts))), CONTEXT))
        found = copied.elements[tag]
        assert copied.buffer[found.start : found.end] == (value if stays else b"")


@pytest.mark.parametrize("identifier", ["QUXLEY^JO", "Quxley, Jo", "0815\\jo quxley"])
def test_a_patients_identifier_without_a_digit_is_a_name(identifier: str) -> None:
    parts = [named(), element(0x00081010, b"SH", b"CT QUXLEY"), element(0x00100020, b"LO", identifier.encode())]
    copied = deidentify_instance(read_instance(file_of(b"".join(parts))), CONTEXT)
    assert pydicom.dcmread(io.BytesIO(copied)).StationName == ""


@pytest.mark.parametrize("identifier", ["00731942", "00012345", "MRN731942"])
@pytest.mark.parametrize("written", ["{}", "+{}", "{}.0", "0{}", "{}E0", "{}.0e+00"])
def test_an_identifier_with_leading_zeros_is_the_same_number(identifier: str, written: str) -> None:
    digits = identifier.removeprefix("MRN")
    parts = [named(), element(0x00100020, b"LO", identifier.encode())]
    parts.append(element(0x00200012, b"IS", re.sub(r"\.0|[eE].*", "", written.format(digits)).encode()))
    parts.append(element(0x00281050, b"DS", written.format(digits).encode()))
    copied = deidentify_instance(read_instance(file_of(b"".join(parts))), CONTEXT)
    assert digits.encode() not in copied


@pytest.mark.parametrize("written", ["7.731942E+06", "+77319.42e2", "0.7731942E7", "77319420.0E-1"])
def test_an_identifier_whose_digits_an_exponent_moves_is_the_same_number(written: str) -> None:
    parts = [named(), element(0x00100020, b"LO", b"MRN7731942"), element(0x00281050, b"DS", written.encode())]
    copied = deidentify_instance(read_instance(file_of(b"".join(parts))), CONTEXT)
    assert read_instance(copied).texts("WindowCenter") == ()


def test_a_telephone_number_is_found_however_it_is_written() -> None:
    def change(dataset: Dataset) -> None:
        dataset.PatientTelephoneNumbers = "555 123-4567"
        dataset.DeviceSerialNumber, dataset.TableHeight = "5551234567", "5551234567"

    content, copy = copy_of(head_slice(change=change))
    assert b"5551234567" not in content
    assert (copy.DeviceSerialNumber, copy.TableHeight) == ("", None)


@pytest.mark.parametrize("keyword", ["StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"])
def test_a_date_of_the_study_that_stands_in_a_number_is_emptied(keyword: str) -> None:
    def change(dataset: Dataset) -> None:
        setattr(dataset, keyword, "20240229")
        dataset.SeriesNumber, dataset.AcquisitionNumber, dataset.DeviceSerialNumber = "20240229", "3", "CT 29.02.2024"
        dataset.TriggerTime, dataset.RescaleIntercept = "20240229031403.5", "202402290314"

    content, copy = copy_of(head_slice(change=change))
    assert b"20240229" not in content
    assert (copy.SeriesNumber, copy.AcquisitionNumber, copy.DeviceSerialNumber) == (None, 3, "")
    assert copy[keyword].value == "20231221"
