"""Final report versions in the ledger to labels of the second labeller; what it cannot read is counted, and passed.

It runs behind the reports, never before them: versions and labels of the rule are in the ledger by then.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shadow.domain.errors import LabellerFailed
from shadow.reference_standard.label import LabelState
from shadow.store.blobs import Blobs
from shadow.store.durable import write_durably
from shadow.store.events import Audited, Event, Kind, LabelRead
from shadow.store.ledger import Ledger

FAILED = "second_labeller_failed"
CURSOR = "second_labeller.cursor"
PASS_SECONDS = 60.0
_FAILURES_IN_A_ROW = 3
_ROWS = 500
_LOGGER = logging.getLogger("shadow.reports")


def read_again(
    ledger: Ledger,
    blobs: Blobs,
    read: Callable[[str], LabelState],
    *,
    rule: str,
    target_condition: str,
    cursor: Path,
    pass_seconds: float = PASS_SECONDS,
) -> int:
    """Have the second labeller read the final versions that it has not read; returns how many were asked about.

    Ends after `pass_seconds`, or when it fails three times in a row: the next pass goes on behind those. The cursor
    may be deleted: what was read or has failed is found in the ledger.

    Args:
        ledger: it names the versions, and takes the labels.
        blobs: the texts.
        read: the text's state. It raises LabellerFailed.
        rule: what stands as the rule in its labels.
        target_condition: what it is asked about.
        cursor: a file with the ledger position up to which everything was read.
        pass_seconds: no report is asked about after so long.

    Raises:
        StoreError, OSError: the ledger or a disk refused; nothing is lost, read again.
    """
    ends = time.monotonic() + pass_seconds
    position, asked, failures = _position(cursor, rule), 0, 0
    while rows := ledger.since(position, _ROWS):
        for row in rows:
            if row.kind == Kind.REPORT_VERSION.value and row.body is not None:
                version = json.loads(row.body)
                if version["final"] and not _done(ledger, version, rule, target_condition):
                    if failures == _FAILURES_IN_A_ROW or time.monotonic() >= ends:
                        _move(cursor, rule, position)
                        return asked
                    event = _reading(version, blobs, read, rule, target_condition)
                    ledger.append_new([event])
                    failures = failures + 1 if isinstance(event, Audited) else 0
                    asked += 1
            position = row.seq
    _move(cursor, rule, position)
    return asked


def _reading(
    version: dict[str, Any], blobs: Blobs, read: Callable[[str], LabelState], rule: str, target_condition: str
) -> Event:
    try:
        state = read(blobs.get(version["text_sha256"]).decode("utf-8"))
    except LabellerFailed as failed:
        _LOGGER.warning("second labeller failed reason=%s", failed.reason)
        return Audited(_failure(version, rule), "reports", FAILED, version["report_key"], failed.reason)
    return LabelRead(version["report_key"], version["accession_key"], target_condition, state.value, rule, ())


def _failure(version: dict[str, Any], rule: str) -> str:
    return f"{rule}:{version['report_key']}"


def _done(ledger: Ledger, version: dict[str, Any], rule: str, target_condition: str) -> bool:
    label = LabelRead(version["report_key"], version["accession_key"], target_condition, "", rule, ())
    return bool(ledger.known(Kind.LABEL, [label.key]) or ledger.known(Kind.AUDIT, [_failure(version, rule)]))


def _position(cursor: Path, rule: str) -> int:
    """Another labeller begins at the first event."""
    try:
        content = json.loads(cursor.read_bytes())
        return int(content["seq"]) if content["rule"] == rule else 0
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0


def _move(cursor: Path, rule: str, position: int) -> None:
    write_durably(cursor, json.dumps({"rule": rule, "seq": position}).encode())
