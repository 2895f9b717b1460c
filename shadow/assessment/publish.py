"""Assesses the trial as the ledger stands and publishes the result as an immutable snapshot."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from shadow.assessment.adjudication import adjudicated, draw_studies
from shadow.assessment.analysed import analysed_cases
from shadow.assessment.cohorts import weekly_cohorts
from shadow.assessment.comparison import read_challengers, read_unread
from shadow.assessment.completeness import completeness
from shadow.assessment.criteria import judge_criterion
from shadow.assessment.evidence_of import gather_evidence
from shadow.assessment.exploration import explore
from shadow.assessment.flow import latency, sensitivity_if_pending, study_flow
from shadow.assessment.linkage import broken_promises, count_groups, link
from shadow.assessment.monitors import raised_alarms, stream_of, watch_family
from shadow.assessment.snapshot import Snapshot
from shadow.assessment.snapshot_file import (
    CASES_FILE,
    POINTER_FILE,
    READING_LIST_FILE,
    SNAPSHOT_FILE,
    Published,
    sha256_of,
    to_bytes,
)
from shadow.assessment.subgroups import all_groups, worst_cell_label
from shadow.domain.project import sql
from shadow.protocol.site import Site
from shadow.protocol.trial import TrialProtocol
from shadow.store.durable import sync_folder, write_durably
from shadow.store.ledger import Head

REPORTS_FILE = "reports.parquet"
SNAPSHOTS_KEPT = 50


@dataclass(frozen=True, slots=True)
class ModelAssessed:
    """The champion as pages name it; `demonstration` where its contract says that it is one."""

    identifier: str
    version: str
    sha256: str
    threshold: float
    demonstration: bool


def assess(
    connection: duckdb.DuckDBPyConnection,
    *,
    protocol: TrialProtocol,
    protocol_sha256: str,
    sites: Sequence[Site],
    model: ModelAssessed,
    head: Head,
    data_until: datetime,
    completion_minutes: float = 0.0,
) -> Snapshot:
    """One assessment of the lake behind `connection`, for the protocol's champion.

    `completion_minutes`: how long a study is quiet before it is complete; the triage replay waits for that too.
    """
    link(connection, protocol)
    flow = study_flow(connection, data_until)
    cohorts = weekly_cohorts(connection, protocol, data_until)
    raised = raised_alarms(connection, stream_of(protocol, model.threshold))
    groups = all_groups(count_groups(connection), cohorts, sites, protocol)
    cases = analysed_cases(connection, protocol, data_until, cohorts.closed)
    arrived = completeness(connection, sites, protocol)
    drawn = draw_studies(connection, protocol, data_until)
    return Snapshot(
        trial=protocol.identifier,
        trial_title=protocol.title,
        protocol_version=protocol.version,
        protocol_sha256=protocol_sha256,
        model=model.identifier,
        model_version=model.version,
        model_sha256=model.sha256,
        threshold=model.threshold,
        target_condition=protocol.target_condition,
        target_plural=protocol.target_condition_plural,
        demonstration=model.demonstration,
        data_until=data_until,
        ledger_seq=head.seq,
        ledger_hash=head.hash,
        planned_positives=protocol.planned_positives,
        minimum_positives_shown=protocol.minimum_positives_shown,
        flow=flow,
        groups=groups,
        criteria=tuple(judge_criterion(one, groups, protocol.target_condition_plural) for one in protocol.criteria),
        latency=latency(connection),
        monitoring=watch_family(cohorts, raised, sites, protocol),
        completeness=arrived,
        exploration=explore(connection, groups, worst_cell_label(groups), protocol),
        evidence=gather_evidence(
            cases,
            read_challengers(connection, protocol),
            cohorts,
            groups,
            sites,
            protocol,
            completeness=arrived,
            read_blind=adjudicated(drawn, protocol.adjudication),
            unread=read_unread(connection),
            threshold=model.threshold,
            wait=completion_minutes,
        ),
        sensitivity_if_pending=sensitivity_if_pending(flow),
        worst=worst_cell_label(groups),
        broken_promises=broken_promises(connection),
    )


def publish(folder: Path, snapshot: Snapshot, connection: duckdb.DuckDBPyConnection) -> Published:
    """Write the snapshot with its case, reading and report lists under its digest, then move the pointer to it.

    Safe to repeat and safe to kill: the pointer moves last, and names only what is already durable.
    """
    content = to_bytes(snapshot)
    sha256 = sha256_of(content)
    target = folder / sha256[:16]
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_durably(target / CASES_FILE, _parquet(connection, "queries/assessment/case_list.sql"))
    write_durably(target / READING_LIST_FILE, _parquet(connection, "queries/assessment/reading_list.sql"))
    write_durably(target / REPORTS_FILE, _parquet(connection, "queries/assessment/report_list.sql"))
    write_durably(target / SNAPSHOT_FILE, content)
    sync_folder(folder)
    pointer = {"sha256": sha256, "data_until": snapshot.data_until.isoformat()}
    write_durably(folder / POINTER_FILE, json.dumps(pointer).encode())
    _drop_old(folder, keep=target)
    return Published(sha256, snapshot, target / CASES_FILE)


def _parquet(connection: duckdb.DuckDBPyConnection, path: str) -> bytes:
    table: pa.Table = connection.sql(sql(path)).to_arrow_table()
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _drop_old(folder: Path, keep: Path) -> None:
    """Keep the newest snapshots; every one can be computed again from the ledger at its position."""
    folders = sorted((one for one in folder.iterdir() if one.is_dir()), key=lambda one: one.stat().st_mtime)
    for old in folders[:-SNAPSHOTS_KEPT]:
        if old != keep:
            shutil.rmtree(old)
