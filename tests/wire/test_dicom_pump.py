"""One thread reads many associations: what comes together, in pieces or not at all, and what one peer costs another."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pynetdicom.dsutils import encode
from test_dicom_attacks import command, connected, connected_to, is_cut, value
from test_dicom_scp import ROUTER, Running, ct_slice, mirror_at_work, receiver, send, until

from shadow.adapters.dicom_scp import StorageScp
from shadow.index_test.arrival import Report
from shadow.index_test.spool import Spool
from shadow.protocol.deployment import Implementation

pytestmark = pytest.mark.server

IDLE = 5.0
LARGEST_PDU = 131_072

RELEASE = struct.pack(">BBL4x", 5, 0, 4)
ECHO_COMMAND = {0x0002: b"1.2.840.10008.1.1\0", 0x0100: b"\x30\0", 0x0110: b"\x07\0", 0x0800: b"\x01\x01"}
ECHO = value(
    3, 3, b"".join(struct.pack("<HHL", 0, element, len(content)) + content for element, content in ECHO_COMMAND.items())
)


@pytest.fixture(name="running", params=list(Implementation))
def running_mirror(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    with mirror_at_work(tmp_path, receiver(implementation=request.param, idle_seconds=IDLE)) as one:
        yield one


def store(instance: str, message: int, piece: int = 16_000) -> bytes:
    """A C-STORE-RQ and its data set, as bytes on the wire."""
    encoded = encode(ct_slice("1.2.3", instance, rows=600), is_implicit_vr=False, is_little_endian=True)
    assert encoded is not None
    uid = instance.encode() + b"\0" * (len(instance) % 2)
    pieces = [encoded[start : start + piece] for start in range(0, len(encoded), piece)]
    head = value(1, 3, command(x1000=uid, x0110=struct.pack("<H", message)))
    return head + b"".join(value(1, 2 * (one is pieces[-1]), one) for one in pieces)


def pdus(peer: socket.socket, count: int, seconds: float = 10.0) -> list[tuple[int, bytes]]:
    """The next PDUs: their type and their content."""
    peer.settimeout(seconds)
    found = []
    for _ in range(count):
        header = read(peer, 6)
        found.append((header[0], read(peer, int.from_bytes(header[2:], "big"))))
    return found


def read(peer: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        got = peer.recv(count - len(content))
        assert got, "the connection ended"
        content += got
    return content


def answered(pdu: tuple[int, bytes]) -> tuple[int, int]:
    """Message ID Being Responded To and status of a response."""
    kind, content = pdu
    assert kind == 4
    fields: dict[int, bytes] = {}
    position = 6
    while position < len(content):
        element, length = struct.unpack_from("<2xHL", content, position)
        fields[element] = content[position + 8 : position + 8 + length]
        position += 8 + length
    return int.from_bytes(fields[0x0120], "little"), int.from_bytes(fields[0x0900], "little")


def test_requests_that_come_together_are_answered_in_their_order(running: Running) -> None:
    with connected(running) as peer:
        peer.sendall(b"".join(store(f"1.2.3.{number}", number) for number in (1, 2, 3)))
        assert [answered(one) for one in pdus(peer, 3)] == [(1, 0), (2, 0), (3, 0)]
        peer.sendall(RELEASE)
        assert pdus(peer, 1)[0][0] == 6
    assert len(running.manifest("1.2.3").instances) == 3


def test_a_release_behind_the_last_fragment_waits_for_the_answer(running: Running) -> None:
    with connected(running) as peer:
        peer.sendall(store("1.2.3.1", 1) + RELEASE)
        first, second = pdus(peer, 2)
        assert (answered(first), second[0]) == ((1, 0), 6)
    assert len(running.manifest("1.2.3").instances) == 1


def test_an_end_that_comes_with_the_last_fragment_is_noticed(running: Running) -> None:
    with connected(running) as peer:
        start = time.monotonic()
        peer.sendall(store("1.2.3.1", 1))
        peer.shutdown(socket.SHUT_WR)
        assert is_cut(peer, 3.0)
        assert time.monotonic() - start < 4.0, "it waited until the association had been idle for too long"
    assert len(running.manifest("1.2.3").instances) == 1


def test_an_end_that_comes_with_a_fragment_leaves_nothing(running: Running) -> None:
    whole = len(value(1, 3, command(x1000=b"1.2.3.1\0"))) + 2 * len(value(1, 0, bytes(16_000)))
    for _ in range(40):
        with connected(running) as peer:
            peer.sendall(store("1.2.3.1", 1)[:whole])
    until(lambda: not running.scp._server.active_associations, 3.0)
    assert running.files("arrived/*/*") == []


def test_a_pdu_that_comes_in_drops_is_cut(running: Running) -> None:
    with connected(running) as peer:
        peer.settimeout(0.01)
        start = time.monotonic()
        with pytest.raises(OSError):  # reset, or a broken pipe
            for octet in value(1, 0, bytes(2_000)):
                assert time.monotonic() - start < 10.0, "it may take for ever"
                peer.sendall(bytes([octet]))
                time.sleep(0.05)


def test_a_store_in_single_bytes_is_taken_and_holds_up_nobody(running: Running) -> None:
    content = store("1.2.3.1", 1)
    with connected(running) as slow:
        slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        slow.sendall(content[: 2 << 14])
        for octet in content[2 << 14 : (2 << 14) + 300]:
            slow.sendall(bytes([octet]))
        assert send(running, [ct_slice("1.2.9", "1.2.9.1")]) == [0x0000]
        slow.sendall(content[(2 << 14) + 300 :])
        assert answered(pdus(slow, 1)[0]) == (1, 0)


def test_the_largest_pdu_is_taken_wherever_it_begins_in_what_was_read_ahead(running: Running) -> None:
    encoded = encode(ct_slice("1.2.3", "1.2.3.1", rows=4_000), is_implicit_vr=False, is_little_endian=True)
    assert encoded is not None
    head = value(1, 3, command(x1000=b"1.2.3.1\0"))
    first = LARGEST_PDU - 2 - len(head) - 12  # the next one begins two bytes before the middle
    second = first + LARGEST_PDU - 6
    content = head + value(1, 0, encoded[:first]) + value(1, 0, encoded[first:second])
    with connected(running) as peer:
        peer.sendall(content[: LARGEST_PDU + 8])
        time.sleep(0.2)
        peer.sendall(content[LARGEST_PDU + 8 :])
        for start in range(second, len(encoded), 16_000):
            peer.sendall(value(1, 2 * (start + 16_000 >= len(encoded)), encoded[start : start + 16_000]))
        assert answered(pdus(peer, 1)[0]) == (1, 0)


def test_an_echo_between_stores_is_answered(running: Running) -> None:
    with connected(running) as peer:
        for message in (1, 2):
            peer.sendall(store(f"1.2.3.{message}", message))
            assert answered(pdus(peer, 1)[0]) == (message, 0)
            peer.sendall(ECHO)
            assert answered(pdus(peer, 1)[0])[0] == 7


def test_many_connections_leave_no_descriptor_and_no_thread(running: Running) -> None:
    def used() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    for number in range(3):
        with connected(running) as peer:
            peer.sendall(store(f"1.2.3.{number}", 1)[: 40_000 * number])
    until(lambda: not running.scp._server.active_associations)
    time.sleep(0.5)
    before = used()
    for number in range(30):
        with ExitStack() as stack:
            for end in (10, 500, 70_000):
                peer = stack.enter_context(connected(running))
                peer.sendall(store(f"1.2.3.{number}", 1)[:end])
    until(lambda: used() <= before, 15.0)
    until(lambda: running.files("arrived/*/*.part") == [])  # each is closed first


def test_a_defect_costs_its_association_and_no_other(tmp_path: Path) -> None:
    raised: list[Report] = []

    def report(one: Report) -> None:
        if not raised:
            raised.append(one)
            raise RuntimeError("a defect")

    with (
        Spool(tmp_path, (ROUTER,), minimum_free_bytes=0, maximum_object_bytes=1 << 30) as spool,
        StorageScp(receiver(idle_seconds=5.0), (ROUTER,), spool, report) as scp,
    ):
        with connected_to(scp.port) as peer:
            peer.sendall(store("1.2.3.1", 1))
            assert is_cut(peer, 3.0)
        with connected_to(scp.port) as peer:
            peer.sendall(store("1.2.3.2", 1))
            assert answered(pdus(peer, 1)[0]) == (1, 0)
        assert len(spool.waiting()) == 2, "both are on disk, and the next start sorts them"
