"""Messages in quarantine, for the command that lists and replays them."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from shadow.reference_standard.quarantine import Quarantined, Replayed, quarantined, replay, replay_files
from shadow.reference_standard.reception import reception_of
from shadow.reference_standard.report_files import JOURNAL
from shadow.store.blobs import Blobs
from shadow.store.journal import JournalReader
from shadow.store.keys import read_key_file
from shadow.wiring.trial import Trial


def quarantined_messages(trial: Trial) -> list[Quarantined]:
    """The messages of the report feed that are in quarantine."""
    with trial.open_ledger() as ledger:
        return quarantined(ledger)


def replay_messages(trial: Trial, wanted: Collection[str], actor: str) -> Iterator[Replayed]:
    """Read them again from their journals, by today's site files and rules.

    Raises:
        StoreError, OSError: the ledger or a disk refused; replay again.
    """
    blobs = Blobs(trial.home.blobs, read_key_file(trial.home.secrets / "blobs.key"))
    reception = reception_of(trial.protocol, trial.sites, trial.pseudonymiser(), blobs)
    key, left = trial.journal_key(), set(wanted)
    with trial.open_ledger() as ledger:
        for journal, read in (
            (trial.home.journal, replay),
            (trial.home.report_files / JOURNAL, replay_files),
            (trial.home.fhir / JOURNAL, replay_files),
        ):
            for one in read(JournalReader(journal, key), ledger, reception, left.copy(), actor):
                left.discard(one.sha256)
                yield one
    for digest in sorted(left):
        yield Replayed(digest, 0, "not_in_a_journal")
