"""Storage commitment on real associations: asked over the receiver's port, answered to the router's own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

import pytest
from folder_syncs import folder_syncs
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance
from test_dicom_scp import PSEUDONYMISER, ROUTER, receiver, slices, store_all, until

from shadow.adapters.dicom_scp import StorageScp
from shadow.adapters.storage_commitment import CommitmentDesk
from shadow.domain.clock import SystemClock
from shadow.index_test.arrival import Report
from shadow.index_test.commitment import CommitmentRequest, Commitments
from shadow.index_test.inlet import Offer, Receipt
from shadow.index_test.mirror import Mirror
from shadow.index_test.mirror_worker import MirrorWorker
from shadow.index_test.spool import Spool
from shadow.index_test.spool_index import FILE, SpoolIndex
from shadow.protocol.deployment import CommitmentPeer, Implementation
from shadow.store.queue import WorkQueue

pytestmark = pytest.mark.server

MISSING = "1.2.3.999"


@dataclass
class Router:
    """Asks, and hears the answers."""

    told: list[tuple[int, Dataset]] = field(default_factory=list)
    port: int = 0
    unwanted: str = ""
    """A transaction of which it does not take the answer."""

    def ask(self, port: int, references: list[tuple[str, str]], title: str = ROUTER) -> int:
        entity = AE(title)
        entity.add_requested_context(StorageCommitmentPushModel)
        association = entity.associate("127.0.0.1", port, ae_title="SHADOW")
        information = Dataset()
        information.TransactionUID = generate_uid()
        information.ReferencedSOPSequence = []
        for sop_class_uid, sop_instance_uid in references:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
            information.ReferencedSOPSequence.append(item)
        status, _ = association.send_n_action(
            information, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        association.release()
        return int(status.Status)

    @contextmanager
    def listening(self) -> Iterator[Router]:
        def take(event: evt.Event) -> tuple[int, None]:
            if event.event_information.TransactionUID == self.unwanted:
                return 0x0110, None
            self.told.append((event.request.EventTypeID, event.event_information))
            return 0x0000, None

        entity = AE(ROUTER)
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        server = entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)]
        )
        self.port = server.server_address[1]
        try:
            yield self
        finally:
            server.shutdown()


def ignore(events: object) -> None:
    """Nothing is put on record here."""


@contextmanager
def at_work(
    folder: Path,
    router: Router,
    implementation: Implementation = Implementation.STREAMING,
    titles: tuple[str, ...] = (ROUTER, "STRANGER"),
    peer_title: str = ROUTER,
) -> Iterator[StorageScp]:
    """The receiver, its mirror and its desk, as the process runs them."""
    peers = (CommitmentPeer(peer_title, "127.0.0.1", router.port),)
    stopping = threading.Event()
    inbox: Queue[Report] = Queue()
    root = folder / "spool"
    with (
        Spool(root, titles, minimum_free_bytes=0, maximum_object_bytes=1 << 30) as spool,
        SpoolIndex(root) as index,
    ):
        queue = WorkQueue(folder / "queue")
        mirror = Mirror(spool, queue, PSEUDONYMISER, SystemClock(), 0.3, ignore, index)
        worker = MirrorWorker(mirror, inbox, ignore)
        desk = CommitmentDesk("SHADOW", peers, root)

        def work() -> None:
            while not stopping.is_set():
                worker.work(0.02)
                index.write()

        settings = receiver(implementation=implementation)
        with StorageScp(settings, titles, spool, inbox.put, commitments=desk) as scp:
            threads = [
                threading.Thread(target=work),
                threading.Thread(target=desk.answer_until, args=(index, stopping)),
            ]
            for thread in threads:
                thread.start()
            try:
                yield scp
            finally:
                stopping.set()
                for thread in threads:
                    thread.join()


def references(uids: list[str], sop_class_uid: str = CTImageStorage) -> list[tuple[str, str]]:
    return [(sop_class_uid, uid) for uid in uids]


@pytest.mark.parametrize("implementation", list(Implementation))
def test_what_lies_on_the_disk_is_committed(tmp_path: Path, implementation: Implementation) -> None:
    images = slices("1.2.3", 3)
    with Router().listening() as router, at_work(tmp_path, router, implementation) as scp:
        store_all(scp.port, images)
        uids = [one.SOPInstanceUID for one in images]
        assert router.ask(scp.port, references(uids)) == 0x0000
        until(lambda: bool(router.told))
        kind, information = router.told[0]
        assert kind == 1
        assert [one.ReferencedSOPInstanceUID for one in information.ReferencedSOPSequence] == uids
        assert "FailedSOPSequence" not in information


def test_what_lies_in_quarantine_is_committed_too(tmp_path: Path) -> None:
    (image,) = slices("1.2.3", 1)
    del image.StudyInstanceUID
    with Router().listening() as router, at_work(tmp_path, router) as scp:
        store_all(scp.port, [image])
        until(lambda: bool([*(tmp_path / "spool" / "quarantine").glob("*.dcm")]))
        router.ask(scp.port, references([image.SOPInstanceUID]))
        until(lambda: bool(router.told), seconds=15)
        kind, information = router.told[0]
        assert kind == 1
        assert [one.ReferencedSOPInstanceUID for one in information.ReferencedSOPSequence] == [image.SOPInstanceUID]


def test_what_does_not_or_is_of_another_class_is_told_with_its_reason(tmp_path: Path) -> None:
    images = slices("1.2.3", 2)
    mr = "1.2.840.10008.5.1.4.1.1.4"
    with Router().listening() as router, at_work(tmp_path, router) as scp:
        store_all(scp.port, images)
        asked = [(CTImageStorage, "1.2.3.1.1"), (mr, "1.2.3.1.2"), (CTImageStorage, MISSING)]
        assert router.ask(scp.port, asked) == 0x0000
        until(lambda: bool(router.told), seconds=15)
        kind, information = router.told[0]
        assert kind == 2
        assert [one.ReferencedSOPInstanceUID for one in information.ReferencedSOPSequence] == ["1.2.3.1.1"]
        failed = {one.ReferencedSOPInstanceUID: one.FailureReason for one in information.FailedSOPSequence}
        assert failed == {"1.2.3.1.2": 0x0119, MISSING: 0x0112}


def test_an_instance_whose_name_the_disk_refused_to_keep_is_not_committed(tmp_path: Path) -> None:
    """It lies in the spool, but a power cut would take it: its sender was told that it is not stored."""
    root = tmp_path / "spool"
    with (
        Spool(root, (ROUTER,), minimum_free_bytes=0, maximum_object_bytes=1 << 20) as spool,
        SpoolIndex(root) as index,
    ):
        offer = Offer(ROUTER, CTImageStorage, "1.2.3.1", ExplicitVRLittleEndian)
        assert spool.receive(offer, memoryview(bytes(100)))[0] is Receipt.STORED
        requests = Commitments(root)
        requests.accept(CommitmentRequest(ROUTER, "1.2.9", ((CTImageStorage, "1.2.3.1"),)))
        (path,) = requests.waiting()
        with folder_syncs(refused=spool.arrived_from(ROUTER)), pytest.raises(OSError, match="Input/output error"):
            requests.answer(path, index)
        answer = requests.answer(path, index)
        assert answer is not None and not answer.failed


def test_a_request_outlives_its_receiver_and_a_router_that_is_away(tmp_path: Path) -> None:
    router = Router()
    with router.listening():
        pass  # to know a port that nobody listens on
    with at_work(tmp_path, router) as scp:
        store_all(scp.port, slices("1.2.3", 1))
        assert router.ask(scp.port, references(["1.2.3.1.1"])) == 0x0000
        time.sleep(0.5)
    assert router.told == []
    with at_work(tmp_path, router), router.listening():
        until(lambda: [kind for kind, _ in router.told] == [1])
    assert list((tmp_path / "spool" / "commitments").iterdir()) == []


def test_a_peer_that_takes_no_association_is_tried_once_for_all_that_it_asked(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    with (
        socket.create_server(("127.0.0.1", 0)) as away,
        Spool(root, (ROUTER,), minimum_free_bytes=0, maximum_object_bytes=1 << 20) as spool,
        SpoolIndex(root) as index,
    ):
        spool.receive(Offer(ROUTER, CTImageStorage, "1.2.3.1", ExplicitVRLittleEndian), memoryview(bytes(100)))
        attempts = [0]

        def refuse() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = away.accept()
                    attempts[0] += 1
                    connection.close()

        refusing = threading.Thread(target=refuse)
        refusing.start()
        desk = CommitmentDesk("SHADOW", (CommitmentPeer(ROUTER, "127.0.0.1", away.getsockname()[1]),), root)
        requests = Commitments(root)
        for number in range(3):
            requests.accept(CommitmentRequest(ROUTER, f"1.2.9.{number}", ((CTImageStorage, "1.2.3.1"),)))
        desk._answer_all(index)
        away.shutdown(socket.SHUT_RDWR)
        refusing.join()
        assert attempts == [2], "one to see whether it listens, one for the association"
        assert len(requests.waiting()) == 3


def test_an_answer_that_its_peer_does_not_take_keeps_no_other_from_it(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    with (
        Router(unwanted="1.2.9.0").listening() as router,
        Spool(root, (ROUTER,), minimum_free_bytes=0, maximum_object_bytes=1 << 20) as spool,
        SpoolIndex(root) as index,
    ):
        spool.receive(Offer(ROUTER, CTImageStorage, "1.2.3.1", ExplicitVRLittleEndian), memoryview(bytes(100)))
        desk = CommitmentDesk("SHADOW", (CommitmentPeer(ROUTER, "127.0.0.1", router.port),), root)
        requests = Commitments(root)
        for number in range(2):
            requests.accept(CommitmentRequest(ROUTER, f"1.2.9.{number}", ((CTImageStorage, "1.2.3.1"),)))
        desk._answer_all(index)
        assert [one.TransactionUID for _, one in router.told] == ["1.2.9.1"]
        assert [requests.read(one).transaction_uid for one in requests.waiting()] == ["1.2.9.0"]


def test_a_folder_that_the_disk_refuses_keeps_no_other_request_waiting(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    with (
        Router().listening() as router,
        Spool(root, (ROUTER, "OTHER"), minimum_free_bytes=0, maximum_object_bytes=1 << 20) as spool,
        SpoolIndex(root) as index,
    ):
        desk = CommitmentDesk("SHADOW", (CommitmentPeer(ROUTER, "127.0.0.1", router.port),), root)
        requests = Commitments(root)
        for number, title in enumerate((ROUTER, "OTHER")):
            offer = Offer(title, CTImageStorage, f"1.2.3.{number}", ExplicitVRLittleEndian)
            spool.receive(offer, memoryview(bytes(100)))
            requests.accept(CommitmentRequest(ROUTER, f"1.2.9.{number}", ((CTImageStorage, f"1.2.3.{number}"),)))
        with folder_syncs(refused=spool.arrived_from(ROUTER)):
            desk._answer_all(index)
        assert [one.TransactionUID for _, one in router.told] == ["1.2.9.1"]
        assert [requests.read(one).transaction_uid for one in requests.waiting()] == ["1.2.9.0"]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # pydicom, on both sides
def test_nobody_else_may_ask(tmp_path: Path) -> None:
    with Router().listening() as router, at_work(tmp_path, router) as scp:
        assert router.ask(scp.port, references(["1.2.3.1.1"]), title="STRANGER") == 0x0124
        assert router.ask(scp.port, references(["1..2"])) == 0x0115
        assert router.ask(scp.port, []) == 0x0115
    assert router.told == []


@pytest.mark.parametrize("damage", ["gone", "garbage", "behind"])
def test_the_index_comes_back_from_the_spool(tmp_path: Path, damage: str) -> None:
    router = Router()
    with at_work(tmp_path, router) as scp:
        store_all(scp.port, slices("1.2.3", 3))
        until(lambda: len(list((tmp_path / "spool" / "studies").glob("*/*.dcm"))) == 3)
    path = tmp_path / "spool" / FILE
    if damage == "gone":
        path.unlink()
    elif damage == "garbage":
        path.write_bytes(b"not a database" * 500)
    else:
        study = next((tmp_path / "spool" / "studies").iterdir())
        one = next(study.glob("1.2.3.1.1~*"))
        one.rename(study / one.name.replace("1.2.3.1.1~", "1.2.3.1.9~"))
    with SpoolIndex(tmp_path / "spool") as index:
        assert index.find("1.2.3.1.2") is not None
        assert (index.find("1.2.3.1.9") is not None) is (damage == "behind")
        assert (index.find("1.2.3.1.1") is None) is (damage == "behind")
