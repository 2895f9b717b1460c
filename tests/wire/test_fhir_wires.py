"""Reports by FHIR: a server that is asked, one that sends by itself, and the process for both, killed under load."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from shadow.adapters.fhir_poll import FhirPoller
from shadow.domain.errors import ArchiveUnavailable
from shadow.domain.home import Home
from shadow.domain.project import project_folder
from shadow.protocol.deployment import FhirServer
from shadow.reference_standard.report_files import read_inbound_file
from shadow.store.journal import START, JournalReader
from shadow.wiring.trial import open_trial, register_trial

pytestmark = pytest.mark.server

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


def report(number: int, at: datetime = NOON, version: str = "1") -> dict[str, Any]:
    system = "http://terminology.hl7.org/CodeSystem/v2-0203"
    accession = {"type": {"coding": [{"system": system, "code": "ACSN"}]}, "value": f"R{number:06d}"}
    return {
        "resourceType": "DiagnosticReport",
        "id": f"d{number}",
        "meta": {"versionId": version, "lastUpdated": at.isoformat()},
        "status": "final",
        "identifier": [accession],
        "conclusion": f"No intracranial haemorrhage. Report {number}.",
    }


class Hospital:
    """A FHIR server of another hospital: it sorts, pages, and can be made to fail."""

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []
        self.asked: list[dict[str, list[str]]] = []
        self.failing: tuple[int, str] | None = None
        self.foreign_link = ""
        self.authorisations: set[str] = set()
        hospital = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hospital.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/r4"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.authorisations.add(handler.headers.get("Authorization", ""))
        if self.failing is not None:
            handler.send_response(self.failing[0])
            handler.send_header("Retry-After", self.failing[1])
            handler.end_headers()
            return
        query = parse_qs(urlsplit(handler.path).query)
        self.asked.append(query)
        since = datetime.fromisoformat(query["_lastUpdated"][0].removeprefix("ge").replace("Z", "+00:00"))
        count, page = int(query["_count"][0]), int(query.get("page", ["0"])[0])
        wanted = [one for one in self.reports if datetime.fromisoformat(one["meta"]["lastUpdated"]) >= since]
        wanted.sort(key=lambda one: str(one["meta"]["lastUpdated"]))
        links = []
        if len(wanted) > (page + 1) * count:
            base = self.foreign_link or self.url
            links = [{"relation": "next", "url": f"{base}/DiagnosticReport?_lastUpdated={query['_lastUpdated'][0]}"
                      f"&_count={count}&page={page + 1}"}]  # fmt: skip
        entries = [{"resource": one} for one in wanted[page * count : (page + 1) * count]]
        content = json.dumps({"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries}).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


@pytest.fixture
def hospital() -> Iterator[Hospital]:
    made = Hospital()
    yield made
    made.close()


@pytest.fixture
def kept() -> list[bytes]:
    return []


def poller(hospital: Hospital, folder: Path, keep: Callable[[bytes], None], **settings: Any) -> FhirPoller:
    server = FhirServer("riverside", hospital.url, resources_a_page=3, **settings)
    return FhirPoller(server, folder, folder / "riverside.mark", NOON - timedelta(days=1), keep)


def ids(pages: list[bytes]) -> list[str]:
    return [one["resource"]["id"] for page in pages for one in json.loads(page)["entry"]]


def test_every_page_is_kept_and_the_next_question_goes_on_from_the_servers_own_time(
    hospital: Hospital, tmp_path: Path, kept: list[bytes]
) -> None:
    hospital.reports = [report(number, NOON + timedelta(seconds=number)) for number in range(8)]
    asking = poller(hospital, tmp_path, kept.append)
    assert asking.poll() == 8
    assert ids(kept) == [f"d{number}" for number in range(8)] and len(kept) == 3
    hospital.reports.append(report(8, NOON - timedelta(seconds=100)))  # indexed late, with an earlier time
    hospital.reports.append(report(3, NOON + timedelta(seconds=60), version="2"))
    assert poller(hospital, tmp_path, kept.append, overlap_seconds=300.0).poll() >= 2
    assert {"d8"} < set(ids(kept[3:]))
    assert hospital.asked[-1]["_lastUpdated"] == ["ge2026-09-01T11:55:07Z"]
    assert hospital.asked[0]["_include"] == [f"DiagnosticReport:{one}" for one in ("based-on", "subject", "result")]
    assert "category" not in hospital.asked[0]


def test_a_category_and_a_shorter_list_of_what_comes_along_can_be_asked_for(hospital: Hospital, tmp_path: Path) -> None:
    poller(hospital, tmp_path, lambda _: None, category="x|RAD", includes=("subject",)).poll()
    assert (hospital.asked[0]["category"], hospital.asked[0]["_include"]) == (["x|RAD"], ["DiagnosticReport:subject"])


def test_what_was_seen_is_not_kept_again_and_a_new_version_is(
    hospital: Hospital, tmp_path: Path, kept: list[bytes]
) -> None:
    hospital.reports = [report(1), report(2)]
    asking = poller(hospital, tmp_path, kept.append)
    assert [asking.poll(), asking.poll(), len(kept)] == [2, 0, 1]
    hospital.reports[0] = report(1, NOON + timedelta(seconds=5), version="2")
    assert [asking.poll(), len(kept)] == [1, 2]


def test_a_disk_that_refuses_leaves_the_mark_where_it_was(
    hospital: Hospital, tmp_path: Path, kept: list[bytes]
) -> None:
    hospital.reports = [report(number, NOON + timedelta(seconds=number)) for number in range(8)]

    def full(page: bytes) -> None:
        if len(kept) == 2:
            raise OSError(28, "no space")
        kept.append(page)

    asking = poller(hospital, tmp_path, full)
    with pytest.raises(OSError, match="no space"):
        asking.poll()
    assert not (tmp_path / "riverside.mark").exists()
    kept.clear()
    assert poller(hospital, tmp_path, kept.append).poll() == 8


def test_a_server_in_trouble_is_left_alone_for_as_long_as_it_asks(hospital: Hospital, tmp_path: Path) -> None:
    asking = poller(hospital, tmp_path, lambda _: None, poll_seconds=10.0)
    hospital.failing = (503, "120")
    with pytest.raises(ArchiveUnavailable, match="HTTP 503"):
        asking.poll()
    assert asking.pause_seconds == 120.0
    hospital.failing = (500, "")
    with pytest.raises(ArchiveUnavailable):
        asking.poll()
    assert asking.pause_seconds == 240.0
    hospital.failing = None
    asking.poll()
    assert asking.pause_seconds == 10.0


def test_no_link_leads_to_another_server_and_the_token_goes_along(hospital: Hospital, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret-token\n")
    hospital.reports = [report(number) for number in range(5)]
    hospital.foreign_link = "http://127.0.0.2:1/r4"
    with pytest.raises(ArchiveUnavailable, match="another server"):
        poller(hospital, tmp_path, lambda _: None, token_file="token").poll()
    assert hospital.authorisations == {"Bearer secret-token"}


TOKEN = "hook-token"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(home: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "shadow", "fhir", "--home", str(home)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "fhir is ready\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


@pytest.fixture
def home(tmp_path: Path, hospital: Hospital) -> tuple[Home, int]:
    port = free_port()
    deployment = tmp_path / "deployment.toml"
    deployment.write_text(
        f'[fhir_listener]\ntoken_file = "token"\nport = {port}\nmaximum_body_bytes = 20000\n'
        f'[[fhir_servers]]\nsite = "riverside"\nurl = "{hospital.url}"\npoll_seconds = 3600.0\n'
    )
    home = Home(tmp_path / "home")
    register_trial(project_folder("configs") / "trials" / "demo-head-ct.toml", home, deployment)
    (home.root / "token").write_text(TOKEN)
    return home, port


@pytest.mark.parametrize("content", [None, " \n"])
def test_a_listener_without_a_token_ends_with_one_line(home: tuple[Home, int], content: str | None) -> None:
    token = home[0].root / "token"
    token.unlink()
    if content is not None:
        token.write_text(content)
    command = [sys.executable, "-m", "shadow", "fhir", "--home", str(home[0].root)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert f"shadow: fhir_listener.token_file: {token} holds no token; write one into it" in ended.stderr
    assert "Traceback" not in ended.stderr


def send(port: int, body: bytes, path: str = "/riverside", token: str = TOKEN, method: str = "POST") -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=body, method=method, headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def journaled(home: Home) -> list[bytes]:
    records = JournalReader(home.fhir / "journal", open_trial(home).journal_key()).read(START, 100_000)
    return [read_inbound_file(one.payload).content for one in records]


def test_what_is_sent_is_on_disk_before_the_answer_and_strangers_are_refused(home: tuple[Home, int]) -> None:
    folder, port = home
    body = json.dumps(report(1)).encode()
    with running(folder.root) as process:
        assert send(port, body) == 200
        assert journaled(folder)[-1] == body
        assert send(port, body, "/riverside/DiagnosticReport/d1", method="PUT") == 200
        assert send(port, b"no JSON at all") == 200, "a poison body must not stop the sender's queue"
        assert send(port, body, token="wrong") == 401
        assert send(port, body, "/elsewhere") == 404
        assert send(port, b"x" * 20_001) == 413
        assert len(journaled(folder)) == 3
        assert b"haemorrhage" not in b"".join(one.read_bytes() for one in folder.fhir.rglob("*.journal"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def test_an_empty_notification_has_the_server_asked_at_once(home: tuple[Home, int], hospital: Hospital) -> None:
    folder, port = home
    with running(folder.root):
        for _ in range(100):
            if hospital.asked:
                break
            threading.Event().wait(0.05)
        hospital.reports.append(report(7))
        assert send(port, b"") == 200
        for _ in range(100):
            if journaled(folder):
                break
            threading.Event().wait(0.05)
    assert ids(journaled(folder)) == ["d7"]


def test_nothing_that_was_acknowledged_is_lost_by_kills_under_load(home: tuple[Home, int]) -> None:
    folder, port = home
    acknowledged: list[str] = []
    for kill in range(5):
        with running(folder.root) as process:
            stop = threading.Event()

            def load(sender: int, kill: int = kill, stop: threading.Event = stop) -> None:
                number = 0
                while not stop.is_set():
                    body = f"{kill}-{sender}-{number}"
                    try:
                        if send(port, body.encode()) == 200:
                            acknowledged.append(body)
                    except OSError:
                        return
                    number += 1

            senders = [threading.Thread(target=load, args=(sender,)) for sender in range(4)]
            for one in senders:
                one.start()
            while sum(body.startswith(f"{kill}-") for body in list(acknowledged)) < 20:
                threading.Event().wait(0.01)
            process.kill()
            stop.set()
            for one in senders:
                one.join(15)
    found = {content.decode() for content in journaled(folder)}
    assert len(acknowledged) >= 100 and set(acknowledged) <= found
