"""The private PostgreSQL that holds Airflow's metadata: one folder, one Unix socket, no TCP port.

Who may connect is decided by the operating system (peer authentication): the user who runs the trial, and
nobody else. PostgreSQL refuses to run as root, so under root it runs as the system's `postgres` user.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from shadow.domain.errors import SetupError
from shadow.domain.home import Home
from shadow.supervision.processes import Command, OperatingSystemUser, run_to_end

ROLE = "shadow"
UNPRIVILEGED_USER = "postgres"
LONGEST_SOCKET_PATH = 107  # sun_path of unix(7), less its closing zero
SOCKET_NAME = ".s.PGSQL.5432"
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2

SERVER_SETTINGS = (
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "max_connections=100",
    "shared_buffers=64MB",
    "wal_level=minimal",
    "max_wal_senders=0",
    "jit=off",
    "log_min_messages=warning",
    "log_min_error_statement=panic",
    "log_statement=none",
)


@dataclass(frozen=True, slots=True)
class Programs:
    """Where PostgreSQL's programs lie, and their major version."""

    folder: Path
    major: int

    def path(self, name: str) -> str:
        """One program."""
        return str(self.folder / name)


def find_programs(search_path: str | None = None, system: Path = Path("/usr/lib/postgresql")) -> Programs:
    """PostgreSQL's programs: those on the PATH, else the newest that the system's packages brought.

    Raises:
        SetupError: there are none.
    """
    on_path = shutil.which("postgres", path=search_path)
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(system.glob("*/bin"), key=lambda folder: -_number(folder.parent.name))
    for folder in folders:
        if all((folder / name).is_file() for name in ("postgres", "initdb")):
            shown = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False)
            if found := re.search(r"(\d+)", shown.stdout):
                return Programs(folder, int(found.group(1)))
    raise SetupError(
        "PostgreSQL's server programs (initdb, postgres) are missing: install the package `postgresql`, "
        "or put the folder that holds them on the PATH"
    )


class PrivatePostgres:
    """The server of one trial's folder."""

    def __init__(self, home: Home, programs: Programs, environment: Mapping[str, str]) -> None:
        self._folder = home.postgres
        self._log = home.logs / "postgres.log"
        self._programs = programs
        self._environment = environment
        self._user = server_user(home.postgres)
        self.data = home.postgres / "data"
        self.socket = socket_folder(home.postgres)

    def prepare(self, stopping: Callable[[], bool]) -> None:
        """Make the data folder once, and the socket's folder. A half-made data folder is made again.

        Raises:
            SetupError: initdb failed, or the data belong to another version of PostgreSQL.
        """
        self._own(self._folder)
        self._own(self.socket)
        if (self.data / "PG_VERSION").is_file():
            made_by = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
            if made_by != str(self._programs.major):
                raise SetupError(
                    f"{self.data} was made by PostgreSQL {made_by}, but {self._programs.folder} is version "
                    f"{self._programs.major}: install PostgreSQL {made_by} again, or move the folder away "
                    "(Airflow's run history is in it, no result of the trial)"
                )
            return
        unfinished = self._folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._own(unfinished)
        self._run_initdb(unfinished, stopping)
        self._write_access_rules(unfinished)
        unfinished.rename(self.data)

    def command(self) -> Command:
        """How to run the server. SIGINT is PostgreSQL's quick and clean way to stop."""
        settings = (*SERVER_SETTINGS, f"unix_socket_directories={self.socket}")
        arguments = [self._programs.path("postgres"), "-D", str(self.data)]
        arguments += [part for setting in settings for part in ("-c", setting)]
        return Command(
            "postgres",
            tuple(arguments),
            self._environment,
            self.ready,
            signal.SIGINT,
            self._user,
            leaves=2,
        )

    def ready(self, started_at: float = 0.0) -> bool:
        """Whether the server answers; `started_at` is not needed: a dead server's socket answers nobody."""
        del started_at
        try:
            with self._connection("postgres"):
                return True
        except psycopg.OperationalError:
            return False

    def create_database(self, name: str) -> None:
        """Create a database unless it is there."""
        with self._connection("postgres") as connection:
            known = connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone()
            if known is None:
                connection.execute(psycopg.sql.SQL("create database {}").format(psycopg.sql.Identifier(name)))

    def single_value(self, database: str, statement: psycopg.sql.SQL) -> str | None:
        """The one value that a statement returns, or None when its table is not there or empty."""
        try:
            with self._connection(database) as connection:
                row = connection.execute(statement).fetchone()
        except psycopg.errors.UndefinedTable:
            return None
        return None if row is None else str(row[0])

    def url(self, database: str) -> str:
        """SQLAlchemy's address of a database, by the driver that Airflow asks for."""
        return f"postgresql+psycopg2://{ROLE}@/{database}?host={quote(str(self.socket), safe='/')}"

    @contextlib.contextmanager
    def _connection(self, database: str):  # type: ignore[no-untyped-def]
        connection = psycopg.connect(
            host=str(self.socket), user=ROLE, dbname=database, connect_timeout=2, autocommit=True
        )
        with contextlib.closing(connection):
            yield connection

    def _own(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = self._user.user if self._user is not None else os.getuid()
        if folder.stat().st_uid != owner:
            if os.getuid() != 0:
                raise SetupError(f"{folder} belongs to another user: remove it, or run as that user")
            os.chown(folder, owner, self._user.group if self._user is not None else os.getgid())
        folder.chmod(0o700)

    def _run_initdb(self, folder: Path, stopping: Callable[[], bool]) -> None:
        arguments = (
            self._programs.path("initdb"), "-D", str(folder), "-U", ROLE, "-E", "UTF8", "--locale=C",
            "--auth-local=peer", "--auth-host=reject",
        )  # fmt: skip
        command = Command("initdb", arguments, self._environment, lambda _: True, user=self._user)
        if run_to_end(command, self._log, stopping, timeout_seconds=120.0) != 0 and not stopping():
            raise SetupError(f"PostgreSQL could not make its data folder; {self._log} says why")

    def _write_access_rules(self, folder: Path) -> None:
        name = pwd.getpwuid(os.getuid()).pw_name
        (folder / "pg_hba.conf").write_text("local all all peer map=trial\n", encoding="utf-8")
        (folder / "pg_ident.conf").write_text(f'trial "{name}" {ROLE}\n', encoding="utf-8")
        if self._user is not None:
            for rules in ("pg_hba.conf", "pg_ident.conf"):
                os.chown(folder / rules, self._user.user, self._user.group)


def server_user(folder: Path) -> OperatingSystemUser | None:
    """Who the server runs as: ourselves, or under root the `postgres` user.

    Where that user could not reach the trial's folder (it lies below a folder of root's own), it keeps one
    capability: to pass folders.

    Raises:
        SetupError: under root, when there is no such user.
    """
    if os.getuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(UNPRIVILEGED_USER)
    except KeyError as error:
        raise SetupError(
            "PostgreSQL refuses to run as root and there is no user `postgres`: install the package "
            "`postgresql`, or run Shadow as an ordinary user"
        ) from error
    closed = [parent for parent in folder.absolute().parents if parent.exists() and not parent.stat().st_mode & 0o001]
    if not closed:
        return OperatingSystemUser(entry.pw_uid, entry.pw_gid)
    for capability in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE):
        if _may_pass_on(capability):
            return OperatingSystemUser(entry.pw_uid, entry.pw_gid, capability)
    raise SetupError(
        f"PostgreSQL runs as the user `postgres`, who may not pass {closed[0]}: move the trial's folder, or "
        "run Shadow as an ordinary user"
    )


def socket_folder(folder: Path) -> Path:
    """Where the socket lies: in the trial's folder, or where that is too long in one named after it."""
    inside = folder.absolute() / "socket"
    if len(os.fsencode(inside / SOCKET_NAME)) <= LONGEST_SOCKET_PATH and "," not in str(inside):
        return inside
    key = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"shadow-{key}"


def _may_pass_on(capability: int) -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"^CapPrm:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return found is not None and bool(int(found.group(1), 16) >> capability & 1)


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
