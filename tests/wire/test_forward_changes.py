"""The forwarder beside a real Orthanc: nothing is passed over, and nothing is held up for ever."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from head_ct import ROOT, as_file, head_slice
from orthanc import AE_TITLE, Orthanc, free_port, running_orthanc
from pydicom.dataset import Dataset
from test_dicom_scp import PSEUDONYMISER, Running, mirror_at_work, receiver, until

from shadow.domain.project import project_folder
from shadow.index_test.study_manifest import StudyManifest, manifest_path, read_manifest

pytestmark = pytest.mark.server


@contextmanager
def forwarding(folder: Path, url: str, *others: str) -> Iterator[Path]:
    """The program at work; yields its log."""
    script = project_folder("deploy") / "orthanc" / "forward_changes.py"
    options = ["--orthanc", url, "--cursor", str(folder / "cursor"), "--every", "0.1", "--retry-refused", "0.5"]
    with (folder / "forwarder.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, str(script), *options, *others], stdout=log, stderr=log)
        try:
            yield folder / "forwarder.log"
        finally:
            process.terminate()
            process.wait()


@dataclass
class ChangeLog:
    """What the program asks of an Orthanc: its instances in their order, and those that the receiver refuses."""

    instances: list[str]
    refused: frozenset[str]
    delivered: set[str] = field(default_factory=set)
    seconds_for_many: float = 0.0
    seconds_to_refuse: float = 0.0
    refusals: int = 0

    def answer(self, path: str, content: Any) -> Any:
        """The answer to a call, or None where it fails."""
        asked = parse_qs(urlsplit(path).query, keep_blank_values=True)
        if "last" in asked:
            return {"Last": len(self.instances)}
        if "since" in asked:
            since, limit = int(asked["since"][0]), int(asked["limit"][0])
            some = self.instances[since : since + limit]
            changes = [{"ChangeType": "NewInstance", "ID": one} for one in some]
            end = since + len(some)
            return {"Changes": changes, "Last": end, "Done": end == len(self.instances)}
        if path.endswith("/store"):
            if len(content["Resources"]) > 1:
                time.sleep(self.seconds_for_many)
            self.delivered |= set(content["Resources"]) - self.refused
            if self.refused & set(content["Resources"]):
                time.sleep(self.seconds_to_refuse)
                self.refusals += 1
                return None
            return {}
        return {}  # C-ECHO, and the metadata of an instance

    @contextmanager
    def at_work(self) -> Iterator[str]:
        """Yields its address."""
        log = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                found = log.answer(self.path, json.loads(body or "null"))
                with suppress(OSError):  # the program may be gone
                    self.send_response(500 if found is None else 200)
                    self.end_headers()
                    self.wfile.write(json.dumps(found).encode())

            do_POST = do_GET  # noqa: N815 (the server's names)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def test_a_study_that_is_refused_whole_holds_up_nobody_behind_it(tmp_path: Path) -> None:
    refused = [f"refused-{number}" for number in range(120)]
    orthanc = ChangeLog([*refused, "taken"], frozenset(refused))
    with orthanc.at_work() as url, forwarding(tmp_path, url):
        until(lambda: (tmp_path / "cursor").exists() and (tmp_path / "cursor").read_text() == "121", seconds=20)
        assert (tmp_path / "cursor.refused").read_text().split() == refused


def test_what_has_nothing_behind_it_waits(tmp_path: Path) -> None:
    orthanc = ChangeLog(["refused-1", "refused-2"], frozenset({"refused-1", "refused-2"}))
    with orthanc.at_work() as url, forwarding(tmp_path, url) as log:
        until(lambda: "not delivered" in log.read_text())
        assert not (tmp_path / "cursor").exists()
        orthanc.instances.append("taken")
        until((tmp_path / "cursor").exists)
        assert orthanc.delivered == {"taken"}


def test_a_study_that_is_refused_again_and_again_holds_up_nothing_new(tmp_path: Path) -> None:
    refused = [f"refused-{number}" for number in range(100)]
    orthanc = ChangeLog(list(refused), frozenset(refused), seconds_to_refuse=0.2)
    (tmp_path / "cursor").write_text("100")
    (tmp_path / "cursor.refused").write_text("\n".join(refused))
    with orthanc.at_work() as url, forwarding(tmp_path, url):
        until(lambda: orthanc.refusals > 0)
        orthanc.instances.append("new")
        until(lambda: "new" in orthanc.delivered)
        until(lambda: orthanc.refusals > 3)
    left = (tmp_path / "cursor.refused").read_text().split()
    assert sorted(left) == sorted(refused)
    assert left[0] != refused[0], "each has its turn"


def test_a_hundred_images_that_take_too_long_together_are_sent_one_by_one(tmp_path: Path) -> None:
    """Asked again for all of them, Orthanc would send them all again, for ever."""
    orthanc = ChangeLog(["large-1", "large-2", "large-3"], frozenset(), seconds_for_many=2.0)
    with orthanc.at_work() as url, forwarding(tmp_path, url, "--timeout", "0.5") as log:
        until((tmp_path / "cursor").exists)
        assert "not delivered" not in log.read_text()


def large(dataset: Dataset) -> None:
    dataset.EncapsulatedDocument = bytes(400_000)


def upload(orthanc: Orthanc, study: str, count: int) -> None:
    for number in range(1, count + 1):
        orthanc.upload(as_file(head_slice(study=study, number=number)))


def instances(running: Running, study: str) -> int:
    return len(running.manifest(f"{ROOT}.{study}", seconds=20).instances)


def revisions(running: Running, study: str) -> list[StudyManifest]:
    """What was closed of a study so far."""
    key = PSEUDONYMISER.study_key(f"{ROOT}.{study}")
    paths = [manifest_path(running.spool, key, revision) for revision in range(1, 6)]
    return [read_manifest(path) for path in paths if path.exists()]


def test_an_instance_that_is_refused_for_ever_holds_nobody_up_and_is_tried_again(tmp_path: Path) -> None:
    port = free_port()
    with running_orthanc(tmp_path / "orthanc", port) as orthanc, forwarding(tmp_path, orthanc.url) as log:
        limited = receiver(port=port, maximum_object_bytes=300_000, quiet_period_seconds=2.0)
        with mirror_at_work(tmp_path, limited, titles=(AE_TITLE,)) as running:
            orthanc.upload(as_file(head_slice(study="1", number=1, change=large)))
            upload(orthanc, "2", 3)
            assert instances(running, "2") == 3
            until(lambda: (tmp_path / "cursor.refused").exists())
            upload(orthanc, "3", 2)
            assert instances(running, "3") == 2
        with mirror_at_work(tmp_path, receiver(port=port), titles=(AE_TITLE,)) as running:
            assert instances(running, "1") == 1
        until(lambda: (tmp_path / "cursor.refused").read_text() == "")
        assert "refused while others are taken" in log.read_text()


@pytest.mark.parametrize(
    ("cursor", "said"), [("", "cannot be read"), ("4\x00\x00", "cannot be read"), ("9999", "another database")]
)
def test_a_cursor_that_is_damaged_or_of_another_database_passes_nothing_over(
    tmp_path: Path, cursor: str, said: str
) -> None:
    port = free_port()
    (tmp_path / "cursor").write_text(cursor)
    with running_orthanc(tmp_path / "orthanc", port) as orthanc:
        upload(orthanc, "1", 3)
        at_work = mirror_at_work(tmp_path, receiver(port=port), titles=(AE_TITLE,))
        with at_work as running, forwarding(tmp_path, orthanc.url) as log:
            assert instances(running, "1") == 3
            until(lambda: said in log.read_text())


def is_uploaded(orthanc: Orthanc, study: str, count: int) -> bool:
    """Whether it took them all: an Orthanc that was told to restart still answers for a moment."""
    try:
        upload(orthanc, study, count)
    except httpx.HTTPError:
        return False
    return True


def test_orthanc_may_restart_and_forget_an_instance_in_between(tmp_path: Path) -> None:
    port = free_port()
    with running_orthanc(tmp_path / "orthanc", port) as orthanc:
        upload(orthanc, "1", 4)
        gone, *_ = orthanc.get("/instances")
        orthanc.delete(f"/instances/{gone}")
        with (
            forwarding(tmp_path, orthanc.url),
            mirror_at_work(tmp_path, receiver(port=port), titles=(AE_TITLE,)) as running,
        ):
            assert instances(running, "1") == 3
            orthanc.post("/tools/reset")
            until(lambda: is_uploaded(orthanc, "2", 5))
            # What came before the restart may have become a revision of its own meanwhile.
            until(lambda: any(len(one.instances) == 5 for one in revisions(running, "2")), seconds=20)
