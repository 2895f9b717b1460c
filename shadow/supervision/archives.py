"""What `shadow reconcile` and `shadow backfill` print."""

from __future__ import annotations

from datetime import date

from rich.console import Console
from rich.table import Table

from shadow.domain.errors import ArchiveUnavailable
from shadow.domain.home import Home
from shadow.wiring.archives import backfill_site, reconcile_site
from shadow.wiring.trial import open_trial


def run_reconcile(home: Home, site: str, days: tuple[date, ...] | None, console: Console) -> int:
    """Ask, and print a line a day; exit 1 where the archive did not answer for one of them."""
    found = reconcile_site(open_trial(home), site, days)
    table = Table("Day", "Listed", "Admitted, new", "Not here", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for one in found:
        if one.asked:
            table.add_row(one.day.isoformat(), str(one.listed), str(one.admitted), str(one.missing))
        else:
            table.add_row(one.day.isoformat(), "no answer", "", "")
    console.print(table)
    answered = [one for one in found if one.asked]
    if not found:
        console.print("None of these days lies within the index window.")
    if answered:
        console.print(
            f"{sum(one.missing for one in answered)} studies never reached us in {len(answered)} days of {site}. "
            "Each study is listed once; asking again shows what is new."
        )
    if len(answered) < len(found):
        console.print(f"{len(found) - len(answered)} days have no answer: nobody knows what did not reach us on them.")
    return 0 if all(one.asked for one in found) else 1


def run_backfill(home: Home, site: str, days: tuple[date, ...], console: Console) -> int:
    """Fetch, and print a line a study; exit 1 where the archive gave up in between."""
    studies = 0
    try:
        for study_key, instances in backfill_site(open_trial(home), site, days):
            studies += 1
            sent = f"{instances} instances" if instances else "asked the archive to send it to the receiver"
            console.print(f"{study_key}  {sent}")
    except ArchiveUnavailable as error:
        console.print(f"Stopped: {error}. What was fetched before is here; run the command again.")
        return 1
    console.print(f"{studies} studies fetched for {site}. The mirror takes them up within seconds.")
    return 0
