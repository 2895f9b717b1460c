"""The MLLP listener on real sockets and a real journal."""

from __future__ import annotations

import asyncio
import itertools
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from certificates import Authority
from hypothesis import given, settings
from hypothesis import strategies as st

from shadow.adapters.mllp import MllpServer, serve_mllp
from shadow.adapters.mllp_frames import Acknowledgement, FrameReader, acknowledge
from shadow.adapters.mutual_tls import client_context, server_context
from shadow.domain.clock import RehearsalClock
from shadow.store.journal import START, JournalReader, JournalWriter

INSTANT = datetime(2026, 8, 24, 16, tzinfo=UTC)
CLOCK = RehearsalClock(INSTANT, INSTANT, INSTANT, 1.0)
HEADER = b"MSH|^~\\&|RIS|RIVERSIDE|SHADOW|TRIAL|20260824120000||ORU^R01|"


def message(control: str, rest: bytes = b"|P|2.5.1") -> bytes:
    return HEADER + control.encode() + rest + b"\rPID|1||MRN778899||ZEBEDEE\rOBX|1|TX|||text\r"


def framed(payload: bytes) -> bytes:
    return b"\x0b" + payload + b"\x1c\r"


@dataclass(frozen=True, slots=True)
class Line:
    """One connection of a simulated sender."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def write(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def reply(self) -> bytes:
        frame = await asyncio.wait_for(self.reader.readuntil(b"\x1c\r"), 5)
        assert frame.startswith(b"\x0b")
        return frame[1:-2]

    async def code(self) -> str:
        return (await self.reply()).split(b"\r")[1].split(b"|")[1].decode()

    async def ended(self) -> bool:
        try:
            return await asyncio.wait_for(self.reader.read(), 5) == b""
        except ConnectionResetError:  # closed with bytes unread
            return True


@dataclass(frozen=True, slots=True)
class Wire:
    folder: Path
    server: MllpServer

    @asynccontextmanager
    async def line(self, context: ssl.SSLContext | None = None) -> AsyncIterator[Line]:
        name = "localhost" if context else None
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port, ssl=context, server_hostname=name)
        try:
            yield Line(reader, writer)
        finally:
            writer.close()

    def journaled(self) -> list[bytes]:
        return [record.payload for record in JournalReader(self.folder).read(START, 10_000)]


def on_the_wire(
    folder: Path,
    conversation: Callable[[Wire], Awaitable[None]],
    *,
    minimum_free_bytes: int = 0,
    maximum_message_bytes: int = 100_000,
    idle_seconds: float = 30.0,
    key: bytes | None = None,
    **network: object,
) -> None:
    async def run() -> None:
        with JournalWriter(folder, key, minimum_free_bytes=minimum_free_bytes) as journal:
            server = await serve_mllp(
                "127.0.0.1",
                0,
                journal,
                CLOCK,
                maximum_message_bytes=maximum_message_bytes,
                idle_seconds=idle_seconds,
                **network,  # type: ignore[arg-type]
            )
            try:
                await conversation(Wire(folder, server))
            finally:
                await server.close()

    asyncio.run(run())


def test_a_message_is_on_disk_before_it_is_acknowledged(tmp_path: Path) -> None:
    async def conversation(wire: Wire) -> None:
        async with wire.line() as line:
            for number in range(50):
                line.write(framed(message(f"C{number}")))
                assert await line.code() == "AA"
                assert wire.journaled()[-1] == message(f"C{number}")

    on_the_wire(tmp_path, conversation)


def test_the_journal_bears_the_trials_clock(tmp_path: Path) -> None:
    async def conversation(wire: Wire) -> None:
        async with wire.line() as line:
            line.write(framed(message("C1")))
            await line.reply()

    on_the_wire(tmp_path, conversation)
    (record,) = JournalReader(tmp_path).read(START, 10)
    assert record.received_at == INSTANT


def test_the_acknowledgement_answers_the_sender_in_its_own_delimiters(tmp_path: Path) -> None:
    async def conversation(wire: Wire) -> None:
        async with wire.line() as line:
            line.write(framed(b"MSH$*@!%$RIS$SITE$SHADOW$TRIAL$2026$$ORU*R01$CTL-7$P$2.4\r"))
            header, result, rest = (await line.reply()).split(b"\r")
            assert header == b"MSH$*@!%$SHADOW$TRIAL$RIS$SITE$20260824160000+0000$$ACK*R01$ACTL-7$P$2.4"
            assert (result, rest) == (b"MSA$AA$CTL-7", b"")

    on_the_wire(tmp_path, conversation)


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000])
def test_frames_arrive_whole_however_the_network_divides_them(tmp_path: Path, pieces: int) -> None:
    async def conversation(wire: Wire) -> None:
        stream = b"".join(framed(message(f"C{number}")) for number in range(5))
        size = -(-len(stream) // pieces)
        async with wire.line() as line:
            for start in range(0, len(stream), size):
                line.write(stream[start : start + size])
                await line.writer.drain()
                await asyncio.sleep(0)
            assert [await line.code() for _ in range(5)] == ["AA"] * 5
        assert wire.journaled() == [message(f"C{number}") for number in range(5)]

    on_the_wire(tmp_path, conversation)


@pytest.mark.parametrize(
    "stream",
    [
        b"garbage before " + framed(b"MSH|^~\\&|A\r"),
        b"\r\n\x0bMSH|^~\\&|A\r\x1c",
        framed(b"MSH|^~\\&|A\r").replace(b"\x1c\r", b"\x1c\n"),
    ],
)
def test_untidy_framing_is_forgiven(tmp_path: Path, stream: bytes) -> None:
    async def conversation(wire: Wire) -> None:
        async with wire.line() as line:
            line.write(stream + framed(message("C2")))
            assert [await line.code(), await line.code()] == ["AA", "AA"]
        assert wire.journaled() == [b"MSH|^~\\&|A\r", message("C2")]

    on_the_wire(tmp_path, conversation)


@pytest.mark.parametrize("junk", [b"", b"not HL7", b"\xff\xfe\0", b"MSH", b"PID|1"])
def test_junk_in_a_frame_is_kept_and_acknowledged_so_that_it_blocks_no_queue(tmp_path: Path, junk: bytes) -> None:
    async def conversation(wire: Wire) -> None:
        async with wire.line() as line:
            line.write(framed(junk))
            assert await line.code() == "AA"
            line.write(framed(message("C2")))
            assert await line.code() == "AA"
        assert wire.journaled() == [junk, message("C2")]

    on_the_wire(tmp_path, conversation)


def test_a_full_disk_is_an_error_to_the_sender_and_never_a_success(tmp_path: Path) -> None:
    async def conversation(wire: Wire) -> None:
        async with wire.line() as line:
            line.write(framed(message("C1")))
            assert await line.code() == "AE"
            line.write(framed(message("C2", b"|P|2.5.1|||AL|NE")))
            assert await line.code() == "CE"
        assert wire.journaled() == []
        assert (wire.server.counts.accepted, wire.server.counts.refused_by_disk) == (0, 2)

    on_the_wire(tmp_path, conversation, minimum_free_bytes=1 << 60)


@pytest.mark.parametrize("size", [5_001, 20_000, 400_000])
def test_an_oversize_message_is_rejected_and_the_next_one_is_taken(tmp_path: Path, size: int) -> None:
    async def conversation(wire: Wire) -> None:
        async with wire.line() as line:
            line.write(framed(message("BIG").ljust(size, b"x")) + framed(message("C2")))
            refused = await line.reply()
            assert refused.split(b"\r")[1] == b"MSA|AR|BIG"
            assert await line.code() == "AA"
        assert wire.journaled() == [message("C2")]
        assert wire.server.counts.oversize == 1

    on_the_wire(tmp_path, conversation, maximum_message_bytes=5_000)


def test_a_message_of_just_the_maximum_is_taken(tmp_path: Path) -> None:
    async def conversation(wire: Wire) -> None:
        async with wire.line() as line:
            line.write(framed(message("C1").ljust(50_000, b"x")))
            assert await line.code() == "AA"
        assert wire.journaled() == [message("C1").ljust(50_000, b"x")]

    on_the_wire(tmp_path, conversation, maximum_message_bytes=50_000)


def test_two_connections_are_served_side_by_side(tmp_path: Path) -> None:
    async def send(wire: Wire, name: str) -> None:
        async with wire.line() as line:
            for number in range(100):
                line.write(framed(message(f"{name}{number}")))
                assert (await line.reply()).split(b"\r")[1] == f"MSA|AA|{name}{number}".encode()

    async def conversation(wire: Wire) -> None:
        async with wire.line() as silent:
            silent.write(b"\x0bMSH|half a message")
            await asyncio.gather(send(wire, "A"), send(wire, "B"))
        journaled = wire.journaled()
        assert sorted(journaled) == sorted(message(f"{name}{number}") for name in "AB" for number in range(100))
        mine = [one for one in journaled if HEADER + b"A" in one]
        assert mine == [message(f"A{number}") for number in range(100)]

    on_the_wire(tmp_path, conversation)


def test_a_connection_cut_inside_a_message_leaves_nothing(tmp_path: Path) -> None:
    async def conversation(wire: Wire) -> None:
        async with wire.line() as line:
            line.write(b"\x0b" + message("C1"))
            await line.writer.drain()
        async with wire.line() as line:
            line.write(framed(message("C2")))
            assert await line.code() == "AA"
        assert wire.journaled() == [message("C2")]

    on_the_wire(tmp_path, conversation)


def test_a_silent_connection_is_closed(tmp_path: Path) -> None:
    async def conversation(wire: Wire) -> None:
        async with wire.line() as line:
            line.write(b"\x0bMSH|half")
            assert await line.ended()

    on_the_wire(tmp_path, conversation, idle_seconds=0.2)


def test_logs_hold_counts_and_digests_and_nothing_of_a_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="shadow.reports")

    async def conversation(wire: Wire) -> None:
        async with wire.line() as line:
            line.write(framed(message("C1")) + framed(message("C2").ljust(200_000)))
            assert [await line.code(), await line.code()] == ["AA", "AR"]

    on_the_wire(tmp_path, conversation)
    assert "sha256=" in caplog.text
    assert "reason=oversize" in caplog.text
    assert "ZEBEDEE" not in caplog.text
    assert "MRN778899" not in caplog.text


@pytest.mark.parametrize(
    ("accept", "application", "on_success", "on_disk_failure"),
    [
        (b"", b"", b"AA", b"AE"),
        (b"AL", b"NE", b"CA", b"CE"),
        (b"AL", b"", b"CA", b"CE"),
        (b"ER", b"NE", None, b"CE"),
        (b"SU", b"NE", b"CA", None),
        (b"NE", b"NE", None, None),
        (b"NE", b"AL", b"AA", b"AE"),
        (b"", b"AL", b"AA", b"AE"),
        (b"ER", b"AL", b"AA", b"CE"),
    ],
)
def test_the_header_says_which_acknowledgement_is_wanted(
    accept: bytes, application: bytes, on_success: bytes | None, on_disk_failure: bytes | None
) -> None:
    payload = message("C1", b"|P|2.5.1|||" + accept + b"|" + application)
    for outcome, expected in ((Acknowledgement.ACCEPT, on_success), (Acknowledgement.ERROR, on_disk_failure)):
        reply = acknowledge(payload, outcome, INSTANT)
        assert (reply and reply.split(b"\r")[1]) == (expected and b"MSA|" + expected + b"|C1")


def test_a_batch_is_acknowledged_by_its_first_message() -> None:
    reply = acknowledge(b"FHS|^~\\&\rBHS|^~\\&\r" + message("C1") + message("C2"), Acknowledgement.ACCEPT, INSTANT)
    assert reply is not None
    assert reply.split(b"\r")[1] == b"MSA|AA|C1"


@settings(max_examples=200, deadline=None)
@given(
    payloads=st.lists(st.binary(max_size=40).map(lambda one: one.translate(None, b"\x0b\x1c")), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 250), max_size=8),
)
def test_any_division_of_the_stream_gives_the_same_frames(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(b"noise" + framed(one) for one in payloads)
    frames = FrameReader(30)
    edges = [0, *sorted(cuts), len(stream)]
    found = [frame for start, end in itertools.pairwise(edges) for frame in frames.feed(stream[start:end])]
    assert [frame.payload for frame in found] == payloads
    assert [frame.oversize for frame in found] == [len(one) > 30 for one in payloads]
    assert frames.bytes_outside == 5 * len(payloads)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=120), st.binary(max_size=120).map(lambda tail: b"MSH|^~\\&|" + tail)))
def test_whatever_was_framed_its_acknowledgement_is_one_frame(payload: bytes) -> None:
    reply = acknowledge(payload, Acknowledgement.ACCEPT, INSTANT)
    if reply is not None:
        (frame,) = FrameReader(1 << 20).feed(reply)
        assert b"MSA" in frame.payload


def test_an_address_that_is_not_listed_is_closed_before_a_byte_is_read(tmp_path: Path) -> None:
    async def conversation(wire: Wire) -> None:
        async with wire.line() as line:
            line.write(framed(message("C1")))
            assert await line.ended()
        assert (wire.server.counts.refused_connections, wire.server.counts.accepted) == (1, 0)

    on_the_wire(tmp_path, conversation, allowed_addresses=("10.0.0.0/8",))

    async def welcome(wire: Wire) -> None:
        async with wire.line() as line:
            line.write(framed(message("C1")))
            assert await line.code() == "AA"

    on_the_wire(tmp_path, welcome, allowed_addresses=("10.0.0.0/8", "127.0.0.0/8"))


def test_tls_takes_messages_of_its_own_and_nothing_of_anybody_else(tmp_path: Path) -> None:
    authority, strangers = Authority(tmp_path), Authority(tmp_path, "stranger")
    ours, engine = authority.certify("shadow"), authority.certify("engine")
    intruder = replace(strangers.certify("intruder"), client_authorities=str(authority.file))
    nameless = ssl.create_default_context(cafile=str(authority.file))

    async def conversation(wire: Wire) -> None:
        async with wire.line(client_context(engine, Path("/"), "tls")) as line:
            for body in (message("C1"), message("C2") + b"OBX|1|TX|||" + b"x" * 2_000_000 + b"\r", message("C3")):
                line.write(framed(body))
                assert await line.code() == "AA"
        for context in (client_context(intruder, Path("/"), "tls"), nameless):
            with pytest.raises((ssl.SSLError, OSError, asyncio.IncompleteReadError)):
                async with wire.line(context) as line:
                    line.write(framed(message("C9")))
                    await line.reply()
        async with wire.line() as plain:
            plain.write(framed(message("C9")))
            with suppress(ConnectionResetError):
                assert not (await asyncio.wait_for(plain.reader.read(), 5)).startswith(b"\x0b")
        assert wire.server.counts.accepted == 3
        assert len(wire.journaled()) == 3

    tls = server_context(ours, Path("/"), "reports.tls")
    on_the_wire(tmp_path / "journal", conversation, tls=tls, maximum_message_bytes=5_000_000)


def test_whoever_never_shakes_hands_keeps_nobody_out(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours, engine = authority.certify("shadow"), authority.certify("engine")

    async def conversation(wire: Wire) -> None:
        async with wire.line(), wire.line(), wire.line(client_context(engine, Path("/"), "tls")) as line:
            line.write(framed(message("C1")))
            assert await line.code() == "AA"

    on_the_wire(tmp_path / "journal", conversation, tls=server_context(ours, Path("/"), "reports.tls"))


def test_with_a_key_no_word_of_a_message_lies_in_clear(tmp_path: Path) -> None:
    async def conversation(wire: Wire) -> None:
        async with wire.line() as line:
            line.write(framed(message("C1")))
            assert await line.code() == "AA"

    key = b"k" * 32
    on_the_wire(tmp_path, conversation, key=key)
    (segment,) = tmp_path.glob("*.journal")
    assert b"MSH" not in segment.read_bytes() and b"C1" not in segment.read_bytes()
    assert [one.payload for one in JournalReader(tmp_path, key).read(START, 10)] == [message("C1")]
