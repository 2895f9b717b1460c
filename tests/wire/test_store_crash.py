"""kill -9 in a loop, on writers and on the exporter: what was acknowledged is there, once, and the chain is whole."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shadow.store.events import Kind
from shadow.store.lake import Lake
from shadow.store.ledger import Ledger

WRITER = """
import json, sys
from shadow.store.events import Audited
from shadow.store.ledger import Ledger
url, name, log = sys.argv[1:]
known = [json.loads(line) for line in open(log)] if __import__("os").path.exists(log) else []
number = len(known)
with Ledger(url, "crash") as ledger, open(log, "a") as acks:
    while True:
        size = 1 + number % 7
        first = max(0, number - 3)
        events = [Audited(f"{name}-{n}", name, "noted", "o", str(n)) for n in range(first, number + size)]
        for event, ack in list(zip(events, ledger.append(events), strict=True))[number - first:]:
            acks.write(json.dumps([event.identifier, ack.seq, ack.hash]) + "\\n")
        acks.flush()
        number += size
"""
EXPORTER = """
import sys, time
from pathlib import Path
from shadow.store.lake import Lake
from shadow.store.ledger import Ledger
with Ledger(sys.argv[1], "crash") as ledger:
    while True:
        Lake(Path(sys.argv[2])).export(ledger)
        time.sleep(0.02)
"""
KILLS = 20


def start(script: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", script, *arguments])


@pytest.mark.server
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_nothing_acknowledged_is_lost_when_writers_and_exporter_are_killed(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    if engine == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    with Ledger(url, "crash") as ledger:
        ledger.migrate()
    logs = [tmp_path / f"writer-{number}.log" for number in range(3)]
    commands: list[tuple[str, ...]] = [(WRITER, url, f"w{number}", str(log)) for number, log in enumerate(logs)]
    commands.append((EXPORTER, url, str(tmp_path / "lake")))
    processes = [start(*command) for command in commands]
    chosen = random.Random(7)
    try:
        for kill in range(KILLS):
            _wait_for_progress(logs)
            time.sleep(chosen.uniform(0.0, 0.3))
            victims = range(len(processes)) if kill % 7 == 6 else [chosen.randrange(len(processes))]
            for victim in victims:
                assert processes[victim].poll() is None, "a process ended by itself"
                processes[victim].kill()
                processes[victim].wait()
                _drop_torn_line(logs, victim)
                processes[victim] = start(*commands[victim])
        _wait_for_progress(logs)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for victim in range(len(logs)):
        _drop_torn_line(logs, victim)
    _check(url, tmp_path, logs)


def _wait_for_progress(logs: list[Path]) -> None:
    """Until the writers have acknowledged some more, however slow the machine is."""
    before, deadline = _noted(logs), time.monotonic() + 60
    while _noted(logs) < before + 600:
        assert time.monotonic() < deadline, "the writers make no progress"
        time.sleep(0.02)


def _noted(logs: list[Path]) -> int:
    return sum(log.stat().st_size for log in logs if log.exists())


def _drop_torn_line(logs: list[Path], victim: int) -> None:
    """A writer killed while it noted an acknowledgment leaves half a line; the event itself is in the ledger."""
    if victim < len(logs) and logs[victim].exists():
        content = logs[victim].read_bytes()
        logs[victim].write_bytes(content[: content.rfind(b"\n") + 1])


def _check(url: str, folder: Path, logs: list[Path]) -> None:
    acknowledged = [json.loads(line) for log in logs if log.exists() for line in log.read_text().splitlines()]
    assert len(acknowledged) > 100
    with Ledger(url, "crash") as ledger:
        assert ledger.verify().problem is None
        rows = {row.key: row for row in ledger.since(0, 1_000_000)}
        assert len(rows) == ledger.count(Kind.AUDIT) == ledger.head().seq
        for key, seq, digest in acknowledged:
            assert (rows[key].seq, rows[key].hash) == (seq, digest)
        lake = Lake(folder / "lake")
        left = lake.manifest()
        assert _exported(lake) == (left.upto, left.upto), "what a killed exporter left is not whole"
        assert lake.export(ledger) == len(rows) - left.upto
        assert _exported(lake) == (len(rows), len(rows))


def _exported(lake: Lake) -> object:
    connection = lake.connect()
    found = connection.execute("select count(*), count(distinct identifier) from audit").fetchone()
    connection.close()
    return found
