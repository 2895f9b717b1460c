"""Files written past the page cache: what is written once and synced at once need not be copied into it first.

Copying half a megabyte into the page cache, finding pages for it and writing them back cost more processor time than
all else that a receiver does with an image; see benchmarks/README.md. Whole blocks go from a buffer to the disk
(O_DIRECT), what is left over goes the usual way, which costs a sixth of all the receiver's time for an image: so what
stands at the beginning is asked for last, when it can fill the blocks. File systems that cannot do this are written
the usual way altogether.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

BUFFER_BYTES = 1 << 20
BLOCK_BYTES = 4096
"""Memory, offsets and lengths that O_DIRECT takes on every file system in use: a page of memory and of flash."""
BUFFERS_KEPT = 64
HEAD_ROOM_BYTES = 2 * BLOCK_BYTES
KNOWN_BYTES = HEAD_ROOM_BYTES + BLOCK_BYTES

_DIRECT = getattr(os, "O_DIRECT", 0)

Head = Callable[[int | None], bytes]
"""Makes a file's beginning from how many bytes follow it; None where that is not known yet."""


class DirectFiles:
    """Creates files in folders of one file system, and keeps their buffers. Any thread may use it.

    Args:
        folder: one of them; a file is written there to see whether that works, and deleted.
    """

    def __init__(self, folder: Path) -> None:
        self._buffers: list[mmap.mmap] = []
        self._creating = threading.Lock()  # the kernel spins where several create in one folder
        self._flags = _DIRECT
        if not self._works(folder):
            self._flags = 0

    @property
    def past_the_cache(self) -> bool:
        """Whether the file system takes direct writes."""
        return self._flags != 0

    def create(self, folder: int, name: str, head: Head, seen: Callable[[memoryview], object]) -> DirectFile:
        """A new file of mode 0600.

        Args:
            folder: an open folder.
            name: of the file in it; nothing may have it.
            head: makes what stands before all that is appended, at most `HEAD_ROOM_BYTES`.
            seen: called with all bytes in their order, in large pieces, before they are written.

        Raises:
            OSError: it cannot be created.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | self._flags
        try:
            buffer = self._buffers.pop()
        except IndexError:
            buffer = mmap.mmap(-1, BUFFER_BYTES)
        with self._creating:
            descriptor = os.open(name, flags, 0o600, dir_fd=folder)
        return DirectFile(descriptor, buffer, head, seen, self._take_back, is_direct=self.past_the_cache)

    def _take_back(self, buffer: mmap.mmap) -> None:
        if len(self._buffers) < BUFFERS_KEPT:
            self._buffers.append(buffer)

    def _works(self, folder: Path) -> bool:
        """Whether a direct write succeeds; a full disk is met, and told of, by the usual way."""
        name = f".{os.getpid()}-probe.part"
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with suppress(OSError):
                probe = self.create(place, name, lambda _: b"", len)
                try:
                    probe.append(memoryview(bytes(BLOCK_BYTES + 1)))
                    probe.write_out()
                    probe.sync()
                    return True
                finally:
                    probe.close()
                    os.unlink(name, dir_fd=place)
            return False
        finally:
            os.close(place)


class DirectFile:
    """One file, written from its beginning to its end, by one thread at a time.

    Attributes:
        beginning: the file's first kilobytes, once something was written.
    """

    __slots__ = (
        "_buffer", "_descriptor", "_filled", "_give_back", "_has_head", "_head", "_is_direct", "_seen", "_view",
        "beginning",
    )  # fmt: skip

    def __init__(
        self,
        descriptor: int,
        buffer: mmap.mmap,
        head: Head,
        seen: Callable[[memoryview], object],
        give_back: Callable[[mmap.mmap], None],
        *,
        is_direct: bool,
    ) -> None:
        self._descriptor, self._buffer, self._give_back = descriptor, buffer, give_back
        self._head, self._seen = head, seen
        self._has_head, self._is_direct = False, is_direct
        self._view = memoryview(buffer)
        self._filled = HEAD_ROOM_BYTES
        self.beginning = b""

    def append(self, fragment: memoryview) -> None:
        """Append bytes; they are gathered, because each call of the disk or of a digest costs a thread its turn.

        Raises:
            OSError: the disk is full or failing.
        """
        start, length = 0, fragment.nbytes
        while start < length:
            count = min(length - start, BUFFER_BYTES - self._filled)
            self._view[self._filled : self._filled + count] = fragment[start : start + count]
            self._filled += count
            start += count
            if self._filled == BUFFER_BYTES and not self._has_head:
                self._put_head(None)
            elif self._filled == BUFFER_BYTES:
                self._write_out(self._view)
                self._filled = 0

    def write_out(self) -> None:
        """Write what is gathered; nothing can be appended after it.

        Raises:
            OSError: the disk is full or failing.
        """
        if not self._has_head:
            self._put_head(self._filled - HEAD_ROOM_BYTES)
        self._write_out(self._view[: self._filled])
        self._filled = 0

    def sync(self) -> None:
        """Make what was written out durable.

        Raises:
            OSError: the disk is full or failing.
        """
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Let go of the file and its buffer."""
        with suppress(OSError):  # closed all the same; what counts was synced before
            os.close(self._descriptor)
        self._view.release()
        self._give_back(self._buffer)

    def _put_head(self, appended_bytes: int | None) -> None:
        head = self._head(appended_bytes)
        end = len(head) + self._filled - HEAD_ROOM_BYTES
        self._view[len(head) : end] = self._view[HEAD_ROOM_BYTES : self._filled]
        self._view[: len(head)] = head
        self._filled, self._has_head = end, True

    def _write_out(self, content: memoryview) -> None:
        self.beginning = self.beginning or bytes(content[:KNOWN_BYTES])
        self._seen(content)
        if not self._is_direct:
            self._write(content)
            return
        whole = content.nbytes // BLOCK_BYTES * BLOCK_BYTES
        self._write(content[:whole])
        if whole < content.nbytes:
            self._end_direct()
            self._write(content[whole:])

    def _write(self, content: memoryview) -> None:
        while content.nbytes:
            try:
                content = content[os.write(self._descriptor, content) :]
            except OSError as error:
                if error.errno != errno.EINVAL or not self._is_direct:
                    raise
                self._end_direct()  # a write that a nearly full disk cut within a block cannot go on as it began

    def _end_direct(self) -> None:
        fcntl.fcntl(self._descriptor, fcntl.F_SETFL, 0)  # of the flags that can be set none: O_DIRECT off
        self._is_direct = False
