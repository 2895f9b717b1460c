"""A planned study as DICOM: CT Image Storage (PS3.3 A.3) with the headers, and the identifiers, of real life."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from shadow.rehearsal.acquisition import acquire
from shadow.rehearsal.phantom import MATRIX, PIXEL_MM, build_head
from shadow.rehearsal.plan import Defect, Ineligible, PlannedStudy

STORED_OFFSET = 1024
FIRST_COLUMN_MM = round(-(MATRIX - 1) / 2 * PIXEL_MM, 3)
DESCRIPTIONS = {
    None: ("CT HEAD WITHOUT CONTRAST", "HEAD"),
    Ineligible.CHILD: ("CT HEAD WITHOUT CONTRAST", "HEAD"),
    Ineligible.ANGIOGRAPHY: ("CTA HEAD AND NECK", "HEAD"),
    Ineligible.CHEST: ("CT CHEST WITH CONTRAST", "CHEST"),
}


def study_instances(study: PlannedStudy) -> list[Dataset]:
    """All instances of a study in the order they are sent: the localizer, then the slices shuffled."""
    slices = _pixels(study)
    instances = [_localizer(study, slices)]
    if study.defect is not Defect.LOCALIZER_ONLY:
        instances += list(_axial(study, slices))
    return instances


def _pixels(study: PlannedStudy) -> NDArray[np.int16]:
    if study.ineligible is Ineligible.CHEST:
        noise = np.random.default_rng(study.pixel_seed).normal(-700, 60, (3, MATRIX, MATRIX))
        return noise.astype(np.int16)
    slices = acquire(study.pixel_seed, build_head(study.pixel_seed, study.patient), study.physics)
    return slices[:3] if study.ineligible is Ineligible.ANGIOGRAPHY else slices


def _common(study: PlannedStudy) -> Dataset:
    """Patient, study and equipment: the same in every instance."""
    local = study.arrival.astimezone(study.site.zone)
    description, body_part = DESCRIPTIONS[study.ineligible]
    identity, physics = study.identity, study.physics
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID = CTImageStorage
    ds.StudyInstanceUID = study.study_instance_uid
    ds.FrameOfReferenceUID = f"{study.study_instance_uid}.9"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = local.strftime("%Y%m%d")
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = local.strftime("%H%M%S")
    if study.site.sends_offset:
        ds.TimezoneOffsetFromUTC = local.strftime("%z")
    ds.AccessionNumber = study.accession_number
    ds.StudyID = study.accession_number[-6:]
    ds.Modality = "CT"
    ds.Manufacturer, ds.ManufacturerModelName = physics.manufacturer, physics.model_name
    ds.StationName, ds.DeviceSerialNumber = study.station.name, study.station.serial_number
    ds.SoftwareVersions = "syngo CT 2012B" if physics.manufacturer == "SIEMENS" else "7.2"
    ds.InstitutionName = study.site.institution
    ds.ReferringPhysicianName = "Hartigan^Moira^^Dr"
    ds.PatientName, ds.PatientID = identity.name, identity.patient_id
    ds.PatientBirthDate, ds.PatientSex = identity.birth_date.strftime("%Y%m%d"), identity.sex
    ds.PatientAge = f"{study.patient.age_years:03d}Y"
    ds.PatientComments = f"Lives with {identity.name.partition('^')[0]} family"
    ds.StudyDescription, ds.BodyPartExamined = description, body_part
    request = Dataset()
    request.RequestedProcedureDescription = description
    request.ScheduledPerformingPhysicianName = "Ostrowski^Leonid"
    request.ScheduledProcedureStepDescription = f"for {identity.name}"
    ds.RequestAttributesSequence = [request]
    operator = Dataset()
    operator.PersonName = "Babineaux^Odile"
    operator.InstitutionName = study.site.institution
    ds.OperatorIdentificationSequence = [operator]
    block = ds.private_block(0x0029, "SIMULATED HOSPITAL", create=True)
    block.add_new(0x01, "LO", f"note on {identity.name}")
    ds.KVP, ds.ConvolutionKernel, ds.SliceThickness = physics.kvp, physics.kernel, physics.slice_thickness_mm
    ds.GantryDetectorTilt, ds.XRayTubeCurrent, ds.ExposureTime = physics.gantry_tilt_degrees, 180, 1000
    ds.PatientPosition = "HFS"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -STORED_OFFSET, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = 40, 80
    ds.BurnedInAnnotation = "NO"
    ds.PixelSpacing = [PIXEL_MM, PIXEL_MM]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    return ds


def _axial(study: PlannedStudy, slices: NDArray[np.int16]) -> Iterator[Dataset]:
    template = _common(study)
    template.SeriesInstanceUID = f"{study.study_instance_uid}.2"
    template.SeriesNumber = 2
    template.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    thickness = study.physics.slice_thickness_mm
    template.SeriesDescription = f"HEAD {thickness:g}mm {study.physics.kernel}"
    if study.defect is Defect.FOREIGN_RESCALE_TYPE:
        template.RescaleType = "OD"
    order = np.random.default_rng(study.pixel_seed).permutation(len(slices))
    middle = len(slices) // 2
    for number in order:
        if study.defect is Defect.MISSING_SLICES and number in (middle, middle - 1):
            continue
        ds = _instance(template, f"{study.study_instance_uid}.2.{number + 1}", int(number) + 1, slices[number])
        height = float(number) * thickness
        ds.ImagePositionPatient = [FIRST_COLUMN_MM, FIRST_COLUMN_MM, height]
        ds.SliceLocation = height
        second = study.arrival.astimezone(study.site.zone) + timedelta(seconds=float(number))
        ds.ContentTime = second.strftime("%H%M%S")
        if study.defect is Defect.TRUNCATED_PIXEL_DATA and number == middle:
            ds.PixelData = ds.PixelData[: len(ds.PixelData) // 2]
        yield ds


def _localizer(study: PlannedStudy, slices: NDArray[np.int16]) -> Dataset:
    """A lateral scout: each slice's mean along the rows, stretched to a picture."""
    template = _common(study)
    template.SeriesInstanceUID = f"{study.study_instance_uid}.1"
    template.SeriesNumber = 1
    template.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    template.SeriesDescription = "TOPOGRAM"
    template.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    scout = np.repeat(slices.mean(2)[::-1].astype(np.int16), 4, axis=0)
    ds = _instance(template, f"{study.study_instance_uid}.1.1", 1, scout)
    ds.ImagePositionPatient = [0, FIRST_COLUMN_MM, 0]
    return ds


def _instance(template: Dataset, uid: str, number: int, pixels: NDArray[np.int16]) -> Dataset:
    """A shallow copy of the template with what differs: elements are replaced, never changed in place."""
    ds = Dataset()
    ds.update(template)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, UID(uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta = meta
    ds.SOPInstanceUID = UID(uid)
    ds.InstanceNumber = number
    ds.Rows, ds.Columns = pixels.shape
    ds.PixelData = (pixels + STORED_OFFSET).astype("<u2").tobytes()
    return ds
