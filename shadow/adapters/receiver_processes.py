"""Several receiver processes on one port: the kernel deals connections out, one mirror sorts what they write.

A helper writes to the same spool and reports over a pipe. It answers only what is durable, so its death loses
nothing: what it acknowledged lies in the spool, the rest is sent again. It ends when its parent does.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from shadow.index_test.arrival import Arrival, AssociationRejected, InstanceRefused, InstanceShed, Report
from shadow.index_test.completion import AssociationIsOpen
from shadow.protocol.deployment import Receiver

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_TO_STOP = 5.0
SECONDS_UNTIL_RESTART = 1.0


class HelperProcesses:
    """The helpers of one receiver. Use it as a context; a helper that dies is started again.

    Args:
        settings: of the receiver; it listens on the same address, with its share of the associations.
        titles: who may associate.
        home: the trial's folder.
        report: told of what the helpers report, from a thread for each.
    """

    def __init__(self, settings: Receiver, titles: Sequence[str], home: Path, report: Callable[[Report], None]) -> None:
        self._settings, self._titles, self._home, self._report = settings, tuple(titles), home, report
        self._context = multiprocessing.get_context("spawn")
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._look_after, name=f"receiver-helper-{number}", daemon=True)
            for number in range(1, settings.processes)
        ]

    def __enter__(self) -> HelperProcesses:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _look_after(self) -> None:
        while not self._stopping.is_set():
            try:
                process, ours = self._start()
            except OSError as error:  # no descriptor, or no process, is left; later there may be
                log.error("receiver_helper_not_started", extra={"error": type(error).__name__})
                self._stopping.wait(SECONDS_UNTIL_RESTART)
                continue
            try:
                self._listen(ours)
            finally:
                ours.close()  # the helper ends when its pipe does
                process.join(SECONDS_TO_STOP)
                if process.is_alive():
                    process.kill()
                    process.join()
            if not self._stopping.is_set():
                log.error("receiver_helper_died", extra={"exit_code": process.exitcode})
                self._stopping.wait(SECONDS_UNTIL_RESTART)

    def _start(self) -> tuple[SpawnProcess, Connection]:
        """A helper, and our end of its pipe."""
        ours, theirs = self._context.Pipe()
        try:
            process = self._context.Process(
                target=_receive, args=(theirs, self._settings, self._titles, self._home), daemon=True
            )
            process.start()
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return process, ours

    def _listen(self, pipe: Connection) -> None:
        """Pass on what the helper says until it, or we, come to an end."""
        carriers: dict[int, _Carrier] = {}
        try:
            while not self._stopping.is_set():
                if pipe.poll(SECONDS_BETWEEN_LOOKS):
                    self._take(pipe.recv(), carriers)
        except (EOFError, OSError):
            pass
        for carrier in carriers.values():
            carrier.is_open = False

    def _take(self, said: tuple[Any, ...], carriers: dict[int, _Carrier]) -> None:
        match said:
            case ("arrival", title, file, number, uids):
                carrier = carriers.setdefault(number, _Carrier())
                self._report(Arrival(title, file, time.monotonic(), carrier, uids))
            case ("closed", number):
                ended = carriers.pop(number, None)
                if ended is not None:
                    ended.is_open = False
            case ("rejected", title, reason):
                self._report(AssociationRejected(title, reason))
            case ("shed", title):
                self._report(InstanceShed(title))
            case ("refused", title, uid, reason):
                self._report(InstanceRefused(title, uid, reason))


class _Carrier:
    """Whether an association of a helper is still open."""

    def __init__(self) -> None:
        self.is_open = True

    def __call__(self) -> bool:
        return self.is_open


class _Reporter:
    """A helper's end of the pipe. An association is said to be closed after all that it carried was reported."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._guard = threading.Lock()
        self._numbers: dict[AssociationIsOpen, int] = {}
        self._next = 0

    def __call__(self, report: Report) -> None:
        with self._guard:
            match report:
                case Arrival(title, file, _, carrier, uids):
                    assert carrier is not None
                    if carrier not in self._numbers:
                        self._next += 1
                        self._numbers[carrier] = self._next
                    self._pipe.send(("arrival", title, file, self._numbers[carrier], uids))
                case AssociationRejected(title, reason):
                    self._pipe.send(("rejected", title, reason))
                case InstanceShed(title):
                    self._pipe.send(("shed", title))
                case InstanceRefused(title, uid, reason):
                    self._pipe.send(("refused", title, uid, reason))

    def say_closed(self) -> None:
        """Tell of associations that have ended since."""
        with self._guard:
            for carrier in [one for one in self._numbers if not one()]:
                self._pipe.send(("closed", self._numbers.pop(carrier)))


def _receive(pipe: Connection, settings: Receiver, titles: tuple[str, ...], home: Path) -> None:
    """A helper's main: receive until the pipe ends, which it does when the parent stops or dies."""
    from shadow.adapters.dicom_scp import StorageScp, commitment_desk
    from shadow.adapters.library_logs import silence_libraries
    from shadow.adapters.log_lines import write_log_lines
    from shadow.index_test.inlet import Inlet

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent says when
    silence_libraries()
    write_log_lines()
    limits = {
        "minimum_free_bytes": settings.minimum_free_bytes,
        "maximum_object_bytes": settings.maximum_object_bytes,
    }
    report = _Reporter(pipe)
    with (
        Inlet(home / "spool" / "arrived", titles, **limits) as inlet,
        StorageScp(settings.share, titles, inlet, report, home, commitment_desk(settings, home)),
    ):
        try:
            while not pipe.poll(SECONDS_BETWEEN_LOOKS):
                report.say_closed()
        except (EOFError, OSError):
            return
