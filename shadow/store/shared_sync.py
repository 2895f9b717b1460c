"""One fsync of a folder for all who wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable


class SharedSync:
    """fsync of a folder for many threads: whoever asked before a call began is served by it, or fails with it.

    The kernel tells an error once: a second call after one that failed may succeed without what the first had to do.
    """

    def __init__(self, flush: Callable[[], object]) -> None:
        self._flush = flush
        self._at_work = threading.Lock()
        self._next = _Round()

    def sync(self) -> None:
        """Return once a call that began after this one has succeeded.

        Raises:
            OSError: it failed.
        """
        mine = self._next
        with self._at_work:
            if not mine.is_over:
                self._next = _Round()
                try:
                    self._flush()
                except OSError as error:
                    mine.error = error
                mine.is_over = True
        if mine.error is not None:
            raise mine.error


class _Round:
    """Those who are served by one call."""

    __slots__ = ("error", "is_over")

    def __init__(self) -> None:
        self.is_over = False
        self.error: OSError | None = None
