"""What is wrong with the machine: interpreter, packages, databases, clock, memory."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import resource
import sqlite3
import sys
import tempfile
import time
import zoneinfo
from collections.abc import Iterator
from pathlib import Path

import psutil

from shadow.domain.errors import SetupError
from shadow.domain.home import Home
from shadow.supervision.findings import Finding, ok, problem, warning
from shadow.supervision.postgres import find_programs, server_user

OLDEST_SQLITE = (3, 51, 3)
OLDEST_PYTHON, FIRST_UNTESTED_PYTHON = (3, 11), (3, 14)
MEBIBYTE = 1 << 20
SMALLEST_MEMORY_BYTES = 3 << 30
FEWEST_OPEN_FILES = 1024
LARGEST_DRIFT_SECONDS = 2.0
UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)


def look_at_machine(home: Home) -> tuple[Finding, ...]:
    """Look at what the trial's processes run on; nothing is changed."""
    return (*_interpreter(), *_packages(), *_sqlite(), *_postgres(home), *_clock(home), *_resources())


def nearest_existing(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())


def _interpreter() -> Iterator[Finding]:
    shown = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield problem(f"Python {shown} is too old.", "Use Python 3.11, 3.12 or 3.13.")
    elif sys.version_info[:2] >= FIRST_UNTESTED_PYTHON:
        yield warning(f"Python {shown} has not been tried.", "Use Python 3.11, 3.12 or 3.13.")
    else:
        yield ok(f"Python {shown}.")
    if os.getuid() == 0:
        yield warning(
            "Shadow runs as root.",
            "It needs no right of root: in a hospital run it as a user of its own.",
        )


def _packages() -> Iterator[Finding]:
    try:
        yield ok(f"Airflow {importlib.metadata.version('apache-airflow')}.")
    except importlib.metadata.PackageNotFoundError:
        yield problem("Airflow is not installed.", "Install the locked requirements again: `make environment`.")
    runtimes = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if not runtimes:
        yield problem("No ONNX Runtime is installed.", "Install the extra `cpu` or the extra `gpu`.")
    elif len(runtimes) > 1:
        yield problem(
            "onnxruntime and onnxruntime-gpu are both installed, and overwrite each other's files.",
            "Remove both, then install one of them.",
        )
    else:
        yield ok(f"{runtimes[0]} {importlib.metadata.version(runtimes[0])}.")
    try:
        zoneinfo.ZoneInfo("Europe/London")
        zoneinfo.ZoneInfo("America/New_York")
        yield ok("The time zone database is there.")
    except zoneinfo.ZoneInfoNotFoundError:
        yield problem("The time zone database is missing: shifts cannot be computed.", "Install the package `tzdata`.")


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _sqlite() -> Iterator[Finding]:
    if sqlite3.sqlite_version_info >= OLDEST_SQLITE:
        yield ok(f"SQLite {sqlite3.sqlite_version}.")
    elif importlib.util.find_spec("pysqlite3") is not None:
        import pysqlite3

        if pysqlite3.sqlite_version_info >= OLDEST_SQLITE:
            yield ok(f"SQLite {pysqlite3.sqlite_version}, from pysqlite3.")
        else:
            yield _sqlite_too_old(pysqlite3.sqlite_version)
    else:
        yield _sqlite_too_old(sqlite3.sqlite_version)


def _sqlite_too_old(version: str) -> Finding:
    return problem(
        f"SQLite {version} can lose a write when a checkpoint meets a commit (before 3.51.3).",
        "Install the package `pysqlite3` into this environment, or name a PostgreSQL server as ledger_url.",
    )


def _postgres(home: Home) -> Iterator[Finding]:
    try:
        programs = find_programs()
        server_user(home.postgres)
    except SetupError as error:
        yield problem("Airflow's private PostgreSQL cannot run.", f"{error}.")
        return
    yield ok(f"PostgreSQL {programs.major} in {programs.folder}.")


def _clock(home: Home) -> Iterator[Finding]:
    wall, steady = time.time(), time.monotonic()
    folder = nearest_existing(home.root)
    drift = 0.0
    if os.access(folder, os.W_OK):
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            os.write(file.fileno(), b"now")
            drift = os.fstat(file.fileno()).st_mtime - time.time()
    if abs(drift) > LARGEST_DRIFT_SECONDS:
        yield problem(
            f"The clock of the disk's server is {drift:+.1f} s from this machine's.",
            "Set both by the same time server (NTP).",
        )
    jumped = (time.time() - wall) - (time.monotonic() - steady)
    if abs(jumped) > LARGEST_DRIFT_SECONDS:
        yield problem(f"The clock jumped by {jumped:+.1f} s just now.", "Let a time server (NTP) steer it.")
    if _clock_state() == UNSYNCHRONISED:
        yield warning(
            "The kernel says that no time server steers this machine's clock.",
            "Start chrony or systemd-timesyncd; in a container, on its host.",
        )
    else:
        yield ok("A time server steers the clock.")


def _clock_state() -> int:
    """What adjtimex(2) returns when it is asked and told nothing."""
    timex = ctypes.create_string_buffer(512)
    return int(ctypes.CDLL(None).adjtimex(timex))


def _resources() -> Iterator[Finding]:
    memory = psutil.virtual_memory().total
    if memory < SMALLEST_MEMORY_BYTES:
        yield warning(
            f"The machine has {memory / MEBIBYTE:,.0f} MiB of memory.",
            "Airflow and the dashboard use about 2 GiB.",
        )
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < FEWEST_OPEN_FILES:
        yield warning(f"A process may open {files} files only.", "Raise the limit: ulimit -n 4096.")
