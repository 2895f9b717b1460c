"""A folder's fsync is shared; so is its failure, which the kernel tells only once."""

from __future__ import annotations

import errno
import threading

from shadow.store.shared_sync import SharedSync


class Disk:
    """Fails the call that `fails` says, counted from 1; the first one lasts until it is let go."""

    def __init__(self, fails: int) -> None:
        self.calls, self.fails = 0, fails
        self.has_begun, self.may_end = threading.Event(), threading.Event()

    def flush(self) -> None:
        self.calls += 1
        if self.calls == 1:
            self.has_begun.set()
            assert self.may_end.wait(5.0)
        if self.calls == self.fails:
            raise OSError(errno.EIO, "a failing disk")


def answers(disk: Disk, waiting: int) -> list[bool]:
    """Who was told success: the one whose call was first, and those who asked while it lasted."""
    shared, told = SharedSync(disk.flush), []

    def ask() -> None:
        try:
            shared.sync()
        except OSError:
            told.append(False)
        else:
            told.append(True)

    first, *others = threads = [threading.Thread(target=ask) for _ in range(waiting + 1)]
    first.start()
    assert disk.has_begun.wait(5.0)
    for one in others:
        one.start()
    threading.Event().wait(0.1)  # until they have asked
    disk.may_end.set()
    for one in threads:
        one.join()
    return sorted(told)


def test_all_who_ask_while_a_call_lasts_share_the_next() -> None:
    disk = Disk(fails=0)
    assert answers(disk, 5) == [True] * 6
    assert disk.calls == 2


def test_all_who_share_a_call_that_fails_are_told_so() -> None:
    disk = Disk(fails=2)
    assert answers(disk, 5) == [False] * 5 + [True]
    assert disk.calls == 2
