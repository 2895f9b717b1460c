"""The deployment file: where this installation listens and how long its machines wait. Nothing clinical."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from shadow.protocol.network import check_ae_title, check_limits, check_networks, check_port
from shadow.protocol.reader import read_toml

LOOPBACK = "127.0.0.1"
LEDGERS = ("postgresql+psycopg://", "sqlite:///")


class OnFull(StrEnum):
    """What a sender is told where the disk is full."""

    REFUSE = "refuse"
    SHED = "shed"


class Implementation(StrEnum):
    """How C-STORE is received."""

    STREAMING = "streaming"
    STOCK = "stock"


@dataclass(frozen=True, slots=True)
class Tls:
    """Mutual TLS by PS3.15 B.9 (BCP 195). Files are PEM; paths are absolute, or relative to the trial's folder.

    Attributes:
        certificate, key: ours.
        client_authorities: who signs the certificates of those who may connect.
    """

    certificate: str
    key: str
    client_authorities: str


@dataclass(frozen=True, slots=True)
class CommitmentPeer:
    """A router that asks for storage commitment, and where it hears the answer; with `tls` by our certificate."""

    ae_title: str
    host: str
    port: int
    tls: bool = False

    def __post_init__(self) -> None:
        check_ae_title("ae_title", self.ae_title)
        check_port(self.port)


@dataclass(frozen=True, slots=True)
class Receiver:
    """The C-STORE SCP.

    Attributes:
        maximum_associations: more are rejected as transient, so that routers try again.
        idle_seconds: an association that is silent for so long is aborted.
        allowed_addresses: networks such as `10.1.2.0/24` that may connect; empty lets any.
        implementation: `streaming`, or `stock` for pynetdicom's own handling.
        processes: receiver processes on the port; more than one where a core is not enough.
        on_full: `refuse` answers 0xA700; `shed` answers success and drops the object, counted as a deviation
            from the protocol, for routers that have one queue for all destinations.
        tls: None where the network itself is trusted.
        commitment_peers: who may ask for storage commitment.
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
    idle_seconds: float = 60.0
    allowed_addresses: tuple[str, ...] = ()
    implementation: Implementation = Implementation.STREAMING
    processes: int = 1
    on_full: OnFull = OnFull.REFUSE
    tls: Tls | None = None
    commitment_peers: tuple[CommitmentPeer, ...] = ()

    @property
    def share(self) -> Receiver:
        """What one of its processes may take of the associations."""
        return replace(self, maximum_associations=-(-self.maximum_associations // self.processes))

    def __post_init__(self) -> None:
        check_ae_title("ae_title", self.ae_title)
        check_port(self.port)
        check_networks(self.allowed_addresses)
        check_limits(
            {
                "maximum_associations": self.maximum_associations,
                "idle_seconds": self.idle_seconds,
                "maximum_object_bytes": self.maximum_object_bytes,
            },
            {"quiet_period_seconds": self.quiet_period_seconds, "minimum_free_bytes": self.minimum_free_bytes},
        )
        if self.processes < 1 or (self.processes > 1 and self.port == 0):
            raise ValueError("processes: must be at least 1, and more than one need a port")


class Retrieve(StrEnum):
    """How a study is fetched from an archive."""

    C_GET = "c-get"
    C_MOVE = "c-move"
    WADO = "wado"


@dataclass(frozen=True, slots=True)
class ArchivePeer:
    """A router or PACS that is asked what it had for the trial, and fetched from where someone orders it.

    Attributes:
        site: the site whose studies it has.
        ae_title, host, port: of its query/retrieve service; empty where only DICOMweb is used.
        tls: whether that service speaks TLS; the receiver's certificate is ours.
        url: base of its DICOMweb service, for example `https://pacs.example/dicom-web`; empty where DIMSE is used.
        token_file: a file with a bearer token for DICOMweb; empty sends none. It is read for each question.
        authorities: a PEM file of those who sign the DICOMweb server's certificate; empty trusts the usual ones.
        retrieve: `c-get` and `wado` fetch on a connection of ours; `c-move` asks it to send to our receiver.
        settle_hours: a study younger than this may still be on its way, and is asked about the next night.
        lookback_days: how far back each night asks.
        ask_instance_count: whether a study that has gone quiet waits until it holds as many instances as this
            archive says it has. It only ever delays, until the cap.
    """

    site: str
    ae_title: str = ""
    host: str = LOOPBACK
    port: int = 104
    tls: bool = False
    url: str = ""
    token_file: str = ""
    authorities: str = ""
    retrieve: Retrieve = Retrieve.C_GET
    settle_hours: float = 12.0
    lookback_days: int = 7
    ask_instance_count: bool = False

    def __post_init__(self) -> None:
        if not self.ae_title and not self.url:
            raise ValueError("ae_title: is missing; name a query/retrieve service, or a DICOMweb url")
        if self.ae_title:
            check_ae_title("ae_title", self.ae_title)
        check_port(self.port)
        check_limits({}, {"settle_hours": self.settle_hours, "lookback_days": self.lookback_days})
        if self.url and not self.url.startswith(("http://", "https://")):
            raise ValueError("url: must begin with http:// or https://")
        if self.retrieve is Retrieve.WADO and not self.url:
            raise ValueError("retrieve: wado needs a url")
        if self.retrieve is not Retrieve.WADO and not self.ae_title:
            raise ValueError(f"retrieve: {self.retrieve} needs an ae_title; DICOMweb fetches by wado")


@dataclass(frozen=True, slots=True)
class ReportListener:
    """The MLLP listener.

    Attributes:
        maximum_message_bytes: a longer message is refused with AR.
        idle_seconds: a connection that is silent for so long is closed.
        allowed_addresses: networks such as `10.1.2.0/24` that may connect; empty lets any.
        tls: None where the network itself is trusted.
    """

    host: str = LOOPBACK
    port: int = 2575
    maximum_message_bytes: int = 64 << 20
    idle_seconds: float = 600.0
    allowed_addresses: tuple[str, ...] = ()
    tls: Tls | None = None

    def __post_init__(self) -> None:
        check_port(self.port)
        check_networks(self.allowed_addresses)
        check_limits({"maximum_message_bytes": self.maximum_message_bytes, "idle_seconds": self.idle_seconds})


@dataclass(frozen=True, slots=True)
class FhirServer:
    """A FHIR server (R4 or R5) that is asked for new DiagnosticReports.

    Attributes:
        site: whose reports it has.
        url: its base, for example `https://fhir.example/r4`.
        token_file: a file with a bearer token; empty sends none.
        authorities: a PEM file of those who sign the server's certificate; empty trusts the system's.
        category: asked for alone, such as `http://terminology.hl7.org/CodeSystem/v2-0074|RAD`; empty asks for all.
        includes: what comes along with a report; a server that refuses one of them wants a shorter list.
        poll_seconds: between two questions.
        resources_a_page: how many it is asked to send at once.
        overlap_seconds: each question goes so far back before the newest report seen: servers index late.
    """

    site: str
    url: str
    token_file: str = ""
    authorities: str = ""
    category: str = ""
    includes: tuple[str, ...] = ("based-on", "subject", "result")
    poll_seconds: float = 60.0
    resources_a_page: int = 100
    overlap_seconds: float = 300.0

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError("url: must begin with http:// or https://")
        if self.poll_seconds < 1 or self.resources_a_page < 1 or self.overlap_seconds < 0:
            raise ValueError("poll_seconds, resources_a_page: must be at least 1; overlap_seconds: at least 0")


@dataclass(frozen=True, slots=True)
class FhirListener:
    """Where FHIR servers send reports by themselves (REST hook): `/<site>` and what they add to it.

    Attributes:
        token_file: a file with the bearer token that they must send.
        maximum_body_bytes: a larger body is refused with 413.
        allowed_addresses: networks that may connect; empty lets any.
        tls: None where the network itself is trusted.
    """

    token_file: str
    host: str = LOOPBACK
    port: int = 8090
    maximum_body_bytes: int = 16 << 20
    allowed_addresses: tuple[str, ...] = ()
    tls: Tls | None = None

    def __post_init__(self) -> None:
        check_port(self.port)
        check_networks(self.allowed_addresses)
        check_limits({"maximum_body_bytes": self.maximum_body_bytes})


@dataclass(frozen=True, slots=True)
class VendorResultListener(ReportListener):
    """The MLLP listener for results of vendors' products; it runs where the protocol names one that sends HL7."""

    port: int = 2576


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The Streamlit server."""

    host: str = LOOPBACK
    port: int = 8501

    def __post_init__(self) -> None:
        check_port(self.port)


@dataclass(frozen=True, slots=True)
class Scheduler:
    """Airflow's API server, and how long its lanes stay warm."""

    host: str = LOOPBACK
    port: int = 8080
    linger_seconds: float = 20.0
    budget_seconds: float = 240.0
    snapshot_interval_seconds: float = 60.0

    def __post_init__(self) -> None:
        check_port(self.port)


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
    archives: tuple[ArchivePeer, ...] = ()
    fhir_servers: tuple[FhirServer, ...] = ()
    fhir_listener: FhirListener | None = None

    @property
    def speaks_fhir(self) -> bool:
        """Whether a process for FHIR has something to do."""
        return bool(self.fhir_servers) or self.fhir_listener is not None

    def __post_init__(self) -> None:
        if self.ledger_url and not self.ledger_url.startswith(LEDGERS):  # the url may hold a password: it is not shown
            raise ValueError(f"ledger_url: must begin with {' or '.join(LEDGERS)}")
        if len({one.url for one in self.fhir_servers}) != len(self.fhir_servers):
            raise ValueError("fhir_servers: two of them have the same url")
        if len({one.site for one in self.archives}) != len(self.archives):
            raise ValueError("archives: two of them have the same site")
        if self.receiver.tls is None and any(
            [*(one.tls for one in self.archives), *(one.tls for one in self.receiver.commitment_peers)]
        ):
            raise ValueError("receiver.tls: is missing; a peer that speaks TLS needs a certificate of ours")


def read_deployment(path: Path) -> Deployment:
    """Read the deployment file.

    Raises:
        ConfigurationError: naming file, field and remedy.
    """
    return read_toml(path, Deployment)
