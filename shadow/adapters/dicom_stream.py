"""C-STORE at the speed of dcmtk on pynetdicom: data sets go to their sink fragment by fragment, as they arrive.

pynetdicom's own state machine does everything but one thing: P-DATA in state 6 that carries C-STORE requests is
read here, without building a PDU, a DIMSE message and a data set object for each. What is not a C-STORE request
(C-ECHO, N-ACTION, release, abort, an unknown PDU) is handed to pynetdicom unchanged. Names with an underscore are
pynetdicom's and not promised by it; the version is pinned, and `receiver.implementation = "stock"` leaves this
module out.

Three ways to stop stock pynetdicom 3.0 are closed here: a TLS handshake that never ends blocks its accept loop,
half a PDU holds an association for ever, and a PDU may name any length up to 4 GiB.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import Any, Protocol

from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

log = logging.getLogger(__name__)

PENDING_CONNECTIONS = 128
SECONDS_FOR_A_PDU = 30.0
SECONDS_FOR_A_HANDSHAKE = 10.0
SECONDS_BETWEEN_TICKS = 0.25
MAXIMUM_NEGOTIATION_BYTES = 1 << 20
"""Of A-ASSOCIATE-RQ: 128 presentation contexts with all transfer syntaxes take a fifth of it."""
MAXIMUM_COMMAND_BYTES = 1 << 16
MAXIMUM_OTHER_DATA_SET_BYTES = 1 << 22
"""Of requests other than C-STORE: storage commitment of 30,000 instances."""

_QUICK_ACKNOWLEDGEMENT = getattr(socket, "TCP_QUICKACK", socket.TCP_NODELAY)  # Linux has it; the other does no harm
MAXIMUM_UNHEARD_BYTES = 1 << 20
READ_AHEAD_BYTES = 1 << 19

P_DATA_TF, COMMAND, LAST = 0x04, 0x01, 0x02
C_STORE_RQ, C_STORE_RSP, NO_DATA_SET = 0x0001, 0x8001, 0x0101
SOP_CLASS, COMMAND_FIELD, MESSAGE_ID, RESPONDED_TO = 0x0002, 0x0100, 0x0110, 0x0120
DATA_SET_TYPE, STATUS, SOP_INSTANCE = 0x0800, 0x0900, 0x1000
"""Elements of group 0000, PS3.7 annex E."""


class Sink(Protocol):
    """Where one object goes."""

    def write(self, fragment: memoryview) -> None:
        """A fragment of the encoded data set; the memory is used again afterwards."""

    def finish(self) -> int:
        """The data set is whole: the status to answer with."""

    def answered(self) -> None:
        """The status was sent, or the peer was gone: now comes what the peer need not wait for."""

    def discard(self) -> None:
        """The association was cut."""


OpenSink = Callable[[Any, str, str, str, str], Sink]
"""From association, SOP Class UID, SOP Instance UID, abstract syntax and transfer syntax to a sink."""


class _Cut(Exception):
    """The peer is gone or too slow."""


class _Invalid(Exception):
    """The peer does not keep to PS3.7 or PS3.8."""


class _Object:
    """The C-STORE request that is being answered."""

    __slots__ = ("command", "context", "sink")

    def __init__(self, sink: Sink, context: int, command: dict[int, bytes]) -> None:
        self.sink, self.context, self.command = sink, context, command


class _BoundedSocket(AssociationSocket):  # type: ignore[misc]  # pynetdicom is not typed
    """Reads PDUs bounded in length and time, as much at once as has come: each call costs eight threads their turn."""

    seconds_for_a_pdu = SECONDS_FOR_A_PDU
    _start = _end = 0

    def recv(self, nr_bytes: int) -> bytearray:
        if nr_bytes > MAXIMUM_NEGOTIATION_BYTES:
            raise OSError("the PDU is longer than any that is needed")
        read = bytearray()
        try:
            while len(read) < nr_bytes:
                read += self.take(min(nr_bytes - len(read), READ_AHEAD_BYTES))
        except _Cut:
            return bytearray()  # as pynetdicom expects of a peer that is gone
        return read

    def take(self, count: int) -> memoryview:
        """The next bytes; the memory is used again by the next call."""
        if self._end - self._start < count:
            self._fill(count)
        taken = self._store[self._start : self._start + count]
        self._start += count
        return taken

    def put_back(self, count: int) -> None:
        """What was taken last, or the last of it, comes again."""
        self._start -= count

    @property
    def ready(self) -> bool:
        return self.has_read_ahead or bool(super().ready)

    @property
    def has_read_ahead(self) -> bool:
        """Whether there is more than has been taken."""
        return self._end > self._start

    def let_go(self) -> None:
        """Give the memory back."""
        self._start = self._end = 0
        self.__dict__.pop("_store", None)

    @cached_property
    def _store(self) -> memoryview:
        return memoryview(bytearray(READ_AHEAD_BYTES))

    def _fill(self, count: int) -> None:
        """Wait until so many bytes are here, but not for ever: half a PDU must not hold an association."""
        store, stream = self._store, self.socket
        if self._start + count > READ_AHEAD_BYTES:
            left = self._end - self._start
            store[:left] = bytes(store[self._start : self._end])
            self._start, self._end = 0, left
        elif self._start == self._end:
            self._start = self._end = 0
        deadline = 0.0
        while self._end - self._start < count:
            # A sender with Nagle's algorithm waits for this acknowledgement: without it, 40 ms an image.
            stream.setsockopt(socket.IPPROTO_TCP, _QUICK_ACKNOWLEDGEMENT, 1)
            got = stream.recv_into(store[self._end :])
            if not got:
                raise _Cut
            self._end += got
            if self._end - self._start < count:
                now = time.monotonic()
                deadline = deadline or now + self.seconds_for_a_pdu
                if now > deadline:
                    raise _Cut

    def _shutdown_socket(self) -> None:
        # pynetdicom leaves the descriptor open where the peer is gone before.
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


class _WokenSocket(_BoundedSocket):
    """Waits for the peer and for its own side at once, instead of asking both a thousand times a second."""

    wake: int = -1

    @property
    def ready(self) -> bool:
        if self.socket is None or not self._is_connected:
            return False
        if self.has_read_ahead or (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()):
            return True
        seconds = SECONDS_BETWEEN_TICKS if self.event_queue.empty() else 0
        poller = select.poll()  # select() knows no descriptor above 1,023
        try:
            stream = self.socket.fileno()
            for one in (stream, self.wake):
                poller.register(one, select.POLLIN)
            readable = {descriptor for descriptor, _ in poller.poll(1000 * seconds)}
        except (OSError, ValueError):
            self.event_queue.put("Evt17")
            return False
        if self.wake in readable:
            os.read(self.wake, 4096)
        return stream in readable


class _UpperLayer(DULServiceProvider):  # type: ignore[misc]
    """The upper layer of one association, woken instead of polling, and quick with C-STORE."""

    def __init__(self, association: Any, open_sink: OpenSink, maximum_pdu_bytes: int) -> None:
        super().__init__(association)
        self.daemon = True
        self._run_loop_delay = 0  # `ready` waits
        self._open_sink = open_sink
        self._maximum_pdu_bytes = maximum_pdu_bytes
        self._command = bytearray()
        self._object: _Object | None = None
        self._other_bytes = self._unheard_bytes = 0
        self._waking, self._wake = os.pipe()
        for end in (self._waking, self._wake):
            os.set_blocking(end, False)

    @property
    def waking(self) -> int:
        """The end of the pipe that `ready` waits on."""
        return self._waking

    def send_pdu(self, primitive: Any) -> None:
        super().send_pdu(primitive)
        self._poke()

    def kill_dul(self) -> None:
        super().kill_dul()
        self._poke()

    def _poke(self) -> None:
        try:
            os.write(self._wake, b"x")
        except OSError:
            return  # full, and so awake; or already closed

    def run_reactor(self) -> None:
        try:
            super().run_reactor()
        finally:
            self._drop()
            if isinstance(self.socket, _BoundedSocket):
                self.socket.let_go()
            self.assoc._reactor_checkpoint.set()
            wake, self._wake = self._wake, -1
            os.close(self._waking)
            os.close(wake)

    def _is_transport_event(self) -> bool:
        if self.state_machine.current_state == "Sta13" and self.socket is not None:
            return self._await_close()
        happened = bool(super()._is_transport_event())
        self._rest_or_work()
        return happened

    def _await_close(self) -> bool:
        """All is said (state 13): let the peer close, but do not listen for long."""
        if self._unheard_bytes < MAXIMUM_UNHEARD_BYTES and self.socket.ready:
            try:
                count = self.socket.socket.recv_into(bytearray(1 << 16))
            except OSError:
                count = 0
            self._unheard_bytes += count
            if count:
                return True
        self.socket.close()
        return True

    def _rest_or_work(self) -> None:
        """Let the association's thread rest on its own checkpoint, instead of polling, while it has nothing to do."""
        association = self.assoc
        idle = (
            self.state_machine.current_state == "Sta6"
            and association.is_established
            and not association._sent_abort
            and not association._kill
            and association.dimse.msg_queue.empty()
            and self.to_user_queue.empty()
            and self.event_queue.empty()
            and not self.idle_timer_expired()
        )
        checkpoint = association._reactor_checkpoint
        checkpoint.clear() if idle else checkpoint.set()

    def _read_pdu_data(self) -> None:
        if self.state_machine.current_state != "Sta6":
            super()._read_pdu_data()
            return
        try:
            self._read_messages()
        except _Invalid:
            self._drop()
            self.event_queue.put("Evt19")
        except (_Cut, OSError):
            self._drop()
            self.event_queue.put("Evt17")

    def _drop(self) -> None:
        if self._object is not None:
            self._object.sink.discard()
            self._object = None

    def _read_messages(self) -> None:
        """Read PDUs until a message is whole."""
        while True:
            header = self.socket.take(6)
            if header[0] != P_DATA_TF:
                self._drop()
                self.socket.put_back(6)
                super()._read_pdu_data()
                return
            length = int.from_bytes(header[2:], "big")
            if not 6 <= length <= self._maximum_pdu_bytes:
                raise _Invalid
            if self._take_pdu(self.socket.socket, self.socket.take(length)):
                return

    def _take_pdu(self, stream: socket.socket, pdu: memoryview) -> bool:
        position, whole = 0, False
        while position < pdu.nbytes:
            if position + 6 > pdu.nbytes:
                raise _Invalid
            length = int.from_bytes(pdu[position : position + 4], "big")
            end = position + 4 + length
            if length < 2 or end > pdu.nbytes:
                raise _Invalid
            context, control = pdu[position + 4], pdu[position + 5]
            whole = self._take_value(stream, context, control, pdu[position + 6 : end])
            position = end
        return whole

    def _take_value(self, stream: socket.socket, context: int, control: int, fragment: memoryview) -> bool:
        """One presentation data value (PS3.8 section 9.3.5.1); true where it ends a message."""
        if control & COMMAND:
            self._command += fragment
            if len(self._command) > MAXIMUM_COMMAND_BYTES:
                raise _Invalid
            return self._take_command(context) if control & LAST else False
        if self._object is None:
            self._other_bytes += fragment.nbytes
            if self._other_bytes > MAXIMUM_OTHER_DATA_SET_BYTES:
                raise _Invalid
            self._hand_over(context, bytes([control]) + bytes(fragment))
            return bool(control & LAST)
        if context != self._object.context:
            raise _Invalid
        self._object.sink.write(fragment)
        if not control & LAST:
            return False
        taken, self._object = self._object, None
        response = _store_response(context, taken.command, taken.sink.finish())
        try:
            stream.sendall(response)
        finally:
            taken.sink.answered()
        self._idle_timer.restart()
        return True

    def _take_command(self, context: int) -> bool:
        encoded = bytes(self._command)
        self._command = bytearray()
        if self._object is not None:
            raise _Invalid  # a command in the midst of another one's data set
        command = _command_set(encoded)
        if command.get(COMMAND_FIELD) != struct.pack("<H", C_STORE_RQ):
            self._other_bytes = 0
            self._hand_over(context, b"\x03" + encoded)
            return command.get(DATA_SET_TYPE) == struct.pack("<H", NO_DATA_SET)
        accepted = self.assoc._accepted_cx.get(context)
        needed = (SOP_CLASS, SOP_INSTANCE, MESSAGE_ID)
        if accepted is None or command.get(DATA_SET_TYPE) == struct.pack("<H", NO_DATA_SET):
            raise _Invalid
        if any(element not in command for element in needed) or len(command[MESSAGE_ID]) != 2:
            raise _Invalid
        sink = self._open_sink(
            self.assoc,
            _text(command[SOP_CLASS]),
            _text(command[SOP_INSTANCE]),
            str(accepted.abstract_syntax),
            str(accepted.transfer_syntax[0]),
        )
        self._object = _Object(sink, context, command)
        return False

    def _hand_over(self, context: int, value: bytes) -> None:
        primitive = P_DATA()
        primitive.presentation_data_value_list = [[context, value]]
        self.assoc.dimse.receive_primitive(primitive)


def _serve(association: Any, run: Callable[[], None]) -> None:
    """An association's thread: where pynetdicom fails on what its peer asks for, the connection must not stay."""
    try:
        run()
    except Exception as error:  # noqa: BLE001 (the edge of a thread: what it holds would be held for ever)
        log.error("association_failed", extra={"error": type(error).__name__})
        association.dul.kill_dul()
        stream = association.dul.socket and association.dul.socket.socket
        if stream is not None:
            association._server.shutdown_request(stream)
        association._server.refused("not_understood")


class _Handler(RequestHandler):  # type: ignore[misc]
    def _create_association(self) -> Any:
        association = super()._create_association()
        server = self.server
        association.run = partial(_serve, association, association.run)
        if server.open_sink is None:
            association.dul.event_queue.queue.clear()  # of the socket that is replaced
            association.dul.socket = bounded = _BoundedSocket(association, client_socket=self.request)
            bounded.seconds_for_a_pdu = server.seconds_for_a_pdu
            return association
        layer = _UpperLayer(association, server.open_sink, self.ae.maximum_pdu_size)
        association.dul = layer
        stream = _WokenSocket(association, client_socket=self.request)
        stream.wake = layer.waking
        stream.seconds_for_a_pdu = server.seconds_for_a_pdu
        association.set_socket(stream)
        association.acse_timeout = self.ae.acse_timeout  # these set the new layer's timers too
        association.network_timeout = self.ae.network_timeout
        return association


class HardServer(ThreadedAssociationServer):  # type: ignore[misc]
    """Accepts connections: bounded in number, from allowed addresses, each with its handshake in its own thread.

    `open_sink` None leaves C-STORE to pynetdicom.
    """

    request_queue_size = PENDING_CONNECTIONS
    daemon_threads = True
    open_sink: OpenSink | None = None
    tls: ssl.SSLContext | None = None
    allowed: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network] = ()
    maximum_connections = 64
    shares_its_port = False
    seconds_for_a_pdu = SECONDS_FOR_A_PDU
    refused: Callable[[str], None] = staticmethod(lambda reason: None)  # noqa: ARG005

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._shaking = 0
        self._guard = threading.Lock()
        super().__init__(*arguments, **(named | {"request_handler": _Handler}))

    def server_bind(self) -> None:
        """Bind, beside other processes where the port is shared."""
        if self.shares_its_port:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def get_request(self) -> tuple[socket.socket, Any]:
        """A connection without its TLS handshake, which is not this thread's to wait for."""
        connection, address = self.socket.accept()
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        """Whether the address is allowed and there is room for one more connection."""
        if self.allowed:
            address = ipaddress.ip_address(client_address[0])
            if not any(address in network for network in self.allowed):
                self.refused("address")
                return False
        with self._guard:
            full = self._shaking + len(self.active_associations) >= self.maximum_connections
        if full:
            self.refused("too_many_connections")
        return not full

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shake hands within seconds, then serve the association."""
        with self._guard:
            self._shaking += 1
        try:
            request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            request.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self.tls is not None:
                request.settimeout(min(SECONDS_FOR_A_HANDSHAKE, self.seconds_for_a_pdu))
                request = self.tls.wrap_socket(request, server_side=True)
            if self.tls is not None:
                request.settimeout(self.seconds_for_a_pdu)
            else:
                # The kernel's own timeouts: a socket with Python's would be asked twice for everything.
                request.settimeout(None)
                limit = struct.pack("ll", int(self.seconds_for_a_pdu), int(self.seconds_for_a_pdu % 1 * 1e6))
                request.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
                request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        except OSError as error:  # ssl.SSLError is one
            self.refused("tls_handshake" if isinstance(error, ssl.SSLError | TimeoutError) else "connection_lost")
            self.shutdown_request(request)
            return
        finally:
            with self._guard:
                self._shaking -= 1
        super().process_request_thread(request, client_address)


def _command_set(encoded: bytes) -> dict[int, bytes]:
    """The elements of a command set by element number (PS3.7 section 6.3.1: implicit VR little endian, group 0)."""
    elements: dict[int, bytes] = {}
    position = 0
    while position + 8 <= len(encoded):
        group, element, length = struct.unpack_from("<HHL", encoded, position)
        position += 8
        if group or position + length > len(encoded):
            raise _Invalid
        elements[element] = encoded[position : position + length]
        position += length
    return elements


def _store_response(context: int, request: dict[int, bytes], status: int) -> bytes:
    """C-STORE-RSP (PS3.7 section 9.3.1.2) in one P-DATA-TF PDU."""
    fields = b"".join((
        _element(SOP_CLASS, request[SOP_CLASS]),
        _element(COMMAND_FIELD, struct.pack("<H", C_STORE_RSP)),
        _element(RESPONDED_TO, request[MESSAGE_ID]),
        _element(DATA_SET_TYPE, struct.pack("<H", NO_DATA_SET)),
        _element(STATUS, struct.pack("<H", status)),
        _element(SOP_INSTANCE, request[SOP_INSTANCE]),
    ))  # fmt: skip
    command = _element(0x0000, struct.pack("<L", len(fields))) + fields
    value = struct.pack(">LBB", len(command) + 2, context, COMMAND | LAST) + command
    return struct.pack(">BBL", P_DATA_TF, 0, len(value)) + value


def _element(element: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0, element, len(value)) + value


def _text(uid: bytes) -> str:
    return uid.decode("ascii", "replace").rstrip("\0 ")
