"""A second labeller is a real child process and a real service; what fails is counted and holds nothing up."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from shadow.adapters.second_labeller import second_labeller
from shadow.assessment.label_agreement import ReaderPair
from shadow.domain.errors import LabellerFailed
from shadow.protocol.second_labeller import SecondLabeller
from shadow.reference_standard.label import LabelState
from shadow.reference_standard.second_reading import read_again
from shadow.store.blobs import Blobs
from shadow.store.events import Kind, ReportVersion
from shadow.store.ledger import Ledger
from shadow.supervision.label_readers import print_agreement

NOON = datetime(2026, 8, 24, 12, tzinfo=UTC)
READS = "import sys, json; print(json.dumps({'state': 'present' if 'bleed' in sys.stdin.read() else 'absent'}))"


def program(source: str, timeout_seconds: float = 20.0) -> SecondLabeller:
    return SecondLabeller("reader-1", (sys.executable, "-c", source), timeout_seconds=timeout_seconds)


def reason_of(settings: SecondLabeller) -> str:
    with pytest.raises(LabellerFailed) as failed:
        second_labeller(settings)("A bleed of ZEBEDEE.")
    assert "ZEBEDEE" not in str(failed.value)
    return failed.value.reason


def test_a_program_gets_the_text_and_says_its_state() -> None:
    read = second_labeller(program(READS))
    assert (read("A bleed."), read("Größe normal.")) == (LabelState.PRESENT, LabelState.ABSENT)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import time; time.sleep(60)", "timeout"),
        ("import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])", "timeout"),
        ("raise SystemExit(3)", "exit_status"),
        ("print('ZEBEDEE')", "no_state"),
        ('print(\'{"state": "likely"}\')', "no_state"),
        ("print('[1]')", "no_state"),
        ("", "no_state"),
    ],
)
def test_a_program_that_gives_no_state_fails_with_its_reason(source: str, reason: str) -> None:
    assert reason_of(program(source, 1.5)) == reason


def test_a_program_that_is_not_there_fails_with_its_reason() -> None:
    assert reason_of(SecondLabeller("reader-1", ("no-such-program-here",))) == "not_started"


class Service(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        answer = json.dumps({"state": "present" if "bleed" in text else "absent"}).encode()
        self.send_response(200 if self.path == "/label" else 302)
        self.send_header("Location", "/label")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def service() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_service_gets_the_text_and_says_its_state(service: str) -> None:
    read = second_labeller(SecondLabeller("reader-1", url=f"{service}/label"))
    assert (read("A bleed."), read("Normal.")) == (LabelState.PRESENT, LabelState.ABSENT)


def test_a_service_that_redirects_is_not_followed(service: str) -> None:
    assert reason_of(SecondLabeller("reader-1", url=f"{service}/elsewhere")) == "http_status"


@pytest.mark.parametrize(
    "host", ["8.8.8.8", "[2001:4860:4860::8888]", "169.254.169.254", "[::ffff:8.8.8.8]", "0.0.0.0"]
)
def test_no_text_goes_to_an_address_that_is_not_private(host: str) -> None:
    assert reason_of(SecondLabeller("reader-1", url=f"http://{host}:9/label")) == "address_not_private"


def test_a_service_that_does_not_answer_is_unreachable(service: str) -> None:
    assert reason_of(SecondLabeller("reader-1", url="http://127.0.0.1:1/label")) == "unreachable"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": "Reader 1", "command": ("a",)}, "name"),
        ({"name": "reader"}, "command, url"),
        ({"name": "reader", "command": ("a",), "url": "http://localhost"}, "command, url"),
        ({"name": "reader", "url": "ftp://localhost"}, "url"),
        ({"name": "reader", "url": "http://user:word@localhost"}, "url"),
        ({"name": "reader", "command": ("a",), "timeout_seconds": 0.0}, "timeout_seconds"),
    ],
)
def test_settings_that_cannot_work_are_refused(given: dict[str, object], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        SecondLabeller(**given)  # type: ignore[arg-type]


class Bench:
    """A ledger with final versions and their texts, and a labeller that counts how often it is asked."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.ledger, self.blobs, self.cursor = ledger, Blobs(folder / "blobs", b"b" * 32), folder / "cursor"
        self.asked: list[str] = []

    def reports(self, first: int, *texts: str, final: bool = True) -> None:
        for number, text in enumerate(texts, first):
            digest = self.blobs.put(text.encode())
            version = ReportVersion(
                report_key=f"m{number}:1",
                site="s",
                accession_key=f"A{number}",
                patient_key=None,
                result_status="F" if final else "P",
                final=final,
                addendum=False,
                observed_at=None,
                reported_at=None,
                received_at=NOON,
                text_sha256=digest,
                message_sha256="0" * 64,
            )
            self.ledger.append([version])

    def read(self, text: str) -> LabelState:
        self.asked.append(text)
        if text == "fails":
            raise LabellerFailed("timeout")
        return LabelState(text)

    def run(self, rule: str = "second:reader-1") -> int:
        return read_again(
            self.ledger, self.blobs, self.read, rule=rule, target_condition="x", cursor=self.cursor, pass_seconds=60.0
        )

    def bodies(self, kind: Kind) -> list[dict[str, object]]:
        return [json.loads(row.body or "") for row in self.ledger.since(0) if row.kind == kind]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", "T") as ledger:
        ledger.migrate()
        yield Bench(tmp_path, ledger)


def test_each_final_version_is_read_once_and_its_label_names_the_second_labeller(bench: Bench) -> None:
    bench.reports(1, "present", "not_mentioned")
    bench.reports(3, "absent", final=False)
    assert (bench.run(), bench.run()) == (2, 0)
    labels = [(body["report_key"], body["rule"], body["state"]) for body in bench.bodies(Kind.LABEL)]
    assert labels == [("m1:1", "second:reader-1", "present"), ("m2:1", "second:reader-1", "not_mentioned")]
    bench.reports(4, "absent")
    assert bench.run() == 1
    bench.cursor.unlink()
    assert (bench.run(), len(bench.asked)) == (0, 3)
    assert bench.run("second:reader-2") == 3


def test_failures_are_counted_and_passed_and_three_in_a_row_wait_for_the_next_pass(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bench.reports(1, "fails", "present", "fails", "fails", "fails", "absent")
    assert (bench.run(), bench.run(), bench.run()) == (5, 1, 0)
    audits = [(body["action"], body["object"], body["detail"]) for body in bench.bodies(Kind.AUDIT)]
    assert audits == [("second_labeller_failed", f"m{number}:1", "timeout") for number in (1, 3, 4, 5)]
    assert [body["state"] for body in bench.bodies(Kind.LABEL)] == ["present", "absent"]
    assert "fails" not in caplog.text


def test_agreement_is_printed_with_kappa_and_ac1() -> None:
    out = io.StringIO()
    print_agreement([ReaderPair("x", "x/1", "second:r", 118, 5, 2, 0)], Console(file=out, width=200))
    assert "-0.02" in out.getvalue() and "0.94" in out.getvalue()
    out = io.StringIO()
    print_agreement([], Console(file=out, width=200))
    assert "yet" in out.getvalue()
