"""The receiver over real associations on loopback."""

from __future__ import annotations

import io
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

import pytest
from blake3 import blake3
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import PatientRootQueryRetrieveInformationModelFind, Verification

from shadow.adapters.dicom_scp import StorageScp
from shadow.domain.clock import SystemClock
from shadow.domain.errors import SetupError
from shadow.domain.identifiers import Pseudonymiser
from shadow.index_test.arrival import Arrival, Report
from shadow.index_test.mirror import Mirror
from shadow.index_test.mirror_worker import MirrorWorker
from shadow.index_test.spool import Spool
from shadow.index_test.study_manifest import StudyManifest, manifest_path, read_manifest
from shadow.protocol.deployment import Implementation, Receiver
from shadow.store.events import Audited, Event
from shadow.store.queue import WorkQueue

pytestmark = pytest.mark.server

ROUTER = "RIVER_ROUTER"
PSEUDONYMISER = Pseudonymiser(b"a site secret of more than 32 bytes..")
ECHOSCU, STORESCU = Path("/usr/bin/echoscu"), Path("/usr/bin/storescu")
FINDSCU, DCMSEND = Path("/usr/bin/findscu"), Path("/usr/bin/dcmsend")


def ct_slice(study: str, instance: str, *, rows: int = 64, comment: str = "") -> Dataset:
    """One small CT slice; `rows` x 64 pixels."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID(instance)
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = f"{study}.1"
    dataset.PatientName = "Planted^Name"
    dataset.ImageComments = comment
    dataset.Rows, dataset.Columns = rows, 64
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PixelData = bytes(2 * rows * 64)
    return dataset


def slices(study: str, count: int) -> list[Dataset]:
    return [ct_slice(study, f"{study}.1.{number}") for number in range(1, count + 1)]


@dataclass
class Running:
    """A receiver with its mirror at work."""

    scp: StorageScp
    spool: Path
    admission: WorkQueue
    arrivals: list[Arrival] = field(default_factory=list)
    present_at_report: list[bool] = field(default_factory=list)
    recorded: list[Event] = field(default_factory=list)

    def files(self, pattern: str) -> list[Path]:
        return sorted(self.spool.glob(pattern))

    def audits(self, action: str) -> list[Audited]:
        return [one for one in self.recorded if isinstance(one, Audited) and one.action == action]

    def manifest(self, study: str, revision: int = 1, seconds: float = 10.0) -> StudyManifest:
        path = manifest_path(self.spool, PSEUDONYMISER.study_key(study), revision)
        until(path.exists, seconds)
        return read_manifest(path)


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.01)


@contextmanager
def mirror_at_work(
    folder: Path, settings: Receiver, titles: tuple[str, ...] = (ROUTER, "../PEER/..")
) -> Iterator[Running]:
    limits = {
        "minimum_free_bytes": settings.minimum_free_bytes,
        "maximum_object_bytes": settings.maximum_object_bytes,
    }
    with Spool(folder / "spool", titles, **limits) as spool:
        inbox: Queue[Report] = Queue()
        recorded: list[Event] = []

        def report(one: Report) -> None:
            if isinstance(one, Arrival):
                running.present_at_report.append((spool.arrived_from(one.calling_ae_title) / one.file).exists())
                running.arrivals.append(one)
            inbox.put(one)

        admission = WorkQueue(folder / "queues" / "admission")
        quiet = settings.quiet_period_seconds
        mirror = Mirror(spool, admission, PSEUDONYMISER, SystemClock(), quiet, recorded.extend)
        worker = MirrorWorker(mirror, inbox, recorded.extend)
        stopping = threading.Event()

        def work() -> None:
            while not stopping.is_set():
                worker.work(0.02)

        with StorageScp(settings, titles, spool, report) as scp:
            running = Running(scp, folder / "spool", admission, recorded=recorded)
            thread = threading.Thread(target=work)
            thread.start()
            try:
                yield running
            finally:
                stopping.set()
                thread.join()
                worker.finish()


def receiver(**changes: object) -> Receiver:
    return Receiver(**{"port": 0, "quiet_period_seconds": 0.3, "minimum_free_bytes": 0} | changes)  # type: ignore[arg-type]


@pytest.fixture(name="running", params=list(Implementation))
def running_mirror(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    with mirror_at_work(tmp_path, receiver(implementation=request.param)) as one:
        yield one


@contextmanager
def associated(port: int, calling: str = ROUTER, called: str = "SHADOW") -> Iterator[Association]:
    entity = AE(calling)
    entity.add_requested_context(CTImageStorage, [ExplicitVRLittleEndian])
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def store(association: Association, dataset: Dataset) -> int:
    """C-STORE, and its status."""
    status = int(association.send_c_store(dataset).Status)
    let_the_reactor_wake(association)
    return status


def let_the_reactor_wake(association: Association) -> None:
    """Else pynetdicom takes this request's pause for the next one's, and takes the answer away from it."""
    while association._is_paused and association.is_established and association.is_alive():
        time.sleep(0.0005)


def store_all(port: int, datasets: list[Dataset]) -> None:
    with associated(port) as association:
        assert [store(association, one) for one in datasets] == [0x0000] * len(datasets)


def send(running: Running, datasets: list[Dataset], calling: str = ROUTER) -> list[int]:
    with associated(running.scp.port, calling) as association:
        return [store(association, one) for one in datasets]


def test_an_instance_is_on_disk_before_its_sender_is_told_success(running: Running) -> None:
    assert send(running, slices("1.2.3", 3)) == [0x0000] * 3
    assert running.present_at_report == [True] * 3


def test_a_quiet_study_is_closed_with_a_manifest_of_every_instance_and_queued_for_admission(
    running: Running,
) -> None:
    send(running, slices("1.2.3", 3))
    manifest = running.manifest("1.2.3")
    folder = manifest_path(running.spool, manifest.study_key, 1).parent
    assert [one.sop_instance_uid for one in manifest.instances] == ["1.2.3.1.1", "1.2.3.1.2", "1.2.3.1.3"]
    for one in manifest.instances:
        assert f"b3-{blake3((folder / one.file).read_bytes()).hexdigest()}" == one.digest
    assert (manifest.revision, manifest.supersedes, manifest.calling_ae_title) == (1, None, ROUTER)
    until(lambda: running.admission.ready() == [f"{manifest.study_key}.r1"])
    until(lambda: running.files("open/*") == [])
    assert running.files("arrived/*/*") == []


def test_the_spooled_file_is_a_dicom_file_with_the_bytes_that_were_sent(running: Running) -> None:
    sent = ct_slice("1.2.3", "1.2.3.1.1", comment="as it came")
    send(running, [sent])
    (file,) = running.manifest("1.2.3").instances
    path = manifest_path(running.spool, PSEUDONYMISER.study_key("1.2.3"), 1).parent / file.file
    content = path.read_bytes()
    data_set = encode(sent, is_implicit_vr=False, is_little_endian=True)
    assert data_set is not None
    assert content.endswith(data_set)
    received = dcmread(path)
    assert received == sent
    assert received.file_meta.FileMetaInformationGroupLength == len(content) - len(data_set) - 144
    assert received.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert received.file_meta.MediaStorageSOPInstanceUID == "1.2.3.1.1"
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_same_instance_sent_again_is_success_and_changes_nothing(running: Running) -> None:
    images = slices("1.2.3", 2)
    assert send(running, images + images) == [0x0000] * 4
    assert len(running.manifest("1.2.3").instances) == 2
    until(lambda: running.files("open/*") == [])
    assert send(running, images) == [0x0000] * 2
    until(lambda: running.files("arrived/*/*") == [])
    time.sleep(0.5)
    assert len(running.files("studies/*/manifest-*")) == 1
    assert running.recorded == []


def test_other_bytes_under_the_same_sop_instance_uid_are_kept_counted_and_do_not_replace_the_first(
    running: Running,
) -> None:
    first, other = (ct_slice("1.2.3", "1.2.3.1.1", comment=comment) for comment in ("first", "other"))
    assert send(running, [first, other]) == [0x0000] * 2
    (kept,) = running.manifest("1.2.3").instances
    (aside,) = running.files("studies/*/other/*.dcm")
    assert dcmread(aside).ImageComments == "other"
    assert dcmread(aside.parent.parent / kept.file).ImageComments == "first"
    (audit,) = running.audits("instance_conflict")
    assert audit.object == aside.name.split("~")[1].removesuffix(".dcm")


def test_an_unreadable_data_set_is_quarantined_with_its_reason_and_its_neighbours_pass(
    running: Running,
) -> None:
    nameless = ct_slice("1.2.3", "1.2.3.1.2")
    del nameless.StudyInstanceUID
    garbled = ct_slice("1.2.3", "1.2.3.1.3")
    with associated(running.scp.port) as association:
        statuses = [store(association, one) for one in (slices("1.2.3", 1)[0], nameless)]
        statuses.append(send_raw(association, garbled, b"\xff" * 999))
    assert statuses == [0x0000] * 3
    assert [one.sop_instance_uid for one in running.manifest("1.2.3").instances] == ["1.2.3.1.1"]
    assert len(running.files("quarantine/*.dcm")) == len(running.files("quarantine/*.reason.json")) == 2
    details = {one.object: one.detail for one in running.audits("instance_quarantined")}
    assert sorted(details.values()) == ["no_sop_instance_uid", "no_study_instance_uid"]
    assert set(details) == {path.stem.split("~")[1] for path in running.files("quarantine/*.dcm")}


def send_raw(association: Association, dataset: Dataset, content: bytes, uid: str | None = None) -> int:
    """C-STORE with a data set of these bytes, which no honest encoder would write."""
    from pynetdicom.dimse_primitives import C_STORE

    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID = CTImageStorage
    request.AffectedSOPInstanceUID = uid or dataset.SOPInstanceUID
    request.DataSet = io.BytesIO(content)
    context = next(one for one in association.accepted_contexts if one.abstract_syntax == CTImageStorage)
    association._reactor_checkpoint.clear()  # as send_c_store does: or the reactor takes the answer
    while not association._is_paused:
        time.sleep(0.001)
    association.dimse.send_msg(request, context.context_id)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    let_the_reactor_wake(association)
    return int(response.Status)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # pydicom, in the sender
@pytest.mark.parametrize("uid", ["../../../etc/passwd", "1.2/3", "..", "1.2.3~4", "1.2..3", "/tmp/passwd"])
def test_a_sop_instance_uid_that_is_none_is_refused_and_writes_nothing(running: Running, uid: str) -> None:
    with associated(running.scp.port) as association:
        assert send_raw(association, Dataset(), b"\0" * 100, uid) == 0xC000
        assert association.send_c_store(ct_slice("1.2.3", "1.2.3.1.1")).Status == 0x0000
    running.manifest("1.2.3")
    assert [path for path in running.spool.parent.rglob("*") if "passwd" in path.name] == []
    assert len(running.files("**/*.dcm")) == 1


def test_a_calling_ae_title_is_never_a_path(running: Running) -> None:
    send(running, slices("1.2.3", 1), calling="../PEER/..")
    assert running.manifest("1.2.3").calling_ae_title == "../PEER/.."
    assert {path.name for path in running.spool.iterdir()} == {
        ".lock", "arrived", "open", "quarantine", "studies",
    }  # fmt: skip


def test_an_ae_title_that_no_site_lists_is_rejected_and_counted(running: Running) -> None:
    for _ in range(3):
        with associated(running.scp.port, calling="STRANGER") as association:
            assert association.is_rejected
    with associated(running.scp.port, called="PACS") as association:
        assert association.is_rejected
    until(lambda: len(running.recorded) == 2)
    assert sorted(one.detail for one in running.audits("association_rejected")) == [
        "called_ae_title",
        "calling_ae_title",
    ]


def test_queries_are_not_offered(running: Running) -> None:
    entity = AE(ROUTER)
    entity.add_requested_context(PatientRootQueryRetrieveInformationModelFind)
    association = entity.associate("127.0.0.1", running.scp.port, ae_title="SHADOW")
    assert not association.is_established or association.accepted_contexts == []
    if association.is_established:
        association.release()


def test_the_sender_keeps_its_transfer_syntax(running: Running) -> None:
    entity = AE(ROUTER)
    entity.add_requested_context(CTImageStorage, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    association = entity.associate("127.0.0.1", running.scp.port, ae_title="SHADOW")
    (context,) = association.accepted_contexts
    association.release()
    assert context.transfer_syntax == [ExplicitVRLittleEndian]


def test_a_full_disk_refuses_each_object_and_keeps_the_association(tmp_path: Path) -> None:
    with mirror_at_work(tmp_path, receiver(minimum_free_bytes=1 << 60)) as running:
        assert send(running, slices("1.2.3", 3)) == [0xA700] * 3
        assert running.files("arrived/*/*") == []


def test_an_object_over_the_limit_is_refused_and_the_next_one_taken(tmp_path: Path) -> None:
    with mirror_at_work(tmp_path, receiver(maximum_object_bytes=20_000)) as running:
        large, small = ct_slice("1.2.3", "1.2.3.1.1", rows=512), ct_slice("1.2.3", "1.2.3.1.2")
        assert send(running, [large, small]) == [0xA700, 0x0000]
        assert [one.sop_instance_uid for one in running.manifest("1.2.3").instances] == ["1.2.3.1.2"]
        assert [one.detail for one in running.audits("instance_refused")] == ["too_large"]


def test_a_study_stays_open_while_the_association_that_carried_it_is(running: Running) -> None:
    with associated(running.scp.port) as association:
        association.send_c_store(ct_slice("1.2.3", "1.2.3.1.1"))
        time.sleep(0.8)
        assert running.files("studies/*/manifest-*") == []
        association.send_c_store(ct_slice("1.2.3", "1.2.3.1.2"))
    assert len(running.manifest("1.2.3").instances) == 2


def test_an_aborted_transfer_leaves_nothing_half_and_the_study_closes_with_what_came(running: Running) -> None:
    images = slices("1.2.3", 3)
    with associated(running.scp.port) as association:
        association.send_c_store(images[0])
        abort_inside_an_object(association, images[1])
    manifest = running.manifest("1.2.3")
    assert [one.sop_instance_uid for one in manifest.instances] == ["1.2.3.1.1"]
    assert running.files("**/*.part") == []


def abort_inside_an_object(association: Association, dataset: Dataset) -> None:
    """Send the command set and the first half of the data set, then drop the connection."""
    from pynetdicom.dimse_messages import C_STORE_RQ
    from pynetdicom.dimse_primitives import C_STORE

    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CTImageStorage, dataset.SOPInstanceUID
    request.DataSet = io.BytesIO(dataset.PixelData)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    context = next(one for one in association.accepted_contexts if one.abstract_syntax == CTImageStorage)
    fragments = list(message.encode_msg(context.context_id, 2048))
    for fragment in fragments[: len(fragments) // 2]:
        association.dul.send_pdu(fragment)
    time.sleep(0.1)
    association.abort()


def test_a_resend_after_an_abort_completes_the_study(running: Running) -> None:
    images = slices("1.2.3", 3)
    with associated(running.scp.port) as association:
        association.send_c_store(images[0])
        abort_inside_an_object(association, images[1])
    send(running, images)
    assert len(running.manifest("1.2.3").instances) == 3
    assert len(running.files("studies/*/manifest-*")) == 1


def test_a_late_instance_makes_revision_two_which_supersedes_the_first(running: Running) -> None:
    images = slices("1.2.3", 3)
    send(running, images[:2])
    first = running.manifest("1.2.3")
    send(running, images)
    second = running.manifest("1.2.3", revision=2)
    assert (second.revision, second.supersedes) == (2, 1)
    assert set(first.instances) < set(second.instances)
    assert second.first_received_at == first.first_received_at < first.closed_at < second.closed_at
    assert running.manifest("1.2.3") == first
    until(lambda: len(running.admission.ready()) == 2)


def test_a_second_mirror_on_the_same_spool_or_port_is_refused(running: Running) -> None:
    with pytest.raises(SetupError, match="another mirror"):
        Spool(running.spool, (ROUTER,), minimum_free_bytes=0, maximum_object_bytes=1)
    with pytest.raises(SetupError, match="cannot listen"):
        StorageScp(receiver(port=running.scp.port), (ROUTER,), object(), print)  # type: ignore[arg-type]


@pytest.mark.skipif(not ECHOSCU.exists(), reason="dcmtk is not installed")
def test_dcmtk_echoes(running: Running) -> None:
    command = [str(ECHOSCU), "-aet", ROUTER, "-aec", "SHADOW", "127.0.0.1", str(running.scp.port)]
    assert subprocess.run(command, check=False, timeout=20).returncode == 0


@pytest.mark.skipif(not STORESCU.exists(), reason="dcmtk is not installed")
def test_dcmtk_sends_a_study(running: Running, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    study = "1.2.826.0.1.77"
    for number, one in enumerate(slices(study, 5)):
        one.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    command = [str(STORESCU), "-aet", ROUTER, "-aec", "SHADOW", "+sd", "127.0.0.1", str(running.scp.port)]
    subprocess.run([*command, str(folder)], check=True, timeout=30, capture_output=True)
    shutil.rmtree(folder)
    assert len(running.manifest(study).instances) == 5


@pytest.mark.skipif(not FINDSCU.exists(), reason="dcmtk is not installed")
def test_dcmtk_is_told_that_nothing_can_be_asked_or_fetched_here(running: Running) -> None:
    """What was mirrored to us is no archive: C-FIND finds no presentation context, and the receiver goes on."""
    peer = ["-aet", ROUTER, "-aec", "SHADOW", "127.0.0.1", str(running.scp.port)]
    question = [str(FINDSCU), "-v", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", *peer]
    found = subprocess.run(question, capture_output=True, text=True, check=False, timeout=30)
    assert "No Acceptable Presentation Contexts" in found.stdout + found.stderr
    assert "Find Response" not in found.stdout + found.stderr
    assert subprocess.run([str(ECHOSCU), *peer], check=False, timeout=20).returncode == 0


@pytest.mark.skipif(not DCMSEND.exists(), reason="dcmtk is not installed")
def test_dcmtk_dcmsend_reports_every_image_as_taken(running: Running, tmp_path: Path) -> None:
    study = "1.2.826.0.1.78"
    for number, one in enumerate(slices(study, 4)):
        one.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    report = tmp_path / "report.txt"
    command = [str(DCMSEND), "-aet", ROUTER, "-aec", "SHADOW", "+crf", str(report), "127.0.0.1", str(running.scp.port)]
    subprocess.run([*command, *map(str, tmp_path.glob("*.dcm"))], check=True, timeout=30, capture_output=True)
    assert "with status SUCCESS  : 4" in report.read_text()
    assert len(running.manifest(study).instances) == 4
