"""`shadow rehearse`: the simulated hospital as a process of its own, speaking from the outside."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shadow.domain.errors import ConfigurationError
from shadow.rehearsal.hospital import HospitalPace, HospitalProgress, HospitalWires, run_hospital
from shadow.rehearsal.plan import plan_hospital

FIRST_DAY = datetime(2026, 8, 24, 4, 0, tzinfo=UTC)
"""Monday, midnight in New York: twelve weeks from here hold the autumn change of the clocks."""


@dataclass(frozen=True, slots=True)
class RehearsalSettings:
    """What the command line asks of the hospital; see `shadow rehearse --help`."""

    dicom: str
    called_ae_title: str
    mllp: str
    vendor_mllp: str
    truth: Path
    seed: int
    studies: int
    weeks: int
    seconds: float
    report_floor: float
    swap: str
    json_progress: bool


NICENESS = 10
_AUTOGROUP = Path("/proc/self/autogroup")
"""sched(7): where the kernel schedules each session as a group, niceness counts inside the session alone."""


def _give_way() -> None:
    """The harness under test goes first: the hospital is what waits on a busy machine."""
    os.nice(NICENESS)
    if os.getsid(0) == os.getpid():  # else it is its terminal's session
        with suppress(OSError):  # no such kernel
            _AUTOGROUP.write_text(str(NICENESS), encoding="ascii")


def run_rehearsal(settings: RehearsalSettings) -> None:
    """Plan the hospital from its seed and play it; returns when everything is sent, or on SIGTERM."""
    _give_way()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    dicom_host, dicom_port = _address("--dicom", settings.dicom)
    mllp_host, mllp_port = _address("--mllp", settings.mllp)
    vendor = _address("--vendor-mllp", settings.vendor_mllp) if settings.vendor_mllp else ("", 0)
    plan = plan_hospital(settings.seed, settings.studies, settings.weeks, FIRST_DAY, _swap(settings.swap))
    run_hospital(
        plan,
        HospitalWires(dicom_host, dicom_port, settings.called_ae_title, mllp_host, mllp_port, *vendor),
        HospitalPace(settings.seconds, settings.report_floor),
        settings.truth,
        _print_json if settings.json_progress else _print_line,
        stop,
    )


def run_archive(address: str, seed: int, studies: int, weeks: int) -> None:
    """Answer C-FIND as the archive of the hospital of this seed, until SIGTERM."""
    from shadow.rehearsal.archive import SimulatedArchive

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    archive = SimulatedArchive(plan_hospital(seed, studies, weeks, FIRST_DAY), *_address("--archive", address))
    stop.wait()
    archive.close()


def calendar_end(weeks: int) -> datetime:
    """The last instant of a rehearsal's calendar."""
    return FIRST_DAY + timedelta(weeks=weeks)


def _address(option: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigurationError("command line", option, "must be HOST:PORT, for example 127.0.0.1:11112")
    return host, int(port)


def _swap(text: str) -> tuple[str, str] | None:
    if not text:
        return None
    first, _, second = text.partition(",")
    if not second:
        raise ConfigurationError("command line", "--swap", "must be two station names, for example RVCT1,RVCT2")
    return first, second


def _print_json(progress: HospitalProgress) -> None:
    fields = {name: getattr(progress, name) for name in HospitalProgress.__slots__}
    sys.stdout.write(json.dumps(fields, default=str) + "\n")
    sys.stdout.flush()


def _print_line(progress: HospitalProgress) -> None:
    sys.stderr.write(
        f"\r{progress.studies_sent}/{progress.studies_planned} studies, "
        f"{progress.messages_sent}/{progress.messages_planned} messages "
    )
    sys.stderr.flush()
