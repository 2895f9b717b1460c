"""Staying a while for more: a drain costs little, a process that loads all it needs costs seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK_SECONDS = 0.2


def drain_until_quiet(
    drain: Callable[[], int], *, linger_seconds: float, budget_seconds: float, stop: Callable[[], bool]
) -> int:
    """Drain again and again while something comes; returns what was read in all.

    Args:
        drain: takes what there is, and says how much it was.
        linger_seconds: leave when nothing came for so long.
        budget_seconds: leave after so long in any case.
        stop: asked before each drain.
    """
    read = 0
    start = last = time.monotonic()
    while not stop():
        count = drain()
        read += count
        now = time.monotonic()
        if count:
            last = now
        if now - last >= linger_seconds or now - start >= budget_seconds:
            break
        if not count:
            time.sleep(LOOK_SECONDS)
    return read
