"""What a scanner does to a head: acquisition physics as plain numbers. Nothing here knows which one is bad."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScannerPhysics:
    """One scanner's physics and the device tags that follow from it.

    Attributes:
        kvp: tube voltage.
        resolution_mm: full width at half maximum of the in-plane point spread.
        edge_enhancement: gain of the kernel's unsharp mask; 0 for a soft kernel.
        noise_hu: standard deviation of noise for a 5 mm slice behind an average head.
        slice_thickness_mm: thickness and increment, contiguous; a multiple of the phantom's 2.5 mm.
        cupping_hu: residual beam hardening under the calvarium; negative where it was over-corrected.
        skull_base_band_hu: depth of the dark band between the petrous ridges.
        ring_hu: amplitude of ring artefacts.
        calibration_gain, calibration_offset_hu: drift of the HU scale: measured = gain * true + offset.
        motion_probability: of a visibly moved examination.
        gantry_tilt_degrees: tilt of the gantry.
        blood_contrast: contrast of blood against brain at this voltage, relative to 120 kV.
    """

    manufacturer: str
    model_name: str
    kernel: str
    kvp: int
    resolution_mm: float
    noise_hu: float
    slice_thickness_mm: float
    edge_enhancement: float = 0.0
    cupping_hu: float = 0.0
    skull_base_band_hu: float = 4.0
    ring_hu: float = 0.0
    calibration_gain: float = 1.0
    calibration_offset_hu: float = 0.0
    motion_probability: float = 0.03
    gantry_tilt_degrees: float = 0.0
    blood_contrast: float = 1.0


DEFINITION = ScannerPhysics(
    manufacturer="SIEMENS",
    model_name="SOMATOM Definition AS+",
    kernel="H31s",
    kvp=120,
    resolution_mm=1.15,
    noise_hu=3.0,
    slice_thickness_mm=5.0,
    cupping_hu=1.0,
)
REVOLUTION = ScannerPhysics(
    manufacturer="GE MEDICAL SYSTEMS",
    model_name="Revolution EVO",
    kernel="SOFT",
    kvp=120,
    resolution_mm=1.30,
    noise_hu=3.4,
    slice_thickness_mm=5.0,
    cupping_hu=1.5,
    skull_base_band_hu=5.0,
    calibration_offset_hu=0.5,
)
HISPEED = ScannerPhysics(
    manufacturer="GE MEDICAL SYSTEMS",
    model_name="HiSpeed Dual",
    kernel="STD+",
    kvp=140,
    resolution_mm=1.40,
    noise_hu=4.4,
    slice_thickness_mm=10.0,
    cupping_hu=-3.0,
    skull_base_band_hu=8.0,
    ring_hu=0.4,
    calibration_gain=0.96,
    calibration_offset_hu=-4.0,
    motion_probability=0.08,
    gantry_tilt_degrees=15.0,
    blood_contrast=0.92,
)
INGENUITY = ScannerPhysics(
    manufacturer="Philips",
    model_name="Ingenuity CT",
    kernel="UB",
    kvp=120,
    resolution_mm=1.0,
    noise_hu=4.6,
    slice_thickness_mm=5.0,
    edge_enhancement=0.35,
    cupping_hu=2.0,
    skull_base_band_hu=6.0,
    ring_hu=0.3,
    calibration_offset_hu=1.0,
    motion_probability=0.05,
)
AQUILION = ScannerPhysics(
    manufacturer="CANON MEDICAL SYSTEMS",
    model_name="Aquilion Prime SP",
    kernel="FC26",
    kvp=120,
    resolution_mm=1.25,
    noise_hu=3.3,
    slice_thickness_mm=5.0,
    cupping_hu=0.5,
    skull_base_band_hu=4.5,
    calibration_offset_hu=-0.5,
)

TRAINED_ON = (DEFINITION, REVOLUTION)
"""The two day scanners whose images the demonstration model is trained on."""
