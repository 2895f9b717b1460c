"""Stored values of an image, and what they mean: Hounsfield units for CT, intensities for everything else.

Rules of PS3.3 C.7.6.3 and C.11.1: bits above Bits Stored are masked and the sign extended; values in the padding
range are air; MONOCHROME1 is how an image is shown and never touches its values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.uid import UID

from shadow.domain.errors import NotEvaluable
from shadow.index_test.decoder import MAXIMUM_FRAME_BYTES, WORKERS, pool
from shadow.index_test.frames import Frame
from shadow.index_test.instance import PIXEL_DATA
from shadow.index_test.lookup_table import read_lookup_table

AIR_HU = -1024.0
MAXIMUM_VOXELS = 1 << 29
"""Of one volume: 2,048 slices of 512 x 512. Compressed, a few megabytes could ask for more memory than there is."""
LARGEST_HU, LARGEST_INTENSITY = 1e7, 1e30
"""What a rescale may come to: beyond, it is no unit, and float32 soon ends."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ModalityValues:
    """One image after its modality transformation (PS3.3 C.11.1).

    Attributes:
        values: float32 (rows, columns).
        padding: bool (rows, columns); None where the image names no padding.
        signed: whether values may be negative by the header.
    """

    values: Floats
    padding: npt.NDArray[np.bool_] | None
    signed: bool


def hounsfield_units(slices: Sequence[Frame]) -> Floats:
    """float32 (slices, rows, columns) in Hounsfield units, of images that share a matrix.

    Raises:
        NotEvaluable: `not_hounsfield_units`, `unsupported_pixel_format`, `unreadable_pixel_data` or
            `volume_too_large`.
    """
    return _stacked(_slice_hounsfield, slices)


def intensities(frames: Sequence[Frame]) -> Floats:
    """float32 (images, rows, columns): modality values; padding becomes the lowest value of its image.

    Raises:
        NotEvaluable: as `modality_values`.
    """
    return _stacked(_intensities, frames)


def modality_values(frame: Frame) -> ModalityValues:
    """An image through its Modality LUT, else its slope and intercept, else as it is stored.

    Raises:
        NotEvaluable: `malformed_lookup_table`, `unsupported_pixel_format` or `unreadable_pixel_data`.
    """
    values, padding = _values(frame)
    signed = frame.number("PixelRepresentation") == 1
    tables = frame.items("ModalityLUTSequence")
    if tables:
        return ModalityValues(read_lookup_table(tables[0], signed=signed).looked_up(values), padding, False)
    slope, intercept = frame.number("RescaleSlope"), frame.number("RescaleIntercept")
    if slope == 0:
        raise NotEvaluable("unsupported_pixel_format", "rescale slope 0")
    if _largest(slope or 1.0, intercept or 0.0) > LARGEST_INTENSITY:
        raise NotEvaluable("unsupported_pixel_format", "rescale beyond any number")
    rescaled = values.astype(np.float32)
    if slope is not None:
        rescaled *= np.float32(slope)
    if intercept is not None:
        rescaled += np.float32(intercept)
    return ModalityValues(rescaled, padding, signed or (intercept is not None and intercept < 0))


def _stacked(measure: Callable[[Frame], Floats], frames: Sequence[Frame]) -> Floats:
    """The values of every image; compressed ones are decoded by several workers at once."""
    first = measure(frames[0])
    if first.size * len(frames) > MAXIMUM_VOXELS:
        raise NotEvaluable("volume_too_large", f"{len(frames)} images, {first.size * len(frames)} voxels")
    volume = np.empty((len(frames), *first.shape), np.float32)
    volume[0] = first

    def fill(number: int) -> None:
        volume[number] = measure(frames[number])

    if len(frames) > 1 and UID(frames[0].instance.transfer_syntax_uid).is_encapsulated:
        with ThreadPoolExecutor(WORKERS) as threads:
            list(threads.map(fill, range(1, len(frames))))
    else:
        for number in range(1, len(frames)):
            fill(number)
    return volume


def _intensities(frame: Frame) -> Floats:
    modality = modality_values(frame)
    result, padded = modality.values, modality.padding
    if padded is not None and padded.any() and not padded.all():
        result[padded] = result[~padded].min()
    return result


def _slice_hounsfield(instance: Frame) -> Floats:
    if instance.text("RescaleType").upper() not in ("", "HU", "US"):
        raise NotEvaluable("not_hounsfield_units", "Rescale Type")
    slope, intercept = instance.number("RescaleSlope"), instance.number("RescaleIntercept")
    if slope is None or intercept is None or slope == 0:
        raise NotEvaluable("not_hounsfield_units", "no rescale slope and intercept")
    if _largest(slope, intercept) > LARGEST_HU:
        raise NotEvaluable("not_hounsfield_units", "rescale beyond any scanner's")
    values, padded = _values(instance)
    result = values.astype(np.float32)
    if slope != 1:
        result *= np.float32(slope)
    if intercept:
        result += np.float32(intercept)
    if padded is not None:
        result[padded] = AIR_HU
    return result


def _largest(slope: float, intercept: float) -> float:
    return abs(slope) * (1 << 16) + abs(intercept)


def _values(instance: Frame) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.bool_] | None]:
    """The values as numbers (rows, columns), and which of them are padding; None where the image names no padding."""
    stored, bits_allocated = _stored_values(instance)
    bits_stored = int(instance.number("BitsStored") or 0)
    if not 0 < bits_stored <= bits_allocated or instance.number("HighBit") != bits_stored - 1:
        raise NotEvaluable("unsupported_pixel_format", "high bit")
    representation = instance.number("PixelRepresentation")
    if representation not in (0, 1):
        raise NotEvaluable("unsupported_pixel_format", "signed or not")
    signed = representation == 1
    unused = bits_allocated - bits_stored
    if signed:
        stored = stored.view(f"<i{bits_allocated // 8}")
        values = (stored << unused) >> unused if unused else stored
    else:
        values = stored & ((1 << bits_stored) - 1) if unused else stored
    padding = _padding(instance, signed=signed)
    return values, None if padding is None else (values >= padding[0]) & (values <= padding[1])


def _stored_values(instance: Frame) -> tuple[npt.NDArray[np.unsignedinteger], int]:
    """The stored values, unsigned (rows, columns), and the bits allocated to each."""
    rows, columns = int(instance.number("Rows") or 0), int(instance.number("Columns") or 0)
    bits = int(instance.number("BitsAllocated") or 0)
    if instance.number("SamplesPerPixel") not in (None, 1.0) or bits not in (8, 16) or not rows or not columns:
        raise NotEvaluable("unsupported_pixel_format", "samples, bits or matrix")
    size = rows * columns * bits // 8
    if size > MAXIMUM_FRAME_BYTES:
        raise NotEvaluable("unsupported_pixel_format", "larger than any detector's")
    if int(instance.number("NumberOfFrames") or 1) != instance.frames:
        raise NotEvaluable("unsupported_pixel_format", "frames without functional groups")
    if UID(instance.instance.transfer_syntax_uid).is_encapsulated:
        return _decompressed(instance, rows, columns, bits), bits
    element = instance.instance.elements.get(PIXEL_DATA)
    if element is None or element.end - element.start < (instance.index + 1) * size:
        raise NotEvaluable("unreadable_pixel_data", "shorter than its matrix")
    values: npt.NDArray[np.unsignedinteger] = np.frombuffer(
        instance.instance.buffer, f"<u{bits // 8}", rows * columns, element.start + instance.index * size
    )
    return values.reshape(rows, columns), bits


def _decompressed(instance: Frame, rows: int, columns: int, bits: int) -> npt.NDArray[np.unsignedinteger]:
    pixels = pool().decode(instance.instance.buffer, instance.index)
    if pixels.shape != (rows, columns) or pixels.dtype.itemsize != bits // 8:
        raise NotEvaluable("unreadable_pixel_data", "another matrix than the header's")
    return np.ascontiguousarray(pixels).view(f"<u{bits // 8}")


def _padding(instance: Frame, *, signed: bool) -> tuple[float, float] | None:
    """Lowest and highest padding value (PS3.3 C.7.5.1.1.2); senders mix up the sign of its VR."""
    value = instance.number("PixelPaddingValue")
    if value is None:
        return None
    limit = instance.number("PixelPaddingRangeLimit")
    ends = [value, value if limit is None else limit]
    bits = int(instance.number("BitsAllocated") or 16)
    if signed:
        ends = [end - (1 << bits) if end >= 1 << (bits - 1) else end for end in ends]
    else:
        ends = [end + (1 << bits) if end < 0 else end for end in ends]
    return min(ends), max(ends)
