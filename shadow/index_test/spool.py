"""The spool: DICOM instances as they came, durable before anybody is told so.

    arrived/<calling AE title>/<instance>       acknowledged, not yet sorted
    studies/<study_key>/<instance>              one file a SOP Instance UID
    studies/<study_key>/other/<instance>        same SOP Instance UID, other bytes
    studies/<study_key>/manifest-r<N>.json      a closed revision
    open/<study_key>.json                       a revision that is not yet closed and queued
    quarantine/<instance>                       unreadable; <instance>.reason.json says why

<instance> is `<SOP Instance UID>~b3-<BLAKE3 of the file>.dcm`: the name is the record. What lies there
after a power cut is what was acknowledged. Earlier versions named files by their SHA-256, without a prefix; those
are read as before. The spool holds identities in clear: its folders are readable by
their owner alone.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import os
import re
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache, partial
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, unquote

from blake3 import blake3

from shadow.domain.errors import SetupError
from shadow.store.direct_file import BLOCK_BYTES, DirectFile, DirectFiles
from shadow.store.durable import sync_folder

MAXIMUM_UID_CHARACTERS = 64
SMALLEST_DATA_SET_BYTES = 8
SECONDS_BETWEEN_SPACE_CHECKS = 0.5
BYTES_BETWEEN_SPACE_CHECKS = 8 << 20
IMPLEMENTATION_CLASS_UID = "2.25.279340120217871930187446340916532803417"
IMPLEMENTATION_VERSION_NAME = "SHADOW"
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_INSTANCE_NAME = re.compile(r"([0-9.]{1,64})~((?:b3-)?[0-9a-f]{64})\.dcm")
_BLAKE3 = "b3-"
KINDS_KEPT = 256
"""Pairs of SOP class and transfer syntax: instances come a series at a time."""
_BEFORE_META_BYTES = 128 + 4 + 12
"""Preamble, prefix and the group's length."""


class Receipt(StrEnum):
    """What became of one object that was offered. Only `STORED` is on disk."""

    STORED = "stored"
    NO_SPACE = "no_space"
    TOO_LARGE = "too_large"
    INVALID_UID = "invalid_uid"
    EMPTY = "empty"
    WRITE_FAILED = "write_failed"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Offer:
    """One C-STORE request, before its data set.

    Attributes:
        calling_ae_title: of the association; one of those the spool was opened for.
        sop_class_uid, sop_instance_uid: affected UIDs of the command set, trailing padding removed.
        transfer_syntax_uid: of the presentation context.
    """

    calling_ae_title: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


class Inlet:
    """Where objects are written as they come: one folder a calling AE title. `begin` may be called from many threads.

    Args:
        arrived: the folder of these folders.
        calling_ae_titles: each gets one.
        minimum_free_bytes: below this nothing is taken.
        maximum_object_bytes: larger objects are refused.
    """

    def __init__(
        self, arrived: Path, calling_ae_titles: Sequence[str], *, minimum_free_bytes: int, maximum_object_bytes: int
    ) -> None:
        self.arrived = arrived
        self.maximum_object_bytes = maximum_object_bytes
        self._part_number = itertools.count()
        arrived.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._space = _FreeSpace(arrived, minimum_free_bytes)
        self._paths: dict[str, Path] = {}
        for title in calling_ae_titles:
            self.arrived_from(title).mkdir(mode=0o700, exist_ok=True)
        self._folders = {title: _open_folder(self.arrived_from(title)) for title in calling_ae_titles}
        self._syncs = {title: SharedSync(partial(os.fsync, folder)) for title, folder in self._folders.items()}
        self._files = DirectFiles(arrived)
        sync_folder(arrived)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the folders."""
        for descriptor in self._folders.values():
            os.close(descriptor)
        self._folders = {}

    def arrived_from(self, calling_ae_title: str) -> Path:
        """The folder of what this AE title sent."""
        path = self._paths.get(calling_ae_title)
        if path is None:
            path = self._paths[calling_ae_title] = self.arrived / _folder_name(calling_ae_title)
        return path

    def folder_of(self, calling_ae_title: str) -> int:
        """The open folder of what this AE title sent."""
        return self._folders[calling_ae_title]

    def sync_folder_of(self, calling_ae_title: str) -> None:
        """Make the folder's names durable; associations that wait for the same share one call of the disk."""
        self._syncs[calling_ae_title].sync()

    def next_part(self) -> str:
        """A name for an object that is not yet whole; such files were never acknowledged."""
        return f"{os.getpid()}-{next(self._part_number)}.part"

    def create_part(self, offer: Offer, name: str, seen: Callable[[memoryview], object]) -> DirectFile:
        """The file of an object that is coming; see `DirectFiles.create`."""
        return self._files.create(self._folders[offer.calling_ae_title], name, partial(_file_head, offer), seen)

    def has_space(self) -> bool:
        """Whether the file system has more than the minimum free."""
        return self._space.is_enough()

    def begin(self, offer: Offer) -> Incoming:
        """Begin to take one object; its fragments are written as they come."""
        if not is_uid(offer.sop_instance_uid) or not is_uid(offer.sop_class_uid):
            return Incoming(self, offer, Receipt.INVALID_UID)
        if not self.has_space():
            return Incoming(self, offer, Receipt.NO_SPACE)
        return Incoming(self, offer, Receipt.STORED)

    def receive(self, offer: Offer, data_set: memoryview) -> tuple[Receipt, str]:
        """Take one object whose data set has come whole; its receipt, and its file's name where it was stored."""
        incoming = self.begin(offer)
        incoming.write(data_set)
        self.finish([incoming])
        return incoming.receipt, incoming.name

    def finish(self, incoming: Sequence[Incoming]) -> None:
        """Make objects PS3.10 files that would survive a power cut, and only then return.

        The order is `.part` -> fdatasync -> rename -> fsync of the folder: without the last step 4 of 4749
        acknowledged files were lost on ext4 at a simulated power cut. Each step is taken for all before the next, so
        that the file system's journal is committed for all at once. The same bytes sent again land on the same name.

        What became of each is in its `receipt` and `name`. Nothing is left behind of an object that was not stored.
        """
        for one in incoming:
            one.write_out()
        for one in incoming:
            one.sync()
        for one in incoming:
            one.rename()
        renamed = [one for one in incoming if one.receipt is Receipt.STORED]
        for title in {one.calling_ae_title for one in renamed}:
            try:
                self.sync_folder_of(title)
            except OSError as error:
                for one in renamed:
                    if one.calling_ae_title == title:
                        one.fail(_receipt_of(error))
        for one in renamed:
            one.close()


class Spool(Inlet):
    """One trial's spool; opening takes the folder's only lock.

    Raises:
        SetupError: another process has this spool open.
    """

    def __init__(
        self,
        root: Path,
        calling_ae_titles: tuple[str, ...],
        *,
        minimum_free_bytes: int,
        maximum_object_bytes: int,
    ) -> None:
        self.studies = root / "studies"
        self.open_revisions, self.quarantine = root / "open", root / "quarantine"
        for folder in (root, self.studies, self.open_revisions, self.quarantine):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock(root / ".lock")
        for part in root.glob("arrived/*/*.part"):
            part.unlink()  # never acknowledged
        for opened in self.open_revisions.glob("*.json"):
            _remove_unfinished(self.studies / opened.stem)
        for folder in (self.open_revisions, self.quarantine):
            _remove_unfinished(folder)
        super().__init__(
            root / "arrived",
            calling_ae_titles,
            minimum_free_bytes=minimum_free_bytes,
            maximum_object_bytes=maximum_object_bytes,
        )
        sync_folder(root)

    def close(self) -> None:
        """Release the folders and the lock."""
        super().close()
        os.close(self._lock)

    # Text in what is done to every instance: a path put together of objects costs as much as moving the file.

    def is_waiting(self, calling_ae_title: str, file: str) -> bool:
        """Whether this file is not yet sorted."""
        return os.path.exists(f"{self.arrived_from(calling_ae_title)}/{file}")  # noqa: PTH110

    def move_to_study(self, calling_ae_title: str, file: str, study_key: str) -> None:
        """Sort a file into a study, whose folder is there.

        Raises:
            OSError: the disk refuses; the file is where it was.
        """
        os.rename(f"{self.arrived_from(calling_ae_title)}/{file}", f"{self.studies}/{study_key}/{file}")  # noqa: PTH104

    def waiting(self, older_than_seconds: float = 0.0) -> list[tuple[str, str]]:
        """Calling AE title and name of every file not yet sorted, in the order of arrival; of so old ones alone."""
        found = [
            (path.stat().st_mtime, unquote(folder.name), path.name)
            for folder in self.arrived.iterdir()
            for path in folder.iterdir()
            if _INSTANCE_NAME.fullmatch(path.name)
        ]
        newest = time.time() - older_than_seconds
        return [(title, name) for at, title, name in sorted(found) if not older_than_seconds or at <= newest]


class Incoming:
    """One object on its way to the disk, ended by `Inlet.finish` or `discard`. One thread at a time uses it.

    After the first failure it swallows what comes, so that a sender is answered and not cut off.

    Attributes:
        receipt: what became of it so far.
        name: of its file in `Inlet.arrived_from`, empty until it is stored.
        head: the first kilobytes of the file, once it is stored.
    """

    __slots__ = (
        "_checked_at", "_digest", "_file", "_folder", "_offer", "_part", "_size", "_spool", "head", "name", "receipt",
    )  # fmt: skip

    def __init__(self, spool: Inlet, offer: Offer, receipt: Receipt) -> None:
        self._spool, self._offer, self.receipt = spool, offer, receipt
        self._size = self._checked_at = 0
        self._file: DirectFile | None = None
        self.name, self.head = "", b""
        if receipt is not Receipt.STORED:
            return
        self._folder = spool.folder_of(offer.calling_ae_title)
        self._part = spool.next_part()
        self._digest = blake3()
        try:
            self._file = spool.create_part(offer, self._part, self._digest.update)
        except OSError as error:
            self.fail(_receipt_of(error))

    @property
    def calling_ae_title(self) -> str:
        """Who sends it."""
        return self._offer.calling_ae_title

    def write(self, fragment: memoryview) -> None:
        """Append a fragment of the encoded data set; it is not parsed."""
        self._size += fragment.nbytes
        if self._file is None:
            return
        if self._size > self._spool.maximum_object_bytes:
            self.fail(Receipt.TOO_LARGE)
            return
        if self._size - self._checked_at > BYTES_BETWEEN_SPACE_CHECKS:
            self._checked_at = self._size
            if not self._spool.has_space():
                self.fail(Receipt.NO_SPACE)
                return
        try:
            self._file.append(fragment)
        except OSError as error:
            self.fail(_receipt_of(error))

    def write_out(self) -> None:
        """The data set is whole: give all of it to the file system."""
        if self._size < SMALLEST_DATA_SET_BYTES and self._file is not None:
            self.fail(Receipt.EMPTY)
        self._attempt(DirectFile.write_out)

    def sync(self) -> None:
        """Make the file's content durable."""
        self._attempt(DirectFile.sync)

    def rename(self) -> None:
        """Give the file the name that is the record; it is durable once the folder is."""
        self._attempt(self._rename)

    def close(self) -> None:
        """It is stored: let go of the file."""
        if self._file is not None:
            self.head = self._file.beginning
            self._file.close()
            self._file = None

    def discard(self) -> None:
        """Leave nothing of it: its association was cut."""
        self.fail(Receipt.CUT)

    def fail(self, receipt: Receipt) -> None:
        """Leave nothing of it, but for a file that may already be known by its name."""
        self.receipt, self.name = receipt, ""
        if self._file is not None:
            self._file.close()
            self._file = None
            _remove(self._folder, self._part)

    def _rename(self, _: DirectFile) -> None:
        name = f"{self._offer.sop_instance_uid}~{_BLAKE3}{self._digest.hexdigest()}.dcm"
        os.rename(self._part, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self.name = name

    def _attempt(self, step: Callable[[DirectFile], object]) -> None:
        if self._file is None:
            return
        try:
            step(self._file)
        except OSError as error:
            self.fail(_receipt_of(error))


def is_uid(text: str) -> bool:
    """Whether this is a UID by PS3.5 section 9.1, leading zeros allowed: they are sent, and harm nobody.

    >>> is_uid("1.2.840.10008.1.1"), is_uid("../../etc/passwd"), is_uid("1." + "2" * 63)
    (True, False, False)
    """
    return len(text) <= MAXIMUM_UID_CHARACTERS and _UID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class SpooledInstance:
    """One instance in a study's folder.

    Attributes:
        file: the file's name in `spool/studies/<study_key>/`.
        sop_instance_uid: (0008,0018), in clear: the spool is on the identified side.
        digest: of the whole file: `b3-` and its BLAKE3 in hex, as `b3sum` prints it, or the bare SHA-256 that an
            earlier version gave.
    """

    file: str
    sop_instance_uid: str
    digest: str

    def is_whole(self, content: bytes) -> bool:
        """Whether these are the bytes that were acknowledged."""
        if self.digest.startswith(_BLAKE3):
            return blake3(content).hexdigest() == self.digest.removeprefix(_BLAKE3)
        return hashlib.sha256(content).hexdigest() == self.digest


def instance_of(file: str) -> SpooledInstance | None:
    """The instance that a file's name records, or None where it is no instance's name."""
    match = _INSTANCE_NAME.fullmatch(file)
    return SpooledInstance(file, match[1], match[2]) if match else None


class SharedSync:
    """fsync of a folder for many threads: whoever asked before a call began is served by it, or fails with it.

    The kernel tells an error once: a second call after one that failed may succeed without what the first had to do.
    """

    def __init__(self, flush: Callable[[], object]) -> None:
        self._flush = flush
        self._at_work = threading.Lock()
        self._next = _Round()

    def sync(self) -> None:
        """Return once a call that began after this one has succeeded.

        Raises:
            OSError: it failed.
        """
        mine = self._next
        with self._at_work:
            if not mine.is_over:
                self._next = _Round()
                try:
                    self._flush()
                except OSError as error:
                    mine.error = error
                mine.is_over = True
        if mine.error is not None:
            raise mine.error


class _Round:
    """Those who are served by one call."""

    __slots__ = ("error", "is_over")

    def __init__(self) -> None:
        self.is_over = False
        self.error: OSError | None = None


class _FreeSpace:
    """Asks the file system at most twice a second; between, an association costs it nothing."""

    def __init__(self, folder: Path, minimum_free_bytes: int) -> None:
        self._folder = folder
        self._minimum_free_bytes = minimum_free_bytes
        self._guard = threading.Lock()
        self._asked_at = -1.0
        self._enough = False

    def is_enough(self) -> bool:
        with self._guard:
            now = time.monotonic()
            if self._asked_at < 0 or now - self._asked_at > SECONDS_BETWEEN_SPACE_CHECKS:
                found = os.statvfs(self._folder)
                self._enough = found.f_bavail * found.f_frsize > self._minimum_free_bytes
                self._asked_at = now
            return self._enough


def _remove_unfinished(folder: Path) -> None:
    """Delete what a process that was killed had begun to write durably: nobody knows it by its name yet."""
    for path in folder.glob(".*.tmp"):
        path.unlink()


def _folder_name(calling_ae_title: str) -> str:
    # An AE title may hold "/" and may be "..": nothing but letters, digits, "_", "-" and "~" stays as it is.
    return quote(calling_ae_title, safe="").replace(".", "%2E")


def _file_head(offer: Offer, data_set_bytes: int | None) -> bytes:
    """Preamble and file meta information (PS3.10 section 7.1); the same for the same instance, always.

    Where the data set's length is known, private information of zeros makes the file a number of whole blocks.
    """
    before, behind = _around_instance_uid(offer.sop_class_uid, offer.transfer_syntax_uid)
    meta = before + _element(0x0003, b"UI", offer.sop_instance_uid) + behind
    if data_set_bytes is not None:
        meta += _filling(-(_BEFORE_META_BYTES + len(meta) + data_set_bytes) % BLOCK_BYTES)
    return bytes(128) + b"DICM" + struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(meta)) + meta


@lru_cache(KINDS_KEPT)
def _around_instance_uid(sop_class_uid: str, transfer_syntax_uid: str) -> tuple[bytes, bytes]:
    """The elements of the file meta information before and behind the Media Storage SOP Instance UID."""
    before = struct.pack("<HH2sHL", 2, 0x0001, b"OB", 0, 2) + b"\0\1" + _element(0x0002, b"UI", sop_class_uid)
    behind = (
        _element(0x0010, b"UI", transfer_syntax_uid),
        _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
        _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
    )
    return before, b"".join(behind)


def _filling(count: int) -> bytes:
    """So many bytes, or a block more, of Private Information (0002,0102) and its creator; nothing for an odd number."""
    creator = _element(0x0100, b"UI", IMPLEMENTATION_CLASS_UID)
    least = len(creator) + 12
    if count == 0 or count % 2:
        return b""
    length = count - least + (BLOCK_BYTES if count < least else 0)
    return creator + struct.pack("<HH2sHL", 2, 0x0102, b"OB", 0, length) + bytes(length)


def _element(element: int, vr: bytes, value: str) -> bytes:
    padding = b"\0" if vr == b"UI" else b" "
    content = value.encode("ascii") + padding * (len(value) % 2)
    return struct.pack("<HH2sH", 2, element, vr, len(content)) + content


def _receipt_of(error: OSError) -> Receipt:
    return Receipt.NO_SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT) else Receipt.WRITE_FAILED


def _remove(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        return  # it was not created, was already renamed, or the disk is failing: the next start deletes it


def _open_folder(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise SetupError(f"{path.parent}: another mirror has this spool open; stop it first") from None
    return descriptor
