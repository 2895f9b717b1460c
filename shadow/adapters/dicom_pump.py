"""Reads many associations in one thread and makes their objects durable in another, as many at a time as have come.

A thread an association hands Python's one lock on at every call of the kernel: with eight senders that cost more
than reading and writing did. Here a thread reads what has come, from whichever peer, and a second one commits all
objects that have come whole meanwhile together, so that they share the commits of the file system's journal.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from shadow.adapters.dicom_store import Conversation, Invalid, Storage, StoreRequest

log = logging.getLogger(__name__)

READS_A_TURN = 8
"""A peer that sends without pause is read a mebibyte or two, then the others have their turn."""
SECONDS_BETWEEN_LOOKS = 0.25
CLOSED, INVALID = "Evt17", "Evt19"
"""Events of PS3.8 table 9-10: transport connection closed; unrecognised or invalid PDU."""


class Stream(Protocol):
    """A connection whose bytes are read ahead."""

    seconds_for_a_pdu: float

    @property
    def socket(self) -> Any:
        """The TCP socket, None once closed."""

    @property
    def has_read_ahead(self) -> bool:
        """Whether there is more than has been taken."""

    def receive(self, *, to_the_end: bool) -> bool:
        """Read what has come, without waiting; true where more may be there, or is to be looked for to the end."""

    def next_pdu(self) -> memoryview | None:
        """The value of the next P-DATA-TF PDU, or None where it has not come whole."""


class NotPData(Exception):
    """The next PDU is not the pump's to read."""


class Lent:
    """A connection that the pump reads until there is something that is not its own to handle.

    Attributes:
        event: what the state machine must be told, once the connection was given back; None where it is to read on.
    """

    __slots__ = (
        "awaken", "busy", "conversation", "descriptor", "due", "event", "guard", "is_lent", "pending", "progress",
        "stream",
    )  # fmt: skip

    def __init__(
        self, stream: Stream, conversation: Conversation, awaken: Callable[[], None], progress: Callable[[], None]
    ) -> None:
        self.stream, self.conversation, self.awaken, self.progress = stream, conversation, awaken, progress
        self.guard = threading.Lock()
        self.is_lent = self.busy = self.pending = False
        self.due = 0.0
        self.descriptor = -1
        self.event: str | None = None


_Whole = tuple[Lent, list[StoreRequest]]
"""A connection, and its requests whose data sets have come whole."""


class Pump:
    """Reads the connections that are lent to it. `lend` and `reclaim` are called by the connections' own threads."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lent: dict[int, Lent] = {}
        self._ready: SimpleQueue[Lent] = SimpleQueue()
        self._come: list[_Whole] = []
        self._whole: SimpleQueue[list[_Whole] | None] = SimpleQueue()
        self._poll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self._wake)  # not before: associations that are ending may still use it
        self._poll.register(self._wake, select.EPOLLIN)
        self._stopping = False
        self._threads = [
            threading.Thread(target=run, name=f"storage-scp-{run.__name__}", daemon=True)
            for run in (self._read_all, self._commit_all)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop both threads; what has come whole is committed first."""
        self._stopping = True
        os.eventfd_write(self._wake, 1)
        for thread in self._threads:
            thread.join()

    def lend(self, lent: Lent) -> None:
        """Read this connection from now on, beginning with what has been read ahead of it."""
        with lent.guard:
            lent.descriptor = lent.stream.socket.fileno()
            try:
                self._poll.register(lent.descriptor, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
            except (OSError, ValueError):  # closed meanwhile
                lent.event = CLOSED
                return
            lent.is_lent = True
            self._lent[lent.descriptor] = lent
            if self._stopping:  # asked after it was written down: either it is seen here or by the thread that ends
                self._give_back(lent, CLOSED)
        self._look_at(lent)

    def reclaim(self, lent: Lent) -> None:
        """Read this connection no more; when this returns, its bytes are the caller's."""
        with lent.guard:
            self._give_back(lent, None)

    def _look_at(self, lent: Lent) -> None:
        self._ready.put(lent)
        os.eventfd_write(self._wake, 1)

    def _give_back(self, lent: Lent, event: str | None) -> None:
        if not lent.is_lent:
            return
        lent.event = event
        if self._lent.get(lent.descriptor) is lent:
            del self._lent[lent.descriptor]
            with suppress(OSError):  # closed meanwhile, which unregisters it
                self._poll.unregister(lent.descriptor)
        lent.is_lent = False  # last: its own thread looks at it without the guard, and may close the descriptor then
        lent.awaken()

    def _read_all(self) -> None:
        look_at = time.monotonic() + SECONDS_BETWEEN_LOOKS
        while not self._stopping:
            found = self._poll.poll(SECONDS_BETWEEN_LOOKS)
            now = time.monotonic()  # before it is read: what comes while a slow disk is written to is not overdue
            for descriptor, event in found:
                if descriptor == self._wake:
                    os.eventfd_read(self._wake)
                    for _ in range(self._ready.qsize()):  # not until it is empty: others put while this one takes
                        self._read(self._ready.get(), to_the_end=True)
                elif (lent := self._lent.get(descriptor)) is not None:
                    self._read(lent, to_the_end=event != select.EPOLLIN)  # an end that came with the last bytes
            self._hand_on()
            if now >= look_at:
                look_at = now + SECONDS_BETWEEN_LOOKS
                self._cut_overdue(now)
        self._whole.put(None)
        for lent in list(self._lent.values()):
            with lent.guard:
                self._give_back(lent, CLOSED)

    def _hand_on(self) -> None:
        """What came whole goes to the committer, unless there is nobody else to read meanwhile: then it stays here."""
        come, self._come = self._come, []
        if come and len(self._lent) == 1:
            self._commit_or_end(come)
        elif come:
            self._whole.put(come)

    def _read(self, lent: Lent, *, to_the_end: bool) -> None:
        with lent.guard:
            if not lent.is_lent:
                return
            if lent.busy:
                lent.pending = True
                return
            try:
                self._read_on(lent, to_the_end)
            except NotPData:
                lent.conversation.drop()
                self._give_back(lent, None)
            except Invalid:
                self._give_back(lent, INVALID)
            except OSError:
                self._give_back(lent, CLOSED)
            except Exception as error:  # a defect of ours must cost one association, not all
                log.exception("reading_failed", extra={"error": type(error).__name__})
                self._give_back(lent, INVALID)

    def _read_on(self, lent: Lent, to_the_end: bool) -> None:
        stream, conversation = lent.stream, lent.conversation
        more, reads = True, 0
        while True:
            pdu = stream.next_pdu()
            if pdu is not None:
                lent.due = 0.0
                conversation.take_pdu(pdu)
                if conversation.whole:
                    lent.busy, lent.pending = True, more or stream.has_read_ahead
                    whole, conversation.whole = conversation.whole, []
                    self._come.append((lent, whole))
                    return
            elif not more:
                if stream.has_read_ahead and not lent.due:
                    lent.due = time.monotonic() + stream.seconds_for_a_pdu
                return
            elif reads == READS_A_TURN:
                self._look_at(lent)
                return
            else:
                more = stream.receive(to_the_end=to_the_end)
                reads += 1
                lent.progress()

    def _cut_overdue(self, now: float) -> None:
        """Half a PDU must not hold an association."""
        for lent in list(self._lent.values()):
            with lent.guard:
                if lent.due and now > lent.due:
                    self._give_back(lent, CLOSED)

    def _commit_all(self) -> None:
        while (batch := self._whole.get()) is not None:
            with suppress(Empty):
                while (others := self._whole.get_nowait()) is not None:
                    batch += others
                self._whole.put(None)  # to end by, after this
            self._commit_or_end(batch)

    def _commit_or_end(self, batch: list[_Whole]) -> None:
        try:
            self._commit(batch)
        except Exception as error:  # a defect of ours must end these associations, not leave them waiting
            log.exception("committing_failed", extra={"error": type(error).__name__})
            for lent, requests in batch:
                for request in requests:
                    request.sink.discard()
                with lent.guard:
                    lent.busy = False
                    self._give_back(lent, CLOSED)

    def _commit(self, batch: list[_Whole]) -> None:
        statuses = iter(self._storage.finish([request.sink for _, requests in batch for request in requests]))
        for lent, requests in batch:
            self._answer(lent, b"".join(request.response(next(statuses)) for request in requests))
        for _, requests in batch:
            for request in requests:
                request.sink.answered()

    def _answer(self, lent: Lent, responses: bytes) -> None:
        """Send at once or not at all: a peer that does not read what it is told must not keep the others waiting."""
        with lent.guard:
            lent.busy = False
            again, lent.pending = lent.pending, False
            if not lent.is_lent:
                return  # it was aborted meanwhile, and will send it again
            try:
                is_told = lent.stream.socket.send(responses, socket.MSG_DONTWAIT) == len(responses)
            except OSError:
                is_told = False
            if not is_told:
                self._give_back(lent, CLOSED)
                return
        lent.progress()
        if again:
            self._look_at(lent)
