"""One DICOM file as its elements' bytes: fast to read, strict about bounds, never a guess.

Explicit VR little endian (PS3.5 section 7.1.2), native or encapsulated, is read here directly. Every other
encoding, and every file that this reader finds malformed, goes once through pydicom, which knows the world's
oddities, and is written again as explicit VR little endian; what pydicom cannot read either is unreadable.
So there is one form downstream, and de-identification has one engine for all files.

Whatever a file holds, reading it is bounded: in depth, in elements, in the length of a text, and, where pydicom reads
what is large or deflated, by a process of its own that has so much memory and so many seconds and no more.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.uid import AllTransferSyntaxes, DeflatedExplicitVRLittleEndian

from shadow.domain.errors import NotEvaluable, UnreadableInstance
from shadow.index_test.decoder import pool
from shadow.index_test.rewriting import MAXIMUM_DEPTH, rewritten

MAXIMUM_ELEMENTS = 2_000_000
"""Of one file, items of sequences too: a slide of 100,000 frames has one and a half million."""
MAXIMUM_TEXT_BYTES = 1 << 16
"""Of a value that is read as text; the longest that a VR of short length can have."""
MAXIMUM_BYTES_REWRITTEN_HERE = 1 << 20
"""What is larger, or deflated, is read by pydicom in a worker: a file of 50 MB can ask for gigabytes and minutes."""
PIXEL_DATA = 0x7FE00010
_PREAMBLE = 132
EXPLICIT_LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
EXPLICIT_SHORT_VRS = frozenset({
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL",
    b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
})  # fmt: skip
_BINARY = {b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"FL": "f", b"FD": "d"}
_UNDEFINED = 0xFFFFFFFF
_LONGEST_SHORT = 0xFFFE
"""Bytes of a value whose VR has a length of 16 bits."""
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_TAG = struct.Struct("<HH")
_SHORT = struct.Struct("<H")
_LONG = struct.Struct("<L")

_DEFLATED = str(DeflatedExplicitVRLittleEndian).encode()
_LONGEST_META = 1 << 12
"""Where the Transfer Syntax UID stands in a file of the spool, which the spool itself begins."""
_REASONS = {
    "decoder_hangs": "reading_takes_too_long",
    "decoder_died": "reading_takes_too_much_memory",
    "MemoryError": "reading_takes_too_much_memory",
    "nesting_too_deep": "nesting_too_deep",
}
"""What a worker's end says about the file."""

_EXPLICIT_LITTLE_ENDIAN = frozenset(
    str(one) for one in AllTransferSyntaxes if one.is_little_endian and not one.is_implicit_VR and not one.is_deflated
)


class Element(NamedTuple):
    """One data element: where its value lies in the buffer. A tuple, since a study has tens of thousands.

    `items` holds the item data sets of a sequence (VR SQ) and is None for every other VR. `undefined_length` tells
    encapsulated pixel data from native.
    """

    tag: int
    vr: bytes
    start: int
    end: int
    items: list[list[Element]] | None
    undefined_length: bool = False


class _Malformed(Exception):
    """The strict reader gives up; pydicom gets its turn."""


class _UnknownSequence(_Malformed):
    """A sequence of the standard came as VR UN, in implicit VR inside (PS3.5 6.2.2); pydicom knows how to read it."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One readable DICOM instance, explicit VR little endian.

    Attributes:
        buffer: the file's bytes, or those that pydicom wrote for it.
        transfer_syntax_uid: of the buffer; it tells whether the pixel data are encapsulated.
        elements: the top level of the data set by tag, group 0002 left out.
    """

    buffer: bytes
    transfer_syntax_uid: str
    elements: dict[int, Element]

    def raw(self, keyword: str) -> bytes | None:
        """The value's bytes as they lie in the file; None where the element is absent."""
        element = self.elements.get(_tag(keyword))
        return None if element is None else self.buffer[element.start : element.end]

    def text(self, keyword: str) -> str:
        """The value as text without padding; empty where absent. Not for names: see `deidentify.identity`."""
        element = self.elements.get(_tag(keyword))
        if element is None:
            return ""
        raw = self.buffer[element.start : min(element.end, element.start + MAXIMUM_TEXT_BYTES)]
        return raw.decode("latin-1").strip(" \0\r\n\t")

    def texts(self, keyword: str) -> tuple[str, ...]:
        """The values of a multi-valued text element; empty where absent or empty."""
        text = self.text(keyword)
        return tuple(one.strip(" \0") for one in text.split("\\")) if text else ()

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """The values of a numeric element (DS, IS or binary); empty where absent, empty or not all finite numbers.

        NaN and infinity are how a broken sender says nothing: no stage may compute with them.
        """
        element = self.elements.get(_tag(keyword))
        if element is None:
            return ()
        code = _BINARY.get(element.vr)
        if code is not None:
            count = (element.end - element.start) // struct.calcsize(code)
            values = tuple(map(float, struct.unpack_from(f"<{count}{code}", self.buffer, element.start)))
        else:
            try:
                values = tuple(float(one) for one in self.texts(keyword) if one)
            except ValueError:
                return ()
        return values if all(map(math.isfinite, values)) else ()

    def items(self, keyword: str) -> tuple[Instance, ...]:
        """The items of a sequence, each read like an instance; empty where absent."""
        element = self.elements.get(_tag(keyword))
        if element is None or element.items is None:
            return ()
        return tuple(
            Instance(self.buffer, self.transfer_syntax_uid, {one.tag: one for one in item}) for item in element.items
        )

    def number(self, keyword: str) -> float | None:
        """The first value of a numeric element, or None."""
        values = self.numbers(keyword)
        return values[0] if values else None


@cache
def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return tag


def read_instance(content: bytes) -> Instance:
    """Read one PS3.10 file.

    Raises:
        UnreadableInstance: `not_dicom`, `unknown_transfer_syntax`, `nesting_too_deep`, `too_many_elements`,
            `malformed`, `reading_takes_too_long` or `reading_takes_too_much_memory`.
    """
    if content[128:_PREAMBLE] != b"DICM":
        raise UnreadableInstance("not_dicom", "no DICM after the preamble")
    try:
        return _read_strictly(content)
    except _UnknownSequence:
        try:
            return _read_through_pydicom(content)
        except UnreadableInstance:
            return _read_without_unknown_sequences(content)
    except _Malformed:
        return _read_through_pydicom(content)


def _read_without_unknown_sequences(content: bytes) -> Instance:
    """Where not even pydicom can read them, the rest of the file."""
    try:
        return _read_strictly(content, unknown_sequences=True)
    except _Malformed as error:
        raise UnreadableInstance("malformed", "and has a sequence of unknown VR") from error


def _read_strictly(content: bytes, *, unknown_sequences: bool = False) -> Instance:
    left = _Allowance(unknown_sequences=unknown_sequences)
    meta, position = _read_elements(content, _PREAMBLE, len(content), 0, left, meta=True)
    transfer_syntax = next((one for one in meta if one.tag == 0x00020010), None)
    if transfer_syntax is None:
        raise _Malformed
    uid = content[transfer_syntax.start : transfer_syntax.end].decode("latin-1").strip(" \0")
    if uid not in _EXPLICIT_LITTLE_ENDIAN:
        if uid not in AllTransferSyntaxes:
            raise UnreadableInstance("unknown_transfer_syntax")
        raise _Malformed
    elements, _ = _read_elements(content, position, len(content), 0, left)
    return Instance(content, uid, {one.tag: one for one in elements})


@dataclass(slots=True)
class _Allowance:
    """How many elements and items may still come, and whether sequences may be left unread, as VR UN."""

    elements: int = MAXIMUM_ELEMENTS
    unknown_sequences: bool = False

    def spend(self, count: int) -> None:
        self.elements -= count
        if self.elements < 0:
            raise UnreadableInstance("too_many_elements")


def _read_elements(
    buffer: bytes, position: int, end: int, depth: int, left: _Allowance, *, meta: bool = False, delimited: bool = False
) -> tuple[list[Element], int]:
    """The elements from a position on: to `end`, to an item delimiter, or (meta) to the end of group 0002."""
    if depth > MAXIMUM_DEPTH:
        raise UnreadableInstance("nesting_too_deep")
    elements: list[Element] = []
    while position + 8 <= end:
        group, number = _TAG.unpack_from(buffer, position)
        if meta and group != 2:
            return elements, position
        tag = group << 16 | number
        if tag == _ITEM_END and delimited:
            return elements, position + 8
        vr = buffer[position + 4 : position + 6]
        if vr in EXPLICIT_SHORT_VRS:
            start = position + 8
            length = _SHORT.unpack_from(buffer, position + 6)[0]
        elif vr in EXPLICIT_LONG_VRS and position + 12 <= end:
            start = position + 12
            length = _LONG.unpack_from(buffer, position + 8)[0]
        else:
            raise _Malformed
        if vr == b"UN" and length <= _LONGEST_SHORT:
            vr = _vr_of_unknown(tag)
        if vr == b"UN" and length and not left.unknown_sequences and _is_sequence(tag):
            raise _UnknownSequence
        items: list[list[Element]] | None = None
        left.spend(1)
        if vr == b"SQ":
            items, position = _read_items(buffer, start, end, length, depth, left)
        elif length == _UNDEFINED:
            position = _skip_fragments(buffer, start, end, tag)
        else:
            position = start + length
        if position > end:
            raise _Malformed
        elements.append(Element(tag, vr, start, position, items, length == _UNDEFINED))
        if tag == PIXEL_DATA and depth == 0:
            # What stands after the pixels (padding, signatures, junk) is not read, so it cannot be copied.
            return elements, position
    if delimited or (depth > 0 and position != end):
        raise _Malformed
    return elements, position


def _is_sequence(tag: int) -> bool:
    return dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"


@lru_cache(maxsize=4096)
def _vr_of_unknown(tag: int) -> bytes:
    """The standard's VR of an element that came as UN (PS3.5 6.2.2); UN where it has several, or is a sequence."""
    vr = dictionary_VR(tag).encode() if dictionary_has_tag(tag) else b"UN"
    return vr if vr in EXPLICIT_SHORT_VRS else b"UN"


def _read_items(
    buffer: bytes, start: int, end: int, length: int, depth: int, left: _Allowance
) -> tuple[list[list[Element]], int]:
    stop = end if length == _UNDEFINED else start + length
    if stop > end:
        raise _Malformed
    items: list[list[Element]] = []
    position = start
    while position + 8 <= stop:
        group, number = _TAG.unpack_from(buffer, position)
        item_length = _LONG.unpack_from(buffer, position + 4)[0]
        position += 8
        tag = group << 16 | number
        if tag == _SEQUENCE_END and length == _UNDEFINED:
            return items, position
        if tag != _ITEM:
            raise _Malformed
        left.spend(1)
        if item_length == _UNDEFINED:
            item, position = _read_elements(buffer, position, stop, depth + 1, left, delimited=True)
        else:
            if position + item_length > stop:
                raise _Malformed
            item, position = _read_elements(buffer, position, position + item_length, depth + 1, left)
        items.append(item)
    if length == _UNDEFINED or position != stop:
        raise _Malformed
    return items, position


def _skip_fragments(buffer: bytes, start: int, end: int, tag: int) -> int:
    """The end of encapsulated pixel data (PS3.5 annex A.4), each fragment's bounds checked."""
    if tag != PIXEL_DATA:
        raise _Malformed
    position = start
    while position + 8 <= end:
        group, number = _TAG.unpack_from(buffer, position)
        length = _LONG.unpack_from(buffer, position + 4)[0]
        position += 8
        if group << 16 | number == _SEQUENCE_END:
            return position
        if group << 16 | number != _ITEM or position + length > end:
            raise _Malformed
        position += length
    raise _Malformed


def _read_through_pydicom(content: bytes) -> Instance:
    """Let pydicom read what the strict reader would not, and read strictly what pydicom writes."""
    if len(content) <= MAXIMUM_BYTES_REWRITTEN_HERE and _DEFLATED not in content[:_LONGEST_META]:
        written = rewritten(content)
    else:
        try:
            written = pool().rewritten(content)
        except NotEvaluable as refused:
            raise UnreadableInstance(_REASONS.get(refused.detail, "malformed"), refused.detail) from None
    try:
        return _read_strictly(written, unknown_sequences=True)
    except _Malformed as error:
        raise UnreadableInstance("malformed", "not even after pydicom wrote it again") from error
