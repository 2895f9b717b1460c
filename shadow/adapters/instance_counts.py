"""How many instances an archive has of a study, asked beside the mirror's thread and never waited for.

An archive that does not answer, or does not know the study, delays nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue

from shadow.domain.errors import ShadowError
from shadow.index_test.archive import Archive
from shadow.index_test.arrival import uids_of_file

log = logging.getLogger(__name__)

SECONDS_BETWEEN_QUESTIONS = 30.0
SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_OF_SILENCE = 60.0
STUDIES_REMEMBERED = 10_000


@dataclass(slots=True)
class _Answer:
    count: int | None
    asked_at: float
    pending: bool


class InstanceCounts:
    """Asks the archives, one question at a time, in its own thread.

    Args:
        archives: by calling AE title.
    """

    def __init__(self, archives: Mapping[str, Archive]) -> None:
        self._archives = dict(archives)
        self._answers: dict[str, _Answer] = {}
        self._silent_until: dict[str, float] = {}
        # No SimpleQueue: see MirrorWorker.
        self._questions: Queue[tuple[str, Path, str]] = Queue()

    def lacks(self, study_key: str, path: Path, calling_ae_title: str, here: int) -> bool:
        """Whether the study's archive has, or may have, more instances than are here."""
        if calling_ae_title not in self._archives:
            return False
        answer = self._answers.get(study_key)
        now = time.monotonic()
        if answer is None or (not answer.pending and now - answer.asked_at > SECONDS_BETWEEN_QUESTIONS):
            if len(self._answers) > STUDIES_REMEMBERED:
                self._answers.clear()
            known = answer.count if answer else None
            self._answers[study_key] = _Answer(known, now, pending=True)
            self._questions.put((study_key, path, calling_ae_title))
            return answer is None or (known or 0) > here
        if answer.pending and answer.count is None:
            return True
        return (answer.count or 0) > here

    def ask_until(self, stopping: threading.Event) -> None:
        """Ask what there is to ask until told to stop."""
        while not stopping.is_set():
            try:
                study_key, path, title = self._questions.get(timeout=SECONDS_BETWEEN_LOOKS)
            except Empty:
                continue
            self._answers[study_key] = _Answer(self._count(path, title), time.monotonic(), pending=False)

    def _count(self, path: Path, title: str) -> int:
        """What the archive says; 0 where it does not, and for a while after it did not."""
        if time.monotonic() < self._silent_until.get(title, 0.0):
            return 0
        try:
            return self._archives[title].instance_count(uids_of_file(path)[1]) or 0
        except (ShadowError, OSError) as error:
            log.warning("instance_count_unknown", extra={"error": type(error).__name__})
            self._silent_until[title] = time.monotonic() + SECONDS_OF_SILENCE
            return 0
