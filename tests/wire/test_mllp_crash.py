"""The listener as a process: stopped by SIGTERM, and killed again and again under load."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shadow.store.journal import START, JournalReader

pytestmark = pytest.mark.server

PROGRAM = """
import sys
from pathlib import Path
from shadow.adapters.mllp import run_report_listener
from shadow.domain.clock import SystemClock
from shadow.protocol.deployment import ReportListener
settings = ReportListener(port=int(sys.argv[1]))
run_report_listener(settings, Path(sys.argv[2]), SystemClock(), lambda: print("ready", flush=True), key=b"k" * 32)
"""
KEY = b"k" * 32
KILLS = 10


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(port: int, folder: Path) -> subprocess.Popen[str]:
    listener = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(port), str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert listener.stdout is not None
    assert listener.stdout.readline() == "ready\n"
    return listener


@contextmanager
def running(port: int, folder: Path) -> Iterator[subprocess.Popen[str]]:
    listener = start(port, folder)
    try:
        yield listener
    finally:
        listener.kill()
        listener.communicate(timeout=10)


def framed(control: str) -> bytes:
    body = f"MSH|^~\\&|RIS|RIVERSIDE|||2026||ORU^R01|{control}|P|2.5.1\rOBX|1|TX|||{'text ' * 100}\r"
    return b"\x0b" + body.encode() + b"\x1c\r"


def control_of(payload: bytes) -> str:
    return payload.split(b"\r")[0].split(b"|")[9].decode()


def reply_on(line: socket.socket) -> bytes:
    """One framed reply, or what came of it before the connection ended."""
    reply = b""
    while not reply.endswith(b"\x1c\r") and (piece := line.recv(4096)):
        reply += piece
    return reply


def send_until(stop: threading.Event, port: int, name: str, acknowledged: list[str]) -> None:
    """Send numbered messages, each again until it is acknowledged, on a new connection when one breaks."""
    number = 0
    while not stop.is_set():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
                while not stop.is_set():
                    line.sendall(framed(f"{name}-{number}"))
                    if f"MSA|AA|{name}-{number}\r".encode() not in reply_on(line):
                        break
                    acknowledged.append(f"{name}-{number}")
                    number += 1
        except OSError:
            time.sleep(0.02)


def test_a_listener_killed_under_load_has_every_message_that_it_acknowledged(tmp_path: Path) -> None:
    port, stop = free_port(), threading.Event()
    acknowledged: dict[str, list[str]] = {name: [] for name in ("a", "b", "c")}
    senders = [
        threading.Thread(target=send_until, args=(stop, port, name, mine)) for name, mine in acknowledged.items()
    ]
    listener = start(port, tmp_path)
    for sender in senders:
        sender.start()
    try:
        for _ in range(KILLS):
            time.sleep(0.25)
            listener.kill()
            listener.communicate(timeout=10)
            listener = start(port, tmp_path)
        time.sleep(0.2)
    finally:
        stop.set()
        for sender in senders:
            sender.join(timeout=10)
        listener.kill()
        listener.communicate(timeout=10)
    records = JournalReader(tmp_path, KEY).read(START, 1_000_000)
    assert all(record.received_at is not None for record in records)
    journaled = [control_of(record.payload) for record in records]
    for name, mine in acknowledged.items():
        assert len(mine) > KILLS, "the load was no load"
        assert set(mine) <= set(journaled)
        # A message killed between disk and acknowledgement was sent again: at most once more for each kill.
        assert len([one for one in journaled if one.startswith(name)]) <= len(mine) + KILLS + 1
    print(f"{sum(map(len, acknowledged.values()))} acknowledged, {len(journaled)} in the journal")


def test_sigterm_stops_the_listener_within_two_seconds_also_with_a_connection_open(tmp_path: Path) -> None:
    port = free_port()
    with running(port, tmp_path) as listener, socket.create_connection(("127.0.0.1", port), timeout=5) as line:
        line.sendall(framed("C1") + b"\x0bMSH|half")
        assert b"MSA|AA|C1" in line.recv(4096)
        before = time.monotonic()
        listener.send_signal(signal.SIGTERM)
        assert listener.wait(timeout=5) == 0
        assert time.monotonic() - before < 2.0
    assert [control_of(one.payload) for one in JournalReader(tmp_path, KEY).read(START, 10)] == ["C1"]


def test_a_second_listener_on_one_journal_refuses_to_start(tmp_path: Path) -> None:
    with running(free_port(), tmp_path):
        second = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(free_port()), str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert second.returncode != 0
    assert "another process writes this journal" in second.stderr
