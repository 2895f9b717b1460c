"""Sorting into studies, completion and recovery, on real files."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from queue import Queue

import pydicom
import pytest
from blake3 import blake3
from folder_syncs import folder_syncs
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import UID

from shadow.domain.errors import LedgerConflict, SetupError, StoreError
from shadow.domain.identifiers import Pseudonymiser
from shadow.index_test.arrival import Arrival, AssociationRejected, InstanceRefused, Report
from shadow.index_test.completion import SECONDS_AT_MOST, Completion
from shadow.index_test.inlet import Offer, Receipt
from shadow.index_test.mirror import Mirror
from shadow.index_test.mirror_worker import TITLES_RECORDED_A_DAY, MirrorWorker
from shadow.index_test.spool import Spool
from shadow.index_test.spooled_instance import SpooledInstance, instance_of
from shadow.index_test.study_manifest import digest_of, manifest_path, read_manifest, write_manifest
from shadow.store.events import Audited, Event, Kind
from shadow.store.ledger import Ledger
from shadow.store.queue import WorkQueue

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
ROUTER = "RIVER_ROUTER"
PSEUDONYMISER = Pseudonymiser(b"a site secret of more than 32 bytes..")
SOP_INSTANCE_UID = b"\x08\0\x18\0UI\x08\x001.2.3.1\0"
SEQUENCE_IN_SEQUENCE = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
TRIAL_START = datetime(2026, 3, 1, tzinfo=UTC)


class SteppingClock:
    """Each look is a minute later."""

    def __init__(self) -> None:
        self._looks = 0

    def now(self) -> datetime:
        self._looks += 1
        return TRIAL_START + timedelta(minutes=self._looks)


def encoded(study: str | None, instance: str, comment: str = "") -> bytes:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(CT), UID(instance)
    if study is not None:
        dataset.StudyInstanceUID = UID(study)
    dataset.ImageComments = comment
    buffer = BytesIO()
    dataset.save_as(buffer, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def open_spool(root: Path) -> Spool:
    return Spool(root / "spool", (ROUTER,), minimum_free_bytes=0, maximum_object_bytes=1 << 20)


@dataclass
class Bench:
    """A spool and its mirror, as one process has them."""

    root: Path
    spool: Spool
    mirror: Mirror
    queue: WorkQueue
    recorded: list[Event]

    def receive(self, content: bytes, instance: str) -> Arrival:
        receipt, file = self.spool.receive(Offer(ROUTER, CT, instance, EXPLICIT_LITTLE_ENDIAN), memoryview(content))
        assert receipt is Receipt.STORED
        return Arrival(ROUTER, file, at=0.0)

    def sort(self, study: str, instance: str, comment: str = "") -> None:
        self.mirror.sort(self.receive(encoded(study, instance, comment), instance))

    def restart(self) -> list[Arrival]:
        """What a process that was killed here leaves to the next one."""
        self.spool.close()
        again = bench(self.root)
        self.spool, self.mirror, self.queue = again.spool, again.mirror, again.queue
        return self.mirror.recover()

    def path(self, study: str, revision: int = 1) -> Path:
        return manifest_path(self.root / "spool", PSEUDONYMISER.study_key(study), revision)

    def listed(self, study: str, revision: int = 1) -> list[str]:
        return [one.sop_instance_uid for one in read_manifest(self.path(study, revision)).instances]

    def close(self, study: str) -> None:
        self.mirror.close(PSEUDONYMISER.study_key(study))

    def due(self) -> list[str]:
        return self.mirror.due(float("inf"))


def bench(
    root: Path,
    record: Callable[[Sequence[Event]], object] | None = None,
    lacks: Callable[[str, Path, str, int], bool] | None = None,
) -> Bench:
    spool, queue, recorded = open_spool(root), WorkQueue(root / "queue"), list[Event]()
    mirror = Mirror(spool, queue, PSEUDONYMISER, SteppingClock(), 60.0, record or recorded.extend, None, lacks)
    return Bench(root, spool, mirror, queue, recorded)


def answering(answers: list[Exception | None], recorded: list[Event]) -> Callable[[Sequence[Event]], None]:
    """A ledger that answers in this order, and is asked no more often; None is success."""

    def record(events: Sequence[Event]) -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        recorded.extend(events)

    return record


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Bench]:
    found = bench(tmp_path)
    yield found
    found.spool.close()


def test_an_open_study_is_due_after_its_quiet_period_and_not_a_moment_before() -> None:
    completion = Completion(quiet_period_seconds=60.0)
    completion.touch("S1", 100.0, None)
    completion.touch("S2", 90.0, None)
    assert completion.due(149.9) == []
    assert completion.due(150.0) == ["S2"]
    assert completion.due(160.0) == ["S2", "S1"]
    completion.touch("S2", 155.0, None)
    assert completion.due(160.0) == ["S1"]
    completion.forget("S1")
    assert completion.due(1000.0) == ["S2"]


def test_an_open_association_holds_its_studies_open_but_not_for_ever() -> None:
    completion = Completion(quiet_period_seconds=60.0)
    open_associations = {"router"}
    completion.touch("S1", 0.0, lambda: "router" in open_associations)
    completion.touch("S2", 0.0, None)
    assert completion.due(1000.0) == ["S2"]
    assert completion.due(SECONDS_AT_MOST - 1) == ["S2"]
    assert completion.due(SECONDS_AT_MOST) == ["S1", "S2"]
    open_associations.clear()
    assert completion.due(1000.0) == ["S1", "S2"]


def test_a_study_that_never_stops_coming_closes_at_the_cap_and_is_counted(one: Bench) -> None:
    key = PSEUDONYMISER.study_key("1.2.3")
    one.sort("1.2.3", "1.2.3.1")
    one.mirror.sort(replace(one.receive(encoded("1.2.3", "1.2.3.2"), "1.2.3.2"), at=SECONDS_AT_MOST - 1))
    assert one.mirror.due(SECONDS_AT_MOST - 1) == []
    assert one.mirror.due(SECONDS_AT_MOST) == [key]
    one.close("1.2.3")
    assert [event.action for event in one.recorded if isinstance(event, Audited)] == ["revision_closed_at_cap"]


def test_an_archive_that_has_more_delays_a_study_until_the_cap_and_no_longer(tmp_path: Path) -> None:
    has: dict[str, int] = {}
    asked: list[tuple[Path, str, int]] = []

    def lacks(study_key: str, path: Path, title: str, here: int) -> bool:
        asked.append((path, title, here))
        return has[study_key] > here

    found = bench(tmp_path, lacks=lacks)
    key = PSEUDONYMISER.study_key("1.2.3")
    has[key] = 3
    for number in (1, 2):
        found.sort("1.2.3", f"1.2.3.{number}")
    assert found.mirror.due(100.0) == []
    assert asked[-1][1:] == (ROUTER, 2)
    assert asked[-1][0].exists()
    assert found.mirror.due(SECONDS_AT_MOST) == [key], "it only delays"
    found.sort("1.2.3", "1.2.3.3")
    assert found.mirror.due(100.0) == [key]
    found.close("1.2.3")
    assert found.recorded == []
    found.spool.close()


def test_a_manifest_is_read_as_it_was_written_and_its_digest_can_be_recomputed(one: Bench) -> None:
    for number in (10, 9, 1):
        one.sort("1.2.3", f"1.2.3.{number}")
    one.close("1.2.3")
    manifest = read_manifest(one.path("1.2.3"))
    lines = sorted(f"{instance.sop_instance_uid} {instance.digest}\n" for instance in manifest.instances)
    assert manifest.manifest_sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert manifest.first_received_at == TRIAL_START + timedelta(minutes=1)
    assert manifest.closed_at == TRIAL_START + timedelta(minutes=2)
    assert abs(manifest.machine_closed_at - datetime.now(UTC)) < timedelta(minutes=1)
    write_manifest(one.root / "copy.json", manifest)
    assert read_manifest(one.root / "copy.json") == manifest


def test_a_manifest_that_was_edited_is_refused(one: Bench) -> None:
    one.sort("1.2.3", "1.2.3.1")
    one.close("1.2.3")
    path = one.path("1.2.3")
    path.write_text(path.read_text().replace("1.2.3.1", "1.2.3.2"))
    with pytest.raises(StoreError, match="digest"):
        read_manifest(path)
    path.write_text("{}")
    with pytest.raises(StoreError, match="not a manifest"):
        read_manifest(path)


def test_the_digest_of_a_manifest_depends_on_every_instance_and_not_on_their_order() -> None:
    first, second = SpooledInstance("a", "1.2", "0a"), SpooledInstance("b", "1.3", "0b")
    assert digest_of([first, second]) == digest_of([second, first])
    assert digest_of([first, second]) != digest_of([first])
    assert digest_of([first, second]) != digest_of([first, replace(second, digest="0c")])


def test_what_was_acknowledged_but_not_sorted_is_sorted_after_a_restart(one: Bench) -> None:
    for number in range(3):
        one.receive(encoded("1.2.3", f"1.2.3.{number}"), f"1.2.3.{number}")
    arrivals = one.restart()
    assert [arrival.file.split("~")[0] for arrival in arrivals] == ["1.2.3.0", "1.2.3.1", "1.2.3.2"]
    for arrival in arrivals:
        one.mirror.sort(arrival)
    one.close("1.2.3")
    assert one.listed("1.2.3") == ["1.2.3.0", "1.2.3.1", "1.2.3.2"]


def test_an_open_study_is_open_after_a_restart_and_keeps_when_and_from_whom_it_came(one: Bench) -> None:
    one.sort("1.2.3", "1.2.3.1")
    (marker,) = (one.root / "spool" / "open").iterdir()
    marker.write_text(marker.read_text().replace("00:01:00", "00:00:30"))
    assert one.restart() == []
    assert one.due() == [PSEUDONYMISER.study_key("1.2.3")]
    one.close("1.2.3")
    manifest = read_manifest(one.path("1.2.3"))
    assert manifest.calling_ae_title == ROUTER
    assert manifest.first_received_at == TRIAL_START + timedelta(seconds=30)


def test_a_half_written_object_of_a_killed_process_is_removed_at_the_next_start(one: Bench) -> None:
    part = one.spool.arrived_from(ROUTER) / "0.part"
    part.write_bytes(b"half")
    assert one.restart() == []
    assert not part.exists()


def test_a_closed_revision_that_was_not_queued_before_the_kill_is_queued_at_the_next_start(
    one: Bench,
) -> None:
    one.sort("1.2.3", "1.2.3.1")
    (marker,) = (one.root / "spool" / "open").iterdir()
    content = marker.read_bytes()
    one.close("1.2.3")
    (name,) = one.queue.ready()
    one.queue.done(name)
    marker.write_bytes(content)  # the state between the manifest and the queue
    one.restart()
    assert one.queue.ready() == [name] == [f"{PSEUDONYMISER.study_key('1.2.3')}.r1"]
    assert not marker.exists()
    assert one.due() == []


def test_a_restart_does_not_queue_again_what_was_queued(one: Bench) -> None:
    one.sort("1.2.3", "1.2.3.1")
    one.close("1.2.3")
    one.queue.done(one.queue.ready()[0])
    one.restart()
    assert one.queue.ready() == []


def test_a_late_instance_of_a_killed_process_makes_revision_two_after_the_restart(one: Bench) -> None:
    one.sort("1.2.3", "1.2.3.1")
    one.close("1.2.3")
    one.sort("1.2.3", "1.2.3.2")
    one.restart()
    one.close("1.2.3")
    assert one.listed("1.2.3", 1) == ["1.2.3.1"]
    assert one.listed("1.2.3", 2) == ["1.2.3.1", "1.2.3.2"]
    assert read_manifest(one.path("1.2.3", 2)).supersedes == 1


def test_other_bytes_after_closing_are_kept_and_counted_but_make_no_revision(one: Bench) -> None:
    one.sort("1.2.3", "1.2.3.1", "first")
    one.close("1.2.3")
    one.sort("1.2.3", "1.2.3.1", "other")
    one.sort("1.2.3", "1.2.3.1", "first")
    assert one.due() == []
    assert [event.action for event in one.recorded if isinstance(event, Audited)] == ["instance_conflict"]
    assert len(list(one.root.glob("spool/studies/*/other/*.dcm"))) == 1
    assert list(one.root.glob("spool/arrived/*/*")) == []


def test_instances_that_came_while_the_queue_refused_are_closed_as_the_next_revision(one: Bench) -> None:
    one.sort("1.2.3", "1.2.3.1")
    (one.root / "queue").rename(one.root / "gone")
    with pytest.raises(OSError, match="No such file"):
        one.close("1.2.3")
    one.sort("1.2.3", "1.2.3.2")
    (one.root / "gone").rename(one.root / "queue")
    one.close("1.2.3")
    assert one.due() != []
    one.close("1.2.3")
    assert (one.listed("1.2.3", 1), one.listed("1.2.3", 2)) == (["1.2.3.1"], ["1.2.3.1", "1.2.3.2"])
    assert len(one.queue.ready()) == 2


def test_a_revision_at_the_cap_is_counted_though_the_ledger_was_away_and_more_came(tmp_path: Path) -> None:
    recorded: list[Event] = []
    record = answering([StoreError("away"), None, None], recorded)

    one = bench(tmp_path, record)
    for instance in ("1.2.3.1", "1.2.3.2"):
        arrival = one.receive(encoded("1.2.3", instance), instance)
        one.mirror.sort(replace(arrival, association_is_open=lambda: True))
        assert one.due() != []
        with suppress(StoreError):
            one.close("1.2.3")
    assert one.due() != []
    one.close("1.2.3")
    key = PSEUDONYMISER.study_key("1.2.3")
    assert [event.key for event in recorded] == [f"cap:{key}.r1", f"cap:{key}.r2"]
    one.spool.close()


def test_a_revision_at_the_cap_is_counted_though_the_ledger_was_away_until_the_study_was_whole(tmp_path: Path) -> None:
    recorded: list[Event] = []
    record = answering([StoreError("away"), None], recorded)

    one = bench(tmp_path, record)
    open_associations = [True]
    for instance in ("1.2.3.1", "1.2.3.2"):
        arrival = one.receive(encoded("1.2.3", instance), instance)
        one.mirror.sort(replace(arrival, association_is_open=lambda: bool(open_associations)))
        assert one.due() != []
        with suppress(StoreError):
            one.close("1.2.3")
        open_associations.clear()
    assert one.due() != []
    one.close("1.2.3")
    assert [event.key for event in recorded] == [f"cap:{PSEUDONYMISER.study_key('1.2.3')}.r1"]
    assert one.listed("1.2.3", 2) == ["1.2.3.1", "1.2.3.2"]
    one.spool.close()


def test_a_revision_at_the_cap_is_counted_though_its_manifest_was_not_durable_at_once(one: Bench) -> None:
    open_associations = [True]
    arrival = one.receive(encoded("1.2.3", "1.2.3.1"), "1.2.3.1")
    one.mirror.sort(replace(arrival, association_is_open=lambda: bool(open_associations)))
    assert one.due() != []
    with folder_syncs(refused=one.path("1.2.3").parent), pytest.raises(OSError, match="Input/output error"):
        one.close("1.2.3")
    open_associations.clear()
    assert one.due() != []
    one.close("1.2.3")
    assert [event.key for event in one.recorded] == [f"cap:{PSEUDONYMISER.study_key('1.2.3')}.r1"]


def test_a_manifest_that_was_not_yet_durable_is_before_it_is_queued(one: Bench) -> None:
    one.sort("1.2.3", "1.2.3.1")
    study = one.path("1.2.3").parent
    with folder_syncs(refused=study), pytest.raises(OSError, match="Input/output error"):
        one.close("1.2.3")
    assert one.path("1.2.3").exists()
    with folder_syncs() as synced:
        one.close("1.2.3")
    assert synced.index(study) < synced.index(one.root / "queue")


def test_what_a_killed_process_closed_is_durable_before_it_is_queued(one: Bench) -> None:
    one.sort("1.2.3", "1.2.3.1")
    study = one.path("1.2.3").parent
    with folder_syncs(refused=study), pytest.raises(OSError, match="Input/output error"):
        one.close("1.2.3")
    with folder_syncs() as synced:
        one.restart()
    assert synced.index(study) < [path.name for path in synced].index("queue")


def test_a_start_on_a_disk_that_refuses_the_queue_receives_and_queues_later(one: Bench) -> None:
    one.sort("1.2.3", "1.2.3.1")
    queue = one.root / "queue"
    with folder_syncs(refused=queue), pytest.raises(OSError, match="Input/output error"):
        one.close("1.2.3")
    next(queue.glob("*.ready")).unlink()
    with folder_syncs(refused=queue):
        assert one.restart() == []
    next(queue.glob("*.ready")).unlink()
    one.sort("1.2.3", "1.2.3.2")
    assert one.due() != []
    one.close("1.2.3")
    assert len(one.queue.ready()) == 1
    one.close("1.2.3")
    assert (one.listed("1.2.3", 1), one.listed("1.2.3", 2)) == (["1.2.3.1"], ["1.2.3.1", "1.2.3.2"])
    assert len(one.queue.ready()) == 2
    assert list(one.spool.open_revisions.iterdir()) == []


@pytest.mark.parametrize("file", ["studies/{}/manifest-r1.json", "open/{}.json"])
def test_a_damaged_file_of_one_study_does_not_stop_a_start(one: Bench, file: str) -> None:
    one.sort("1.2.3", "1.2.3.1")
    one.close("1.2.3")
    one.sort("1.2.3", "1.2.3.2")
    one.sort("1.2.4", "1.2.4.1")
    (one.root / "spool" / file.format(PSEUDONYMISER.study_key("1.2.3"))).write_bytes(bytes(100))
    one.restart()
    assert one.due() == [PSEUDONYMISER.study_key("1.2.4")]


HOSTILE = ["badVR.dcm", "no_meta_group_length.dcm", "ExplVR_BigEndNoMeta.dcm", "UN_sequence.dcm", "rtplan.dcm"]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_file_stops_the_mirror_and_its_neighbours_pass(one: Bench, name: str) -> None:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    one.mirror.sort(one.receive(Path(path).read_bytes()[:50_000], "1.2.3.1"))
    one.sort("1.2.3", "1.2.3.2")
    one.close("1.2.3")
    assert one.listed("1.2.3") == ["1.2.3.2"]
    (quarantined,) = one.root.glob("spool/quarantine/*.dcm")
    (audit,) = one.recorded
    assert isinstance(audit, Audited)
    assert (audit.action, audit.actor) == ("instance_quarantined", "mirror")
    assert audit.identifier == f"instance:{audit.object[:32]}"
    assert audit.object == f"b3-{blake3(quarantined.read_bytes()).hexdigest()}"
    reason = json.loads(quarantined.with_name(quarantined.name + ".reason.json").read_text())
    assert (reason["reason"], reason["calling_ae_title"]) == (audit.detail, ROUTER)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encoded(None, "1.2.3.1"), "no_study_instance_uid"),
        (encoded("1.2.3", "1.2.3.9"), "sop_instance_uid_differs_from_command"),
        (encoded("1.2.3", "1.2.3.1").replace(b"1.2.3\0", b"1/2.3\0"), "invalid_study_instance_uid"),
        (SOP_INSTANCE_UID + SEQUENCE_IN_SEQUENCE * 3000, "undecodable_data_set"),
        (SOP_INSTANCE_UID + b"\x08\0\x20\0OB\0\0\xff\xff\xff\xff", "no_sop_instance_uid"),
    ],
)
def test_the_quarantine_says_why(one: Bench, content: bytes, reason: str) -> None:
    one.mirror.sort(one.receive(content, "1.2.3.1"))
    assert [event.detail for event in one.recorded if isinstance(event, Audited)] == [reason]


@pytest.mark.parametrize(
    ("uids", "reason"),
    [
        (("1.2.3.1", ""), "no_study_instance_uid"),
        (("1.2.3.9", "1.2.3"), "sop_instance_uid_differs_from_command"),
        (("1.2.3.1", "../3"), "invalid_study_instance_uid"),
    ],
)
def test_uids_that_the_receiver_found_are_checked_too(one: Bench, uids: tuple[str, str], reason: str) -> None:
    one.mirror.sort(replace(one.receive(encoded("1.2.3", "1.2.3.1"), "1.2.3.1"), uids=uids))
    assert [event.detail for event in one.recorded if isinstance(event, Audited)] == [reason]


def test_a_file_stays_where_it_is_until_the_ledger_has_its_quarantine(tmp_path: Path) -> None:
    recorded: list[Event] = []
    record = answering([StoreError("busy"), None], recorded)

    refusing = bench(tmp_path, record)
    inbox: Queue[Report] = Queue()
    worker = MirrorWorker(refusing.mirror, inbox, record)
    inbox.put(refusing.receive(encoded(None, "1.2.3.1"), "1.2.3.1"))
    inbox.put(refusing.receive(encoded("1.2.3", "1.2.3.2"), "1.2.3.2"))
    worker.work(0.0)
    assert recorded == []
    assert len(list(tmp_path.glob("spool/arrived/*/*.dcm"))) == 1
    assert len(list(tmp_path.glob("spool/studies/*/*.dcm"))) == 1
    worker.work(0.0)
    assert len(recorded) == 1
    assert list(tmp_path.glob("spool/arrived/*/*.dcm")) == []
    refusing.spool.close()


def test_a_quarantine_already_on_record_with_another_reason_does_not_block_the_file(tmp_path: Path) -> None:
    def record(events: Sequence[Event]) -> None:
        raise LedgerConflict("the first content stands")

    conflicting = bench(tmp_path, record)
    conflicting.mirror.sort(conflicting.receive(encoded(None, "1.2.3.1"), "1.2.3.1"))
    assert len(list(tmp_path.glob("spool/quarantine/*.dcm"))) == 1
    conflicting.spool.close()


def test_a_peer_that_knocks_for_ever_does_not_fill_the_ledger(one: Bench) -> None:
    inbox: Queue[Report] = Queue()
    worker = MirrorWorker(one.mirror, inbox, one.recorded.extend)
    for number in range(1000):
        inbox.put(AssociationRejected(f"PEER{number}", "calling_ae_title"))
        inbox.put(AssociationRejected("PEER0", "calling_ae_title"))
    worker.work(0.0)
    assert len(one.recorded) == TITLES_RECORDED_A_DAY + 1


def test_an_instance_that_two_peers_are_refused_is_counted_for_each(one: Bench) -> None:
    for title in (ROUTER, "OTHER", ROUTER):
        one.mirror.count_refused(InstanceRefused(title, "1.2.3.1", "empty"))
    assert len({event.key for event in one.recorded}) == 2
    assert not [event for event in one.recorded if "1.2.3.1" in repr(event)]


def test_what_a_peer_repeats_while_the_ledger_is_away_is_tried_once(tmp_path: Path) -> None:
    attempts: list[Event] = []
    recorded: list[Event] = []

    def record(events: Sequence[Event]) -> None:
        attempts.extend(events)
        if len(attempts) <= 2:
            raise StoreError("the ledger's database is away")
        recorded.extend(events)

    refusing = bench(tmp_path, record)
    inbox: Queue[Report] = Queue()
    worker = MirrorWorker(refusing.mirror, inbox, record)
    for _ in range(50):
        inbox.put(AssociationRejected("PEER", "calling_ae_title"))
        inbox.put(InstanceRefused(ROUTER, "1.2.3.1", "too_large"))
    worker.work(0.0)
    assert (len(attempts), recorded) == (2, [])
    worker.work(0.0)
    assert recorded == attempts[2:] == attempts[:2]
    refusing.spool.close()


def test_a_signal_in_the_last_moment_of_a_wait_does_not_make_it_endless(one: Bench) -> None:
    worker = MirrorWorker(one.mirror, Queue(), one.recorded.extend)
    limit = time.monotonic() + 20

    def interrupt(*_: object) -> None:
        if time.monotonic() > limit:
            raise TimeoutError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    try:
        for _ in range(2000):
            worker.work(0.0003)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_the_spool_holds_one_process_only(tmp_path: Path) -> None:
    with open_spool(tmp_path), pytest.raises(SetupError):
        open_spool(tmp_path)
    open_spool(tmp_path).close()


@pytest.mark.parametrize("title", ["..", ".", "../..", "/etc", "A B", "ROUTER-1"])
def test_an_ae_title_names_a_folder_directly_under_the_arrived_ones(tmp_path: Path, title: str) -> None:
    with Spool(tmp_path, (title,), minimum_free_bytes=0, maximum_object_bytes=1 << 20) as spool:
        folder = spool.arrived_from(title)
        assert folder.resolve().parent == (tmp_path / "arrived").resolve()
        offer = Offer(title, CT, "1.2.3.1", EXPLICIT_LITTLE_ENDIAN)
        _, file = spool.receive(offer, memoryview(b"\0" * 8))
        assert spool.waiting() == [(title, file)]


def test_an_instance_is_named_by_its_content(one: Bench) -> None:
    instance = instance_of(one.receive(encoded("1.2.3", "1.2.3.1"), "1.2.3.1").file)
    assert instance is not None
    content = (one.spool.arrived_from(ROUTER) / instance.file).read_bytes()
    assert instance.is_whole(content)
    assert not instance.is_whole(content[:-1])
    # The first of BLAKE3's official test vectors, and the SHA-256 of nothing (FIPS 180-4).
    nothing = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert SpooledInstance("", "1.2", f"b3-{nothing}").is_whole(b"")
    earlier = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert SpooledInstance("", "1.2", earlier).is_whole(b"")
    assert not SpooledInstance("", "1.2", f"b3-{earlier}").is_whole(b"")


@pytest.mark.parametrize("length", [8, 3_000, 4_000, 4_095, 4_096, 100_000, 2_000_000])
def test_a_spooled_file_fills_its_blocks_where_its_length_allows(tmp_path: Path, length: int) -> None:
    with Spool(tmp_path, (ROUTER,), minimum_free_bytes=0, maximum_object_bytes=1 << 30) as spool:
        data_set = memoryview(encoded("1.2.3", "1.2.3.1").ljust(length, b"\0")[:length])
        _, file = spool.receive(Offer(ROUTER, CT, "1.2.3.1", EXPLICIT_LITTLE_ENDIAN), data_set)
        path = spool.arrived_from(ROUTER) / file
        content = path.read_bytes()
        assert content.endswith(data_set)
        whole = length % 2 == 0 and length < 1 << 20  # of a larger one nobody knows in time how long it will be
        assert (len(content) % 4096 == 0) == whole
        assert len(content) - length < 2 * 4096
        meta = pydicom.filereader.read_file_meta_info(path)
        assert (meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID) == ("1.2.3.1", EXPLICIT_LITTLE_ENDIAN)
        assert content[144 + meta.FileMetaInformationGroupLength :] == data_set
        assert spool.receive(Offer(ROUTER, CT, "1.2.3.1", EXPLICIT_LITTLE_ENDIAN), data_set)[1] == file


def test_what_a_killed_process_had_begun_to_write_is_gone_after_a_restart(one: Bench) -> None:
    one.sort("1.2.3", "1.2.3.1")
    study = one.path("1.2.3").parent
    for folder in (study, one.spool.open_revisions, one.spool.quarantine):
        (folder / ".begun.json.x1y2.tmp").write_text("{")
    one.restart()
    assert list((one.root / "spool").rglob("*.tmp")) == []
    one.close("1.2.3")
    assert one.listed("1.2.3") == ["1.2.3.1"]


def test_a_start_that_is_killed_while_it_tries_the_disk_stops_no_later_one(one: Bench) -> None:
    one.receive(encoded("1.2.3", "1.2.3.1"), "1.2.3.1")
    trial = one.spool.arrived / ".1-probe.part"
    trial.touch()
    assert [arrival.calling_ae_title for arrival in one.restart()] == [ROUTER]
    assert not trial.exists()
    trial.touch()  # that of a receiver process that starts now, beside this one
    assert len(one.mirror.unreported()) == 1


def test_what_an_earlier_version_received_and_closed_is_taken_up(one: Bench) -> None:
    arrived = one.receive(encoded("1.2.3", "1.2.3.1"), "1.2.3.1").file
    folder = one.spool.arrived_from(ROUTER)
    digest = hashlib.sha256((folder / arrived).read_bytes()).hexdigest()
    (folder / arrived).rename(folder / f"1.2.3.1~{digest}.dcm")
    for arrival in one.restart():
        one.mirror.sort(arrival)
    one.close("1.2.3")
    path = one.path("1.2.3")
    path.write_text(path.read_text().replace('"digest"', '"sha256"'))
    (instance,) = read_manifest(path).instances
    assert instance == SpooledInstance(f"1.2.3.1~{digest}.dcm", "1.2.3.1", digest)
    assert instance.is_whole((path.parent / instance.file).read_bytes())


def test_an_empty_data_set_is_refused(one: Bench) -> None:
    offer = Offer(ROUTER, CT, "1.2.3.1", EXPLICIT_LITTLE_ENDIAN)
    assert one.spool.receive(offer, memoryview(b"\0" * 7)) == (Receipt.EMPTY, "")


def test_a_disk_that_fails_in_the_middle_of_an_object_leaves_nothing_behind(one: Bench) -> None:
    offer = Offer(ROUTER, CT, "1.2.3.1", EXPLICIT_LITTLE_ENDIAN)
    content = memoryview(b"\0" * 200_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        assert one.spool.receive(offer, content) == (Receipt.WRITE_FAILED, "")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in (one.root / "spool").rglob("*") if path.is_file()] == [".lock"]
    assert one.spool.receive(offer, content)[0] is Receipt.STORED


def test_a_disk_that_does_not_tell_how_full_it_is_refuses_the_object_and_no_more(one: Bench) -> None:
    offer = Offer(ROUTER, CT, "1.2.3.1", EXPLICIT_LITTLE_ENDIAN)
    one.spool.arrived.rename(one.root / "away")
    assert one.spool.receive(offer, memoryview(b"\0" * 8)) == (Receipt.WRITE_FAILED, "")
    (one.root / "away").rename(one.spool.arrived)
    assert one.spool.receive(offer, memoryview(b"\0" * 8))[0] is Receipt.STORED


def test_a_file_that_nobody_reported_is_sorted_and_one_that_is_reported_keeps_its_association(one: Bench) -> None:
    inbox: Queue[Report] = Queue()
    worker = MirrorWorker(one.mirror, inbox, one.recorded.extend)
    worker._look_at = 0.0
    fetched, sent = (
        one.receive(encoded("1.2.3", "1.2.3.1"), "1.2.3.1"),
        one.receive(encoded("1.2.4", "1.2.4.1"), "1.2.4.1"),
    )
    long_ago = time.time() - 60
    os.utime(one.spool.arrived_from(ROUTER) / fetched.file, (long_ago, long_ago))
    worker.work(0.0)
    worker.work(0.0)
    assert (one.root / "spool/studies" / PSEUDONYMISER.study_key("1.2.3")).exists()
    assert not (one.root / "spool/studies" / PSEUDONYMISER.study_key("1.2.4")).exists(), "its report is on its way"
    inbox.put(replace(sent, association_is_open=lambda: True))
    worker.work(0.0)
    assert one.mirror.due(100.0) == [], "held open by the association that its report named"


def test_a_disk_that_refuses_to_be_looked_at_does_not_end_the_mirror(one: Bench) -> None:
    worker = MirrorWorker(one.mirror, Queue(), one.recorded.extend)
    one.receive(encoded("1.2.3", "1.2.3.1"), "1.2.3.1")
    (arrived,) = one.spool.arrived.glob("*/*.dcm")
    os.utime(arrived, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    worker._look_at = 0.0
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        worker.work(0.0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert arrived.exists()
    worker._look_at = 0.0
    worker.work(0.0)
    worker.work(0.0)
    assert not arrived.exists()


def test_a_ledger_that_is_away_does_not_end_the_mirror(one: Bench) -> None:
    inbox: Queue[Report] = Queue()
    with Ledger(f"sqlite:///{one.root / 'ledger.db'}", "trial") as ledger:
        worker = MirrorWorker(one.mirror, inbox, ledger.append)
        inbox.put(AssociationRejected("STRANGER", "calling_ae_title"))
        worker.work(0.0)  # it has no tables yet
        ledger.migrate()
        worker.work(0.0)
        assert ledger.count(Kind.AUDIT) == 1
