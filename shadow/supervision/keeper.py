"""Keeps a folder's processes alive: starts them in stages, restarts them, ends them, leaves none behind.

One thread does all the starting, because the kernel ends a process with the thread that started it. A process
that dies comes back by itself with a growing pause; what it left behind is ended first.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from shadow.domain.errors import SetupError
from shadow.domain.home import Home
from shadow.supervision.orphans import Orphans, become_subreaper, end_leftovers
from shadow.supervision.processes import (
    Command,
    ProcessState,
    ProcessStatus,
    SupervisedProcess,
    end_trees,
)

TICK_SECONDS = 0.1
LOOK_SECONDS = 0.5
START_SECONDS = 180.0
ORPHANS_SECONDS = 5.0
DEATHS_BEFORE_GIVING_UP = 3

Progress = Callable[[ProcessStatus], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """Processes that are started together, after something is prepared.

    Attributes:
        prepare: runs first; it is handed a function that is True once the supervisor is to stop.
        commands: the processes.
        wait: whether the next stage starts only when these are healthy; all are awaited in the end.
        finish: runs once these are healthy; only where `wait` is true.
    """

    prepare: Callable[[Callable[[], bool]], None]
    commands: Callable[[], tuple[Command, ...]]
    wait: bool = False
    finish: Callable[[], None] | None = None


class Keeper:
    """All processes of one folder.

    A context manager: entering starts everything and returns when all are healthy; leaving stops everything.
    One keeper a folder: a second one is refused.
    """

    def __init__(
        self,
        home: Home,
        stages: tuple[Stage, ...],
        on_progress: Progress | None = None,
        before_start: Callable[[], None] | None = None,
    ) -> None:
        self._home = home
        self._before_start = before_start or (lambda: None)
        self._stages = stages
        self._on_progress = on_progress or (lambda _: None)
        self._processes: list[SupervisedProcess] = []
        self._sessions: dict[int, float] = {}
        self._stop = threading.Event()
        self._settled = threading.Event()
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None
        self._lock: IO[str] | None = None
        self._told: dict[str, ProcessStatus] = {}
        self._next_look = 0.0
        self._orphans = Orphans()

    def __enter__(self) -> Keeper:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, cancelled: threading.Event | None = None, timeout_seconds: float = START_SECONDS) -> None:
        """Start everything and wait until all are healthy; on any failure, stop what was started.

        Args:
            cancelled: where this is set meanwhile, everything is stopped and the call returns.
            timeout_seconds: how long to wait for health.

        Raises:
            SetupError: another supervisor holds the folder, a process keeps dying, or time is over.
        """
        for folder in (self._home.root, self._home.logs, self._home.queues):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _take_lock(self._home)
        try:
            stopping_mark(self._home).unlink(missing_ok=True)
            end_leftovers(_read_sessions(self._home))
            self._before_start()
            become_subreaper()
            self._thread = threading.Thread(target=self._supervise, name="supervision", daemon=True)
            self._thread.start()
            end = time.monotonic() + timeout_seconds
            while not self._settled.wait(TICK_SECONDS):
                if cancelled is not None and cancelled.is_set():
                    self.stop()
                    return
                if time.monotonic() > end:
                    raise SetupError(f"not healthy after {timeout_seconds:.0f} s: {self._unhealthy()}")
            self.check()
        except BaseException:
            self.stop()
            raise

    def check(self) -> None:
        """Do nothing while supervision goes on.

        Raises:
            Exception: what ended it.
        """
        if self._failure is not None:
            raise self._failure

    def states(self) -> tuple[ProcessStatus, ...]:
        """How each process is now, in the order in which they were started."""
        return tuple(process.status() for process in list(self._processes))

    def stop(self) -> None:
        """Stop everything; safe to call twice. A second Ctrl-C does not interrupt it."""
        with _deaf_to_signals():
            self._stop.set()
            if self._thread is not None:
                self._thread.join()
                self._thread = None
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def _supervise(self) -> None:
        try:
            for stage in self._stages:
                self._begin(stage)
            self._until_healthy(self._processes)
            self._settled.set()
            self._watch()
        except Exception as error:  # noqa: BLE001 - the edge of this thread; check() tells it
            self._failure = error
        finally:
            self._settled.set()
            self._end()

    def _begin(self, stage: Stage) -> None:
        if self._stop.is_set():
            return
        stage.prepare(self._stop.is_set)
        started = []
        for command in stage.commands():
            if self._stop.is_set():
                return
            process = SupervisedProcess(command, self._home.logs / f"{command.name}.log")
            process.start()
            self._processes.append(process)
            self._remember(process)
            started.append(process)
        if stage.wait:
            self._until_healthy(started)
        if stage.finish is not None and not self._stop.is_set():
            stage.finish()

    def _until_healthy(self, awaited: list[SupervisedProcess]) -> None:
        left = list(awaited)
        while left and not self._stop.is_set():
            healthy = [process for process in self._processes if process.check_health()]
            left = [process for process in left if process not in healthy]
            self._tell()
            for process in self._processes:
                if process.restarts >= DEATHS_BEFORE_GIVING_UP and not process.healthy_once:
                    raise SetupError(
                        f"{process.command.name} ends as soon as it is started (exit code "
                        f"{process.code_before}); {process.log} says why"
                    )
            self._keep_alive()
            self._stop.wait(TICK_SECONDS)

    def _watch(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            self._keep_alive()
            for process in self._processes:
                process.check_health()
            self._tell()

    def _keep_alive(self) -> None:
        dead = [process for process in self._processes if not process.alive()]
        if dead or time.monotonic() >= self._next_look:
            self._end_orphans()
            self._next_look = time.monotonic() + LOOK_SECONDS
        for process in dead:
            if process.restart_if_dead():
                self._remember(process)

    def _end_orphans(self) -> int:
        return self._orphans.end(frozenset(process.pid for process in self._processes if process.pid is not None))

    def _end(self) -> None:
        """Stop all, turn by turn: who is needed by others leaves after them."""
        with suppress(OSError):  # on a full disk the lanes are not asked, but ended
            stopping_mark(self._home).touch()
        self._end_orphans()
        for turn in sorted({process.command.leaves for process in self._processes}):
            end_trees([process for process in self._processes if process.command.leaves == turn])
            self._end_orphans()
        end = time.monotonic() + ORPHANS_SECONDS
        while self._end_orphans() and time.monotonic() < end:
            time.sleep(TICK_SECONDS)
        self._tell()
        _sessions_file(self._home).unlink(missing_ok=True)

    def _remember(self, process: SupervisedProcess) -> None:
        if process.pid is not None:
            self._sessions[process.pid] = time.time()
            self._orphans.know(process.pid)
            with suppress(OSError):  # on a full disk the trial goes on; the list only serves a kill -9 of us
                _write_sessions(self._home, self._sessions)

    def _tell(self) -> None:
        for status in self.states():
            if self._told.get(status.name) != status:
                self._told[status.name] = status
                self._on_progress(status)

    def _unhealthy(self) -> str:
        names = [status.name for status in self.states() if status.state is not ProcessState.HEALTHY]
        return f"{', '.join(names) or 'nothing started'}; the logs are in {self._home.logs}"


def stopping_mark(home: Home) -> Path:
    """The file that asks lingering lanes to leave: it is there from the stop of a trial to its next start."""
    return home.root / "stopping"


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does: by KeyboardInterrupt. Main thread only."""
    earlier = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    for number in earlier:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


@contextmanager
def _deaf_to_signals() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    for number in earlier:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _take_lock(home: Home) -> IO[str]:
    lock = (home.root / "supervisor.lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise SetupError(f"this trial is running already: another supervisor holds {home.root}") from error
    return lock


def _sessions_file(home: Home) -> Path:
    return home.root / "supervisor.json"


def _machine() -> str:
    """This boot and this space of process numbers: the numbers of another mean other processes."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - not a path


def _write_sessions(home: Home, sessions: dict[int, float]) -> None:
    temporary = home.root / ".supervisor.json.tmp"
    temporary.write_text(json.dumps({"machine": _machine(), "sessions": sessions}), encoding="utf-8")
    temporary.replace(_sessions_file(home))


def _read_sessions(home: Home) -> dict[int, float]:
    try:
        content = json.loads(_sessions_file(home).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    if content["machine"] != _machine():
        return {}
    return {int(number): float(started) for number, started in content["sessions"].items()}
