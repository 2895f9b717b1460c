"""Opens a trial's folder, registers its protocol, and checks that both agree."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
from shadow.store.ledger import Ack, Ledger, Verification

CONTRACT = "model.toml"
READING = ("accession_issuer", "accession_rule", "time_zone", "default_character_set")
"""What of a site decides how its messages are read; sites that share a sender of them must agree on it."""


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

    def journal_key(self) -> bytes:
        """What encrypts the journals of messages; made on first use, for folders that are older than it."""
        return read_or_create_key_file(self.home.secrets / "journal.key")

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

    Args:
        trial_file: in a folder `trials` beside `sites`.
        home: the trial's folder.
        deployment_file: where this installation listens; None leaves the folder's own as it is.

    Raises:
        ConfigurationError: a file does not fit, or a model file is not the one the protocol names.
        LedgerConflict: this version is registered with other content.
    """
    protocol = read_trial(trial_file)
    site_files = [trial_file.parent.parent / "sites" / f"{site}.toml" for site in protocol.sites]
    _check_sites(protocol.sites, site_files)
    _check_label_rules(protocol, trial_file)
    event = TrialRegistered(
        trial=protocol.identifier,
        version=protocol.version,
        protocol_sha256=_sha256(trial_file),
        protocol_text=trial_file.read_text(encoding="utf-8"),
        sites=tuple(FileDigest(site, _sha256(path)) for site, path in zip(protocol.sites, site_files, strict=True)),
        models=tuple(
            one for model in protocol.models for one in _digests(trial_file, model, protocol.target_condition)
        ),
    )
    settings = deployment_file or home.configuration / "deployment.toml"  # a new version goes into the same ledger
    deployment = read_deployment(settings) if deployment_file or settings.exists() else Deployment()
    _check_peers(deployment, protocol.sites, settings)
    _prepare_folder(home)
    with Ledger(deployment.ledger_url or f"sqlite:///{home.ledger.absolute()}", protocol.identifier) as ledger:
        ledger.migrate()
        (ack,) = ledger.append([event])
    _copy(trial_file, home.configuration / "trials" / "trial.toml")
    for site, path in zip(protocol.sites, site_files, strict=True):
        _copy(path, home.configuration / "sites" / f"{site}.toml")
    for model in protocol.run_here:
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
    _check_peers(trial.deployment, protocol.sites, deployment_file)
    _check_registration(trial)
    return trial


def _check_registration(trial: Trial) -> None:
    with trial.open_ledger() as ledger:
        registered = ledger.find(Kind.TRIAL_PROTOCOL, trial.protocol.version)
    body = (registered.body if registered is not None else None) or "{}"
    digests = [trial.protocol_sha256] + [
        _sha256(trial.home.configuration / "sites" / f"{site.identifier}.toml") for site in trial.sites
    ]
    models = {one["identifier"] for one in json.loads(body).get("models", ())}
    digests += [
        _sha256(_trial_file(trial.home).parent / model.contract)
        for model in trial.protocol.run_here
        if f"{model.identifier}/{CONTRACT}" in models  # earlier registrations do not hold it
    ]
    if any(one not in body for one in digests):
        raise ConfigurationError(
            str(_trial_file(trial.home)),
            "version",
            "the trial, a site file or a model's contract was changed after registration; register a new version",
        )


def _trial_file(home: Home) -> Path:
    return home.configuration / "trials" / "trial.toml"


def _check_sites(identifiers: Sequence[str], files: Sequence[Path]) -> None:
    """Where studies come from must be one site alone; of messages, one way to read them: else the first gets it all."""
    senders: dict[str, str] = {}
    facilities: dict[str, tuple[str, dict[str, object]]] = {}
    for identifier, path in zip(identifiers, files, strict=True):
        site = read_site(path)
        if site.identifier != identifier:
            raise ConfigurationError(str(path), "identifier", f"must be '{identifier}', like the file's name")
        for title in site.calling_ae_titles:
            owner = senders.setdefault(title, identifier)
            if owner != identifier:
                remedy = f"'{title}' is {owner}'s too; have each site send under a title of its own"
                raise ConfigurationError(str(path), "calling_ae_titles", remedy)
        reading: dict[str, object] = {name: getattr(site, name) for name in READING}
        for facility in site.sending_facilities:
            owner, first = facilities.setdefault(facility, (identifier, reading))
            differs = [name for name in READING if first[name] != reading[name]]
            if differs:
                remedy = (
                    f"'{facility}' is {owner}'s too, with another {', '.join(differs)}; a message must be of one site"
                )
                raise ConfigurationError(str(path), "sending_facilities", remedy)


def _check_peers(deployment: Deployment, sites: Sequence[str], file: Path) -> None:
    """An archive or FHIR server of a site that is misspelt would never be asked, and nobody would notice."""
    named = [(f"archives[{number}]", one.site) for number, one in enumerate(deployment.archives)]
    named += [(f"fhir_servers[{number}]", one.site) for number, one in enumerate(deployment.fhir_servers)]
    for table, site in named:
        if site not in sites:
            remedy = f"the trial has no '{site}'; it has {', '.join(sites)}"
            raise ConfigurationError(str(file), f"{table}.site", remedy)


def _check_label_rules(protocol: TrialProtocol, file: Path) -> None:
    """A rule that is not there, or reads another condition, would be found at the first report: too late."""
    from shadow.reference_standard.reception import label_rules_of

    try:
        label_rules_of(protocol)
    except ConfigurationError as error:
        raise ConfigurationError(str(file), error.field, error.remedy) from error


def _digests(trial_file: Path, model: ModelUnderTrial, target_condition: str) -> tuple[FileDigest, ...]:
    """Of a product; or of a model's ONNX file and of its contract, which holds the threshold."""
    if not model.runs_here:
        return (FileDigest(model.identifier, model.digest),)
    contract = FileDigest(f"{model.identifier}/{CONTRACT}", _sha256(trial_file.parent / model.contract))
    return _checked_model(trial_file, model, target_condition), contract


def _checked_model(trial_file: Path, model: ModelUnderTrial, target_condition: str) -> FileDigest:
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
    if contract.identity.target_condition != target_condition:
        remedy = f"the contract's model looks for '{contract.identity.target_condition}', not for the target condition"
        raise ConfigurationError(str(trial_file), f"models.{model.identifier}", remedy)
    return FileDigest(model.identifier, model.sha256)


def _prepare_folder(home: Home) -> None:
    if home.root.exists() and not home.root.is_dir():
        raise ConfigurationError(str(home.root), "--home", "is a file; give the trial a folder")
    for folder in (
        home.root, home.configuration, home.secrets, home.spool, home.journal, home.studies,
        home.queues, home.snapshots, home.lake, home.blobs, home.logs,
    ):  # fmt: skip
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("site.key", "vault.key", "blobs.key", "journal.key"):
        read_or_create_key_file(home.secrets / name)


def _copy(source: Path, target: Path) -> None:
    if source.resolve() != target.resolve():
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError as error:
        raise ConfigurationError(str(path), "file", "is gone; put it back as it was registered") from error


def verify_ledger(home: Home) -> Verification:
    """Walk the hash chain of the folder's ledger from its first event to its head."""
    with open_trial(home).open_ledger() as ledger:
        return ledger.verify()
