"""Head CT studies as real DICOM files, a spool around them, and a tiny ONNX model, for the index test's tests."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from onnx import TensorProto, helper
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from shadow.domain.errors import UnreadableInstance
from shadow.domain.home import Home
from shadow.domain.identifiers import Pseudonymiser
from shadow.index_test.instance import read_instance
from shadow.index_test.model import ModelContract, read_model_contract
from shadow.index_test.spooled_instance import SpooledInstance
from shadow.index_test.study_manifest import StudyManifest, digest_of, manifest_path, write_manifest
from shadow.protocol.monitoring import FamilyWeights, Monitoring
from shadow.protocol.site import Scanner, Shift, Site
from shadow.protocol.trial import (
    Criterion,
    Eligibility,
    Measure,
    ModelUnderTrial,
    ReferenceRule,
    Role,
    Scope,
    SeriesChoice,
    TrialProtocol,
    UnmentionedPolicy,
)

PSEUDONYMISER = Pseudonymiser(b"a secret of thirty-two bytes, ok")
RULES = SeriesChoice(minimum_slices=6, slice_thickness_mm_maximum=10.0, preferred_slice_thickness_mm=5.0)
ROOT = "1.2.826.0.1.3680043.10.999"
MACHINE_CLOSED_AT = datetime(2026, 11, 20, 12, 0, 1, 5, tzinfo=UTC)


def riverside() -> Site:
    return Site(
        identifier="riverside",
        name="Riverside",
        time_zone=ZoneInfo("America/New_York"),
        accession_issuer="RIVERSIDE",
        accession_rule="trim-upper-strip-zeros/1",
        calling_ae_titles=("RIVERSIDE_RTR",),
        sending_facilities=("RIVERSIDE",),
        default_character_set="latin-1",
        shifts=(Shift("Day", time(7)), Shift("Evening", time(15)), Shift("Night", time(23))),
        scanners=(Scanner("riverside-ct-1", "CT-1", "RVCT1"), Scanner("riverside-ct-2", "CT-2", "RVCT2")),
    )


def protocol(*models: str) -> TrialProtocol:
    named = models or ("tiny",)
    return TrialProtocol(
        identifier="head-ct",
        version="1",
        title="A trial in a test",
        target_condition="intracranial_haemorrhage",
        target_condition_plural="bleeds",
        sites=("riverside",),
        index_window_start=datetime(2026, 8, 24, tzinfo=UTC),
        index_window_end=datetime(2026, 11, 23, tzinfo=UTC),
        planned_positives=10,
        minimum_positives_shown=5,
        models=tuple(
            ModelUnderTrial(name, Role.CHALLENGER if number else Role.CHAMPION, "model.toml", "0" * 64)
            for number, name in enumerate(named)
        ),
        eligibility=Eligibility("CT", ("HEAD", "BRAIN"), ("CTA", "ANGIO"), 18),
        series=RULES,
        reference=ReferenceRule("rule/1", UnmentionedPolicy.ABSENT, True),
        criteria=(Criterion("all", Measure.SENSITIVITY, Scope.ALL, 0.8, 0.95),),
        monitoring=Monitoring(0.8, 0.05, 13, 52, 14, 0.98, 28, FamilyWeights(0.1, 0.1, 0.15, 0.15, 0.25, 0.25)),
    )


def head_slice(
    *,
    study: str = "1",
    series: str = "2",
    number: int = 1,
    image_type: Sequence[str] = ("ORIGINAL", "PRIMARY", "AXIAL"),
    thickness: float = 5.0,
    position: float | None = None,
    pixels: np.ndarray | None = None,
    matrix: int = 32,
    change: Callable[[Dataset], None] = lambda _: None,
) -> Dataset:
    """One CT image of a fully described study; `change` has the last word."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = list(image_type)
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = f"{ROOT}.{study}.{series}.{number}"
    dataset.StudyDate = dataset.AcquisitionDate = "20260901"
    dataset.StudyTime, dataset.AcquisitionTime = "031000", f"0314{number % 60:02d}.250"
    dataset.AccessionNumber = "R00001234"
    dataset.Modality = "CT"
    dataset.Manufacturer, dataset.ManufacturerModelName = "SIEMENS", "Somatom"
    dataset.ReferringPhysicianName = "Physician^Planted"
    dataset.StationName, dataset.DeviceSerialNumber = "RVCT1", "SN-77"
    dataset.StudyDescription = "CT HEAD WITHOUT CONTRAST"
    dataset.PatientName, dataset.PatientID = "Müller^Planted", "MRN84736251"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientAge = "19520314", "F", "074Y"
    dataset.SliceThickness, dataset.KVP, dataset.ConvolutionKernel = f"{thickness:g}", "120", "H30s"
    dataset.SoftwareVersions = ["VA48A", "SP2"]
    dataset.StudyInstanceUID = f"{ROOT}.{study}"
    dataset.SeriesInstanceUID = f"{ROOT}.{study}.{series}"
    dataset.SeriesNumber, dataset.InstanceNumber = series, str(number)
    z = number * thickness if position is None else position
    dataset.ImagePositionPatient = ["-10", "-10", f"{z:g}"]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.FrameOfReferenceUID = f"{ROOT}.{study}.9"
    stored = np.full((matrix, matrix), 1024, np.uint16) if pixels is None else pixels.astype(np.uint16)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.PixelSpacing = ["1.5", "1.5"]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "-1024", "1", "HU"
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"
    change(dataset)
    return dataset


def as_file(dataset: Dataset) -> bytes:
    """The data set as a PS3.10 file."""
    written = io.BytesIO()
    dataset.save_as(written, enforce_file_format=True)
    return written.getvalue()


def head_study(study: str = "1", slices: int = 8, **settings: object) -> list[bytes]:
    """A localizer and one axial series as files."""
    localizer = head_slice(study=study, series="1", number=1, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    axial = [head_slice(study=study, number=number, **settings) for number in range(1, slices + 1)]  # type: ignore[arg-type]
    return [as_file(one) for one in (localizer, *axial)]


def sop_instance_uid_of(file: bytes) -> str:
    """The UID under which the file came; empty where it cannot be read."""
    try:
        return read_instance(file).text("SOPInstanceUID")
    except UnreadableInstance:
        return ""


def spool_study(
    home: Home,
    files: Sequence[bytes],
    *,
    study: str = "1",
    revision: int = 1,
    calling: str = "RIVERSIDE_RTR",
    study_instance_uid: str = "",
) -> StudyManifest:
    """Put files and their manifest into the spool, as the mirror leaves them."""
    study_key = PSEUDONYMISER.study_key(study_instance_uid or f"{ROOT}.{study}")
    path = manifest_path(home.spool, study_key, revision)
    path.parent.mkdir(parents=True, exist_ok=True)
    instances = []
    for number, content in enumerate(files):
        name = f"{number}.dcm"
        (path.parent / name).write_bytes(content)
        uid = sop_instance_uid_of(content) or f"{ROOT}.{study}.{number}"
        instances.append(SpooledInstance(name, uid, hashlib.sha256(content).hexdigest()))
    manifest = StudyManifest(
        study_key=study_key,
        revision=revision,
        supersedes=revision - 1 or None,
        calling_ae_title=calling,
        first_received_at=datetime(2026, 9, 1, 7, 20, tzinfo=UTC),
        closed_at=datetime(2026, 9, 1, 7, 30, tzinfo=UTC),
        machine_closed_at=MACHINE_CLOSED_AT,
        instances=tuple(instances),
        manifest_sha256=digest_of(instances),
    )
    write_manifest(path, manifest)
    return manifest


def new_home(root: Path) -> Home:
    home = Home(root)
    for folder in (home.spool, home.studies, home.queues):
        folder.mkdir(parents=True)
    return home


CONTRACT = """
[model]
identifier = "tiny"
version = "1"
title = "Brightest pixel"
intended_use = "A test."
file = "model.onnx"
sha256 = "{sha256}"
target_condition = "intracranial_haemorrhage"
demonstration = true
[input]
name = "hu"
kind = "axial_slices"
rows = 16
columns = 16
pixel_spacing_mm = 3.0
outside_hu = -1024.0
[output]
score = "prob"
study_score = "maximum"
[decision]
threshold = 0.5
"""


def tiny_model(folder: Path, identifier: str = "tiny", rows: int | str = 16) -> ModelContract:
    """A real ONNX file: the brightest pixel of a slice in units of 100 HU; and its contract."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["hu"], ["brightest"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["brightest", "unit"], ["prob"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("hu", TensorProto.FLOAT, ["n", 1, rows, 16])],
        [helper.make_tensor_value_info("prob", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor("unit", TensorProto.FLOAT, [], [0.01])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    content = model.SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    text = CONTRACT.format(sha256=hashlib.sha256(content).hexdigest()).replace('"tiny"', f'"{identifier}"')
    (folder / "model.toml").write_text(text)
    return read_model_contract(folder / "model.toml")


@dataclass
class Calls:
    """Counts what a stop function is asked, and says stop after so many times."""

    limit: int
    asked: int = field(default=0)

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked > self.limit
