"""How the hospital sends: a router that stores studies by DICOM, an interface engine that sends HL7 by MLLP.

Both do what their real counterparts do: they keep an object until it is acknowledged, and try again.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association

SUCCESS = 0x0000
SHORTEST_WAIT_SECONDS = 0.3
LONGEST_WAIT_SECONDS = 2.0
VT, FS, CR = b"\x0b", b"\x1c", b"\x0d"
ACCEPTED = (b"AA", b"CA")
REJECTED = (b"AR", b"CR")

Stopped = Callable[[], bool]


class Router:
    """Stores studies at one receiver, each on an association of its own, until every instance is acknowledged."""

    def __init__(self, host: str, port: int, called_ae_title: str, calling_ae_title: str) -> None:
        _config.LOG_HANDLER_LEVEL = "none"
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
        self._address = (host, port, called_ae_title)
        self._ae = AE(ae_title=calling_ae_title)
        self._ae.maximum_pdu_size = 131_072
        self._ae.acse_timeout = self._ae.dimse_timeout = 10
        self._ae.network_timeout = 60
        self._ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)

    def store(self, instances: list[Dataset], stopped: Stopped) -> bool:
        """Store all of a study's instances; False where `stopped` came first."""
        wait = SHORTEST_WAIT_SECONDS
        while not stopped():
            if self._store_once(instances, stopped):
                return True
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)
        return False

    def _store_once(self, instances: list[Dataset], stopped: Stopped) -> bool:
        host, port, called = self._address
        association = self._ae.associate(
            host, port, ae_title=called, max_pdu=131_072, evt_handlers=[(evt.EVT_CONN_OPEN, _send_at_once)]
        )
        if not association.is_established:
            return False
        try:
            return all(not stopped() and _stored(association, instance) for instance in instances)
        finally:
            if association.is_established:
                association.release()


def _send_at_once(event: evt.Event) -> None:
    """A command and its data set leave as two writes: without TCP_NODELAY each image waits 40 ms for an ACK."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _stored(association: Association, instance: Dataset) -> bool:
    try:
        answer = association.send_c_store(instance)
    except (RuntimeError, ValueError):
        return False  # the association was lost between two instances
    _let_the_reactor_wake(association)
    return "Status" in answer and answer.Status == SUCCESS


def _let_the_reactor_wake(association: Association) -> None:
    """Wait until pynetdicom's own thread has left its pause, about a millisecond.

    A request that follows too fast takes the last pause for its own. The thread then wakes in the middle of the
    request and takes the answer away, and the request waits for its time-out (pynetdicom 3.0.4: one image in
    4,000 on a busy machine).
    """
    while association._is_paused and association.is_established and association.is_alive():
        time.sleep(0.0005)


class InterfaceEngine:
    """Sends messages over one MLLP connection, in order, each until it is acknowledged."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._socket: socket.socket | None = None

    def send(self, message: bytes, stopped: Stopped) -> bool:
        """Send one message; True where it was accepted, False where it was rejected for good or `stopped` came."""
        wait = SHORTEST_WAIT_SECONDS
        while not stopped():
            code = self._try(message)
            if code in ACCEPTED:
                return True
            if code in REJECTED:
                return False
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)
        return False

    def _try(self, message: bytes) -> bytes | None:
        """One attempt: the acknowledgment code of MSA-1, or None where no answer came."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, timeout=30)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(VT + message + FS + CR)
            return _acknowledgment_code(self._answer(self._socket))
        except OSError:
            self.close()
            return None

    @staticmethod
    def _answer(connection: socket.socket) -> bytes:
        received = b""
        while FS + CR not in received:
            more = connection.recv(65_536)
            if not more:
                raise ConnectionError("closed before the acknowledgment")
            received += more
        return received

    def close(self) -> None:
        """Close the connection; the next message opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _acknowledgment_code(answer: bytes) -> bytes | None:
    for segment in answer.strip(VT + FS + CR).split(CR):
        if segment.startswith(b"MSA"):
            return segment[4:6]
    return None
