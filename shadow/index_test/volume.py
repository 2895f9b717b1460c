"""Slices to a volume in Hounsfield units, its geometry findings, and its way onto the model's grid.

Rules of PS3.3 C.7.6.3 and C.11.1: bits above Bits Stored are masked and the sign extended; values in the
padding range are air; slices are ordered along the normal of the image plane and never by number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from shadow.domain.errors import NotEvaluable
from shadow.index_test.frames import Frame
from shadow.index_test.geometry import check_spacing, distinct_places, same_geometry, tilt_degrees
from shadow.index_test.orientation import hung_slices
from shadow.index_test.pixels import Floats, hounsfield_units
from shadow.index_test.series import slice_normal

TILT_DEGREES = 0.5
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
        directions: Image Orientation (Patient), along rows and along columns.
    """

    values: Floats
    pixel_spacing_mm: tuple[float, float]
    positions_mm: tuple[float, ...]
    findings: tuple[str, ...]
    tilt_degrees: float
    directions: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


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
    kept = same_geometry(slices, findings)
    normal = slice_normal(kept[0])
    assert normal is not None, "series choice passed an image without geometry"
    places = np.array([instance.numbers("ImagePositionPatient") for instance in kept])
    along = places @ normal
    distinct = distinct_places(kept, along)
    if len(distinct) < len(kept):
        findings.append("duplicate_positions")
    if len(distinct) < max(minimum_slices, 2):
        raise NotEvaluable("too_few_slices", f"{len(distinct)} places")
    thicknesses = [kept[index].number("SliceThickness") for index in distinct]
    check_spacing(np.diff(along[distinct]), thicknesses, findings)
    tilt = tilt_degrees(kept[0], places[distinct], normal)
    if tilt > TILT_DEGREES:
        findings.append("gantry_tilt")
    if len(set(thicknesses)) > 1:
        findings.append("mixed_slice_thickness")
    ordered = [kept[index] for index in distinct]
    row_mm, column_mm = ordered[0].numbers("PixelSpacing")[:2]
    directions = ordered[0].numbers("ImageOrientationPatient")
    return Volume(
        values=measure(ordered),
        pixel_spacing_mm=(row_mm, column_mm),
        positions_mm=tuple(float(one) for one in along[distinct]),
        findings=tuple(findings),
        tilt_degrees=tilt,
        directions=directions,
    )


def as_hung(volume: Volume) -> Volume:
    """An axial volume with the patient's left at the viewer's right, the front up and the feet first.

    A prone patient's slices are turned, mirrored ones mirrored back; both are a finding, `reoriented`.
    """
    directions = np.array(volume.directions).reshape(2, 3)
    values, spacing, moved, downwards = hung_slices(volume.values, volume.pixel_spacing_mm, directions)
    if not moved:
        return volume
    positions = tuple(-one for one in volume.positions_mm[::-1]) if downwards else volume.positions_mm
    return replace(
        volume,
        values=np.ascontiguousarray(values),
        pixel_spacing_mm=spacing,
        positions_mm=positions,
        findings=(*volume.findings, "reoriented"),
    )


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
    """Both grids are centred on the same point. No more is covered than the source has, however small its pixels."""
    start = (np.arange(target) - target / 2) * target_mm
    first = np.floor(np.clip(start / source_mm + source / 2, -1, source)).astype(np.intp)
    covered = first + np.arange(min(math.ceil(target_mm / source_mm), source) + 1)[:, None]
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
