"""Plays a planned hospital: studies and reports leave in order, on a compressed calendar, until acknowledged."""

from __future__ import annotations

import heapq
import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING

from shadow.rehearsal.messages import message_bytes
from shadow.rehearsal.plan import SITES, HospitalPlan, PlannedMessage, PlannedStudy
from shadow.rehearsal.truth import TruthFile
from shadow.rehearsal.vendor import SimulatedProduct
from shadow.rehearsal.wires import InterfaceEngine, Router

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Event

POLL_SECONDS = 0.05
PROGRESS_SECONDS = 0.5
QUIET_GAP_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class HospitalWires:
    """Where the hospital sends. Without a `vendor_host` it has no vendor's product."""

    dicom_host: str
    dicom_port: int
    called_ae_title: str
    mllp_host: str
    mllp_port: int
    vendor_host: str = ""
    vendor_port: int = 0


@dataclass(frozen=True, slots=True)
class HospitalPace:
    """How the calendar is compressed.

    Attributes:
        duration_seconds: real seconds into which all arrivals are mapped, linearly. A machine that falls
            behind sends as fast as it can, in order.
        report_floor_seconds: a report leaves at the earliest so many real seconds after the last image of
            its study was acknowledged. The calendar is compressed; machines still need real seconds.
        quiet_studies: the first studies, sent 1.5 s apart before the calendar starts to run.
    """

    duration_seconds: float
    report_floor_seconds: float = 60.0
    quiet_studies: int = 12


@dataclass(frozen=True, slots=True)
class HospitalProgress:
    """What has been sent and acknowledged."""

    studies_planned: int
    studies_sent: int
    messages_planned: int
    messages_sent: int


@dataclass(frozen=True, slots=True)
class _Timetable:
    """Maps the plan's instants to real time (seconds since the epoch)."""

    plan_start: float
    plan_seconds: float
    real_start: float
    pace: HospitalPace

    def of_study(self, study: PlannedStudy) -> float:
        if study.number < self.pace.quiet_studies:
            return self.real_start + study.number * QUIET_GAP_SECONDS
        return self.of_instant(study.arrival.timestamp())

    def of_instant(self, timestamp: float) -> float:
        fraction = (timestamp - self.plan_start) / self.plan_seconds
        quiet = self.pace.quiet_studies * QUIET_GAP_SECONDS
        return self.real_start + quiet + fraction * self.pace.duration_seconds


def run_hospital(
    plan: HospitalPlan,
    wires: HospitalWires,
    pace: HospitalPace,
    truth_file: Path,
    progress: Callable[[HospitalProgress], None],
    stop: threading.Event,
) -> HospitalProgress:
    """Send everything in the plan; returns when all is acknowledged, or soon after `stop` is set.

    Each scanner has a process of its own that stores its studies, each site an interface engine. The truth
    file is durable before the first association opens.
    """
    truth = TruthFile(truth_file, plan)
    table = _Timetable(plan.start.timestamp(), (plan.end - plan.start).total_seconds(), time.time(), pace)
    spawn = multiprocessing.get_context("spawn")
    sent: Queue[int] = spawn.Queue()
    halt = spawn.Event()
    routers = [
        spawn.Process(
            target=_route,
            args=([one for one in plan.studies if one.station == station], wires, table, sent, halt),
            daemon=True,
        )
        for site in SITES
        for station in site.stations
    ]
    outbox = _Outbox(plan, wires, table, truth, stop)
    product = _product(wires, stop)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        for router in routers:
            router.start()
        outbox.start()
        return _follow(plan, routers, sent, outbox, product, truth, progress, stop)
    finally:
        halt.set()
        outbox.join()
        for router in routers:
            router.join(5)
            if router.is_alive():
                router.terminate()
        truth.close()


def _follow(
    plan: HospitalPlan,
    routers: list[SpawnProcess],
    sent: Queue[int],
    outbox: _Outbox,
    product: SimulatedProduct | None,
    truth: TruthFile,
    progress: Callable[[HospitalProgress], None],
    stop: threading.Event,
) -> HospitalProgress:
    now = HospitalProgress(len(plan.studies), 0, len(plan.messages), 0)
    told = 0.0
    while not stop.is_set():
        try:
            number = sent.get(timeout=POLL_SECONDS)
            outbox.release(number, time.time())
            if product is not None and plan.studies[number].ineligible is None:
                product.read(plan.studies[number])
            truth.acknowledged("study", plan.studies[number].study_instance_uid)
            now = replace(now, studies_sent=now.studies_sent + 1)
        except queue.Empty:
            if now.studies_sent < len(plan.studies) and not any(one.is_alive() for one in routers):
                raise RuntimeError("a router process of the hospital ended early") from None
        now = replace(now, messages_sent=outbox.sent)
        finished = now.studies_sent == now.studies_planned and now.messages_sent == now.messages_planned
        finished = finished and (product is None or product.done)
        if finished or time.monotonic() - told > PROGRESS_SECONDS:
            progress(now)
            told = time.monotonic()
        if finished:
            break
    return now


def _product(wires: HospitalWires, stop: threading.Event) -> SimulatedProduct | None:
    return SimulatedProduct(wires.vendor_host, wires.vendor_port, stop.is_set) if wires.vendor_host else None


def _route(studies: list[PlannedStudy], wires: HospitalWires, table: _Timetable, sent: Queue[int], halt: Event) -> None:
    """One scanner's studies: the pixels of the next one are made while it waits for its time."""
    from shadow.rehearsal.images import study_instances

    if not studies:
        return
    router = Router(wires.dicom_host, wires.dicom_port, wires.called_ae_title, studies[0].site.calling_ae_title)
    parent = os.getppid()

    def stopped() -> bool:
        return halt.is_set() or os.getppid() != parent

    for study in studies:
        instances = study_instances(study)
        while time.time() < table.of_study(study) and not stopped():
            time.sleep(min(POLL_SECONDS, max(0.0, table.of_study(study) - time.time())))
        if not router.store(instances, stopped):
            return
        sent.put(study.number)


class _Outbox:
    """The interface engines: one thread a site, each message once it is due and its study is out."""

    def __init__(
        self,
        plan: HospitalPlan,
        wires: HospitalWires,
        table: _Timetable,
        truth: TruthFile,
        stop: threading.Event,
    ) -> None:
        self._table, self._wires, self._truth, self._stop = table, wires, truth, stop
        self._halt = threading.Event()
        self._lock = threading.Lock()
        self._sent = 0
        self._waiting: dict[int, list[PlannedMessage]] = {}
        self._due: dict[str, list[tuple[float, int, PlannedMessage]]] = {site.identifier: [] for site in SITES}
        self._planned = {site.identifier: 0 for site in SITES}
        self._order = 0
        for message in plan.messages:
            self._planned[message.site.identifier] += 1
            if message.study is None:
                self._push(message, 0.0)
            else:
                self._waiting.setdefault(message.study.number, []).append(message)
        self._threads = [threading.Thread(target=self._run, args=(site.identifier,), daemon=True) for site in SITES]

    @property
    def sent(self) -> int:
        """Messages answered for good."""
        return self._sent

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Stop sending and wait for the threads."""
        self._halt.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(3)

    def release(self, number: int, sent_at: float) -> None:
        """A study is out: its messages may leave once they are due and the floor has passed."""
        for message in self._waiting.pop(number, []):
            self._push(message, sent_at + self._table.pace.report_floor_seconds)

    def _push(self, message: PlannedMessage, earliest: float) -> None:
        due = max(self._table.of_instant(message.due.timestamp()), earliest)
        with self._lock:
            self._order += 1
            heapq.heappush(self._due[message.site.identifier], (due, self._order, message))

    def _next(self, site: str) -> PlannedMessage | None:
        with self._lock:
            waiting = self._due[site]
            if waiting and waiting[0][0] <= time.time():
                return heapq.heappop(waiting)[2]
            return None

    def _run(self, site: str) -> None:
        engine = InterfaceEngine(self._wires.mllp_host, self._wires.mllp_port)
        done = 0
        while done < self._planned[site] and not self._stopped():
            message = self._next(site)
            if message is None:
                time.sleep(POLL_SECONDS)
                continue
            if engine.send(message_bytes(message), self._stopped):
                self._truth.acknowledged("repeat" if message.repeat else "message", message.control_id)
            done += 1
            with self._lock:
                self._sent += 1
        engine.close()

    def _stopped(self) -> bool:
        return self._halt.is_set() or self._stop.is_set()
