from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from shadow.rehearsal.acquisition import acquire
from shadow.rehearsal.images import study_instances
from shadow.rehearsal.messages import message_bytes
from shadow.rehearsal.phantom import Bleed, Patient, build_head
from shadow.rehearsal.plan import (
    PHYSICS,
    Defect,
    HospitalPlan,
    Ineligible,
    MessageKind,
    Verdict,
    plan_hospital,
    shift_name,
)
from shadow.rehearsal.scanners import DEFINITION, HISPEED

START = datetime(2026, 8, 24, 4, tzinfo=UTC)
WEEKS = 12


@pytest.fixture(scope="module")
def plan() -> HospitalPlan:
    return plan_hospital(1, 1_700, WEEKS, START)


def test_the_same_seed_is_the_same_hospital_and_another_seed_another(plan: HospitalPlan) -> None:
    assert plan_hospital(1, 1_700, WEEKS, START) == plan
    assert plan_hospital(2, 1_700, WEEKS, START).studies[0].identity != plan.studies[0].identity


def test_studies_arrive_in_order_within_the_calendar_each_with_names_of_its_own(plan: HospitalPlan) -> None:
    arrivals = [study.arrival for study in plan.studies]
    assert arrivals == sorted(arrivals)
    assert arrivals[0] >= START and arrivals[-1] < START + timedelta(weeks=WEEKS)
    for name in ("study_instance_uid", "accession_number", "pixel_seed"):
        assert len({getattr(study, name) for study in plan.studies}) == 1_700


def test_about_one_in_eight_has_a_bleed_and_few_studies_are_ineligible_or_spoilt(plan: HospitalPlan) -> None:
    eligible = [study for study in plan.studies if study.ineligible is None]
    assert 0.09 < np.mean([study.patient.bleed is not None for study in eligible]) < 0.15
    assert 0.02 < 1 - len(eligible) / 1_700 < 0.06
    assert {study.ineligible for study in plan.studies} == {None, *Ineligible}
    assert 5 < sum(study.defect is not None for study in plan.studies) < 45
    assert {study.defect for study in plan.studies} == {None, *Defect}


def test_the_old_scanner_works_at_night(plan: HospitalPlan) -> None:
    counts = Counter(
        (study.station.name, shift_name(study.site, study.arrival))
        for study in plan.studies
        if study.site.identifier == "riverside"
    )
    night = sum(count for (_, shift), count in counts.items() if shift == "Night")
    assert counts["RVCT2", "Night"] / night > 0.75
    assert counts["RVCT2", "Day"] < 0.25 * counts["RVCT1", "Day"] + 60


def test_two_stations_can_swap_their_physics_and_keep_their_names() -> None:
    swapped = plan_hospital(1, 300, WEEKS, START, ("RVCT2", "RVCT1"))
    physics = {study.station.name: study.physics for study in swapped.studies}
    assert physics["RVCT1"] == PHYSICS["RVCT2"] == HISPEED
    assert physics["RVCT2"] == PHYSICS["RVCT1"] == DEFINITION
    assert physics["RVCT3"] == PHYSICS["RVCT3"]


def test_a_report_life_goes_from_preliminary_to_final(plan: HospitalPlan) -> None:
    by_study: dict[int, list[MessageKind]] = {}
    for message in plan.messages:
        if message.study is not None and not message.repeat:
            by_study.setdefault(message.study.number, []).append(message.kind)
    assert all(
        kinds.index(MessageKind.PRELIMINARY) < kinds.index(MessageKind.FINAL)
        for kinds in by_study.values()
        if MessageKind.PRELIMINARY in kinds and MessageKind.FINAL in kinds
    )
    kinds = Counter(message.kind for message in plan.messages)
    assert set(kinds) == set(MessageKind)
    assert 0.005 < len(plan.never_reported) / 1_700 < 0.04
    assert not plan.never_reported & set(by_study)


def test_no_report_leaves_after_the_calendars_end(plan: HospitalPlan) -> None:
    assert max(message.due for message in plan.messages) < plan.end


def test_a_repeated_message_has_the_same_bytes(plan: HospitalPlan) -> None:
    first = {one.control_id: one for one in plan.messages if not one.repeat}
    repeats = [one for one in plan.messages if one.repeat]
    assert repeats
    assert all(message_bytes(one) == message_bytes(first[one.control_id]) for one in repeats)


def test_a_message_says_who_which_order_when_and_how_final(plan: HospitalPlan) -> None:
    message = next(one for one in plan.messages if one.kind is MessageKind.PRELIMINARY)
    assert message.study is not None
    segments = [segment.split("|") for segment in message_bytes(message).decode().split("\r") if segment]
    header, patient, visit, _, results = segments[:5]
    assert (header[3], header[9], header[17]) == (message.site.facility, message.control_id, "UNICODE UTF-8")
    assert patient[3].startswith(message.study.identity.patient_id)
    assert visit[2] == ("I" if message.study.setting == "inpatient" else "E")
    assert results[18] == message.accession_number
    assert results[25] == "P"
    assert datetime.strptime(results[22], "%Y%m%d%H%M%S%z") == message.due.replace(microsecond=0)
    assert all(segment[0] == "OBX" and segment[11] == "P" for segment in segments[5:])


def test_the_radiologist_is_good_and_not_perfect(plan: HospitalPlan) -> None:
    sure = [study for study in plan.studies if study.verdict is not Verdict.UNCERTAIN and not study.ineligible]
    bleeding = [study.verdict is Verdict.PRESENT for study in sure if study.patient.bleed]
    others = [study.verdict is Verdict.ABSENT for study in sure if not study.patient.bleed]
    assert 0.88 < np.mean(bleeding) < 1.0
    assert 0.96 < np.mean(others) < 1.0


def test_a_head_depends_on_its_seed_and_its_bleed_not_on_the_scanner() -> None:
    patient = Patient(70, "F", Bleed.SUBDURAL, 1.0)
    head, same, other = build_head(5, patient), build_head(5, patient), build_head(6, patient)
    assert np.array_equal(head.hounsfield, same.hounsfield)
    assert not np.array_equal(head.hounsfield, other.hounsfield)
    assert 40 < head.hounsfield[head.bleed].mean() < 80
    day, night = acquire(1, head, DEFINITION), acquire(1, head, HISPEED)
    assert (day.shape, night.shape) == ((16, 160, 160), (8, 160, 160))
    brain = head.depth_mm.reshape(16, 2, 160, 160).min(1) > 8
    deeper = head.depth_mm.reshape(8, 4, 160, 160).min(1) > 8
    assert night[deeper].mean() < day[brain].mean() - 2  # the drifted calibration


def test_every_bleed_is_big_enough_to_be_called() -> None:
    for seed in range(6):
        for bleed in Bleed:
            assert build_head(seed, Patient(60, "M", bleed, 0.3)).bleed_ml > 0.1


def test_the_images_carry_device_tags_of_their_physics_and_planted_identifiers(plan: HospitalPlan) -> None:
    study = next(one for one in plan.studies if one.ineligible is None and one.defect is None)
    localizer, *axial = study_instances(study)
    assert "LOCALIZER" in localizer.ImageType
    assert len(axial) == round(80 / study.physics.slice_thickness_mm)
    assert {ds.StationName for ds in axial} == {study.station.name}
    assert {ds.ManufacturerModelName for ds in axial} == {study.physics.model_name}
    assert len({ds.SOPInstanceUID for ds in axial}) == len(axial)
    assert [ds.InstanceNumber for ds in axial] != sorted(ds.InstanceNumber for ds in axial)
    assert axial[0].RequestAttributesSequence[0].ScheduledPerformingPhysicianName == "Ostrowski^Leonid"
    pixels = np.frombuffer(axial[0].PixelData, "<u2")
    assert pixels.max() < 4096


def test_a_defect_spoils_what_it_says(plan: HospitalPlan) -> None:
    by_defect = {one.defect: one for one in plan.studies if one.defect}
    assert len(study_instances(by_defect[Defect.LOCALIZER_ONLY])) == 1
    truncated = study_instances(by_defect[Defect.TRUNCATED_PIXEL_DATA])
    assert len({len(ds.PixelData) for ds in truncated[1:]}) == 2
    foreign = study_instances(by_defect[Defect.FOREIGN_RESCALE_TYPE])
    assert {ds.RescaleType for ds in foreign[1:]} == {"OD"}
    missing = by_defect[Defect.MISSING_SLICES]
    assert len(study_instances(missing)) == round(80 / missing.physics.slice_thickness_mm) - 1
