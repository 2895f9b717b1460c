"""`shadow demo`: a whole silent trial in minutes, from the first association to the finding."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from shadow.assessment.snapshot_file import read_current
from shadow.domain.clock import RehearsalClock, write_clock
from shadow.domain.errors import SetupError
from shadow.domain.home import Home
from shadow.domain.project import project_folder
from shadow.rehearsal.archive import ARCHIVES
from shadow.store.events import Kind
from shadow.store.ledger import Ledger
from shadow.supervision.command import where_to_look
from shadow.supervision.ports import free_ports
from shadow.supervision.rehearsal_command import FIRST_DAY, calendar_end
from shadow.supervision.status import print_snapshot
from shadow.supervision.supervisor import Supervisor
from shadow.wiring.assessing import assess_trial
from shadow.wiring.tasks import work_waiting
from shadow.wiring.trial import Trial, open_trial, register_trial, verify_ledger

WEEKS = 12
QUIET_PHASE_SECONDS = 20.0
SETTLE_SECONDS = 90.0
LINE_SECONDS = 15.0
RECONCILIATION = "shadow_reconciliation"
RECONCILIATION_SECONDS = 120.0
STOPPED = 130


@dataclass(frozen=True, slots=True)
class DemonstrationSettings:
    """What the command line asks for.

    Attributes:
        seconds: real seconds into which the twelve weeks of arrivals are compressed.
        leave: stop by itself when the trial is over, with exit code 0.
    """

    home: Home
    studies: int
    seconds: float
    seed: int
    swap: str
    report_floor: float
    leave: bool


def run_demonstration(settings: DemonstrationSettings, console: Console) -> int:
    """Run it. Returns the exit code: 0 when the trial ended with every study in exactly one state."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    started = time.monotonic()
    _register(settings, console)
    trial = open_trial(settings.home)
    supervisor = Supervisor(settings.home, trial.deployment, vendor_messages=trial.protocol.receives_vendor_messages)
    archive: _Archive | None = None
    console.print("Starting PostgreSQL, Airflow, receiver, report listener and dashboard ...")
    try:
        supervisor.start(stop)
        if stop.is_set():
            return STOPPED
        console.print(f"All healthy after {time.monotonic() - started:.0f} s.")
        look = where_to_look(supervisor, settings.home)
        console.print(look, highlight=False)
        hospital, archive = _Hospital(settings, trial), _Archive(settings, trial)
        with trial.open_ledger() as ledger:
            ended = _watch(hospital, ledger, settings.home, supervisor, stop, console)
        hospital.stop()
        if ended:
            _ask_archives(supervisor, stop, console)
        archive.stop()
        if not ended:
            console.print("Stopped before the trial was over.")
            return STOPPED
        whole = _finish(settings.home, console, time.monotonic() - started)
        if not settings.leave:
            console.print(f"\n{look}\nCtrl-C stops everything.", highlight=False)
            while not stop.wait(0.5):
                supervisor.check()
        return 0 if whole else 1
    finally:
        if archive is not None:
            archive.stop()
        console.print("Stopping ...")
        supervisor.stop()


def _register(settings: DemonstrationSettings, console: Console) -> None:
    root = settings.home.root
    if root.exists():
        if not (root / "demonstration").exists():
            raise SetupError(f"{root} exists and is no demonstration's folder; choose another --home")
        shutil.rmtree(root)
    root.mkdir(parents=True, mode=0o700)
    (root / "demonstration").touch()
    receiver, reports, vendor, dashboard, airflow, archive = free_ports((11112, 2575, 2576, 8501, 8080, 11104))
    deployment = root / "demonstration.toml"
    deployment.write_text(
        f"[receiver]\nport = {receiver}\nquiet_period_seconds = 2.5\nminimum_free_bytes = 200000000\n"
        f"[reports]\nport = {reports}\n[vendor_results]\nport = {vendor}\n[dashboard]\nport = {dashboard}\n"
        f"[scheduler]\nport = {airflow}\nlinger_seconds = 20.0\nbudget_seconds = 240.0\n"
        "snapshot_interval_seconds = 45.0\n"
        + "".join(
            f'[[archives]]\nsite = "{site}"\nae_title = "{title}"\nport = {archive}\nlookback_days = 100\n'
            for title, site in ARCHIVES.items()
        ),
        encoding="utf-8",
    )
    ack = register_trial(project_folder("configs") / "trials" / "demo-head-ct.toml", settings.home, deployment)
    console.print(f"Registered the trial: ledger event {ack.seq}, hash {ack.hash[:16]}.")


class _Hospital:
    """The simulated hospital's process, and what it says of its progress."""

    def __init__(self, settings: DemonstrationSettings, trial: Trial) -> None:
        start = datetime.now(UTC) + timedelta(seconds=QUIET_PHASE_SECONDS)
        write_clock(
            settings.home.clock,
            RehearsalClock(FIRST_DAY, calendar_end(WEEKS), start, WEEKS * 7 * 86_400 / settings.seconds),
        )
        receiver, reports = trial.deployment.receiver, trial.deployment.reports
        vendor = trial.deployment.vendor_results
        self.progress: dict[str, int] = {}
        log = (settings.home.logs / "hospital.log").open("ab")
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "shadow", "rehearse", "--json-progress",
                "--dicom", f"{receiver.host}:{receiver.port}", "--called-ae-title", receiver.ae_title,
                "--mllp", f"{reports.host}:{reports.port}", "--vendor-mllp", f"{vendor.host}:{vendor.port}",
                "--truth", str(settings.home.root / "truth.jsonl"),
                "--seed", str(settings.seed), "--studies", str(settings.studies), "--weeks", str(WEEKS),
                "--seconds", str(settings.seconds), "--report-floor", str(settings.report_floor),
                "--swap", settings.swap,
            ],
            stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        log.close()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.progress = json.loads(line)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def check(self) -> None:
        if self._process.poll() not in (None, 0):
            raise SetupError("the simulated hospital ended early; read hospital.log in the folder's logs")

    def stop(self) -> None:
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


class _Archive:
    """The archive of the simulated hospital, in a process of its own."""

    def __init__(self, settings: DemonstrationSettings, trial: Trial) -> None:
        peer = trial.deployment.archives[0]
        with (settings.home.logs / "hospital-archive.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "shadow", "rehearse", "--archive", f"{peer.host}:{peer.port}",
                    "--seed", str(settings.seed), "--studies", str(settings.studies), "--weeks", str(WEEKS),
                ],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _ask_archives(supervisor: Supervisor, stop: threading.Event, console: Console) -> None:
    """What every night does, here once for the whole calendar: the scheduler runs the reconciliation."""
    console.print("Every night's question, asked once for all of them: which studies should have come?")
    end = time.monotonic() + RECONCILIATION_SECONDS

    def going_on() -> bool:
        supervisor.check()
        return time.monotonic() < end and not stop.wait(0.5)

    state = supervisor.run_dag(RECONCILIATION, going_on)
    if state != "success" and not stop.is_set():
        raise SetupError(f"the reconciliation ended as '{state}'; read logs/ in the trial's folder")


@dataclass(frozen=True, slots=True)
class _Step:
    """One bar: what has been done of what; `of` None while that is not known."""

    name: str
    done: int
    of: int | None


def _steps(hospital: _Hospital, ledger: Ledger) -> tuple[_Step, ...]:
    told = hospital.progress
    planned, messages = told.get("studies_planned"), told.get("messages_planned")
    answered = ledger.count(Kind.PREDICTION) + ledger.count(Kind.PREDICTION_FAILURE)
    excluded = ledger.count(Kind.EXCLUSION)
    return (
        _Step("Studies sent by the hospital", told.get("studies_sent", 0), planned),
        _Step("Studies received and accounted", ledger.count(Kind.STUDY), planned),
        _Step("Predictions locked or failed", answered, None if planned is None else planned - excluded),
        _Step("Report messages sent", told.get("messages_sent", 0), messages),
        _Step("Report versions read", ledger.count(Kind.LABEL), messages),
    )


def _watch(
    hospital: _Hospital, ledger: Ledger, home: Home, supervisor: Supervisor, stop: threading.Event, console: Console
) -> bool:
    """Show progress until all is sent and worked off. False where stopped."""
    columns = (TextColumn("{task.description:<32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    settle_until: float | None = None
    next_line = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks = {step.name: bars.add_task(step.name, total=None) for step in _steps(hospital, ledger)}
        while not stop.wait(0.5):
            supervisor.check()
            hospital.check()
            steps = _steps(hospital, ledger)
            for step in steps:
                bars.update(tasks[step.name], completed=step.done, total=step.of)
            if not console.is_terminal and time.monotonic() >= next_line:
                told = (f"{one.name.lower()} {one.done} of {one.of or '?'}" for one in steps)
                console.print("; ".join(told), soft_wrap=True, highlight=False)
                next_line += LINE_SECONDS
            if hospital.running:
                continue
            settle_until = settle_until or time.monotonic() + SETTLE_SECONDS
            if work_waiting(home) == 0:
                return True
            if time.monotonic() > settle_until:
                raise SetupError("work is left over that no task takes up; read logs/ in the trial's folder")
    return False


def _finish(home: Home, console: Console, elapsed: float) -> bool:
    """Publish the last snapshot and print the finding. True where every promise was kept."""
    trial = open_trial(home)
    assess_trial(trial)
    published = read_current(home.snapshots)
    if published is None:
        raise SetupError("nothing was published")
    print_snapshot(published, console)
    verified = verify_ledger(home)
    console.print(
        f"Ledger: {verified.events:,} events, "
        + ("the chain is whole." if verified.problem is None else f"BROKEN: {verified.problem}"),
        highlight=False,
    )
    console.print(
        f"{WEEKS} weeks in {elapsed / 60:.1f} minutes. All of it is simulated: patients, bleeds and model.",
        highlight=False,
    )
    snapshot = published.snapshot
    return not (verified.problem or snapshot.flow.broken_sums() or snapshot.broken_promises)
