"""Compressed streams: the same pixels, and no comment, application data, tail or offset that holds text."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from head_ct import PSEUDONYMISER, as_file, head_slice
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    HTJ2K,
    MPEG2MPML,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from shadow.index_test.decoder import pool
from shadow.index_test.deidentify import deidentify_instance, pixel_refusal
from shadow.index_test.deidentify_values import DeidentificationContext
from shadow.index_test.instance import read_instance
from shadow.index_test.pixel_streams import clean_pixel_data

CONTEXT = DeidentificationContext(PSEUDONYMISER, "P" + "2" * 20, "A" + "3" * 20, -70)
PLANTED = b"ZQXPLANTED^NAME."
HTJ2K_STREAMS = Path(__file__).parents[1] / "corpora" / "htj2k"
IMAGE = (np.indices((32, 32)).sum(axis=0) * 4).astype(np.uint16)
COLLECTION = (
    "JPEG2000.dcm", "JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm",
    "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_dcmtk_+eb+cr.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_gdcm_KY.dcm", "SC_rgb_jls_lossy_line.dcm", "SC_rgb_jpeg_app14_dcmd.dcm",
    "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_rle_16bit_2frame.dcm", "SC_rgb_rle_2frame.dcm", "rtdose_rle.dcm",
    "examples_jpeg2k.dcm",
)  # fmt: skip


def stream(syntax: str) -> bytes:
    """One image as a stream of this transfer syntax."""
    if syntax == JPEGBaseline8Bit:
        written = io.BytesIO()
        Image.fromarray(IMAGE.astype(np.uint8)).save(written, "JPEG")
        return written.getvalue()
    if syntax == HTJ2KLossless:
        return (HTJ2K_STREAMS / "reversible.j2c").read_bytes()
    dataset = head_slice(pixels=IMAGE)
    dataset.compress(syntax)
    return get_frame(dataset.PixelData, 0)


def compressed(syntax: str, pixel_data: bytes) -> Dataset:
    dataset = head_slice()
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == JPEGBaseline8Bit:
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = pixel_data
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def fragments(*parts: bytes, delimiter_length: bytes = bytes(4)) -> bytes:
    items = b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<L", len(one)) + one for one in parts)
    return items + b"\xfe\xff\xdd\xe0" + delimiter_length


def even(content: bytes) -> bytes:
    return content + bytes(len(content) % 2)


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def lengthened(whole: bytes, marker: int, content: bytes) -> bytes:
    """The stream with text behind a segment's own content; a segment that it has not is put before the scan."""
    start = whole.find(bytes((0xFF, marker)))
    if start < 0:
        start = whole.find(b"\xff\xda")
        return whole[:start] + segment(marker, content + PLANTED) + whole[start:]
    end = start + 2 + struct.unpack_from(">H", whole, start + 2)[0]
    return whole[:start] + segment(marker, whole[start + 4 : end] + PLANTED) + whole[end:]


def planted(syntax: str) -> dict[str, bytes]:
    """Pixel data with text in every place where the standard leaves room for it."""
    whole = stream(syntax)
    found = {
        "tail": encapsulate([whole + PLANTED]),
        "head": encapsulate([PLANTED + whole]),
        "offset table": fragments(PLANTED, even(whole)),
        "a fragment more": fragments(b"", even(whole), PLANTED),
        "delimiter": fragments(b"", even(whole), delimiter_length=PLANTED[:4]),
    }
    if syntax in (JPEGBaseline8Bit, JPEGLSLossless):
        for marker in (0xFE, 0xE0, 0xE1, 0xE8, 0xEE, 0xEF):
            begin = {0xE0: b"JFIF\0\1\1\0\0\1\0\1\0\0", 0xEE: b"Adobe" + bytes(7)}.get(marker, b"")
            found[f"segment {marker:02X}"] = encapsulate([whole[:2] + segment(marker, begin + PLANTED) + whole[2:]])
        if syntax == JPEGBaseline8Bit:
            found["segment CC"] = encapsulate([whole[:2] + segment(0xCC, PLANTED) + whole[2:]])
            found["behind a number of lines"] = encapsulate([lengthened(whole, 0xDC, b"\0\x20")])
        else:
            found["segment F8"] = encapsulate([whole[:2] + segment(0xF8, b"\2" + PLANTED) + whole[2:]])
            found["behind a frame's header"] = encapsulate([lengthened(whole, 0xF7, b"")])
        scan = whole.find(b"\xff\xda")
        found["segment before the scan"] = encapsulate([whole[:scan] + segment(0xFE, PLANTED) + whole[scan:]])
        found["segment after the scan"] = encapsulate([whole.rstrip(b"\0")[:-2] + segment(0xFE, PLANTED) + b"\xff\xd9"])
    if syntax in (JPEG2000Lossless, HTJ2KLossless):
        size_end = 4 + struct.unpack_from(">H", whole, 4)[0]
        tile = whole.find(b"\xff\x90")
        length = struct.unpack_from(">L", whole, tile + 6)[0]
        comment = segment(0x64, b"\0\1" + PLANTED)
        in_tile = bytearray(whole[: tile + 12] + comment + whole[tile + 12 :])
        struct.pack_into(">L", in_tile, tile + 6, length + len(comment))
        found["comment"] = encapsulate([whole[:size_end] + comment + whole[size_end:]])
        found["comment in a tile"] = encapsulate([bytes(in_tile)])
        for marker in (0x50, 0x55, 0x57, 0x59):
            found[f"segment {marker:02X}"] = encapsulate([whole[:tile] + segment(marker, PLANTED) + whole[tile:]])
        lengths = segment(0x58, b"\0" + PLANTED)
        in_tile = bytearray(whole[: tile + 12] + lengths + whole[tile + 12 :])
        struct.pack_into(">L", in_tile, tile + 6, length + len(lengths))
        found["packet lengths in a tile"] = encapsulate([bytes(in_tile)])
        found["boxes around it"] = encapsulate([
            b"\0\0\0\x0cjP  \r\n\x87\n" + struct.pack(">L", 8 + len(PLANTED)) + b"xml " + PLANTED
            + struct.pack(">L", 8 + len(whole)) + b"jp2c" + whole
        ])  # fmt: skip
    if syntax == RLELossless:
        found = {name: content for name, content in found.items() if name != "head"}
        found["header"] = encapsulate([whole[:40] + PLANTED + whole[56:]])
        count, first, second = struct.unpack_from("<3L", whole)
        assert count == 2
        header = struct.pack("<3L", 2, first, second + len(PLANTED)) + whole[12:64]
        found["between segments"] = encapsulate([header + whole[64:second] + PLANTED + whole[second:]])
    return found


SYNTAXES = (JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless, RLELossless)
PLACES = [(syntax, place) for syntax in SYNTAXES for place in planted(syntax)]


@pytest.mark.parametrize(("syntax", "place"), PLACES, ids=[f"{syntax.name}: {place}" for syntax, place in PLACES])
def test_text_in_a_compressed_stream_is_blank_and_its_pixels_are_the_same(syntax: str, place: str) -> None:
    original = as_file(compressed(syntax, planted(syntax)[place]))
    instance = read_instance(original)
    assert pixel_refusal(instance) is None
    content = deidentify_instance(instance, CONTEXT)
    assert PLANTED[:4] in original
    assert PLANTED[:4] not in content
    expected = pool().decode(as_file(compressed(syntax, encapsulate([stream(syntax)]))), 0)
    assert np.array_equal(pool().decode(content, 0), expected)


@pytest.mark.parametrize(
    ("syntax", "marker"),
    [(JPEGBaseline8Bit, 0xC0), (JPEGBaseline8Bit, 0xDA), (JPEGLSLossless, 0xF7), (JPEGLSLossless, 0xDA)],
)
def test_not_one_byte_behind_the_own_content_of_a_header_stays(syntax: str, marker: int) -> None:
    whole = stream(syntax)
    start = whole.find(bytes((0xFF, marker)))
    own = whole[start + 4 : start + 2 + struct.unpack_from(">H", whole, start + 2)[0]]
    cleaned = clean_pixel_data(syntax, fragments(b"", even(lengthened(whole, marker, b""))), 1, 32 * 32)
    assert cleaned is not None
    assert segment(marker, own + bytes(len(PLANTED))) in cleaned


def test_what_no_decoder_of_jpeg_2000_needs_becomes_a_comment_and_what_high_throughput_needs_stays() -> None:
    whole = (HTJ2K_STREAMS / "irreversible.j2c").read_bytes()
    start = whole.find(b"\xff\x50")
    capabilities = whole[start : start + 2 + struct.unpack_from(">H", whole, start + 2)[0]]
    assert len(capabilities) == 10 and any(capabilities[8:])
    with_profile = whole[:start] + segment(0x59, PLANTED) + whole[start:]
    cleaned = clean_pixel_data(HTJ2K, fragments(b"", even(with_profile)), 1, 32 * 32)
    assert cleaned is not None
    assert segment(0x64, bytes(len(PLANTED))) + capabilities in cleaned


@pytest.mark.parametrize(
    ("syntax", "name", "largest_error"),
    [(HTJ2KLossless, "reversible", 0), (HTJ2KLosslessRPCL, "reversible", 0), (HTJ2K, "irreversible", 20)],
)
def test_high_throughput_jpeg_2000_is_decoded_without_its_encoders_name(
    syntax: str, name: str, largest_error: int
) -> None:
    whole = (HTJ2K_STREAMS / f"{name}.j2c").read_bytes()
    content = deidentify_instance(read_instance(as_file(compressed(syntax, encapsulate([whole])))), CONTEXT)
    assert b"OpenJPH" in whole
    assert b"OpenJPH" not in content
    assert np.abs(pool().decode(content, 0).astype(int) - IMAGE).max() <= largest_error


@pytest.mark.parametrize("name", COLLECTION)
def test_every_compressed_image_of_the_collection_keeps_its_pixels(name: str) -> None:
    path = get_testdata_file(name)
    assert path
    original = Path(str(path)).read_bytes()
    copy = deidentify_instance(read_instance(original), CONTEXT)
    for frame in range(int(read_instance(original).number("NumberOfFrames") or 1)):
        assert np.array_equal(pool().decode(copy, frame), pool().decode(original, frame))


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("table", [True, False])
def test_the_frames_of_a_multi_frame_image_stay_apart(syntax: str, table: bool) -> None:
    one = even(stream(syntax))
    pieces = [one[:40], one[40:], one[:60], one[60:]] if syntax != RLELossless else [one, one]
    second = sum(8 + len(piece) for piece in pieces[: len(pieces) // 2])
    dataset = compressed(syntax, fragments(struct.pack("<2L", 0, second) if table else b"", *pieces))
    dataset.NumberOfFrames = 2
    original = as_file(dataset)
    copy = deidentify_instance(read_instance(original), CONTEXT)
    assert pydicom.dcmread(io.BytesIO(copy)).PixelData[:16] == dataset.PixelData[:16], "the offset table"
    for frame in range(2):
        assert np.array_equal(pool().decode(copy, frame), pool().decode(original, frame))


def test_a_stream_of_a_kind_that_nobody_can_clean_gets_no_copy() -> None:
    instance = read_instance(as_file(compressed(MPEG2MPML, encapsulate([PLANTED]))))
    assert pixel_refusal(instance) == "pixel_stream_unknown"
    assert PLANTED not in deidentify_instance(instance, CONTEXT)
    assert pixel_refusal(read_instance(as_file(head_slice()))) is None
    assert clean_pixel_data(ExplicitVRLittleEndian, encapsulate([PLANTED]), 1, 4) is None


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_stream_that_is_cut_or_flipped_ends_and_keeps_its_length(syntax: str) -> None:
    whole = fragments(b"", even(stream(syntax)))
    random = np.random.default_rng(5)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in random.integers(16, len(whole) - 8, 4):
            damaged[place] = random.integers(0, 256)
        cleaned = clean_pixel_data(syntax, bytes(damaged), int(random.integers(1, 3)), 32 * 32)
        assert cleaned is not None
        assert len(cleaned) == len(whole)
    text = fragments(b"", PLANTED * 8)
    assert PLANTED[:4] not in (clean_pixel_data(syntax, text, 1, 32 * 32) or PLANTED)


@pytest.mark.parametrize("syntax", (JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless))
def test_text_between_the_images_of_one_run_of_fragments_is_blank(syntax: str) -> None:
    one = even(stream(syntax))
    dataset = compressed(syntax, fragments(b"", one + PLANTED, one[:60], one[60:]))
    dataset.NumberOfFrames = 2
    copy = deidentify_instance(read_instance(as_file(dataset)), CONTEXT)
    assert PLANTED not in copy
    assert copy.count(one[:60]) == 2


@pytest.mark.parametrize("syntax", (JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless))
def test_an_image_behind_the_image_of_a_frame_is_blank(syntax: str) -> None:
    one = even(stream(syntax))
    for frames in (1, 2):
        cleaned = clean_pixel_data(syntax, fragments(b"", *[one + one] * frames), frames, 32 * 32)
        assert cleaned is not None
        assert cleaned.count(one[:60]) == frames


def test_a_fragment_behind_the_last_frame_of_rle_is_left_out() -> None:
    one = even(stream(RLELossless))
    cleaned = clean_pixel_data(RLELossless, fragments(b"", one, one), 1, 32 * 32)
    assert cleaned == fragments(b"", one)


def test_an_offset_table_that_does_not_begin_at_the_first_fragment_is_left_out() -> None:
    one = even(stream(JPEGLSLossless))
    for offset in (8 + len(one), 4):
        cleaned = clean_pixel_data(JPEGLSLossless, fragments(struct.pack("<L", offset), one, one), 2, 32 * 32)
        assert cleaned == fragments(b"", one, one)


def test_a_comment_in_a_later_tile_is_blank() -> None:
    written = io.BytesIO()
    Image.fromarray(IMAGE.astype(np.uint8)).save(written, "JPEG2000", tile_size=(16, 16), no_jp2=True)
    whole = written.getvalue()
    tile = whole.rfind(b"\xff\x90\x00\x0a")
    assert tile > whole.find(b"\xff\x90\x00\x0a")
    comment = segment(0x64, b"\0\1" + PLANTED)
    length = struct.unpack_from(">L", whole, tile + 6)[0]
    planted_tile = bytearray(whole[: tile + 12] + comment + whole[tile + 12 :])
    struct.pack_into(">L", planted_tile, tile + 6, length + len(comment))
    cleaned = clean_pixel_data(JPEG2000Lossless, fragments(b"", even(bytes(planted_tile))), 1, 32 * 32)
    assert cleaned is not None
    assert PLANTED not in cleaned
    assert whole[tile + 12 :] in cleaned
