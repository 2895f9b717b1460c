"""HL7 messages as they came, in append-only segments: durable before they are acknowledged.

One process writes (it holds a lock on the folder), any number read. A record is

    magic 4 · payload length 4 · CRC-32 4 · received_at 8 (microseconds since 1970, UTC) · payload

with the checksum over everything behind it and the length. With a key the payload is encrypted (AES-256-GCM, nonce
first, the arrival as associated data): report text lies nowhere in clear. The magic tells the two forms apart, so a
journal that was begun in clear goes on encrypted. A writer never goes on in a segment that it
finds: it begins the next one, lazily, with its first record. So no position is ever used twice, and a
reader's cursor stays true even where a power cut took bytes that were read but never acknowledged.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shadow.domain.errors import StoreError, VaultLocked
from shadow.store.durable import sync_folder, write_durably

MAGIC = b"SJR1"
ENCRYPTED_MAGIC = b"SJR2"
_MAGICS = (MAGIC, ENCRYPTED_MAGIC)
_ANY_MAGIC = re.compile(b"|".join(_MAGICS))
NONCE_BYTES = 12
_HEADER = struct.Struct(">4sLLq")
_SUMMED = struct.Struct(">Lq")
_ARRIVAL = struct.Struct(">q")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PATTERN = "*.journal"
_DIGITS = 8

SEGMENT_BYTES = 64 << 20
MINIMUM_FREE_BYTES = 16 << 20
READ_BYTES = 64 << 20
_DAMAGE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place between two records: reading goes on from here."""

    segment: int
    offset: int


START = Position(0, 0)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message on its way into the journal. `received_at` is aware and comes from the trial's clock."""

    payload: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Record:
    """One message of the journal, or one stretch of bytes that is no longer a record.

    Attributes:
        position: where reading goes on after this record.
        received_at: the trial's clock when the message arrived; None marks a damaged stretch.
        payload: the message's bytes, or (the first MiB of) the damaged bytes.
    """

    position: Position
    received_at: datetime | None
    payload: bytes


class JournalWriter:
    """Appends records to the journal of one folder. Use it from one thread at a time.

    Args:
        folder: made if it is not there (0700); it holds `<n>.journal` (0600) and the lock.
        key: encrypts what is appended; None leaves it in clear.
        segment_bytes: a segment that has reached this size is closed and the next one begun.
        minimum_free_bytes: below this much free space an append is refused before a byte is written.

    Raises:
        StoreError: another process writes this journal.
    """

    def __init__(
        self,
        folder: Path,
        key: bytes | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        minimum_free_bytes: int = MINIMUM_FREE_BYTES,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._cipher = _cipher(key)
        self._segment_bytes = segment_bytes
        self._minimum_free_bytes = minimum_free_bytes
        self._lock = os.open(folder / ".writer.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise StoreError(f"{folder}: another process writes this journal; stop it first") from error
        self._last_segment = max(_segment_numbers(folder), default=0)
        self._segment: int | None = None
        self._size = 0

    def append(self, payload: bytes, received_at: datetime) -> None:
        """Append one message; it is on disk when this returns. Raises as `append_many` does."""
        self.append_many([Arrival(payload, received_at)])

    def append_many(self, arrivals: Sequence[Arrival]) -> None:
        """Append messages with one sync: all are on disk when this returns.

        Raises:
            OSError: the disk refused (full, failing). None of the messages counts as received; what was
                written of them is cut off or, failing that, read as an unacknowledged message.
        """
        if not arrivals:
            return
        block = b"".join(_encode(one, self._cipher) for one in arrivals)
        room = os.statvfs(self._folder)
        if room.f_bavail * room.f_frsize < len(block) + self._minimum_free_bytes:
            raise OSError(errno.ENOSPC, "too little free space for the journal")
        segment = self._open_segment()
        try:
            remaining = memoryview(block)
            while remaining:
                remaining = remaining[os.write(segment, remaining) :]
            os.fdatasync(segment)
        except OSError:
            self._abandon_segment(segment)
            raise
        self._size += len(block)

    def close(self) -> None:
        """Close the segment and give the lock back."""
        if self._segment is not None:
            os.close(self._segment)
            self._segment = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_segment(self) -> int:
        if self._segment is not None and self._size < self._segment_bytes:
            return self._segment
        if self._segment is not None:
            os.close(self._segment)
            self._segment = None
        number = self._last_segment + 1
        segment = os.open(
            _segment_path(self._folder, number),
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC,
            0o600,
        )
        self._last_segment = number
        # The name is durable before a record can be read under it: a number is never given twice.
        sync_folder(self._folder)
        self._segment, self._size = segment, 0
        return segment

    def _abandon_segment(self, segment: int) -> None:
        """After a failed write or sync nothing more goes into this segment: its pages cannot be trusted."""
        self._segment = None
        try:
            os.ftruncate(segment, self._size)
        except OSError:
            # What stays behind is a torn or an unacknowledged record; the reader copes with both.
            return
        finally:
            os.close(segment)


class JournalReader:
    """Reads the journal of one folder while it is being written. `key` decrypts what was encrypted."""

    def __init__(self, folder: Path, key: bytes | None = None) -> None:
        self._folder = folder
        self._cipher = _cipher(key)

    def read(self, after: Position, limit: int) -> list[Record]:
        """The next records after a position, in the order of arrival; fewer where the bytes grow large.

        The torn tail that a killed writer leaves is passed over, since nobody was told that it arrived. Bytes
        that were whole once and no longer match their checksum come back as a record without `received_at`.

        Raises:
            VaultLocked: a record was encrypted with another key.
        """
        records: list[Record] = []
        volume = 0
        numbers = _segment_numbers(self._folder)
        for number in numbers:
            if number < after.segment:
                continue
            start = after.offset if number == after.segment else 0
            sealed = number < numbers[-1]
            for record in _records(_segment_path(self._folder, number), number, start, sealed, self._cipher):
                records.append(record)
                volume += len(record.payload)
                if len(records) >= limit or volume >= READ_BYTES:
                    return records
        return records


class Cursor:
    """How far a reader has come, in a small file that is replaced durably."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Position:
        """The position to read on from. Without a readable file it is the start: reading again is safe."""
        try:
            content = json.loads(self._path.read_bytes())
            return Position(int(content["segment"]), int(content["offset"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return START

    def move(self, position: Position) -> None:
        """Set the position; it is on disk when this returns."""
        content = json.dumps({"segment": position.segment, "offset": position.offset})
        write_durably(self._path, content.encode("ascii"))


def _cipher(key: bytes | None) -> AESGCM | None:
    return None if key is None else AESGCM(hashlib.sha256(b"shadow/journal/1" + key).digest())


def _encode(arrival: Arrival, cipher: AESGCM | None) -> bytes:
    if arrival.received_at.tzinfo is None:
        raise ValueError("an instant without a time zone has no place in the journal")
    microseconds = (arrival.received_at - _EPOCH) // timedelta(microseconds=1)
    magic, payload = MAGIC, arrival.payload
    if cipher is not None:
        nonce = os.urandom(NONCE_BYTES)
        magic, payload = ENCRYPTED_MAGIC, nonce + cipher.encrypt(nonce, payload, _ARRIVAL.pack(microseconds))
    return _HEADER.pack(magic, len(payload), _checksum(microseconds, payload), microseconds) + payload


def _decrypted(payload: bytes, microseconds: int, cipher: AESGCM | None) -> bytes:
    if cipher is None:
        raise VaultLocked("the journal is encrypted; its key file is missing")
    try:
        return cipher.decrypt(payload[:NONCE_BYTES], payload[NONCE_BYTES:], _ARRIVAL.pack(microseconds))
    except (InvalidTag, ValueError) as error:  # ValueError: too short to hold a nonce
        raise VaultLocked("the journal cannot be read: it was encrypted with another key file") from error


def _checksum(microseconds: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_SUMMED.pack(len(payload), microseconds)))


def _segment_path(folder: Path, number: int) -> Path:
    return folder / f"{number:0{_DIGITS}d}.journal"


def _segment_numbers(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob(_PATTERN) if path.stem.isdecimal())


def _records(path: Path, number: int, start: int, sealed: bool, cipher: AESGCM | None) -> Iterator[Record]:
    """The records of one segment from an offset on; of an unsealed one only what is whole already."""
    with path.open("rb") as segment:
        offset = start
        while True:
            record = _record_at(segment.fileno(), number, offset, cipher)
            if record is None:
                damage = _damage_at(segment.fileno(), number, offset, sealed, cipher)
                if damage is None:
                    return
                record = damage
            yield record
            offset = record.position.offset


def _record_at(segment: int, number: int, offset: int, cipher: AESGCM | None) -> Record | None:
    """The whole record at an offset, or None where there is none."""
    header = os.pread(segment, _HEADER.size, offset)
    if len(header) < _HEADER.size:
        return None
    magic, length, checksum, microseconds = _HEADER.unpack(header)
    end = offset + _HEADER.size + length
    if magic not in _MAGICS or end > os.fstat(segment).st_size:
        return None
    payload = os.pread(segment, length, offset + _HEADER.size)
    if len(payload) < length or _checksum(microseconds, payload) != checksum:
        return None
    if magic == ENCRYPTED_MAGIC:
        payload = _decrypted(payload, microseconds, cipher)
    return Record(Position(number, end), _EPOCH + timedelta(microseconds=microseconds), payload)


def _damage_at(segment: int, number: int, offset: int, sealed: bool, cipher: AESGCM | None) -> Record | None:
    """The damaged stretch at an offset where no whole record stood, or None where the segment just ends.

    A record that was being written at the first look and is whole at the second is returned as it is.

    Damage is what stands before a later whole record, or ends a sealed segment without being the beginning
    of a record or a run of zeros, which is how an unacknowledged tail looks after a kill or a power cut.
    """
    size = os.fstat(segment).st_size
    if offset >= size:
        return None
    rest = os.pread(segment, size - offset, offset)
    for match in _ANY_MAGIC.finditer(rest, 1):
        found = match.start()
        if _record_at(segment, number, offset + found, cipher) is not None:
            # A later record is whole, so by now the writer has ended this one too, if it was only being written.
            ended = _record_at(segment, number, offset, cipher)
            if ended is not None:
                return ended
            return Record(Position(number, offset + found), None, rest[: min(found, _DAMAGE_BYTES)])
    if not sealed or _is_torn(rest):
        return None
    return Record(Position(number, size), None, rest[:_DAMAGE_BYTES])


def _is_torn(rest: bytes) -> bool:
    """Whether a segment's last bytes were never a whole record: zeros, or the beginning of one."""
    if not rest.strip(b"\0"):
        return True
    if not any(magic.startswith(rest[: len(magic)]) for magic in _MAGICS):
        return False
    if len(rest) < _HEADER.size:
        return True
    _, length, _, _ = _HEADER.unpack(rest[: _HEADER.size])
    return _HEADER.size + int(length) > len(rest)
