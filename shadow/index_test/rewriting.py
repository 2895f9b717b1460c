"""A DICOM file as pydicom reads it, written again in the one encoding that the strict reader knows.

It runs in a worker too, for files that may ask for much memory or time.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import BaseTag
from pydicom.uid import UID, ExplicitVRLittleEndian

from shadow.domain.errors import UnreadableInstance
from shadow.index_test.deidentify_table import SAFE_PRIVATE

MAXIMUM_DEPTH = 16
LUT_DATA = 0x00283006
_CURVES = range(0x5000, 0x5100)
_FIRST_CREATOR, _LAST_CREATOR, _FIRST_PRIVATE_ELEMENT = 0x0010, 0x00FF, 0x1000

PYDICOM_ERRORS = (
    BytesLengthException, InvalidDicomError, AttributeError, EOFError, LookupError, NotImplementedError, OSError,
    OverflowError, RecursionError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip
"""What pydicom raises on hostile files, as met; none of it is about this program."""


def rewritten(content: bytes) -> bytes:
    """A PS3.10 file as pydicom writes it in explicit VR little endian.

    Raises:
        UnreadableInstance: `nesting_too_deep` or `malformed`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(content))
            _strip(dataset, 0)
            return explicit_little_endian(dataset)
    except PYDICOM_ERRORS as error:
        # The exception's own text may quote a value, so only its type is told.
        raise UnreadableInstance("malformed", type(error).__name__) from None


def _strip(dataset: pydicom.Dataset, depth: int) -> None:
    """Leave out what no stage reads and pydicom often cannot write: curves, and all private elements but the safe."""
    if depth > MAXIMUM_DEPTH:
        raise UnreadableInstance("nesting_too_deep")
    for tag in list(dataset.keys()):
        if tag.group in _CURVES or (tag.is_private and not _is_safe_private(dataset, tag)):
            del dataset[tag]
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _strip(item, depth + 1)


def _is_safe_private(dataset: pydicom.Dataset, tag: BaseTag) -> bool:
    if tag.element < _FIRST_PRIVATE_ELEMENT:
        return _FIRST_CREATOR <= tag.element <= _LAST_CREATOR
    creator = dataset.get_item((tag.group, tag.element >> 8))
    raw = getattr(creator, "value", None)
    name = raw.decode("latin-1") if isinstance(raw, bytes) else str(raw or "")
    return (name.strip(" \0"), tag.group, tag.element & 0xFF) in SAFE_PRIVATE


def explicit_little_endian(dataset: pydicom.FileDataset | pydicom.Dataset) -> bytes:
    """The data set as a PS3.10 file in explicit VR little endian; compressed pixel data stay as they are."""
    uid = UID(str(dataset.file_meta.TransferSyntaxUID))
    bits = dataset.get("BitsAllocated")
    if not uid.is_little_endian:
        # pydicom turns every other value when it writes, but not those of OW: pixels and lookup tables.
        dataset.walk(_turn_table)
        if "PixelData" in dataset:
            # Pixels of a byte lie two to a word in OW, and the word is turned.
            turned = 16 if bits == 8 and dataset["PixelData"].VR == "OW" else bits
            if turned in (16, 32):
                pixels = np.frombuffer(dataset.PixelData, f">u{turned // 8}")
                dataset.PixelData = pixels.astype(f"<u{turned // 8}").tobytes()
    if not uid.is_encapsulated:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    written = io.BytesIO()
    pydicom.dcmwrite(written, dataset, implicit_vr=False, little_endian=True, force_encoding=True)
    return written.getvalue()


def _turn_table(_: pydicom.Dataset, element: pydicom.DataElement) -> None:
    """LUT Data (0028,3006) of VR OW from big to little endian."""
    if element.tag == LUT_DATA and element.VR == "OW" and element.value:
        element.value = np.frombuffer(element.value, ">u2").astype("<u2").tobytes()
