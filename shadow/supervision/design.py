"""`shadow rehearse --design`: how often a protocol would catch a failing scanner, and how often it would cry wolf.

Only the hospital's calendar is replayed, not its pixels: each study with the target condition is detected with an
assumed chance. Weeks, patients, episodes, missing reports and monitors are those of a real assessment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import Progress

from shadow.assessment.cohorts import weekly_cohorts
from shadow.assessment.monitors import watch_family
from shadow.assessment.snapshot import Monitor, Monitoring
from shadow.assessment.statistics.proportions import clopper_pearson
from shadow.domain.errors import ConfigurationError
from shadow.protocol.site import Site, read_site
from shadow.protocol.trial import TrialProtocol, read_trial
from shadow.rehearsal.plan import HospitalPlan, PlannedStudy, Verdict, plan_hospital
from shadow.store.lake import in_memory
from shadow.supervision.rehearsal_command import FIRST_DAY

SPECIFICITY = 0.95
STATES = {Verdict.PRESENT: "present", Verdict.ABSENT: "absent", Verdict.UNCERTAIN: "indeterminate"}


@dataclass(frozen=True, slots=True)
class Design:
    """What is assumed.

    Attributes:
        trials: hospitals to replay, with seeds from 1. studies_per_week: of all kinds, at all sites.
        sensitivity: of the model on healthy scanners. station: Station Name (0008,1010) of the failing one.
        bad: the model's sensitivity there.
    """

    trials: int
    studies_per_week: int
    sensitivity: float
    station: str
    bad: float


@dataclass(frozen=True, slots=True)
class DesignResult:
    """Counts over the replayed trials.

    Attributes:
        false_alarms: healthy trials with any alarm. caught: failing trials with any alarm.
        caught_by_name: failing trials in which the failing scanner, or one of its shifts, alarmed by itself.
        weeks: week of the first alarm of each failing trial that had one, counted from 1.
    """

    trials: int
    false_alarms: int
    caught: int
    caught_by_name: int
    weeks: tuple[int, ...]


def run_design(trial_file: Path, design: Design, console: Console) -> None:
    """Read the protocol, replay, print.

    Raises:
        ConfigurationError: a file does not fit, or no site file lists the station.
    """
    protocol = read_trial(trial_file)
    sites = tuple(read_site(trial_file.parent.parent / "sites" / f"{one}.toml") for one in protocol.sites)
    stations = [scanner.station_name for site in sites for scanner in site.scanners]
    if design.station not in stations:
        raise ConfigurationError("command line", "--station", f"must be one of {', '.join(stations)}")
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("Replaying trials", total=design.trials)
        result = replay_design(protocol, sites, design, lambda done: bar.update(task, completed=done))
    print_design(result, design, protocol, console)


def replay_design(
    protocol: TrialProtocol, sites: Sequence[Site], design: Design, progress: Callable[[int], None]
) -> DesignResult:
    """Replay healthy and failing trials on the same calendars; the whole horizon of the protocol's monitors."""
    weeks = protocol.monitoring.horizon_weeks
    window = replace(protocol, index_window_start=FIRST_DAY, index_window_end=FIRST_DAY + timedelta(weeks=weeks))
    false_alarms = caught = by_name = 0
    first_weeks: list[int] = []
    for trial in range(1, design.trials + 1):
        plan = plan_hospital(trial, design.studies_per_week * weeks, weeks, FIRST_DAY)
        chance = np.random.default_rng(trial).random(len(plan.studies))
        healthy = _watched(window, sites, plan, chance, design, failing=False)
        false_alarms += bool(healthy.alarms)
        failing = _watched(window, sites, plan, chance, design, failing=True)
        if failing.alarms:
            caught += 1
            by_name += any(_is_of(design.station, alarm, sites) for alarm in failing.alarms)
            first = failing.alarms[0].alarm_week
            assert first is not None
            first_weeks.append((first - failing.weeks[0].start).days // 7 + 1)
        progress(trial)
    return DesignResult(design.trials, false_alarms, caught, by_name, tuple(first_weeks))


def print_design(result: DesignResult, design: Design, protocol: TrialProtocol, console: Console) -> None:
    """The two questions with their answers in counts."""
    promise = protocol.monitoring
    console.print(
        f"\n[bold]{protocol.title}[/] · protocol {protocol.version} · {result.trials} replayed trials of "
        f"{promise.horizon_weeks} weeks, {design.studies_per_week} studies a week\n",
        highlight=False,
    )
    console.print(
        f"Cries wolf: with a sensitivity of {design.sensitivity:.0%} everywhere, "
        f"{_share(result.false_alarms, result.trials)} of the trials raised any alarm "
        f"(promised: at most {promise.alpha:.0%}, where every group is at or above its floor of {promise.floor:.0%}).",
        highlight=False,
    )
    week = f"; the first came in week {int(np.median(result.weeks))} (median)" if result.weeks else ""
    by_name = _share(result.caught_by_name, result.trials)
    console.print(
        f"Catches: with {design.bad:.0%} on {design.station}, {_share(result.caught, result.trials)} raised an alarm"
        f"{week}; in {by_name} that scanner or one of its shifts alarmed by itself.",
        highlight=False,
    )


def _share(count: int, of: int) -> str:
    limits = clopper_pearson(count, of, 0.95)
    return f"{count} of {of} ({count / of:.1%}; 95 % interval {limits.lower:.1%} to {limits.upper:.1%})"


def _watched(
    protocol: TrialProtocol,
    sites: Sequence[Site],
    plan: HospitalPlan,
    chance: np.ndarray,
    design: Design,
    failing: bool,
) -> Monitoring:
    rows = [
        _case(study, plan, sites, float(chance[number]), design, failing)
        for number, study in enumerate(plan.studies)
        if study.ineligible is None
    ]
    with closing(in_memory()) as connection:
        connection.register("evaluation_case", pa.Table.from_pylist(rows, SCHEMA))
        until = protocol.index_window_end + timedelta(days=7 + protocol.monitoring.closed_at_latest_days)
        return watch_family(weekly_cohorts(connection, protocol, until), {}, sites, protocol)


SCHEMA = pa.schema(
    [
        (name, pa.string())
        for name in "study_key patient_key site scanner shift exclusion_reason index_state reference_state".split()
    ]
    + [("acquired_at", pa.timestamp("us", tz="UTC"))]
)


def _case(
    study: PlannedStudy, plan: HospitalPlan, sites: Sequence[Site], chance: float, design: Design, failing: bool
) -> dict[str, object]:
    site = next(one for one in sites if one.identifier == study.site.identifier)
    scanner = site.scanner_of(study.station.name)
    sensitivity = design.bad if failing and study.station.name == design.station else design.sensitivity
    positive = chance < (sensitivity if study.verdict is Verdict.PRESENT else 1 - SPECIFICITY)
    return {
        "study_key": study.study_instance_uid,
        "patient_key": study.identity.patient_id,
        "site": site.identifier,
        "scanner": scanner.identifier if scanner else "unlisted",
        "shift": site.calendar().shift_at(study.arrival),
        "exclusion_reason": None,
        "index_state": "failed" if study.defect else "positive" if positive else "negative",
        "reference_state": "pending" if study.number in plan.never_reported else STATES[study.verdict],
        "acquired_at": study.arrival,
    }


def _is_of(station: str, alarm: Monitor, sites: Sequence[Site]) -> bool:
    names = {(site.identifier, scanner.identifier): scanner.station_name for site in sites for scanner in site.scanners}
    return names.get((alarm.site, alarm.scanner)) == station
