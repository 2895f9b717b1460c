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

IMAGE_CLASSES = RADIOGRAPHS | MAMMOGRAMS | CT_SLICES | MR_SLICES | TOMOSYNTHESIS | SLIDES
"""SOP classes whose pixels come from a detector. What a person typed may be burned into any other."""
