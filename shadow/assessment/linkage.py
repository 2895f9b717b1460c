"""Joins predictions and reports over one consistent view of the lake, and checks every promise on it.

All joining and counting is SQL under sql/; this module only runs it in order. The connection holds one view a
ledger kind (shadow.store.lake). After `link`, it also holds `evaluation_case`: one row a received study.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import pyarrow as pa

from shadow.domain.project import project_folder, sql
from shadow.protocol.trial import TrialProtocol

VIEW_ROOMS = ("linkage", "index_test", "reference_standard", "joined", "adjudication")


@dataclass(frozen=True, slots=True)
class CaseCounts:
    """What `group_counts.sql` counts in one group; see there."""

    dimension: str
    site: str
    scanner: str
    shift: str
    eligible: int
    pending: int
    failed: int
    late: int
    indeterminate: int
    present: int
    found: int
    present_evaluable: int
    absent: int
    cleared: int
    flagged: int


def link(connection: duckdb.DuckDBPyConnection, protocol: TrialProtocol) -> None:
    """Create the views and `evaluation_case` for the protocol's champion."""
    reference = protocol.reference
    bounds = {"days_before": [reference.linked_days_before], "days_after": [reference.linked_days_after]}
    connection.register("linkage_rule", pa.table(bounds))
    for room in VIEW_ROOMS:
        for path in sorted((project_folder("sql") / "views" / room).glob("*.sql")):
            connection.execute(path.read_text(encoding="utf-8"))
    cases = connection.sql(
        sql("queries/assessment/case.sql"),
        params={
            "model": protocol.champion.identifier,
            "model_sha256": protocol.champion.sha256,
            "target_condition": protocol.target_condition,
            "label_rule": protocol.reference.label_rule,
            "not_mentioned": protocol.reference.not_mentioned.value,
        },
    ).to_arrow_table()
    connection.register("evaluation_case", cases)


def count_groups(connection: duckdb.DuckDBPyConnection) -> tuple[CaseCounts, ...]:
    """The counts of every group that occurs."""
    rows = connection.execute(sql("queries/assessment/group_counts.sql")).fetchall()
    return tuple(CaseCounts(*row) for row in rows)


def broken_promises(connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """The names of the checks under sql/checks/ that return a row, in order."""
    checks = sorted((project_folder("sql") / "checks").glob("*.sql"))
    return tuple(
        path.stem for path in checks if connection.execute(path.read_text(encoding="utf-8")).fetchone() is not None
    )
