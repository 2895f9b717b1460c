"""What one peer, or a defect of ours, may cost the others whom the same threads serve: its own association."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from certificates import Authority
from test_dicom_attacks import associate_request, command, connected, connected_to, is_cut, is_served, value
from test_dicom_pump import ECHO, RELEASE, answered, pdus
from test_dicom_scp import ROUTER, mirror_at_work, receiver, until

from shadow.adapters.dicom_pump import Lent, Pump
from shadow.adapters.dicom_scp import StorageScp
from shadow.adapters.dicom_store import MESSAGE_ID, SOP_CLASS, SOP_INSTANCE, Conversation, StoreRequest
from shadow.adapters.mutual_tls import client_context
from shadow.index_test.inlet import Incoming
from shadow.index_test.spool import Spool
from shadow.protocol.deployment import Tls

pytestmark = pytest.mark.server


class Nowhere:
    """Takes objects and keeps none."""

    def open_sink(self, *_: object) -> Nowhere:
        return self

    def finish(self, sinks: Sequence[object]) -> list[int]:
        return [0] * len(sinks)

    def write(self, fragment: memoryview) -> None: ...

    def answered(self) -> None: ...

    def discard(self) -> None: ...


class Line:
    """A connection whose every read gives one PDU; `endless`, there is always one more read."""

    seconds_for_a_pdu = 0.2

    def __init__(self, stack: ExitStack, *come: bytes, endless: bool = False, seconds_a_read: float = 0.0) -> None:
        self.socket, self.peer = (stack.enter_context(one) for one in socket.socketpair())
        self.come, self.endless, self.seconds_a_read = list(come), endless, seconds_a_read
        self._pdu: bytes | None = None
        stack.callback(setattr, self, "endless", False)

    @property
    def has_read_ahead(self) -> bool:
        return bool(self.come)

    def receive(self, *, to_the_end: bool) -> bool:  # noqa: ARG002
        time.sleep(self.seconds_a_read)
        if self.come:
            self._pdu = self.come.pop(0)
        return self.endless

    def next_pdu(self) -> memoryview | None:
        pdu, self._pdu = self._pdu, None
        return memoryview(pdu) if pdu else None


class Stores:
    """A conversation in which every PDU is an object, whose answer is as long as the PDU."""

    def __init__(self) -> None:
        self.whole: list[StoreRequest] = []

    def take_pdu(self, pdu: memoryview) -> bool:
        self.whole = [StoreRequest(Nowhere(), 1, {SOP_CLASS: b"", MESSAGE_ID: b"\1\0", SOP_INSTANCE: bytes(pdu)})]
        return True

    def drop(self) -> None: ...


@contextmanager
def pumping() -> Iterator[tuple[Pump, ExitStack]]:
    pump = Pump(Nowhere())
    with ExitStack() as stack:
        stack.callback(pump.close)
        yield pump, stack


def lend(pump: Pump, line: Line) -> Lent:
    lent = Lent(line, cast("Conversation", Stores()), lambda: None, lambda: None)
    pump.lend(lent)
    return lent


def test_a_peer_that_sends_without_pause_takes_turns_with_the_others() -> None:
    with pumping() as (pump, stack):
        lend(pump, Line(stack, endless=True))
        patient = Line(stack, b"an object")
        lend(pump, patient)
        patient.peer.settimeout(3.0)
        assert patient.peer.recv(1) == b"\x04"


def test_a_peer_that_does_not_read_its_answers_is_given_up_at_once() -> None:
    with pumping() as (pump, stack):
        deaf = [lend(pump, Line(stack, bytes(1 << 22))) for _ in range(4)]
        until(lambda: not any(one.is_lent for one in deaf), 3.0)
        assert {one.event for one in deaf} == {"Evt17"}
        listening = Line(stack, b"an object")
        lend(pump, listening)
        listening.peer.settimeout(3.0)
        assert listening.peer.recv(1) == b"\x04"


def test_what_comes_while_the_disk_is_slow_is_not_overdue() -> None:
    with pumping() as (pump, stack):
        half, slow = Line(stack, b"", b"an object"), Line(stack, seconds_a_read=1.0)
        waiting = lend(pump, half)
        until(lambda: waiting.due > 0)
        lend(pump, slow)
        time.sleep(0.1)
        half.peer.send(b"x")  # the other half, while this thread writes
        half.peer.settimeout(3.0)
        assert half.peer.recv(1) == b"\x04"


def test_a_connection_is_taken_back_before_its_descriptor_is_closed_and_another_s(tmp_path: Path) -> None:
    with mirror_at_work(tmp_path, receiver()) as running, connected(running):
        pump = cast("Any", running.scp)._pump
        until(lambda: pump._lent)
        (association,) = running.scp._server.active_associations
        association.dul.socket._shutdown_socket()
        assert pump._lent == {}


def test_an_object_in_one_pdu_with_what_breaks_the_standard_leaves_nothing(tmp_path: Path) -> None:
    items = (value(1, 3, command())[6:], value(1, 2, bytes(100))[6:], struct.pack(">LBB", 0, 1, 3))
    pdu = b"".join(items)
    with mirror_at_work(tmp_path, receiver(idle_seconds=5.0)) as running:
        with connected(running) as peer:
            peer.sendall(struct.pack(">BBL", 4, 0, len(pdu)) + pdu)
            assert is_cut(peer)
        until(lambda: not running.scp._server.active_associations)
        assert running.files("arrived/*/*") == []


@pytest.mark.parametrize(
    "request_", [ECHO, value(1, 3, command())[6:] + value(1, 2, bytes(8))[6:]], ids=["echoes", "objects in one PDU"]
)
def test_requests_that_wait_for_no_answer_are_not_heaped_up(tmp_path: Path, request_: bytes) -> None:
    flood = request_ * 500
    with mirror_at_work(tmp_path, receiver(idle_seconds=5.0)) as running:
        with connected(running) as peer:
            peer.sendall(flood if request_ == ECHO else struct.pack(">BBL", 4, 0, len(flood)) + flood)
            assert is_cut(peer, 3.0)
        assert is_served(running)
        until(lambda: not running.files("arrived/*/*.part"))


def test_what_follows_an_invalid_pdu_does_not_keep_the_connection(tmp_path: Path) -> None:
    with mirror_at_work(tmp_path, receiver()) as running, connected(running) as peer:
        peer.sendall(struct.pack(">BBL", 4, 0, 0) + bytes(1000))
        assert is_cut(peer, 5.0)


def test_a_defect_before_the_disk_leaves_nothing_half(tmp_path: Path) -> None:
    class Defective(Spool):
        def finish(self, incoming: Sequence[Incoming]) -> None:  # noqa: ARG002
            raise RuntimeError("a defect")

    with (
        Defective(tmp_path, (ROUTER,), minimum_free_bytes=0, maximum_object_bytes=1 << 30) as spool,
        StorageScp(receiver(idle_seconds=5.0), (ROUTER,), spool, lambda _: None) as scp,
    ):
        with connected_to(scp.port) as peer:
            peer.sendall(value(1, 3, command()) + value(1, 2, bytes(100)))
            assert is_cut(peer, 3.0)
        until(lambda: not list(tmp_path.glob("arrived/*/*")))


def test_a_command_that_there_is_not_is_no_defect_of_ours(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with mirror_at_work(tmp_path, receiver()) as running, connected(running) as peer:
        peer.sendall(value(3, 3, command(x0100=b"\x1d\x07", x0800=b"\x01\x01")))
        assert is_cut(peer, 5.0)
    assert "reading_failed" not in caplog.text, "and its traceback would quote what a peer said"


@contextmanager
def connected_by_tls(port: int, tls: Tls) -> Iterator[ssl.SSLSocket]:
    context = client_context(tls, Path("/"), "tls")
    with connected_to(port, associated=False) as plain, context.wrap_socket(plain, server_hostname="localhost") as peer:
        peer.sendall(associate_request())
        assert peer.recv(1) == b"\x02"
        peer.recv(4096)
        yield peer


@pytest.mark.parametrize("by_tls", [False, True])
def test_an_object_may_take_longer_than_an_association_may_be_silent(tmp_path: Path, *, by_tls: bool) -> None:
    authority = Authority(tmp_path)
    settings = receiver(idle_seconds=1.0, tls=authority.certify("shadow") if by_tls else None)
    with mirror_at_work(tmp_path, settings) as running, ExitStack() as stack:
        peer: socket.socket = stack.enter_context(
            connected_by_tls(running.scp.port, authority.certify("router")) if by_tls else connected(running)
        )
        peer.sendall(value(1, 3, command()))
        for _ in range(8):
            time.sleep(0.25)
            peer.sendall(value(1, 0, bytes(100)))
        peer.sendall(value(1, 2, bytes(100)))
        assert answered(pdus(peer, 1)[0]) == (1, 0)
        peer.sendall(RELEASE)
        assert pdus(peer, 1)[0][0] == 6, "it was aborted as silent"
