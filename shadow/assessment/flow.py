"""Where every study and every report went (STARD 2015 item 19), from the linked cases."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import duckdb

from shadow.assessment.snapshot import Flow, FlowCell, IndexState, Latency, Reason, ReferenceState, Span
from shadow.assessment.statistics.reference_error import pending_bounds
from shadow.domain.project import sql


def study_flow(connection: duckdb.DuckDBPyConnection, data_until: datetime | None = None) -> Flow:
    """The flow of all received studies. `connection` is one on which `linkage.link` has run.

    Orders are due a day before `data_until`; without it none is counted.
    """
    counted = {
        (index_state, reference_state): studies
        for index_state, reference_state, studies in connection.execute(
            sql("queries/assessment/flow_cells.sql")
        ).fetchall()
    }
    boxes: dict[str, list[Reason]] = {}
    for box, reason, occurrences in connection.execute(sql("queries/assessment/reasons.sql")).fetchall():
        boxes.setdefault(box, []).append(Reason(reason, occurrences))
    totals = connection.execute(sql("queries/assessment/totals.sql")).fetchone()
    received, eligible, late_revisions, report_versions, linked, unmatched = totals
    until = data_until or datetime.min.replace(year=1900, tzinfo=UTC)
    orders, without_study = connection.execute(sql("queries/assessment/order_counts.sql"), {"until": until}).fetchone()
    return Flow(
        received=received,
        excluded=tuple(boxes.get("excluded", ())),
        eligible=eligible,
        cells=tuple(
            FlowCell(index_state, reference_state, counted.get((index_state.value, reference_state.value), 0))
            for index_state, reference_state in product(IndexState, ReferenceState)
        ),
        failures=tuple(boxes.get("failed", ())),
        pending=tuple(boxes.get("pending", ())),
        late_revisions=late_revisions,
        report_versions=report_versions,
        reports_linked=linked,
        reports_unmatched=unmatched,
        messages_quarantined=tuple(boxes.get("message_quarantined", ())),
        instances_quarantined=tuple(boxes.get("instance_quarantined", ())),
        messages_not_used=sum(one.count for one in boxes.get("message_not_used", ())),
        links_corrected=tuple(boxes.get("link_corrected", ())),
        orders=orders,
        orders_without_study=without_study,
    )


def sensitivity_if_pending(flow: Flow) -> Span | None:
    """Sharp bounds of sensitivity over every outcome of the pending reports; failures are misses, as in the figure."""
    present = flow.count(reference_state=ReferenceState.PRESENT)
    if not present:
        return None
    found = flow.count(IndexState.POSITIVE, ReferenceState.PRESENT)
    flagged = flow.count(IndexState.POSITIVE, ReferenceState.PENDING)
    others = flow.count(reference_state=ReferenceState.PENDING) - flagged
    bounds = pending_bounds(found, present - found, flagged, others)
    return Span(bounds.lower, bounds.upper)


def latency(connection: duckdb.DuckDBPyConnection) -> Latency:
    """Seconds from study closed to prediction locked, over eligible studies."""
    row = connection.execute(sql("queries/assessment/latency.sql")).fetchone()
    return Latency(*row)
