"""What `shadow reconcile` and `shadow backfill` print."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from rich.console import Console
from rich.table import Table

from shadow.domain.home import Home
from shadow.index_test.reconciliation import DayReconciled
from shadow.wiring.archives import backfill_site, reconcile_site
from shadow.wiring.trial import open_trial


def run_reconcile(home: Home, site: str, days: tuple[date, ...] | None, console: Console) -> int:
    """Ask, and print a line a day; exit 1 where the archive did not answer for one of them."""
    found = reconcile_site(open_trial(home), site, days)
    if not found:
        console.print("None of these days lies within the index window.")
        return 0
    table = Table("Day", "Listed", "Newly on record", "Too young", "Not here", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for one in found:
        counts = (one.listed, one.admitted, one.unsettled, one.absent) if one.asked else ("no answer", "", "", "")
        table.add_row(one.day.isoformat(), *map(str, counts))
    console.print(table)
    answered = [one for one in found if one.asked]
    if answered:
        console.print(_summary(site, answered))
    if len(answered) < len(found):
        console.print(f"{len(found) - len(answered)} days have no answer: nobody knows what did not reach us on them.")
    return 0 if len(answered) == len(found) else 1


def _summary(site: str, answered: Sequence[DayReconciled]) -> str:
    """What never came, also where an earlier run put it on record; a repeated question must not look healthy."""
    absent, missing = sum(one.absent for one in answered), sum(one.missing for one in answered)
    sentences = [
        f"{absent} studies of these {len(answered)} days of {site} are not here now.",
        f"{missing} are newly on record as never having reached us; each study is put on record once.",
    ]
    unsettled, unusable = (sum(getattr(one, name) for one in answered) for name in ("unsettled", "unusable"))
    if unsettled:
        sentences.append(f"{unsettled} may still be on their way (settle_hours) and are asked about again.")
    if unusable:
        sentences.append(f"{unusable} are listed without a usable Study Instance UID: nobody knows if they are here.")
    return " ".join(sentences)


def run_backfill(home: Home, site: str, days: tuple[date, ...], console: Console) -> int:
    """Fetch, and print a line a study; exit 1 where one of them, or a day's list, could not be had."""
    failed, silent, studies, asked = 0, 0, 0, 0
    for one in backfill_site(open_trial(home), site, days):
        if not one.study_key:
            silent += 1
            console.print(f"{one.day.isoformat()}  no answer: {one.failure}", soft_wrap=True)
        elif one.failure:
            failed += 1
            console.print(f"{one.study_key}  not fetched: {one.failure}", soft_wrap=True)
        elif one.instances is None:
            asked += 1
            console.print(f"{one.study_key}  asked the archive to send it to the receiver")
        else:
            studies += 1
            of = "" if one.listed is None else f"; the archive lists {one.listed}"
            console.print(f"{one.study_key}  {one.instances} instances were not here and are fetched{of}")
    console.print(f"{studies} studies fetched for {site}. The mirror takes them up within seconds.")
    if asked:
        console.print(f"{asked} studies are sent by the archive; `shadow reconcile {site}` tells whether they came.")
    if failed or silent:
        console.print(
            f"{failed} studies could not be fetched, {silent} days have no answer. What was fetched is here; run the "
            "command again for the rest."
        )
    return 1 if failed or silent else 0
