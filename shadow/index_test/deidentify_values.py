"""New values for old ones: what each action of the de-identification table makes of one element's bytes.

Every function gives an empty value where the old one is not written as the standard demands, so that text
cannot pass as a number, a date or a UID.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

from pydicom.uid import UID

from shadow.domain.identifiers import Pseudonymiser
from shadow.index_test.deidentify_table import PUBLIC_CODING_SCHEMES, WORDS, Action

# DS holds 16 characters (PS3.5 6.2), and scanners write more digits than that: a position must not be lost for it.
_CHARACTERS = {
    b"DS": re.compile(rb"(?:[0-9eE+\-. ]{0,32}(?:\\|\Z))*\Z"),
    b"IS": re.compile(rb"(?:[0-9+\- ]{0,12}(?:\\|\Z))*\Z"),
    b"CS": re.compile(rb"(?:[A-Z0-9_ ]{0,16}(?:\\|\Z))*\Z"),
    b"TM": re.compile(rb"(?:[0-9.: ]{0,16}(?:\\|\Z))*\Z"),
}
_BINARY_BYTES = {b"US": 2, b"SS": 2, b"UL": 4, b"SL": 4, b"FL": 4, b"FD": 8, b"AT": 4}
_TEXT_MAXIMUM = {b"SH": 16, b"LO": 64, b"ST": 64, b"UC": 64, b"AE": 16}
_UID_VALUE = re.compile(r"[0-9.]{1,64}\Z")
_STRICT_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*\Z")
_DAY = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})\Z")
_INSTANT = re.compile(r"(\d{8})(\d{0,6}(?:\.\d{0,6})?(?:[+-]\d{4})?)\Z")
_AGE = re.compile(r"(\d{3})([DWMY])\Z")
_OFFSET = re.compile(r"[+-]\d{4}\Z")
_CODE = re.compile(r"[A-Z0-9.\-]{1,16}\Z")
_SMALL_NUMBER = re.compile(r"\d{1,3}(?:[.,]\d)?(?:MM|CM)?\Z")
_RATIO = re.compile(rb"[0-9.:]{1,16}\Z")
_PRIVATE_VALUES = 4
_OLDEST_SHOWN = 90
_STANDARD_ARC = "1.2.840.10008."


@dataclass(frozen=True, slots=True)
class DeidentificationContext:
    """Whose study it is, by pseudonym.

    Attributes:
        patient_key, accession_key: None where the study has no such number; the copy's value is then empty.
        date_shift_days: whole weeks, the same for all of a patient's studies.
    """

    pseudonymiser: Pseudonymiser
    patient_key: str | None
    accession_key: str | None
    date_shift_days: int


def new_value(action: Action, vr: bytes, raw: bytes, values: int, context: DeidentificationContext) -> bytes:
    """The new value of one element; empty where the old one is not written as it must be.

    Args:
        action: what the table says.
        vr: as declared, and one that the standard gives the element.
        raw: the old value's bytes.
        values: the most values that the element may have (value multiplicity).
        context: whose study it is.
    """
    if not raw or action is Action.EMPTY:
        return b""
    if action is Action.KEEP:
        return _kept(vr, raw, values)
    if action is Action.PATIENT:
        return (context.patient_key or "").encode()
    if action is Action.ACCESSION:
        # SH holds 16 characters (PS3.5 6.2): the pseudonym's first 16 stand in the copy.
        return (context.accession_key or "")[:16].encode()
    text = raw.decode("latin-1").strip(" \0")
    if action is Action.CLEAN:
        return clean_description(text, maximum=_TEXT_MAXIMUM.get(vr, 16)).encode()
    if action is Action.AGE:
        return _age(text)
    if action is Action.OFFSET:
        return text.encode() if _OFFSET.match(text) else b""
    parts = [one.strip(" \0") for one in text.split("\\")]
    if action is Action.REMAP:
        return "\\".join(mapped_uid(one, context.pseudonymiser) for one in parts).encode()
    return "\\".join(_shifted(one, context.date_shift_days) for one in parts).encode()


def safe_private_value(vr: bytes, raw: bytes) -> bytes:
    """The value of a private element of the allow-list; empty where it is not written as its VR demands.

    >>> safe_private_value(b"DS", b"39.37 "), safe_private_value(b"SH", b"0.984:1 "), safe_private_value(b"SH", b"DOE")
    (b'39.37', b'0.984:1', b'')
    """
    if vr == b"SH":
        text = raw.rstrip(b" \0")
        return text if _RATIO.match(text) else b""
    return _kept(vr, raw, _PRIVATE_VALUES)


def _kept(vr: bytes, raw: bytes, values: int) -> bytes:
    size = _BINARY_BYTES.get(vr)
    if size is not None:
        # More numbers than the element may have are a place to hide text in.
        return raw if len(raw) % size == 0 and len(raw) <= values * size else b""
    characters = _CHARACTERS.get(vr)
    if characters is not None:
        stripped = raw.rstrip(b" \0")
        return stripped if characters.match(stripped) else b""
    text = raw.split(b"\0", 1)[0].decode("latin-1").strip()
    if not (text.isascii() and text.isprintable()):
        return b""
    return text[: _TEXT_MAXIMUM.get(vr, 16)].strip().encode()


@lru_cache(maxsize=4096)
def clean_description(text: str, maximum: int = 64) -> str:
    """A description with only the words of the table and small numbers left, in upper case.

    >>> clean_description("Ct Head w/o contrast 5.0mm, Jane Doe 1952")
    'CT HEAD W/O CONTRAST 5.0MM'
    """
    words = (word.strip(".,;:()[]") for word in re.split(r"[\s_^\\]+", text.upper()))
    return " ".join(word for word in words if word in WORDS or _SMALL_NUMBER.match(word))[:maximum].strip()


def _age(text: str) -> bytes:
    found = _AGE.match(text)
    if not found:
        return b""
    if found[2] == "Y" and int(found[1]) >= _OLDEST_SHOWN:
        return b"090Y"
    return text.encode()


def mapped_uid(text: str, pseudonymiser: Pseudonymiser) -> str:
    """A UID in the 2.25 arc; one that the standard registers stays; what is no UID becomes empty."""
    if not _UID_VALUE.match(text):
        return ""
    if not text.startswith(_STANDARD_ARC):
        return pseudonymiser.uid(text)
    # The pseudonymiser lets the standard's whole arc through; a UID in it that nobody registered is not known.
    return text if _is_registered(text) else pseudonymiser.uid(f"unregistered {text}")


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
        day = date(int(found[1]), int(found[2]), int(found[3])) + timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return day.isoformat().replace("-", "") + rest


def public_code(code: str, scheme: str) -> bool:
    """Whether a coded entry's value may stay: a public scheme, and a value written like a code."""
    return scheme in PUBLIC_CODING_SCHEMES and _CODE.match(code) is not None
