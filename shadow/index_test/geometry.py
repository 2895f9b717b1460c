"""How the slices of one series lie: one geometry, one image a place, gaps, tilt, and which way is up.

PS3.3 C.7.6.2.1.1: the place of a slice is Image Position (Patient) along the normal of Image Orientation (Patient).
Instance Number and Slice Location never order slices; the number only tells two images of one place apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shadow.domain.errors import NotEvaluable
from shadow.index_test.frames import Frame

SMALLEST_SPACING_MM, LARGEST_SPACING_MM = 0.01, 100.0
"""Between pixels; beyond, the number is no spacing."""
SAME_POSITION_MM, SAME_POSITION_FRACTION = 0.05, 0.05
"""Nearer than this, or than this part of their thickness, two images are of one place: a table that goes to and fro
never stops at quite the same one."""
SAME_SPACING_MM = 1e-3
SAME_DIRECTION = 2e-3
"""Of a direction cosine: a tenth of a degree."""
UNEVEN_SPACING_FRACTION = 0.1
MISSING_SLICE_FRACTION = 1.5
THICKNESS_DIGITS = 1
"""Of millimetres, in which slices of one thickness agree."""
CANDIDATES = 16
"""So many of a series' geometries may be the one that most images share."""

Numbers = npt.NDArray[np.float64]
_Geometry = tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]
_TOLERANCES = (0.0, SAME_SPACING_MM, SAME_DIRECTION)
_DIFFERENCES = ("mixed_matrix", "mixed_pixel_spacing", "mixed_orientation")
_ONE_OF_SEVERAL = (
    "TemporalPositionIndex", "TemporalPositionIdentifier", "AcquisitionNumber", "EchoNumbers", "DimensionIndexValues",
    "InstanceNumber",
)  # fmt: skip
"""What tells images of one place apart, the lowest first: so all are of one phase, echo or run."""


def same_geometry(slices: Sequence[Frame], findings: list[str]) -> list[Frame]:
    """The images of the commonest matrix, Pixel Spacing and orientation; what differs elsewhere is a finding.

    Spacings and directions that differ by rounding are the same.

    Raises:
        NotEvaluable: `no_pixel_spacing`.
    """
    geometries = [_geometry(one) for one in slices]
    candidates = sorted(Counter(geometries).items(), key=lambda one: (-one[1], str(one[0])))[:CANDIDATES]
    members = {one: sum(_is_same(one, other) for other in geometries) for one, _ in candidates}
    commonest = max(members, key=members.__getitem__)
    if not is_spacing(commonest[1]):
        raise NotEvaluable("no_pixel_spacing")
    for part, finding in enumerate(_DIFFERENCES):
        if not all(_is_near(one[part], commonest[part], _TOLERANCES[part]) for one in geometries):
            findings.append(finding)
    return [one for one, geometry in zip(slices, geometries, strict=True) if _is_same(geometry, commonest)]


def is_spacing(values: Sequence[float]) -> bool:
    """Whether these numbers are a distance between rows and one between columns, mm."""
    return len(values) == 2 and min(values) >= SMALLEST_SPACING_MM and max(values) <= LARGEST_SPACING_MM


def _geometry(frame: Frame) -> _Geometry:
    matrix = (frame.number("Rows") or 0.0, frame.number("Columns") or 0.0)
    return matrix, frame.numbers("PixelSpacing"), frame.numbers("ImageOrientationPatient")


def _is_same(one: _Geometry, other: _Geometry) -> bool:
    return all(_is_near(*parts) for parts in zip(one, other, _TOLERANCES, strict=True))


def _is_near(one: tuple[float, ...], other: tuple[float, ...], tolerance: float) -> bool:
    return len(one) == len(other) and all(abs(mine - its) <= tolerance for mine, its in zip(one, other, strict=True))


def distinct_places(frames: Sequence[Frame], along: Numbers) -> list[int]:
    """Indices of one image a place, in the order of places (mm along the normal).

    Of several it is the one of the lowest temporal position, acquisition, echo, dimension indices (PS3.3 C.7.6.17; at
    one place those of places are equal), number and name, in this order.
    """
    ranks = [
        (*(frame.numbers(keyword) for keyword in _ONE_OF_SEVERAL), frame.text("SOPInstanceUID"), frame.index)
        for frame in frames
    ]
    places: list[list[int]] = []
    for index in np.argsort(along, kind="stable"):
        near = max(SAME_POSITION_MM, SAME_POSITION_FRACTION * (frames[index].number("SliceThickness") or 0.0))
        if places and along[index] - along[places[-1][0]] < near:
            places[-1].append(int(index))
        else:
            places.append([int(index)])
    return [min(place, key=ranks.__getitem__) for place in places]


def check_spacing(steps: Numbers, thicknesses: Sequence[float | None], findings: list[str]) -> None:
    """A step much longer than its neighbours is a gap, unless thicker slices explain it.

    Where most steps are much longer than the slices are thick, every second one may be missing, or the protocol leaves
    such gaps: a finding.

    Args:
        steps: between places, mm.
        thicknesses: Slice Thickness of each slice, one more than steps; None where one does not say.
        findings: `uneven_spacing` and `slices_apart` are added to.

    Raises:
        NotEvaluable: `missing_slices`.
    """
    shares = _beside_neighbours(steps)
    known = np.array([one for one in thicknesses if one is not None and one > 0])
    if len(known) == len(thicknesses):
        # Two slices that touch are half their thicknesses apart, whatever the protocol changes on the way.
        touching = (known[:-1] + known[1:]) / 2
        shares = np.minimum(shares, _beside_neighbours(steps / touching))
        _hold_against_same_thickness(shares, steps, known.round(THICKNESS_DIGITS))
        if np.median(steps / touching) > MISSING_SLICE_FRACTION:
            findings.append("slices_apart")
    missing = sum(max(round(one) - 1, 1) for one in shares[shares > MISSING_SLICE_FRACTION])
    if missing:
        raise NotEvaluable("missing_slices", f"{missing} in gaps")
    spacing = float(np.median(steps))
    if np.any(np.abs(steps - spacing) > UNEVEN_SPACING_FRACTION * spacing):
        findings.append("uneven_spacing")


def _hold_against_same_thickness(shares: Numbers, steps: Numbers, thicknesses: Numbers) -> None:
    """Put in `shares` what is known better where there are other steps between slices of the same thickness.

    Such a step is held against those alone. A step from one thickness to another may be as long as the nearest one on
    either side; one that is longer is a gap.
    """
    same = thicknesses[:-1] == thicknesses[1:]
    within = {one: np.flatnonzero(same & (thicknesses[1:] == one)) for one in set(thicknesses.tolist())}
    for own in within.values():
        if len(own) > 1:
            shares[own] = _beside_neighbours(steps[own])
    for change in np.flatnonzero(~same):
        before, after = within[thicknesses[change]], within[thicknesses[change + 1]]
        sides = [*before[before < change][-1:], *after[after > change][:1]]
        if len(sides) == 2:
            share = float(steps[change] / steps[sides].max())
            is_gap = share > 1 + UNEVEN_SPACING_FRACTION
            shares[change] = max(share, MISSING_SLICE_FRACTION + UNEVEN_SPACING_FRACTION) if is_gap else 1.0


def _beside_neighbours(steps: Numbers) -> Numbers:
    """Each step as a multiple of the median of the two before it and the two after it."""
    shares = np.ones(len(steps))
    for number, step in enumerate(steps):
        around = np.r_[steps[max(0, number - 2) : number], steps[number + 1 : number + 3]]
        if around.size:
            shares[number] = step / np.median(around)
    return shares


def tilt_degrees(frame: Frame, places: Numbers, normal: Numbers) -> float:
    """The angle by which the gantry leans against the table's way, degrees, without a sign.

    A tilted gantry moves the table along another line than the normal. Gantry/Detector Tilt (0018,1120) alone may be
    wrong, or missing, so it is the larger of both.

    Args:
        frame: one of the slices.
        places: Image Position (Patient) of slices in order, shape (slices, 3), mm.
        normal: unit, of the image plane.
    """
    step = places[-1] - places[0]
    cosine = abs(float(step @ normal)) / float(np.linalg.norm(step))
    angle = float(np.degrees(np.arccos(min(cosine, 1.0))))
    return max(angle, abs(frame.number("GantryDetectorTilt") or 0.0))
