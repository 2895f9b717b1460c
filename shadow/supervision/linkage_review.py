"""`shadow linkage`: shows what could not be linked, and takes a person's word."""

from __future__ import annotations

import getpass
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from shadow.domain.home import Home
from shadow.store.events import LinkOf
from shadow.wiring.linking import correct_link, unmatched_reports
from shadow.wiring.trial import open_trial


def list_unmatched(home: Home, console: Console) -> int:
    """Print every report without a study. Exit code 0 where there is none, else 1."""
    found = unmatched_reports(open_trial(home))
    if not found:
        console.print("Every report has its study.")
        return 0
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("Site", "Report without a study", "Study that may be meant"):
        table.add_column(name, overflow="fold")  # keys are typed again: they must be whole
    for one in found:
        study = one.study_accession or "none of this patient"
        table.add_row(
            one.site,
            f"{one.report_accession}\n{one.status} ({one.versions}) {_instant(one.reported_at)}",
            f"{study}\n{one.scanner or ''} {_instant(one.acquired_at)}".rstrip(),
        )
    console.print(table)
    reports = len({one.report_accession for one in found})
    console.print(
        f"{reports} of the reports have no study. Where you know better: "
        "shadow linkage resolve REPORT_ACCESSION STUDY_ACCESSION --reason WHY"
    )
    return 1


def resolve(home: Home, what: str, keys: tuple[str, str], reason: str, console: Console, *, active: bool) -> int:
    """Record a person's word; the operating system's account is the actor."""
    correct_link(open_trial(home), LinkOf(what), *keys, actor=getpass.getuser(), reason=reason, active=active)
    word = "now stands for" if active else "no longer stands for"
    console.print(f"{keys[0]} {word} {keys[1]}. The next assessment counts it so.", highlight=False)
    return 0


def _instant(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M}"
