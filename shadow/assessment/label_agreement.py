"""How far the label rules agree with the other readers of the same reports: the second labeller, coded findings."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from shadow.assessment.statistics.agreement import Agreement, agreement
from shadow.domain.project import sql


@dataclass(frozen=True, slots=True)
class ReaderPair:
    """Two readers of the same first final reports.

    Attributes:
        both, first_only, second_only, neither: reports in which they read the condition as present.
        agreement: None with fewer than two reports.
    """

    target_condition: str
    first_reader: str
    second_reader: str
    both: int
    first_only: int
    second_only: int
    neither: int

    @property
    def agreement(self) -> Agreement | None:
        """Kappa and AC1 of present against not present."""
        table = [[self.both, self.first_only], [self.second_only, self.neither]]
        return agreement(table) if sum(map(sum, table)) > 1 else None


def reader_pairs(connection: duckdb.DuckDBPyConnection) -> tuple[ReaderPair, ...]:
    """Every pair that read a report both; `linkage.link` has run on `connection`."""
    return tuple(
        ReaderPair(*row) for row in connection.execute(sql("queries/assessment/label_agreement.sql")).fetchall()
    )
