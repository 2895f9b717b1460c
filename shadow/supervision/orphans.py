"""What a dead process leaves behind: found among our own children, and ended.

Airflow's tasks change their process group but not their session; PostgreSQL's children change their session,
and leave by themselves when their parent dies. So both are noted: who led a session, and who stood below a
supervised process when last looked at. Names and environments say nothing: both programs overwrite them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

import psutil

from shadow.supervision.child import PR_SET_CHILD_SUBREAPER, prctl
from shadow.supervision.processes import with_descendants

CLOCK_SLACK_SECONDS = 2.0
LEFTOVERS_SECONDS = 3.0


def become_subreaper() -> None:
    """Let whatever our processes orphan become our child, so that it can be found and ended."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


class Orphans:
    """Looks after the orphans of one supervisor's processes.

    Another child of this program (a rehearsal, a test) and what is below it is never touched.
    """

    def __init__(self) -> None:
        self._leaders: set[int] = set()
        self._family: frozenset[int] = frozenset()

    def know(self, leader: int) -> None:
        """Note a process that was started here, at the head of its own session."""
        self._leaders.add(leader)

    def end(self, supervised: frozenset[int]) -> int:
        """Kill the orphans, and everything below them; how many orphans there were.

        At once and without asking: a task without its scheduler holds a lane that the next one needs, and
        every stage survives kill -9. One that is still dying is collected at the next look.

        Args:
            supervised: the processes that run under supervision now.
        """
        parents = _parents()
        own = os.getpid()
        children = {number for number, parent in parents.items() if parent == own}
        orphans = {one for one in children - supervised if one in self._family or self._is_led(one)}
        self._family = frozenset(orphans | _below(supervised & children, parents))
        left = []
        for number in orphans:
            with suppress(psutil.NoSuchProcess):
                left.append(psutil.Process(number))
        for process in with_descendants(left):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for number in orphans:
            with suppress(ChildProcessError):
                os.waitpid(number, os.WNOHANG)
        return len(orphans)

    def _is_led(self, number: int) -> bool:
        try:
            return os.getsid(number) in self._leaders
        except ProcessLookupError:
            return False


def _parents() -> dict[int, int]:
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            found[process.pid] = process.ppid()
    return found


def _below(roots: frozenset[int] | set[int], parents: Mapping[int, int]) -> set[int]:
    """Every process below the roots."""
    below: set[int] = set()
    generation = set(roots)
    while generation:
        generation = {number for number, parent in parents.items() if parent in generation}
        below |= generation
    return below


def end_leftovers(earlier: Mapping[int, float]) -> int:
    """End what an earlier supervisor of the same folder left running when it was killed; how many.

    Args:
        earlier: process numbers that it started, with the time since the epoch at which each started. Every
            process of their sessions is meant. Where the number now belongs to a younger process, the whole
            session is another's.
    """
    sessions = {number: started for number, started in earlier.items() if not _is_anothers(number, started)}
    spared = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    left = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            started = sessions.get(os.getsid(process.pid))
            if started is None or process.pid in spared:
                continue
            if process.create_time() >= started - CLOCK_SLACK_SECONDS:
                left.append(process)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(left, timeout=LEFTOVERS_SECONDS)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=LEFTOVERS_SECONDS)
    return len(left)


def _is_anothers(number: int, started: float) -> bool:
    try:
        return abs(psutil.Process(number).create_time() - started) > CLOCK_SLACK_SECONDS
    except psutil.NoSuchProcess:
        return False
