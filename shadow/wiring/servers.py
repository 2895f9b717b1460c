"""The processes that receive, each run until it is told to stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from shadow.domain.home import Home
from shadow.protocol.deployment import ReportListener
from shadow.wiring.trial import Trial, open_trial


def run_mirror(home: Home, ready: Callable[[], None]) -> None:
    """Receive studies until told to stop."""
    from shadow.adapters import dicom_scp
    from shadow.wiring.archives import archives_that_count

    trial = open_trial(home)
    with trial.open_ledger() as ledger:
        dicom_scp.run_mirror(
            trial.deployment.receiver,
            home,
            trial.sites,
            trial.pseudonymiser(),
            trial.clock,
            ledger.append,
            ready,
            archives_that_count(trial),
        )


def run_report_listener(home: Home, ready: Callable[[], None]) -> None:
    """Receive HL7 messages until told to stop."""
    trial = open_trial(home)
    _listen(trial, "reports", trial.deployment.reports, home.journal, ready)


def run_vendor_result_listener(home: Home, ready: Callable[[], None]) -> None:
    """Receive results of vendors' products until told to stop."""
    trial = open_trial(home)
    _listen(trial, "vendor_results", trial.deployment.vendor_results, home.vendor / "journal", ready)


def _listen(trial: Trial, table: str, settings: ReportListener, journal: Path, ready: Callable[[], None]) -> None:
    from shadow.adapters import mllp
    from shadow.adapters.mutual_tls import server_context

    tls = server_context(settings.tls, trial.home.root, f"{table}.tls") if settings.tls else None
    mllp.run_report_listener(settings, journal, trial.clock, ready, key=trial.journal_key(), tls=tls)
