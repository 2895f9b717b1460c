"""MLLP framing and acknowledgements (HL7 v2.5.1 sections 2.9.2 and 2.9.3, appendix C.2), without a socket.

A frame is VT, the message, FS, CR. Read tolerantly: bytes before VT are passed over and counted, a missing CR
behind FS is forgiven. Written strictly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

START_BLOCK = b"\x0b"
END_BLOCK = b"\x1c"
CARRIAGE_RETURN = b"\r"

HEAD_BYTES = 1 << 14
_HEADER = re.compile(rb"(?:\A|[\r\n])(MSH([^A-Za-z0-9\s])[^\r\n]*)")
_FIELDS = 20
_CONTROL_ID_BYTES = 199


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame's payload; of an oversize one only its beginning, enough to acknowledge it."""

    payload: bytes
    oversize: bool


class Acknowledgement(StrEnum):
    """What became of a message: the second letter of HL7 table 0008 (AA, AE, AR; CA, CE, CR)."""

    ACCEPT = "A"
    ERROR = "E"
    REJECT = "R"


class FrameReader:
    """Cuts a stream of bytes into frames, however the network divides it."""

    def __init__(self, maximum_message_bytes: int) -> None:
        self.bytes_outside = 0
        self._maximum = maximum_message_bytes
        self._inside = False
        self._payload = bytearray()
        self._length = 0

    def feed(self, octets: bytes) -> list[Frame]:
        """The frames that end in these bytes."""
        frames: list[Frame] = []
        rest = memoryview(octets)
        while rest:
            mark = END_BLOCK if self._inside else START_BLOCK
            at = octets.find(mark, len(octets) - len(rest)) - (len(octets) - len(rest))
            taken = rest if at < 0 else rest[:at]
            if self._inside:
                self._keep(taken)
            else:
                self.bytes_outside += len(bytes(taken).strip(b"\r\n"))
            if at < 0:
                break
            if self._inside:
                frames.append(self._end())
            self._inside = not self._inside
            rest = rest[at + 1 :]
        return frames

    def _keep(self, taken: memoryview) -> None:
        self._length += len(taken)
        if self._length <= self._maximum:
            self._payload += taken
        else:
            del self._payload[HEAD_BYTES:]
            self._payload += taken[: max(0, HEAD_BYTES - len(self._payload))]

    def _end(self) -> Frame:
        frame = Frame(bytes(self._payload), self._length > self._maximum)
        self._payload, self._length = bytearray(), 0
        return frame


def acknowledge(payload: bytes, outcome: Acknowledgement, now: datetime) -> bytes | None:
    """The framed acknowledgement of a message, or None where its header asks for none.

    In original mode the codes are AA, AE and AR. With MSH-15 (accept acknowledgement type, table 0155) filled
    the commit codes CA, CE and CR answer it, as often as it asks for: AL always, NE never, ER on error, SU on
    success. Where it asks for none and MSH-16 asks for an application acknowledgement, that one is sent. For
    a batch the first message's header speaks. A payload without a header gets an empty control ID.

    Args:
        payload: the message.
        outcome: what became of it.
        now: for MSH-7 of the acknowledgement.
    """
    found = _HEADER.search(payload[:HEAD_BYTES])
    separator = found[2] if found else b"|"
    fields = found[1].split(separator) if found else [b"MSH", rb"^~\&"]
    fields += [b""] * (_FIELDS - len(fields))
    code = _code(fields[14], fields[15], outcome)
    if code is None:
        return None
    control_id = fields[9][:_CONTROL_ID_BYTES]
    component = fields[1][:1] or b"^"
    event = fields[8].split(component)[1:2]
    header = [
        b"MSH",
        fields[1],
        fields[4],
        fields[5],
        fields[2],
        fields[3],
        now.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000").encode("ascii"),
        b"",
        component.join([b"ACK", *event]),
        b"A" + control_id[:18],
        fields[10] or b"P",
        fields[11] or b"2.5.1",
    ]
    lines = [separator.join(header), separator.join([b"MSA", code, control_id])]
    message = b"".join(line + CARRIAGE_RETURN for line in lines)
    return START_BLOCK + message.translate(None, START_BLOCK + END_BLOCK) + END_BLOCK + CARRIAGE_RETURN


def _code(accept_type: bytes, application_type: bytes, outcome: Acknowledgement) -> bytes | None:
    accept, application = accept_type.strip().upper(), application_type.strip().upper()
    letter = outcome.value.encode("ascii")
    if not accept and not application:
        return b"A" + letter
    if accept and _wanted(accept, outcome):
        return b"C" + letter
    return b"A" + letter if application and _wanted(application, outcome) else None


def _wanted(condition: bytes, outcome: Acknowledgement) -> bool:
    if condition == b"NE":
        return False
    if condition in (b"ER", b"SU"):
        return (outcome is Acknowledgement.ACCEPT) == (condition == b"SU")
    return True
