"""The processes that receive, each run until it is told to stop."""

from __future__ import annotations

from collections.abc import Callable

from shadow.domain.home import Home
from shadow.wiring.trial import open_trial


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
    from shadow.adapters import mllp

    trial = open_trial(home)
    mllp.run_report_listener(trial.deployment.reports, home.journal, trial.clock, ready)


def run_vendor_result_listener(home: Home, ready: Callable[[], None]) -> None:
    """Receive results of vendors' products until told to stop."""
    from shadow.adapters import mllp

    trial = open_trial(home)
    mllp.run_report_listener(trial.deployment.vendor_results, home.vendor / "journal", trial.clock, ready)
