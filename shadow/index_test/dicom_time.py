"""Dates, times and offsets as DICOM writes them (PS3.5 section 6.2)."""

from __future__ import annotations

import re
from datetime import date, time, timedelta

FIRST_YEAR, LAST_YEAR = 1970, 2199
"""Nothing was acquired before or after: 00010101, 19000101 and 99991231 stand where nobody knew a date."""
_DATE_TIME = re.compile(r"(\d{8})(\d{2,6}(?:\.\d+)?)([+-]\d{4})?\Z", re.ASCII)


def parsed_offset(text: str) -> timedelta | None:
    """Timezone Offset From UTC (0008,0201): +hhmm or -hhmm, within -1200 and +1400 (PS3.3 C.12.1.1.8)."""
    if len(text) != 5 or text[0] not in "+-" or not text[1:].isdecimal():
        return None
    minutes = int(text[1:3]) * 60 + int(text[3:])
    if minutes > 14 * 60:
        return None
    return timedelta(minutes=-minutes if text[0] == "-" else minutes)


def parsed_date(text: str) -> date | None:
    """A DICOM date (DA): YYYYMMDD, dots as in ACR-NEMA; None where it is none."""
    digits = text.replace(".", "")
    if len(digits) != 8 or not digits.isdecimal():
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


def acquisition_date(text: str) -> date | None:
    """A date (DA) on which something can have been acquired, or None.

    >>> acquisition_date("20260901"), acquisition_date("00010101"), acquisition_date("99991231")
    (datetime.date(2026, 9, 1), None, None)
    """
    found = parsed_date(text)
    return found if found is not None and FIRST_YEAR <= found.year <= LAST_YEAR else None


def parsed_time(text: str) -> time | None:
    """DICOM TM: HHMMSS.FFFFFF, the later parts optional, colons as in ACR-NEMA; a leap second is the last one."""
    digits, _, fraction = text.replace(":", "").partition(".")
    if len(digits) not in (2, 4, 6) or not digits.isdecimal() or (fraction and not fraction.isdecimal()):
        return None
    parts = [int(digits[start : start + 2]) for start in range(0, len(digits), 2)] + [0, 0]
    try:
        return time(parts[0], parts[1], min(parts[2], 59), int(fraction[:6].ljust(6, "0")) if fraction else 0)
    except ValueError:
        return None


def split_date_time(text: str) -> tuple[str, str, str]:
    """A DICOM date-time (DT) as date, time and offset; all empty where it does not say so much as the hour.

    >>> split_date_time("20260901031400.25-0400"), split_date_time("202609")
    (('20260901', '031400.25', '-0400'), ('', '', ''))
    """
    found = _DATE_TIME.match(text)
    return (found[1], found[2], found[3] or "") if found else ("", "", "")
