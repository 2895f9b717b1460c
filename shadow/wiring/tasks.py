"""The bodies of Airflow tasks that drain a lane."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from shadow.adapters.library_logs import silence_libraries
from shadow.domain.errors import ConfigurationError
from shadow.domain.home import Home
from shadow.store.keys import read_key_file, read_or_create_key_file
from shadow.store.queue import WorkQueue
from shadow.wiring.trial import Trial, open_trial

HOME_VARIABLE = "SHADOW_HOME"
REPORTS_A_DRAIN = 500


def task_trial() -> Trial:
    """The trial that an Airflow task works for; the libraries that read DICOM say nothing to the scheduler's logs.

    Raises:
        ConfigurationError: SHADOW_HOME is not set.
    """
    root = os.environ.get(HOME_VARIABLE)
    if not root:
        raise ConfigurationError("environment", HOME_VARIABLE, "must name the trial's folder")
    silence_libraries()
    return open_trial(Home(Path(root)))


def model_identifiers() -> list[str]:
    """The models that are run here: one lane each."""
    return [model.identifier for model in task_trial().protocol.run_here]


def drain_admissions() -> int:
    """Admit every closed study that is ready, and linger for more."""
    from shadow.index_test.intake import drain_admissions as admit_ready_studies
    from shadow.store.vault import Vault

    trial = task_trial()
    vault = Vault(trial.home.vault, read_key_file(trial.home.secrets / "vault.key"))
    with trial.open_ledger() as ledger:
        return admit_ready_studies(
            home=trial.home,
            ledger=ledger,
            vault=vault,
            sites=trial.sites,
            protocol=trial.protocol,
            pseudonymiser=trial.pseudonymiser(),
            linger_seconds=trial.deployment.scheduler.linger_seconds,
            budget_seconds=trial.deployment.scheduler.budget_seconds,
            stop=_stopping(trial.home),
        )


def drain_model(model: str) -> int:
    """Run one model over every admitted study that is ready, and linger for more."""
    from shadow.adapters.onnx_session import OnnxSession
    from shadow.index_test.infer import drain_model as run_lane
    from shadow.index_test.intake import QUEUE, model_queue

    trial = task_trial()
    _, contract = trial.model(model)
    with trial.open_ledger() as ledger:
        return run_lane(
            queue=model_queue(trial.home, model),
            admissions=WorkQueue(trial.home.queues / QUEUE),
            ledger=ledger,
            studies_folder=trial.home.studies,
            contract=contract,
            session_factory=OnnxSession,
            protocol=trial.protocol,
            linger_seconds=trial.deployment.scheduler.linger_seconds,
            budget_seconds=trial.deployment.scheduler.budget_seconds,
            stop=_stopping(trial.home),
        )


def drain_reports() -> int:
    """Turn received messages into report versions and labels, or quarantine them, and linger for more."""
    from shadow.adapters.second_labeller import second_labeller
    from shadow.reference_standard.reception import reception_of
    from shadow.reference_standard.report_files import JOURNAL, drain_files, take_files
    from shadow.reference_standard.report_journal import drain_reports as receive_ready_reports
    from shadow.reference_standard.second_reading import CURSOR, read_again
    from shadow.store.blobs import Blobs
    from shadow.store.linger import drain_until_quiet

    trial = task_trial()
    blobs = Blobs(trial.home.blobs, read_key_file(trial.home.secrets / "blobs.key"))
    reception = reception_of(trial.protocol, trial.sites, trial.pseudonymiser(), blobs)
    key, labeller = trial.journal_key(), trial.protocol.reference.second_labeller
    with trial.open_ledger() as ledger:

        def drain() -> int:
            drained = receive_ready_reports(
                journal=trial.home.journal,
                ledger=ledger,
                blobs=blobs,
                sites=trial.sites,
                pseudonymiser=trial.pseudonymiser(),
                protocol=trial.protocol,
                limit=REPORTS_A_DRAIN,
                journal_key=key,
            )
            take_files(trial.home.report_files, key, trial.sites, trial.clock.now)
            files = sum(
                drain_files(folder / JOURNAL, key, ledger, reception)
                for folder in (trial.home.report_files, trial.home.fhir)
            )
            if labeller is not None:
                read_again(
                    ledger,
                    blobs,
                    second_labeller(labeller),
                    rule=labeller.rule,
                    target_condition=trial.protocol.target_condition,
                    cursor=trial.home.journal / CURSOR,
                )
            return drained.messages + files

        return drain_until_quiet(
            drain,
            linger_seconds=trial.deployment.scheduler.linger_seconds,
            budget_seconds=trial.deployment.scheduler.budget_seconds,
            stop=_stopping(trial.home),
        )


def drain_vendor_results() -> int:
    """Lock the results of vendors' products that have come in, and linger for more."""
    from shadow.index_test.vendor_results import VendorReception, drain_messages, drain_tables
    from shadow.store.linger import drain_until_quiet

    trial = task_trial()
    reception = VendorReception(trial.protocol.vendors, trial.sites, trial.pseudonymiser())
    folder = trial.home.vendor
    with trial.open_ledger() as ledger:
        return drain_until_quiet(
            lambda: (
                drain_messages(folder / "journal", ledger, reception, trial.journal_key())
                + drain_tables(folder, ledger, reception, trial.clock.now)
            ),
            linger_seconds=trial.deployment.scheduler.linger_seconds,
            budget_seconds=trial.deployment.scheduler.budget_seconds,
            stop=_stopping(trial.home),
        )


def work_waiting(home: Home) -> int:
    """Items that some task still has to take up: unsorted files, open studies, ready queues, unread messages."""
    from shadow.index_test.vendor_results import CURSOR as VENDOR_CURSOR
    from shadow.reference_standard.report_files import FILE_SUFFIXES, JOURNAL
    from shadow.reference_standard.report_journal import CURSOR
    from shadow.store.journal import Cursor, JournalReader

    queues = [WorkQueue(folder) for folder in sorted(home.queues.iterdir()) if folder.is_dir()]
    spooled = [path for folder in ("arrived/*/*.dcm", "open/*") for path in home.spool.glob(folder)]
    key = read_or_create_key_file(home.secrets / "journal.key")
    unread = JournalReader(home.journal, key).read(Cursor(home.journal / CURSOR).read(), 1)
    results = home.vendor / "journal"
    unread += JournalReader(results, key).read(Cursor(results / VENDOR_CURSOR).read(), 1)
    for journal in (home.report_files / JOURNAL, home.fhir / JOURNAL):
        unread += JournalReader(journal, key).read(Cursor(journal / CURSOR).read(), 1)
    unread_tables = list((home.vendor / "incoming").glob("*/*/[!.]*.csv"))
    unread_tables += [path for path in (home.report_files / "incoming").glob("*/[!.]*") if path.suffix in FILE_SUFFIXES]
    return len(spooled) + sum(len(queue.ready()) for queue in queues) + len(unread) + len(unread_tables)


def _stopping(home: Home) -> Callable[[], bool]:
    """Whether the supervisor asks the lanes to leave: it writes a file before it stops the scheduler."""
    flag = home.root / "stopping"
    return flag.exists
