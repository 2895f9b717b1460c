"""The index over the spool's names: damaged or refused by the disk, it stops nothing and comes back."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from blake3 import blake3

from shadow.index_test.spool_index import FILE, SpoolIndex
from shadow.index_test.spooled_instance import instance_of, name_of

STUDIES, INSTANCES = 4, 300
PAGE_BYTES = 4096


def enter(
    spool: Path, index: SpoolIndex | None = None, study: str = "S1", uid: str = "1.2.3.1", content: str = ""
) -> Path:
    """An instance in a study's folder, as the mirror puts it there."""
    folder = spool / "studies" / study
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name_of(uid, blake3((uid + content).encode()).hexdigest())
    path.touch()
    instance = instance_of(path.name)
    if index is not None and instance is not None:
        index.add(study, [instance])
    return path


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A spool whose index has many pages."""
    for study in range(STUDIES):
        for instance in range(INSTANCES):
            enter(tmp_path, study=f"S{study}", uid=f"1.2.{study}.{instance}")
    SpoolIndex(tmp_path).close()
    return tmp_path


def damage(spool: Path) -> None:
    """Garbage in every page behind the first ones."""
    path = spool / FILE
    size = path.stat().st_size
    assert size > 20 * PAGE_BYTES
    with path.open("r+b") as file:
        for start in range(5 * PAGE_BYTES, size, PAGE_BYTES):
            os.pwrite(file.fileno(), b"?" * PAGE_BYTES, start)


def test_a_file_that_is_damaged_behind_its_beginning_is_made_anew_at_the_start(spool: Path) -> None:
    damage(spool)
    with SpoolIndex(spool) as index:
        assert all(index.find(f"1.2.{study}.{INSTANCES - 1}") for study in range(STUDIES))


def test_a_file_that_is_damaged_while_it_is_open_is_made_anew_at_the_next_question(spool: Path) -> None:
    long_ago = 1.0
    for folder in (spool / "studies").iterdir():
        os.utime(folder, (long_ago, long_ago))
    with SpoolIndex(spool) as index:
        damage(spool)
        assert all(index.find(f"1.2.{study}.{number}") for study in range(STUDIES) for number in range(INSTANCES))
        assert index.find("1.2.3.999") is None


def test_a_disk_that_refuses_the_index_stops_nothing_and_nothing_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    index = SpoolIndex(tmp_path)
    enter(tmp_path, index)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        index.write()
        index.write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert index.find("1.2.3.1") is not None
    enter(tmp_path, index, uid="1.2.3.2")
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        index.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with SpoolIndex(tmp_path) as again:
        assert again.find("1.2.3.2") is not None


def test_a_disk_that_refuses_the_index_at_the_start_costs_it_nothing(spool: Path) -> None:
    long_ago = 1.0
    for folder in (spool / "studies").iterdir():
        os.utime(folder, (long_ago, long_ago))
    enter(spool, study="S9", uid="1.2.9.1")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        index = SpoolIndex(spool)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with index:
        assert index.find("1.2.0.1") is not None, "what an earlier process entered"
        assert index.find("1.2.9.1") is not None, "what came since"


@pytest.mark.parametrize(("study", "content"), [("S1", "other bytes"), ("S2", "")])
def test_what_was_sent_again_after_somebody_emptied_the_spool_is_found(
    tmp_path: Path, study: str, content: str
) -> None:
    (tmp_path / "studies").mkdir()
    with SpoolIndex(tmp_path) as index:
        first = enter(tmp_path, index)
        assert index.find("1.2.3.1") == first
        first.unlink()
        assert index.find("1.2.3.1") is None
        again = enter(tmp_path, index, study, content=content)
        assert index.find("1.2.3.1") == again
