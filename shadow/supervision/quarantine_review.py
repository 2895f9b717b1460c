"""`shadow quarantine`: what of the report feed could not be used, and reading it again."""

from __future__ import annotations

import getpass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from shadow.domain.home import Home
from shadow.wiring.quarantine import quarantined_messages, replay_messages
from shadow.wiring.trial import open_trial


def list_quarantined(home: Home, console: Console) -> int:
    """Print digest, reason and time of each message, never its text. Exit code 0 where there is none, else 1."""
    found = quarantined_messages(open_trial(home))
    if not found:
        console.print("No message is in quarantine.")
        return 0
    table = Table("Message", "Reason", "Since (UTC)", box=SIMPLE_HEAD, pad_edge=False)
    for one in found:
        table.add_row(one.sha256[:16], one.reason, one.recorded_at[:16].replace("T", " "))
    console.print(table)
    console.print("Mend the cause (docs/reports.md names each), then: shadow quarantine replay MESSAGE, or --all")
    return 1


def replay_quarantined(home: Home, message: str, console: Console, *, everything: bool) -> int:
    """Read one message again, or all. Exit code 1 where one could not be used or none was meant."""
    trial = open_trial(home)
    waiting = [one.sha256 for one in quarantined_messages(trial)]
    wanted = [one for one in waiting if everything or (message and one.startswith(message))]
    if not wanted:
        console.print("No message in quarantine is meant; `shadow quarantine list` prints them.")
        return 1
    failed = 0
    for one in replay_messages(trial, wanted, getpass.getuser()):
        failed += bool(one.reason)
        word = f"still in quarantine: {one.reason}" if one.reason else "read"
        console.print(f"{one.sha256[:16]}  {word}", highlight=False)
    return 1 if failed else 0
