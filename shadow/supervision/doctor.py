"""What is wrong with a set-up, in plain words, before a study is lost to it."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import importlib.metadata
import importlib.util
import os
import resource
import shutil
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import psutil

from shadow.adapters.mutual_tls import server_context, valid_until
from shadow.domain.errors import SetupError
from shadow.domain.home import Home
from shadow.protocol.deployment import Deployment, Tls
from shadow.supervision.postgres import find_programs, server_user

OLDEST_SQLITE = (3, 51, 3)
OLDEST_PYTHON, FIRST_UNTESTED_PYTHON = (3, 11), (3, 14)
MEBIBYTE = 1 << 20
SMALLEST_MEMORY_BYTES = 3 << 30
FEWEST_OPEN_FILES = 1024
LARGEST_DRIFT_SECONDS = 2.0
UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)
OTHERS_MAY = 0o077
WARNED_BEFORE_A_CERTIFICATE_ENDS = timedelta(days=30)


class FindingState(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `remedy` is empty where nothing has to be done."""

    state: FindingState
    what: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on the disk is too full or too slow.

    The receiver refuses studies below `deployment.receiver.minimum_free_bytes`; a warning comes this much
    earlier. Each study costs a handful of durable writes: at 200 ms each an association times out.
    """

    scarce_bytes: int = 10 << 30
    slow_write_seconds: float = 0.02
    unusable_write_seconds: float = 0.2


def run_doctor(home: Home, deployment: Deployment, thresholds: Thresholds | None = None) -> tuple[Finding, ...]:
    """Look at the machine, the folder and the deployment; nothing is changed, nothing leaves the machine."""
    limits = thresholds or Thresholds()
    return (
        *_interpreter(),
        *_packages(),
        *_sqlite(),
        *_postgres(home),
        *_folder(home, deployment, limits),
        *_secrets(home),
        *_certificates(home, deployment),
        *_archives(home, deployment),
        *_clock(home),
        *_ports(home, deployment),
        *_resources(),
    )


def ports_of(deployment: Deployment) -> tuple[tuple[str, str, int], ...]:
    """What listens in this installation: purpose, host and port."""
    return (
        ("DICOM receiver", deployment.receiver.host, deployment.receiver.port),
        ("report listener", deployment.reports.host, deployment.reports.port),
        ("dashboard", deployment.dashboard.host, deployment.dashboard.port),
        ("Airflow", deployment.scheduler.host, deployment.scheduler.port),
    )


def why_not_listen(host: str, port: int) -> tuple[str, str]:
    """Why a server could not listen there now, and what to do; both empty where it could.

    A port that a closed connection still holds is free.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((host, port))
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                return "is no address of this machine", "write one of this machine's addresses as host"
            if error.errno in (errno.EACCES, errno.EPERM):
                return "is not for this user to open", "choose a port above 1023, and have the router send there"
            return "is taken", "stop what listens there, or choose another port"
    return "", ""


def _ok(what: str) -> Finding:
    return Finding(FindingState.OK, what)


def _warning(what: str, remedy: str) -> Finding:
    return Finding(FindingState.WARNING, what, remedy)


def _problem(what: str, remedy: str) -> Finding:
    return Finding(FindingState.PROBLEM, what, remedy)


def _interpreter() -> Iterator[Finding]:
    shown = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield _problem(f"Python {shown} is too old.", "Use Python 3.11, 3.12 or 3.13.")
    elif sys.version_info[:2] >= FIRST_UNTESTED_PYTHON:
        yield _warning(f"Python {shown} has not been tried.", "Use Python 3.11, 3.12 or 3.13.")
    else:
        yield _ok(f"Python {shown}.")
    if os.getuid() == 0:
        yield _warning(
            "Shadow runs as root.",
            "It needs no right of root: in a hospital run it as a user of its own.",
        )


def _packages() -> Iterator[Finding]:
    try:
        yield _ok(f"Airflow {importlib.metadata.version('apache-airflow')}.")
    except importlib.metadata.PackageNotFoundError:
        yield _problem("Airflow is not installed.", "Install the locked requirements again: `make setup`.")
    runtimes = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if not runtimes:
        yield _problem("No ONNX Runtime is installed.", "Install the extra `cpu` or the extra `gpu`.")
    elif len(runtimes) > 1:
        yield _problem(
            "onnxruntime and onnxruntime-gpu are both installed, and overwrite each other's files.",
            "Remove both, then install one of them.",
        )
    else:
        yield _ok(f"{runtimes[0]} {importlib.metadata.version(runtimes[0])}.")
    try:
        zoneinfo.ZoneInfo("Europe/London")
        zoneinfo.ZoneInfo("America/New_York")
        yield _ok("The time zone database is there.")
    except zoneinfo.ZoneInfoNotFoundError:
        yield _problem("The time zone database is missing: shifts cannot be computed.", "Install the package `tzdata`.")


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _sqlite() -> Iterator[Finding]:
    if sqlite3.sqlite_version_info >= OLDEST_SQLITE:
        yield _ok(f"SQLite {sqlite3.sqlite_version}.")
    elif importlib.util.find_spec("pysqlite3") is not None:
        import pysqlite3

        if pysqlite3.sqlite_version_info >= OLDEST_SQLITE:
            yield _ok(f"SQLite {pysqlite3.sqlite_version}, from pysqlite3.")
        else:
            yield _sqlite_too_old(pysqlite3.sqlite_version)
    else:
        yield _sqlite_too_old(sqlite3.sqlite_version)


def _sqlite_too_old(version: str) -> Finding:
    return _problem(
        f"SQLite {version} can lose a write when a checkpoint meets a commit (before 3.51.3).",
        "Install the package `pysqlite3` into this environment, or name a PostgreSQL server as ledger_url.",
    )


def _postgres(home: Home) -> Iterator[Finding]:
    try:
        programs = find_programs()
        server_user(home.postgres)
    except SetupError as error:
        yield _problem("Airflow's private PostgreSQL cannot run.", f"{error}.")
        return
    yield _ok(f"PostgreSQL {programs.major} in {programs.folder}.")


def _folder(home: Home, deployment: Deployment, limits: Thresholds) -> Iterator[Finding]:
    if home.root.exists() and not home.root.is_dir():
        yield _problem(f"{home.root} is a file.", "Give the trial a folder as --home.")
        return
    folder = _nearest_existing(home.root)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            seconds = _write_seconds(file.fileno())
    except OSError as error:
        yield _problem(
            f"{folder} cannot be written ({error.strerror}).", "Give this user the folder, or choose another."
        )
        return
    yield _ok(f"{folder} can be written.")
    free = shutil.disk_usage(folder).free
    shown = f"{free / MEBIBYTE:,.0f} MiB are free at {folder}"
    if free < deployment.receiver.minimum_free_bytes:
        yield _problem(
            f"The disk is full: {shown}; the receiver refuses studies.",
            f"Free some: it needs {deployment.receiver.minimum_free_bytes / MEBIBYTE:,.0f} MiB at least.",
        )
    elif free < limits.scarce_bytes:
        yield _warning(f"The disk is filling up: {shown}.", "A head CT takes about 100 MiB, twice.")
    else:
        yield _ok(f"{shown}.")
    shown = f"A durable write takes {seconds * 1000:.1f} ms"
    if seconds > limits.unusable_write_seconds:
        yield _problem(f"{shown}: associations will time out.", "Put the folder on a local, faster disk.")
    elif seconds > limits.slow_write_seconds:
        yield _warning(f"{shown}.", "Busy hours will be slow; a local SSD needs 1 to 5 ms.")
    else:
        yield _ok(f"{shown}.")
    if _in_memory(folder):
        yield _problem(f"{folder} lies in memory: a power cut loses the trial.", "Choose a folder on a disk.")


def _nearest_existing(folder: Path) -> Path:
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())


def _write_seconds(descriptor: int) -> float:
    """The median of a few durable writes."""
    taken = []
    for _ in range(9):
        started = time.perf_counter()
        os.write(descriptor, bytes(4096))
        os.fdatasync(descriptor)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _in_memory(folder: Path) -> bool:
    mounts = {Path(one.mountpoint): one.fstype for one in psutil.disk_partitions(all=True)}
    nearest = next((place for place in (folder, *folder.parents) if place in mounts), None)
    return nearest is not None and mounts[nearest] in {"tmpfs", "ramfs"}


def _secrets(home: Home) -> Iterator[Finding]:
    files = [
        *sorted(home.secrets.glob("*")),
        home.vault, home.accounts, home.airflow / "secrets.json", home.airflow / "passwords.json",
    ]  # fmt: skip
    present = [path for path in (home.secrets, *files) if path.exists()]
    for path in present:
        mode = path.stat().st_mode & 0o777
        if mode & OTHERS_MAY:
            yield _problem(
                f"{path} is open to other users (mode {mode:04o}).",
                f"chmod {'700' if path.is_dir() else '600'} {path}. If it held a key, others may know it.",
            )
        elif path.stat().st_uid != os.getuid() and os.getuid() != 0:
            yield _problem(f"{path} belongs to another user.", "Run Shadow as that user, or give this user the file.")
    if present and not any(path.stat().st_mode & OTHERS_MAY for path in present):
        yield _ok(f"{len(present)} key files and secrets are closed to other users.")


def _certificates(home: Home, deployment: Deployment) -> Iterator[Finding]:
    """Whether every listener with TLS can use its files, and how long its certificate lasts."""
    hook = deployment.fhir_listener
    tables: dict[str, Tls | None] = {
        "receiver": deployment.receiver.tls,
        "reports": deployment.reports.tls,
        "vendor_results": deployment.vendor_results.tls,
        "fhir_listener": hook.tls if hook is not None else None,
    }
    for name, tls in tables.items():
        if tls is None:
            continue
        try:
            server_context(tls, home.root, f"{name}.tls")
        except SetupError as error:
            yield _problem(f"{error}.", f"Put the file there, or change {name}.tls in configuration/deployment.toml.")
            continue
        until = valid_until(tls, home.root)
        shown = f"The certificate {tls.certificate} of {name}.tls ends on {until:%Y-%m-%d}"
        if until < datetime.now(UTC):
            yield _problem(f"{shown}: every peer refuses it.", "Have a new one signed, and put it in its place.")
        elif until < datetime.now(UTC) + WARNED_BEFORE_A_CERTIFICATE_ENDS:
            yield _warning(f"{shown}.", "Have a new one signed, and put it in its place before that day.")
        else:
            yield _ok(f"{shown}.")


def _archives(home: Home, deployment: Deployment) -> Iterator[Finding]:
    """Whether anybody is asked what never came, and the files that it takes. Nobody is asked from here."""
    if not deployment.archives:
        yield _warning(
            "No router or PACS is asked what it had: studies that never reach us will not be missed",
            "name each site's archive as [[archives]] in configuration/deployment.toml (docs/archives.md)",
        )
    for peer in deployment.archives:
        for name in ("token_file", "authorities"):
            file = getattr(peer, name)
            if file and not (home.root / file).is_file():
                yield _problem(
                    f"The archive of {peer.site} cannot be asked: there is no file {file}",
                    f"put it there, or change archives.{name} in configuration/deployment.toml",
                )


def _clock(home: Home) -> Iterator[Finding]:
    wall, steady = time.time(), time.monotonic()
    folder = _nearest_existing(home.root)
    drift = 0.0
    if os.access(folder, os.W_OK):
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            os.write(file.fileno(), b"now")
            drift = os.fstat(file.fileno()).st_mtime - time.time()
    if abs(drift) > LARGEST_DRIFT_SECONDS:
        yield _problem(
            f"The clock of the disk's server is {drift:+.1f} s from this machine's.",
            "Set both by the same time server (NTP).",
        )
    jumped = (time.time() - wall) - (time.monotonic() - steady)
    if abs(jumped) > LARGEST_DRIFT_SECONDS:
        yield _problem(f"The clock jumped by {jumped:+.1f} s just now.", "Let a time server (NTP) steer it.")
    if _clock_state() == UNSYNCHRONISED:
        yield _warning(
            "The kernel says that no time server steers this machine's clock.",
            "Start chrony or systemd-timesyncd; in a container, on its host.",
        )
    else:
        yield _ok("A time server steers the clock.")


def _clock_state() -> int:
    """What adjtimex(2) returns when it is asked and told nothing."""
    timex = ctypes.create_string_buffer(512)
    return int(ctypes.CDLL(None).adjtimex(timex))


def _ports(home: Home, deployment: Deployment) -> Iterator[Finding]:
    if _is_running(home):
        yield _ok(f"The trial in {home.root} is running and holds its ports.")
        return
    listed = ports_of(deployment)
    for what, host, port in listed:
        reason, remedy = why_not_listen(host, port)
        if reason:
            yield _problem(
                f"Port {port} on {host} ({what}) {reason}.",
                f"{remedy[0].upper()}{remedy[1:]} in configuration/deployment.toml.",
            )
    numbers = [port for _, _, port in listed]
    if len(set(numbers)) < len(numbers):
        yield _problem("Two servers are given the same port.", "Give each its own in deployment.toml.")
    if not any(why_not_listen(host, port)[0] for _, host, port in listed):
        yield _ok(f"The ports {', '.join(str(port) for port in numbers)} are free.")


def _is_running(home: Home) -> bool:
    try:
        lock = (home.root / "supervisor.lock").open("r", encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return False
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _resources() -> Iterator[Finding]:
    memory = psutil.virtual_memory().total
    if memory < SMALLEST_MEMORY_BYTES:
        yield _warning(
            f"The machine has {memory / MEBIBYTE:,.0f} MiB of memory.",
            "Airflow and the dashboard use about 2 GiB.",
        )
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < FEWEST_OPEN_FILES:
        yield _warning(f"A process may open {files} files only.", "Raise the limit: ulimit -n 4096.")
