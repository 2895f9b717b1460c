"""The HL7 journal on real files: order, durability, torn tails, damage, full disks, one writer, many readers."""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadow.domain.errors import StoreError, VaultLocked
from shadow.store.journal import START, Arrival, Cursor, JournalReader, JournalWriter, Position, Record

NOON = datetime(2026, 8, 24, 12, 0, 0, 123456, tzinfo=UTC)
HEADER_BYTES = 20


def payloads(records: list[Record]) -> list[bytes]:
    return [record.payload for record in records]


def everything(folder: Path) -> list[Record]:
    return JournalReader(folder).read(START, 10_000)


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal"))


def test_messages_come_back_as_they_went_in_with_their_instants(tmp_path: Path) -> None:
    with JournalWriter(tmp_path) as journal:
        journal.append(b"one", NOON)
        journal.append_many([Arrival(b"", NOON), Arrival(b"\0\x0bSJR1\x1c", NOON + timedelta(microseconds=1))])
    assert [(record.payload, record.received_at) for record in everything(tmp_path)] == [
        (b"one", NOON),
        (b"", NOON),
        (b"\0\x0bSJR1\x1c", NOON + timedelta(microseconds=1)),
    ]


def test_an_appended_message_is_seen_by_a_reader_at_once(tmp_path: Path) -> None:
    reader = JournalReader(tmp_path)
    assert reader.read(START, 10) == []
    with JournalWriter(tmp_path) as journal:
        journal.append(b"one", NOON)
        (first,) = reader.read(START, 10)
        journal.append(b"two", NOON)
        assert payloads(reader.read(first.position, 10)) == [b"two"]


def test_only_the_owner_may_read_a_segment(tmp_path: Path) -> None:
    with JournalWriter(tmp_path / "journal") as journal:
        journal.append(b"one", NOON)
    assert [path.stat().st_mode & 0o777 for path in segments(tmp_path / "journal")] == [0o600]
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700


def test_a_second_writer_is_refused_and_told_why(tmp_path: Path) -> None:
    with JournalWriter(tmp_path), pytest.raises(StoreError, match="another process"):
        JournalWriter(tmp_path)
    JournalWriter(tmp_path).close()


def test_a_full_segment_is_followed_by_the_next(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, segment_bytes=100) as journal:
        for number in range(10):
            journal.append(b"%d" % number * 30, NOON)
    assert len(segments(tmp_path)) == 5
    assert payloads(everything(tmp_path)) == [b"%d" % number * 30 for number in range(10)]


@settings(max_examples=25, deadline=None)
@given(limit=st.integers(1, 7), segment_bytes=st.integers(1, 200), count=st.integers(0, 25))
def test_reading_in_pieces_gives_every_message_once(
    tmp_path_factory: pytest.TempPathFactory, limit: int, segment_bytes: int, count: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    with JournalWriter(folder, segment_bytes=segment_bytes) as journal:
        journal.append_many([Arrival(b"%d" % number, NOON) for number in range(count)])
        journal.append(b"last", NOON)
    reader, position, read = JournalReader(folder), START, []
    while records := reader.read(position, limit):
        assert len(records) <= limit
        read += payloads(records)
        position = records[-1].position
    assert read == [*(b"%d" % number for number in range(count)), b"last"]


@pytest.mark.parametrize("kept", range(1, HEADER_BYTES + 5))
def test_a_torn_tail_is_no_message_and_hides_none(tmp_path: Path, kept: int) -> None:
    with JournalWriter(tmp_path) as journal:
        journal.append(b"whole", NOON)
        end = segments(tmp_path)[0].stat().st_size
        journal.append(b"torn!", NOON)
    with segments(tmp_path)[0].open("r+b") as segment:
        segment.truncate(end + kept)
    assert payloads(everything(tmp_path)) == [b"whole"]
    with JournalWriter(tmp_path) as journal:
        journal.append(b"after", NOON)
    assert payloads(everything(tmp_path)) == [b"whole", b"after"]


def test_a_tail_of_zeros_is_no_message(tmp_path: Path) -> None:
    with JournalWriter(tmp_path) as journal:
        journal.append(b"whole", NOON)
    with segments(tmp_path)[0].open("ab") as segment:
        segment.write(bytes(500))
    with JournalWriter(tmp_path) as journal:
        journal.append(b"after", NOON)
    assert payloads(everything(tmp_path)) == [b"whole", b"after"]


@pytest.mark.parametrize("damaged", [0, 1, 2])
@pytest.mark.parametrize("at", [0, 5, 9, 14, HEADER_BYTES, HEADER_BYTES + 4])
def test_a_damaged_message_is_reported_and_its_neighbours_are_read(tmp_path: Path, damaged: int, at: int) -> None:
    with JournalWriter(tmp_path) as journal:
        for number in range(3):
            journal.append(b"%d" % number * 5, NOON)
    with JournalWriter(tmp_path) as journal:
        journal.append(b"after", NOON)
    size = HEADER_BYTES + 5
    octets = bytearray(segments(tmp_path)[0].read_bytes())
    octets[damaged * size + at] ^= 0x40
    segments(tmp_path)[0].write_bytes(bytes(octets))
    records = everything(tmp_path)
    expected = [b"0" * 5, b"1" * 5, b"2" * 5, b"after"]
    intact = [record.payload for record in records if record.received_at is not None]
    assert intact == [one for number, one in enumerate(expected) if number != damaged]
    # A length that grew in the very last record of a segment looks like a torn one: nothing can tell them apart.
    if (damaged, at) != (2, 5):
        assert sum(record.received_at is None for record in records) == 1


def test_bytes_at_the_end_of_the_newest_segment_are_still_being_written(tmp_path: Path) -> None:
    with JournalWriter(tmp_path) as journal:
        journal.append(b"whole", NOON)
    with segments(tmp_path)[0].open("ab") as segment:
        segment.write(b"half a record, or rather none")
    (whole,) = everything(tmp_path)
    with JournalWriter(tmp_path) as journal:
        journal.append(b"after", NOON)
    damaged, after = JournalReader(tmp_path).read(whole.position, 10)
    assert (damaged.received_at, after.payload) == (None, b"after")


def test_a_position_is_never_used_twice_even_where_a_power_cut_took_what_was_read(tmp_path: Path) -> None:
    with JournalWriter(tmp_path) as journal:
        journal.append(b"kept", NOON)
        end = segments(tmp_path)[0].stat().st_size
        journal.append(b"read, never acknowledged, gone", NOON)
    position = everything(tmp_path)[-1].position
    with segments(tmp_path)[0].open("r+b") as segment:
        segment.truncate(end)
    with JournalWriter(tmp_path) as journal:
        journal.append(b"after", NOON)
    assert payloads(JournalReader(tmp_path).read(position, 10)) == [b"after"]


def test_too_little_free_space_is_refused_before_a_byte_is_written(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, minimum_free_bytes=1 << 60) as journal, pytest.raises(OSError, match="free space"):
        journal.append(b"one", NOON)
    assert segments(tmp_path) == []


def test_a_write_that_fails_half_way_is_an_error_and_leaves_no_message(tmp_path: Path) -> None:
    program = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from shadow.store.journal import JournalWriter
now = datetime.now(UTC)
with JournalWriter(Path(sys.argv[1])) as journal:
    journal.append(b"before", now)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    try:
        journal.append(b"x" * 2000, now)
    except OSError:
        print("refused")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    journal.append(b"after", now)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "refused\n"
    assert payloads(everything(tmp_path)) == [b"before", b"after"]
    assert segments(tmp_path)[0].stat().st_size == HEADER_BYTES + len(b"before")


def test_a_cursor_is_kept_and_a_lost_one_means_reading_again(tmp_path: Path) -> None:
    cursor = Cursor(tmp_path / "reports.cursor")
    assert cursor.read() == START
    cursor.move(Position(3, 14))
    assert Cursor(tmp_path / "reports.cursor").read() == Position(3, 14)
    for content in (b"", b"\xff", b"[]", b'{"segment": null, "offset": 1}', b'{"segment": 1}'):
        (tmp_path / "reports.cursor").write_bytes(content)
        assert cursor.read() == START


def test_an_instant_without_a_time_zone_is_refused(tmp_path: Path) -> None:
    with JournalWriter(tmp_path) as journal, pytest.raises(ValueError, match="time zone"):
        journal.append(b"one", datetime(2026, 8, 24))  # noqa: DTZ001


KEY = b"k" * 32


def test_a_journal_that_was_begun_in_clear_goes_on_encrypted_and_is_read_as_one(tmp_path: Path) -> None:
    with JournalWriter(tmp_path) as journal:
        journal.append(b"in clear", NOON)
    with JournalWriter(tmp_path, KEY) as journal:
        journal.append(b"IMPRESSION: secret", NOON)
        journal.append(b"", NOON)
    clear, encrypted = segments(tmp_path)
    assert b"in clear" in clear.read_bytes() and b"secret" not in encrypted.read_bytes()
    read = JournalReader(tmp_path, KEY).read(START, 10)
    assert payloads(read) == [b"in clear", b"IMPRESSION: secret", b""]
    assert [one.received_at for one in read] == [NOON] * 3


def test_another_key_is_an_error_and_never_a_damaged_record(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, KEY) as journal:
        journal.append(b"one", NOON)
    for key in (None, b"x" * 32):
        with pytest.raises(VaultLocked, match="key file"):
            JournalReader(tmp_path, key).read(START, 10)


def test_an_encrypted_record_that_was_moved_to_another_instant_is_not_believed(tmp_path: Path) -> None:
    """The arrival is authenticated: an instant that was set back, with a new checksum, is found out."""
    with JournalWriter(tmp_path, KEY) as journal:
        journal.append(b"one", NOON)
    (segment,) = segments(tmp_path)
    octets = bytearray(segment.read_bytes())
    _, length, _, microseconds = struct.unpack(">4sLLq", octets[:HEADER_BYTES])
    earlier = microseconds - 3_600_000_000
    checksum = zlib.crc32(octets[HEADER_BYTES:], zlib.crc32(struct.pack(">Lq", length, earlier)))
    octets[:HEADER_BYTES] = struct.pack(">4sLLq", b"SJR2", length, checksum, earlier)
    segment.write_bytes(octets)
    with pytest.raises(VaultLocked):
        JournalReader(tmp_path, KEY).read(START, 10)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 200), st.integers(0, 255))
def test_a_torn_or_changed_encrypted_tail_loses_none_of_its_neighbours(cut: int, flip: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with JournalWriter(folder, KEY) as journal:
            journal.append(b"first", NOON)
            journal.append(b"second" * 10, NOON)
        (segment,) = segments(folder)
        octets = bytearray(segment.read_bytes())
        first = HEADER_BYTES + 12 + len(b"first") + 16
        at = first + cut % (len(octets) - first)
        del octets[at:]
        segment.write_bytes(octets)
        with JournalWriter(folder, KEY) as journal:
            journal.append(bytes([flip]), NOON)
        assert payloads(JournalReader(folder, KEY).read(START, 10)) == [b"first", bytes([flip])]


@pytest.mark.parametrize("key", [None, KEY])
def test_a_reader_that_looks_while_a_record_is_being_written_takes_none_for_damaged(
    tmp_path: Path, key: bytes | None
) -> None:
    """Between two looks at the same place the writer may end a record and begin the next ones."""
    program = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from shadow.store.journal import Arrival, JournalWriter
key = bytes.fromhex(sys.argv[2]) or None
now = datetime.now(UTC)
with JournalWriter(Path(sys.argv[1]), key) as journal:
    for number in range(1500):
        journal.append_many([Arrival(b"%06d" % number + b"x" * 60_000, now), Arrival(b"%06d" % number, now)])
"""
    command = [sys.executable, "-c", program, str(tmp_path), (key or b"").hex()]
    reader, position, read, damaged = JournalReader(tmp_path, key), START, 0, 0
    with subprocess.Popen(command) as writer:
        while True:
            ended = writer.poll() is not None
            records = reader.read(position, 10_000)
            damaged += sum(one.received_at is None for one in records)
            read += len(records)
            position = records[-1].position if records else position
            if ended and not records:
                break
    assert (writer.returncode, damaged, read) == (0, 0, 3000)
