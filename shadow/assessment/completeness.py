"""Whether every study that should have reached us did: by the archives' own lists, never by our silence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta

import duckdb
import numpy as np

from shadow.assessment.accuracy import proportion
from shadow.assessment.cohorts import Cohorts, Place
from shadow.assessment.monitors import raised_alarms, watch_family
from shadow.assessment.snapshot import ArchiveAsked, Completeness, CompletenessRow, Week
from shadow.assessment.subgroups import declared_places, label_of
from shadow.domain.project import sql
from shadow.protocol.site import Site
from shadow.protocol.trial import TrialProtocol

WEEK = timedelta(days=7)
EVERYTHING: Place = ("all", "", "", "")
NOTHING = (0, 0, 0, 0, 0)


def completeness_stream(floor: float) -> str:
    """What evidence about missing studies may be added up."""
    return f"completeness/{floor!r}"


def completeness(
    connection: duckdb.DuckDBPyConnection, sites: Sequence[Site], protocol: TrialProtocol
) -> Completeness | None:
    """What the archives list against what is here; None where nobody has been asked.

    `connection` is one on which `linkage.link` has run. A study counts as received where it was on record when the
    archive listed it; one that came later, or was fetched, does not, because the route had failed.
    """
    last_instant = protocol.index_window_end - timedelta.resolution
    wanted = {
        "sites": [site.identifier for site in sites],
        "first_days": [protocol.index_window_start.astimezone(site.time_zone).date() for site in sites],
        "last_days": [last_instant.astimezone(site.time_zone).date() for site in sites],
    }
    asked = tuple(
        ArchiveAsked(site, until, int(silent))
        for site, until, silent in connection.execute(sql("queries/assessment/archives_asked.sql"), wanted).fetchall()
    )
    if not connection.execute(sql("queries/assessment/archive_questions.sql")).fetchall():
        return None
    totals: dict[Place, tuple[int, ...]] = {}
    weekly: dict[tuple[Place, datetime], tuple[int, int]] = {}
    for dimension, site, scanner, shift, week, *counts in connection.execute(
        sql("queries/assessment/completeness_counts.sql")
    ).fetchall():
        place = (dimension, site, scanner, shift)
        if week is None:
            totals[place] = tuple(counts)
        else:
            listed, in_time = counts[:2]
            weekly[place, week] = (in_time, listed)
    monitoring = None
    if protocol.completeness is not None:
        floor = protocol.completeness.floor
        raised = raised_alarms(connection, completeness_stream(floor))
        monitoring = watch_family(_cohorts(weekly, asked, protocol), raised, sites, protocol, floor)
    return Completeness(
        asked=asked,
        rows=tuple(_row(place, totals, sites) for place in _places(totals, sites)),
        short_of_instances=totals.get(EVERYTHING, NOTHING)[4],
        monitoring=monitoring,
    )


def _places(totals: dict[Place, tuple[int, ...]], sites: Sequence[Site]) -> list[Place]:
    """The declared groups first, then those that only the archives know, such as an unlisted scanner."""
    declared = declared_places(sites)
    others = sorted(place for place in totals if place not in declared)
    return [place for place in (*declared, *others) if place in totals or place == EVERYTHING]


def _row(place: Place, totals: dict[Place, tuple[int, ...]], sites: Sequence[Site]) -> CompletenessRow:
    listed, in_time, later, never, _ = totals.get(place, NOTHING)
    dimension, site, scanner, shift = place
    return CompletenessRow(
        dimension=dimension,
        site=site,
        scanner=scanner,
        shift=shift,
        label=label_of(place, sites),
        listed=listed,
        later=later,
        never=never,
        received=proportion(in_time, listed),
    )


def _cohorts(
    weekly: dict[tuple[Place, datetime], tuple[int, int]], asked: Sequence[ArchiveAsked], protocol: TrialProtocol
) -> Cohorts:
    """Weeks of acquisition; one is closed once every archive has answered for a day after it.

    An archive that is silent does not hold up the others' alarms for ever: `closed_at_latest_days` after a week's end
    it is closed without it.
    """
    answered = [one.asked_until for one in asked if one.asked_until is not None]
    first = protocol.index_window_start.astimezone(UTC)
    start = datetime.combine(first.date() - timedelta(days=first.weekday()), time(), UTC)
    last = max(answered, default=start)
    latest = timedelta(days=protocol.monitoring.closed_at_latest_days)
    weeks: list[Week] = []
    while start <= last and start < protocol.index_window_end:
        over = start + WEEK
        closed = bool(answered) and ((len(answered) == len(asked) and min(answered) >= over) or last >= over + latest)
        in_time, listed = weekly.get((EVERYTHING, start), (0, 0))
        weeks.append(Week(start, listed, in_time, closed))
        start += WEEK
    closed_weeks = [week.start for week in weeks if week.closed]
    counts = {}
    for place in {place for place, _ in weekly}:
        in_time_and_listed = np.array([weekly.get((place, week), (0, 0)) for week in closed_weeks], dtype=np.int64)
        counts[place] = np.zeros((4, len(closed_weeks)), dtype=np.int64)
        counts[place][:2] = in_time_and_listed.reshape(-1, 2).T
    return Cohorts(tuple(weeks), counts)
