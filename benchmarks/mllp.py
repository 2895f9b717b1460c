"""The MLLP listener beside python-hl7's server, in one run, and how fast a report is parsed.

    python benchmarks/mllp.py [--rounds 3] [--seconds 3] [--reference-python /path/to/python]

Sends ORU^R01 messages of 45 segments over 1 and 8 connections, each after the acknowledgement of the last, in
interleaved rounds, and prints medians: messages a second and the ratio. Ours, encrypted, is on disk before AA;
python-hl7 keeps nothing. `--reference-python` is an interpreter that has the package `hl7` (BSD); without it ours
runs alone. The parse times are of one message in memory.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

from shadow.domain.hl7 import parse_message
from shadow.reference_standard.report import parse_reports

OURS = """
import sys
from pathlib import Path
from shadow.adapters.mllp import run_report_listener
from shadow.domain.clock import SystemClock
from shadow.protocol.deployment import ReportListener
key = b"k" * 32 if sys.argv[3] == "encrypted" else None
run_report_listener(ReportListener(port=int(sys.argv[1])), Path(sys.argv[2]), SystemClock(),
                    lambda: print("ready", flush=True), key=key)
"""
REFERENCE = """
import asyncio, sys
from hl7.mllp import start_hl7_server
async def converse(reader, writer):
    while not writer.is_closing():
        try:
            message = await reader.readmessage()
        except asyncio.IncompleteReadError:
            break
        writer.writemessage(message.create_ack())
        await writer.drain()
async def main():
    async with await start_hl7_server(converse, host="127.0.0.1", port=int(sys.argv[1]), encoding="utf-8") as server:
        print("ready", flush=True)
        await server.serve_forever()
asyncio.run(main())
"""


def message(control: str) -> bytes:
    """45 segments, about 4.3 kB."""
    lines = [
        f"MSH|^~\\&|RIS|RIVERSIDE|SHADOW|TRIAL|20260824120000-0400||ORU^R01^ORU_R01|{control}|P|2.5.1",
        "PID|1||MRN1^^^R^MR||Doe^Ada||19610203|F",
        "PV1|1|E",
        "OBR|1|F1|F1|CTH^CT HEAD|||20260824103000-0400|||||||||||R00001234||||20260824113000-0400||CT|F",
        *(
            f"OBX|{n}|TX|R||Line {n} of a report about a head, of the usual length of a line.||||||F"
            for n in range(1, 42)
        ),
    ]
    return ("\r".join(lines) + "\r").encode()


@contextmanager
def serving(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", "the server did not start"
    try:
        yield
    finally:
        process.kill()
        process.communicate()


def send(port: int, end: float, counts: list[int], number: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = 0
        while time.monotonic() < end:
            line.sendall(b"\x0b" + message(f"{number}-{sent}") + b"\x1c\r")
            reply = b""
            while not reply.endswith(b"\x1c\r"):
                got = line.recv(4096)
                assert got, "the server closed"
                reply += got
            assert b"MSA|AA" in reply, reply
            sent += 1
        counts[number] = sent


def rate(port: int, connections: int, seconds: float) -> float:
    counts = [0] * connections
    end = time.monotonic() + seconds
    senders = [threading.Thread(target=send, args=(port, end, counts, number)) for number in range(connections)]
    for one in senders:
        one.start()
    for one in senders:
        one.join()
    return sum(counts) / seconds


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def parse_milliseconds(repeats: int = 2000) -> tuple[float, float]:
    """One message: segments and fields, and the whole report with its status and times."""
    octets, zone = message("C1"), ZoneInfo("America/New_York")

    def median(work: object) -> float:
        times = []
        for _ in range(7):
            begin = time.perf_counter()
            for _ in range(repeats // 7):
                work()  # type: ignore[operator]
            times.append((time.perf_counter() - begin) / (repeats // 7))
        return 1000 * statistics.median(times)

    return (
        median(lambda: parse_message(octets, "utf-8")),
        median(lambda: parse_reports(parse_message(octets, "utf-8"), zone)),
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=float, default=3.0)
    arguments.add_argument("--reference-python", type=Path)
    settings = arguments.parse_args()
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(settings.rounds):
        for connections in (1, 8):
            servers = {name: [sys.executable, "-c", OURS, "PORT", "FOLDER", name] for name in ("encrypted", "in clear")}
            if settings.reference_python:
                servers["python-hl7"] = [str(settings.reference_python), "-c", REFERENCE, "PORT"]
            for name, command in servers.items():
                port = free_port()
                with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
                    places = {"PORT": str(port), "FOLDER": folder}
                    with serving([places.get(word, word) for word in command]):
                        found.setdefault((name, connections), []).append(rate(port, connections, settings.seconds))
    for (name, connections), rates in found.items():
        reference = found.get(("python-hl7", connections))
        ratio = (
            "" if not reference else f"  {statistics.median(rates) / statistics.median(reference):5.1f} of python-hl7"
        )
        spread = f"{min(rates):.0f} to {max(rates):.0f}"
        print(f"{name:11} {connections} connections  {statistics.median(rates):7.0f} messages/s ({spread}){ratio}")
    split, whole = parse_milliseconds()
    print(f"parsing 45 segments: {split:.3f} ms, with its report {whole:.3f} ms")


if __name__ == "__main__":
    main()
