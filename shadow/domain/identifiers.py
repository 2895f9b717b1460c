"""Keyed pseudonyms: how studies, patients and orders are named outside the vault.

Every pseudonym is an HMAC-SHA256 under a key derived from one site secret, one key per purpose, so that no
pseudonym of one purpose can be compared with another's. Accession numbers are few and guessable: an unkeyed
digest of one could be reversed by trying them all.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from types import MappingProxyType

from shadow.domain.errors import ConfigurationError

WEEKS_OF_DATE_SHIFT = 104


class Pseudonymiser:
    """Derives the pseudonyms of one trial from its secret. The same input gives the same key for ever."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 32:
            raise ValueError("the site secret has at least 32 bytes")
        self._patient, self._study, self._accession, self._uid, self._dates = (
            hmac.new(secret, f"shadow/{purpose}/1".encode(), hashlib.sha256).digest()
            for purpose in ("patient", "study", "accession", "uid", "dates")
        )

    def study_key(self, study_instance_uid: str) -> str:
        """The surrogate of a Study Instance UID (0020,000D): `S` and 20 characters."""
        return "S" + _code(self._study, study_instance_uid.strip("\0 "))

    def patient_key(self, issuer: str, patient_id: str) -> str:
        """The surrogate of a Patient ID (0010,0020) under its issuer: `P` and 20 characters."""
        return "P" + _code(self._patient, f"{issuer}\n{patient_id.strip().upper()}")

    def accession_key(self, issuer: str, normalised_accession_number: str) -> str:
        """The surrogate of a normalised Accession Number (0008,0050) and its issuer: `A`, 20 characters."""
        return "A" + _code(self._accession, f"{issuer}\n{normalised_accession_number}")

    def uid(self, uid: str) -> str:
        """A UID mapped into the 2.25 arc (PS3.5 B.2); UIDs that the standard registers stay as they are."""
        stripped = uid.strip("\0 ")
        if stripped.startswith("1.2.840.10008."):
            return stripped
        octets = bytearray(hmac.new(self._uid, stripped.encode(), hashlib.sha256).digest()[:16])
        octets[6] = (octets[6] & 0x0F) | 0x80
        octets[8] = (octets[8] & 0x3F) | 0x80
        return f"2.25.{int.from_bytes(octets, 'big')}"

    def date_shift_days(self, issuer: str, patient_id: str) -> int:
        """Days to add to this patient's dates: 1 to 104 whole weeks back, so weekday and time of day stay."""
        digest = hmac.new(self._dates, f"{issuer}\n{patient_id.strip().upper()}".encode(), hashlib.sha256).digest()
        return -7 * (1 + int.from_bytes(digest[:4], "big") % WEEKS_OF_DATE_SHIFT)


def _code(key: bytes, value: str) -> str:
    digest = hmac.digest(key, value.encode(), "sha256")
    return base64.b32encode(digest[:15])[:20].decode()


def _trim_upper(value: str) -> str:
    return value.strip().upper()


def _trim_upper_strip_zeros(value: str) -> str:
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", _trim_upper(value))


ACCESSION_RULES: MappingProxyType[str, Callable[[str], str]] = MappingProxyType(
    {"trim-upper/1": _trim_upper, "trim-upper-strip-zeros/1": _trim_upper_strip_zeros}
)
"""How a site writes one accession number in two systems: the rule's name carries its version."""


def normalise_accession_number(rule: str, value: str) -> str:
    """One accession number, however the site's systems write it.

    >>> normalise_accession_number("trim-upper-strip-zeros/1", " r00001234 ")
    'R1234'

    Raises:
        ConfigurationError: the rule is unknown.
    """
    try:
        return ACCESSION_RULES[rule](value)
    except KeyError:
        raise ConfigurationError("site file", "accession_rule", f"choose one of {sorted(ACCESSION_RULES)}") from None
