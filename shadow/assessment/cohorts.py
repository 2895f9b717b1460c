"""Weekly cohorts of index time: which are closed, and what was found in each group of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb
import numpy as np
from numpy.typing import NDArray

from shadow.assessment.snapshot import MaturedCounts, Week
from shadow.domain.project import sql
from shadow.protocol.trial import TrialProtocol

Place = tuple[str, str, str, str]
"""dimension, site, scanner, shift"""
Counts = NDArray[np.int64]
FOUND, PRESENT, CLEARED, ABSENT = range(4)


@dataclass(frozen=True, slots=True)
class Cohorts:
    """The weeks of the index window so far, and the monitored counts of the closed ones.

    Attributes:
        weeks: every week so far, closed or not; the closed ones are a prefix, because cases are fed in index order.
        counts: of each group with a case: found, present, cleared and absent a closed week; shape (4, closed weeks).
    """

    weeks: tuple[Week, ...]
    counts: dict[Place, Counts]

    @property
    def closed(self) -> int:
        """How many weeks are closed."""
        return sum(week.closed for week in self.weeks)

    def of(self, place: Place) -> Counts:
        """The counts of a group; zeros where it has no case."""
        found = self.counts.get(place)
        return np.zeros((4, self.closed), dtype=np.int64) if found is None else found

    def matured(self, place: Place) -> MaturedCounts:
        """The sums over the closed weeks."""
        return MaturedCounts(*(int(total) for total in self.of(place).sum(axis=1)))


def weekly_cohorts(connection: duckdb.DuckDBPyConnection, protocol: TrialProtocol, data_until: datetime) -> Cohorts:
    """The cohorts as they stand. `connection` is one on which `linkage.link` has run; it then holds `monitored_case`.

    A week closes when its last day is `maturity_days` old and `closed_when_labelled` of its eligible studies have
    their final report, or when it is `closed_at_latest_days` old; and never before the week that precedes it. Without
    this, early labels, which are the easy cases, would speak first (docs/statistics.md).
    """
    window = {"window_start": protocol.index_window_start, "window_end": protocol.index_window_end}
    rows = connection.execute(sql("queries/assessment/cohort_weeks.sql"), {**window, "until": data_until}).fetchall()
    weeks: list[Week] = []
    for start, eligible, labelled in rows:
        ripe = _is_ripe(start + timedelta(days=7), eligible, labelled, protocol, data_until)
        weeks.append(Week(start, eligible, labelled, ripe and all(one.closed for one in weeks)))
    closed = {week.start: number for number, week in enumerate(weeks) if week.closed}
    counts: dict[Place, Counts] = {}
    connection.execute(sql("queries/assessment/monitored_case.sql"), window)
    for *place, start, found, present, cleared, absent in connection.execute(
        sql("queries/assessment/monitored_weeks.sql")
    ).fetchall():
        if start in closed:
            dimension, site, scanner, shift = place
            group = counts.setdefault((dimension, site, scanner, shift), np.zeros((4, len(closed)), dtype=np.int64))
            group[:, closed[start]] = found, present, cleared, absent
    return Cohorts(tuple(weeks), counts)


def _is_ripe(end: datetime, eligible: int, labelled: int, protocol: TrialProtocol, data_until: datetime) -> bool:
    rule = protocol.monitoring
    age = data_until - end
    if age >= timedelta(days=rule.closed_at_latest_days):
        return True
    return age >= timedelta(days=rule.maturity_days) and labelled >= rule.closed_when_labelled * eligible
