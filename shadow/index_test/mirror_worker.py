"""Feeds the mirror from the receiver's reports, in one thread, and never passes one over."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from queue import Empty, Queue

from shadow.domain.errors import StoreError
from shadow.index_test.arrival import Arrival, AssociationRejected, InstanceRefused, InstanceShed, Report
from shadow.index_test.mirror import ACTOR, Mirror
from shadow.store.events import Audited, Event

log = logging.getLogger(__name__)

SECONDS_UNTIL_NEXT_ATTEMPT = 1.0
SECONDS_TO_GATHER_REPORTS = 0.05
SECONDS_BETWEEN_SHED_ENTRIES = 10.0
SECONDS_BETWEEN_LOOKS_AT_THE_SPOOL = 3.0
TITLES_RECORDED_A_DAY = 100


class MirrorWorker:
    """Sorts what has arrived, then closes what is complete; `work` is called for ever.

    Where the disk or the ledger refuses one step, the others go on and that step is tried again.

    Args:
        mirror: sorts and closes; what an earlier process left is taken up at once.
        inbox: the receiver's reports. Not a `SimpleQueue`: a signal in the last moment of its timeout makes it wait
            for ever (CPython 3.11 takes what is left, then negative, for no limit).
        record: appends events durably.
    """

    def __init__(self, mirror: Mirror, inbox: Queue[Report], record: Callable[[Sequence[Event]], object]) -> None:
        self._mirror = mirror
        self._inbox = inbox
        self._record = record
        self._recorded: set[tuple[str, str, str]] = set()
        self._unfinished: list[Report] = list(mirror.recover())
        self._look_at = time.monotonic() + SECONDS_BETWEEN_LOOKS_AT_THE_SPOOL
        self._shed: Counter[str] = Counter()
        self._shed_since = 0.0

    def work(self, timeout: float) -> None:
        """Take every report there is, waiting up to `timeout` seconds for the first, then close studies."""
        refused = False
        waiting: set[Report] = set()
        unfinished, self._unfinished = self._unfinished, []
        for report in (*unfinished, *self._reported(0.0 if unfinished else timeout)):
            if report in waiting:
                continue  # a peer repeats itself, and a ledger that is away may take long to say so
            try:
                self._take(report)
            except (OSError, StoreError) as error:
                log.error("sorting_waits", extra={"error": type(error).__name__})
                self._unfinished.append(report)
                waiting.add(report)
                refused = True
        if time.monotonic() >= self._look_at and self._inbox.empty():
            # What is reported knows its association, which holds its study open: it must be taken by its report.
            refused |= not self._look_at_the_spool()
        refused |= not self._record_shed()
        due = self._mirror.due(time.monotonic())
        # An association that was just found closed has reported all it carried: if reports are waiting, its
        # last one may be among them and is taken first.
        for study_key in due if self._inbox.empty() else ():
            try:
                self._close(study_key)
            except (OSError, StoreError) as error:
                log.error("closing_waits", extra={"study_key": study_key, "error": type(error).__name__})
                refused = True
        if refused:
            time.sleep(SECONDS_UNTIL_NEXT_ATTEMPT)

    def _reported(self, timeout: float) -> Iterator[Report]:
        while True:
            try:
                report = self._inbox.get(timeout=timeout)
            except Empty:
                return
            if timeout:
                # Woken for each instance, this thread would take the receiver's turn a thousand times a second.
                time.sleep(SECONDS_TO_GATHER_REPORTS)
            yield report
            timeout = 0.0

    def _look_at_the_spool(self) -> bool:
        """Take up what nobody reported; false where the disk refused."""
        self._look_at = time.monotonic() + SECONDS_BETWEEN_LOOKS_AT_THE_SPOOL
        known = _files(self._unfinished)
        try:
            old = self._mirror.unreported(SECONDS_BETWEEN_LOOKS_AT_THE_SPOOL)
        except OSError as error:
            log.error("looking_waits", extra={"error": type(error).__name__})
            return False
        self._unfinished += [one for one in old if one.file not in known]
        return True

    def _take(self, report: Report) -> None:
        if isinstance(report, Arrival):
            self._mirror.sort(report)
        elif isinstance(report, InstanceShed):
            self._shed_since = self._shed_since or time.monotonic()
            self._shed[report.calling_ae_title] += 1
        elif isinstance(report, InstanceRefused):
            self._mirror.count_refused(report)
        else:
            self._record_rejection(report)

    def _close(self, study_key: str) -> None:
        manifest = self._mirror.close(study_key)
        counts = {"revision": manifest.revision, "instances": len(manifest.instances)}
        log.info("study_closed", extra={"study_key": study_key, **counts})

    def finish(self) -> None:
        """Put on record what is counted but not yet recorded; what was acknowledged lies in the spool anyway."""
        self._record_shed(at_once=True)

    def _record_shed(self, *, at_once: bool = False) -> bool:
        """One entry a title and ten seconds: a full disk sheds thousands. False where the ledger refused."""
        waited = time.monotonic() - self._shed_since
        if not self._shed or (waited < SECONDS_BETWEEN_SHED_ENTRIES and not at_once):
            return True
        now = datetime.now(UTC)
        entries: list[Event] = []
        for title, count in self._shed.items():
            digest = hashlib.sha256(title.encode()).hexdigest()
            detail = f"instances={count} on_full=shed"
            log.error("protocol_deviation_instances_shed", extra={"instances": count})
            entries.append(Audited(f"shed:{digest[:16]}:{now.isoformat()}", ACTOR, "instances_shed", digest, detail))
        try:
            self._record(entries)
        except (OSError, StoreError) as error:
            log.error("recording_waits", extra={"error": type(error).__name__})
            return False
        self._shed.clear()
        self._shed_since = 0.0
        return True

    def _record_rejection(self, rejected: AssociationRejected) -> None:
        """One entry a title, reason and day: a peer that knocks for ever does not fill the ledger."""
        log.warning("association_rejected", extra={"reason": rejected.reason})
        day = datetime.now(UTC).date().isoformat()
        self._recorded = {one for one in self._recorded if one[0] == day}
        full = len(self._recorded) >= TITLES_RECORDED_A_DAY
        entry = (day, rejected.reason, "other titles" if full else rejected.calling_ae_title)
        if entry in self._recorded:
            return
        digest = hashlib.sha256(entry[2].encode()).hexdigest()
        identifier = f"association:{digest[:16]}:{rejected.reason}:{day}"
        self._record([Audited(identifier, ACTOR, "association_rejected", digest, rejected.reason)])
        self._recorded.add(entry)


def _files(reports: Sequence[Report]) -> frozenset[str]:
    return frozenset(one.file for one in reports if isinstance(one, Arrival))
