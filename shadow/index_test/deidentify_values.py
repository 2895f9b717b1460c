"""New values for old ones: what each action of the de-identification table makes of one element's bytes.

Every function gives an empty value where the old one is not written as the standard demands, so that text
cannot pass as a number, a date or a UID.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

from pydicom.uid import UID

from shadow.domain.identifiers import Pseudonymiser
from shadow.index_test.deidentify_table import (
    FIRST_YEAR,
    LAST_YEAR,
    PUBLIC_CODING_SCHEMES,
    TERMS,
    WORDS,
    Action,
)
from shadow.index_test.identifying_words import NOBODY, IdentifyingWords

# DS holds 16 characters (PS3.5 6.2), and scanners write more digits than that: a position must not be lost for it.
_NUMBER_OF_TEXT = {
    b"DS": re.compile(r"(?=.{0,32}\Z)(?:[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)?\Z"),
    # An exposure of 14.5 mAs is no whole number, and is sent as one.
    b"IS": re.compile(r"(?=.{0,12}\Z)(?:[+-]?[0-9]+(?:\.[0-9]*)?)?\Z"),
    # Colons are ACR-NEMA's. A time that no clock shows can be an identifier.
    b"TM": re.compile(r"(?:(?:[01]\d|2[0-3])(?::?[0-5]\d(?::?(?:[0-5]\d|60)(?:\.\d{0,6})?)?)?)?\Z"),
}
_BINARY_BYTES = {b"US": 2, b"SS": 2, b"UL": 4, b"SL": 4, b"FL": 4, b"FD": 8, b"AT": 4}
_LONG_NUMBERS = {b"UL": "I", b"SL": "i", b"FL": "f", b"FD": "d"}
_SMALLEST_IDENTIFIER = 1e5
# Without `@` and `?`, which are the last bytes of every number from 2**-15 to 2**17 in VR FD.
_LETTERS = re.compile(rb"[A-Za-z0-9^ .,'\-=\\_/:()+]{5,}\0*\Z")
UNKNOWN_TERM = "UNKNOWN"
_TEXT_MAXIMUM = {b"SH": 16, b"LO": 64, b"ST": 64, b"UC": 64, b"CS": 16}
_UID_VALUE = re.compile(r"[0-9.]{1,64}\Z")
# What is longer than the standard allows still tells one series from another.
_LONG_UID_VALUE = re.compile(r"[0-9.]{1,256}\Z")
_PADDING = " \0\r\n\t"
_STRICT_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*\Z")
_DAY = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})\Z")
_UTC_OFFSET = r"[+-](?:0\d|1[0-4])(?:00|15|30|45)"
_INSTANT = re.compile(
    rf"(\d{{8}})((?:(?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{{0,6}})?)?)?)?(?:{_UTC_OFFSET})?)\Z"
)
_AGE = re.compile(r"(\d{1,3})([DWMY])\Z")
_OFFSET = re.compile(rf"{_UTC_OFFSET}\Z")
_CODES = {scheme: re.compile(rf"(?:{shape})\Z") for scheme, shape in PUBLIC_CODING_SCHEMES.items()}
_LENGTH = re.compile(r"\d{1,2}[.,]\d{1,2}(?:MM|CM)?\Z|\d{1,3}(?:MM|CM)\Z")
_MOST_LENGTHS = 2
_RATIO = re.compile(rb"[0-9]\.[0-9]{1,6}(?::1(?:\.0{1,3})?)?\Z")
_PRIVATE_VALUES = 4
_OLDEST_SHOWN = 90
_STANDARD_ARC = "1.2.840.10008."
_VERHOEFF_TURN = "1576283094"
_VERHOEFF_DIHEDRAL = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeidentificationContext:
    """Whose study it is, by pseudonym.

    Attributes:
        patient_key, accession_key: None where the study has no such number; the copy's value is then empty.
        date_shift_days: whole weeks, the same for all of a patient's studies.
        words: names and identifiers of the one instance that is copied.
    """

    pseudonymiser: Pseudonymiser
    patient_key: str | None
    accession_key: str | None
    date_shift_days: int
    words: IdentifyingWords = NOBODY


def new_value(action: Action, vr: bytes, raw: bytes, values: int, context: DeidentificationContext) -> bytes:
    """The new value of one element; empty where the old one is not written as it must be.

    Args:
        action: what the table says.
        vr: as declared, and one that the standard gives the element.
        raw: the old value's bytes.
        values: the most values that the element may have (value multiplicity); what comes after them is left out.
        context: whose study it is.
    """
    if not raw or action is Action.EMPTY:
        return b""
    if action is Action.KEEP:
        return _kept(vr, raw, values, context.words)
    if action in (Action.TERM, Action.MEANING, Action.DEVICE):
        maximum = _TEXT_MAXIMUM.get(vr, 0)
        parts = [one[:maximum].strip() for one in _texts(raw, values)]
        kept = [device_text(one, context.words) if action is Action.DEVICE else _term(one) for one in parts]
        if action is Action.MEANING:
            kept = [new or (UNKNOWN_TERM if old else "") for old, new in zip(parts, kept, strict=True)]
        return "\\".join(kept).rstrip("\\").encode()
    if action is Action.PATIENT:
        return (context.patient_key or "").encode()
    if action is Action.ACCESSION:
        # SH holds 16 characters (PS3.5 6.2): the pseudonym's first 16 stand in the copy.
        return (context.accession_key or "")[:16].encode()
    text = raw.decode("latin-1").strip(_PADDING)
    if action is Action.CLEAN:
        cleaned = clean_description(text, maximum=_TEXT_MAXIMUM.get(vr, 16)).split(" ")
        return " ".join(word for word in cleaned if word not in context.words.parts).encode()
    if action is Action.AGE:
        return _age(text)
    if action is Action.OFFSET:
        return text.encode() if _OFFSET.match(text) else b""
    parts = [one.strip(_PADDING) for one in text.split("\\")[:values]]
    if action is Action.REMAP:
        return "\\".join(mapped_uid(one, context.pseudonymiser) for one in parts).encode()
    return "\\".join(_shifted(one, context.date_shift_days) for one in parts).encode()


def safe_private_value(vr: bytes, raw: bytes, words: IdentifyingWords = NOBODY) -> bytes:
    """The value of a private element of the allow-list; empty where it is not written as its VR demands.

    >>> safe_private_value(b"DS", b"39.37 "), safe_private_value(b"SH", b"0.984:1 "), safe_private_value(b"SH", b"DOE")
    (b'39.37', b'0.984:1', b'')
    """
    if vr == b"SH":
        text = raw.rstrip(b" \0")
        return text if _RATIO.match(text) else b""
    return _kept(vr, raw, _PRIVATE_VALUES, words)


def _kept(vr: bytes, raw: bytes, values: int, words: IdentifyingWords) -> bytes:
    size = _BINARY_BYTES.get(vr)
    if size is not None:
        # More numbers than the element may have are a place to hide text in, and so are their bytes.
        if len(raw) % size or len(raw) > values * size:
            return b""
        return b"" if is_text(raw) or _holds_identifier(vr, raw, words) else raw
    written = _NUMBER_OF_TEXT.get(vr)
    if written is None:
        return b""
    kept = _texts(raw, values)
    if not all(written.match(one) for one in kept):
        return b""
    if any(words.number(one) for one in kept):
        return b""
    return "\\".join(kept).encode()


def is_text(raw: bytes) -> bool:
    """Whether bytes that should be binary numbers are letters and digits throughout.

    >>> is_text(b"DOE JOHN"), is_text(bytes(range(60, 68)))
    (True, False)
    """
    return _LETTERS.match(raw) is not None


def _holds_identifier(vr: bytes, raw: bytes, words: IdentifyingWords) -> bool:
    """Whether one of the binary numbers is an identifier of six digits or more; VR US and SS hold fewer."""
    code = _LONG_NUMBERS.get(vr)
    if code is None or not words.numbers:
        return False
    numbers = struct.unpack(f"<{len(raw) // _BINARY_BYTES[vr]}{code}", raw)
    return any(abs(one) >= _SMALLEST_IDENTIFIER and words.number(f"{one:.0f}") for one in numbers)


def _texts(raw: bytes, values: int) -> list[str]:
    """The values of a text element without padding, and without what stands behind a terminator."""
    text = raw.split(b"\0", 1)[0].decode("latin-1")
    return [one.strip() for one in text.split("\\")[:values]]


@lru_cache(maxsize=4096)
def _term(text: str) -> str:
    """A term of the standard in upper case, else nothing.

    >>> _term("CT_SOM5 SPI"), _term("CT_SOM5 DOE")
    ('CT_SOM5 SPI', '')
    """
    upper = text.upper()
    return upper if all(word in TERMS for word in upper.replace("_", " ").split()) else ""


def device_text(text: str, words: IdentifyingWords) -> str:
    """One value of a device's own words; empty where it is not printable ASCII or names a person of the header."""
    return text if text.isascii() and text.isprintable() and not words.stand_in(text) else ""


@lru_cache(maxsize=4096)
def clean_description(text: str, maximum: int = 64) -> str:
    """A description with only the words of the table and one or two lengths left, in upper case.

    >>> clean_description("Ct Head w/o contrast 5.0mm, Jane Doe 14.3.52")
    'CT HEAD W/O CONTRAST 5.0MM'
    """
    words = [word.strip(".,;:()[]") for word in re.split(r"[\s_^\\]+", text.upper())]
    lengths = [word for word in words if _LENGTH.match(word)]
    shown = WORDS.union(lengths) if len(lengths) <= _MOST_LENGTHS else WORDS
    return " ".join(word for word in words if word in shown)[:maximum].strip()


def _age(text: str) -> bytes:
    found = _AGE.match(text.upper())
    if not found:
        return b""
    number = int(found[1])
    if found[2] == "Y":
        number = min(number, _OLDEST_SHOWN)
    return f"{number:03d}{found[2]}".encode()


def mapped_uid(text: str, pseudonymiser: Pseudonymiser) -> str:
    """A UID in the 2.25 arc; one that the standard registers stays; what is no UID becomes empty."""
    if not _LONG_UID_VALUE.match(text):
        return ""
    if not text.startswith(_STANDARD_ARC):
        return pseudonymiser.uid(text)
    # The pseudonymiser lets the standard's whole arc through; a UID in it that nobody registered is not known.
    return text if _is_registered(text) else pseudonymiser.uid(f"unregistered {text}")


def names_an_instance(text: str) -> bool:
    """Whether this can be a SOP Instance UID: written like a UID, and none that the standard gave to something else."""
    return _UID_VALUE.match(text) is not None and not (text.startswith(_STANDARD_ARC) and _is_registered(text))


@lru_cache(maxsize=1024)
def _is_registered(uid: str) -> bool:
    return _STRICT_UID.match(uid) is not None and bool(UID(uid).type)


@lru_cache(maxsize=4096)
def _shifted(text: str, days: int) -> str:
    found = _DAY.match(text)
    rest = ""
    if not found:
        instant = _INSTANT.match(text)
        if not instant:
            return ""
        found, rest = _DAY.match(instant[1]), instant[2]
        assert found
    try:
        day = date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        return ""
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        return ""
    day += timedelta(days=days)
    return day.isoformat().replace("-", "") + rest


def public_code(code: str, scheme: str) -> bool:
    """Whether a coded entry's value may stay: a public scheme, and a value written like a code of it.

    >>> public_code("69536005", "SCT"), public_code("69536006", "SCT"), public_code("DOE", "SCT")
    (True, False, False)
    """
    shape = _CODES.get(scheme)
    return shape is not None and shape.match(code) is not None and (scheme != "SCT" or _is_verhoeff(code))


def _is_verhoeff(digits: str) -> bool:
    """Whether the last digit checks the others, as in every SNOMED CT identifier (Verhoeff 1969)."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        turned = digit
        for _ in range(place % 8):
            turned = _VERHOEFF_TURN[int(turned)]
        check = int(_VERHOEFF_DIHEDRAL[check][int(turned)])
    return check == 0
