"""The processes that receive, each run until it is told to stop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from shadow.domain.errors import ConfigurationError
from shadow.domain.home import Home
from shadow.protocol.deployment import ReportListener
from shadow.wiring.trial import Trial, open_trial

if TYPE_CHECKING:
    from shadow.index_test.early_start import EarlyStart

READY = "ready"


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
            _early_start(trial),
        )


def _early_start(trial: Trial) -> EarlyStart | None:
    """What tells that a study holds the series that the models need; None where the protocol waits for whole studies.

    Raises:
        ConfigurationError: the models do not take the slices of one CT or MR series.
    """
    from shadow.index_test.early_start import EarlyStart
    from shadow.index_test.model import InputKind

    if trial.protocol.series.start_after_quiet_seconds is None:
        return None
    modalities = {InputKind.AXIAL_SLICES: "CT", InputKind.MR_SLICES: "MR"}
    found = {modalities.get(trial.model(one.identifier)[1].input.kind, "") for one in trial.protocol.run_here}
    if len(found) != 1 or "" in found:
        remedy = "needs models that all take slices of CT, or all of MR; leave it out"
        raise ConfigurationError("trial file", "series.start_after_quiet_seconds", remedy)
    return EarlyStart(trial.protocol.series, found.pop())


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


def run_fhir(home: Home, ready: Callable[[], None]) -> None:
    """Ask FHIR servers, and listen for those that send by themselves, until told to stop.

    Raises:
        ConfigurationError: the deployment names neither.
    """
    from shadow.adapters import fhir_process
    from shadow.adapters.fhir_poll import FhirPoller
    from shadow.adapters.mutual_tls import server_context
    from shadow.reference_standard.report_files import JOURNAL
    from shadow.store.journal import JournalWriter

    trial = open_trial(home)
    deployment, file = trial.deployment, str(home.configuration / "deployment.toml")
    sites = tuple(one.identifier for one in trial.sites)
    if not deployment.speaks_fhir:
        raise ConfigurationError(file, "fhir_servers", "names none, and there is no fhir_listener; write one of them")

    def pollers(inbox: fhir_process.FhirInbox) -> dict[str, list[FhirPoller]]:
        found: dict[str, list[FhirPoller]] = {}
        for number, one in enumerate(deployment.fhir_servers):
            mark = home.fhir / f"{one.site}-{number}.mark"
            keep = partial(inbox.keep, one.site)
            found.setdefault(one.site, []).append(
                FhirPoller(one, home.root, mark, trial.protocol.index_window_start, keep)
            )
        return found

    listener = None
    if deployment.fhir_listener is not None:
        settings = deployment.fhir_listener
        tls = server_context(settings.tls, home.root, "fhir_listener.tls") if settings.tls else None
        listener = (settings, home.root / settings.token_file, tls)

    def said() -> None:
        (home.fhir / READY).touch()
        ready()

    with JournalWriter(home.fhir / JOURNAL, trial.journal_key()) as journal:
        fhir_process.run_fhir(journal, trial.clock, pollers, listener, sites, said)
