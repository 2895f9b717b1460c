"""Hostile objects over a real association, each among good images of its study, carried through the whole pipeline."""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

import psutil
import pytest
from head_ct import PSEUDONYMISER, ROOT, head_slice, new_home, protocol, riverside, tiny_model
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from test_dicom_scp import let_the_reactor_wake, receiver, until

from shadow.adapters.dicom_scp import StorageScp
from shadow.adapters.library_logs import silence_libraries
from shadow.adapters.onnx_session import OnnxSession
from shadow.domain.clock import SystemClock
from shadow.domain.home import Home
from shadow.index_test.infer import drain_model
from shadow.index_test.intake import drain_admissions, model_queue
from shadow.index_test.mirror import Mirror
from shadow.index_test.mirror_worker import MirrorWorker
from shadow.index_test.spool import Spool
from shadow.store.events import Event, Kind
from shadow.store.ledger import Ledger
from shadow.store.queue import WorkQueue
from shadow.store.vault import Vault

pytestmark = pytest.mark.server

ROUTER = "RIVERSIDE_RTR"
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
GOOD = 8


@dataclass(frozen=True)
class Attack:
    """One object that comes with a study, in this transfer syntax."""

    name: str
    make: Callable[[bytes], bytes]
    syntax: str = ExplicitVRLittleEndian


def deflate(*parts: bytes) -> bytes:
    squeeze = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return b"".join(squeeze.compress(one) for one in parts) + squeeze.flush()


def put(element: bytes) -> Callable[[bytes], bytes]:
    """The element in the place of the one that has its tag, or in front of the pixels."""

    def changed(data_set: bytes) -> bytes:
        at, position = data_set.index(b"\xe0\x7f\x10\x00OW"), 0
        while position < at:
            long = data_set[position + 4 : position + 6] in (b"OW", b"OB", b"SQ", b"UT", b"UN")
            length = int.from_bytes(
                data_set[position + 8 : position + 12] if long else data_set[position + 6 : position + 8], "little"
            )
            end = position + (12 if long else 8) + length
            if data_set[position : position + 4] == element[:4]:
                return data_set[:position] + element + data_set[end:]
            position = end
        return data_set[:at] + element + data_set[at:]

    return changed


def short(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def flipped(seed: int) -> Callable[[bytes], bytes]:
    """Bits of the header turned, but not of its UIDs."""

    def changed(data_set: bytes) -> bytes:
        chance, turned = random.Random(seed), bytearray(data_set)
        start, end = data_set.index(b"\x18\x00\x50\x00"), data_set.index(b"\x20\x00\x0d\x00")
        for _ in range(5):
            turned[chance.randrange(start, end)] ^= 1 << chance.randrange(8)
        return bytes(turned)

    return changed


NESTED = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 2000
LONG_PIXELS = struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OW", 0, 700 << 20)
ATTACKS = [
    *(Attack(f"cut at {share} of 8", lambda one, share=share: one[: len(one) * share // 8]) for share in range(1, 8)),  # type: ignore[misc]
    *(Attack(f"bits turned, seed {seed}", flipped(seed)) for seed in range(10)),
    Attack("eight bytes", lambda _: b"\x08\0\x05\0CS\0\0"),
    Attack("zeros", lambda _: bytes(100_000)),
    Attack("a picture", lambda _: b"\x89PNG\r\n\x1a\n" + bytes(3000)),
    Attack("an archive", lambda _: gzip.compress(bytes(5000), mtime=0)),
    Attack("a page", lambda _: b"<!DOCTYPE html><html><body>404</body></html>" * 50),
    Attack("nested 2,000 deep", lambda one: NESTED + one),
    Attack("explicit in an implicit context", lambda one: one, ImplicitVRLittleEndian),
    Attack("little in a big context", lambda one: one, ExplicitVRBigEndian),
    Attack("deflated", deflate, DeflatedExplicitVRLittleEndian),
    Attack("deflated garbage", lambda _: random.Random(1).randbytes(5000), DeflatedExplicitVRLittleEndian),
    Attack(
        "deflated bomb",
        lambda one: deflate(one[:-2060], LONG_PIXELS, *[bytes(1 << 20)] * 700),
        DeflatedExplicitVRLittleEndian,
    ),
    Attack("endless number", put(short(0x00180060, b"DS", b"1e400 "))),
    Attack("number of frames without end", put(short(0x00280008, b"FD", struct.pack("<d", float("inf"))))),
    Attack("matrix of 65,535", put(short(0x00280010, b"US", b"\xff\xff"))),
    Attack("date of no device", put(short(0x00080022, b"DA", b"00010101"))),
    Attack("another patient", put(short(0x00100020, b"LO", b"ANOTHER1"))),
    Attack("unknown character set", put(short(0x00080005, b"CS", b"ISO_IR 999"))),
    Attack("study UID of letters", put(short(0x0020000D, b"UI", b"abc\0"))),
    Attack("study UID out of the folder", put(short(0x0020000D, b"UI", b"../../etc/passwd"))),
    Attack("SOP UID of another", put(short(0x00080018, b"UI", b"1.2.3\0"))),
    Attack("duplicate elements", lambda one: one[:200] + one),
]  # fmt: skip


@dataclass
class Hospital:
    """A receiver, a mirror and a model at work on one home."""

    home: Home
    ledger: Ledger
    vault: Vault
    port: int
    inbox: Queue[object]

    def bodies(self, kind: Kind) -> list[dict[str, object]]:
        return [json.loads(row.body or "") for row in self.ledger.since(0) if row.kind == kind]

    def is_quiet(self) -> bool:
        spool = self.home.spool
        return self.inbox.empty() and not list(spool.glob("arrived/*/*")) and not list(spool.glob("open/*"))

    def work(self, model: Path) -> None:
        admissions, queue = WorkQueue(self.home.queues / "admission"), model_queue(self.home, "tiny")
        drain_admissions(
            home=self.home, ledger=self.ledger, vault=self.vault, sites=(riverside(),), protocol=protocol(),
            pseudonymiser=PSEUDONYMISER, linger_seconds=10.0, budget_seconds=60.0,
            stop=lambda: not admissions.ready(),
        )  # fmt: skip
        drain_model(
            queue=queue, admissions=admissions, ledger=self.ledger, studies_folder=self.home.studies,
            contract=tiny_model(model), session_factory=OnnxSession, protocol=protocol(), linger_seconds=10.0,
            budget_seconds=60.0, stop=lambda: not queue.ready(),
        )  # fmt: skip


@contextmanager
def hospital(root: Path) -> Iterator[Hospital]:
    silence_libraries()
    home, guard, stopping = new_home(root / "home"), threading.Lock(), threading.Event()
    vault, inbox = Vault(home.vault, bytes(32)), Queue()  # type: ignore[var-annotated]
    with (
        Ledger(f"sqlite:///{home.ledger}", "head-ct") as ledger,
        Spool(home.spool, (ROUTER,), minimum_free_bytes=0, maximum_object_bytes=1 << 30) as spool,
    ):
        ledger.migrate()

        def record(events: list[Event]) -> object:
            with guard:
                return ledger.append(events)

        admissions = WorkQueue(home.queues / "admission")
        mirror = Mirror(spool, admissions, PSEUDONYMISER, SystemClock(), 0.5, record)  # type: ignore[arg-type]
        worker = MirrorWorker(mirror, inbox, record)  # type: ignore[arg-type]

        def sort() -> None:
            while not stopping.is_set():
                worker.work(0.02)

        thread = threading.Thread(target=sort)
        with StorageScp(receiver(), (ROUTER,), spool, inbox.put) as scp:
            thread.start()
            try:
                yield Hospital(home, ledger, vault, scp.port, inbox)
            finally:
                stopping.set()
                thread.join()
    vault.close()


def store(association: Association, uid: str, data_set: bytes, syntax: str) -> int:
    """C-STORE of these very bytes."""
    context = next(one for one in association.accepted_contexts if one.transfer_syntax[0] == syntax)
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CTImageStorage, uid
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        threading.Event().wait(0.001)
    request.DataSet = io.BytesIO(data_set)
    association.dimse.send_msg(request, context.context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    let_the_reactor_wake(association)
    return int(answer.Status)


def image(study: str, series: str, number: int) -> tuple[str, bytes]:
    dataset = head_slice(study=study, series=series, number=number)
    data_set = encode(dataset, is_implicit_vr=False, is_little_endian=True)
    assert data_set is not None
    return f"{ROOT}.{study}.{series}.{number}", data_set


def test_every_study_ends_in_one_counted_state_and_the_good_images_beside_a_hostile_one_are_answered(
    tmp_path: Path,
) -> None:
    entity = AE(ROUTER)
    for syntax in SYNTAXES:
        entity.add_requested_context(CTImageStorage, syntax)
    before = psutil.Process().memory_info().rss
    with hospital(tmp_path) as running:
        for number, attack in enumerate(ATTACKS):
            association = entity.associate("127.0.0.1", running.port, ae_title="SHADOW")
            objects = [image(str(number), "2", one) for one in range(1, GOOD + 1)]
            uid, content = image(str(number), "5", 1)
            statuses = [store(association, *one, ExplicitVRLittleEndian) for one in objects[:4]]
            statuses.append(store(association, uid, attack.make(content), attack.syntax))
            statuses += [store(association, *one, ExplicitVRLittleEndian) for one in objects[4:]]
            association.release()
            assert statuses == [0x0000] * (GOOD + 1), attack.name
        until(running.is_quiet, seconds=20)
        running.work(tmp_path / "model")
        assert psutil.Process().memory_info().rss - before < 300 << 20
        closed = {str(one["study_key"]): int(str(one["instance_count"])) for one in running.bodies(Kind.STUDY)}
        ended = Counter(
            str(one["study_key"])
            for kind in (Kind.EXCLUSION, Kind.PREDICTION, Kind.PREDICTION_FAILURE)
            for one in running.bodies(kind)
        )
        assert ended == Counter(closed.keys()), "one state a study"
        answered = {str(one["study_key"]) for one in running.bodies(Kind.PREDICTION)}
        for number, attack in enumerate(ATTACKS):
            assert PSEUDONYMISER.study_key(f"{ROOT}.{number}") in answered, attack.name
        audits = Counter(str(one["action"]) for one in running.bodies(Kind.AUDIT))
        quarantined = list(running.home.spool.glob("quarantine/*.dcm"))
        assert audits["instance_quarantined"] == len(quarantined) > 8
        assert sum(closed.values()) + len(quarantined) == len(ATTACKS) * (GOOD + 1), "each in one place"
        reasons = {str(one["detail"]) for one in running.bodies(Kind.AUDIT)}
        assert reasons >= {
            "undecodable_data_set", "no_study_instance_uid", "invalid_study_instance_uid",
            "sop_instance_uid_differs_from_command", "reading_takes_too_much_memory", "another_patient=1",
        }  # fmt: skip
