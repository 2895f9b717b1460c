"""Text of a data set in the character sets that it declares (PS3.3 C.12.1.1.2)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache

from pydicom.charset import convert_encodings, decode_bytes

REPLACED = "\ufffd"
"""Stands where bytes are none of the declared character set."""
_NAME_DELIMITERS = {ord("^"), ord("=")}
_MOST_CHARACTER_SETS = 16


def in_unicode(raw: bytes, character_sets: Sequence[str]) -> str:
    r"""A value without padding; what does not fit its character set is replaced, not lost.

    Args:
        raw: the value's bytes.
        character_sets: Specific Character Set (0008,0005).

    >>> in_unicode(b"M\xfcller ", ("ISO_IR 100",)), in_unicode(b"M\xfcller", ("ISO_IR 192",))
    ('Müller', 'M�ller')
    """
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii").strip(" \0")
    return _in_unicode(raw, tuple(character_sets[:_MOST_CHARACTER_SETS]) or ("",))


@lru_cache(maxsize=1024)
def _in_unicode(raw: bytes, character_sets: tuple[str, ...]) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return str(decode_bytes(raw, convert_encodings(list(character_sets)), _NAME_DELIMITERS)).strip(" \0")
        except (LookupError, ValueError):
            return raw.decode("latin-1").strip(" \0")
