"""What could not be linked, and a person's word on it."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from shadow.domain.errors import LinkageRefused
from shadow.domain.project import sql
from shadow.store.events import LinkCorrected, LinkOf
from shadow.wiring.trial import Trial

_IDENTIFYING = re.compile(r"\d{4,}|\^|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}")
"""What looks like an identifier, a name as HL7 writes it, or a date."""


@dataclass(frozen=True, slots=True)
class UnmatchedReport:
    """A report whose accession no study has, with a study that may be meant, or None.

    Attributes:
        report_accession, study_accession: keyed pseudonyms. versions: of the report. status: of its latest version.
    """

    site: str
    report_accession: str
    versions: int
    status: str
    reported_at: datetime
    study_accession: str | None
    scanner: str | None
    acquired_at: datetime | None


def unmatched_reports(trial: Trial) -> list[UnmatchedReport]:
    """Every report without a study, as the ledger stands now, once for each study that may be meant."""
    from shadow.assessment.linkage import link
    from shadow.store.lake import Lake

    with trial.open_ledger() as ledger:
        lake = Lake(trial.home.lake)
        lake.export(ledger)
    with closing(lake.connect()) as connection:
        link(connection, trial.protocol)
        rows = connection.execute(sql("queries/linkage/unmatched_report.sql")).fetchall()
    return [UnmatchedReport(*row) for row in rows]


def correct_link(
    trial: Trial, what: LinkOf, from_key: str, to_key: str, *, actor: str, reason: str, active: bool = True
) -> None:
    """Put a person's word on record: what stands under one key belongs to another. `active=False` takes it back.

    Raises:
        LinkageRefused: a key is not on record, both are the same, or the reason is empty or holds an identifier.
    """
    letter = "A" if what is LinkOf.ACCESSION else "P"
    if from_key == to_key:
        raise LinkageRefused("both keys are the same; name the key that is wrong first, then the right one")
    for key in (from_key, to_key):
        if not key.startswith(letter) or len(key) != 21:
            name = "an accession" if what is LinkOf.ACCESSION else "a patient"
            raise LinkageRefused(f"'{key}' is no key of {name}; copy one that `shadow linkage list` prints")
    if not reason.strip():
        raise LinkageRefused("the reason is empty; write why, without a name or number of a patient")
    if _IDENTIFYING.search(reason):
        raise LinkageRefused("the reason holds a number or a name; it stays on record, so write it without")
    with trial.open_ledger() as ledger:
        now = trial.clock.now()
        ledger.append(
            [
                LinkCorrected(
                    what=what,
                    site=_site_of(trial, from_key, to_key),
                    from_key=from_key,
                    to_key=to_key,
                    active=active,
                    source="person",
                    actor=actor,
                    reason=reason.strip(),
                    origin=now.isoformat(),
                    known_at=now,
                )
            ]
        )


def _site_of(trial: Trial, from_key: str, to_key: str) -> str:
    """The site under which one of the keys is on record."""
    from shadow.store.lake import Lake

    with trial.open_ledger() as ledger:
        lake = Lake(trial.home.lake)
        lake.export(ledger)
    with closing(lake.connect()) as connection:
        rows = connection.execute(sql("queries/linkage/key_site.sql"), {"one": from_key, "other": to_key}).fetchall()
    sites = dict(rows)
    missing = [key for key in (from_key, to_key) if key not in sites]
    if missing:
        raise LinkageRefused(f"{' and '.join(missing)}: not on record; copy keys that `shadow linkage list` prints")
    return str(sites[from_key])
