"""One lane of work: whoever holds it takes what is ready, batch by batch, and lingers a while for more.

Failures are told apart by how they end. A fault of the machine (disk, database) leaves the lane as an
exception, and the item stays for the next try, however often. An item whose process died while it was worked
on is found in the in-flight file at the next start, counted, and from then on tried alone, so that its
neighbours are not counted with it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from shadow.store.queue import WorkQueue

POLL_SECONDS = 0.1
MAXIMUM_ATTEMPTS = 3
"""An item that failed so often is given up: it ends in a counted state."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a lane stays.

    Attributes:
        linger_seconds: it leaves when nothing was finished for so long.
        budget_seconds: it takes no new batch after so long.
        stop: asked before each batch; true lets it leave at once.
    """

    linger_seconds: float
    budget_seconds: float
    stop: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Work:
    """What a lane does with its items.

    Attributes:
        finish: works on a batch and returns the names that are done; the others stay and come again.
        give_up: ends an item in a counted state because its process died on it too often.
        batch: the most items at a time.
    """

    finish: Callable[[list[str]], Collection[str]]
    give_up: Callable[[str], None]
    batch: int


@dataclass(slots=True)
class _Lane:
    queue: WorkQueue
    in_flight: Path
    work: Work
    suspects: set[str] = field(default_factory=set)
    turns: dict[str, int] = field(default_factory=dict)

    def count_deaths(self) -> int:
        """Count what a dead process left in flight. Returns how many items were given up."""
        if not self.in_flight.exists():
            return 0
        ready = set(self.queue.ready())
        gone = 0
        names = self.in_flight.read_text(encoding="utf-8").split()
        # Before the counting: a start that dies in its midst must not count the same death again.
        self.in_flight.unlink()
        for name in names:
            if name not in ready:
                continue
            self.suspects.add(name)
            if self.queue.begin(name) >= MAXIMUM_ATTEMPTS:
                self.work.give_up(name)
                self.queue.done(name)
                gone += 1
        return gone

    def next_batch(self) -> list[str]:
        """The oldest items, those that were not finished last time behind the others; a suspect alone."""
        ready = sorted(self.queue.ready(), key=lambda name: (name in self.suspects, self.turns.get(name, 0)))
        if ready and ready[0] in self.suspects:
            return ready[:1]
        return [name for name in ready if name not in self.suspects][: self.work.batch]

    def finish(self, names: list[str]) -> int:
        # Not synced: a power cut is not the item's fault.
        self.in_flight.write_text("\n".join(names), encoding="utf-8")
        try:
            done = frozenset(self.work.finish(names))
        finally:
            self.in_flight.unlink(missing_ok=True)
        for name in names:
            if name in done:
                self.queue.done(name)
                self.turns.pop(name, None)
                self.suspects.discard(name)
            else:
                self.turns[name] = self.turns.get(name, 0) + 1
        return len(done)


def drain(queue: WorkQueue, in_flight: Path, work: Work, patience: Patience) -> int:
    """Hold the lane and work until patience ends. Returns how many items were finished.

    Args:
        queue: the lane's items.
        in_flight: the file that names the items being worked on; a later start reads what a dead process left.
        work: what to do with them.
        patience: how long to stay.

    Raises:
        LaneBusy: another process holds the lane.
    """
    with queue.lane():
        lane = _Lane(queue, in_flight, work)
        start = last = time.monotonic()
        finished = lane.count_deaths()
        while not patience.stop():
            now = time.monotonic()
            if now - start >= patience.budget_seconds or now - last >= patience.linger_seconds:
                break
            names = lane.next_batch()
            done = lane.finish(names) if names else 0
            if done:
                finished += done
                last = time.monotonic()
            else:
                time.sleep(POLL_SECONDS)
        return finished
