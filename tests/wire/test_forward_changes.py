"""The forwarder beside a real Orthanc: nothing is passed over, and nothing is held up for ever."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from head_ct import ROOT, as_file, head_slice
from orthanc import AE_TITLE, Orthanc, free_port, running_orthanc
from pydicom.dataset import Dataset
from test_dicom_scp import PSEUDONYMISER, Running, mirror_at_work, receiver, until

from shadow.domain.project import project_folder
from shadow.index_test.mirror import StudyManifest, manifest_path, read_manifest

pytestmark = pytest.mark.server


@contextmanager
def forwarding(folder: Path, orthanc: Orthanc) -> Iterator[Path]:
    """The program at work; yields its log."""
    script = project_folder("deploy") / "orthanc" / "forward_changes.py"
    options = ["--orthanc", orthanc.url, "--cursor", str(folder / "cursor"), "--every", "0.1", "--retry-refused", "0.5"]
    with (folder / "forwarder.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, str(script), *options], stdout=log, stderr=log)
        try:
            yield folder / "forwarder.log"
        finally:
            process.terminate()
            process.wait()


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
    with running_orthanc(tmp_path / "orthanc", port) as orthanc, forwarding(tmp_path, orthanc) as log:
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
        with at_work as running, forwarding(tmp_path, orthanc) as log:
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
            forwarding(tmp_path, orthanc),
            mirror_at_work(tmp_path, receiver(port=port), titles=(AE_TITLE,)) as running,
        ):
            assert instances(running, "1") == 3
            orthanc.post("/tools/reset")
            until(lambda: is_uploaded(orthanc, "2", 5))
            # What came before the restart may have become a revision of its own meanwhile.
            until(lambda: any(len(one.instances) == 5 for one in revisions(running, "2")), seconds=20)
