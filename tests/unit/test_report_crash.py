"""The drain as a process, killed again and again: the ledger ends as if it had never been."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shadow.domain.project import project_folder
from shadow.store.events import Kind
from shadow.store.journal import Arrival, Cursor, JournalWriter
from shadow.store.ledger import Ledger

pytestmark = pytest.mark.server

PROGRAM = """
import sys
from pathlib import Path
from shadow.domain.identifiers import Pseudonymiser
from shadow.protocol.site import read_site
from shadow.protocol.trial import read_trial
from shadow.reference_standard.report_journal import drain_reports
from shadow.store.blobs import Blobs
from shadow.store.ledger import Ledger
folder, configs = Path(sys.argv[1]), Path(sys.argv[2])
with Ledger(f"sqlite:///{folder / 'ledger.db'}", "crash") as ledger:
    ledger.migrate()
    print("ready", flush=True)
    drain_reports(
        journal=folder / "journal",
        ledger=ledger,
        blobs=Blobs(folder / "blobs", b"b" * 32),
        sites=(read_site(configs / "sites" / "riverside.toml"),),
        pseudonymiser=Pseudonymiser(b"k" * 32),
        protocol=read_trial(configs / "trials" / "demo-head-ct.toml"),
        limit=100_000,
    )
"""
MESSAGES = 1200
KILLS = 8
NOON = datetime(2026, 8, 24, 16, tzinfo=UTC)


def start(folder: Path) -> subprocess.Popen[str]:
    drain = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), str(project_folder("configs"))],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert drain.stdout is not None
    assert drain.stdout.readline() == "ready\n"
    return drain


def message(number: int) -> bytes:
    if number % 50 == 0:
        return b"junk %d" % number
    order = ["OBR", "1", *[""] * 16, f"R{number}", *[""] * 6, "F"]
    header = f"MSH|^~\\&|RIS|RIVERSIDE|||20260824||ORU^R01|C{number}|P|2.5.1"
    return "\r".join([header, "|".join(order), f"OBX|1|TX|||Report {number}. No haemorrhage.||||||F"]).encode()


def test_a_drain_killed_anywhere_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    chance = random.Random(20260824)
    sent = [message(chance.randrange(MESSAGES)) for _ in range(MESSAGES)]
    with JournalWriter(tmp_path / "journal") as journal:
        journal.append_many([Arrival(one, NOON + timedelta(seconds=at)) for at, one in enumerate(sent)])
    killed = 0
    while killed < KILLS:
        drain = start(tmp_path)
        time.sleep(chance.uniform(0.0, 0.3))
        killed += 1
        drain.kill()
        drain.communicate(timeout=10)
    drain = start(tmp_path)
    drain.communicate(timeout=60)
    assert drain.returncode == 0

    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", "crash") as ledger:
        assert ledger.verify().problem is None
        rows = ledger.since(0)
    versions = [json.loads(row.body or "") for row in rows if row.kind == Kind.REPORT_VERSION]
    labels = [row for row in rows if row.kind == Kind.LABEL]
    junk = [row for row in rows if row.kind == Kind.AUDIT]
    assert len(versions) == len(labels) == len({one for one in sent if one.startswith(b"MSH")})
    assert len(junk) == len({one for one in sent if one.startswith(b"junk")})
    first_seen = {one: at for at, one in reversed(list(enumerate(sent))) if one.startswith(b"MSH")}
    assert sorted(version["received_at"] for version in versions) == sorted(
        (NOON + timedelta(seconds=at)).strftime("%Y-%m-%dT%H:%M:%S.%fZ") for at in first_seen.values()
    )
    assert Cursor(tmp_path / "journal" / "reports.cursor").read().offset > 0
