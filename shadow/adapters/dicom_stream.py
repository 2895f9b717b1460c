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
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty
from typing import Any

from pynetdicom.dul import DULServiceProvider
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from shadow.adapters.dicom_pump import CLOSED, INVALID, Lent, Pump
from shadow.adapters.dicom_sockets import SECONDS_BETWEEN_TICKS, SECONDS_FOR_A_PDU, BoundedSocket, WokenSocket
from shadow.adapters.dicom_store import P_DATA_TF, Conversation, Invalid, Storage, StoreRequest

log = logging.getLogger(__name__)

PENDING_CONNECTIONS = 128
SECONDS_FOR_A_HANDSHAKE = 10.0
SECONDS_UNTIL_REST = 0.005
MAXIMUM_UNHEARD_BYTES = 1 << 20


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
            if isinstance(self.socket, BoundedSocket):
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
    """One of an association's threads: where pynetdicom fails on what its peer says, the connection must not stay."""
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
            association.dul.socket = bounded = BoundedSocket(association, client_socket=self.request)
            bounded.seconds_for_a_pdu = server.seconds_for_a_pdu
            association.dul.run = partial(_serve, association, association.dul.run)
            return association
        # What TLS has deciphered is in its own hands, where no poll can see it: such a peer keeps its thread.
        layer = _UpperLayer(association, server.storage, server.pump if server.tls is None else None)
        association.dul = layer
        layer.run = partial(_serve, association, layer.run)
        stream = WokenSocket(association, client_socket=self.request)
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
