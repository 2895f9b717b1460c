"""What every test room shares: a real PostgreSQL of one's own, on a socket in a private folder."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) + sorted(Path("/usr/local/bin").glob("initdb"))
    return found[0].parent if found else None


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """The URL of a PostgreSQL server that lives for the session; it listens on a Unix socket alone."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL's programs are not installed")
    as_root = os.geteuid() == 0
    user = "postgres" if as_root else pwd.getpwuid(os.geteuid()).pw_name
    folder = Path(tempfile.mkdtemp(prefix="shadow-pg-", dir="/tmp"))

    def run(*command: str) -> None:
        prefix = ["runuser", "-u", user, "--"] if as_root else []
        subprocess.run([*prefix, *command], check=True, stdout=subprocess.DEVNULL, cwd="/")

    if as_root:
        shutil.chown(folder, user)
    data = folder / "data"
    run(str(programs / "initdb"), "-D", str(data), "-U", user, "-A", "trust", "-E", "UTF8", "--locale=C")
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}'"
    run(str(programs / "pg_ctl"), "-D", str(data), "-w", "-o", options, "-l", str(folder / "log"), "start")
    try:
        yield f"postgresql+psycopg://{user}@/postgres?host={folder}"
    finally:
        run(str(programs / "pg_ctl"), "-D", str(data), "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)
