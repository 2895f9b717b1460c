"""Modality values as a reader sees them: values of interest (PS3.3 C.11.2), then the photometric interpretation.

A VOI LUT goes before a window where an image has both: scanners add the window for viewers that read no tables.
Of several alternatives the first is taken. What comes out lies within 0 and 1, dense tissue high.
"""

from __future__ import annotations

import numpy as np

from shadow.domain.errors import NotEvaluable
from shadow.index_test.frames import Frame
from shadow.index_test.lookup_table import read_lookup_table
from shadow.index_test.pixels import Floats, ModalityValues

LOWEST_SHOWN, HIGHEST_SHOWN = 0.5, 99.5
"""Percentiles that stand for black and white where an image has neither table nor window."""
POLARITIES = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
"""Photometric Interpretation, and the Presentation LUT Shape (2050,0020) that says the same (PS3.3 C.8.11.3)."""


def presented(frame: Frame, modality: ModalityValues, findings: list[str]) -> Floats:
    """One image (rows, columns) within 0 and 1, dense tissue high, padding 0 whatever the photometric interpretation.

    Args:
        frame: for presentation.
        modality: its modality values.
        findings: `no_window` and `presentation_contradicts` are added to.

    Raises:
        NotEvaluable: `malformed_lookup_table`, or `unsupported_pixel_format` where an image is neither MONOCHROME1
            nor MONOCHROME2 or has an unknown VOI LUT Function.
    """
    interpretation = frame.text("PhotometricInterpretation").upper()
    if interpretation not in POLARITIES:
        raise NotEvaluable("unsupported_pixel_format", "photometric interpretation")
    if frame.text("PresentationLUTShape").upper() not in ("", POLARITIES[interpretation]):
        findings.append("presentation_contradicts")
    shown = between_0_and_1(_of_interest(frame, modality, findings))
    if interpretation == "MONOCHROME1":
        shown = 1 - shown
    if modality.padding is not None:
        shown[modality.padding] = 0.0
    return shown


def between_0_and_1(values: Floats) -> Floats:
    """float32, what lies beyond at the ends."""
    clipped: Floats = np.clip(values, 0.0, 1.0).astype(np.float32)
    return clipped


def _of_interest(frame: Frame, modality: ModalityValues, findings: list[str]) -> Floats:
    tables = frame.items("VOILUTSequence")
    if tables:
        table = read_lookup_table(tables[0], signed=modality.signed)
        return table.looked_up(modality.values) / np.float32(table.highest)
    centre, width = frame.number("WindowCenter"), frame.number("WindowWidth")
    if centre is None or width is None or width <= 0:
        findings.append("no_window")
        return _between_percentiles(modality)
    return window(modality.values, centre, width, frame.text("VOILUTFunction").upper() or "LINEAR")


def window(values: Floats, centre: float, width: float, function: str) -> Floats:
    """The window's output as a share of its range, not clipped (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    A LINEAR width of 1 is a threshold; a smaller one, which the standard forbids, is read as LINEAR_EXACT.

    >>> window(np.array([-1024.5, 0.0, 1023.5], dtype=np.float32), 0, 2048, "LINEAR").round(4).tolist()
    [-0.0002, 0.5002, 1.0002]
    >>> window(np.array([99, 100], dtype=np.float32), 100, 1, "LINEAR").tolist()
    [0.0, 1.0]

    Raises:
        NotEvaluable: `unsupported_pixel_format`; no such function.
    """
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise NotEvaluable("unsupported_pixel_format", "VOI LUT function")
    if function == "SIGMOID":
        return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -80, 80))), np.float32)
    if function == "LINEAR" and width == 1:
        return np.asarray(values > centre - 0.5, np.float32)
    if function == "LINEAR" and width > 1:
        centre, width = centre - 0.5, width - 1
    return (values - np.float32(centre)) / np.float32(width) + np.float32(0.5)


def _between_percentiles(modality: ModalityValues) -> Floats:
    """Between the extremes of what is no padding."""
    values, padding = modality.values, modality.padding
    inside = values if padding is None or padding.all() else values[~padding]
    low, high = (float(one) for one in np.percentile(inside, (LOWEST_SHOWN, HIGHEST_SHOWN)))
    return (values - np.float32(low)) / np.float32(max(high - low, 1e-6))
