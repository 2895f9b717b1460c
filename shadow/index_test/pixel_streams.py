"""Compressed pixel data without the places of a stream that hold text: comments, application data, tails.

The encapsulated form is that of PS3.5 annex A.4. Nothing is decoded and no fragment changes its length: what an
image does not need is overwritten with zeros where it stands, so a decoder reads the same pixels. A stream that is
not what its transfer syntax says is overwritten from there on; its image is then unreadable, and counted as such.

Bytes that an encoder puts into the coded data themselves, or into tables, are pixels as far as anyone can tell without
decoding.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from itertools import pairwise
from types import MappingProxyType

_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_ITEM_HEADER_BYTES = 8
_LONG = struct.Struct("<L")
_BIG_SHORT, _BIG_LONG = struct.Struct(">H"), struct.Struct(">L")

# ISO/IEC 10918-1 table B.1, ISO/IEC 14495-1 table C.1.
_JPEG_START, _JPEG_END, _JPEG_SCAN = 0xD8, 0xD9, 0xDA
_JPEG_WITHOUT_LENGTH = frozenset({0x01, _JPEG_START, *range(0xD0, 0xD8)})
_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_JPEG_COMPONENTS = 5
"""Where a frame header's content says how many components it has."""
_JPEG_PARAMETERS, _JPEG_COMMENT = 0xF8, 0xFE
_JPEG_NEEDED = _JPEG_FRAMES | {0xC4, _JPEG_SCAN, 0xDB, 0xDC, 0xDD, _JPEG_PARAMETERS}
_JPEG_LENGTHS = MappingProxyType({0xDC: 4, 0xDD: 4, _JPEG_PARAMETERS: 11})
"""The most bytes that are read of a segment's content: number of lines, restart interval, JPEG-LS presets."""
_JPEG_PARAMETERS_READ = (b"\1", b"\4")
"""JPEG-LS presets that an image may need: coding parameters and large sizes. A palette is the data set's own."""
_JPEG_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
_JPEG_APPLICATION_DATA = ((0xE0, b"JFIF\0", 14), (0xEE, b"Adobe", 12), (0xE8, b"mrfx", 5))
"""Application segments that tell a decoder the colours: marker, how it begins, and how many bytes of it are read."""

# ISO/IEC 15444-1 table A.2, 15444-15 for CAP. What is not named helps a decoder to jump, and no more.
_J2K_START, _J2K_TILE, _J2K_DATA, _J2K_END = b"\xff\x4f\xff\x51", 0x90, 0x93, 0xD9
_J2K_NEEDED = frozenset({0x51, 0x52, 0x53, 0x5C, 0x5D, 0x5E, 0x5F, 0x60, 0x61, _J2K_TILE})
_J2K_COMMENT, _J2K_CAPABILITIES, _J2K_HIGH_THROUGHPUT = 0x64, 0x50, b"\x00\x02\x00\x00"
_J2K_CAPABILITIES_BYTES = 6
_J2K_TILE_BYTES = 12

_RLE_HEADER_BYTES, _RLE_SEGMENTS = 64, 15


def clean_pixel_data(transfer_syntax_uid: str, value: bytes, frames: int, frame_pixels: int) -> bytes | None:
    """Encapsulated pixel data with the same images and nothing else.

    Args:
        transfer_syntax_uid: of the data set.
        value: from the offset table's item to the sequence delimiter.
        frames: Number of Frames (0028,0008).
        frame_pixels: rows times columns.

    Returns:
        None where no rule is known for the transfer syntax.
    """
    clean = _STREAMS.get(transfer_syntax_uid)
    if clean is None:
        return None
    table, *fragments = _fragments(value)
    # An RLE frame is one fragment (PS3.5 A.4.2); what comes beyond the last frame is nobody's.
    groups = [[one] for one in fragments[:frames]] if clean is _rle else _frames(table, fragments, frames)
    images = frames if len(groups) == 1 else 1
    written = []
    for group in groups:
        stream = clean(b"".join(group), frame_pixels if clean is _rle else images)
        position = 0
        for fragment in group:
            written.append(stream[position : position + len(fragment)])
            position += len(fragment)
    table = table if _offsets(table, fragments) else b""
    return b"".join(_item(one) for one in (table, *written)) + _SEQUENCE_END + bytes(4)


def can_clean(transfer_syntax_uid: str) -> bool:
    """Whether a rule is known for the streams of a compressed transfer syntax."""
    return transfer_syntax_uid in _STREAMS


def _item(content: bytes) -> bytes:
    return _ITEM + _LONG.pack(len(content)) + content


def _fragments(value: bytes) -> list[bytes]:
    """The items' contents, of which the first is the basic offset table; bounds were checked by the reader."""
    found = []
    position = 0
    while value[position : position + 4] == _ITEM:
        length = _LONG.unpack_from(value, position + 4)[0]
        position += _ITEM_HEADER_BYTES
        found.append(value[position : position + length])
        position += length
    return found or [b""]


def _offsets(table: bytes, fragments: list[bytes]) -> list[int]:
    """Which fragment each frame begins with, by the basic offset table; empty where it is absent or untrue."""
    if not table or len(table) % 4:
        return []
    starts = {}
    position = 0
    for number, fragment in enumerate(fragments):
        starts[position] = number
        position += _ITEM_HEADER_BYTES + len(fragment)
    found = [starts.get(offset, -1) for (offset,) in _LONG.iter_unpack(table)]
    true = found[0] == 0 and all(one < other for one, other in pairwise(found))
    return found if true else []


def _frames(table: bytes, fragments: list[bytes], frames: int) -> list[list[bytes]]:
    """The fragments of each frame; all of them together where nothing says which belong to which."""
    if len(fragments) == frames:
        return [[one] for one in fragments]
    begins = _offsets(table, fragments) or [0]
    return [fragments[start:end] for start, end in zip(begins, [*begins[1:], len(fragments)], strict=True)]


def _jpeg(stream: bytes, images: int) -> bytes:
    """JPEG and JPEG-LS: comments, application data and reserved segments are blank, and so is what follows the end."""
    first = stream.find(b"\xff\xd8")
    kept = bytearray(stream[first:] + bytes(first)) if first >= 0 else bytearray(len(stream))
    position, end = 0, len(kept)
    while position + 2 <= end and images:
        marker = kept[position + 1]
        if kept[position] != 0xFF:
            break
        if marker == 0xFF:
            position += 1
        elif marker == _JPEG_END:
            images -= 1
            position = _next_image(kept, position + 2, b"\xff\xd8") if images else position + 2
        elif marker in _JPEG_WITHOUT_LENGTH:
            position += 2
        else:
            segment = position + 4
            after = position + 2 + _BIG_SHORT.unpack_from(kept, position + 2)[0] if segment <= end else end + 1
            if after > end or after < segment:
                break
            if marker in _JPEG_NEEDED:
                _blank_slack(kept, marker, segment, after)
            else:
                _blank_application_data(kept, marker, segment, after)
            if marker == _JPEG_SCAN:
                found = _JPEG_MARKER.search(kept, after)
                after = found.start() if found else end
            position = after
    return bytes(kept[:position]) + bytes(end - position)


def _blank_slack(kept: bytearray, marker: int, start: int, end: int) -> None:
    """What lies in a segment behind its own content is blank; presets that no image needs become a comment."""
    used = _JPEG_LENGTHS.get(marker, end - start)
    if marker in _JPEG_FRAMES and end - start > _JPEG_COMPONENTS:
        used = _JPEG_COMPONENTS + 1 + 3 * kept[start + _JPEG_COMPONENTS]
    elif marker == _JPEG_SCAN and end > start:
        used = 4 + 2 * kept[start]
    elif marker == _JPEG_PARAMETERS and kept[start : start + 1] not in _JPEG_PARAMETERS_READ:
        kept[start - 3], used = _JPEG_COMMENT, 0
    used = min(used, end - start)
    kept[start + used : end] = bytes(end - start - used)


def _blank_application_data(kept: bytearray, marker: int, start: int, end: int) -> None:
    for application, begin, length in _JPEG_APPLICATION_DATA:
        if marker == application and kept[start : start + len(begin)] == begin:
            start = min(start + length, end)
    kept[start:end] = bytes(end - start)


def _next_image(kept: bytearray, position: int, begin: bytes) -> int:
    """Where the next image of a stream begins; what lies between is blank."""
    found = kept.find(begin, position)
    start = found if found >= 0 else len(kept)
    kept[position:start] = bytes(start - position)
    return start


def _jpeg_2000(stream: bytes, images: int) -> bytes:
    """JPEG 2000 and its high-throughput form: the code stream without comments, and without a file format around it."""
    first = stream.find(_J2K_START)
    kept = bytearray(stream[first:] + bytes(first)) if first >= 0 else bytearray(len(stream))
    position, end, tile_end = 2, len(kept), 0
    while position + 4 <= end and images:
        marker = kept[position + 1]
        if kept[position] != 0xFF:
            break
        if marker == _J2K_DATA:
            position = tile_end if tile_end > position else kept.find(b"\xff\xd9", position)
            if position < 0 or kept[position : position + 2] == b"\xff\xd9":
                position, images = _after_image(kept, position, images)
            continue
        after = position + 2 + _BIG_SHORT.unpack_from(kept, position + 2)[0]
        if after > end or after < position + 4:
            break
        if marker == _J2K_TILE and position + _J2K_TILE_BYTES <= end:
            length = _BIG_LONG.unpack_from(kept, position + 6)[0]
            tile_end = position + length if length else 0
            if tile_end > end:
                break
        elif marker not in _J2K_NEEDED:
            _blank_segment(kept, position, after)
        position = after
    position = max(0, min(position, end))
    return bytes(kept[:position]) + bytes(end - position)


def _blank_segment(kept: bytearray, start: int, end: int) -> None:
    """A segment that no decoder needs becomes an empty comment; of the capabilities the high throughput stays."""
    content = start + 4
    if kept[start + 1] == _J2K_CAPABILITIES and kept[content : content + 4] == _J2K_HIGH_THROUGHPUT:
        content = min(content + _J2K_CAPABILITIES_BYTES, end)
    else:
        kept[start + 1] = _J2K_COMMENT
    kept[content:end] = bytes(end - content)


def _after_image(kept: bytearray, position: int, images: int) -> tuple[int, int]:
    """Where to read on after an end of code stream, and how many images are left to read."""
    if position < 0 or images == 1:
        return (position + 2 if position >= 0 else len(kept)), 0
    return _next_image(kept, position + 2, _J2K_START) + 2, images - 1


def _rle(stream: bytes, frame_pixels: int) -> bytes:
    """RLE (PS3.5 annex G): the header's unused offsets are blank, and so is what follows each segment's last pixel."""
    kept = bytearray(len(stream))
    if len(stream) < _RLE_HEADER_BYTES:
        return bytes(kept)
    count, *offsets = struct.unpack_from("<16L", stream)
    used = offsets[: min(count, _RLE_SEGMENTS)]
    if not 0 < count <= _RLE_SEGMENTS or used[0] != _RLE_HEADER_BYTES or sorted(used) != used:
        return bytes(kept)
    struct.pack_into(f"<{1 + count}L", kept, 0, count, *used)
    for start, end in zip(used, [*used[1:], len(stream)], strict=True):
        segment = stream[start:end]
        last = _packed_bytes(segment, frame_pixels)
        kept[start : start + last] = segment[:last]
    return bytes(kept)


def _packed_bytes(segment: bytes, pixels: int) -> int:
    """How many bytes of a PackBits segment its pixels take."""
    position, size = 0, len(segment)
    while pixels > 0 and position < size:
        control = segment[position]
        if control < 128:
            taken = min(control + 1, pixels)
            position += 1 + taken
            pixels -= taken
        elif control > 128:
            position += 2
            pixels -= 257 - control
        else:
            position += 1
    return min(position, size)


_STREAMS: MappingProxyType[str, Callable[[bytes, int], bytes]] = MappingProxyType(
    dict.fromkeys((f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81)), _jpeg)
    | dict.fromkeys((f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 92, 93, 201, 202, 203)), _jpeg_2000)
    | {"1.2.840.10008.1.2.5": _rle}
)
"""What cleans the streams of each compressed transfer syntax. One that is not here gets no copy: videos, JPEG XL."""
