"""The only module that knows every room: it opens a trial's folder and hands each stage what it needs.

Functions with a `Home` are called by the command line; the others are the bodies of Airflow tasks, which find
the folder in the environment variable SHADOW_HOME. A stage is imported where it is used: a lane starts in a second
where it loads no other stage.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from shadow.assessment.snapshot import Published, read_current
from shadow.domain.clock import Clock, read_clock
from shadow.domain.errors import ConfigurationError, ModelContractError
from shadow.domain.home import Home
from shadow.domain.identifiers import Pseudonymiser
from shadow.index_test.model import ModelContract, read_model_contract
from shadow.protocol.deployment import Deployment, read_deployment
from shadow.protocol.site import Site, read_site
from shadow.protocol.trial import ModelUnderTrial, TrialProtocol, read_trial
from shadow.store.events import FileDigest, Kind, TrialRegistered
from shadow.store.keys import read_key_file, read_or_create_key_file
from shadow.store.ledger import Ack, Head, Ledger, Verification
from shadow.store.queue import WorkQueue

HOME_VARIABLE = "SHADOW_HOME"
REPORTS_A_DRAIN = 500


@dataclass(frozen=True, slots=True)
class Trial:
    """One registered trial, read from its folder and checked against its registration."""

    home: Home
    protocol: TrialProtocol
    protocol_sha256: str
    sites: tuple[Site, ...]
    deployment: Deployment
    clock: Clock

    @property
    def ledger_url(self) -> str:
        """Where the ledger is: the deployment's server, else SQLite in the folder."""
        return self.deployment.ledger_url or f"sqlite:///{self.home.ledger.absolute()}"

    def open_ledger(self) -> Ledger:
        """A ledger connection of this process; close it."""
        return Ledger(self.ledger_url, self.protocol.identifier)

    def pseudonymiser(self) -> Pseudonymiser:
        """The trial's keyed pseudonyms."""
        return Pseudonymiser(read_key_file(self.home.secrets / "site.key"))

    def model(self, identifier: str) -> tuple[ModelUnderTrial, ModelContract]:
        """A model under trial and its contract, checked against the digest the protocol names.

        Raises:
            ModelContractError: the ONNX file is not the one that was registered.
        """
        model = next(one for one in self.protocol.models if one.identifier == identifier)
        contract = read_model_contract(_trial_file(self.home).parent / model.contract)
        if contract.sha256 != model.sha256:
            raise ModelContractError(f"{identifier}: the contract names another ONNX file than the protocol")
        return model, contract


def register_trial(trial_file: Path, home: Home, deployment_file: Path | None = None) -> Ack:
    """Copy the trial, its sites and models into the folder and append the protocol to the ledger.

    Registering the same files again changes nothing. Other content under the same version is refused.

    Raises:
        ConfigurationError: a file does not fit, or a model file is not the one the protocol names.
        LedgerConflict: this version is registered with other content.
    """
    protocol = read_trial(trial_file)
    site_files = [trial_file.parent.parent / "sites" / f"{site}.toml" for site in protocol.sites]
    for site, path in zip(protocol.sites, site_files, strict=True):
        if read_site(path).identifier != site:
            raise ConfigurationError(str(path), "identifier", f"must be '{site}', like the file's name")
    event = TrialRegistered(
        trial=protocol.identifier,
        version=protocol.version,
        protocol_sha256=_sha256(trial_file),
        protocol_text=trial_file.read_text(encoding="utf-8"),
        sites=tuple(FileDigest(site, _sha256(path)) for site, path in zip(protocol.sites, site_files, strict=True)),
        models=tuple(_checked_model(trial_file, model) for model in protocol.models),
    )
    _prepare_folder(home)
    deployment = read_deployment(deployment_file) if deployment_file else Deployment()
    with Ledger(deployment.ledger_url or f"sqlite:///{home.ledger.absolute()}", protocol.identifier) as ledger:
        ledger.migrate()
        (ack,) = ledger.append([event])
    _copy(trial_file, home.configuration / "trials" / "trial.toml")
    for site, path in zip(protocol.sites, site_files, strict=True):
        _copy(path, home.configuration / "sites" / f"{site}.toml")
    for model in protocol.models:
        source = (trial_file.parent / model.contract).resolve().parent
        target = (home.configuration / "trials" / model.contract).resolve().parent
        shutil.copytree(source, target, dirs_exist_ok=True)
    if deployment_file:
        _copy(deployment_file, home.configuration / "deployment.toml")
    return ack


def open_trial(home: Home) -> Trial:
    """The registered trial of a folder.

    Raises:
        ConfigurationError: nothing is registered, or a file was changed after its registration.
    """
    trial_file = _trial_file(home)
    if not trial_file.exists():
        raise ConfigurationError(
            str(home.root), "trial", "no trial is registered here; run `shadow trial register FILE` first"
        )
    protocol = read_trial(trial_file)
    deployment_file = home.configuration / "deployment.toml"
    trial = Trial(
        home=home,
        protocol=protocol,
        protocol_sha256=_sha256(trial_file),
        sites=tuple(read_site(home.configuration / "sites" / f"{site}.toml") for site in protocol.sites),
        deployment=read_deployment(deployment_file) if deployment_file.exists() else Deployment(),
        clock=read_clock(home.clock),
    )
    _check_registration(trial)
    return trial


def _check_registration(trial: Trial) -> None:
    with trial.open_ledger() as ledger:
        registered = ledger.find(Kind.TRIAL_PROTOCOL, trial.protocol.version)
    digests = [trial.protocol_sha256] + [
        _sha256(trial.home.configuration / "sites" / f"{site.identifier}.toml") for site in trial.sites
    ]
    if registered is None or registered.body is None or any(one not in registered.body for one in digests):
        raise ConfigurationError(
            str(_trial_file(trial.home)),
            "version",
            "the trial or a site file was changed after registration; register a new version",
        )


def _trial_file(home: Home) -> Path:
    return home.configuration / "trials" / "trial.toml"


def _checked_model(trial_file: Path, model: ModelUnderTrial) -> FileDigest:
    contract = read_model_contract(trial_file.parent / model.contract)
    if contract.sha256 != model.sha256:
        raise ConfigurationError(
            str(trial_file),
            f"models.{model.identifier}.sha256",
            f"the contract's ONNX file has {contract.sha256}",
        )
    if contract.identifier != model.identifier:
        raise ConfigurationError(
            str(trial_file), f"models.{model.identifier}", f"the contract is of '{contract.identifier}'"
        )
    return FileDigest(model.identifier, model.sha256)


def _prepare_folder(home: Home) -> None:
    for folder in (
        home.root, home.configuration, home.secrets, home.spool, home.journal, home.studies,
        home.queues, home.snapshots, home.lake, home.blobs, home.logs,
    ):  # fmt: skip
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("site.key", "vault.key", "blobs.key"):
        read_or_create_key_file(home.secrets / name)


def _copy(source: Path, target: Path) -> None:
    if source.resolve() != target.resolve():
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def verify_ledger(home: Home) -> Verification:
    """Walk the hash chain of the folder's ledger from its first event to its head."""
    with open_trial(home).open_ledger() as ledger:
        return ledger.verify()


def run_mirror(home: Home, ready: Callable[[], None]) -> None:
    """Receive studies until told to stop."""
    from shadow.adapters import dicom_scp

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
        )


def run_report_listener(home: Home, ready: Callable[[], None]) -> None:
    """Receive HL7 messages until told to stop."""
    from shadow.adapters import mllp

    trial = open_trial(home)
    mllp.run_report_listener(trial.deployment.reports, home.journal, trial.clock, ready)


def task_trial() -> Trial:
    """The trial that an Airflow task works for.

    Raises:
        ConfigurationError: SHADOW_HOME is not set.
    """
    root = os.environ.get(HOME_VARIABLE)
    if not root:
        raise ConfigurationError("environment", HOME_VARIABLE, "must name the trial's folder")
    return open_trial(Home(Path(root)))


def model_identifiers() -> list[str]:
    """The models under trial: one lane each."""
    return [model.identifier for model in task_trial().protocol.models]


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
    from shadow.reference_standard.reception import drain_reports as receive_ready_reports
    from shadow.reference_standard.reception import receive_until_quiet
    from shadow.store.blobs import Blobs

    trial = task_trial()
    blobs = Blobs(trial.home.blobs, read_key_file(trial.home.secrets / "blobs.key"))
    with trial.open_ledger() as ledger:
        return receive_until_quiet(
            lambda: receive_ready_reports(
                journal=trial.home.journal,
                ledger=ledger,
                blobs=blobs,
                sites=trial.sites,
                pseudonymiser=trial.pseudonymiser(),
                protocol=trial.protocol,
                limit=REPORTS_A_DRAIN,
            ),
            linger_seconds=trial.deployment.scheduler.linger_seconds,
            budget_seconds=trial.deployment.scheduler.budget_seconds,
            stop=_stopping(trial.home),
        )


def publish_assessment() -> int:
    """Assess and publish where the ledger has moved since the newest snapshot. Returns how many."""
    return 0 if assess_trial(task_trial()) is None else 1


def assess_trial(trial: Trial) -> Published | None:
    """Export the ledger, assess, publish; None where nothing has happened since the newest snapshot."""
    from shadow.assessment.monitors import alarm_events, stream_of
    from shadow.assessment.publish import ModelAssessed, assess, publish
    from shadow.store.events import AssessmentPublished
    from shadow.store.lake import Lake

    with _one_at_a_time(trial.home.snapshots / ".lock"), trial.open_ledger() as ledger:
        head = ledger.head()
        newest = read_current(trial.home.snapshots)
        last = ledger.since(head.seq - 1)
        published_last = newest and last and last[0].kind == Kind.ASSESSMENT and last[0].key == newest.sha256
        if newest and published_last and newest.snapshot.ledger_seq == head.seq - 1:  # and nothing came meanwhile
            return None
        _, contract = trial.model(trial.protocol.champion.identifier)
        lake = Lake(trial.home.lake)
        lake.export(ledger)
        exported = lake.manifest()  # what is counted, not what was appended meanwhile, is what the snapshot speaks for
        with closing(lake.connect()) as connection:
            snapshot = assess(
                connection,
                protocol=trial.protocol,
                protocol_sha256=trial.protocol_sha256,
                sites=trial.sites,
                model=ModelAssessed(
                    contract.identifier,
                    contract.version,
                    contract.sha256,
                    contract.threshold,
                    contract.demonstration,
                ),
                head=Head(exported.upto, exported.upto_hash),
                data_until=trial.clock.now(),
            )
            published = publish(trial.home.snapshots, snapshot, connection)
        alarms = alarm_events(snapshot.monitoring, stream_of(trial.protocol, contract.threshold))
        known = ledger.known(Kind.ALARM, [one.key for one in alarms])
        ledger.append([one for one in alarms if one.key not in known])
        ledger.append([AssessmentPublished(published.sha256, snapshot.ledger_seq, snapshot.ledger_hash)])
        return published


def work_waiting(home: Home) -> int:
    """Items that some task still has to take up: unsorted files, open studies, ready queues, unread messages."""
    from shadow.reference_standard.reception import CURSOR
    from shadow.store.journal import Cursor, JournalReader

    queues = [WorkQueue(folder) for folder in sorted(home.queues.iterdir()) if folder.is_dir()]
    spooled = [path for folder in ("arrived/*/*.dcm", "open/*") for path in home.spool.glob(folder)]
    unread = JournalReader(home.journal).read(Cursor(home.journal / CURSOR).read(), 1)
    return len(spooled) + sum(len(queue.ready()) for queue in queues) + len(unread)


def _stopping(home: Home) -> Callable[[], bool]:
    """Whether the supervisor asks the lanes to leave: it writes a file before it stops the scheduler."""
    flag = home.root / "stopping"
    return flag.exists


@contextmanager
def _one_at_a_time(lock: Path) -> Iterator[None]:
    lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
