"""One supervised process: started in its own session, restarted with back-off, stopped with its tree.

Every process dies with the thread that started it (PR_SET_PDEATHSIG), so one long-lived thread must do all
the starting.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil

from shadow.supervision import child

LARGEST_LOG_BYTES = 16 << 20
SHORTEST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
CALM_SECONDS = 60.0


class ProcessState(StrEnum):
    """Where a supervised process is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    HEALTHY = "healthy"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class OperatingSystemUser:
    """Who a process runs as, when not as ourselves.

    Attributes:
        capability: the number of the one capability it keeps, or None.
    """

    user: int
    group: int
    capability: int | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """What to run.

    Attributes:
        name: what people call the process; also the name of its log.
        arguments: the program and its arguments.
        environment: the whole environment.
        ready: True once the process does its work; asked a few times a second with the time since the epoch
            at which the process started; must answer within a second or two.
        stop_signal: the signal that asks it to leave; it is sent too when the supervisor dies.
        user: who runs it; None means whoever runs the supervisor.
        grace_seconds: how long it may take to leave before it is killed; every process survives that.
        leaves: its turn when all are stopped: those of one turn leave together, 0 first.
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    ready: Callable[[float], bool]
    stop_signal: signal.Signals = signal.SIGTERM
    user: OperatingSystemUser | None = None
    grace_seconds: float = 10.0
    leaves: int = 0


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """What an onlooker may know of one process."""

    name: str
    state: ProcessState
    pid: int | None
    restarts: int


def prepared(command: Command) -> list[str]:
    """The command behind `child.py`, which prepares the process and becomes the command."""
    options = [f"--parent={os.getpid()}", f"--death-signal={int(command.stop_signal)}"]
    if command.user is not None:
        options += [f"--user={command.user.user}", f"--group={command.user.group}"]
        if command.user.capability is not None:
            options.append(f"--capability={command.user.capability}")
    return [sys.executable, "-I", "-S", str(Path(child.__file__)), *options, "--", *command.arguments]


def run_to_end(command: Command, log: Path, stopping: Callable[[], bool], timeout_seconds: float) -> int | None:
    """Run a command that ends by itself. Its exit code, or None when a stop or the time limit ended it."""
    process = SupervisedProcess(command, log)
    process.start()
    end = time.monotonic() + timeout_seconds
    while process.alive():
        if stopping() or time.monotonic() > end:
            end_trees([process])
            return None
        time.sleep(0.05)
    return process.exit_code()


class SupervisedProcess:
    """One command and the process that runs it now."""

    def __init__(self, command: Command, log: Path) -> None:
        self.command = command
        self.log = log
        self.restarts = 0
        self.code_before: int | None = None
        self.healthy_once = False
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._started_at = 0.0
        self._start_again_at: float | None = None
        self._pause = SHORTEST_PAUSE_SECONDS
        self._healthy = False

    @property
    def pid(self) -> int | None:
        """The process running now, or None."""
        return self._process.pid if self._process is not None else None

    def status(self) -> ProcessStatus:
        """Name, state, process number and restarts."""
        if self._process is None:
            state = ProcessState.STOPPED if self.healthy_once else ProcessState.WAITING
        elif self._process.returncode is not None:
            state = ProcessState.STOPPED
        else:
            state = ProcessState.HEALTHY if self._healthy else ProcessState.STARTING
        return ProcessStatus(self.command.name, state, self.pid, self.restarts)

    def start(self) -> None:
        """Start the process. Only the supervising thread may call this."""
        _keep_small(self.log)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                prepared(self.command),
                env=dict(self.command.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started = time.monotonic()
        self._started_at = time.time()
        self._start_again_at = None
        self._healthy = False

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def exit_code(self) -> int | None:
        """What the last process ended with: negative for a signal, None while it runs."""
        return self._process.poll() if self._process is not None else None

    def check_health(self) -> bool:
        """Whether the process does its work. It is asked until it once says so; later only whether it lives.

        Asking for ever would cost the receivers a connection and the scheduler's database a query each time.
        """
        if not self.alive():
            self._healthy = False
        elif not self._healthy:
            self._healthy = self.command.ready(self._started_at)
            self.healthy_once = self.healthy_once or self._healthy
        return self._healthy

    def restart_if_dead(self) -> bool:
        """Start the process again when it died and its pause is over; True when it was started."""
        if self._process is None or self.alive():
            return False
        now = time.monotonic()
        if self._start_again_at is None:
            if now - self._started > CALM_SECONDS:
                self._pause = SHORTEST_PAUSE_SECONDS
            self._start_again_at = now + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
            self._healthy = False
        if now < self._start_again_at:
            return False
        self.restarts += 1
        self.code_before = self.exit_code()
        try:
            self.start()
        except OSError:  # a full disk or too many processes: it may pass, so it is tried again
            self._start_again_at = now + self._pause
            return False
        return True

    def ask_to_stop(self) -> None:
        """Send the signal that asks it to leave."""
        if self._process is not None:
            self._process.send_signal(self.command.stop_signal)


def end_trees(processes: list[SupervisedProcess]) -> None:
    """Ask processes to leave, wait as long as each may take, then end what remains of their trees."""
    own = [process for process in processes if process.alive()]
    trees = {process.command.name: with_descendants([psutil.Process(process.pid)]) for process in own}
    asked = time.monotonic()
    for process in own:
        process.ask_to_stop()
    left = own
    while left:
        for process in left:
            if not process.alive() or time.monotonic() > asked + process.command.grace_seconds:
                _kill(trees[process.command.name])
        left = [process for process in left if process.alive()]
        time.sleep(0.02)


def _kill(tree: list[psutil.Process]) -> None:
    """Kill what still runs of a tree, with what it has started meanwhile."""
    for process in with_descendants([process for process in tree if process.is_running()]):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def with_descendants(roots: list[psutil.Process]) -> list[psutil.Process]:
    """Processes, and all below them."""
    found = list(roots)
    for root in roots:
        with suppress(psutil.NoSuchProcess):
            found += [process for process in root.children(recursive=True) if process not in found]
    return found


def _keep_small(log: Path) -> None:
    with suppress(FileNotFoundError):
        if log.stat().st_size > LARGEST_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
