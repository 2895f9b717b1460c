"""Radiographs and mammograms to a model's grid: as a reader sees them, with air dark and laterality settled.

Grey values are `presentation`'s, laterality is `orientation`'s: high means dense tissue in every image, and breasts
lie with the chest wall at the left, whichever side they are of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shadow.domain.errors import NotEvaluable
from shadow.index_test.frames import Frame, frames_of
from shadow.index_test.instance import Instance
from shadow.index_test.orientation import hung_mammogram, hung_radiograph
from shadow.index_test.pixels import Floats, modality_values
from shadow.index_test.presentation import between_0_and_1, presented
from shadow.index_test.series import SeriesVerdict, Verdict
from shadow.index_test.sop_classes import FOR_PROCESSING, MAMMOGRAMS, RADIOGRAPHS
from shadow.index_test.volume import Volume, resample_slices

MAXIMUM_IMAGES = 64
MOST_OBLONG = 100
"""A pixel may be so many times as long as wide; beyond, the numbers are no size."""


@dataclass(frozen=True, slots=True)
class Projections:
    """The images of a study as one input.

    Attributes:
        images: float32 (images, rows, columns), within 0 and 1.
        verdicts: every series'.
        findings: stable codes: `no_window`, `presentation_contradicts`, `orientation_by_content`, `laterality_unknown`,
            `reoriented`, `images_left_out`.
    """

    images: Floats
    verdicts: tuple[SeriesVerdict, ...]
    findings: tuple[str, ...]


def choose_projections(
    instances: Sequence[Instance], rows: int, columns: int, *, breasts: bool, minimum_images: int
) -> Projections:
    """Every image for presentation of the wanted kind, in the order of their numbers, on the model's grid.

    Args:
        instances: of one study.
        rows: of the grid.
        columns: of the grid; images keep their proportions, and what they do not fill is 0.
        breasts: mammograms instead of radiographs.
        minimum_images: fewer are not evaluable.

    Raises:
        NotEvaluable: `no_series_qualifies`, or what the pixels say.
    """
    by_series: dict[str, list[Frame]] = {}
    for frame in frames_of(instances):
        by_series.setdefault(frame.text("SeriesInstanceUID"), []).append(frame)
    classes = MAMMOGRAMS if breasts else RADIOGRAPHS
    chosen: list[Frame] = []
    verdicts = []
    for key in sorted(by_series):
        refusals = [_refusal(frame, classes) for frame in by_series[key]]
        passed = [frame for frame, refusal in zip(by_series[key], refusals, strict=True) if refusal is None]
        counted = Counter(refusal for refusal in refusals if refusal is not None)
        verdict = Verdict.CHOSEN if passed else min(counted, key=lambda one: (-counted[one], one.value))
        number = int(by_series[key][0].number("SeriesNumber") or 0)
        verdicts.append(SeriesVerdict(key, number, len(passed), None, verdict))
        chosen += passed
    if len(chosen) < max(minimum_images, 1):
        said = Counter(one.verdict.value for one in verdicts)
        raise NotEvaluable("no_series_qualifies", " ".join(f"{one}={said[one]}" for one in sorted(said)))
    chosen.sort(key=lambda one: (one.number("SeriesNumber") or 0, one.number("InstanceNumber") or 0, _name(one)))
    findings = ["images_left_out"] if len(chosen) > MAXIMUM_IMAGES else []
    images = [_image(frame, rows, columns, findings, breasts=breasts) for frame in chosen[:MAXIMUM_IMAGES]]
    return Projections(np.stack(images), tuple(verdicts), tuple(dict.fromkeys(findings)))


def _name(frame: Frame) -> str:
    return f"{frame.text('SOPInstanceUID')} {frame.index:06d}"


def _refusal(frame: Frame, classes: frozenset[str]) -> Verdict | None:
    if frame.text("SOPClassUID") not in classes:
        return Verdict.WRONG_SOP_CLASS
    if frame.text("BurnedInAnnotation").upper() == "YES":
        return Verdict.BURNED_IN
    for_processing = frame.text("PresentationIntentType").upper() == "FOR PROCESSING"
    if for_processing or frame.text("SOPClassUID") in FOR_PROCESSING:
        return Verdict.FOR_PROCESSING
    # DERIVED is usual here: a radiograph for presentation is derived from the one for processing.
    if "SECONDARY" in (one.upper() for one in frame.texts("ImageType")[1:2]):
        return Verdict.DERIVED
    return None


def _image(frame: Frame, rows: int, columns: int, findings: list[str], *, breasts: bool) -> Floats:
    """One image within 0 and 1, as readers hang it, dense tissue high."""
    shown = presented(frame, modality_values(frame), findings)
    hang = hung_mammogram if breasts else hung_radiograph
    shown, (row_mm, column_mm) = hang(frame, shown, _proportions(frame), findings)
    height, width = shown.shape
    spacing = max(height * row_mm / rows, width * column_mm / columns)
    volume = Volume(np.ascontiguousarray(shown)[None], (row_mm, column_mm), (0.0,), (), 0.0)
    shown = resample_slices(volume, rows, columns, spacing, 0.0)[0]
    return between_0_and_1(shown)


def _proportions(frame: Frame) -> tuple[float, float]:
    """Height and width of a pixel, in any unit; square where nothing is said."""
    for keyword in ("ImagerPixelSpacing", "PixelSpacing", "PixelAspectRatio"):
        values = frame.numbers(keyword)
        if len(values) == 2 and min(values) > 0 and max(values) <= MOST_OBLONG * min(values):
            return values[0], values[1]
    return 1.0, 1.0
