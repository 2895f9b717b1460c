"""The mirror as a process: stopped, killed, started again."""

from __future__ import annotations

import random
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from blake3 import blake3
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from retrying_router import ct_slice, store

from shadow.adapters.dicom_peer import is_listening
from shadow.adapters.receiver_processes import HelperProcesses
from shadow.domain.home import Home
from shadow.domain.identifiers import Pseudonymiser
from shadow.index_test.spooled_instance import instance_of
from shadow.index_test.study_manifest import StudyManifest, manifest_path, read_manifest
from shadow.protocol.deployment import Receiver
from shadow.store.events import Kind
from shadow.store.ledger import Ledger
from shadow.store.queue import WorkQueue
from shadow.wiring.trial import register_trial

pytestmark = pytest.mark.server

ROUTER = "RIVER_ROUTER"
SECRET = "a site secret of more than 32 bytes.."
CONFIGS = Path(__file__).parents[2] / "configs"
KILLS = 10
STUDIES = 6
PROGRAM = """
import sys
from datetime import time
from pathlib import Path
from zoneinfo import ZoneInfo
from shadow.adapters.dicom_scp import run_mirror
from shadow.domain.clock import SystemClock
from shadow.domain.home import Home
from shadow.domain.identifiers import Pseudonymiser
from shadow.protocol.deployment import Receiver
from shadow.protocol.site import Shift, Site
from shadow.store.ledger import Ledger

root, port, quiet, secret, title, processes = sys.argv[1:]
site = Site("riverside", "Riverside", ZoneInfo("UTC"), "RIVER", "trim-upper/1", (title,), (), "ascii",
            (Shift("Day", time(7)),), ())
settings = Receiver(port=int(port), quiet_period_seconds=float(quiet), minimum_free_bytes=0,
                    processes=int(processes))
with Ledger(f"sqlite:///{root}/ledger.db", "trial") as ledger:
    ledger.migrate()
    run_mirror(settings, Home(Path(root)), (site,), Pseudonymiser(secret.encode()), SystemClock(),
               ledger.append, lambda: print("ready", flush=True))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MirrorProcess:
    """Starts the mirror of one folder, on one port, as often as it is asked to."""

    def __init__(self, root: Path, quiet_seconds: float, processes: int = 1) -> None:
        self.home = Home(root)
        self.port = free_port()
        self._arguments = [str(root), str(self.port), str(quiet_seconds), SECRET, ROUTER, str(processes)]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *self._arguments], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def end(self, by: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(by)
        code = self._process.wait(timeout=10)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None
        return code

    def close(self) -> None:
        if self._process is not None:
            self.end(signal.SIGKILL)


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[MirrorProcess]:
    one = MirrorProcess(tmp_path, quiet_seconds=1.0)
    yield one
    one.close()


@contextmanager
def associated(port: int) -> Iterator[Association]:
    entity = AE(ROUTER)
    entity.add_requested_context(CTImageStorage, [ExplicitVRLittleEndian])
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = 5
    association = entity.associate("127.0.0.1", port, ae_title="SHADOW")
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.02)


def latest_manifest(home: Home, study: str) -> StudyManifest:
    study_key = Pseudonymiser(SECRET.encode()).study_key(study)
    revision = 1
    while manifest_path(home.spool, study_key, revision + 1).exists():
        revision += 1
    return read_manifest(manifest_path(home.spool, study_key, revision))


def test_sigterm_stops_the_mirror_within_three_seconds_and_the_next_start_closes_its_studies(
    mirror: MirrorProcess,
) -> None:
    mirror.start()
    with associated(mirror.port) as association:
        assert all(store(association, ct_slice("1.2.3", f"1.2.3.{number}")) for number in range(3))
        asked_at = time.monotonic()
        assert mirror.end(signal.SIGTERM) == 0
        assert time.monotonic() - asked_at < 3.0
    queue = WorkQueue(mirror.home.queues / "admission")
    assert queue.ready() == []
    mirror.start()
    until(lambda: len(queue.ready()) == 1)
    assert len(latest_manifest(mirror.home, "1.2.3").instances) == 3


def test_after_a_restart_an_open_study_waits_a_whole_quiet_period_for_its_router(
    mirror: MirrorProcess,
) -> None:
    mirror.start()
    with associated(mirror.port) as association:
        store(association, ct_slice("1.2.3", "1.2.3.1"))
    mirror.end(signal.SIGKILL)
    time.sleep(1.2)
    mirror.start()
    with associated(mirror.port) as association:
        store(association, ct_slice("1.2.3", "1.2.3.2"))
    queue = WorkQueue(mirror.home.queues / "admission")
    until(lambda: queue.ready() != [])
    manifest = latest_manifest(mirror.home, "1.2.3")
    assert (manifest.revision, len(manifest.instances)) == (1, 2)


def test_a_quarantined_instance_is_in_the_ledger(mirror: MirrorProcess) -> None:
    mirror.start()
    nameless = ct_slice("1.2.3", "1.2.3.1")
    del nameless.StudyInstanceUID
    with associated(mirror.port) as association:
        assert store(association, nameless)
    with Ledger(f"sqlite:///{mirror.home.root}/ledger.db", "trial") as ledger:
        until(lambda: ledger.count(Kind.AUDIT) == 1)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # pydicom, in the sender
def test_what_helpers_refuse_is_in_the_ledger(tmp_path: Path) -> None:
    mirror = MirrorProcess(tmp_path, quiet_seconds=1.0, processes=2)
    mirror.start()
    try:
        until(lambda: len(helpers_of(mirror)) == 1, 30)
        for number in range(12):  # the kernel deals connections out
            with associated(mirror.port) as association:
                assert not store(association, ct_slice("1.2.3", f"1.2.3~{number}"))
        with Ledger(f"sqlite:///{mirror.home.root}/ledger.db", "trial") as ledger:
            until(lambda: ledger.count(Kind.AUDIT) == 12)
    finally:
        mirror.close()


def test_the_log_says_when_and_why_a_router_was_turned_away(tmp_path: Path) -> None:
    port, home = free_port(), tmp_path / "home"
    deployment = tmp_path / "deployment.toml"
    deployment.write_text(f"[receiver]\nport = {port}\n")
    register_trial(CONFIGS / "trials" / "demo-head-ct.toml", Home(home), deployment)
    with subprocess.Popen(
        [sys.executable, "-m", "shadow", "mirror", "--home", str(home)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == "mirror is ready\n"
        with associated(port) as association:
            assert association.is_rejected
        process.terminate()
        _, log = process.communicate(timeout=10)
    line = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ WARNING association_rejected reason=calling_ae_title\n"
    assert re.fullmatch(line, log), log


class RetryingRouter:
    """A process that sends its slices one after the other, each again until it is acknowledged."""

    def __init__(self, port: int, number: int, folder: Path) -> None:
        self._log = folder / f"router-{number}.log"
        self._stop = folder / f"router-{number}.stop"
        program = Path(__file__).with_name("retrying_router.py")
        with self._log.open("w") as output:
            arguments = [str(port), ROUTER, str(number), str(STUDIES), str(self._stop)]
            self._process = subprocess.Popen([sys.executable, str(program), *arguments], stdout=output)

    def failures(self) -> int:
        return self._log.read_text().splitlines().count("not acknowledged")

    def acknowledged(self) -> set[str]:
        return set(self._log.read_text().splitlines()) - {"not acknowledged"}

    def stop(self) -> None:
        self._stop.touch()
        assert self._process.wait(timeout=30) == 0

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def helpers_of(mirror: MirrorProcess) -> list[psutil.Process]:
    """The helper processes that listen on the mirror's port."""
    found = []
    for child in psutil.Process(mirror.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            ports = {one.laddr.port for one in child.net_connections("tcp") if one.status == psutil.CONN_LISTEN}
            if mirror.port in ports:
                found.append(child)
    return found


def test_helpers_on_one_port_lose_nothing_when_one_or_all_are_killed(tmp_path: Path) -> None:
    mirror = MirrorProcess(tmp_path, quiet_seconds=1.0, processes=3)
    mirror.start()
    routers: list[RetryingRouter] = []
    try:
        until(lambda: len(helpers_of(mirror)) == 2, 30)
        routers += [RetryingRouter(mirror.port, number, tmp_path) for number in range(4)]
        for _ in range(3):
            before = sum(len(router.acknowledged()) for router in routers)
            until(lambda: sum(len(router.acknowledged()) for router in routers) > before + 8)  # noqa: B023
            helpers_of(mirror)[0].kill()
            until(lambda: len(helpers_of(mirror)) == 2, 30)
        orphans = helpers_of(mirror)
        mirror.end(signal.SIGKILL)
        _, alive = psutil.wait_procs(orphans, timeout=10)
        assert not alive, "helpers end with their parent"
        mirror.start()
        for router in routers:
            router.stop()
        until(lambda: not list((mirror.home.spool / "open").iterdir()), 30)
        assert mirror.end(signal.SIGTERM) == 0
    finally:
        for router in routers:
            router.close()
        mirror.close()
    assert_nothing_is_lost(mirror, routers)


def test_a_helper_that_could_not_be_started_is_started_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = Receiver(port=free_port(), processes=2, minimum_free_bytes=0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        helpers = HelperProcesses(settings, (ROUTER,), tmp_path, lambda _: None)
        helpers.__enter__()
        until(lambda: any(record.message == "receiver_helper_not_started" for record in caplog.records))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        until(lambda: is_listening("127.0.0.1", settings.port, 1.0))
    finally:
        helpers.__exit__()


def test_kill_minus_nine_under_load_loses_no_acknowledged_instance_and_doubles_none(
    mirror: MirrorProcess, tmp_path: Path
) -> None:
    generator = random.Random(20260301)
    mirror.start()
    routers = [RetryingRouter(mirror.port, number, tmp_path) for number in range(2)]
    with ExitStack() as stack:
        for router in routers:
            stack.callback(router.close)
        for _ in range(KILLS):
            failures = [router.failures() for router in routers]
            before = sum(len(router.acknowledged()) for router in routers)
            until(lambda: sum(len(router.acknowledged()) for router in routers) > before)  # noqa: B023
            time.sleep(generator.uniform(0.02, 0.15))
            mirror.end(signal.SIGKILL)
            until(lambda: [router.failures() for router in routers] != failures)  # noqa: B023
            mirror.start()
        for router in routers:
            router.stop()
    until(lambda: not list((mirror.home.spool / "open").iterdir()), 20)
    mirror.end(signal.SIGTERM)
    assert len({uid for router in routers for uid in router.acknowledged()}) > KILLS
    assert_nothing_is_lost(mirror, routers)


def assert_nothing_is_lost(mirror: MirrorProcess, routers: Sequence[RetryingRouter]) -> None:
    """Every acknowledged instance is there once, whole, listed by its study's newest manifest, and queued."""
    studies = [f"1.2.{number}" for number in range(STUDIES)]
    acknowledged = {uid for router in routers for uid in router.acknowledged()}
    files = list(mirror.home.spool.glob("studies/*/*.dcm"))
    stored = [path.name.split("~")[0] for path in files]
    assert len(stored) == len(set(stored))
    assert acknowledged <= set(stored)
    for path in files:
        instance = instance_of(path.name)
        assert instance is not None
        assert f"b3-{blake3(path.read_bytes()).hexdigest()}" == instance.digest
    manifests = [latest_manifest(mirror.home, study) for study in studies]
    listed = [one.sop_instance_uid for manifest in manifests for one in manifest.instances]
    assert sorted(listed) == sorted(stored)
    assert list(mirror.home.spool.rglob("*.part")) == []
    assert list(mirror.home.spool.glob("arrived/*/*")) == []
    queued = WorkQueue(mirror.home.queues / "admission").ready()
    assert {f"{one.study_key}.r{one.revision}" for one in manifests} <= set(queued)
