"""Slices to a volume in Hounsfield units, its geometry findings, and its way onto the model's grid.

Rules of PS3.3 C.7.6.3 and C.11.1: bits above Bits Stored are masked and the sign extended; values in the
padding range are air; slices are ordered along the normal of the image plane and never by number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from shadow.domain.errors import NotEvaluable
from shadow.index_test.frames import Frame
from shadow.index_test.pixels import Floats, hounsfield_units
from shadow.index_test.series import slice_normal

SAME_POSITION_MM = 0.05
UNEVEN_SPACING_FRACTION = 0.1
MISSING_SLICE_FRACTION = 1.5
TILT_DEGREES = 0.5
SMALLEST_SPACING_MM, LARGEST_SPACING_MM = 0.01, 100.0
"""Between pixels; beyond, the number is no spacing."""
PIXELS_A_STEP = 1 << 23


@dataclass(frozen=True, slots=True)
class Volume:
    """One series as a stack.

    Attributes:
        values: float32 (slices, rows, columns), ordered along the normal: Hounsfield units, or for MR intensities.
        pixel_spacing_mm: between rows, between columns (0028,0030).
        positions_mm: each slice's place along the normal, ascending.
        findings: stable codes of what is odd and does not forbid an answer.
        tilt_degrees: between the images' normal and the way the table moved, or what Gantry/Detector Tilt says where
            that is more.
    """

    values: Floats
    pixel_spacing_mm: tuple[float, float]
    positions_mm: tuple[float, ...]
    findings: tuple[str, ...]
    tilt_degrees: float


def build_volume(
    slices: Sequence[Frame], minimum_slices: int, measure: Callable[[Sequence[Frame]], Floats] = hounsfield_units
) -> Volume:
    """The volume of one series.

    Args:
        slices: images of one series that `choose_series` passed, in any order.
        measure: `hounsfield_units` for CT, `intensities` for MR.
        minimum_slices: what must be left after slices of another matrix or of the same place are put aside.

    Raises:
        NotEvaluable: `missing_slices`, `too_few_slices`, `no_pixel_spacing`, `not_hounsfield_units`,
            `unsupported_pixel_format`, `unreadable_pixel_data` or `volume_too_large`.
    """
    findings: list[str] = []
    kept = _same_geometry(slices, findings)
    normal = slice_normal(kept[0])
    assert normal is not None, "series choice passed an image without geometry"
    places = np.array([instance.numbers("ImagePositionPatient") for instance in kept])
    along = places @ normal
    names = [f"{frame.text('SOPInstanceUID')} {frame.index:06d}" for frame in kept]
    order = np.lexsort((names, along))
    distinct = [order[0]]
    for index in order[1:]:
        if along[index] - along[distinct[-1]] >= SAME_POSITION_MM:
            distinct.append(index)
    if len(distinct) < len(order):
        findings.append("duplicate_positions")
    if len(distinct) < max(minimum_slices, 2):
        raise NotEvaluable("too_few_slices", f"{len(distinct)} places")
    _check_spacing(np.diff(along[distinct]), findings)
    tilt_degrees = _tilt(kept[0], places[distinct], normal)
    if tilt_degrees > TILT_DEGREES:
        findings.append("gantry_tilt")
    if len({frame.number("SliceThickness") for frame in kept}) > 1:
        findings.append("mixed_slice_thickness")
    ordered = [kept[index] for index in distinct]
    row_mm, column_mm = ordered[0].numbers("PixelSpacing")[:2]
    return Volume(
        values=measure(ordered),
        pixel_spacing_mm=(row_mm, column_mm),
        positions_mm=tuple(float(one) for one in along[distinct]),
        findings=tuple(findings),
        tilt_degrees=tilt_degrees,
    )


def _same_geometry(slices: Sequence[Frame], findings: list[str]) -> list[Frame]:
    """The images of the commonest matrix, spacing and orientation."""
    geometries = [
        (
            instance.number("Rows"),
            instance.number("Columns"),
            tuple(round(one, 4) for one in instance.numbers("PixelSpacing")),
            tuple(round(one, 3) for one in instance.numbers("ImageOrientationPatient")),
        )
        for instance in slices
    ]
    counted = Counter(geometries)
    commonest = min(counted, key=lambda one: (-counted[one], str(one)))
    spacing = commonest[2]
    if len(spacing) != 2 or min(spacing) < SMALLEST_SPACING_MM or max(spacing) > LARGEST_SPACING_MM:
        raise NotEvaluable("no_pixel_spacing")
    if len(counted) > 1:
        findings.append("mixed_matrix")
    return [one for one, geometry in zip(slices, geometries, strict=True) if geometry == commonest]


def _check_spacing(steps: npt.NDArray[np.float64], findings: list[str]) -> None:
    """A step much longer than its neighbours is a gap; steps that change and stay changed are a mixed protocol."""
    missing = 0
    for number, step in enumerate(steps):
        around = np.r_[steps[max(0, number - 2) : number], steps[number + 1 : number + 3]]
        usual = float(np.median(around)) if around.size else step
        if step > MISSING_SLICE_FRACTION * usual:
            missing += round(step / usual) - 1
    if missing:
        raise NotEvaluable("missing_slices", f"{missing} in gaps")
    spacing = float(np.median(steps))
    if np.any(np.abs(steps - spacing) > UNEVEN_SPACING_FRACTION * spacing):
        findings.append("uneven_spacing")


def _tilt(first: Frame, places: npt.NDArray[np.float64], normal: npt.NDArray[np.float64]) -> float:
    """A tilted gantry moves the table along another line than the normal; the tag alone may be wrong."""
    step = places[-1] - places[0]
    cosine = abs(float(step @ normal)) / float(np.linalg.norm(step))
    angle = float(np.degrees(np.arccos(min(cosine, 1.0))))
    return max(angle, abs(first.number("GantryDetectorTilt") or 0.0))


def resample_slices(volume: Volume, rows: int, columns: int, pixel_spacing_mm: float, outside_hu: float) -> Floats:
    """The slices on a square grid centred on the image centre: float32 (slices, rows, columns), HU.

    Each new pixel is the area-weighted average of what it covers; what it covers beyond the image counts as
    `outside_hu`. The average of an area is separable: first along the rows' axis, then along the columns'.
    """
    _, source_rows, source_columns = volume.values.shape
    row_mm, column_mm = volume.pixel_spacing_mm
    outside = np.float32(outside_hu)
    down, across = (
        _area_band(source_rows, row_mm, rows, pixel_spacing_mm),
        _area_band(source_columns, column_mm, columns, pixel_spacing_mm),
    )
    resampled = np.empty((len(volume.values), rows, columns), np.float32)
    step = max(1, PIXELS_A_STEP // (source_rows * source_columns))
    for start in range(0, len(resampled), step):  # not all at once: that would take the memory thrice
        some = slice(start, start + step)
        resampled[some] = _averaged(_averaged(volume.values[some] - outside, 1, down), 2, across)
    resampled += outside
    return resampled


@dataclass(frozen=True, slots=True)
class _Band:
    """For each target pixel the few source pixels that it covers, and their shares of its length.

    `sources` and `shares` are (covered, target). A matrix product would say the same; BLAS then starts a
    thread for every core, and several lanes on one machine spent four times the CPU on waiting for each other.
    """

    sources: npt.NDArray[np.intp]
    shares: Floats


@lru_cache(maxsize=64)
def _area_band(source: int, source_mm: float, target: int, target_mm: float) -> _Band:
    """Both grids are centred on the same point."""
    start = (np.arange(target) - target / 2) * target_mm
    first = np.clip(np.floor(start / source_mm + source / 2), 0, source).astype(np.intp)
    covered = first + np.arange(min(math.ceil(target_mm / source_mm) + 1, source))[:, None]
    left = (covered - source / 2) * source_mm
    overlap = np.minimum(start + target_mm, left + source_mm) - np.maximum(start, left)
    inside = (covered >= 0) & (covered < source)
    shares = np.where(inside, np.clip(overlap, 0.0, None), 0.0) / target_mm
    return _Band(np.clip(covered, 0, source - 1), shares.astype(np.float32))


def _averaged(slices: Floats, axis: int, band: _Band) -> Floats:
    shape = (-1, 1) if axis == 1 else (-1,)
    parts = (
        np.take(slices, sources, axis=axis) * shares.reshape(shape)
        for sources, shares in zip(band.sources, band.shares, strict=True)
    )
    result: Floats = next(parts)
    for part in parts:
        result += part
    return result
