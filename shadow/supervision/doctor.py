"""What is wrong with a set-up, in plain words, before a study is lost to it."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from shadow.adapters.mutual_tls import server_context, valid_until
from shadow.domain.errors import SetupError
from shadow.domain.home import Home
from shadow.protocol.deployment import Deployment, Tls
from shadow.supervision.doctor_machine import MEBIBYTE, look_at_machine, nearest_existing
from shadow.supervision.findings import Finding, ok, problem, warning

OTHERS_MAY = 0o077
WARNED_BEFORE_A_CERTIFICATE_ENDS = timedelta(days=30)


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
        *look_at_machine(home),
        *_folder(home, deployment, limits),
        *_secrets(home),
        *_certificates(home, deployment),
        *_archives(home, deployment),
        *_ports(home, deployment),
    )


def ports_of(deployment: Deployment) -> tuple[tuple[str, str, int], ...]:
    """What listens in this installation: purpose, host and port."""
    hook = deployment.fhir_listener
    return (
        ("DICOM receiver", deployment.receiver.host, deployment.receiver.port),
        ("report listener", deployment.reports.host, deployment.reports.port),
        ("dashboard", deployment.dashboard.host, deployment.dashboard.port),
        ("Airflow", deployment.scheduler.host, deployment.scheduler.port),
        *([("FHIR listener", hook.host, hook.port)] if hook is not None else []),
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


def _folder(home: Home, deployment: Deployment, limits: Thresholds) -> Iterator[Finding]:
    if home.root.exists() and not home.root.is_dir():
        yield problem(f"{home.root} is a file.", "Give the trial a folder as --home.")
        return
    folder = nearest_existing(home.root)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            seconds = _write_seconds(file.fileno())
    except OSError as error:
        yield problem(
            f"{folder} cannot be written ({error.strerror}).", "Give this user the folder, or choose another."
        )
        return
    yield ok(f"{folder} can be written.")
    free = shutil.disk_usage(folder).free
    shown = f"{free / MEBIBYTE:,.0f} MiB are free at {folder}"
    if free < deployment.receiver.minimum_free_bytes:
        yield problem(
            f"The disk is full: {shown}; the receiver refuses studies.",
            f"Free some: it needs {deployment.receiver.minimum_free_bytes / MEBIBYTE:,.0f} MiB at least.",
        )
    elif free < limits.scarce_bytes:
        yield warning(f"The disk is filling up: {shown}.", "A head CT takes about 100 MiB, twice.")
    else:
        yield ok(f"{shown}.")
    shown = f"A durable write takes {seconds * 1000:.1f} ms"
    if seconds > limits.unusable_write_seconds:
        yield problem(f"{shown}: associations will time out.", "Put the folder on a local, faster disk.")
    elif seconds > limits.slow_write_seconds:
        yield warning(f"{shown}.", "Busy hours will be slow; a local SSD needs 1 to 5 ms.")
    else:
        yield ok(f"{shown}.")
    if _in_memory(folder):
        yield problem(f"{folder} lies in memory: a power cut loses the trial.", "Choose a folder on a disk.")


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
    present = [path for path in (home.secrets, *files) if path.exists() and not _is_certificate(path)]
    for path in present:
        mode = path.stat().st_mode & 0o777
        if mode & OTHERS_MAY:
            yield problem(
                f"{path} is open to other users (mode {mode:04o}).",
                f"chmod {'700' if path.is_dir() else '600'} {path}. If it held a key, others may know it.",
            )
        elif path.stat().st_uid != os.getuid() and os.getuid() != 0:
            yield problem(f"{path} belongs to another user.", "Run Shadow as that user, or give this user the file.")
    if present and not any(path.stat().st_mode & OTHERS_MAY for path in present):
        yield ok(f"{len(present)} key files and secrets are closed to other users.")


def _is_certificate(path: Path) -> bool:
    """Whether it is for everybody to read: certificates, and no key beside them."""
    if not path.is_file() or path.stat().st_size > MEBIBYTE or not os.access(path, os.R_OK):
        return False
    content = path.read_bytes()
    return b"-----BEGIN CERTIFICATE-----" in content and b"PRIVATE KEY" not in content


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
            yield problem(f"{error}.", f"Put the file there, or change {name}.tls in configuration/deployment.toml.")
            continue
        until = valid_until(tls, home.root)
        shown = f"The certificate {tls.certificate} of {name}.tls ends on {until:%Y-%m-%d}"
        if until < datetime.now(UTC):
            yield problem(f"{shown}: every peer refuses it.", "Have a new one signed, and put it in its place.")
        elif until < datetime.now(UTC) + WARNED_BEFORE_A_CERTIFICATE_ENDS:
            yield warning(f"{shown}.", "Have a new one signed, and put it in its place before that day.")
        else:
            yield ok(f"{shown}.")


def _archives(home: Home, deployment: Deployment) -> Iterator[Finding]:
    """Whether anybody is asked what never came, and the files that it takes. Nobody is asked from here."""
    if not deployment.archives:
        yield warning(
            "No router or PACS is asked what it had: studies that never reach us will not be missed",
            "name each site's archive as [[archives]] in configuration/deployment.toml (docs/archives.md)",
        )
    for peer in deployment.archives:
        for name in ("token_file", "authorities"):
            file = getattr(peer, name)
            if file and not (home.root / file).is_file():
                yield problem(
                    f"The archive of {peer.site} cannot be asked: there is no file {file}",
                    f"put it there, or change archives.{name} in configuration/deployment.toml",
                )


def _ports(home: Home, deployment: Deployment) -> Iterator[Finding]:
    if _is_running(home):
        yield ok(f"The trial in {home.root} is running and holds its ports.")
        return
    listed = ports_of(deployment)
    for what, host, port in listed:
        reason, remedy = why_not_listen(host, port)
        if reason:
            yield problem(
                f"Port {port} on {host} ({what}) {reason}.",
                f"{remedy[0].upper()}{remedy[1:]} in configuration/deployment.toml.",
            )
    numbers = [port for _, _, port in listed]
    if len(set(numbers)) < len(numbers):
        yield problem("Two servers are given the same port.", "Give each its own in deployment.toml.")
    if not any(why_not_listen(host, port)[0] for _, host, port in listed):
        yield ok(f"The ports {', '.join(str(port) for port in numbers)} are free.")


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
