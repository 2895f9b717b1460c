"""An alarm is told once a way, to a real HTTP server and a real mail relay on the loopback."""

from __future__ import annotations

import http.server
import json
import shutil
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shadow.assessment.completeness import completeness_stream
from shadow.assessment.monitors import stream_of
from shadow.domain.errors import ConfigurationError
from shadow.domain.home import Home
from shadow.protocol.deployment import read_deployment
from shadow.store.events import AlarmRaised, Audited, Kind
from shadow.wiring.assessing import assess_trial, tell_of_alarms
from shadow.wiring.trial import Trial, open_trial, register_trial

CONFIGS = Path(__file__).parents[2] / "configs"
pytestmark = pytest.mark.server


@contextmanager
def served(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def webhook(received: list[dict[str, str]], status: int = 200) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with served(http.server.HTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield port


@contextmanager
def mail_relay(received: list[str]) -> Iterator[int]:
    """Another's server: as much of RFC 5321 as one message takes."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 relay\r\n")
            while line := self.rfile.readline():
                verb = line[:4].upper()
                if verb == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    lines = iter(self.rfile.readline, b".\r\n")
                    received.append(b"".join(lines).decode())
                self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")

    with served(socketserver.TCPServer(("127.0.0.1", 0), Handler)) as port:
        yield port


def alarmed_trial(folder: Path, notifications: str) -> Trial:
    shutil.copytree(CONFIGS, folder / "configs")
    deployment = folder / "deployment.toml"
    deployment.write_text(f"[notifications]\n{notifications}", encoding="utf-8")
    home = Home(folder / "home")
    register_trial(folder / "configs" / "trials" / "demo-head-ct.toml", home, deployment)
    trial = open_trial(home)
    stream = stream_of(trial.protocol, trial.model(trial.protocol.champion.identifier)[1].threshold)
    place = ("cell", "riverside", "riverside-ct-2", "Night")
    with trial.open_ledger() as ledger:
        ledger.append([AlarmRaised(stream, *place, datetime(2026, 10, 5, tzinfo=UTC), "below the rest", 3, 9)])
    assert assess_trial(trial) is not None
    return trial


def test_an_alarm_is_told_once_by_webhook_and_once_by_mail(tmp_path: Path) -> None:
    posted: list[dict[str, str]] = []
    mailed: list[str] = []
    with webhook(posted) as web, mail_relay(mailed) as mail:
        trial = alarmed_trial(
            tmp_path,
            f'webhook_url = "http://127.0.0.1:{web}/alarm"\nmail_port = {mail}\n'
            'mail_from = "shadow@hospital.example"\nmail_to = ["informatics@hospital.example"]\n',
        )
        assert tell_of_alarms(trial) == 2
        assert tell_of_alarms(trial) == 0
        other_rule = replace(trial.protocol.reference, label_rule="another-rule/1")
        assert tell_of_alarms(replace(trial, protocol=replace(trial.protocol, reference=other_rule))) == 2
        posted.pop(), mailed.pop()
    (message,) = posted
    assert message["subject"] == "Silent trial demo-head-ct: alarm at Riverside CT-2, Night"
    assert "below the rest since the week of 05 Oct 2026" in message["text"]
    assert len(mailed) == 1 and "alarm at Riverside CT-2, Night" in mailed[0]
    assert "To: informatics@hospital.example" in mailed[0]


def test_a_webhook_that_fails_is_tried_again_and_nothing_is_recorded_as_told(tmp_path: Path) -> None:
    posted: list[dict[str, str]] = []
    with webhook(posted, status=500) as web:
        trial = alarmed_trial(tmp_path, f'webhook_url = "http://127.0.0.1:{web}/alarm"\n')
        for _ in range(2):
            with pytest.raises(OSError, match="500"):
                tell_of_alarms(trial)
    assert len(posted) == 2
    with trial.open_ledger() as ledger:
        assert ledger.count(Kind.AUDIT) == 0


def test_without_an_address_nothing_leaves(tmp_path: Path) -> None:
    assert tell_of_alarms(alarmed_trial(tmp_path, "")) == 0


def test_an_address_that_cannot_work_is_refused_by_field(tmp_path: Path) -> None:
    file = tmp_path / "deployment.toml"
    for content, word in (('webhook_url = "file:///etc/passwd"', "webhook_url"), ('mail_to = ["a@b"]', "mail_from")):
        file.write_text(f"[notifications]\n{content}\n", encoding="utf-8")
        with pytest.raises(ConfigurationError, match=word):
            read_deployment(file)


def test_an_alarm_about_studies_that_do_not_arrive_is_told_in_its_own_words(tmp_path: Path) -> None:
    posted: list[dict[str, str]] = []
    with webhook(posted) as web:
        trial = alarmed_trial(tmp_path, f'webhook_url = "http://127.0.0.1:{web}/alarm"\n')
        assert tell_of_alarms(trial) == 1
        rule = trial.protocol.completeness
        assert rule is not None
        place = ("scanner", "riverside", "riverside-ct-2", "")
        with trial.open_ledger() as ledger:
            asked = Audited("archive_asked:1", "reconciliation", "archive_asked", "riverside:2026-10-12", "")
            week = datetime(2026, 10, 5, tzinfo=UTC)
            stream = completeness_stream(rule.floor)
            ledger.append([asked, AlarmRaised(stream, *place, week, "below the floor", 12, 40)])
        assert assess_trial(trial) is not None
        assert (tell_of_alarms(trial), tell_of_alarms(trial)) == (1, 0)
    assert "not all studies of Riverside CT-2 arrive" in posted[-1]["subject"]
    assert "Check the routing of this scanner" in posted[-1]["text"]
