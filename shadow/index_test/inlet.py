"""Where objects are written as they come: durable, under a name that is the record, before anybody is told so."""

from __future__ import annotations

import errno
import itertools
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from blake3 import blake3

from shadow.index_test.file_head import file_head
from shadow.index_test.spooled_instance import is_uid, name_of
from shadow.store.direct_file import DirectFile, DirectFiles
from shadow.store.durable import sync_folder
from shadow.store.shared_sync import SharedSync

SMALLEST_DATA_SET_BYTES = 8
SECONDS_BETWEEN_SPACE_CHECKS = 0.5
BYTES_BETWEEN_SPACE_CHECKS = 8 << 20


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
        head = partial(file_head, offer.sop_class_uid, offer.sop_instance_uid, offer.transfer_syntax_uid)
        return self._files.create(self._folders[offer.calling_ae_title], name, head, seen)

    def room(self) -> Receipt:
        """`STORED` where the file system has more than the minimum free, else why nothing can be taken."""
        try:
            return Receipt.STORED if self._space.is_enough() else Receipt.NO_SPACE
        except OSError as error:
            return _receipt_of(error)

    def begin(self, offer: Offer) -> Incoming:
        """Begin to take one object; its fragments are written as they come."""
        if not is_uid(offer.sop_instance_uid) or not is_uid(offer.sop_class_uid):
            return Incoming(self, offer, Receipt.INVALID_UID)
        return Incoming(self, offer, self.room())

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

    @property
    def sop_instance_uid(self) -> str:
        """Which instance it is, by its command."""
        return self._offer.sop_instance_uid

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
            room = self._spool.room()
            if room is not Receipt.STORED:
                self.fail(room)
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
        name = name_of(self._offer.sop_instance_uid, self._digest.hexdigest())
        os.rename(self._part, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self.name = name

    def _attempt(self, step: Callable[[DirectFile], object]) -> None:
        if self._file is None:
            return
        try:
            step(self._file)
        except OSError as error:
            self.fail(_receipt_of(error))


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


def _folder_name(calling_ae_title: str) -> str:
    # An AE title may hold "/" and may be "..": nothing but letters, digits, "_", "-" and "~" stays as it is.
    return quote(calling_ae_title, safe="").replace(".", "%2E")


def _receipt_of(error: OSError) -> Receipt:
    return Receipt.NO_SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT) else Receipt.WRITE_FAILED


def _remove(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        return  # it was not created, was already renamed, or the disk is failing: the next start deletes it


def _open_folder(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
