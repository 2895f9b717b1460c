"""Files past the page cache hold what was appended, byte for byte, at every length and on every file system."""

from __future__ import annotations

import hashlib
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shadow.store import direct_file
from shadow.store.direct_file import BLOCK_BYTES, BUFFER_BYTES, HEAD_ROOM_BYTES, KNOWN_BYTES, DirectFiles

LENGTHS = (
    0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 525_001, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1,
    BUFFER_BYTES - HEAD_ROOM_BYTES - 1, BUFFER_BYTES - HEAD_ROOM_BYTES, BUFFER_BYTES - HEAD_ROOM_BYTES + 1,
    2 * BUFFER_BYTES, 3 * BUFFER_BYTES + 5 * BLOCK_BYTES + 7,
)  # fmt: skip


@pytest.fixture(params=["as the file system can", "the usual way"])
def files(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DirectFiles:
    if request.param == "the usual way":  # a platform without O_DIRECT
        monkeypatch.setattr(direct_file, "_DIRECT", 0)
    return DirectFiles(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def no_head(_: int | None) -> bytes:
    return b""


def write(
    files: DirectFiles, folder: int, name: str, content: bytes, piece: int, head: direct_file.Head = no_head
) -> tuple[str, bytes]:
    """Digest of what was seen, and the beginning."""
    digest = hashlib.sha256()
    file = files.create(folder, name, head, digest.update)
    for start in range(0, len(content), piece):
        file.append(memoryview(content)[start : start + piece])
    file.write_out()
    file.sync()
    file.close()
    return digest.hexdigest(), file.beginning


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("piece", [1 << 17, (1 << 17) - 6, 5 * BUFFER_BYTES])
def test_every_length_comes_back(files: DirectFiles, folder: int, tmp_path: Path, length: int, piece: int) -> None:
    content = random.Random(length).randbytes(length)
    asked: list[int | None] = []

    def head(appended_bytes: int | None) -> bytes:
        asked.append(appended_bytes)
        return b"h" * (700 if appended_bytes is None else -appended_bytes % BLOCK_BYTES)

    digest, beginning = write(files, folder, "one", content, piece, head)
    # What fits the buffer can be filled up to whole blocks; of what does not, nobody knows the length in time.
    assert asked == [length if length < BUFFER_BYTES - HEAD_ROOM_BYTES else None]
    whole = head(asked[0]) + content
    assert (tmp_path / "one").read_bytes() == whole
    assert digest == hashlib.sha256(whole).hexdigest()
    assert beginning == whole[:KNOWN_BYTES]
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o600


def test_a_buffer_that_is_used_again_leaks_nothing(files: DirectFiles, folder: int, tmp_path: Path) -> None:
    write(files, folder, "long", b"x" * 700_000, 1 << 17)
    write(files, folder, "short", b"y" * 5_000, 1 << 17)
    assert (tmp_path / "short").read_bytes() == b"y" * 5_000


def test_what_is_there_is_not_overwritten(files: DirectFiles, folder: int, tmp_path: Path) -> None:
    write(files, folder, "one", b"first", 5)
    with pytest.raises(FileExistsError):
        files.create(folder, "one", no_head, len)
    assert (tmp_path / "one").read_bytes() == b"first"


def test_the_trial_leaves_nothing(files: DirectFiles, tmp_path: Path) -> None:
    assert isinstance(files, DirectFiles)
    assert list(tmp_path.iterdir()) == []


def test_many_threads_write_at_once(files: DirectFiles, folder: int, tmp_path: Path) -> None:
    contents = {f"{number}": random.Random(number).randbytes(300_000 + number) for number in range(24)}

    def work(names: list[str]) -> None:
        for name in names:
            write(files, folder, name, contents[name], 1 << 16)

    threads = [threading.Thread(target=work, args=(list(contents)[start::8],)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == contents


def test_a_file_system_that_refuses_is_written_the_usual_way(folder: int, tmp_path: Path) -> None:
    gone = tmp_path / "read-only"
    files = DirectFiles(Path("/proc/self"))  # nothing can be created there, direct or not
    assert not files.past_the_cache
    write(files, folder, gone.name, b"z" * 9_000, 9_000)
    assert gone.read_bytes() == b"z" * 9_000


def test_a_write_cut_within_a_block_goes_on_the_usual_way(files: DirectFiles, folder: int, tmp_path: Path) -> None:
    content = random.Random(1).randbytes(BUFFER_BYTES + BLOCK_BYTES + 9)
    file = files.create(folder, "cut", no_head, len)
    os.lseek(
        file._descriptor, 100, os.SEEK_SET
    )  # where a nearly full disk left off; O_DIRECT refuses to go on from there
    file.append(memoryview(content))
    file.write_out()
    file.sync()
    file.close()
    assert (tmp_path / "cut").read_bytes() == bytes(100) + content
