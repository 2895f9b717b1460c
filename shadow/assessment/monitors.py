"""The declared family of monitors over closed weekly cohorts: alarm, watch, or quiet, and why not yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import duckdb
import numpy as np

from shadow.assessment.cohorts import FOUND, PRESENT, Cohorts, Place
from shadow.assessment.snapshot import Monitor, Monitoring, MonitorState, WeekOfGroup
from shadow.assessment.statistics.family import NEVER, FamilyEvidence, FamilyRule, monitor_family, positives_for_alarm
from shadow.assessment.statistics.sequential import confidence_sequence
from shadow.assessment.subgroups import declared_places, label_of
from shadow.domain.project import sql
from shadow.protocol.monitoring import FamilyWeights
from shadow.protocol.site import Site
from shadow.protocol.trial import TrialProtocol
from shadow.store.events import AlarmRaised


@dataclass(frozen=True, slots=True)
class Raised:
    """An alarm that stands in the ledger."""

    week: datetime
    reason: str


def stream_of(protocol: TrialProtocol, threshold: float) -> str:
    """What evidence may be added up: one model at one threshold, read against one label rule."""
    return f"{protocol.champion.sha256[:16]}/{threshold!r}/{protocol.reference.label_rule}"


def raised_alarms(connection: duckdb.DuckDBPyConnection, stream: str) -> dict[Place, Raised]:
    """The alarms of a stream that the lake holds."""
    rows = connection.execute(sql("queries/assessment/raised_alarms.sql"), {"stream": stream}).fetchall()
    return {
        (dimension, site, scanner, shift): Raised(week, reason)
        for dimension, site, scanner, shift, week, reason in rows
    }


def alarm_events(monitoring: Monitoring, stream: str) -> list[AlarmRaised]:
    """Every alarm of a snapshot as what the ledger would hold; the caller leaves out those that it does hold."""
    return [
        AlarmRaised(
            stream,
            one.dimension,
            one.site,
            one.scanner,
            one.shift,
            one.alarm_week,
            one.alarm_reason,
            one.found,
            one.present,
        )
        for one in monitoring.alarms
        if one.alarm_week is not None
    ]


def watch_family(
    cohorts: Cohorts,
    raised: Mapping[Place, Raised],
    sites: Sequence[Site],
    protocol: TrialProtocol,
    floor: float | None = None,
) -> Monitoring:
    """Every declared group with its band, its evidence and its state.

    Groups that no site file declares are not in the family: what was not promised beforehand cannot alarm. An alarm
    that was `raised` stands, also where a late report has since changed the evidence. `floor`: of sensitivity where
    None.
    """
    promise = protocol.monitoring
    rule = FamilyRule(
        promise.floor if floor is None else floor, promise.alpha, promise.horizon_weeks, promise.watch_weeks
    )
    members = weighted_family(sites, promise.weights)
    mine = np.stack([cohorts.of(place) for place, _ in members])
    everyone = cohorts.of(("all", "", "", ""))
    rest = everyone[None] - mine
    evidence = monitor_family(
        rule, [weight for _, weight in members], mine[:, FOUND], mine[:, PRESENT], rest[:, FOUND], rest[:, PRESENT]
    )
    monitors = tuple(
        _latched(_monitor(number, place, weight, rule, evidence, cohorts, label_of(place, sites)), raised.get(place))
        for number, (place, weight) in enumerate(members)
    )
    return Monitoring(rule.floor, rule.alpha, rule.horizon_weeks, rule.watch_weeks, cohorts.weeks, monitors)


def _latched(monitor: Monitor, raised: Raised | None) -> Monitor:
    if raised is None:
        return monitor
    return replace(
        monitor,
        state=MonitorState.ALARM,
        alarm_week=raised.week,
        alarm_reason=raised.reason,
        positives_for_alarm=None,
    )


def weighted_family(sites: Sequence[Site], weights: FamilyWeights) -> tuple[tuple[Place, float], ...]:
    """Every declared group with its share of alpha."""
    share = {
        "all": weights.overall,
        "site": weights.site,
        "scanner": weights.scanner,
        "shift": weights.shift,
        "site_and_shift": weights.site_and_shift,
        "cell": weights.scanner_and_shift,
    }
    places = declared_places(sites)
    return tuple((place, share[place[0]] / sum(other[0] == place[0] for other in places)) for place in places)


def _monitor(
    number: int,
    place: Place,
    weight: float,
    rule: FamilyRule,
    evidence: FamilyEvidence,
    cohorts: Cohorts,
    label: str,
) -> Monitor:
    counts = cohorts.of(place)
    found, present = int(counts[FOUND].sum()), int(counts[PRESENT].sum())
    running_found, running_present = np.cumsum(counts[FOUND]), np.cumsum(counts[PRESENT])
    bands = [confidence_sequence(int(x), int(n)) for x, n in zip(running_found, running_present, strict=True)]
    week = int(evidence.alarm_week[number])
    reasons = []
    if evidence.detector_alarm_week[number] != NEVER:
        reasons.append("below the floor")
    if evidence.comparison_alarm_week[number] != NEVER:
        reasons.append("below the rest")
    state = MonitorState.WATCH if evidence.watch[number] else MonitorState.QUIET
    needed = positives_for_alarm(rule, weight, found / present) if present else None
    return Monitor(
        dimension=place[0],
        site=place[1],
        scanner=place[2],
        shift=place[3],
        label=label,
        weight=weight,
        found=found,
        present=present,
        lower=bands[-1].lower if present else None,
        upper=bands[-1].upper if present else None,
        state=MonitorState.ALARM if week != NEVER else state,
        alarm_week=cohorts.weeks[week].start if week != NEVER else None,
        alarm_reason=" and ".join(reasons),
        positives_for_alarm=needed if week == NEVER else None,
        weeks=tuple(
            WeekOfGroup(int(x), int(n), band.lower, band.upper)
            for x, n, band in zip(counts[FOUND], counts[PRESENT], bands, strict=True)
        ),
    )
