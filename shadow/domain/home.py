"""The folder in which one trial lives, and where each thing lies in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """One trial's folder. Nothing outside it is written."""

    root: Path

    @property
    def configuration(self) -> Path:
        """Copies of the registered trial and site files, and deployment.toml."""
        return self.root / "configuration"

    @property
    def secrets(self) -> Path:
        """Key files, readable by the owner alone (0700)."""
        return self.root / "secrets"

    @property
    def clock(self) -> Path:
        """The rehearsal's clock; absent in a hospital."""
        return self.root / "clock.json"

    @property
    def ledger(self) -> Path:
        """The SQLite ledger, unless the deployment names a server."""
        return self.root / "ledger.db"

    @property
    def vault(self) -> Path:
        """Encrypted identities."""
        return self.root / "vault.db"

    @property
    def lake(self) -> Path:
        """Parquet parts and their manifest: rebuilt from the ledger at will."""
        return self.root / "lake"

    @property
    def blobs(self) -> Path:
        """Encrypted report texts by digest."""
        return self.root / "blobs"

    @property
    def spool(self) -> Path:
        """DICOM instances as they came: arrived/, studies/, quarantine/."""
        return self.root / "spool"

    @property
    def journal(self) -> Path:
        """HL7 messages as they came."""
        return self.root / "journal"

    @property
    def report_files(self) -> Path:
        """Reports that come as files: incoming/<site>/, and journal/ once they are taken in."""
        return self.root / "reports"

    @property
    def fhir(self) -> Path:
        """What FHIR servers sent: journal/, and how far each was asked."""
        return self.root / "fhir"

    @property
    def vendor(self) -> Path:
        """Results of vendors' products: journal/ as messages came, incoming/ and done/ for tables."""
        return self.root / "vendor"

    @property
    def studies(self) -> Path:
        """De-identified study revisions: <study_key>/r<revision>/."""
        return self.root / "studies"

    @property
    def queues(self) -> Path:
        """Work that is ready: admission/, model-<identifier>/, reports/."""
        return self.root / "queues"

    @property
    def snapshots(self) -> Path:
        """Published snapshots, and the pointer to the newest."""
        return self.root / "snapshots"

    @property
    def accounts(self) -> Path:
        """The dashboard's accounts and sessions."""
        return self.root / "accounts.db"

    @property
    def airflow(self) -> Path:
        """Airflow's own folder."""
        return self.root / "airflow"

    @property
    def postgres(self) -> Path:
        """The private PostgreSQL that holds Airflow's metadata."""
        return self.root / "postgres"

    @property
    def logs(self) -> Path:
        """One log a process."""
        return self.root / "logs"
