"""De-identification after PS3.15 annex E, table driven, top to bottom, and closed where it does not know.

The table is `deidentify_table`. What neither a keyword nor a VR of it covers is removed; so are private
elements that its allow-list does not name, elements of an unknown VR, and elements whose VR is not the one that the
standard gives them. Everything written is ASCII. Pixel bytes are copied verbatim: what may have burned-in text gets
no copy (`pixel_refusal`), and a head CT holds a face, so copies stay inside the hospital.
"""

from __future__ import annotations

import io
import math
import struct
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import pydicom
from pydicom.datadict import dictionary_has_tag, dictionary_keyword, dictionary_VM, dictionary_VR, tag_for_keyword

from shadow.domain.errors import UnreadableInstance
from shadow.domain.identifiers import Pseudonymiser
from shadow.index_test.deidentify_table import (
    BY_KEYWORD,
    BY_VR,
    OVERLAY_GROUPS,
    PAINTED_IMAGE_TYPES,
    REMOVED_GROUPS,
    SAFE_PRIVATE,
    VERSION,
    Action,
)
from shadow.index_test.deidentify_values import (
    DeidentificationContext,
    is_text,
    mapped_uid,
    names_an_instance,
    new_value,
    public_code,
    safe_private_value,
)
from shadow.index_test.identifying_words import IdentifyingWords, identifying_words
from shadow.index_test.instance import PIXEL_DATA, Element, Instance, read_instance
from shadow.index_test.lookup_table import entry_bytes
from shadow.index_test.pixel_streams import can_clean, clean_pixel_data
from shadow.index_test.rewriting import explicit_little_endian
from shadow.index_test.sop_classes import IMAGE_CLASSES

METHOD_CODES = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113105", "Clean Descriptors Option"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113108", "Retain Patient Characteristics Option"),
    ("113109", "Retain Device Identity Option"),
    ("113111", "Retain Safe Private Option"),
)
"""PS3.16 CID 7050, for De-identification Method Code Sequence (0012,0064)."""

IMPLEMENTATION_CLASS_UID = "2.25.205319418305871934071940375218364710911"
_DESCRIPTOR = struct.Struct("<HHH")
_WIDE_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})


class _Rule(NamedTuple):
    """What happens to a tag: its action, the VRs that the standard gives it, and how many values it may have."""

    action: Action
    vrs: frozenset[bytes]
    values: int


_PER_FRAME = 0x52009230
_FUNCTIONAL_GROUPS = (0x52009229, _PER_FRAME)  # Shared, Per-Frame Functional Groups Sequence
_BINARY_VRS = frozenset({"AT", "FD", "FL", "SL", "SS", "UL", "US"})
_UNKNOWN = _Rule(Action.REMOVE, frozenset(), 0)
_UNBOUNDED_VALUES = 8
_UNBOUNDED_TEXTS = 4096
_UNBOUNDED_UIDS = 1024
"""A new UID may be longer than the old one, and no element of VR UI holds more than 64 KiB."""


@cache
def _rule(tag: int) -> _Rule:
    """The table's word on a tag: by keyword, else by the standard's VR, else remove."""
    group = tag >> 16
    if group & 1 or group in REMOVED_GROUPS or not tag & 0xFFFF or not dictionary_has_tag(tag):
        return _UNKNOWN
    vrs = dictionary_VR(tag).split(" or ")
    action = BY_KEYWORD.get(dictionary_keyword(tag)) or BY_VR.get(vrs[0], Action.REMOVE)
    most = dictionary_VM(tag).rpartition("-")[2]
    unbounded = _UNBOUNDED_UIDS if vrs[0] == "UI" else _UNBOUNDED_TEXTS
    if vrs[0] in _BINARY_VRS:
        unbounded = _UNBOUNDED_VALUES
    return _Rule(
        action,
        frozenset(vr.encode() for vr in vrs),
        int(most) if most.isdecimal() else unbounded,
    )


def pixel_refusal(instance: Instance) -> str | None:
    """Why an instance gets no copy, as a stable code: its pixels may hold what no header admits. None where it may.

    It has a usable name, the SOP class is one of a detector, no value of Image Type or of a frame's Frame Type says
    that it was painted, Burned In Annotation (0028,0301) and Specimen Label in Image (0048,0010) say NO or nothing,
    also for single frames, no overlay lies in unused bits of the pixels (retired, PS3.3-2004 C.9.2), and a compressed
    stream is of a kind whose comments can be found.
    Recognizable Visual Features (0028,0302) is left to the hospital: copies stay inside it.
    """
    if not names_an_instance(instance.text("SOPInstanceUID")):
        return "no_sop_instance_uid"
    if instance.text("SOPClassUID") not in IMAGE_CLASSES:
        return "sop_class_without_detector"
    if PAINTED_IMAGE_TYPES & _said(instance, "ImageType", "FrameType"):
        return "image_type_painted"
    if _said(instance, "BurnedInAnnotation") - {"NO", ""}:
        return "burned_in_annotation"
    if _said(instance, "SpecimenLabelInImage") - {"NO", ""}:
        return "specimen_label_in_image"
    if any(_is_overlay_in_pixels(instance, group) for group in OVERLAY_GROUPS):
        return "overlay_in_pixels"
    pixels = instance.elements.get(PIXEL_DATA)
    if pixels is not None and pixels.undefined_length and not can_clean(instance.transfer_syntax_uid):
        return "pixel_stream_unknown"
    return None


def _said(instance: Instance, *keywords: str) -> set[str]:
    """What the image and each of its frames say under these keywords, in upper case.

    Converted frames say so in their Unassigned Converted Attributes (0020,9170) and (0020,9171).
    """
    tags = {tag_for_keyword(keyword) for keyword in keywords}
    groups = (one for tag in _FUNCTIONAL_GROUPS if (one := instance.elements.get(tag)) is not None)
    of_frames = {
        instance.buffer[one.start : one.end]
        for group in groups
        for item in group.items or []
        for macro in item
        for attributes in macro.items or []
        for one in attributes
        if one.tag in tags
    }
    texts = [one.decode("latin-1") for one in of_frames]
    texts += [one for keyword in keywords for one in instance.texts(keyword)]
    return {value.strip(" \0").upper() for text in texts for value in text.split("\\")}


def _is_overlay_in_pixels(instance: Instance, group: int) -> bool:
    """Whether an overlay names a bit of the pixels, or says that it is there and has no data (60xx,3000) of its own."""
    found = {number: instance.elements.get(group << 16 | number) for number in (0x0010, 0x0100, 0x0102, 0x3000)}
    data = found.pop(0x3000)
    if data is None or data.start == data.end:
        return any(found.values())
    position = found[0x0102]
    return position is not None and any(instance.buffer[position.start : position.end])


def deidentify_instance(instance: Instance, context: DeidentificationContext) -> bytes:
    """The de-identified copy as a PS3.10 file, explicit VR little endian.

    Raises:
        UnreadableInstance: `no_sop_instance_uid`; without one the copy would have no name.
    """
    context = replace(context, words=identifying_words(instance))
    written = _data_set(instance, list(instance.elements.values()), context, nested=False)
    written += [
        (0x00120062, _encode(0x00120062, b"CS", b"YES")),
        (0x00120063, _encode(0x00120063, b"LO", f"SHADOW {VERSION}: PS3.15 E.1-1 2024b".encode())),
        (0x00120064, _method_codes()),
        (0x00280303, _encode(0x00280303, b"CS", b"MODIFIED")),
    ]
    written.sort()
    body = b"".join(one for _, one in written)
    return _file_head(instance, context) + body


def deidentify(dataset: pydicom.FileDataset, context: DeidentificationContext) -> pydicom.FileDataset:
    """The same for a data set in memory: it goes through its bytes, so there is one engine."""
    copy = deidentify_instance(read_instance(explicit_little_endian(dataset)), context)
    return pydicom.dcmread(io.BytesIO(copy))


def _data_set(
    instance: Instance, elements: list[Element], context: DeidentificationContext, *, nested: bool
) -> list[tuple[int, bytes]]:
    coded = _public_code(instance, elements, context.words) if nested else None
    written: list[tuple[int, bytes]] = []
    for element in elements:
        if element.tag & 0x10000:
            continue
        rule = _rule(element.tag)
        if rule.action is Action.REMOVE or element.vr not in rule.vrs:
            continue
        if rule.action is Action.RECURSE:
            encoded = _sequence(instance, element, context)
        elif rule.action is Action.PIXELS:
            encoded = None if nested else _pixels(instance, element)
        elif rule.action is Action.CODE:
            encoded = _code_element(element, coded)
        elif rule.action is Action.TABLE:
            encoded = _lookup_table(instance, elements, element)
        elif nested and rule.action in (Action.PATIENT, Action.ACCESSION):
            encoded = None
        else:
            raw = instance.buffer[element.start : element.end]
            encoded = _encode(element.tag, element.vr, new_value(rule.action, element.vr, raw, rule.values, context))
        if encoded is not None:
            written.append((element.tag, encoded))
    return _with_safe_private(instance, elements, written, context.words)


def _with_safe_private(
    instance: Instance, elements: list[Element], written: list[tuple[int, bytes]], words: IdentifyingWords
) -> list[tuple[int, bytes]]:
    """What was written, and with it the private elements of the allow-list, each block with its creator."""
    private = [one for one in elements if one.tag & 0x10000]
    if not private:
        return written
    creators = {
        one.tag: instance.buffer[one.start : one.end].decode("latin-1").strip(" \0")
        for one in private
        if 0x10 <= one.tag & 0xFFFF <= 0xFF and one.vr == b"LO"
    }
    kept: dict[int, bytes] = {}
    for one in private:
        creator_tag = one.tag & 0xFFFF0000 | (one.tag & 0xFF00) >> 8
        creator = creators.get(creator_tag, "")
        vr = SAFE_PRIVATE.get((creator, one.tag >> 16, one.tag & 0xFF), "").encode()
        if not vr or one.vr != vr:
            continue
        value = safe_private_value(vr, instance.buffer[one.start : one.end], words)
        if value:
            kept[one.tag] = _encode(one.tag, vr, value)
            kept[creator_tag] = _encode(creator_tag, b"LO", creator.encode())
    return sorted([*written, *kept.items()]) if kept else written


def _public_code(instance: Instance, item: list[Element], words: IdentifyingWords) -> tuple[bytes, bytes] | None:
    """Code value and scheme of a coded entry (PS3.3 8.8) from a public scheme, else None."""
    values = {
        one.tag: instance.buffer[one.start : one.end].decode("latin-1").strip(" \0")
        for one in item
        if one.tag in (0x00080100, 0x00080102)
    }
    code, scheme = values.get(0x00080100, ""), values.get(0x00080102, "")
    if not public_code(code, scheme) or code in words.numbers:
        return None
    return code.encode(), scheme.encode()


def _code_element(element: Element, coded: tuple[bytes, bytes] | None) -> bytes | None:
    if coded is None:
        return None
    code, scheme = coded
    return _encode(element.tag, element.vr, scheme if element.tag == 0x00080102 else code)


def _lookup_table(instance: Instance, elements: list[Element], data: Element) -> bytes:
    """LUT Data (0028,3006); empty where it is text or not as long as LUT Descriptor (0028,3002) beside it says."""
    descriptor = next((one for one in elements if one.tag == 0x00283002), None)
    kept = b""
    if descriptor is not None and descriptor.end - descriptor.start == _DESCRIPTOR.size:
        count, _, bits = _DESCRIPTOR.unpack_from(instance.buffer, descriptor.start)
        if entry_bytes(count, bits, data.end - data.start) is not None:
            kept = instance.buffer[data.start : data.end]
    if is_text(kept):
        kept = b""
    return _encode(data.tag, data.vr, kept)


def _sequence(instance: Instance, element: Element, context: DeidentificationContext) -> bytes | None:
    """The sequence with its items rewritten; None where nothing of it is left.

    An item of which nothing is left stays as an empty one where others are not: many a sequence is counted, and
    that of the frames always.
    """
    bodies = [
        b"".join(one for _, one in _data_set(instance, item, context, nested=True)) for item in element.items or []
    ]
    if not any(bodies) and element.tag != _PER_FRAME:
        return None
    items = (b"\xfe\xff\x00\xe0" + struct.pack("<L", len(body)) + body for body in bodies)
    return _encode(element.tag, b"SQ", b"".join(items))


def _pixels(instance: Instance, element: Element) -> bytes | None:
    """Pixel Data with its images and nothing else; None where the header does not say what an image is."""
    if element.undefined_length:
        value = instance.buffer[element.start : element.end]
        frame_pixels = _count(instance, "Rows") * _count(instance, "Columns")
        frames = _count(instance, "NumberOfFrames") or 1
        cleaned = clean_pixel_data(instance.transfer_syntax_uid, value, frames, frame_pixels)
        if cleaned is None:
            return None
        return struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + cleaned
    expected = native_bytes(instance)
    if not expected:
        return None
    return _encode(element.tag, element.vr, instance.buffer[element.start : min(element.end, element.start + expected)])


def native_bytes(instance: Instance) -> int:
    """How many bytes the native pixels take by the image's own description; 0 where it does not say."""
    samples = _count(instance, "SamplesPerPixel") or 1
    if samples == 3 and instance.text("PhotometricInterpretation") == "YBR_FULL_422":
        samples = 2
    pixels = _count(instance, "Rows") * _count(instance, "Columns") * (_count(instance, "NumberOfFrames") or 1)
    return (pixels * samples * _count(instance, "BitsAllocated") + 7) // 8


def _count(instance: Instance, keyword: str) -> int:
    """A whole number of the image's description; 0 where it has none or it is none."""
    value = instance.number(keyword)
    return int(value) if value is not None and math.isfinite(value) and value > 0 else 0


def _encode(tag: int, vr: bytes, value: bytes) -> bytes:
    """One data element in explicit VR little endian, padded to an even length."""
    if len(value) & 1:
        value += b"\0" if vr in (b"UI", b"OB", b"UN") else b" "
    group, number = tag >> 16, tag & 0xFFFF
    if vr in _WIDE_VRS:
        return struct.pack("<HH2sHL", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


@cache
def _method_codes() -> bytes:
    items = []
    for code, meaning in METHOD_CODES:
        body = (
            _encode(0x00080100, b"SH", code.encode())
            + _encode(0x00080102, b"SH", b"DCM")
            + _encode(0x00080104, b"LO", meaning.encode())
        )
        items.append(b"\xfe\xff\x00\xe0" + struct.pack("<L", len(body)) + body)
    return _encode(0x00120064, b"SQ", b"".join(items))


def _file_head(instance: Instance, context: DeidentificationContext) -> bytes:
    """An empty preamble and a new group 0002: the sender's holds AE titles and private information."""
    sop_instance_uid = copied_uid(instance, context.pseudonymiser)
    sop_class_uid = mapped_uid(instance.text("SOPClassUID"), context.pseudonymiser)
    meta = b"".join((
        _encode(0x00020001, b"OB", b"\x00\x01"),
        _encode(0x00020002, b"UI", sop_class_uid.encode()),
        _encode(0x00020003, b"UI", sop_instance_uid.encode()),
        _encode(0x00020010, b"UI", instance.transfer_syntax_uid.encode()),
        _encode(0x00020012, b"UI", IMPLEMENTATION_CLASS_UID.encode()),
        _encode(0x00020013, b"SH", b"SHADOW"),
    ))  # fmt: skip
    return bytes(128) + b"DICM" + _encode(0x00020000, b"UL", struct.pack("<L", len(meta))) + meta


def copied_uid(instance: Instance, pseudonymiser: Pseudonymiser) -> str:
    """The SOP Instance UID that the copy has, and the name of its file.

    Raises:
        UnreadableInstance: `no_sop_instance_uid`.
    """
    uid = instance.text("SOPInstanceUID")
    if not names_an_instance(uid):
        raise UnreadableInstance("no_sop_instance_uid")
    return mapped_uid(uid, pseudonymiser)
