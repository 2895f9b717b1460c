"""Which reports are final: OBR-25 (HL7 table 0123), refined by the text lines' own OBX-11 (table 0085)."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum


class ResultStatus(StrEnum):
    """Result Status, OBR-25, HL7 table 0123. `unstated` is ours: nothing known was said."""

    ORDER_RECEIVED = "O"
    SPECIMEN_RECEIVED = "I"
    SCHEDULED = "S"
    SOME_AVAILABLE = "A"
    PRELIMINARY = "P"
    CORRECTED = "C"
    NOT_VERIFIED = "R"
    FINAL = "F"
    CANCELLED = "X"
    NO_ORDER = "Y"
    NO_RECORD = "Z"
    CORRECTED_NOT_FINAL = "M"
    RESULTS_PENDING = "N"
    UNSTATED = "unstated"

    @property
    def final(self) -> bool:
        """Whether a report of this status can be the reference standard."""
        return self in _FINAL


class ObservationResultStatus(StrEnum):
    """Observation Result Status, OBX-11, HL7 table 0085. `unstated` is ours: empty or not in the table."""

    AMENDED = "A"
    APPENDED = "B"
    CORRECTED = "C"
    DELETED = "D"
    FINAL = "F"
    SPECIMEN_PENDING = "I"
    NOT_ASKED = "N"
    ORDER_ONLY = "O"
    PRELIMINARY = "P"
    NOT_VERIFIED = "R"
    PARTIAL = "S"
    CHANGED_TO_FINAL = "U"
    VERIFIED_FINAL = "V"
    WRONG = "W"
    NOT_OBTAINABLE = "X"
    UNSTATED = "unstated"

    @property
    def withdrawn(self) -> bool:
        """Whether the line was deleted, posted in error or never obtained: its text does not count."""
        return self in _WITHDRAWN_LINES

    @property
    def final(self) -> bool:
        """Whether it stands as final or corrected."""
        return self in _FINAL_LINES or self in _CORRECTED_LINES


_FINAL = frozenset({ResultStatus.FINAL, ResultStatus.CORRECTED})
_WITHDRAWN_LINES = frozenset(
    {
        ObservationResultStatus.DELETED,
        ObservationResultStatus.WRONG,
        ObservationResultStatus.NOT_OBTAINABLE,
    }
)
_OPEN_LINES = frozenset(
    {
        ObservationResultStatus.PRELIMINARY,
        ObservationResultStatus.PARTIAL,
        ObservationResultStatus.SPECIMEN_PENDING,
        ObservationResultStatus.ORDER_ONLY,
        ObservationResultStatus.NOT_ASKED,
    }
)
_FINAL_LINES = frozenset(
    {
        ObservationResultStatus.FINAL,
        ObservationResultStatus.CHANGED_TO_FINAL,
        ObservationResultStatus.VERIFIED_FINAL,
        ObservationResultStatus.APPENDED,
    }
)
_CORRECTED_LINES = frozenset({ObservationResultStatus.CORRECTED, ObservationResultStatus.AMENDED})


def observation_result_status(code: str) -> ObservationResultStatus:
    """OBX-11 as a value; `unstated` where it is empty or unknown."""
    try:
        return ObservationResultStatus(code.strip().upper())
    except ValueError:
        return ObservationResultStatus.UNSTATED


def result_status(code: str, lines: Collection[ObservationResultStatus]) -> ResultStatus:
    """OBR-25 refined by the status of the text lines. A report is never more final than either says.

    * All lines withdrawn (D, W, X): the report is cancelled, whatever OBR-25 says.
    * OBR-25 final (F, C): a line still open makes it preliminary, one not verified (R) not verified; a
      corrected line makes it corrected.
    * OBR-25 empty or unknown: the lines decide; without a stated line it stays `unstated`, not final.
    * Any other OBR-25 stands.
    """
    standing = {line for line in lines if not line.withdrawn}
    if lines and not standing:
        return ResultStatus.CANCELLED
    stated = _order_status(code)
    if stated is ResultStatus.UNSTATED:
        return _status_of_lines(standing)
    if not stated.final:
        return stated
    refined = _status_of_lines(standing)
    return stated if refined in (ResultStatus.UNSTATED, ResultStatus.FINAL) else refined


def _order_status(code: str) -> ResultStatus:
    try:
        return ResultStatus(code.strip().upper())
    except ValueError:
        return ResultStatus.UNSTATED


def _status_of_lines(lines: Collection[ObservationResultStatus]) -> ResultStatus:
    if any(line in _OPEN_LINES for line in lines):
        return ResultStatus.PRELIMINARY
    if ObservationResultStatus.NOT_VERIFIED in lines:
        return ResultStatus.NOT_VERIFIED
    if any(line in _CORRECTED_LINES for line in lines):
        return ResultStatus.CORRECTED
    if any(line in _FINAL_LINES for line in lines):
        return ResultStatus.FINAL
    return ResultStatus.UNSTATED
