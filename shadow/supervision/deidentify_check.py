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
from shadow.index_test.deidentify import deidentify_instance, pixel_refusal
from shadow.index_test.deidentify_table import VERSION
from shadow.index_test.deidentify_values import DeidentificationContext
from shadow.index_test.instance import Element, Instance, read_instance

LONGEST_SHOWN = 60
BINARY = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"UN"}
NUMERIC = {b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"FL": "f", b"FD": "d"}


def check(file: Path, console: Console) -> int:
    """Print every element that the copy of a file would hold. Exit 1 where it would get no copy, 2 where unreadable.

    The pseudonyms are made with a key that is thrown away: they are not those of any trial.
    """
    try:
        instance = read_instance(file.read_bytes())
        key = Pseudonymiser(secrets.token_bytes(32))
        context = DeidentificationContext(key, key.patient_key("", "x"), key.accession_key("", "x"), -7)
        copy = read_instance(deidentify_instance(instance, context))
    except (OSError, UnreadableInstance) as error:
        console.print(f"{file}: cannot be read: {error}", highlight=False)
        return 2
    table = Table("Element", "Name", "VR", "What stays", box=None, pad_edge=False)
    for depth, element in _walk(list(copy.elements.values())):
        shown = Text("  " * depth + f"({element.tag >> 16:04X},{element.tag & 0xFFFF:04X})")
        name = dictionary_keyword(element.tag) if dictionary_has_tag(element.tag) else "private"
        table.add_row(shown, name, element.vr.decode("ascii", "replace"), Text(_shown(copy, element)))
    console.print(table)
    before, after = (Counter(one.tag for _, one in _walk(list(of.elements.values()))) for of in (instance, copy))
    gone = sum((before - after).values())
    console.print(
        f"\nTable version {VERSION}: {sum(after.values())} elements stay, {gone} are removed.", highlight=False
    )
    refusal = pixel_refusal(instance)
    if refusal is not None:
        console.print(f"The instance would get no copy at all: {refusal}.", highlight=False)
        return 1
    console.print("Pixels stay as they are. A face, or text that no header admits, stays with them.", highlight=False)
    return 0


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
    if element.vr in NUMERIC:
        code = NUMERIC[element.vr]
        count = size // struct.calcsize(code)
        numbers = struct.unpack_from(f"<{count}{code}", copy.buffer, element.start)
        return "\\".join(f"{one:g}" for one in numbers)[:LONGEST_SHOWN]
    text = copy.buffer[element.start : element.end].decode("latin-1").strip(" \0")
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"
