"""What a reader is shown: the de-identified images of a study as stacks, in display order, with how to window them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shadow.domain.errors import NotEvaluable, UnreadableInstance
from shadow.index_test.copies import SUFFIX, digest_of_copies
from shadow.index_test.frames import Frame, frames_of
from shadow.index_test.instance import Instance, read_instance
from shadow.index_test.pixels import Floats, hounsfield_units, intensities, modality_values
from shadow.index_test.presentation import presented
from shadow.index_test.series import slice_normal

Stack = npt.NDArray[np.int16]
_BRAIN = (40.0, 80.0)
_LOWEST, _HIGHEST = 1.0, 99.0
_WHITE = 4095
_HALF = 1 << 15


class ImagesMissing(Exception):
    """A study's copies are not there, or none of its images can be shown."""


@dataclass(frozen=True, slots=True)
class ShownSeries:
    """One stack.

    Attributes:
        number: Series Number (0020,0011); 0 without one.
        values: int16 (images, rows, columns), little endian: Hounsfield units for CT, what a VOI LUT makes of them, or
            modality values, those of 16 bits without a sign moved down by 32768.
        pixel_spacing_mm: between rows, between columns; 1, 1 where unknown.
        centre, width: the window to begin with. inverted: low values are bright (MONOCHROME1).
        hounsfield: whether windows of CT mean anything.
    """

    number: int
    values: Stack
    pixel_spacing_mm: tuple[float, float]
    centre: float
    width: float
    inverted: bool
    hounsfield: bool


@dataclass(frozen=True, slots=True)
class StudyImages:
    """All stacks of a study; `sha256` of the copies that they were made from; `hidden` images could not be shown."""

    series: tuple[ShownSeries, ...]
    sha256: str
    hidden: int


def read_images(folder: Path) -> StudyImages:
    """The images of a study revision.

    Args:
        folder: of its copies (shadow.index_test.copies.copies_folder).

    Raises:
        ImagesMissing: there is no copy, or no image that can be shown.
    """
    copies = {path.stem: path.read_bytes() for path in sorted(folder.glob(f"*{SUFFIX}"))}
    if not copies:
        raise ImagesMissing("the study's copies are not here; admit it again from the spool")
    instances, hidden = _instances(copies.values())
    stacks: dict[tuple[str, str, str], list[Frame]] = {}
    for frame in frames_of(instances):
        key = (frame.text("SeriesInstanceUID"), str(frame.number("Rows")), str(frame.number("Columns")))
        stacks.setdefault(key, []).append(frame)
    series: list[ShownSeries] = []
    for frames in stacks.values():
        shown, lost = _stack(frames)
        hidden += lost
        if shown is not None:
            series.append(shown)
    if not series:
        raise ImagesMissing("none of the study's images can be shown")
    series.sort(key=lambda one: (-len(one.values), one.number))
    return StudyImages(tuple(series), digest_of_copies(copies), hidden)


def _instances(contents: Iterable[bytes]) -> tuple[list[Instance], int]:
    instances: list[Instance] = []
    hidden = 0
    for content in contents:
        try:
            one = read_instance(content)
        except UnreadableInstance:
            hidden += 1
        else:
            if one.raw("PixelData") is not None:
                instances.append(one)
    return instances, hidden


def _stack(frames: Sequence[Frame]) -> tuple[ShownSeries | None, int]:
    """A series as one stack, and how many of its images cannot be shown."""
    ordered = _in_order(frames)
    first = ordered[0]
    measure = _measure(first)
    kept: list[Floats] = []
    for frame in ordered:
        try:
            kept.append(measure([frame])[0])
        except NotEvaluable:
            continue
    if not kept:
        return None, len(frames)
    values = np.stack(kept)
    hounsfield = measure is hounsfield_units
    tabled = measure is _through_table
    centre, width = (_WHITE / 2, float(_WHITE)) if tabled else _window(first, values, hounsfield=hounsfield)
    if values.max() > np.iinfo(np.int16).max:
        # 16 bits without a sign, moved into what is sent; the window goes along.
        values, centre = values - _HALF, centre - _HALF
    spacing = first.numbers("PixelSpacing")[:2] or first.numbers("ImagerPixelSpacing")[:2]
    row_mm, column_mm = spacing if len(spacing) == 2 and min(spacing) > 0 else (1.0, 1.0)
    return (
        ShownSeries(
            number=int(first.number("SeriesNumber") or 0),
            values=np.clip(np.rint(values), -32768, 32767).astype("<i2"),
            pixel_spacing_mm=(row_mm, column_mm),
            centre=centre,
            width=width,
            inverted=not tabled and first.text("PhotometricInterpretation") == "MONOCHROME1",
            hounsfield=hounsfield,
        ),
        len(frames) - len(kept),
    )


def _measure(frame: Frame) -> Callable[[Sequence[Frame]], Floats]:
    """What the values of a series are: Hounsfield units of CT, what a VOI LUT makes of them, or modality values."""
    if frame.text("Modality") == "CT":
        return hounsfield_units
    return _through_table if frame.items("VOILUTSequence") else intensities


def _through_table(frames: Sequence[Frame]) -> Floats:
    """Images (images, rows, columns) as their VOI LUT shows them, 0 to 4095, whatever the photometric interpretation.

    A reader's window cannot say what a table says.
    """
    return np.stack([presented(frame, modality_values(frame), []) * np.float32(_WHITE) for frame in frames])


def _in_order(frames: Sequence[Frame]) -> list[Frame]:
    """Along the normal of the image plane from below, else by Instance Number."""

    def key(frame: Frame) -> tuple[float, float, int]:
        normal, place = slice_normal(frame), frame.numbers("ImagePositionPatient")
        along = float(np.dot(normal, place)) if normal is not None and len(place) == 3 else 0.0
        return along, frame.number("InstanceNumber") or 0.0, frame.index

    return sorted(frames, key=key)


def _window(frame: Frame, values: Floats, *, hounsfield: bool) -> tuple[float, float]:
    """The image's own window, else the brain's for CT, else what holds nearly all values."""
    centre, width = frame.number("WindowCenter"), frame.number("WindowWidth")
    if centre is not None and width is not None and width > 1:
        return centre, width
    if hounsfield:
        return _BRAIN
    low, high = (float(one) for one in np.percentile(values, (_LOWEST, _HIGHEST)))
    return (low + high) / 2, max(high - low, 1.0)
