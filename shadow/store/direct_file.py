"""Files written past the page cache: what is written once and synced at once need not be copied into it first.

Copying half a megabyte into the page cache, finding pages for it and writing them back cost more processor time than
all else that a receiver does with an image; see benchmarks/README.md. Whole blocks go from a buffer to the disk
(O_DIRECT), what is left over goes the usual way. File systems that cannot do this are written the usual way altogether.
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
HEAD_BYTES = 1 << 13

_DIRECT = getattr(os, "O_DIRECT", 0)


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

    def create(self, folder: int, name: str, seen: Callable[[memoryview], object]) -> DirectFile:
        """A new file of mode 0600.

        Args:
            folder: an open folder.
            name: of the file in it; nothing may have it.
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
        return DirectFile(descriptor, buffer, seen, self._take_back, is_direct=self.past_the_cache)

    def _take_back(self, buffer: mmap.mmap) -> None:
        if len(self._buffers) < BUFFERS_KEPT:
            self._buffers.append(buffer)

    def _works(self, folder: Path) -> bool:
        """Whether a direct write succeeds; a full disk is met, and told of, by the usual way."""
        name = f".{os.getpid()}-probe.part"
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with suppress(OSError):
                probe = self.create(place, name, len)
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
    """One file, written from its beginning to its end by one thread, and closed by it.

    Attributes:
        head: the file's first kilobytes, once something was written.
    """

    __slots__ = ("_buffer", "_descriptor", "_filled", "_give_back", "_is_direct", "_seen", "_view", "head")

    def __init__(
        self,
        descriptor: int,
        buffer: mmap.mmap,
        seen: Callable[[memoryview], object],
        give_back: Callable[[mmap.mmap], None],
        *,
        is_direct: bool,
    ) -> None:
        self._descriptor, self._buffer, self._seen, self._give_back = descriptor, buffer, seen, give_back
        self._is_direct = is_direct
        self._view = memoryview(buffer)
        self._filled = 0
        self.head = b""

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
            if self._filled == BUFFER_BYTES:
                self._write_out(self._view)
                self._filled = 0

    def write_out(self) -> None:
        """Write what is gathered; nothing can be appended after it.

        Raises:
            OSError: the disk is full or failing.
        """
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
        os.close(self._descriptor)
        self._view.release()
        self._give_back(self._buffer)

    def _write_out(self, content: memoryview) -> None:
        self.head = self.head or bytes(content[:HEAD_BYTES])
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
