"""A real Orthanc as archive and as router: asked, fetched from, forwarding, and asking for storage commitment."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from head_ct import ROOT, as_file, head_slice, protocol, riverside
from orthanc import AE_TITLE, Orthanc, free_port, running_orthanc
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless
from test_dicom_scp import PSEUDONYMISER, mirror_at_work, receiver, until

from shadow.adapters.dicom_query import DimseArchive
from shadow.adapters.dicomweb import WebArchive
from shadow.adapters.instance_counts import InstanceCounts
from shadow.domain.errors import ArchiveUnavailable
from shadow.domain.project import project_folder
from shadow.index_test.archive import Archive, FetchedInstance
from shadow.index_test.backfill import Backfill
from shadow.index_test.reconciliation import Reconciler
from shadow.protocol.deployment import ArchivePeer, Retrieve
from shadow.store.events import Kind, StudyClosed
from shadow.store.ledger import Ledger

pytestmark = pytest.mark.server

DAY = date(2026, 9, 1)
NOW = datetime(2026, 9, 2, 12, tzinfo=UTC)
TITLE = "RIVERSIDE_RTR"


@pytest.fixture(name="orthanc")
def an_orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path / "orthanc", free_port()) as started:
        yield started


def upload(orthanc: Orthanc, study: str, slices: int = 3, change: Callable[[Dataset], None] = lambda _: None) -> None:
    for number in range(1, slices + 1):
        orthanc.upload(as_file(head_slice(study=study, number=number, change=change)))


def dimse(orthanc: Orthanc, retrieve: Retrieve = Retrieve.C_GET) -> Archive:
    peer = ArchivePeer("riverside", AE_TITLE, "127.0.0.1", orthanc.dicom_port, retrieve=retrieve)
    return DimseArchive("SHADOW", peer)


def web(orthanc: Orthanc) -> Archive:
    peer = ArchivePeer("riverside", url=f"{orthanc.url}/dicom-web", retrieve=Retrieve.WADO)
    return WebArchive(peer, Path())


LANGUAGES = {"dimse": dimse, "dicomweb": web}


@pytest.fixture(name="ledger")
def a_ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", "trial") as opened:
        opened.migrate()
        yield opened


def received(study: str) -> StudyClosed:
    key = PSEUDONYMISER.study_key(f"{ROOT}.{study}")
    now = datetime(2026, 9, 1, 8, tzinfo=UTC)
    return StudyClosed(
        key, 1, None, None, None, "riverside", "riverside-ct-1", "Night", now, now, now, now, 3, "0" * 64,
        None, None, None, None, None, None, None,
    )  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_never_reached_us_is_on_record_by_scanner_and_shift(
    orthanc: Orthanc, ledger: Ledger, language: str
) -> None:
    def overnight(dataset: Dataset) -> None:
        dataset.StationName = "RVCT2"

    def chest(dataset: Dataset) -> None:
        dataset.StudyDescription = "CT CHEST"

    def child(dataset: Dataset) -> None:
        dataset.PatientBirthDate = "20200101"

    def magnetic(dataset: Dataset) -> None:
        dataset.Modality, dataset.SOPClassUID = "MR", "1.2.840.10008.5.1.4.1.1.4"

    def yesterday(dataset: Dataset) -> None:
        dataset.StudyDate = "20260831"

    def tonight(dataset: Dataset) -> None:
        dataset.StudyDate, dataset.StudyTime = "20260902", "070000"

    upload(orthanc, "1")
    upload(orthanc, "2", 4, overnight)
    for number, change in enumerate((chest, child, magnetic, yesterday, tonight), 3):
        upload(orthanc, str(number), 1, change)
    ledger.append([received("1")])
    site, peer = riverside(), ArchivePeer("riverside", "X", settle_hours=12, lookback_days=1)
    one_here = PSEUDONYMISER.study_key(f"{ROOT}.1")
    reconciler = Reconciler(protocol(), PSEUDONYMISER, ledger, lambda key: 2 * (key == one_here))
    archive = LANGUAGES[language](orthanc)
    days = reconciler.reconcile(site, peer, archive, NOW)
    assert [(one.day, one.listed, one.admitted, one.missing) for one in days] == [
        (DAY, 4, 2, 1),
        (date(2026, 9, 2), 1, 0, 0),
    ]
    bodies = {row.subject: row.body or "" for row in ledger.since(0) if row.kind == Kind.ARCHIVE_STUDY.value}
    assert set(bodies) == {PSEUDONYMISER.study_key(f"{ROOT}.{number}") for number in "12"}
    missing = bodies[PSEUDONYMISER.study_key(f"{ROOT}.2")]
    for part in ('"received":false', '"scanner":"riverside-ct-2"', '"shift":"Night"', '"instances_listed":4'):
        assert part in missing
    here = bodies[PSEUDONYMISER.study_key(f"{ROOT}.1")]
    for part in ('"received":true', '"instances_listed":3', '"instances_received":2'):
        assert part in here
    whole = "".join(row.body or "" for row in ledger.since(0))
    assert not [word for word in ("Planted", "MRN84736251", "1952", "00001234", ROOT) if word in whole]
    again = reconciler.reconcile(site, peer, archive, NOW.replace(hour=13))
    assert [one.missing for one in again] == [0, 0], "a study is listed once"


def test_an_archive_that_is_away_is_on_record_too(ledger: Ledger) -> None:
    peer = ArchivePeer("riverside", AE_TITLE, "127.0.0.1", free_port(), lookback_days=0)
    reconciler = Reconciler(protocol(), PSEUDONYMISER, ledger, lambda _: 0)
    for archive in (
        DimseArchive("SHADOW", peer),
        WebArchive(replace(peer, ae_title="", url="http://127.0.0.1:9", retrieve=Retrieve.WADO), Path()),
    ):
        days = reconciler.reconcile(riverside(), peer, archive, NOW)
        assert [one.asked for one in days] == [False]
    assert [row.key.split(":")[0] for row in ledger.since(0)] == ["archive_silent"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_study_is_fetched_byte_for_byte_in_its_own_transfer_syntax(orthanc: Orthanc, language: str) -> None:
    def compressed(dataset: Dataset) -> None:
        dataset.compress(RLELossless, generate_instance_uid=False)

    upload(orthanc, "1", 3, compressed)
    upload(orthanc, "2", 1)
    fetched: list[tuple[FetchedInstance, bytes]] = []
    LANGUAGES[language](orthanc).fetch(f"{ROOT}.1", lambda one: fetched.append((one, bytes(one.data_set))))
    sent = {one.SOPInstanceUID: one for one in (head_slice(study="1", number=number) for number in (1, 2, 3))}
    assert {one.sop_instance_uid for one, _ in fetched} == set(sent)
    kept = [orthanc.file(one) for one in orthanc.get("/instances")]
    for one, content in fetched:
        assert one.transfer_syntax_uid == RLELossless
        assert any(file.endswith(content) for file in kept)
        again = dcmread(io.BytesIO(content), force=True)
        assert "PixelData" in again
        assert again.SOPInstanceUID == one.sop_instance_uid


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_study_that_the_archive_does_not_have_fetches_nothing(orthanc: Orthanc, language: str) -> None:
    taken: list[FetchedInstance] = []
    try:
        LANGUAGES[language](orthanc).fetch(f"{ROOT}.99", taken.append)
    except ArchiveUnavailable as error:
        assert "HTTP 404" in str(error) or "0x" in str(error)
    assert taken == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_fetched_study_takes_the_way_of_every_other(
    orthanc: Orthanc, ledger: Ledger, tmp_path: Path, language: str
) -> None:
    upload(orthanc, "1", 5)
    with mirror_at_work(tmp_path, receiver(), titles=(TITLE,)) as running:
        backfill = Backfill(running.spool, TITLE, 0, 1 << 30, PSEUDONYMISER, lambda event: ledger.append([event]))
        assert backfill.fetch(LANGUAGES[language](orthanc), f"{ROOT}.1") == 5
        manifest = running.manifest(f"{ROOT}.1")
        assert (len(manifest.instances), manifest.calling_ae_title) == (5, TITLE)
    key = manifest.study_key
    assert [row.key for row in ledger.since(0)] == [f"fetched-first:{key}", f"backfill:{key}:0:instances=5"]
    assert list((running.spool / "fetching").iterdir()) == []


def test_an_archive_may_send_to_the_receiver_instead(tmp_path: Path) -> None:
    with mirror_at_work(tmp_path, receiver(), titles=(AE_TITLE,)) as running:
        with running_orthanc(tmp_path / "orthanc", running.scp.port) as orthanc:
            upload(orthanc, "1", 5)
            dimse(orthanc, Retrieve.C_MOVE).fetch(f"{ROOT}.1", lambda _: None)
        assert len(running.manifest(f"{ROOT}.1").instances) == 5


def test_the_forwarder_delivers_all_of_it_though_the_receiver_was_away(tmp_path: Path) -> None:
    port = free_port()
    script = project_folder("deploy") / "orthanc" / "forward_changes.py"
    with running_orthanc(tmp_path / "orthanc", port) as orthanc:
        command = [
            sys.executable,
            str(script),
            "--orthanc",
            orthanc.url,
            "--cursor",
            str(tmp_path / "cursor"),
            "--every",
            "0.2",
        ]
        with (tmp_path / "forwarder.log").open("wb") as log:
            forwarder = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                upload(orthanc, "1", 12)
                time.sleep(1.5)  # nobody listens: this must not lose any
                with mirror_at_work(
                    tmp_path, receiver(port=port, quiet_period_seconds=2.0), titles=(AE_TITLE,)
                ) as running:
                    assert len(running.manifest(f"{ROOT}.1", seconds=30).instances) == 12
                    upload(orthanc, "2", 5)
                    assert len(running.manifest(f"{ROOT}.2", seconds=30).instances) == 5
                    last = orthanc.get("/changes?last")["Last"]
                    until(lambda: int((tmp_path / "cursor").read_text()) == last)
            finally:
                forwarder.terminate()
                forwarder.wait()
    assert "not delivered" in (tmp_path / "forwarder.log").read_text()


def test_orthanc_is_told_that_its_images_are_committed(tmp_path: Path) -> None:
    from test_storage_commitment import Router, at_work

    router = Router()
    router.port = free_port()
    with at_work(tmp_path, router, titles=(AE_TITLE,), peer_title=AE_TITLE) as scp:
        settings = {"DicomPort": router.port, "DicomModalities": {
            "shadow": {"AET": "SHADOW", "Host": "127.0.0.1", "Port": scp.port, "AllowStorageCommitment": True},
        }}  # fmt: skip
        with running_orthanc(tmp_path / "orthanc", scp.port, **settings) as orthanc:
            upload(orthanc, "1", 3)
            stored = orthanc.post(
                "/modalities/shadow/store", Resources=orthanc.get("/instances"), StorageCommitment=True
            )
            transaction = stored["StorageCommitmentTransactionUID"]
            until(lambda: orthanc.get(f"/storage-commitment/{transaction}")["Status"] != "Pending", seconds=20)
            report = orthanc.get(f"/storage-commitment/{transaction}")
            assert (report["Status"], len(report["Success"])) == ("Success", 3)


def test_a_quiet_study_waits_for_what_its_archive_still_has(orthanc: Orthanc, tmp_path: Path) -> None:
    upload(orthanc, "1", 5)
    counts, stopping = InstanceCounts({TITLE: dimse(orthanc)}), threading.Event()
    asking = threading.Thread(target=counts.ask_until, args=(stopping,))
    asking.start()
    path = tmp_path / "one.dcm"
    path.write_bytes(as_file(head_slice(study="1")))
    nobody = tmp_path / "nobody.dcm"
    nobody.write_bytes(as_file(head_slice(study="99")))
    try:
        assert counts.lacks("S1", path, TITLE, 3), "until the archive has answered"
        assert not counts.lacks("S1", path, "ANOTHER", 3)
        until(lambda: not counts.lacks("S1", path, TITLE, 5))
        assert counts.lacks("S1", path, TITLE, 4)
        until(lambda: not counts.lacks("S99", nobody, TITLE, 1))
    finally:
        stopping.set()
        asking.join()


def test_an_archive_that_is_away_delays_nothing(tmp_path: Path) -> None:
    peer = ArchivePeer("riverside", AE_TITLE, "127.0.0.1", free_port())
    counts, stopping = InstanceCounts({TITLE: DimseArchive("SHADOW", peer)}), threading.Event()
    asking = threading.Thread(target=counts.ask_until, args=(stopping,))
    asking.start()
    path = tmp_path / "one.dcm"
    path.write_bytes(as_file(head_slice(study="1")))
    try:
        until(lambda: not counts.lacks("S1", path, TITLE, 1))
    finally:
        stopping.set()
        asking.join()
