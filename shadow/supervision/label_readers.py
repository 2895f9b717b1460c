"""`shadow label agreement` and `shadow label mentions`: who reads the reports alike, and which were not blind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import duckdb
from rich.console import Console
from rich.table import Table

from shadow.assessment.label_agreement import ReaderPair, reader_pairs
from shadow.assessment.linkage import link
from shadow.assessment.statistics.agreement import Coefficient
from shadow.domain.home import Home
from shadow.domain.project import sql
from shadow.store.lake import Lake
from shadow.wiring.trial import open_trial


def label_agreement(home: Home, console: Console) -> None:
    """Bring the lake up to the ledger and print how far the readers of the first final reports agree.

    Raises:
        ConfigurationError: no trial is registered in the folder.
        StoreError: the ledger or the lake refused.
    """
    with _linked(home) as connection:
        print_agreement(reader_pairs(connection), console)


def model_mentions(home: Home, console: Console) -> None:
    """Print the studies whose reports mention the model or another AI, by their surrogate keys.

    Raises:
        ConfigurationError: no trial is registered in the folder.
        StoreError: the ledger or the lake refused.
    """
    with _linked(home) as connection:
        print_mentions(connection, console)


def print_mentions(connection: duckdb.DuckDBPyConnection, console: Console) -> None:
    """One row a study; `linkage.link` has run on `connection`."""
    rows = connection.execute(sql("queries/assessment/model_mentions.sql")).fetchall()
    if not rows:
        console.print("No report mentions the AI.")
        return
    table = Table("Study", "Site", "Acquired", "AI", "Report")
    for study_key, site, acquired_at, index_state, reference_state in rows:
        table.add_row(study_key, site, f"{acquired_at:%Y-%m-%d %H:%M}", index_state, reference_state)
    console.print(table)


@contextmanager
def _linked(home: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    trial = open_trial(home)
    lake = Lake(home.lake)
    with trial.open_ledger() as ledger:
        lake.export(ledger)
    with closing(lake.connect()) as connection:
        link(connection, trial.protocol)
        yield connection


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
