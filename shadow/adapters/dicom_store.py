"""C-STORE without objects for each PDU, message and data set: P-DATA goes to its sink fragment by fragment.

What is not a C-STORE request (C-ECHO, N-ACTION) is handed to pynetdicom as it came. Names with an underscore are
pynetdicom's and not promised by it; see `dicom_stream`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pynetdicom.pdu_primitives import P_DATA

MAXIMUM_COMMAND_BYTES = 1 << 16
MAXIMUM_OTHER_DATA_SET_BYTES = 1 << 22
"""Of requests other than C-STORE: storage commitment of 30,000 instances."""

MAXIMUM_WAITING_MESSAGES = 64
"""Of each kind, not yet answered: without asynchronous operations (PS3.7 annex D.3.3.3) a peer waits for each."""

COMMAND, LAST = 0x01, 0x02
C_STORE_RQ, C_STORE_RSP, NO_DATA_SET = 0x0001, 0x8001, 0x0101
OTHER_REQUESTS = frozenset({b"\x30\0", b"\x30\x01"})
"""C-ECHO and N-ACTION. pynetdicom raises at fields it does not know, and starts a thread for each N-EVENT-REPORT."""
SOP_CLASS, COMMAND_FIELD, MESSAGE_ID, RESPONDED_TO = 0x0002, 0x0100, 0x0110, 0x0120
DATA_SET_TYPE, STATUS, SOP_INSTANCE = 0x0800, 0x0900, 0x1000
"""Elements of group 0000, PS3.7 annex E."""
P_DATA_TF = 0x04


class Sink(Protocol):
    """Where one object goes."""

    def write(self, fragment: memoryview) -> None:
        """A fragment of the encoded data set; the memory is used again afterwards."""

    def answered(self) -> None:
        """The status was sent, or the peer was gone: now comes what the peer need not wait for."""

    def discard(self) -> None:
        """The association was cut."""


class Storage(Protocol):
    """Where objects go."""

    def open_sink(
        self, association: Any, sop_class_uid: str, sop_instance_uid: str, abstract_syntax: str, transfer_syntax: str
    ) -> Sink:
        """A sink for the object that is about to come."""

    def finish(self, sinks: Sequence[Any]) -> list[int]:
        """The data sets of these sinks are whole: the statuses to answer with, in their order."""


class Invalid(Exception):
    """The peer does not keep to PS3.7 or PS3.8."""


class StoreRequest:
    """A C-STORE request that is being received, or waits for its answer."""

    __slots__ = ("command", "context", "sink")

    def __init__(self, sink: Sink, context: int, command: dict[int, bytes]) -> None:
        self.sink, self.context, self.command = sink, context, command

    def response(self, status: int) -> bytes:
        """C-STORE-RSP (PS3.7 section 9.3.1.2) in one P-DATA-TF PDU."""
        fields = b"".join((
            _element(SOP_CLASS, self.command[SOP_CLASS]),
            _element(COMMAND_FIELD, struct.pack("<H", C_STORE_RSP)),
            _element(RESPONDED_TO, self.command[MESSAGE_ID]),
            _element(DATA_SET_TYPE, struct.pack("<H", NO_DATA_SET)),
            _element(STATUS, struct.pack("<H", status)),
            _element(SOP_INSTANCE, self.command[SOP_INSTANCE]),
        ))  # fmt: skip
        command = _element(0x0000, struct.pack("<L", len(fields))) + fields
        value = struct.pack(">LBB", len(command) + 2, self.context, COMMAND | LAST) + command
        return struct.pack(">BBL", P_DATA_TF, 0, len(value)) + value


class Conversation:
    """What one peer says in P-DATA-TF PDUs (PS3.8 section 9.3.5). One thread at a time uses it.

    Args:
        association: pynetdicom's.
        storage: where objects go.
        awaken: called when pynetdicom was handed a part of a message.

    Attributes:
        whole: the C-STORE requests whose data sets have come whole, for the caller to answer and take away.
    """

    def __init__(self, association: Any, storage: Storage, awaken: Callable[[], None]) -> None:
        self.whole: list[StoreRequest] = []
        self._association, self._storage, self._awaken = association, storage, awaken
        self._command = bytearray()
        self._request: StoreRequest | None = None
        self._other_bytes = 0

    def drop(self) -> None:
        """Leave nothing of an object that has not come whole."""
        for request in (*self.whole, *([self._request] if self._request else ())):
            request.sink.discard()
        self.whole, self._request = [], None

    def take_pdu(self, pdu: memoryview) -> bool:
        """Take a P-DATA-TF PDU's values; true where one of them ends a message.

        Raises:
            Invalid: of the length of a value, the order of messages, a C-STORE request's command set, or how many
                messages wait for their answers.
        """
        position, ends = 0, False
        while position < pdu.nbytes:
            if position + 6 > pdu.nbytes:
                raise Invalid
            length = int.from_bytes(pdu[position : position + 4], "big")
            end = position + 4 + length
            if length < 2 or end > pdu.nbytes:
                raise Invalid
            ends = self._take_value(pdu[position + 4], pdu[position + 5], pdu[position + 6 : end])
            position = end
        return ends

    def _take_value(self, context: int, control: int, fragment: memoryview) -> bool:
        """One presentation data value (PS3.8 section 9.3.5.1); true where it ends a message."""
        if control & COMMAND:
            self._command += fragment
            if len(self._command) > MAXIMUM_COMMAND_BYTES:
                raise Invalid
            return self._take_command(context) if control & LAST else False
        if self._request is None:
            self._other_bytes += fragment.nbytes
            if self._other_bytes > MAXIMUM_OTHER_DATA_SET_BYTES:
                raise Invalid
            self._hand_over(context, bytes([control]) + bytes(fragment))
            return bool(control & LAST)
        if context != self._request.context:
            raise Invalid
        self._request.sink.write(fragment)
        if not control & LAST:
            return False
        if len(self.whole) == MAXIMUM_WAITING_MESSAGES:
            raise Invalid
        self.whole.append(self._request)
        self._request = None
        return True

    def _take_command(self, context: int) -> bool:
        encoded = bytes(self._command)
        self._command = bytearray()
        if self._request is not None:
            raise Invalid  # a command in the midst of another one's data set
        command = _command_set(encoded)
        if command.get(COMMAND_FIELD) != struct.pack("<H", C_STORE_RQ):
            if command.get(COMMAND_FIELD) not in OTHER_REQUESTS or len(command.get(DATA_SET_TYPE, b"")) != 2:
                raise Invalid
            self._other_bytes = 0
            self._hand_over(context, b"\x03" + encoded)
            return command.get(DATA_SET_TYPE) == struct.pack("<H", NO_DATA_SET)
        accepted = self._association._accepted_cx.get(context)
        needed = (SOP_CLASS, SOP_INSTANCE, MESSAGE_ID)
        if accepted is None or command.get(DATA_SET_TYPE) == struct.pack("<H", NO_DATA_SET):
            raise Invalid
        if any(element not in command for element in needed) or len(command[MESSAGE_ID]) != 2:
            raise Invalid
        sink = self._storage.open_sink(
            self._association,
            _text(command[SOP_CLASS]),
            _text(command[SOP_INSTANCE]),
            str(accepted.abstract_syntax),
            str(accepted.transfer_syntax[0]),
        )
        self._request = StoreRequest(sink, context, command)
        return False

    def _hand_over(self, context: int, value: bytes) -> None:
        association = self._association
        waiting = association.dimse.msg_queue.qsize() + association.dul.to_provider_queue.qsize()
        if waiting >= MAXIMUM_WAITING_MESSAGES:
            raise Invalid
        primitive = P_DATA()
        primitive.presentation_data_value_list = [[context, value]]
        association.dimse.receive_primitive(primitive)
        self._awaken()


def _command_set(encoded: bytes) -> dict[int, bytes]:
    """The elements of a command set by element number (PS3.7 section 6.3.1: implicit VR little endian, group 0)."""
    elements: dict[int, bytes] = {}
    position = 0
    while position + 8 <= len(encoded):
        group, element, length = struct.unpack_from("<HHL", encoded, position)
        position += 8
        if group or position + length > len(encoded):
            raise Invalid
        elements[element] = encoded[position : position + length]
        position += length
    return elements


def _element(element: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0, element, len(value)) + value


def _text(uid: bytes) -> str:
    return uid.decode("ascii", "replace").rstrip("\0 ")
