"""Which way up an image is shown: radiographs, mammograms and axial slices as every reader hangs them.

Projections follow Patient Orientation (0020,0020): the letters towards which rows and columns run, the leading one of
each deciding (PS3.3 C.7.6.1.1.1). Slices follow Image Orientation (Patient) (PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shadow.index_test.frames import Frame
from shadow.index_test.pixels import Floats

HEAD_OR_FEET, FRONT_OR_BACK, LEFT_OR_RIGHT = frozenset("HF"), frozenset("AP"), frozenset("LR")
Spacing = tuple[float, float]


def hung_radiograph(frame: Frame, shown: Floats, spacing: Spacing, findings: list[str]) -> tuple[Floats, Spacing]:
    """Head up and the patient's left at the viewer's right; what Patient Orientation does not say stays as it came.

    Args:
        frame: the image.
        shown: its values (rows, columns).
        spacing: height and width of a pixel.
        findings: `reoriented` is added to where the image was turned or mirrored.
    """
    along_rows, along_columns = _letters(frame)
    sideways = along_rows in HEAD_OR_FEET and along_columns in LEFT_OR_RIGHT | FRONT_OR_BACK
    if sideways:
        along_rows, along_columns = along_columns, along_rows
    mirrored, upturned = along_rows == "R", along_columns == "H"
    if sideways or mirrored or upturned:
        findings.append("reoriented")
    return _moved(shown, spacing, sideways=sideways, mirrored=mirrored, upturned=upturned)


def hung_mammogram(frame: Frame, shown: Floats, spacing: Spacing, findings: list[str]) -> tuple[Floats, Spacing]:
    """Chest wall left; oblique and lateral views head up, craniocaudal ones with the lateral side up.

    Which side is lateral is Image Laterality's (0020,0062) word, else Laterality's (0020,0060); where neither names one
    a craniocaudal view stays as it came, a finding: `laterality_unknown`. Where rows run neither forwards nor backwards
    the chest wall is where the tissue is, a finding: `orientation_by_content`.

    Args:
        frame: the image.
        shown: its values (rows, columns), dense tissue high.
        spacing: height and width of a pixel.
        findings: added to; `reoriented` where more was done than to mirror the image.
    """
    along_rows, along_columns = _letters(frame)
    sideways = along_columns in FRONT_OR_BACK and along_rows in LEFT_OR_RIGHT | HEAD_OR_FEET
    if sideways:
        along_rows, along_columns = along_columns, along_rows
    said = [frame.text(keyword).upper() for keyword in ("ImageLaterality", "Laterality")]
    side = next((one for one in said if one in LEFT_OR_RIGHT), "")
    if along_columns in LEFT_OR_RIGHT and not side:
        findings.append("laterality_unknown")
    upturned = along_columns == "H" or (along_columns in LEFT_OR_RIGHT and along_columns == side)
    if sideways or upturned:
        findings.append("reoriented")
    if along_rows in FRONT_OR_BACK:
        mirrored = along_rows == "P"
    else:
        findings.append("orientation_by_content")
        half = shown.shape[1] // 2
        mirrored = float(shown[:, -half:].mean()) > float(shown[:, :half].mean())
    return _moved(shown, spacing, sideways=sideways, mirrored=mirrored, upturned=upturned)


def hung_slices(
    values: Floats, spacing: Spacing, directions: npt.NDArray[np.float64]
) -> tuple[Floats, Spacing, bool, bool]:
    """Axial slices with the patient's left at the viewer's right and the front up, from the feet to the head.

    Args:
        values: (slices, rows, columns), in the order of their normal.
        spacing: between rows, between columns, mm.
        directions: (2, 3), the unit vectors of Image Orientation (Patient).

    Returns:
        Values and spacing, whether slices changed in their plane, and whether their order was turned round.
    """
    row, column = directions
    downwards = bool(np.cross(row, column)[2] < 0)
    sideways = bool(abs(row[0]) < abs(row[1]))
    if sideways:
        row, column = column, row
    mirrored, upturned = bool(row[0] < 0), bool(column[1] < 0)
    moved, spacing = _moved(values, spacing, sideways=sideways, mirrored=mirrored, upturned=upturned)
    return moved[::-1] if downwards else moved, spacing, sideways or mirrored or upturned, downwards


def _letters(frame: Frame) -> tuple[str, str]:
    """The leading letters of Patient Orientation, empty where it has not two values."""
    values = [one.upper()[:1] for one in frame.texts("PatientOrientation")]
    return (values[0], values[1]) if len(values) == 2 else ((*values, "")[0], "")


def _moved(
    values: Floats, spacing: Spacing, *, sideways: bool, mirrored: bool, upturned: bool
) -> tuple[Floats, Spacing]:
    """Rows and columns exchanged where `sideways`, then columns and rows turned round."""
    if sideways:
        values, spacing = values.swapaxes(-1, -2), spacing[::-1]
    if mirrored:
        values = values[..., ::-1]
    if upturned:
        values = values[..., ::-1, :]
    return values, spacing
