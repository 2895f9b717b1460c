"""What `shadow deidentify --check` prints: what of a file would stay, by the table that admission uses."""

from __future__ import annotations

import secrets
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pydicom.datadict import dictionary_has_tag, dictionary_keyword
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shadow.domain.errors import UnreadableInstance
from shadow.domain.identifiers import Pseudonymiser
from shadow.index_test.deidentify import deidentify_instance, native_bytes, pixel_refusal
from shadow.index_test.deidentify_table import VERSION
from shadow.index_test.deidentify_values import DeidentificationContext
from shadow.index_test.instance import PIXEL_DATA, Element, Instance, read_instance

LONGEST_SHOWN = 1024
BINARY = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"UN"}
NUMERIC = {b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"FL": "f", b"FD": "d"}
REMEDIES = {
    "missing": "there is no such file. Give the path of one DICOM file.",
    "folder": "this is a folder. Give the path of one DICOM file in it.",
    "no_file": "this is no regular file. Copy it to a disk, and give the path of the copy.",
    "not_dicom": "this is no DICOM file (no DICM at byte 128). Export it from the archive as a DICOM file (PS3.10).",
    "malformed": "the file is damaged or cut short. Copy or export it again.",
    "unknown_transfer_syntax": "its transfer syntax is not one of the standard. Export it from the archive again.",
    "too_many_elements": "it holds more than 2 million elements and items. The trial counts such an instance as "
    "unreadable. Export it from the archive again, with fewer frames.",
    "reading_takes_too_long": "it takes too long to read. The trial counts such an instance as unreadable. Export it "
    "from the archive in explicit VR little endian.",
    "reading_takes_too_much_memory": "it takes too much memory to read. The trial counts such an instance as "
    "unreadable. Export it from the archive in explicit VR little endian.",
    "nesting_too_deep": "sequences lie more than 16 deep in it. The trial counts such an instance as unreadable.",
    "no_sop_instance_uid": "it has no SOP Instance UID (0008,0018). Export it from the archive again.",
    "no_pixels": "it holds no pixel data that its header describes: cut short, or no image. Copy or export it again.",
    "short_pixels": "its pixel data are shorter than its header says: the file is cut short. Copy or export it again.",
}
"""What to do, by what is wrong; the keys of `UnreadableInstance` among them."""


def check(file: Path, console: Console) -> int:
    """Print every element that the copy of a file would hold. Exit 1 where it would get no copy, 2 where unreadable.

    The pseudonyms are made with a key that is thrown away: they are not those of any trial.
    """
    try:
        content = _content(file)
        if isinstance(content, str):
            return _refused(file, content, console)
        instance = read_instance(content)
        key = Pseudonymiser(secrets.token_bytes(32))
        context = DeidentificationContext(key, key.patient_key("", "x"), key.accession_key("", "x"), -7)
        copy = read_instance(deidentify_instance(instance, context))
    except UnreadableInstance as error:
        return _refused(file, error.reason, console)
    except OSError as error:
        console.print(_line(file, f"cannot be read: {error.strerror}. Copy it to where you may read it."))
        return 2
    console.print(_table(copy))
    before, after = (Counter(one.tag for _, one in _walk(list(of.elements.values()))) for of in (instance, copy))
    gone = sum((before - after).values())
    console.print(
        f"\nTable version {VERSION}: {sum(after.values())} elements stay, {gone} are removed.", highlight=False
    )
    refusal = pixel_refusal(instance)
    if refusal is not None:
        console.print(f"The instance would get no copy at all: {refusal}.", highlight=False)
        return 1
    problem = _pixel_problem(instance, copy)
    if problem is not None:
        return _refused(file, problem, console)
    console.print("Pixels stay as they are. A face, or text that no header admits, stays with them.", highlight=False)
    return 0


def _content(file: Path) -> bytes | str:
    """The file's bytes, or which remedy: a pipe or a device would never end."""
    if not file.is_file():
        if not file.exists():
            return "missing"
        return "folder" if file.is_dir() else "no_file"
    return file.read_bytes()


def _refused(file: Path, reason: str, console: Console) -> int:
    console.print(_line(file, REMEDIES[reason]))
    return 2


def _line(file: Path, text: str) -> Text:
    """A line that begins with the file's name, whatever characters that has."""
    return Text(f"{str(file).encode('utf-8', 'replace').decode()}: {text}")


def _pixel_problem(instance: Instance, copy: Instance) -> str | None:
    pixels = copy.elements.get(PIXEL_DATA)
    if pixels is None:
        return "no_pixels"
    expected = native_bytes(instance)
    return "short_pixels" if not pixels.undefined_length and pixels.end - pixels.start < expected else None


def _table(copy: Instance) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("Element", "Name", "VR", "What stays"):
        table.add_column(heading, overflow="fold")
    for depth, element in _walk(list(copy.elements.values())):
        shown = Text("  " * depth + f"({element.tag >> 16:04X},{element.tag & 0xFFFF:04X})")
        name = dictionary_keyword(element.tag) if dictionary_has_tag(element.tag) else "private"
        table.add_row(shown, name, element.vr.decode("ascii", "replace"), Text(_shown(copy, element)))
    return table


def _walk(elements: list[Element], depth: int = 0) -> Iterator[tuple[int, Element]]:
    for element in elements:
        yield depth, element
        for item in element.items or []:
            yield from _walk(item, depth + 1)


def _shown(copy: Instance, element: Element) -> str:
    size = element.end - element.start
    if element.items is not None:
        return f"{len(element.items)} items"
    if element.vr in BINARY:
        return f"{size} bytes"
    if element.vr == b"AT":
        pairs = struct.iter_unpack("<HH", copy.buffer[element.start : element.end])
        return "\\".join(f"({group:04X},{number:04X})" for group, number in pairs)[:LONGEST_SHOWN]
    if element.vr in NUMERIC:
        code = NUMERIC[element.vr]
        count = size // struct.calcsize(code)
        numbers = struct.unpack_from(f"<{count}{code}", copy.buffer, element.start)
        return "\\".join(f"{one:g}" for one in numbers)[:LONGEST_SHOWN]
    text = copy.buffer[element.start : element.end].decode("latin-1").strip(" \0")
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"
