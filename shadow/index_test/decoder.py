"""Decompression outside this process: a few workers that are started when the first compressed image comes.

A codec in C that crashes, hangs or takes all memory costs its worker, and the image is unreadable; the lane goes on.
The same workers let pydicom read what may be a bomb.
"""

from __future__ import annotations

import atexit
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import LifoQueue

import numpy as np
import numpy.typing as npt

from shadow.domain.errors import NotEvaluable
from shadow.index_test.decoder_worker import COLOURS, DECODE, DECODED, LENGTH, LOAD, NUMBER, REWRITE, SHAPE

WORKERS = 2
SECONDS_FOR_AN_IMAGE = 60.0
SECONDS_FOR_A_FILE = 20.0
MAXIMUM_FRAME_BYTES = 1 << 28
"""Of one decoded image: no detector has 11,000 x 11,000 pixels of 16 bits."""
_PIPE_BYTES = 1 << 20

Stored = npt.NDArray[np.unsignedinteger]


class _Worker:
    """One process, and the file that it has loaded."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._loaded: bytes | None = None

    def decode(self, content: bytes, index: int, kind: bytes) -> Stored:
        """One frame: shape (rows, columns), or (rows, columns, samples) where there are several.

        Raises:
            NotEvaluable: the codec refuses the image, crashes, or does not end; or the image is too large.
        """
        with self._answer(content, kind, index, SECONDS_FOR_AN_IMAGE) as end:
            rows, columns, samples, size = SHAPE.unpack(self._read(SHAPE.size, end))
            count = rows * columns * samples * size
            if count > MAXIMUM_FRAME_BYTES:
                raise NotEvaluable("unreadable_pixel_data", "larger than any detector's")
            values = np.frombuffer(self._read(count, end), f"<u{size}")
            return values.reshape((rows, columns) if samples == 1 else (rows, columns, samples))

    def rewritten(self, content: bytes) -> bytes:
        """The file in explicit VR little endian.

        Raises:
            NotEvaluable: pydicom cannot read it, or not within its memory or time.
        """
        with self._answer(content, REWRITE, 0, SECONDS_FOR_A_FILE) as end:
            (length,) = NUMBER.unpack(self._read(NUMBER.size, end))
            return self._read(length, end)

    @contextmanager
    def _answer(self, content: bytes, kind: bytes, number: int, seconds: float) -> Iterator[float]:
        """Ask, and wait for an answer that is not a failure: until when the rest of it must have come."""
        whole = False
        try:
            process = self._process or self._start()
            assert process.stdin is not None
            if self._loaded is not content:
                process.stdin.write(LOAD + NUMBER.pack(len(content)))
                process.stdin.write(content)
                self._loaded = content
            process.stdin.write(kind + NUMBER.pack(number))
            process.stdin.flush()
            end = time.monotonic() + seconds
            if self._read(1, end) == DECODED:
                yield end
                whole = True
                return
            (length,) = LENGTH.unpack(self._read(LENGTH.size, end))
            failure = self._read(length, end).decode("ascii", errors="replace")
            whole = True
        except (OSError, EOFError, TimeoutError) as error:
            name = "decoder_hangs" if isinstance(error, TimeoutError) else "decoder_died"
            raise NotEvaluable("unreadable_pixel_data", name) from None
        finally:
            if not whole:  # what is left of this answer must not be taken for the next one
                self.stop()
        raise NotEvaluable("unreadable_pixel_data", failure)

    def stop(self) -> None:
        """End the process; the next image starts another."""
        process, self._process, self._loaded = self._process, None, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except BrokenPipeError:
                        continue

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "shadow.index_test.decoder_worker"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=_PIPE_BYTES
        )
        return self._process

    def _read(self, count: int, end: float) -> bytes:
        """Exactly so many bytes of the answer.

        Raises:
            EOFError: the process ended.
            TimeoutError: it does not answer in time.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        parts, left = [], count
        while left:
            seconds = end - time.monotonic()
            if seconds < 0 or not select.select([descriptor], [], [], seconds)[0]:
                raise TimeoutError
            part = os.read(descriptor, min(left, _PIPE_BYTES))
            if not part:
                raise EOFError
            parts.append(part)
            left -= len(part)
        return b"".join(parts)


class DecoderPool:
    """A few workers; safe to use from several threads. Close it, or end the process: they end with it."""

    def __init__(self, workers: int = WORKERS) -> None:
        self._all = [_Worker() for _ in range(workers)]
        self._free: LifoQueue[_Worker] = LifoQueue()  # the last one has the file loaded
        for one in self._all:
            self._free.put(one)

    def decode(self, content: bytes, index: int) -> Stored:
        """The stored values (rows, columns) of one frame of a PS3.10 file, unsigned, as many bytes as allocated.

        Raises:
            NotEvaluable: `unreadable_pixel_data`; the detail says whether the codec refused, died or hung.
        """
        with self._worker() as worker:
            return worker.decode(content, index, DECODE)

    def colours(self, content: bytes, index: int) -> Stored:
        """One frame as red, green and blue, shape (rows, columns, 3).

        Raises:
            NotEvaluable: as `decode`.
        """
        with self._worker() as worker:
            return worker.decode(content, index, COLOURS)

    def rewritten(self, content: bytes) -> bytes:
        """A PS3.10 file as pydicom writes it in explicit VR little endian.

        Raises:
            NotEvaluable: as `decode`.
        """
        with self._worker() as worker:
            return worker.rewritten(content)

    def close(self) -> None:
        """End the workers."""
        for one in self._all:
            one.stop()

    @contextmanager
    def _worker(self) -> Iterator[_Worker]:
        worker = self._free.get()
        try:
            yield worker
        finally:
            self._free.put(worker)


_POOLS: dict[int, DecoderPool] = {}
_LOCK = threading.Lock()


def pool() -> DecoderPool:
    """This process's own: one that was forked off does not speak through its parent's pipes."""
    with _LOCK:
        process = os.getpid()
        if process not in _POOLS:
            _POOLS[process] = DecoderPool()
            atexit.register(_POOLS[process].close)
        return _POOLS[process]
