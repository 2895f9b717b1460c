"""`shadow label agreement`: the label rules beside the second labeller and beside coded findings, as counts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from rich.console import Console
from rich.table import Table

from shadow.assessment.label_agreement import ReaderPair, reader_pairs
from shadow.assessment.linkage import link
from shadow.assessment.statistics.agreement import Coefficient
from shadow.domain.home import Home
from shadow.store.lake import Lake
from shadow.wiring.trial import open_trial


def label_agreement(home: Home, console: Console) -> None:
    """Bring the lake up to the ledger and print how far the readers of the first final reports agree.

    Raises:
        ConfigurationError: no trial is registered in the folder.
        StoreError: the ledger or the lake refused.
    """
    trial = open_trial(home)
    lake = Lake(home.lake)
    with trial.open_ledger() as ledger:
        lake.export(ledger)
    with closing(lake.connect()) as connection:
        link(connection, trial.protocol)
        print_agreement(reader_pairs(connection), console)


def print_agreement(pairs: Sequence[ReaderPair], console: Console) -> None:
    """One row a pair; kappa alone misleads where a condition is rare, so AC1 stands beside it."""
    if not pairs:
        console.print("No first final report was read by two readers yet.")
        return
    table = Table("Condition", "Rule", "Other reader", "Both", "Rule only", "Other only", "Neither", "Kappa", "AC1")
    for one in pairs:
        found = one.agreement
        table.add_row(
            one.target_condition,
            one.first_reader,
            one.second_reader,
            *(str(count) for count in (one.both, one.first_only, one.second_only, one.neither)),
            *(("-", "-") if found is None else (_shown(found.kappa), _shown(found.ac1))),
        )
    console.print(table)


def _shown(found: Coefficient) -> str:
    if found.value is None:
        return "-"
    if found.limits is None:
        return f"{found.value:.2f}"
    return f"{found.value:.2f} ({found.limits.lower:.2f} to {found.limits.upper:.2f})"
