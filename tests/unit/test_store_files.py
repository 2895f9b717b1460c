"""Keys, vault, blobs, queues: what they keep, what they refuse, and that nothing lies about in clear."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import threading
from pathlib import Path

import pytest

from shadow.domain.errors import LaneBusy, VaultLocked
from shadow.store.blobs import Blobs
from shadow.store.durable import create_durably, make_folder, write_durably
from shadow.store.keys import create_key_file, read_key_file, read_or_create_key_file
from shadow.store.queue import WorkQueue
from shadow.store.vault import Identity, Vault

NAME = "Abernathy^Adelheid"
KEY = b"k" * 32


def test_a_key_file_is_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "site.key"
    key = create_key_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert read_key_file(path) == key
    with pytest.raises(FileExistsError):
        create_key_file(path)


def test_a_key_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    create_key_file(path)
    path.chmod(0o640)
    with pytest.raises(VaultLocked, match="chmod 600"):
        read_key_file(path)


def test_a_missing_or_short_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VaultLocked, match="restore"):
        read_key_file(tmp_path / "absent.key")
    (tmp_path / "short.key").write_bytes(b"short")
    (tmp_path / "short.key").chmod(0o600)
    with pytest.raises(VaultLocked, match="5 bytes"):
        read_key_file(tmp_path / "short.key")


def test_a_key_made_by_two_at_once_is_one_key(tmp_path: Path) -> None:
    for number in range(20):
        path, keys = tmp_path / f"{number}.key", list[bytes]()
        start = threading.Barrier(4)

        def make(path: Path = path, keys: list[bytes] = keys, start: threading.Barrier = start) -> None:
            start.wait()
            keys.append(read_or_create_key_file(path))

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert keys == [read_key_file(path)] * 4
    assert len(list(tmp_path.iterdir())) == 20


def test_the_vault_keeps_identities_and_shows_none_in_clear(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "vault.db", KEY)
    identity = Identity("patient", (("PatientName", NAME), ("PatientID", "RI1")))
    vault.put("P1", identity)
    vault.put("P1", Identity("patient", (("PatientName", "Other"),)))
    assert vault.get("P1") == identity
    assert vault.get("P2") is None
    for path in tmp_path.iterdir():
        assert NAME.encode() not in path.read_bytes(), path
    vault.close()


def test_another_key_opens_nothing(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "vault.db", KEY)
    vault.put("P1", Identity("patient", (("PatientName", NAME),)))
    vault.close()
    with pytest.raises(VaultLocked, match="wrong key"):
        Vault(tmp_path / "vault.db", b"o" * 32)
    again = Vault(tmp_path / "vault.db", KEY)
    assert again.get("P1") is not None
    again.close()


def test_a_vault_that_is_still_empty_knows_its_key(tmp_path: Path) -> None:
    Vault(tmp_path / "vault.db", KEY).close()
    with pytest.raises(VaultLocked, match="wrong key"):
        Vault(tmp_path / "vault.db", b"o" * 32)


@pytest.mark.parametrize("sealed", ["x''", "substr(sealed, 1, 9)", "substr(sealed, 1, length(sealed) - 1)"])
def test_a_row_of_the_vault_that_was_cut_short_is_refused(tmp_path: Path, sealed: str) -> None:
    vault = Vault(tmp_path / "vault.db", KEY)
    vault.put("P1", Identity("patient", (("a", "1"),)))
    with vault._database.write() as connection:
        connection.exec_driver_sql(f"update identity set sealed = {sealed} where pseudonym = 'P1'")
    with pytest.raises(VaultLocked, match="changed"):
        vault.get("P1")
    vault.close()


def test_rows_of_the_vault_cannot_change_places(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "vault.db", KEY)
    vault.put_many([("P1", Identity("patient", (("a", "1"),))), ("P2", Identity("patient", (("a", "2"),)))])
    with vault._database.write() as connection:
        connection.exec_driver_sql(
            "update identity set sealed = (select sealed from identity where pseudonym = 'P2') where pseudonym = 'P1'"
        )
    with pytest.raises(VaultLocked, match="changed"):
        vault.get("P1")
    vault.close()


def test_a_report_text_is_kept_once_encrypted_and_by_its_digest(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, KEY)
    text = f"IMPRESSION: no bleed. {NAME}".encode()
    digest = blobs.put(text)
    assert blobs.put(text) == digest
    assert blobs.get(digest) == text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 1
    assert b"IMPRESSION" not in files[0].read_bytes()
    whole = files[0].read_bytes()
    for changed in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:-1], whole[:5], b""):
        files[0].write_bytes(changed)
        with pytest.raises(VaultLocked):
            blobs.get(digest)


def test_a_durable_file_is_whole_and_private(tmp_path: Path) -> None:
    write_durably(tmp_path / "file", b"one")
    write_durably(tmp_path / "file", b"two")
    assert (tmp_path / "file").read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_two_threads_that_write_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    """As two connections do that bring the same report text at the same instant."""
    path, failed = tmp_path / "file", list[OSError]()
    contents = [bytes([number]) * 50_000 for number in range(4)]

    def write(content: bytes) -> None:
        try:
            for _ in range(25):
                write_durably(path, content)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert not path.exists() or path.read_bytes() in contents
    assert not failed
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def _write_past_the_limit(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        write_durably(folder / "file", b"x" * 200_000)
    except OSError as error:
        os._exit(0 if error.errno == errno.EFBIG else 2)
    os._exit(1)


def test_a_write_that_finds_no_room_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_durably(tmp_path / "file", b"old")
    process = multiprocessing.get_context("fork").Process(target=_write_past_the_limit, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_file_that_must_be_new_is_not_overwritten(tmp_path: Path) -> None:
    create_durably(tmp_path / "file", b"one")
    with pytest.raises(FileExistsError):
        create_durably(tmp_path / "file", b"two")
    assert (tmp_path / "file").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_is_private_and_so_are_those_above_it(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_work_comes_oldest_first_and_stays_until_it_is_done(tmp_path: Path) -> None:
    work = WorkQueue(tmp_path)
    for second, name in enumerate(("b", "a", "c")):
        work.put(name, name.encode())
        os.utime(tmp_path / f"{name}.ready", (second, second))
    assert work.ready() == ["b", "a", "c"]
    assert work.read("a") == b"a"
    assert [work.begin("a"), work.begin("a")] == [1, 2]
    work.done("a")
    assert WorkQueue(tmp_path).ready() == ["b", "c"]
    work.put("a")
    assert work.begin("a") == 1


def _hold(folder: Path, held: object, release: object) -> None:
    with WorkQueue(folder).lane():
        held.set()  # type: ignore[attr-defined]
        release.wait(30)  # type: ignore[attr-defined]


def test_a_lane_has_one_holder_and_a_killed_holder_frees_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    held, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, held, release))
    holder.start()
    assert held.wait(30)
    with pytest.raises(LaneBusy), WorkQueue(tmp_path).lane():
        pass
    holder.kill()
    holder.join()
    with WorkQueue(tmp_path).lane():
        pass
