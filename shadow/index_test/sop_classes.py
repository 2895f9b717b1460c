"""The SOP classes that the index test knows, by what they show (PS3.4 annex B.5)."""

from __future__ import annotations

RADIOGRAPHS = frozenset({
    "1.2.840.10008.5.1.4.1.1.1",  # CR
    "1.2.840.10008.5.1.4.1.1.1.1",  # digital X-ray, for presentation
    "1.2.840.10008.5.1.4.1.1.1.1.1",  # digital X-ray, for processing
})  # fmt: skip
MAMMOGRAMS = frozenset({
    "1.2.840.10008.5.1.4.1.1.1.2",  # for presentation
    "1.2.840.10008.5.1.4.1.1.1.2.1",  # for processing
})  # fmt: skip
FOR_PROCESSING = frozenset({"1.2.840.10008.5.1.4.1.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.2.1"})
"""Of both: what no reader is shown, whatever Presentation Intent Type (0008,0068) says or leaves out."""
CT_SLICES = frozenset({
    "1.2.840.10008.5.1.4.1.1.2",  # single-frame
    "1.2.840.10008.5.1.4.1.1.2.1",  # enhanced
    "1.2.840.10008.5.1.4.1.1.2.2",  # legacy converted enhanced
})  # fmt: skip
MR_SLICES = frozenset({
    "1.2.840.10008.5.1.4.1.1.4",  # single-frame
    "1.2.840.10008.5.1.4.1.1.4.1",  # enhanced
    "1.2.840.10008.5.1.4.1.1.4.4",  # legacy converted enhanced
})  # fmt: skip
TOMOSYNTHESIS = frozenset({"1.2.840.10008.5.1.4.1.1.13.1.3"})
SLIDES = frozenset({"1.2.840.10008.5.1.4.1.1.77.1.6"})
WITHOUT_DETECTOR = frozenset({
    "1.2.840.10008.5.1.4.1.1.7",  # secondary capture
    "1.2.840.10008.5.1.4.1.1.88.11",  # basic text SR
    "1.2.840.10008.5.1.4.1.1.88.22",  # enhanced SR
    "1.2.840.10008.5.1.4.1.1.88.33",  # comprehensive SR
    "1.2.840.10008.5.1.4.1.1.88.67",  # X-ray radiation dose SR
})  # fmt: skip
"""What comes with images and has no pixels of a detector."""

BESIDE_IMAGES = frozenset({
    "1.2.840.10008.5.1.4.1.1.3.1",  # ultrasound, multi-frame
    "1.2.840.10008.5.1.4.1.1.6.1",  # ultrasound
    "1.2.840.10008.5.1.4.1.1.7.1",  # multi-frame secondary capture, single bit
    "1.2.840.10008.5.1.4.1.1.7.2",  # the same, grayscale byte
    "1.2.840.10008.5.1.4.1.1.7.3",  # the same, grayscale word
    "1.2.840.10008.5.1.4.1.1.7.4",  # the same, true colour
    "1.2.840.10008.5.1.4.1.1.11.1",  # grayscale softcopy presentation state
    "1.2.840.10008.5.1.4.1.1.11.2",  # colour
    "1.2.840.10008.5.1.4.1.1.11.3",  # pseudo-colour
    "1.2.840.10008.5.1.4.1.1.11.4",  # blending
    "1.2.840.10008.5.1.4.1.1.12.1",  # X-ray angiography
    "1.2.840.10008.5.1.4.1.1.12.2",  # radiofluoroscopy
    "1.2.840.10008.5.1.4.1.1.20",  # nuclear medicine
    "1.2.840.10008.5.1.4.1.1.66",  # raw data
    "1.2.840.10008.5.1.4.1.1.66.1",  # spatial registration
    "1.2.840.10008.5.1.4.1.1.66.2",  # spatial fiducials
    "1.2.840.10008.5.1.4.1.1.66.3",  # deformable registration
    "1.2.840.10008.5.1.4.1.1.66.4",  # segmentation
    "1.2.840.10008.5.1.4.1.1.66.5",  # surface segmentation
    "1.2.840.10008.5.1.4.1.1.67",  # real world value mapping
    "1.2.840.10008.5.1.4.1.1.88.34",  # comprehensive 3D SR
    "1.2.840.10008.5.1.4.1.1.88.35",  # extensible SR
    "1.2.840.10008.5.1.4.1.1.88.50",  # mammography CAD SR
    "1.2.840.10008.5.1.4.1.1.88.59",  # key object selection
    "1.2.840.10008.5.1.4.1.1.88.65",  # chest CAD SR
    "1.2.840.10008.5.1.4.1.1.88.68",  # radiopharmaceutical dose SR
    "1.2.840.10008.5.1.4.1.1.104.1",  # encapsulated PDF
    "1.2.840.10008.5.1.4.1.1.104.2",  # encapsulated CDA
    "1.2.840.10008.5.1.4.1.1.128",  # PET
    "1.2.840.10008.5.1.4.1.1.130",  # enhanced PET
    "1.2.840.10008.5.1.4.1.1.4.2",  # MR spectroscopy
    "1.2.840.10008.5.1.4.1.1.4.3",  # enhanced MR, colour
    "1.2.840.10008.5.1.4.1.1.481.2",  # RT dose
    "1.2.840.10008.5.1.4.1.1.481.3",  # RT structure set
    "1.2.840.10008.5.1.4.1.1.481.5",  # RT plan
    "1.2.840.10008.5.1.4.1.1.9.1.1",  # twelve-lead ECG
})  # fmt: skip
"""What else a study may hold. No model reads it; a study is fetched whole all the same."""

IMAGE_CLASSES = RADIOGRAPHS | MAMMOGRAMS | CT_SLICES | MR_SLICES | TOMOSYNTHESIS | SLIDES
"""SOP classes whose pixels come from a detector. What a person typed may be burned into any other."""
