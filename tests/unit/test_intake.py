import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from head_ct import (
    MACHINE_CLOSED_AT,
    PSEUDONYMISER,
    ROOT,
    as_file,
    head_slice,
    head_study,
    new_home,
    protocol,
    riverside,
    spool_study,
)
from pydicom.config import disable_value_validation
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from test_structured_report import document
from test_volume import enhanced_ct

from shadow.domain.errors import ConfigurationError, LaneBusy, UnreadableInstance
from shadow.domain.home import Home
from shadow.domain.identifiers import Pseudonymiser
from shadow.index_test.admission import Admission, admit_study
from shadow.index_test.arrival import uids_of_file
from shadow.index_test.copies import copies_folder, read_copies, read_ready_study
from shadow.index_test.instance import read_instance
from shadow.index_test.intake import drain_admissions, model_queue
from shadow.index_test.study_manifest import StudyManifest, manifest_path
from shadow.store.events import Kind
from shadow.store.ledger import Ledger
from shadow.store.queue import WorkQueue
from shadow.store.vault import Vault


@dataclass
class Door:
    """An admission lane over one spool."""

    home: Home
    ledger: Ledger
    vault: Vault

    @property
    def queue(self) -> WorkQueue:
        return WorkQueue(self.home.queues / "admission")

    def arrive(self, files: list[bytes], study: str = "1", **settings: object) -> StudyManifest:
        manifest = spool_study(self.home, files, study=study, **settings)  # type: ignore[arg-type]
        self.queue.put(f"{manifest.study_key}.r{manifest.revision}")
        return manifest

    def drain(self, pseudonymiser: Pseudonymiser = PSEUDONYMISER, **settings: object) -> int:
        arguments: dict[str, object] = {
            "home": self.home,
            "ledger": self.ledger,
            "vault": self.vault,
            "sites": (riverside(),),
            "protocol": protocol(),
            "pseudonymiser": pseudonymiser,
            "linger_seconds": 10.0,
            "budget_seconds": 10.0,
            "stop": lambda: not self.queue.ready(),
        }
        return drain_admissions(**(arguments | settings))  # type: ignore[arg-type]

    def bodies(self, kind: Kind) -> list[dict[str, object]]:
        return [json.loads(row.body or "") for row in self.ledger.since(0) if row.kind == kind]

    def states(self) -> dict[str, str]:
        refused = {str(one["study_key"]): str(one["reason"]) for one in self.bodies(Kind.EXCLUSION)}
        return {
            str(one["study_key"]): refused.get(str(one["study_key"]), "eligible") for one in self.bodies(Kind.STUDY)
        }


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    home = new_home(tmp_path / "home")
    vault = Vault(home.vault, bytes(32))
    with Ledger(f"sqlite:///{home.ledger}", "head-ct") as ledger:
        ledger.migrate()
        yield Door(home, ledger, vault)
    vault.close()


def admit(home: Home, files: list[bytes], **settings: object) -> Admission:
    manifest = spool_study(home, files, **settings)  # type: ignore[arg-type]
    folder = manifest_path(home.spool, manifest.study_key, manifest.revision).parent
    return admit_study(
        manifest,
        folder,
        sites=(riverside(),),
        protocol=protocol(),
        pseudonymiser=PSEUDONYMISER,
        studies_folder=home.studies,
    )


def one_slice_study(**changes: object) -> list[bytes]:
    def change(dataset: Dataset) -> None:
        for keyword, value in changes.items():
            if value is None:
                del dataset[keyword]
            else:
                setattr(dataset, keyword, value)

    # Senders write what the standard forbids; pydicom must be told to write it too.
    with disable_value_validation():
        return [as_file(head_slice(change=change))]


def test_an_eligible_study_is_recorded_copied_and_handed_to_every_model(door: Door) -> None:
    manifest = door.arrive(head_study())
    assert door.drain(protocol=protocol("first", "second")) == 1
    (study,) = door.bodies(Kind.STUDY)
    assert study == {
        "schema": 1,
        "study_key": manifest.study_key,
        "revision": 1,
        "supersedes": None,
        "patient_key": PSEUDONYMISER.patient_key("RIVERSIDE", "MRN84736251"),
        "accession_key": PSEUDONYMISER.accession_key("RIVERSIDE", "R1234"),
        "site": "riverside",
        "scanner": "riverside-ct-1",
        "shift": "Night",
        "acquired_at": "2026-09-01T07:14:01.250000Z",
        "first_received_at": "2026-09-01T07:20:00.000000Z",
        "closed_at": "2026-09-01T07:30:00.000000Z",
        "machine_closed_at": MACHINE_CLOSED_AT.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "instance_count": 9,
        "manifest_sha256": manifest.manifest_sha256,
        "manufacturer": "SIEMENS",
        "manufacturer_model_name": "Somatom",
        "convolution_kernel": "H30s",
        "kvp": 120.0,
        "slice_thickness_mm": 5.0,
        "patient_age_years": 74,
        "patient_sex": "F",
        "software_versions": "VA48A, SP2",
    }
    for model in ("first", "second"):
        (name,) = model_queue(door.home, model).ready()
        ready = read_ready_study(model_queue(door.home, model).read(name))
        copies = read_copies(copies_folder(door.home.studies, manifest.study_key, 1), ready.copies_sha256)
        assert len(copies) == 9
        assert {read_instance(one).text("PatientName") for one in copies.values()} == {""}
        assert set(copies) == {read_instance(one).text("SOPInstanceUID") for one in copies.values()}
    assert door.queue.ready() == []


@pytest.mark.parametrize("uid", ["1.2.QUXLEY", "1.2.840.10008.5.1.4.1.1.2"])
def test_an_image_without_a_usable_name_costs_its_study_nothing_else(door: Door, uid: str) -> None:
    manifest = door.arrive([*head_study(), *one_slice_study(SOPInstanceUID=uid)])
    door.drain()
    assert door.bodies(Kind.EXCLUSION) == []
    assert len(list(copies_folder(door.home.studies, manifest.study_key, 1).iterdir())) == 9
    counted = [one["detail"] for one in door.bodies(Kind.AUDIT) if one["action"] == "instance_unreadable"]
    assert counted == ["no_sop_instance_uid"]


def test_the_ledger_holds_no_name_that_somebody_typed_into_the_scanner(door: Door) -> None:
    door.arrive(
        one_slice_study(
            PatientName="Quxley^Jo", Manufacturer="SIEMENS", ManufacturerModelName="Somatom Quxley",
            ConvolutionKernel=["H30s", "QUXLEY"], SoftwareVersions=["VA48A", "84736251", "SP2"], KVP="84736251",
            SliceThickness="nan", StudyDescription="CT HEAD QUXLEY",
        )
    )  # fmt: skip
    door.drain()
    (study,) = door.bodies(Kind.STUDY)
    assert study["manufacturer"] == "SIEMENS"
    assert study["manufacturer_model_name"] is None
    assert (study["convolution_kernel"], study["software_versions"]) == ("H30s", "VA48A, SP2")
    assert (study["kvp"], study["slice_thickness_mm"]) == (None, None)
    content = door.home.ledger.read_bytes()
    assert [word for word in (b"QUXLEY", b"Quxley", b"84736251") if word in content] == []


def test_identities_are_in_the_vault_and_nowhere_else(door: Door) -> None:
    manifest = door.arrive(head_study())
    door.drain()
    patient = door.vault.get(PSEUDONYMISER.patient_key("RIVERSIDE", "MRN84736251"))
    assert patient
    assert dict(patient.values) == {
        "PatientName": "Müller^Planted",
        "PatientID": "MRN84736251",
        "PatientBirthDate": "19520314",
    }
    study = door.vault.get(manifest.study_key)
    assert study
    assert dict(study.values)["StudyInstanceUID"] == f"{ROOT}.1"
    accession = door.vault.get(PSEUDONYMISER.accession_key("RIVERSIDE", "R1234"))
    assert accession
    assert dict(accession.values)["AccessionNumber"] == "R00001234"
    for path in [*door.home.studies.rglob("*"), *door.home.queues.rglob("*"), door.home.ledger]:
        content = path.read_bytes() if path.is_file() else b""
        for planted in (b"Planted", b"84736251", b"R00001234", ROOT.encode()):
            assert planted not in content, path


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Modality": "MR"}, "wrong_modality"),
        ({"StudyDescription": "CT CHEST"}, "study_description_not_listed"),
        ({"StudyDescription": None}, "study_description_not_listed"),
        ({"StudyDescription": "CTA HEAD"}, "study_description_excluded"),
        ({"PatientAge": "017Y"}, "age_below_minimum"),
        ({"PatientAge": "011M"}, "age_below_minimum"),
        ({"PatientAge": None, "PatientBirthDate": None}, "age_unknown"),
        ({"PatientAge": None, "PatientBirthDate": "20080902"}, "age_below_minimum"),
        ({"AcquisitionDate": "20260823", "StudyDate": "20260823", "AcquisitionTime": "195959"}, "outside_index_window"),
        ({"AcquisitionDate": "20270901", "StudyDate": "20270901"}, "outside_index_window"),
        ({"AcquisitionDate": None, "StudyDate": None}, "acquisition_time_unknown"),
        ({"AcquisitionTime": "soon", "StudyTime": ""}, "acquisition_time_unknown"),
    ],
)
def test_a_study_the_protocol_does_not_admit_is_counted_with_its_reason(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    admission = admit(new_home(tmp_path / "home"), one_slice_study(**changes))
    assert admission.excluded
    assert admission.excluded.reason == reason
    assert admission.ready is None
    assert list((tmp_path / "home" / "studies").iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"PatientAge": "018Y"},
        {"PatientAge": "18Y", "PatientBirthDate": None},
        {"PatientAge": None, "PatientBirthDate": "20080831"},
        {"AcquisitionDate": "20260823", "AcquisitionTime": "200000"},
        {"StudyDescription": "Ct Brain routine"},
    ],
)
def test_a_study_just_inside_every_limit_is_eligible(tmp_path: Path, changes: dict[str, object]) -> None:
    assert admit(new_home(tmp_path / "home"), one_slice_study(**changes)).eligible


def date_time_alone(value: str) -> dict[str, object]:
    return {"AcquisitionDate": None, "AcquisitionTime": None, "AcquisitionDateTime": value}


@pytest.mark.parametrize(
    ("changes", "acquired_at", "shift"),
    [
        ({}, datetime(2026, 9, 1, 7, 14, 1, 250_000, UTC), "Night"),
        ({"TimezoneOffsetFromUTC": "-0500"}, datetime(2026, 9, 1, 8, 14, 1, 250_000, UTC), "Night"),
        ({"AcquisitionTime": ""}, datetime(2026, 9, 1, 7, 10, tzinfo=UTC), "Night"),
        ({"AcquisitionTime": "07"}, datetime(2026, 9, 1, 11, 0, tzinfo=UTC), "Day"),
        ({"AcquisitionTime": "22:59:60"}, datetime(2026, 9, 2, 2, 59, 59, tzinfo=UTC), "Evening"),
        ({"AcquisitionDate": "2026.09.01"}, datetime(2026, 9, 1, 7, 14, 1, 250_000, UTC), "Night"),
        ({"AcquisitionDateTime": "20260901180000"}, datetime(2026, 9, 1, 7, 14, 1, 250_000, UTC), "Night"),
        # An enhanced image has the date-time alone (PS3.3 C.8.15.2).
        (date_time_alone("20260901065959.123456"), datetime(2026, 9, 1, 10, 59, 59, 123_456, UTC), "Night"),
        (date_time_alone("202609011500"), datetime(2026, 9, 1, 19, 0, tzinfo=UTC), "Evening"),
        (date_time_alone("20260901150000-0500"), datetime(2026, 9, 1, 20, 0, tzinfo=UTC), "Evening"),
        (
            date_time_alone("20260901150000") | {"TimezoneOffsetFromUTC": "+0200"},
            datetime(2026, 9, 1, 13, 0, tzinfo=UTC),
            "Day",
        ),
        (date_time_alone("20260901150"), datetime(2026, 9, 1, 7, 10, tzinfo=UTC), "Night"),
        (date_time_alone("20260901"), datetime(2026, 9, 1, 7, 10, tzinfo=UTC), "Night"),
        (date_time_alone("soon"), datetime(2026, 9, 1, 7, 10, tzinfo=UTC), "Night"),
    ],
)
def test_the_acquisition_instant_and_its_shift_follow_offset_and_site(
    tmp_path: Path, changes: dict[str, object], acquired_at: datetime, shift: str
) -> None:
    closed = admit(new_home(tmp_path / "home"), one_slice_study(**changes)).closed
    assert (closed.acquired_at, closed.shift) == (acquired_at, shift)


@pytest.mark.parametrize(
    "image_type",
    [
        ("DERIVED", "SECONDARY", "MPR", "CSA MPR"),
        ("DERIVED", "PRIMARY", "AXIAL"),
        ("ORIGINAL", "PRIMARY", "REFORMATTED", "AVERAGE"),
        ("ORIGINAL", "SECONDARY", "AXIAL"),
        ("ORIGINAL", "PRIMARY", "LOCALIZER"),
    ],
)
def test_the_scanner_is_that_of_the_acquired_images_though_a_workstation_made_more(
    tmp_path: Path, image_type: tuple[str, ...]
) -> None:
    def reformatted(dataset: Dataset) -> None:
        dataset.StationName, dataset.Manufacturer, dataset.ManufacturerModelName = "AWP45678", "GE", "AW"
        dataset.ConvolutionKernel, dataset.SoftwareVersions = "BONEPLUS", "aws-3.2"

    reformats = [
        as_file(head_slice(series="1", number=one, thickness=1.0, image_type=image_type, change=reformatted))
        for one in range(1, 17)
    ]
    with_reformats, without = (
        admit(new_home(tmp_path / name), files).closed
        for name, files in (("one", [*reformats, *head_study()[1:]]), ("two", head_study()[1:]))
    )
    assert with_reformats.scanner == "riverside-ct-1"
    assert with_reformats == replace(
        without, instance_count=with_reformats.instance_count, manifest_sha256=with_reformats.manifest_sha256
    )
    assert admit(new_home(tmp_path / "three"), reformats).closed.manufacturer == "GE", "where there is nothing else"


def test_a_localizer_says_nothing_of_a_study_that_has_reformats(tmp_path: Path) -> None:
    localizers = [
        as_file(head_slice(series="1", number=one, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"), change=at_80_kv))
        for one in (1, 2)
    ]
    reformat = as_file(head_slice(series="7", image_type=("DERIVED", "PRIMARY", "AXIAL")))
    assert admit(new_home(tmp_path / "one"), [*localizers, reformat]).closed.kvp == 120.0
    assert admit(new_home(tmp_path / "two"), localizers).closed.kvp == 80.0


def thin_bone(dataset: Dataset) -> None:
    dataset.ConvolutionKernel, dataset.KVP = ["Hr60f", "3"], "100"


def thin_bone_series(patient: str = "MRN84736251", thickness: float = 1.0) -> list[bytes]:
    def change(dataset: Dataset) -> None:
        thin_bone(dataset)
        dataset.PatientID = patient

    return [as_file(head_slice(series="7", number=one, thickness=thickness, change=change)) for one in range(1, 21)]


def test_kernel_kvp_and_thickness_are_those_of_the_series_that_the_protocol_chooses(tmp_path: Path) -> None:
    closed = admit(new_home(tmp_path / "home"), [*thin_bone_series(), *head_study()]).closed
    assert (closed.convolution_kernel, closed.kvp, closed.slice_thickness_mm) == ("H30s", 120.0, 5.0)


def test_kernel_kvp_and_thickness_are_those_of_the_largest_series_where_none_can_be_chosen(tmp_path: Path) -> None:
    files = [*thin_bone_series(thickness=12.0), *head_study(slices=5)]
    closed = admit(new_home(tmp_path / "home"), files).closed
    assert (closed.convolution_kernel, closed.kvp, closed.slice_thickness_mm) == ("Hr60f\\3", 100.0, 12.0)


def test_another_patients_series_is_never_the_one_that_the_protocol_chooses(tmp_path: Path) -> None:
    files = [*thin_bone_series(), *(as_file(head_slice(series="8", number=one, change=strange)) for one in range(9))]
    closed = admit(new_home(tmp_path / "home"), files).closed
    assert (closed.convolution_kernel, closed.kvp, closed.slice_thickness_mm) == ("Hr60f\\3", 100.0, 1.0)


def strange(dataset: Dataset) -> None:
    dataset.PatientID = "MRN11111111"


def begun_an_hour_before(dataset: Dataset) -> None:
    dataset.StudyTime = "021400"


def test_what_was_not_acquired_does_not_say_when_the_study_was(tmp_path: Path) -> None:
    def dose_report(dataset: Dataset) -> None:
        begun_an_hour_before(dataset)
        dataset.SOPClassUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.88.67", "SR"
        for keyword in ("AcquisitionDate", "AcquisitionTime", "ImageType", "PixelData"):
            del dataset[keyword]

    files = [*head_study(change=begun_an_hour_before), as_file(head_slice(series="501", change=dose_report))]
    closed = admit(new_home(tmp_path / "home"), files).closed
    assert closed.acquired_at == datetime(2026, 9, 1, 7, 14, 1, 250_000, UTC)


def reconstructed(kernel: str, kvp: float, **settings: int) -> Dataset:
    """An Enhanced CT as scanners write it: kVp and kernel in its functional groups."""
    dataset = enhanced_ct(**settings)
    details, reconstruction = Dataset(), Dataset()
    details.KVP, reconstruction.ConvolutionKernel = kvp, kernel
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.CTXRayDetailsSequence, shared.CTReconstructionSequence = [details], [reconstruction]
    del dataset.KVP, dataset.ConvolutionKernel
    return dataset


def test_kernel_kvp_and_thickness_of_a_multi_frame_image_are_in_the_ledger(tmp_path: Path) -> None:
    closed = admit(new_home(tmp_path / "home"), [as_file(reconstructed("Hr40f", 120.0))]).closed
    assert (closed.convolution_kernel, closed.kvp, closed.slice_thickness_mm) == ("Hr40f", 120.0, 5.0)


@pytest.mark.parametrize(("kernel", "kvp"), [("MRN84736251", 120.0), ("Hr40f", 84736251.0), ("Planted", float("nan"))])
def test_an_identifier_among_the_attributes_of_a_frame_is_not_in_the_ledger(
    tmp_path: Path, kernel: str, kvp: float
) -> None:
    closed = admit(new_home(tmp_path / "home"), [as_file(reconstructed(kernel, kvp))]).closed
    assert closed.convolution_kernel == (kernel if kernel == "Hr40f" else None)
    assert closed.kvp == (kvp if kvp == 120.0 else None)


def test_a_multi_frame_series_is_as_large_as_it_has_frames(tmp_path: Path) -> None:
    monitoring = [
        as_file(head_slice(series="7", number=one, position=40.0, thickness=10.0, change=of_a_monitor))
        for one in range(3)
    ]
    closed = admit(new_home(tmp_path / "home"), [*monitoring, as_file(reconstructed("Hr40f", 120.0))]).closed
    assert (closed.kvp, closed.slice_thickness_mm) == (120.0, 5.0)
    assert closed.software_versions != "MONITOR"


def at_80_kv(dataset: Dataset) -> None:
    dataset.KVP = "80"


def of_a_monitor(dataset: Dataset) -> None:
    at_80_kv(dataset)
    dataset.SoftwareVersions = "MONITOR"


@pytest.mark.parametrize("wrong", ["20190101", "20270101"])
def test_one_image_with_a_wrong_date_does_not_say_when_the_study_was(tmp_path: Path, wrong: str) -> None:
    def misdated(dataset: Dataset) -> None:
        dataset.AcquisitionDate = wrong

    files = [*head_study(), as_file(head_slice(change=misdated))]
    closed = admit(new_home(tmp_path / "home"), files).closed
    assert closed.acquired_at == datetime(2026, 9, 1, 7, 14, 1, 250_000, UTC)


def test_a_scanner_that_the_site_file_does_not_list_is_unlisted(tmp_path: Path) -> None:
    assert admit(new_home(tmp_path / "home"), one_slice_study(StationName="NEW")).closed.scanner == "unlisted"


def test_a_study_from_an_unknown_sender_is_excluded_and_pseudonymous(tmp_path: Path) -> None:
    admission = admit(new_home(tmp_path / "home"), one_slice_study(), calling="STRANGER")
    assert admission.excluded
    assert admission.excluded.reason == "unknown_site"
    assert (admission.closed.site, admission.closed.patient_key) == ("unknown", None)


def test_a_study_without_an_accession_number_has_no_accession_key(tmp_path: Path) -> None:
    admission = admit(new_home(tmp_path / "home"), one_slice_study(AccessionNumber=""))
    assert admission.eligible
    assert admission.closed.accession_key is None


def test_a_centenarian_is_ninety_in_the_ledger(tmp_path: Path) -> None:
    assert admit(new_home(tmp_path / "home"), one_slice_study(PatientAge="103Y")).closed.patient_age_years == 90


def test_one_unreadable_instance_does_not_spoil_its_neighbours(door: Door) -> None:
    files = head_study()
    manifest = door.arrive([files[0], b"not DICOM at all", *files[2:]])
    door.drain()
    assert door.states() == {manifest.study_key: "eligible"}
    (entry,) = door.bodies(Kind.AUDIT)
    assert (entry["action"], entry["detail"]) == ("instance_unreadable", "not_dicom")
    assert len(list(copies_folder(door.home.studies, manifest.study_key, 1).iterdir())) == 8


def test_a_study_with_no_readable_instance_is_excluded_for_that(door: Door) -> None:
    manifest = door.arrive([b"junk", b"more junk"])
    door.drain()
    assert door.states() == {manifest.study_key: "no_readable_instance"}


def test_an_instance_that_changed_or_vanished_in_the_spool_is_a_finding(door: Door) -> None:
    manifest = door.arrive(head_study())
    folder = manifest_path(door.home.spool, manifest.study_key, 1).parent
    (folder / "1.dcm").unlink()
    (folder / "2.dcm").write_bytes((folder / "3.dcm").read_bytes())
    door.drain()
    assert sorted(str(one["detail"]) for one in door.bodies(Kind.AUDIT)) == ["changed_in_spool", "missing_in_spool"]
    assert door.states() == {manifest.study_key: "eligible"}


def test_captures_and_images_with_burned_in_text_are_not_copied(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    files = head_study()
    files += [
        as_file(head_slice(series="7", image_type=("DERIVED", "SECONDARY"))),
        as_file(head_slice(series="8", change=lambda one: setattr(one, "BurnedInAnnotation", "YES"))),
        as_file(head_slice(series="9", change=lambda one: setattr(one, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.7"))),
    ]
    admission = admit(home, files)
    assert len(list(copies_folder(home.studies, admission.closed.study_key, 1).iterdir())) == 9


def test_a_structured_report_goes_to_the_report_side_unread(door: Door) -> None:
    """It comes behind its study; images never go there, and a crash in between passes it on once more."""
    content = document(lambda one: setattr(one, "StudyInstanceUID", f"{ROOT}.1"))
    manifest = door.arrive(head_study())
    door.drain()
    for _ in range(2):
        door.arrive([*head_study(), content], revision=2)
        door.drain()
    (passed,) = (door.home.report_files / "incoming" / "riverside").iterdir()
    assert passed.suffix == ".dcm" and passed.name.startswith(manifest.study_key)
    assert passed.read_bytes() == content
    assert door.states() == {manifest.study_key: "eligible"}


def test_only_the_first_revision_goes_to_the_models(door: Door) -> None:
    first = door.arrive(head_study(slices=6))
    second = door.arrive(head_study(slices=8), revision=2)
    assert door.drain() == 2
    assert model_queue(door.home, "tiny").ready() == [f"{first.study_key}.r1"]
    assert second.study_key == first.study_key
    assert not copies_folder(door.home.studies, first.study_key, 2).exists()
    assert [one["revision"] for one in door.bodies(Kind.STUDY)] == [1, 2]


def test_admitting_again_after_a_crash_records_nothing_new_and_restores_the_copies(door: Door) -> None:
    manifest = door.arrive(head_study())
    door.drain()
    head = door.ledger.head()
    folder = copies_folder(door.home.studies, manifest.study_key, 1)
    payload = model_queue(door.home, "tiny").read(f"{manifest.study_key}.r1")
    next(folder.iterdir()).write_bytes(b"torn")
    (folder / "stranger.dcm").write_bytes(b"")
    door.queue.put(f"{manifest.study_key}.r1")
    assert door.drain() == 1
    assert door.ledger.head() == head
    assert model_queue(door.home, "tiny").read(f"{manifest.study_key}.r1") == payload
    assert len(read_copies(folder, read_ready_study(payload).copies_sha256)) == 9


def test_what_is_recorded_stands_when_a_site_file_changed_in_between(door: Door) -> None:
    manifest = door.arrive(head_study())
    other = door.arrive(head_study("2"), study="2")
    door.drain(sites=(riverside(),))
    door.queue.put(f"{manifest.study_key}.r1")
    third = door.arrive(head_study("3"), study="3")
    renamed = replace(riverside(), identifier="renamed")
    assert door.drain(sites=(renamed,)) == 2
    assert [one["site"] for one in door.bodies(Kind.STUDY)] == ["riverside", "riverside", "renamed"]
    (entry,) = door.bodies(Kind.AUDIT)
    assert entry["action"] == "admission_conflict"
    keys = {f"{one.study_key}.r1" for one in (manifest, other, third)}
    assert set(model_queue(door.home, "tiny").ready()) == keys


class Unfortunate(Pseudonymiser):
    """Fails on one patient as no one foresaw."""

    def patient_key(self, issuer: str, patient_id: str) -> str:
        if patient_id == "POISON":
            raise ZeroDivisionError
        return super().patient_key(issuer, patient_id)


def test_a_study_that_fails_three_times_is_excluded_and_its_neighbours_are_not(door: Door) -> None:
    unfortunate = Unfortunate(b"a secret of thirty-two bytes, ok")
    poison = door.arrive([as_file(head_slice(study="2", change=lambda one: setattr(one, "PatientID", "POISON")))], "2")
    good = door.arrive(head_study())
    assert door.drain(unfortunate) == 2
    assert door.states() == {good.study_key: "eligible", poison.study_key: "admission_failed:ZeroDivisionError"}
    assert door.queue.ready() == []


def test_a_study_that_killed_its_process_three_times_is_excluded(door: Door) -> None:
    killer, neighbour = door.arrive(head_study()), door.arrive(head_study("2"), study="2")
    name = f"{killer.study_key}.r1"
    for in_flight in (f"{name}\n{neighbour.study_key}.r1", name, name):
        assert door.states() == {}
        (door.home.queues / ".in-flight-admission").write_text(in_flight)
        door.drain(stop=lambda: True)
    assert door.states() == {killer.study_key: "admission_failed:process_died"}
    assert door.drain() == 1
    assert door.states()[neighbour.study_key] == "eligible"


def test_a_disk_fault_leaves_the_lane_and_the_study_stays_in_the_queue(door: Door) -> None:
    manifest = door.arrive(head_study())
    obstacle = door.home.studies / manifest.study_key
    obstacle.write_text("a file where a folder must be")
    for _ in range(5):
        with pytest.raises(OSError, match=r"director|exists"):
            door.drain()
    assert door.ledger.count(Kind.STUDY) == 0
    obstacle.unlink()
    assert door.drain() == 1
    assert door.states() == {manifest.study_key: "eligible"}


def test_a_wrong_site_file_stops_the_lane_instead_of_excluding_patients(door: Door) -> None:
    door.arrive(head_study())
    site = riverside()
    object.__setattr__(site, "accession_rule", "guess/0")  # reading the file refuses it; what got past that must too
    with pytest.raises(ConfigurationError):
        door.drain(sites=(site,))
    assert door.ledger.count(Kind.STUDY) == 0
    assert len(door.queue.ready()) == 1


def test_a_queue_entry_without_a_readable_manifest_is_on_record_and_does_not_block(door: Door) -> None:
    door.queue.put("SNOWHERE.r1")
    damaged, good = door.arrive(head_study()), door.arrive(head_study("2"), study="2")
    manifest_path(door.home.spool, damaged.study_key, 1).write_bytes(b"{}")
    assert door.drain() == 3
    assert {str(one["detail"]) for one in door.bodies(Kind.AUDIT)} == {"manifest_missing", "manifest_damaged"}
    assert door.states() == {good.study_key: "eligible"}


def test_a_lane_is_held_by_one_process_at_a_time(door: Door) -> None:
    with door.queue.lane(), pytest.raises(LaneBusy):
        door.drain()


def test_the_lane_leaves_when_nothing_comes(door: Door) -> None:
    assert door.drain(linger_seconds=0.2, stop=lambda: False) == 0


def test_no_file_of_the_pydicom_collection_stops_admission(door: Door) -> None:
    folder = Path(str(get_testdata_file("MR_small.dcm"))).parent
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size < 300_000)
    studies: dict[str, list[bytes]] = {}
    for number, path in enumerate(paths):
        try:
            study_instance_uid = uids_of_file(path)[1]
        except UnreadableInstance:
            study_instance_uid = ""
        studies.setdefault(study_instance_uid or f"{ROOT}.{number}", []).append(path.read_bytes())
    for study_instance_uid, files in studies.items():
        door.arrive(files, study_instance_uid=study_instance_uid)
    assert door.drain(budget_seconds=60.0) == len(studies) > 50
    assert len(door.states()) == len(studies)
    assert not [reason for reason in door.states().values() if reason.startswith("admission_failed")]


def test_a_study_is_the_same_whatever_the_order_of_its_instances(tmp_path: Path) -> None:
    files = head_study()
    one = admit(new_home(tmp_path / "one"), files)
    two = admit(new_home(tmp_path / "two"), files[::-1])
    assert replace(one.closed, manifest_sha256="") == replace(two.closed, manifest_sha256="")
    assert one.ready == two.ready
