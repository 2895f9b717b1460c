"""Messages in quarantine, for the command that lists and replays them."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from shadow.reference_standard.quarantine import Quarantined, Replayed, quarantined, replay
from shadow.reference_standard.reception import reception_of
from shadow.store.blobs import Blobs
from shadow.store.journal import JournalReader
from shadow.store.keys import read_key_file
from shadow.wiring.trial import Trial


def quarantined_messages(trial: Trial) -> list[Quarantined]:
    """The messages of the report feed that are in quarantine."""
    with trial.open_ledger() as ledger:
        return quarantined(ledger)


def replay_messages(trial: Trial, wanted: Collection[str], actor: str) -> Iterator[Replayed]:
    """Read them again from the journal, by today's site files and rules.

    Raises:
        StoreError, OSError: the ledger or a disk refused; replay again.
    """
    blobs = Blobs(trial.home.blobs, read_key_file(trial.home.secrets / "blobs.key"))
    reception = reception_of(trial.protocol, trial.sites, trial.pseudonymiser(), blobs)
    reader = JournalReader(trial.home.journal, trial.journal_key())
    with trial.open_ledger() as ledger:
        yield from replay(reader, ledger, reception, wanted, actor)
