"""Every image reaches the model as a reader hangs it, whichever way it was stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from head_ct import RULES, as_file, head_slice, tiny_model
from test_modalities import mammogram, prepared, radiograph

from shadow.index_test.model import InputKind
from shadow.index_test.model_input import ModelStudyInput, prepare_study

# One bright corner: top left as it ought to be shown.
UPRIGHT = np.full((32, 32), 100)
UPRIGHT[:16, :16] = 4000


def bright_corner(found: ModelStudyInput) -> str:
    """Where the bright quarter lies."""
    image = found.slices[0, 0]
    means = {
        f"{vertical} {horizontal}": float(image[rows, columns].mean())
        for vertical, rows in (("top", slice(0, 7)), ("bottom", slice(9, 16)))
        for horizontal, columns in (("left", slice(0, 7)), ("right", slice(9, 16)))
    }
    return max(means, key=means.__getitem__)


@pytest.mark.parametrize(
    ("orientation", "stored", "findings"),
    [
        (["L", "F"], UPRIGHT, ()),
        (["LP", "FA"], UPRIGHT, ()),
        (["P", "F"], UPRIGHT, ()),
        (None, UPRIGHT, ()),
        (["R", "F"], UPRIGHT[:, ::-1], ("reoriented",)),
        (["L", "H"], UPRIGHT[::-1], ("reoriented",)),
        (["R", "H"], UPRIGHT[::-1, ::-1], ("reoriented",)),
        (["F", "L"], UPRIGHT.T, ("reoriented",)),
        (["H", "L"], UPRIGHT.T[:, ::-1], ("reoriented",)),
        (["F", "R"], UPRIGHT.T[::-1], ("reoriented",)),
    ],
)
def test_a_radiograph_is_shown_head_up_with_the_left_of_the_patient_at_the_right(
    tmp_path: Path, orientation: list[str] | None, stored: np.ndarray, findings: tuple[str, ...]
) -> None:
    image = radiograph(stored)
    if orientation:
        image.PatientOrientation = orientation
    found = prepared(tmp_path, [image], InputKind.RADIOGRAPHS)
    assert (bright_corner(found), found.findings) == ("top left", findings)


def test_a_radiograph_stored_sideways_keeps_its_proportions(tmp_path: Path) -> None:
    image = radiograph(np.full((32, 64), 4000), PatientOrientation=["F", "L"], ImagerPixelSpacing=["0.2", "0.1"])
    shown = prepared(tmp_path, [image], InputKind.RADIOGRAPHS).slices[0, 0]
    assert shown.min() > 0.9, "6.4 mm high and 6.4 mm wide"


@pytest.mark.parametrize("laterality", ["ImageLaterality", "Laterality"])
@pytest.mark.parametrize(
    ("side", "orientation", "stored", "findings"),
    [
        ("L", ["A", "R"], UPRIGHT, ()),
        ("R", ["P", "L"], UPRIGHT[:, ::-1], ()),
        ("L", ["A", "L"], UPRIGHT[::-1], ("reoriented",)),
        ("R", ["P", "R"], UPRIGHT[::-1, ::-1], ("reoriented",)),
        ("R", ["A", "L"], UPRIGHT, ()),
        ("L", ["P", "R"], UPRIGHT[:, ::-1], ()),
        ("L", ["A", "FR"], UPRIGHT, ()),
        ("R", ["PL", "HR"], UPRIGHT[::-1, ::-1], ("reoriented",)),
        ("L", ["R", "A"], UPRIGHT.T, ("reoriented",)),
        ("R", ["F", "P"], UPRIGHT[:, ::-1].T, ("reoriented",)),
    ],
)
def test_a_mammogram_is_shown_chest_wall_left_and_lateral_side_or_head_up(
    tmp_path: Path, side: str, orientation: list[str], stored: np.ndarray, findings: tuple[str, ...], laterality: str
) -> None:
    image = mammogram(stored, PatientOrientation=orientation, **{laterality: side})
    found = prepared(tmp_path, [image], InputKind.MAMMOGRAMS)
    assert (bright_corner(found), found.findings) == ("top left", findings)


@pytest.mark.parametrize(
    ("orientation", "laterality", "findings"),
    [
        (["A", "R"], {}, ("laterality_unknown",)),
        (["A", "R"], {"ImageLaterality": "B"}, ("laterality_unknown",)),
        (["A", "R"], {"ImageLaterality": "L", "Laterality": "R"}, ()),
        (["A", "FR"], {}, ()),
    ],
)
def test_a_craniocaudal_view_of_an_unknown_breast_says_so(
    tmp_path: Path, orientation: list[str], laterality: dict[str, str], findings: tuple[str, ...]
) -> None:
    image = mammogram(UPRIGHT, PatientOrientation=orientation, **laterality)
    found = prepared(tmp_path, [image], InputKind.MAMMOGRAMS)
    assert (bright_corner(found), found.findings) == ("top left", findings)


@pytest.mark.parametrize("odd", ["LINKS", "U"])
def test_a_word_that_names_no_breast_does_not_hide_the_one_beside_it(tmp_path: Path, odd: str) -> None:
    image = mammogram(UPRIGHT[::-1], PatientOrientation=["A", "L"], ImageLaterality=odd, Laterality="L")
    found = prepared(tmp_path, [image], InputKind.MAMMOGRAMS)
    assert (bright_corner(found), found.findings) == ("top left", ("reoriented",))


@pytest.mark.parametrize(
    ("orientation", "stored", "findings"),
    [
        ("1 0 0 0 1 0", UPRIGHT, ()),
        ("1 0 0 0 0.9483 -0.3173", UPRIGHT, ("gantry_tilt",)),
        ("-1 0 0 0 -1 0", UPRIGHT[::-1, ::-1], ("reoriented",)),
        ("-1 0 0 0 1 0", UPRIGHT[:, ::-1], ("reoriented",)),
        ("1 0 0 0 -1 0", UPRIGHT[::-1], ("reoriented",)),
        ("0 1 0 1 0 0", UPRIGHT.T, ("reoriented",)),
        ("0 1 0 -1 0 0", UPRIGHT.T[::-1], ("reoriented",)),
    ],
    ids=["supine", "tilted", "prone", "mirrored", "upside down", "transposed", "quarter turn"],
)
def test_axial_slices_lie_front_up_left_right_and_feet_first(
    tmp_path: Path, orientation: str, stored: np.ndarray, findings: tuple[str, ...]
) -> None:
    copies = {
        str(number): as_file(
            head_slice(
                number=number,
                pixels=stored + number,
                change=lambda one: setattr(one, "ImageOrientationPatient", orientation.split()),
            )
        )
        for number in range(1, 9)
    }
    found = prepare_study(copies, RULES, tiny_model(tmp_path))
    assert (bright_corner(found), found.findings) == ("top left", findings)
    corner = found.slices[:, 0, 2, 2]
    assert np.all(np.diff(corner) == 1.0), "from the feet up"
