"""Decoding in processes of its own: the same pixels, and a codec that dies, hangs or refuses costs one image."""

from __future__ import annotations

import io
import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from head_ct import as_file, head_slice
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from shadow.domain.errors import NotEvaluable
from shadow.index_test import decoder
from shadow.index_test.decoder import DecoderPool

PIXELS = (np.arange(32 * 32).reshape(32, 32) % 4096).astype(np.uint16)


def compressed(syntax: str, pixels: np.ndarray = PIXELS) -> bytes:
    dataset = dcmread(io.BytesIO(as_file(head_slice(pixels=pixels))))
    dataset.compress(syntax, generate_instance_uid=False)
    written = io.BytesIO()
    dataset.save_as(written, enforce_file_format=True)
    return written.getvalue()


@pytest.fixture
def others() -> set[int]:
    """What other tests of this process have running."""
    return {one.pid for one in psutil.Process().children()}


@pytest.fixture
def workers(others: set[int]) -> Iterator[DecoderPool]:
    made = DecoderPool()
    yield made
    made.close()


def children(others: set[int]) -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if one.pid not in others]


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_every_codec_gives_the_stored_values_back(workers: DecoderPool, syntax: str) -> None:
    assert np.array_equal(workers.decode(compressed(syntax), 0), PIXELS)


def test_several_threads_get_their_own_images(workers: DecoderPool, others: set[int]) -> None:
    images = [(PIXELS + number) % 4096 for number in range(12)]
    files = [compressed(JPEGLSLossless, one.astype(np.uint16)) for one in images]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda one: workers.decode(one, 0), files))
    assert all(np.array_equal(one, image) for one, image in zip(found, images, strict=True))
    assert len(children(others)) == decoder.WORKERS


def test_an_image_that_no_codec_takes_is_unreadable_and_the_next_one_is_read(workers: DecoderPool) -> None:
    whole = compressed(JPEG2000Lossless)
    damaged = bytearray(whole)
    start = damaged.index(b"\xff\x4f\xff\x51")
    damaged[start + 4 : start + 60] = os.urandom(56)
    with pytest.raises(NotEvaluable) as refused:
        workers.decode(bytes(damaged), 0)
    assert refused.value.reason == "unreadable_pixel_data"
    assert np.array_equal(workers.decode(whole, 0), PIXELS)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_worker_that_dies_costs_nothing_but_its_image(
    workers: DecoderPool, others: set[int], number: signal.Signals
) -> None:
    content = compressed(RLELossless)
    workers.decode(content, 0)
    (worker,) = children(others)
    worker.send_signal(number)
    worker.wait(10)
    with pytest.raises(NotEvaluable) as refused:
        workers.decode(content, 0)
    assert refused.value.detail == "decoder_died"
    assert np.array_equal(workers.decode(content, 0), PIXELS)


def test_a_worker_that_hangs_is_ended(workers: DecoderPool, others: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    content = compressed(RLELossless)
    workers.decode(content, 0)
    (worker,) = children(others)
    worker.suspend()
    monkeypatch.setattr(decoder, "SECONDS_FOR_AN_IMAGE", 0.2)
    with pytest.raises(NotEvaluable) as refused:
        workers.decode(content, 0)
    assert refused.value.detail == "decoder_hangs"
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


def test_an_answer_for_which_there_is_no_memory_is_not_taken_for_the_next_one(workers: DecoderPool) -> None:
    whole, large = compressed(RLELossless), dcmread(io.BytesIO(compressed(RLELossless)))
    large.Rows = large.Columns = 8192
    plane = b"\x81\x30" * (8192 * 8192 // 128)
    large.PixelData = encapsulate([struct.pack("<16L", 2, 64, 64 + len(plane), *[0] * 13) + 2 * plane])
    workers.decode(whole, 0)
    written = as_file(large)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 10_000_000, limits[1]))
    try:
        with pytest.raises(MemoryError):
            workers.decode(written, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert np.array_equal(workers.decode(whole, 0), PIXELS)


def test_workers_end_with_the_process_that_started_them() -> None:
    program = """
import sys
from shadow.index_test.decoder import pool
try:
    pool().decode(b"no DICOM", 0)
except Exception:
    import psutil
    print(psutil.Process().children()[0].pid, flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    worker = psutil.Process(int(process.stdout.readline()))
    process.kill()
    process.communicate(timeout=10)
    worker.wait(10)
    assert not worker.is_running()
