"""Who reads what next, and the lock of each answer: two readers a study, then a third person where they differ.

Everybody goes through the same list in the same order and is told nothing of the others, so a person never knows
whether a study is theirs to read first, second, or to settle.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from shadow.store.events import AdjudicationRead, Audited, Kind
from shadow.store.ledger import Ledger

CLAIM_SECONDS = 1_800.0
OPENED = "images_opened"


class Answer(StrEnum):
    """What a reader says the images show."""

    PRESENT = "present"
    ABSENT = "absent"
    INDETERMINATE = "indeterminate"


class AlreadyRead(Exception):
    """Others have read the study meanwhile, or this person has: the answer is not needed and was not kept."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one person is: studies that they have read, and that are open to them now."""

    read: int
    open: int


@dataclass(slots=True)
class _Study:
    """The reads of one study so far, in the ledger's order."""

    readers: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    settled_by_arbiter: bool = False

    @property
    def needs_arbiter(self) -> bool:
        return len(self.answers) >= 2 and self.answers[0] != self.answers[1] and not self.settled_by_arbiter

    def is_open_to(self, reader: str) -> bool:
        return reader not in self.readers and (len(self.answers) < 2 or self.needs_arbiter)


class ReadingDesk:
    """The desk of one trial and condition; safe to use from several threads.

    Args:
        open_ledger: a ledger connection; closed after each use.
        target_condition: of the protocol.
        reading_list: the studies that may be read, in the order of reading.
        now: the trial's clock.
    """

    def __init__(
        self,
        open_ledger: Callable[[], Ledger],
        target_condition: str,
        reading_list: Callable[[], Sequence[str]],
        now: Callable[[], datetime],
    ) -> None:
        self._open_ledger = open_ledger
        self._condition = target_condition
        self._reading_list = reading_list
        self._now = now
        self._lock = threading.Lock()
        self._claims: dict[str, dict[str, float]] = {}

    def next_study(self, reader: str) -> str | None:
        """The study that this person reads next, claimed for them for half an hour; None where none is open.

        What they were given before and have not read comes first, so a page that is drawn again shows the same.
        """
        with self._lock, self._open_ledger() as ledger:
            listed = self._reading_list()
            studies = self._studies(ledger)
            open_to = [one for one in listed if studies.get(one, _Study()).is_open_to(reader)]
            self._forget_claims()
            held = next((one for one in open_to if reader in self._claims.get(one, {})), None)
            free = (one for one in open_to if self._has_room(one, studies.get(one, _Study())))
            chosen = held or next(free, None)
            if chosen is not None:
                self._claims.setdefault(chosen, {}).setdefault(reader, time.monotonic())
            return chosen

    def progress(self, reader: str) -> Progress:
        """How far this person is."""
        with self._open_ledger() as ledger:
            studies = self._studies(ledger)
        open_now = sum(studies.get(one, _Study()).is_open_to(reader) for one in self._reading_list())
        return Progress(sum(reader in one.readers for one in studies.values()), open_now)

    def opened(self, reader: str, study_key: str) -> None:
        """Put on record that this person was shown the images."""
        entry = Audited(f"{OPENED}:{study_key}:{reader}", reader, OPENED, study_key, "blinded reading")
        with self._open_ledger() as ledger:
            ledger.append([entry])

    def lock(self, reader: str, study_key: str, answer: Answer, copies_sha256: str) -> None:
        """Lock an answer; nobody can change it afterwards.

        Raises:
            AlreadyRead: this person has read the study, or two others who agree, or it is not on the list.
        """
        with self._lock, self._open_ledger() as ledger:
            study = self._studies(ledger).get(study_key, _Study())
            if study_key not in self._reading_list() or not study.is_open_to(reader):
                raise AlreadyRead
            ledger.append(
                [
                    AdjudicationRead(
                        study_key=study_key,
                        target_condition=self._condition,
                        reader=reader,
                        answer=answer.value,
                        arbiter=study.needs_arbiter,
                        copies_sha256=copies_sha256,
                        read_at=self._now(),
                    )
                ]
            )
            self._claims.pop(study_key, None)

    def _studies(self, ledger: Ledger) -> dict[str, _Study]:
        studies: dict[str, _Study] = {}
        for row in ledger.of_kind(Kind.ADJUDICATION):
            body = json.loads(row.body or "{}")
            if body.get("target_condition") != self._condition:
                continue
            study = studies.setdefault(row.subject, _Study())
            study.readers.append(body["reader"])
            if body["arbiter"]:
                study.settled_by_arbiter = True
            else:
                study.answers.append(body["answer"])
        return studies

    def _has_room(self, study_key: str, study: _Study) -> bool:
        """Whether those who hold the study now leave a read for one more."""
        wanted = 1 if study.needs_arbiter else 2 - len(study.answers)
        return len(self._claims.get(study_key, {})) < wanted

    def _forget_claims(self) -> None:
        end = time.monotonic() - CLAIM_SECONDS
        for study_key, holders in list(self._claims.items()):
            self._claims[study_key] = {reader: at for reader, at in holders.items() if at > end}
