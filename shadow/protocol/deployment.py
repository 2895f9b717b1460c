"""The deployment file: where this installation listens and how long its machines wait. Nothing clinical."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from shadow.protocol.reader import read_toml

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Receiver:
    """The C-STORE SCP.

    Attributes:
        quiet_period_seconds: real seconds without a new instance, and without an association that carried
            one, after which a study revision closes.
        minimum_free_bytes: below this much free space new objects are refused with 0xA700.
        maximum_object_bytes: larger objects are refused.
    """

    ae_title: str = "SHADOW"
    host: str = LOOPBACK
    port: int = 11112
    maximum_associations: int = 32
    quiet_period_seconds: float = 60.0
    minimum_free_bytes: int = 1 << 30
    maximum_object_bytes: int = 1 << 31


@dataclass(frozen=True, slots=True)
class ReportListener:
    """The MLLP listener."""

    host: str = LOOPBACK
    port: int = 2575
    maximum_message_bytes: int = 64 << 20
    idle_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class VendorResultListener(ReportListener):
    """The MLLP listener for results of vendors' products; it runs where the protocol names one that sends HL7."""

    port: int = 2576


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The Streamlit server."""

    host: str = LOOPBACK
    port: int = 8501


@dataclass(frozen=True, slots=True)
class Scheduler:
    """Airflow's API server, and how long its lanes stay warm."""

    host: str = LOOPBACK
    port: int = 8080
    linger_seconds: float = 20.0
    budget_seconds: float = 240.0
    snapshot_interval_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Notifications:
    """Whom to tell that a group alarmed; nobody until it is written down. Informatics, never a treating team.

    Attributes:
        webhook_url: gets `{"subject", "text"}` by POST; http or https.
        mail_host, mail_port, mail_starttls: the site's mail relay. mail_from, mail_to: addresses.
    """

    webhook_url: str = ""
    mail_host: str = LOOPBACK
    mail_port: int = 25
    mail_starttls: bool = False
    mail_from: str = ""
    mail_to: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.webhook_url and not self.webhook_url.startswith(("http://", "https://")):
            raise ValueError("webhook_url: must begin with http:// or https://")
        if self.mail_to and not self.mail_from:
            raise ValueError("mail_from: is missing; write the address that messages come from")


@dataclass(frozen=True, slots=True)
class Deployment:
    """One installation. `ledger_url` empty means SQLite in the home folder."""

    ledger_url: str = ""
    receiver: Receiver = field(default_factory=Receiver)
    reports: ReportListener = field(default_factory=ReportListener)
    vendor_results: VendorResultListener = field(default_factory=VendorResultListener)
    dashboard: Dashboard = field(default_factory=Dashboard)
    scheduler: Scheduler = field(default_factory=Scheduler)
    notifications: Notifications = field(default_factory=Notifications)


def read_deployment(path: Path) -> Deployment:
    """Read the deployment file.

    Raises:
        ConfigurationError: naming file, field and remedy.
    """
    return read_toml(path, Deployment)
