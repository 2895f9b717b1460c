"""HL7 version 2 messages as bytes came: segments, fields, escapes, character sets, batches.

The delimiters come from each message's own header (HL7 v2.5.1 section 2.5.4), the character set from its
MSH-18 (table 0211) or, where that is empty, from the site. What senders get wrong in the wild is tolerated by
rule: LF or CRLF between segments, raw line breaks inside a field, escapes that are none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType

from shadow.domain.errors import MalformedMessage

CODECS: MappingProxyType[str, str] = MappingProxyType(
    {
        "8859/1": "iso8859-1",
        "8859/2": "iso8859-2",
        "8859/3": "iso8859-3",
        "8859/4": "iso8859-4",
        "8859/5": "iso8859-5",
        "8859/6": "iso8859-6",
        "8859/7": "iso8859-7",
        "8859/8": "iso8859-8",
        "8859/9": "iso8859-9",
        "8859/15": "iso8859-15",
        "ISO IR87": "iso2022_jp",
        "GB 18030-2000": "gb18030",
        "KS X 1001": "euc_kr",
        "BIG-5": "big5",
        "UNICODE": "utf-8",
        "UNICODE UTF-8": "utf-8",
        "UTF-8": "utf-8",
    }
)
"""HL7 table 0211 to Python codecs. `ASCII` and an empty MSH-18 mean the site's own character set."""

_SITE_DEFAULT = ("", "ASCII")
_NULL = '""'
_MESSAGE_START = re.compile(rb"(?:\A|(?<=[\r\n]))MSH(?=[^A-Za-z0-9\s])")
_BATCH_START = re.compile(rb"\A\s*(?:FHS|BHS)[^A-Za-z0-9\s]")
_LINE_END = re.compile(r"\r\n|\r|\n")
_ENVELOPE = frozenset({"FHS", "BHS", "BTS", "FTS"})
_LEADING = b"\xef\xbb\xbf \t\r\n\0\x0b"
_MAXIMUM_SPACED_LINES = 20


@dataclass(frozen=True, slots=True)
class Delimiters:
    """The five delimiters of one message; escape and subcomponent are empty where it declares none."""

    field: str
    component: str
    repetition: str
    escape: str
    subcomponent: str


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment: its three-letter name, and its raw fields counted from 1 as HL7 counts them."""

    name: str
    fields: tuple[str, ...]

    def raw(self, number: int) -> str:
        """The field as it stands in the message; empty where the segment is shorter."""
        return self.fields[number - 1] if 0 < number <= len(self.fields) else ""


@dataclass(frozen=True, slots=True)
class Message:
    """One parsed message.

    Attributes:
        codec: the Python codec that its bytes were read with.
        faithful: False where bytes had to be replaced, or MSH-18 names a character set that is not known.
    """

    delimiters: Delimiters
    segments: tuple[Segment, ...]
    codec: str
    faithful: bool

    def first(self, name: str) -> Segment | None:
        """The first segment of that name, or None."""
        return next((segment for segment in self.segments if segment.name == name), None)

    def repetitions(self, segment: Segment, number: int) -> tuple[str, ...]:
        """The raw repetitions of a field; one empty string where the field is empty."""
        raw = segment.raw(number)
        return tuple(raw.split(self.delimiters.repetition)) if self.delimiters.repetition else (raw,)

    def component(self, repetition: str, number: int = 1) -> str:
        """One component of a raw repetition, its first subcomponent, unescaped; empty where it is not there.

        The HL7 null (two double quotes) is empty as well: it says that there is no value.
        """
        parts = repetition.split(self.delimiters.component) if self.delimiters.component else [repetition]
        if not 0 < number <= len(parts):
            return ""
        part = parts[number - 1]
        if self.delimiters.subcomponent:
            part = part.split(self.delimiters.subcomponent)[0]
        return "" if part == _NULL else self.unescape(part).strip()

    def value(self, segment: Segment, number: int, component: int = 1) -> str:
        """One component of a field's first repetition, unescaped."""
        return self.component(self.repetitions(segment, number)[0], component)

    def lines(self, segment: Segment, number: int) -> tuple[str, ...]:
        """A text field as lines: repetitions are lines, stray component delimiters stay as written."""
        if segment.raw(number) == _NULL:
            return ()
        return tuple(self.unescape(one) for one in self.repetitions(segment, number))

    def unescape(self, value: str) -> str:
        r"""The text that escape sequences stand for (section 2.7): delimiters, `\X..\`, `\.br\` and the like.

        Highlighting and formatting commands without a text meaning are dropped. What is no escape sequence
        stays as it is, such as the backslashes of a path.
        """
        escape = self.delimiters.escape
        if not escape or escape not in value:
            return value
        return _Unescaped(self.delimiters, self.codec).of(value)


class _Unescaped:
    """One walk over a value. Neighbouring hexadecimal escapes are decoded together, as they may share one."""

    def __init__(self, delimiters: Delimiters, codec: str) -> None:
        self._delimiters = delimiters
        self._codec = codec
        self._pieces: list[str] = []
        self._octets = bytearray()

    def of(self, value: str) -> str:
        parts = value.split(self._delimiters.escape)
        number = 0
        while number < len(parts):
            self._text(parts[number])
            closed = number + 2 < len(parts)
            if not closed:
                if number + 1 < len(parts):
                    self._text(self._delimiters.escape + parts[number + 1])
                break
            if self._sequence(parts[number + 1]):
                number += 2
            else:
                # No escape sequence: the escape character stands for itself, and the next one may open one.
                self._text(self._delimiters.escape)
                number += 1
        self._flush()
        return "".join(self._pieces)

    def _text(self, text: str) -> None:
        if text:
            self._flush()
            self._pieces.append(text)

    def _flush(self) -> None:
        if self._octets:
            self._pieces.append(self._octets.decode(self._codec, errors="replace"))
            self._octets.clear()

    def _sequence(self, name: str) -> bool:
        """Take one sequence by the name between its escape characters; False where it is none."""
        if name[:1] == "X" and re.fullmatch(r"(?:[0-9A-Fa-f]{2})+", name[1:]):
            self._octets += bytes.fromhex(name[1:])
            return True
        meaning = self._meaning(name)
        if meaning is None:
            return False
        self._text(meaning)
        return True

    def _meaning(self, name: str) -> str | None:
        single = {
            "F": self._delimiters.field,
            "S": self._delimiters.component,
            "T": self._delimiters.subcomponent,
            "R": self._delimiters.repetition,
            "E": self._delimiters.escape,
            "H": "",
            "N": "",
            ".br": "\n",
            ".ce": "\n",
            ".fi": "",
            ".nf": "",
        }
        if name in single:
            return single[name]
        if spaced := re.fullmatch(r"\.sp\s*\+?(\d{0,4})", name):
            return "\n" * min(int(spaced[1] or 1), _MAXIMUM_SPACED_LINES)
        dropped = re.fullmatch(r"\.(?:in|ti|sk)\s*[+-]?\d{0,4}|[CMZ][0-9A-Za-z]{0,32}", name)
        return None if dropped is None else ""


def split_messages(payload: bytes) -> tuple[bytes, ...]:
    """The messages of one MLLP frame: the frame itself, or the parts of a batch (FHS/BHS envelopes).

    Bytes before the first header go with the first message where the frame is no batch, so that a single
    message is the whole frame, and so is a frame in which no message can be found.
    """
    starts = [found.start() for found in _MESSAGE_START.finditer(payload)]
    batch = _BATCH_START.match(payload) is not None
    if len(starts) < 2 and not batch:
        return (payload,)
    if not starts:
        return (payload,)
    ends = [*starts[1:], len(payload)]
    return tuple(payload[start:end] for start, end in zip(starts, ends, strict=True))


def sending_facility(message: bytes) -> str:
    """MSH-4, first component: who sent the message. Needed before its characters can be read.

    Raises:
        MalformedMessage: `not_hl7`.
    """
    parsed = parse_message(message.lstrip(_LEADING).split(b"\r")[0].split(b"\n")[0], "latin-1")
    return parsed.value(parsed.segments[0], 4)


def without_send_time(message: bytes) -> bytes:
    """The message as it is the same however often it is sent: without MSH-7, line ends as CR.

    A sender that did not hear the acknowledgement sends the same message, some with a new time in its header.

    >>> without_send_time(b"MSH|^~*|RIS|A|||20260824120000||ORU^R01|C1")
    b'MSH|^~*|RIS|A|||||ORU^R01|C1'
    """
    octets = message.strip(_LEADING + b"\x1c").replace(b"\r\n", b"\r").replace(b"\n", b"\r")
    if not octets.startswith(b"MSH") or len(octets) < 5:
        return message
    header, separator, rest = octets.partition(b"\r")
    fields = header.split(octets[3:4])
    if len(fields) > 6:
        fields[6] = b""
    lines = [line for line in rest.split(b"\r") if line[:3] not in (b"BTS", b"FTS")]  # the last of a batch
    return octets[3:4].join(fields) + separator + b"\r".join(lines)


def parse_message(message: bytes, default_character_set: str) -> Message:
    """Parse one message.

    Args:
        message: its bytes; a byte order mark and white space before MSH are passed over.
        default_character_set: Python codec for a message whose MSH-18 is empty or says ASCII.

    Raises:
        MalformedMessage: `not_hl7` where no header with usable delimiters begins it.
    """
    octets = message.lstrip(_LEADING)
    delimiters = _delimiters(octets[:16].decode("latin-1"))
    codec, known = _codec(octets, delimiters, default_character_set)
    text, whole = _decode(octets, codec)
    segments = tuple(
        _segment(line, delimiters) for line in _segment_lines(text, delimiters) if line[:3] not in _ENVELOPE
    )
    return Message(delimiters, segments, codec, known and whole)


def _delimiters(header: str) -> Delimiters:
    if not header.startswith("MSH") or len(header) < 5:
        raise MalformedMessage("not_hl7", "no message header")
    field = header[3]
    encoding = _LINE_END.split(header[4:].split(field)[0])[0]
    component, repetition, escape, subcomponent = (encoding[n : n + 1] for n in range(4))
    used = [field, *encoding[:4]]
    if not component or len(set(used)) < len(used) or any(one.isalnum() or one.isspace() for one in used):
        raise MalformedMessage("not_hl7", "no usable delimiters")
    return Delimiters(field, component, repetition, escape, subcomponent)


def _codec(octets: bytes, delimiters: Delimiters, default: str) -> tuple[str, bool]:
    """The codec of MSH-18's first repetition that says something, and whether it is a known one."""
    header = _LINE_END.split(octets[:4096].decode("latin-1"))[0].split(delimiters.field)
    declared = header[17] if len(header) > 17 else ""
    names = declared.split(delimiters.repetition) if delimiters.repetition else [declared]
    name = next((one.strip().upper() for one in names if one.strip()), "")
    if name in _SITE_DEFAULT:
        return default, True
    return (CODECS[name], True) if name in CODECS else (default, False)


def _decode(octets: bytes, codec: str) -> tuple[str, bool]:
    try:
        return octets.decode(codec), True
    except UnicodeDecodeError:
        return octets.decode(codec, errors="replace"), False


def _segment_lines(text: str, delimiters: Delimiters) -> list[str]:
    """Lines that begin a segment, each with the lines that do not: those are line breaks inside a field."""
    begins = re.compile(rf"[A-Z][A-Z0-9]{{2}}{re.escape(delimiters.field)}")
    lines: list[list[str]] = []
    for line in _LINE_END.split(text):
        if begins.match(line) or not lines:
            lines.append([line])
        else:
            lines[-1].append(line)
    return ["\n".join(parts).rstrip("\n\0\x1c") for parts in lines]


def _segment(line: str, delimiters: Delimiters) -> Segment:
    name, *fields = line.split(delimiters.field)
    if name == "MSH":
        fields = [delimiters.field, *fields]
    return Segment(name, tuple(fields))
