"""The simulated hospital against two small peers that misbehave: everything planned arrives, and arrives once."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage

from shadow.rehearsal.hospital import HospitalPace, HospitalProgress, HospitalWires, run_hospital
from shadow.rehearsal.plan import HospitalPlan, plan_hospital

pytestmark = pytest.mark.server

START = datetime(2026, 8, 24, 4, tzinfo=UTC)
STUDIES = 14


class Receiver:
    """Stores by UID; aborts the third association and refuses the tenth object."""

    def __init__(self) -> None:
        self.instances: Counter[str] = Counter()
        self.associations = self.objects = 0
        self.first_stored: dict[str, float] = {}

    def accepted(self, event: evt.Event) -> None:
        self.associations += 1
        if self.associations == 3:
            event.assoc.abort()

    def store(self, event: evt.Event) -> int:
        self.objects += 1
        if self.objects == 10:
            return 0xA700
        self.instances[str(event.request.AffectedSOPInstanceUID)] += 1
        return 0x0000


class Listener(socketserver.ThreadingTCPServer):
    """Acknowledges what it keeps; drops the connection before its fourth answer, and answers AE once."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.messages: list[tuple[float, bytes]] = []
        self.seen = 0
        self.lock = threading.Lock()


class Conversation(socketserver.StreamRequestHandler):
    server: Listener

    def handle(self) -> None:
        buffer = b""
        while more := self.request.recv(65536):
            buffer += more
            while b"\x1c\r" in buffer:
                frame, buffer = buffer.split(b"\x1c\r", 1)
                with self.server.lock:
                    self.server.seen += 1
                    turn = self.server.seen
                if turn == 4:
                    return
                code = b"AE" if turn == 6 else b"AA"
                if code == b"AA":
                    self.server.messages.append((time.time(), frame.lstrip(b"\x0b")))
                self.request.sendall(b"\x0bMSH|^~\\&|||||||ACK\rMSA|" + code + b"|1\r\x1c\r")


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def play(plan: HospitalPlan, listener: Listener, truth: Path, floor: float) -> tuple[Receiver, HospitalProgress]:
    receiver = Receiver()
    ae = AE("SHADOW")
    ae.add_supported_context(CTImageStorage)
    handlers = [(evt.EVT_C_STORE, receiver.store), (evt.EVT_ACCEPTED, receiver.accepted)]
    scp = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        wires = HospitalWires("127.0.0.1", scp.server_address[1], "SHADOW", "127.0.0.1", listener.server_address[1])
        pace = HospitalPace(duration_seconds=3, report_floor_seconds=floor, quiet_studies=1)
        return receiver, run_hospital(plan, wires, pace, truth, lambda _: None, threading.Event())
    finally:
        scp.shutdown()


def test_all_that_was_planned_is_delivered_to_peers_that_refuse_abort_and_forget(
    tmp_path: Path, listener: Listener
) -> None:
    plan = plan_hospital(3, STUDIES, 12, START)
    receiver, progress = play(plan, listener, tmp_path / "truth.jsonl", floor=1.5)
    assert progress == HospitalProgress(STUDIES, STUDIES, len(plan.messages), len(plan.messages))
    sent_studies = {uid.rsplit(".", 2)[0] for uid in receiver.instances}
    assert sent_studies == {study.study_instance_uid for study in plan.studies}
    assert receiver.associations > STUDIES
    controls = Counter(message.split(b"|")[9] for _, message in listener.messages if message.startswith(b"MSH"))
    planned = Counter(message.control_id.encode() for message in plan.messages if message.kind != "junk")
    assert all(controls[control] >= count for control, count in planned.items())
    lines = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    kinds = Counter(line["kind"] for line in lines)
    assert kinds["study"] == kinds["study_acknowledged"] == STUDIES
    assert kinds["message"] == len(plan.messages)


def test_a_report_keeps_its_distance_from_its_study(tmp_path: Path, listener: Listener) -> None:
    plan = plan_hospital(4, 6, 12, START)
    began = time.time()
    play(plan, listener, tmp_path / "truth.jsonl", floor=4.0)
    own = {message.control_id for message in plan.messages if message.study is not None}
    arrived = [
        at for at, message in listener.messages if message.startswith(b"MSH") and message.split(b"|")[9].decode() in own
    ]
    assert arrived
    assert min(arrived) - began >= 4.0
