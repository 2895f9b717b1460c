"""What a hostile or broken peer may try, on the wire; both ways of receiving hold, and the next peer is served."""

from __future__ import annotations

import io
import random
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from certificates import Authority
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE
from pynetdicom.sop_class import Verification
from test_dicom_scp import ECHOSCU, ROUTER, Running, ct_slice, mirror_at_work, receiver, send, until

from shadow.adapters.mutual_tls import client_context
from shadow.domain.errors import SetupError
from shadow.protocol.deployment import Implementation, OnFull, Tls

pytestmark = pytest.mark.server

IDLE = 1.0


@pytest.fixture(name="running", params=list(Implementation))
def running_mirror(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    settings = receiver(implementation=request.param, idle_seconds=IDLE, maximum_associations=4)
    with mirror_at_work(tmp_path, settings) as one:
        yield one


def item(kind: int, content: bytes) -> bytes:
    """An item of A-ASSOCIATE-RQ (PS3.8 section 9.3.2)."""
    return struct.pack(">BBH", kind, 0, len(content)) + content


def associate_request(
    *, transfer_syntax: bool = True, first_context: int = 1, version: int = 1, calling: bytes = b"", more: bytes = b""
) -> bytes:
    """A-ASSOCIATE-RQ for CT storage, context 1, and verification, context 3, as bytes; `more` is of the user."""
    transfer = item(0x40, str(ExplicitVRLittleEndian).encode()) if transfer_syntax else b""
    presentation = b"".join(
        item(0x20, bytes([context, 0, 0, 0]) + item(0x30, str(abstract).encode()) + transfer)
        for context, abstract in ((first_context, CTImageStorage), (3, Verification))
    )
    user = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3.4") + more)
    body = struct.pack(">HH", version, 0) + b"SHADOW".ljust(16) + (calling or ROUTER.encode()).ljust(16) + bytes(32)
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + presentation + user
    return struct.pack(">BBL", 1, 0, len(body)) + body


@contextmanager
def connected(running: Running, *, associated: bool = True) -> Iterator[socket.socket]:
    with connected_to(running.scp.port, associated=associated) as peer:
        yield peer


@contextmanager
def connected_to(port: int, *, associated: bool = True) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        if associated:
            peer.sendall(associate_request())
            assert peer.recv(1) == b"\x02", "the association was not accepted"
            peer.recv(4096)
        yield peer


def value(context: int, control: int, content: bytes) -> bytes:
    """One presentation data value in one P-DATA-TF PDU."""
    item = struct.pack(">LBB", len(content) + 2, context, control) + content
    return struct.pack(">BBL", 4, 0, len(item)) + item


def command(**changed: bytes) -> bytes:
    """The command set of a C-STORE-RQ."""
    elements = {
        0x0002: str(CTImageStorage).encode().ljust(26, b"\0"),
        0x0100: b"\x01\0",
        0x0110: b"\x01\0",
        0x0700: b"\0\0",
        0x0800: b"\0\0",
        0x1000: b"1.2.3.1\0",
    }
    elements |= {int(name[1:], 16): content for name, content in changed.items()}
    return b"".join(struct.pack("<HHL", 0, element, len(content)) + content for element, content in elements.items())


def is_cut(peer: socket.socket, seconds: float = 8.0) -> bool:
    """Whether the other side ends the connection within so many seconds."""
    peer.settimeout(seconds)
    try:
        while peer.recv(4096):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def is_served(running: Running) -> bool:
    """Whether an association is accepted; then it must take an image."""
    try:
        with connected(running):
            pass
    except (OSError, AssertionError):
        time.sleep(0.1)
        return False
    return send(running, [ct_slice("1.2.9", "1.2.9.1.1")]) == [0x0000]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_half_sent_pdus_do_not_hold_associations(running: Running) -> None:
    with ExitStack() as stack:
        peers = [stack.enter_context(connected(running)) for _ in range(4)]
        for peer in peers:
            peer.sendall(value(1, 3, command())[:40])
        assert all(is_cut(peer) for peer in peers)
    until(lambda: is_served(running))


def test_a_pdu_that_drips_is_cut(running: Running) -> None:
    with connected(running) as peer:
        pdu = value(1, 3, command())
        start = time.monotonic()
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            for octet in pdu * 2:
                peer.sendall(bytes([octet]))
                time.sleep(0.1)
        assert time.monotonic() - start < len(pdu) * 0.1
    until(lambda: is_served(running))


@pytest.mark.parametrize("associated", [False, True])
def test_a_pdu_of_four_gigabytes_is_cut_at_its_header(running: Running, *, associated: bool) -> None:
    before = resident_bytes()
    with connected(running, associated=associated) as peer:
        try:
            peer.sendall(struct.pack(">BBL", 4 if associated else 1, 0, 0xFFFFFFF0))
            for _ in range(100):
                peer.sendall(bytes(1 << 20))
        except OSError:
            pass
        assert is_cut(peer)
    assert resident_bytes() - before < 50 << 20
    until(lambda: is_served(running))


def test_a_connection_that_says_nothing_is_closed(running: Running) -> None:
    with connected(running, associated=False) as peer:
        assert is_cut(peer, seconds=4)


BROKEN = {
    "no presentation data value in the PDU": struct.pack(">BBL", 4, 0, 0),
    "value longer than its PDU": struct.pack(">BBLLBB", 4, 0, 6, 100, 1, 3),
    "value of no length": struct.pack(">BBLLBB", 4, 0, 6, 0, 1, 3),
    "command set of no elements": value(1, 3, b""),
    "element beyond the command set": value(1, 3, struct.pack("<HHL", 0, 0x100, 0xFFFF)),
    "context that was not accepted": value(99, 3, command()),
    "data set in another context": value(1, 3, command()) + value(3, 2, bytes(100)),
    "data set before its command": value(1, 2, bytes(100)),
    "unknown PDU": struct.pack(">BBL", 0x42, 0, 4) + bytes(4),
    "command that there is not": value(3, 3, command(x0100=b"\x1d\x07", x0800=b"\x01\x01")),
    "response that nobody asked for": value(3, 3, command(x0100=b"\x30\x80", x0800=b"\x01\x01")),
    "event report, which an SCP is not sent": value(3, 3, command(x0100=b"\0\x01", x0800=b"\x01\x01")),
    "command without a SOP Instance UID": value(1, 3, command().replace(b"\0\x10\x08", b"\0\x11\x08")),
}


@pytest.mark.parametrize("attack", BROKEN.values(), ids=BROKEN)
def test_what_breaks_the_standard_ends_its_association_only(tmp_path: Path, attack: bytes) -> None:
    with mirror_at_work(tmp_path, receiver(idle_seconds=IDLE)) as running:
        with connected(running) as peer:
            peer.sendall(attack)
            assert is_cut(peer)
        assert is_served(running)
        assert running.files("arrived/*/*.part") == []


def test_a_request_that_no_library_expects_is_cut_counted_and_leaves_no_thread(running: Running) -> None:
    """A presentation context without a transfer syntax kills pynetdicom's thread, and held the connection for ever."""
    assert is_served(running)
    before = threading.active_count()
    for _ in range(5):
        with connected(running, associated=False) as peer:
            peer.sendall(associate_request(transfer_syntax=False))
            assert is_cut(peer, seconds=4)
    until(lambda: [one.detail for one in running.audits("association_rejected")] == ["not_understood"])
    until(lambda: threading.active_count() <= before)
    assert is_served(running)


NO_ROLE = struct.pack(">H", len(CTImageStorage)) + CTImageStorage.encode() + b"\0\0"
NOT_UNDERSTOOD = {
    "presentation context of an even number": associate_request(first_context=2),
    "neither role": associate_request(more=item(0x54, NO_ROLE)),
    "user identity of no type": associate_request(more=item(0x58, b"\x09\0\0\x01x\0\0")),
    "item of no standard": associate_request(more=item(0x5F, b"abc")),
    "another version of the protocol": associate_request(version=2),
    "AE title padded with zeros": associate_request(calling=ROUTER.encode().ljust(16, b"\0")),
    "another protocol": b"GET / HTTP/1.1\r\nHost: hospital\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
def test_a_request_that_cannot_be_understood_is_counted_whoever_refuses_it(
    running: Running, request_bytes: bytes
) -> None:
    with connected(running, associated=False) as peer:
        peer.sendall(request_bytes)
        assert is_cut(peer, seconds=4)
    until(lambda: [one.detail for one in running.audits("association_rejected")] == ["not_understood"], seconds=3)
    assert is_served(running)


def test_a_command_set_without_end_is_cut(tmp_path: Path) -> None:
    with mirror_at_work(tmp_path, receiver(idle_seconds=IDLE)) as running, connected(running) as peer:
        with suppress(OSError):
            for _ in range(1000):
                peer.sendall(value(1, 1, bytes(10_000)))
        assert is_cut(peer)
        assert is_served(running)


def test_a_flood_of_connections_leaves_room_when_it_is_over(running: Running) -> None:
    with ExitStack() as stack:
        for _ in range(200):
            try:
                stack.enter_context(connected(running, associated=False))
            except OSError:
                continue
    until(lambda: is_served(running), seconds=20)
    until(lambda: "too_many_connections" in {one.detail for one in running.audits("association_rejected")})


def test_an_address_that_is_not_listed_is_refused_and_counted(tmp_path: Path) -> None:
    with mirror_at_work(tmp_path, receiver(allowed_addresses=("10.0.0.0/8",))) as running:
        with connected(running, associated=False) as peer:
            assert is_cut(peer)
        until(lambda: [one.detail for one in running.audits("association_rejected")] == ["address"])
    with mirror_at_work(tmp_path, receiver(allowed_addresses=("10.0.0.0/8", "127.0.0.1/32"))) as running:
        assert is_served(running)


@pytest.fixture(name="authority")
def an_authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def echo(port: int, tls: Tls) -> bool:
    entity = AE(ROUTER)
    entity.add_requested_context(Verification)
    association = entity.associate(
        "127.0.0.1", port, ae_title="SHADOW", tls_args=(client_context(tls, Path("/"), "tls"), "localhost")
    )
    assert association.is_established
    status = association.send_c_echo().Status
    association.release()
    return bool(status == 0)


def is_refused(port: int, context: ssl.SSLContext | None) -> bool:
    """Whether a peer that speaks like this gets no word of DICOM back."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost") if context else plain as peer:
                peer.sendall(associate_request())
                return not peer.recv(1)
        except OSError:
            return True


@pytest.mark.parametrize("implementation", list(Implementation))
def test_tls_serves_its_own_and_nobody_else(
    tmp_path: Path, authority: Authority, implementation: Implementation
) -> None:
    stranger = Authority(tmp_path, "stranger").certify("intruder")
    settings = receiver(tls=authority.certify("shadow"), implementation=implementation, idle_seconds=5.0)
    with mirror_at_work(tmp_path, settings) as running:
        router, ours = authority.certify("router"), str(authority.file)
        assert echo(running.scp.port, router)
        assert is_refused(running.scp.port, None)
        assert is_refused(
            running.scp.port, client_context(replace(stranger, client_authorities=ours), Path("/"), "tls")
        )
        nameless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        nameless.load_verify_locations(ours)
        assert is_refused(running.scp.port, nameless)
        weak = client_context(router, Path("/"), "tls")
        weak.maximum_version = ssl.TLSVersion.TLSv1_2
        weak.set_ciphers("ECDHE-ECDSA-AES128-SHA")
        assert is_refused(running.scp.port, weak)
        assert echo(running.scp.port, router)
        until(lambda: "tls_handshake" in {one.detail for one in running.audits("association_rejected")})


@pytest.mark.parametrize("implementation", list(Implementation))
def test_a_client_that_never_shakes_hands_blocks_nobody(
    tmp_path: Path, authority: Authority, implementation: Implementation
) -> None:
    settings = receiver(tls=authority.certify("shadow"), implementation=implementation)
    with mirror_at_work(tmp_path, settings) as running, connected(running, associated=False):
        assert echo(running.scp.port, authority.certify("router"))


@pytest.mark.skipif(not ECHOSCU.exists(), reason="dcmtk is not installed")
def test_dcmtk_speaks_tls_to_the_receiver(tmp_path: Path, authority: Authority) -> None:
    router = authority.certify("router")
    with mirror_at_work(tmp_path, receiver(tls=authority.certify("shadow"))) as running:
        files = ["+tls", router.key, router.certificate, "+cf", router.client_authorities]
        command_line = [ECHOSCU, *files, "-aet", ROUTER, "-aec", "SHADOW", "localhost", str(running.scp.port)]
        done = subprocess.run(command_line, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, done.stderr


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path, authority: Authority) -> None:
    missing = Tls("nowhere.crt", authority.certify("shadow").key, str(authority.file))
    with (
        pytest.raises(SetupError, match=r"receiver\.tls\.certificate.*nowhere"),
        mirror_at_work(tmp_path, receiver(tls=missing)),
    ):
        pass


def test_a_full_disk_sheds_where_the_deployment_says_so_and_counts_it(tmp_path: Path) -> None:
    settings = receiver(minimum_free_bytes=1 << 60, on_full=OnFull.SHED)
    with mirror_at_work(tmp_path, settings) as running:
        assert send(running, [ct_slice("1.2.3", f"1.2.3.1.{number}") for number in range(3)]) == [0x0000] * 3
        assert running.files("arrived/*/*") == []
    (shed,) = running.audits("instances_shed")
    assert shed.detail == "instances=3 on_full=shed"


def status_of(answer: bytes) -> int:
    """The status of a C-STORE-RSP that came in one PDU."""
    at = answer.find(struct.pack("<HHL", 0, 0x0900, 2))
    return int.from_bytes(answer[at + 8 : at + 10], "little") if at > 0 else -1


def store_raw(peer: socket.socket, uid: str, data_set: bytes, **changed: bytes) -> int:
    peer.sendall(value(1, 3, command(x1000=uid.encode() + b"\0" * (len(uid) % 2), **changed)))
    for start in range(0, len(data_set), 8000):
        last = 2 if start + 8000 >= len(data_set) else 0
        peer.sendall(value(1, last, data_set[start : start + 8000]))
    return status_of(peer.recv(4096))


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # pydicom, where pynetdicom receives
def test_an_instance_that_is_refused_for_what_it_is_is_counted_once_and_nowhere_named(running: Running) -> None:
    name, another_class = "MUELLER^HANS", str(MRImageStorage).encode()
    with connected(running) as peer:
        for _ in range(2):
            assert store_raw(peer, name, bytes(100)) == 0xC000
        assert store_raw(peer, "1.2.3.1", bytes(4)) == 0xC000
        assert store_raw(peer, "1.2.3.1", bytes(100), x0002=another_class) == 0xA900
        assert store_raw(peer, "1.2.3.2", bytes(4)) == 0xC000
    until(lambda: len({one.identifier for one in running.audits("instance_refused")}) == 4)
    reasons = {one.identifier: one.detail for one in running.audits("instance_refused")}
    assert sorted(reasons.values()) == ["empty", "empty", "invalid_uid", "sop_class_differs_from_context"]
    assert "MUELLER" not in str(running.recorded)


@pytest.mark.filterwarnings("ignore:The value length")  # pydicom, where pynetdicom receives
def test_a_uid_of_65_characters_costs_its_instance_and_not_the_association(running: Running) -> None:
    good = io.BytesIO()
    ct_slice("1.2.3", "1.2.3.1.1").save_as(good, implicit_vr=False, little_endian=True)
    with connected(running) as peer:
        assert store_raw(peer, f"1.{'2' * 63}", bytes(100)) == 0xC000
        assert store_raw(peer, "1.2.3.1.1", good.getvalue()) == 0x0000
    until(lambda: [one.detail for one in running.audits("instance_refused")] == ["invalid_uid"])


def damaged(seed: int) -> bytes:
    """A data set cut, or with bytes turned, or with a length that lies, or nested without end."""
    chance = random.Random(seed)
    whole = io.BytesIO()
    ct_slice("1.2.3", f"1.2.3.1.{seed}").save_as(whole, implicit_vr=False, little_endian=True)
    content = bytearray(whole.getvalue())
    match seed % 4:
        case 0:
            return bytes(content[: chance.randrange(8, len(content))])
        case 1:
            for _ in range(20):
                content[chance.randrange(len(content))] = chance.randrange(256)
        case 2:
            place = chance.randrange(0, 200)
            content[place : place + 4] = b"\xff\xff\xff\xff"
        case _:
            return b"\x08\0\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 2000
    return bytes(content)


def test_every_damaged_object_is_acknowledged_and_counted_and_harms_no_neighbour(running: Running) -> None:
    sent = 120
    with connected(running) as peer:
        for seed in range(sent):
            assert store_raw(peer, f"1.2.3.1.{seed}", damaged(seed)) in (0x0000, 0xC000)
            if seed % 10 == 0:
                assert is_served(running)
    until(lambda: not running.files("arrived/*/*.dcm"), seconds=20)
    quarantined = running.files("quarantine/*.dcm")
    sorted_into_studies = {path.name for path in running.files("studies/**/*.dcm")}
    neighbour = {name for name in sorted_into_studies if name.startswith("1.2.9.")}
    assert len(neighbour) == 1
    assert len(quarantined) + len(sorted_into_studies - neighbour) == sent, "each ends in one place"
    until(lambda: len(running.audits("instance_quarantined")) == len(quarantined))
    assert len(quarantined) > sent // 4
    assert all(path.with_name(path.name + ".reason.json").exists() for path in quarantined)
