"""Decodes compressed images for `decoder`, in a process of its own: what breaks a codec breaks nothing else.

Requests on standard input: `L`, length (8 bytes), a PS3.10 file; `D` or `C`, index of a frame (8 bytes) of the file
loaded last: its stored values, or its colours as RGB; `R` and 8 bytes: that file in explicit VR little endian.
Answers on standard output: `0`, rows, columns, samples, bytes a value (4 bytes each), the values, or for `R` length
(8 bytes) and the file; or `1`, length (4 bytes), the name of what went wrong. It ends with its input.
"""

from __future__ import annotations

import io
import os
import resource
import struct
import sys
import warnings
from pathlib import Path

NUMBER = struct.Struct(">Q")
SHAPE = struct.Struct(">LLLL")
LENGTH = struct.Struct(">L")
LOAD, DECODE, COLOURS, REWRITE = b"L", b"D", b"C", b"R"
DECODED, FAILED = b"0", b"1"
LARGEST_MEMORY_BYTES = 6 << 30
REWRITING_MEMORY_BYTES, REWRITING_TIMES = 512 << 20, 6
"""To write a file again: so much, and so many times its own size."""


def main() -> None:
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # codecs that print must not print into the answers
    requests = sys.stdin.buffer
    resource.setrlimit(resource.RLIMIT_AS, (LARGEST_MEMORY_BYTES, LARGEST_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import numpy as np
    from pydicom.pixels.utils import pixel_array

    from shadow.index_test import jpeg_extended

    jpeg_extended.register()
    content = b""
    while kind := requests.read(1):
        (number,) = NUMBER.unpack(requests.read(NUMBER.size))
        if kind == LOAD:
            content = requests.read(number)
            continue
        try:
            if kind == REWRITE:
                written = _rewritten(content)
                answer = DECODED + NUMBER.pack(len(written)) + written
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = pixel_array(io.BytesIO(content), index=number, raw=kind == DECODE)
                pixels = np.ascontiguousarray(found)
                rows, columns, samples = (*pixels.shape, 1)[:3]
                answer = DECODED + SHAPE.pack(rows, columns, samples, pixels.dtype.itemsize) + pixels.tobytes()
        except Exception as error:  # noqa: BLE001 - every codec has its own, and none is this program's
            name = str(getattr(error, "reason", "") or type(error).__name__).encode("ascii", "replace")
            answer = FAILED + LENGTH.pack(len(name)) + name
        answers.write(answer)
        answers.flush()


def _rewritten(content: bytes) -> bytes:
    from shadow.index_test.rewriting import rewritten

    before = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    allowed = before + REWRITING_MEMORY_BYTES + REWRITING_TIMES * len(content)
    resource.setrlimit(resource.RLIMIT_AS, (min(allowed, LARGEST_MEMORY_BYTES), LARGEST_MEMORY_BYTES))
    try:
        return rewritten(content)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (LARGEST_MEMORY_BYTES, LARGEST_MEMORY_BYTES))


if __name__ == "__main__":
    main()
