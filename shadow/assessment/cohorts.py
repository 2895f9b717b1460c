"""Weekly cohorts of index time: which are closed, and what was found in each group of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb
import numpy as np
from numpy.typing import NDArray

from shadow.assessment.snapshot import MaturedCounts, Week
from shadow.assessment.statistics.delayed_labels import closed_weeks
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
    rule = protocol.monitoring
    ages = [(data_until - start) / timedelta(days=1) - 7 for start, _, _ in rows]
    shares = [labelled / eligible if eligible else 1.0 for _, eligible, labelled in rows]
    ripe = closed_weeks(
        ages, shares, rule.maturity_days, rule.closed_when_labelled, latest_days=rule.closed_at_latest_days
    )
    weeks = tuple(
        Week(start, eligible, labelled, bool(closed))
        for (start, eligible, labelled), closed in zip(rows, ripe, strict=True)
    )
    numbers = {week.start: number for number, week in enumerate(weeks) if week.closed}
    counts: dict[Place, Counts] = {}
    connection.execute(sql("queries/assessment/monitored_case.sql"), window)
    for *place, start, found, present, cleared, absent in connection.execute(
        sql("queries/assessment/monitored_weeks.sql")
    ).fetchall():
        if start in numbers:
            dimension, site, scanner, shift = place
            group = counts.setdefault((dimension, site, scanner, shift), np.zeros((4, len(numbers)), dtype=np.int64))
            group[:, numbers[start]] = found, present, cleared, absent
    return Cohorts(weeks, counts)
