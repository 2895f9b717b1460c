"""One hostile image among good ones: it is counted, and its study is judged and answered as if it were not there."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from head_ct import (
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
from test_hostile_files import altered, element
from test_infer import Trial, bright, trial  # noqa: F401 (a fixture)

from shadow.index_test.admission import Admission, admit_study
from shadow.index_test.study_manifest import manifest_path


def admit(root: Path, files: list[bytes]) -> Admission:
    home = new_home(root)
    manifest = spool_study(home, files)
    return admit_study(
        manifest, manifest_path(home.spool, manifest.study_key, 1).parent, sites=(riverside(),), protocol=protocol(),
        pseudonymiser=PSEUDONYMISER, studies_folder=home.studies,
    )  # fmt: skip


def number_of_frames(file: bytes) -> bytes:
    return altered(file, element(0x00280008, b"FD", struct.pack("<d", float("inf"))))


def kvp_and_thickness(file: bytes) -> bytes:
    return altered(file, element(0x00180060, b"DS", b"1e400 "), element(0x00180050, b"DS", b"NaN "))


def date_of_no_device(file: bytes) -> bytes:
    return altered(file, element(0x00080022, b"DA", b"00010101"), element(0x00080020, b"DA", b"00010101"))


def date_of_years_ago(file: bytes) -> bytes:
    return altered(file, element(0x00080022, b"DA", b"20040826"), element(0x00080020, b"DA", b"20040826"))


def another_description(file: bytes) -> bytes:
    return altered(file, element(0x00081030, b"LO", b"CT CHEST"))


@pytest.mark.parametrize("written", [b"00010101", b"99991231"])
def test_a_study_whose_device_has_no_date_was_acquired_on_its_study_date(tmp_path: Path, written: bytes) -> None:
    files = [altered(one, element(0x00080022, b"DA", written)) for one in head_study()]
    admission = admit(tmp_path, files)
    assert admission.excluded is None
    assert admission.closed.acquired_at is not None
    assert admission.closed.acquired_at.date().isoformat() == "2026-09-01"


@pytest.mark.parametrize(
    "damage", [number_of_frames, kvp_and_thickness, date_of_no_device, date_of_years_ago, another_description]
)
def test_one_absurd_image_does_not_take_its_study_along(
    trial: Trial,  # noqa: F811
    damage: Callable[[bytes], bytes],
) -> None:
    stray = damage(as_file(head_slice(series="10", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))))
    manifest = spool_study(trial.home, [*head_study(pixels=bright(40))[1:], stray])
    trial.admissions.put(f"{manifest.study_key}.r1")
    assert trial.drain_admissions() == 1
    trial.drain()
    assert trial.results() == {manifest.study_key: pytest.approx(0.4)}


def test_a_study_of_absurd_numbers_does_not_stop_the_lane(trial: Trial) -> None:  # noqa: F811
    manifest = spool_study(trial.home, [kvp_and_thickness(one) for one in head_study()])
    trial.admissions.put(f"{manifest.study_key}.r1")
    (good,) = trial.admit("2")
    trial.drain()
    assert trial.results() == {manifest.study_key: "no_series_qualifies", good: 0.0}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda one: altered(one, element(0x00080018, b"UI", b"1.2.840.10008.1.2.1\0")), "no_sop_instance_uid"),
        (lambda one: one + element(0x00080018, b"UI", f"{ROOT}.1.2.3\0".encode()), None),  # behind the pixels
        (lambda one: with_second(one, 0x00080018, f"{ROOT}.1.2.3"), "several_sop_instance_uids"),
        (lambda one: with_second(one, 0x0020000D, "1.2.3.4.5"), "several_study_instance_uids"),
    ],
)  # fmt: skip
def test_an_instance_of_doubtful_identity_is_counted_and_harms_no_neighbour(
    tmp_path: Path, change: Callable[[bytes], bytes], reason: str | None
) -> None:
    good = head_study()
    stray = as_file(head_slice(series="5"))
    home = new_home(tmp_path)
    manifest = spool_study(home, [*good, stray])
    folder = manifest_path(home.spool, manifest.study_key, 1).parent
    arrived = manifest.instances[-1]
    (folder / arrived.file).write_bytes(change(stray))
    digest = hashlib.sha256(change(stray)).hexdigest()
    uid = "1.2.840.10008.1.2.1" if reason == "no_sop_instance_uid" else arrived.sop_instance_uid
    manifest = replace(
        manifest, instances=(*manifest.instances[:-1], replace(arrived, digest=digest, sop_instance_uid=uid))
    )
    admission = admit_study(
        manifest, folder, sites=(riverside(),), protocol=protocol(), pseudonymiser=PSEUDONYMISER,
        studies_folder=home.studies,
    )  # fmt: skip
    assert admission.eligible
    assert [one.detail for one in admission.unreadable] == ([reason] if reason else [])
    assert len(list(home.studies.rglob("*.dcm"))) == len(good) + (reason is None)


def with_second(file: bytes, tag: int, uid: str) -> bytes:
    """The file with a UID a second time, out of order, before the pixels."""
    at = file.rindex(b"\xe0\x7f\x10\x00OW")
    return file[:at] + element(tag, b"UI", uid.encode() + b"\0" * (len(uid) % 2)) + file[at:]


def test_another_patients_images_get_no_copy_and_the_study_is_that_of_its_largest_series(tmp_path: Path) -> None:
    stray = as_file(head_slice(series="1", number=2, change=lambda one: setattr(one, "PatientID", "OTHER")))
    admission = admit(tmp_path, [stray, *head_study()[1:]])
    assert admission.eligible
    assert dict(admission.identities[0][1].values)["PatientID"] == "MRN84736251"
    assert [(one.action, one.detail) for one in admission.unreadable] == [("instances_not_copied", "another_patient=1")]
    assert len(list((tmp_path / "studies").rglob("*.dcm"))) == 8


def test_a_patient_whose_identifier_is_written_in_another_case_is_the_same(tmp_path: Path) -> None:
    written = as_file(head_slice(series="1", number=2, change=lambda one: setattr(one, "PatientID", "mrn84736251")))
    admission = admit(tmp_path, [written, *head_study()[1:]])
    assert admission.unreadable == ()
    assert len(list((tmp_path / "studies").rglob("*.dcm"))) == 9


def test_an_order_that_is_written_in_two_ways_is_one(tmp_path: Path) -> None:
    written = as_file(head_slice(series="5", change=lambda one: setattr(one, "AccessionNumber", "r1234")))
    assert admit(tmp_path, [*head_study(), written]).unreadable == ()


def test_a_study_of_two_orders_says_so(tmp_path: Path) -> None:
    stray = as_file(head_slice(series="5", change=lambda one: setattr(one, "AccessionNumber", "R2")))
    admission = admit(tmp_path, [*head_study(), stray])
    assert admission.closed.accession_key == PSEUDONYMISER.accession_key("RIVERSIDE", "R1234")
    assert [(one.action, one.detail) for one in admission.unreadable] == [
        ("several_accession_numbers", "accession_numbers=2")
    ]
