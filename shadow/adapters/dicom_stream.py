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
from queue import Empty
from typing import Any

from pynetdicom.dul import DULServiceProvider
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from shadow.adapters.dicom_pump import CLOSED, INVALID, Lent, NotPData, Pump
from shadow.adapters.dicom_store import P_DATA_TF, Conversation, Invalid, Storage, StoreRequest

log = logging.getLogger(__name__)

PENDING_CONNECTIONS = 128
SECONDS_FOR_A_PDU = 30.0
SECONDS_FOR_A_HANDSHAKE = 10.0
SECONDS_BETWEEN_TICKS = 0.25
SECONDS_UNTIL_REST = 0.005
MAXIMUM_NEGOTIATION_BYTES = 1 << 20
"""Of A-ASSOCIATE-RQ: 128 presentation contexts with all transfer syntaxes take a fifth of it."""
_QUICK_ACKNOWLEDGEMENT = getattr(socket, "TCP_QUICKACK", socket.TCP_NODELAY)  # Linux has it; the other does no harm
MAXIMUM_UNHEARD_BYTES = 1 << 20
READ_AHEAD_BYTES = 1 << 18


class _Cut(OSError):
    """The peer is gone or too slow."""


class _BoundedSocket(AssociationSocket):  # type: ignore[misc]  # pynetdicom is not typed
    """Reads PDUs bounded in length and time, as much at once as has come: each call costs eight threads their turn."""

    seconds_for_a_pdu = SECONDS_FOR_A_PDU
    maximum_pdu_bytes = 0
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

    def next_pdu(self) -> memoryview | None:
        """The value of the next P-DATA-TF PDU, or None where it has not come whole.

        Raises:
            NotPData: it is another one.
            Invalid: it is longer than was agreed, or too short for a value.
        """
        start, come = self._start, self._end - self._start
        if not come:
            return None
        if self._store[start] != P_DATA_TF:
            raise NotPData
        if come < 6:
            return None
        length = int.from_bytes(self._store[start + 2 : start + 6], "big")
        if not 6 <= length <= self.maximum_pdu_bytes:
            raise Invalid
        if come < 6 + length:
            return None
        self._start += 6 + length
        return self._store[start + 6 : self._start]

    def receive(self, *, to_the_end: bool) -> bool:
        """Read what has come, without waiting; true where more may be there, or is to be looked for to the end.

        Raises:
            OSError: the peer is gone.
        """
        self._make_room(6 + self.maximum_pdu_bytes)
        room = READ_AHEAD_BYTES - self._end
        stream = self.socket
        if stream is None:
            raise _Cut
        stream.setsockopt(socket.IPPROTO_TCP, _QUICK_ACKNOWLEDGEMENT, 1)
        try:
            got = stream.recv_into(self._store[self._end :], 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        if not got:
            raise _Cut
        self._end += got
        return to_the_end or bool(got == room)

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
        self._make_room(count)
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

    def _make_room(self, count: int) -> None:
        """Move what is there to the front where so many bytes from its beginning would not fit."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start + count > READ_AHEAD_BYTES:
            left = self._end - self._start
            self._store[:left] = self._store[self._start : self._end]  # memmove: they may overlap
            self._start, self._end = 0, left

    def _shutdown_socket(self) -> None:
        # pynetdicom leaves the descriptor open where the peer is gone before.
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


class _WokenSocket(_BoundedSocket):
    """Waits for the peer and for its own side at once, instead of asking both a thousand times a second."""

    wake: int = -1
    before_closing: Callable[[], None]

    def _shutdown_socket(self) -> None:
        self.before_closing()
        super()._shutdown_socket()

    @property
    def ready(self) -> bool:
        if self.socket is None or not self._is_connected:
            return False
        if self.has_read_ahead or (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()):
            return True
        try:
            stream = self.socket.fileno()
            return stream in self._await(stream)
        except (OSError, ValueError):
            self.event_queue.put(CLOSED)
            return False

    def await_waking(self, seconds: float) -> None:
        """Wait for its own side alone, but no longer than this."""
        self._await(seconds=seconds)

    def _await(self, *others: int, seconds: float = SECONDS_BETWEEN_TICKS) -> set[int]:
        poller = select.poll()  # select() knows no descriptor above 1,023
        for one in (*others, self.wake):
            poller.register(one, select.POLLIN)
        readable = {descriptor for descriptor, _ in poller.poll(1000 * seconds if self.event_queue.empty() else 0)}
        if self.wake in readable:
            os.read(self.wake, 4096)
        return readable


class _UpperLayer(DULServiceProvider):  # type: ignore[misc]
    """The upper layer of one association, woken instead of polling, and quick with C-STORE."""

    def __init__(self, association: Any, storage: Storage, pump: Pump | None) -> None:
        super().__init__(association)
        self.daemon = True
        self._run_loop_delay = 0  # `ready` waits
        self._storage, self._pump = storage, pump
        self._conversation = Conversation(association, storage, self._poke)
        self._lent: Lent | None = None
        self._unheard_bytes = 0
        self._rests = False
        self._poking = threading.Lock()  # what is written to must not be closed, and another's, meanwhile
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
        with self._poking, suppress(BlockingIOError):  # full, and so awake
            if self._wake >= 0:
                os.write(self._wake, b"x")

    def run_reactor(self) -> None:
        try:
            super().run_reactor()
        finally:
            self.reclaim()
            self._conversation.drop()
            if isinstance(self.socket, _BoundedSocket):
                self.socket.let_go()
            self.assoc._reactor_checkpoint.set()
            with self._poking:
                os.close(self._waking)
                os.close(self._wake)
                self._wake = -1

    def _process_recv_primitive(self) -> bool:
        if self.state_machine.current_state == "Sta13":  # nothing can be said any more, and that is no error
            with suppress(Empty):
                while True:
                    self.to_provider_queue.get_nowait()
            return False
        return bool(super()._process_recv_primitive())

    def _is_transport_event(self) -> bool:
        if self.state_machine.current_state == "Sta13" and self.socket is not None:
            self.reclaim()
            return self._await_close()
        if self.state_machine.current_state == "Sta6" and self._pump is not None:
            happened = self._leave_to(self._pump)
        else:
            self.reclaim()
            happened = bool(super()._is_transport_event())
        self._rest_or_work()
        return happened

    def _leave_to(self, pump: Pump) -> bool:
        """Let the pump read, and wait; true where it met what is this layer's to handle."""
        if self._lent is None:
            if self.socket.socket is None:
                return False
            self._lent = Lent(self.socket, self._conversation, self._poke, self._idle_timer.restart)
            pump.lend(self._lent)
        elif not self._lent.is_lent:
            event, self._lent = self._lent.event, None
            if event is None:
                super()._read_pdu_data()
            else:
                self._conversation.drop()
                self.event_queue.put(event)
            return True
        # Until the association's thread rests it looks for work a thousand times a second: soon is soon enough.
        self.socket.await_waking(SECONDS_BETWEEN_TICKS if self._rests else SECONDS_UNTIL_REST)
        return False

    def reclaim(self) -> None:
        """Have this connection's bytes for oneself."""
        lent, self._lent = self._lent, None
        if lent is not None and self._pump is not None:
            self._pump.reclaim(lent)

    def _await_close(self) -> bool:
        """All is said (state 13): let the peer close, but do not listen for long."""
        self.socket.let_go()  # what was read ahead is not heard either, and would be taken for what has yet to come
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
        self._rests = idle

    def _read_pdu_data(self) -> None:
        if self.state_machine.current_state != "Sta6":
            super()._read_pdu_data()
            return
        try:
            self._read_messages()
        except Invalid:
            self._conversation.drop()
            self.event_queue.put(INVALID)
        except OSError:
            self._conversation.drop()
            self.event_queue.put(CLOSED)

    def _read_messages(self) -> None:
        """Read PDUs until a message is whole, and answer it."""
        conversation, stream = self._conversation, self.socket
        while True:
            header = stream.take(6)
            if header[0] != P_DATA_TF:
                conversation.drop()
                stream.put_back(6)
                super()._read_pdu_data()
                return
            length = int.from_bytes(header[2:], "big")
            if not 6 <= length <= stream.maximum_pdu_bytes:
                raise Invalid
            ends = conversation.take_pdu(stream.take(length))
            self._idle_timer.restart()
            if ends:
                break
        statuses = self._storage.finish([request.sink for request in conversation.whole])
        requests, conversation.whole = conversation.whole, []
        try:
            stream.socket.sendall(b"".join(map(StoreRequest.response, requests, statuses)))
        finally:
            for request in requests:
                request.sink.answered()
        self._idle_timer.restart()


def _serve(association: Any, run: Callable[[], None]) -> None:
    """An association's thread: where pynetdicom fails on what its peer asks for, the connection must not stay."""
    try:
        run()
    except Exception as error:  # noqa: BLE001 (the edge of a thread: what it holds would be held for ever)
        log.error("association_failed", extra={"error": type(error).__name__})
        association.dul.kill_dul()
        if association.dul.socket is not None:
            association.dul.socket.close()
        association._server.refused("not_understood")


class _Handler(RequestHandler):  # type: ignore[misc]
    def _create_association(self) -> Any:
        association = super()._create_association()
        server = self.server
        association.run = partial(_serve, association, association.run)
        if server.storage is None:
            association.dul.event_queue.queue.clear()  # of the socket that is replaced
            association.dul.socket = bounded = _BoundedSocket(association, client_socket=self.request)
            bounded.seconds_for_a_pdu = server.seconds_for_a_pdu
            return association
        # What TLS has deciphered is in its own hands, where no poll can see it: such a peer keeps its thread.
        layer = _UpperLayer(association, server.storage, server.pump if server.tls is None else None)
        association.dul = layer
        stream = _WokenSocket(association, client_socket=self.request)
        stream.maximum_pdu_bytes = self.ae.maximum_pdu_size
        stream.wake, stream.before_closing = layer.waking, layer.reclaim
        stream.seconds_for_a_pdu = server.seconds_for_a_pdu
        association.set_socket(stream)
        association.acse_timeout = self.ae.acse_timeout  # these set the new layer's timers too
        association.network_timeout = self.ae.network_timeout
        return association


class HardServer(ThreadedAssociationServer):  # type: ignore[misc]
    """Accepts connections: bounded in number, from allowed addresses, each with its handshake in its own thread.

    `storage` None leaves C-STORE to pynetdicom; `pump` None reads each association in its own thread.
    """

    request_queue_size = PENDING_CONNECTIONS
    daemon_threads = True
    storage: Storage | None = None
    pump: Pump | None = None
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
