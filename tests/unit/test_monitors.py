"""The declared family over cohorts: who alarms, who cannot yet, and who is not in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from shadow.assessment.cohorts import Cohorts, Counts, Place
from shadow.assessment.monitors import Raised, alarm_events, stream_of, watch_family
from shadow.assessment.snapshot import Monitoring, MonitorState, Week
from shadow.assessment.statistics.sequential import confidence_sequence
from shadow.assessment.subgroups import declared_places
from shadow.protocol.site import read_site
from shadow.protocol.trial import read_trial

CONFIGS = Path(__file__).parents[2] / "configs"
PROTOCOL = read_trial(CONFIGS / "trials" / "demo-head-ct.toml")
SITES = tuple(read_site(CONFIGS / "sites" / f"{name}.toml") for name in PROTOCOL.sites)
ALL: Place = ("all", "", "", "")
NIGHT: Place = ("cell", "riverside", "riverside-ct-2", "Night")
DAY: Place = ("cell", "riverside", "riverside-ct-1", "Day")
START = datetime(2026, 8, 24, tzinfo=UTC)


def watched(
    found: dict[Place, list[int]],
    present: dict[Place, list[int]],
    open_weeks: int = 0,
    raised: dict[Place, Raised] | None = None,
) -> Monitoring:
    weeks = len(present[ALL])
    counts: dict[Place, Counts] = {}
    for place, per_week in present.items():
        counts[place] = np.array([found[place], per_week, [0] * weeks, [0] * weeks])
    every = tuple(Week(START + timedelta(weeks=n), 100, 100, n < weeks) for n in range(weeks + open_weeks))
    return watch_family(Cohorts(every, counts), raised or {}, SITES, PROTOCOL)


def monitor(found: Monitoring, label: str):
    return next(one for one in found.monitors if one.label == label)


def test_a_night_that_misses_most_alarms_in_the_week_it_became_clear_and_healthy_days_do_not() -> None:
    found = watched({ALL: [10] * 12, NIGHT: [1] * 12, DAY: [9] * 12}, {ALL: [16] * 12, NIGHT: [6] * 12, DAY: [10] * 12})
    night, day = monitor(found, "Riverside CT-2, Night"), monitor(found, "Riverside CT-1, Day")
    assert night.state is MonitorState.ALARM and night.alarm_week is not None
    assert START < night.alarm_week < START + timedelta(weeks=12)
    assert "below the rest" in night.alarm_reason and "below the floor" in night.alarm_reason
    assert day.state is MonitorState.QUIET and day.alarm_week is None
    assert found.alarms[0].label == "Riverside CT-2, Night" or night in found.alarms


def test_few_cases_cannot_alarm_and_the_number_that_could_is_told() -> None:
    found = watched({ALL: [9] * 4, NIGHT: [1] * 4}, {ALL: [11] * 4, NIGHT: [2] * 4})
    night = monitor(found, "Riverside CT-2, Night")
    assert night.state is MonitorState.QUIET and (night.found, night.present) == (4, 8)
    assert night.positives_for_alarm is not None and night.positives_for_alarm > 8
    assert (night.lower, night.upper) == (confidence_sequence(4, 8).lower, confidence_sequence(4, 8).upper)
    assert [week.present for week in night.weeks] == [2, 2, 2, 2]
    empty = monitor(found, "Hillside CT-2, Day")
    assert empty.lower is None and empty.positives_for_alarm is None


def test_every_declared_group_is_in_the_family_and_its_weights_are_those_of_the_protocol() -> None:
    found = watched({ALL: [1]}, {ALL: [1]})
    assert len(found.monitors) == len(declared_places(SITES)) == 1 + 2 + 5 + 3 + 6 + 15
    assert sum(one.weight for one in found.monitors) == pytest.approx(1.0)
    assert sum(one.weight for one in found.monitors if one.dimension == "cell") == pytest.approx(0.25)
    assert monitor(found, "Riverside, Night").weight == pytest.approx(0.25 / 6)


def test_a_scanner_that_no_site_file_lists_cannot_alarm_but_counts_with_all() -> None:
    stranger: Place = ("cell", "riverside", "unlisted", "Night")
    found = watched({ALL: [0] * 12, stranger: [0] * 12}, {ALL: [9] * 12, stranger: [9] * 12})
    assert not any(one.scanner == "unlisted" for one in found.monitors)
    assert found.monitors[0].state is MonitorState.ALARM


def test_a_stricter_family_alarms_later() -> None:
    counts = ({ALL: [10] * 12, NIGHT: [1] * 12}, {ALL: [16] * 12, NIGHT: [6] * 12})
    early = monitor(watched(*counts), "Riverside CT-2, Night").alarm_week
    strict = replace(PROTOCOL, monitoring=replace(PROTOCOL.monitoring, alpha=1e-6))
    cohorts = Cohorts(
        tuple(Week(START + timedelta(weeks=n), 100, 100, True) for n in range(12)),
        {place: np.array([counts[0][place], counts[1][place], [0] * 12, [0] * 12]) for place in counts[0]},
    )
    late = next(
        one for one in watch_family(cohorts, {}, SITES, strict).monitors if one.label == "Riverside CT-2, Night"
    )
    assert early is not None and (late.alarm_week is None or late.alarm_week > early)


def test_an_alarm_that_was_raised_stands_though_a_late_report_has_changed_the_evidence() -> None:
    week = START + timedelta(weeks=1)
    counts = ({ALL: [16] * 4, NIGHT: [6] * 4}, {ALL: [16] * 4, NIGHT: [6] * 4})
    found = watched(*counts, raised={NIGHT: Raised(week, "below the rest")})
    night = monitor(found, "Riverside CT-2, Night")
    assert (night.state, night.alarm_week, night.alarm_reason) == (MonitorState.ALARM, week, "below the rest")
    (event,) = alarm_events(found, stream_of(PROTOCOL, 0.5))
    assert event.key.endswith(":cell:riverside:riverside-ct-2:Night") and (event.found, event.present) == (24, 24)


def test_another_model_threshold_or_label_rule_is_another_stream() -> None:
    other_rule = replace(PROTOCOL, reference=replace(PROTOCOL.reference, label_rule="intracranial-haemorrhage/1"))
    other_model = replace(PROTOCOL, models=(replace(PROTOCOL.champion, sha256="0" * 64),))
    streams = {
        stream_of(PROTOCOL, 0.5),
        stream_of(PROTOCOL, 0.51),
        stream_of(other_rule, 0.5),
        stream_of(other_model, 0.5),
    }
    assert len(streams) == 4
