"""The sockets of associations: they read ahead, within bounds of length and time, and wait without polling."""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property

from pynetdicom.transport import AssociationSocket

from shadow.adapters.dicom_pump import CLOSED, NotPData
from shadow.adapters.dicom_store import P_DATA_TF, Invalid

SECONDS_FOR_A_PDU = 30.0
SECONDS_BETWEEN_TICKS = 0.25
MAXIMUM_NEGOTIATION_BYTES = 1 << 20
"""Of A-ASSOCIATE-RQ: 128 presentation contexts with all transfer syntaxes take a fifth of it."""
READ_AHEAD_BYTES = 1 << 18
_QUICK_ACKNOWLEDGEMENT = getattr(socket, "TCP_QUICKACK", socket.TCP_NODELAY)  # Linux has it; the other does no harm


class Cut(OSError):
    """The peer is gone or too slow."""


class BoundedSocket(AssociationSocket):  # type: ignore[misc]  # pynetdicom is not typed
    """Reads PDUs bounded in length and time, as much at once as has come: each call costs eight threads their turn."""

    seconds_for_a_pdu = SECONDS_FOR_A_PDU
    maximum_pdu_bytes = 0
    _start = _end = 0

    def recv(self, nr_bytes: int) -> bytearray:
        """So many bytes for pynetdicom, or none where the peer is gone.

        Raises:
            OSError: more than any negotiation needs.
        """
        if nr_bytes > MAXIMUM_NEGOTIATION_BYTES:
            raise OSError("the PDU is longer than any that is needed")
        read = bytearray()
        try:
            while len(read) < nr_bytes:
                read += self.take(min(nr_bytes - len(read), READ_AHEAD_BYTES))
        except Cut:
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
            raise Cut
        stream.setsockopt(socket.IPPROTO_TCP, _QUICK_ACKNOWLEDGEMENT, 1)
        try:
            got = stream.recv_into(self._store[self._end :], 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        if not got:
            raise Cut
        self._end += got
        return to_the_end or bool(got == room)

    @property
    def ready(self) -> bool:
        """Whether there is something to read."""
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
                raise Cut
            self._end += got
            if self._end - self._start < count:
                now = time.monotonic()
                deadline = deadline or now + self.seconds_for_a_pdu
                if now > deadline:
                    raise Cut

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


class WokenSocket(BoundedSocket):
    """Waits for the peer and for its own side at once, instead of asking both a thousand times a second."""

    wake: int = -1
    before_closing: Callable[[], None]

    def _shutdown_socket(self) -> None:
        self.before_closing()
        super()._shutdown_socket()

    @property
    def ready(self) -> bool:
        """Whether there is something to read; waits for it, or for its own side, a little."""
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
