"""The joins and counts of the assessment on events written out by hand, through the real ledger and lake."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from shadow.assessment.flow import study_flow
from shadow.assessment.linkage import broken_promises, count_groups, link
from shadow.assessment.snapshot import IndexState, Reason, ReferenceState
from shadow.protocol.trial import TrialProtocol, read_trial
from shadow.store.events import (
    Audited,
    Event,
    LabelRead,
    PredictionFailed,
    PredictionLocked,
    ReportVersion,
    StudyClosed,
    StudyExcluded,
    TrialRegistered,
)
from shadow.store.lake import Lake
from shadow.store.ledger import Ledger

T0 = datetime(2026, 9, 1, 12, tzinfo=UTC)
PROTOCOL = read_trial(Path(__file__).parents[2] / "configs" / "trials" / "demo-head-ct.toml")
MODEL = PROTOCOL.champion


def registered() -> TrialRegistered:
    return TrialRegistered(PROTOCOL.identifier, "1.0", "0" * 64, "text", (), ())


def study(key: str, scanner: str = "riverside-ct-1", shift: str = "Day", revision: int = 1) -> StudyClosed:
    return StudyClosed(
        study_key=key,
        revision=revision,
        supersedes=revision - 1 or None,
        patient_key=f"P-{key}",
        accession_key=f"A-{key}",
        site=scanner.split("-")[0],
        scanner=scanner,
        shift=shift,
        acquired_at=T0,
        first_received_at=T0,
        closed_at=T0,
        machine_closed_at=datetime.now(UTC) - timedelta(seconds=2),
        instance_count=17,
        manifest_sha256="0" * 64,
        manufacturer="MAKER",
        manufacturer_model_name="MODEL",
        convolution_kernel="H31s",
        kvp=120.0,
        slice_thickness_mm=5.0,
        patient_age_years=60,
        patient_sex="F",
    )


def locked(key: str, score: float) -> PredictionLocked:
    return PredictionLocked(
        key, 1, MODEL.identifier, MODEL.sha256, "2.25.1", 16, "0" * 64, score, 0.5, score >= 0.5, ()
    )


def failed(key: str, reason: str = "missing_slices") -> PredictionFailed:
    return PredictionFailed(key, 1, MODEL.identifier, MODEL.sha256, reason, "")


def report(key: str, status: str, number: int = 1) -> ReportVersion:
    return ReportVersion(
        report_key=f"{key}-{number}:1",
        site="riverside",
        accession_key=f"A-{key}",
        patient_key=f"P-{key}",
        result_status=status,
        final=status in ("F", "C"),
        addendum=False,
        observed_at=T0,
        reported_at=T0,
        received_at=T0,
        text_sha256="0" * 64,
        message_sha256="0" * 64,
    )


def label(key: str, state: str, number: int = 1) -> LabelRead:
    return LabelRead(
        f"{key}-{number}:1",
        f"A-{key}",
        PROTOCOL.target_condition,
        state,
        PROTOCOL.reference.label_rule,
        (),
    )


@contextmanager
def linked(folder: Path, *events: Event, protocol: TrialProtocol = PROTOCOL) -> Iterator[duckdb.DuckDBPyConnection]:
    with Ledger(f"sqlite:///{folder / 'ledger.db'}", protocol.identifier) as ledger:
        ledger.migrate()
        for event in events:
            ledger.append([event])
        lake = Lake(folder / "lake")
        lake.export(ledger)
    connection = lake.connect()
    link(connection, protocol)
    yield connection
    connection.close()


def states(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[str | None, str | None]]:
    rows = connection.execute(
        "select study_key, index_state, reference_state from evaluation_case order by study_key"
    ).fetchall()
    return {key: (index_state, reference_state) for key, index_state, reference_state in rows}


def test_a_study_still_waiting_for_its_report_is_pending_not_negative(tmp_path: Path) -> None:
    with linked(tmp_path, registered(), study("S1"), locked("S1", 0.1)) as connection:
        assert states(connection) == {"S1": ("negative", "pending")}
        assert study_flow(connection).pending == (Reason("no_report", 1),)
        (overall, *_) = count_groups(connection)
        assert (overall.eligible, overall.absent, overall.pending) == (1, 0, 1)


def test_a_preliminary_report_is_not_the_reference_standard(tmp_path: Path) -> None:
    events = (registered(), study("S1"), locked("S1", 0.9), report("S1", "P"), label("S1", "present"))
    with linked(tmp_path, *events) as connection:
        assert states(connection) == {"S1": ("positive", "pending")}
        assert study_flow(connection).pending == (Reason("preliminary_only", 1),)


def test_the_first_final_report_is_primary_and_a_correction_changes_nothing(tmp_path: Path) -> None:
    events = (
        registered(),
        study("S1"),
        locked("S1", 0.9),
        *(report("S1", "P", 1), label("S1", "present", 1)),
        *(report("S1", "F", 2), label("S1", "absent", 2)),
        *(report("S1", "C", 3), label("S1", "present", 3)),
    )
    with linked(tmp_path, *events) as connection:
        assert states(connection) == {"S1": ("positive", "absent")}


def test_a_prediction_locked_after_the_preliminary_report_is_late_and_counts_as_a_miss(
    tmp_path: Path,
) -> None:
    events = (
        registered(),
        *(study("S1"), report("S1", "P", 1), label("S1", "present", 1), locked("S1", 0.9)),
        *(report("S1", "F", 2), label("S1", "present", 2)),
        *(study("S2"), locked("S2", 0.9), report("S2", "F"), label("S2", "present")),
    )
    with linked(tmp_path, *events) as connection:
        assert states(connection) == {"S1": ("late", "present"), "S2": ("positive", "present")}
        overall = next(one for one in count_groups(connection) if one.dimension == "all")
        assert (overall.found, overall.present, overall.present_evaluable, overall.late) == (1, 2, 1, 1)


def test_a_failure_stays_in_both_denominators(tmp_path: Path) -> None:
    events = (
        registered(),
        *(study("S1"), failed("S1"), report("S1", "F"), label("S1", "present")),
        *(study("S2"), failed("S2"), report("S2", "F"), label("S2", "absent")),
        *(study("S3"), locked("S3", 0.2), report("S3", "F"), label("S3", "absent")),
        *(study("S4"), locked("S4", 0.5), report("S4", "F"), label("S4", "absent")),
    )
    with linked(tmp_path, *events) as connection:
        overall = next(one for one in count_groups(connection) if one.dimension == "all")
        assert (overall.found, overall.present) == (0, 1)
        assert (overall.absent, overall.cleared, overall.flagged) == (3, 1, 1)
        flow = study_flow(connection)
        assert flow.failures == (Reason("missing_slices", 2),)
        assert flow.count(IndexState.FAILED, ReferenceState.PRESENT) == 1
        assert flow.broken_sums() == ()


@pytest.mark.parametrize(("policy", "state"), [("absent", "absent"), ("indeterminate", "indeterminate")])
def test_what_is_not_mentioned_follows_the_protocol(tmp_path: Path, policy: str, state: str) -> None:
    from dataclasses import replace

    from shadow.protocol.trial import UnmentionedPolicy

    protocol = replace(PROTOCOL, reference=replace(PROTOCOL.reference, not_mentioned=UnmentionedPolicy(policy)))
    events = (registered(), study("S1"), locked("S1", 0.9), report("S1", "F"), label("S1", "not_mentioned"))
    with linked(tmp_path, *events, protocol=protocol) as connection:
        assert states(connection) == {"S1": ("positive", state)}


def test_an_excluded_study_is_counted_with_its_reason_and_nowhere_else(tmp_path: Path) -> None:
    events = (
        registered(),
        *(study("S1"), StudyExcluded("S1", 1, "age_below_minimum", "")),
        *(report("S1", "F"), label("S1", "present")),
        study("S2"),
    )
    with linked(tmp_path, *events) as connection:
        flow = study_flow(connection)
        assert (flow.received, flow.eligible) == (2, 1)
        assert flow.excluded == (Reason("age_below_minimum", 1),)
        assert states(connection) == {"S1": (None, None), "S2": ("awaiting", "pending")}
        assert flow.broken_sums() == ()
        assert flow.reports_linked == 1


def test_a_report_without_a_study_is_unmatched_and_a_second_revision_is_only_counted(tmp_path: Path) -> None:
    events = (registered(), study("S1"), study("S1", revision=2), report("S9", "F"), label("S9", "present"))
    with linked(tmp_path, *events) as connection:
        flow = study_flow(connection)
        assert (flow.received, flow.late_revisions) == (1, 1)
        assert (flow.report_versions, flow.reports_linked, flow.reports_unmatched) == (1, 0, 1)


def test_quarantined_messages_and_instances_are_counted_by_reason(tmp_path: Path) -> None:
    events = (
        registered(),
        Audited("message:1", "reports", "message_quarantined", "0" * 64, "not_hl7"),
        Audited("message:2", "reports", "message_quarantined", "1" * 64, "not_hl7"),
        Audited("instance:1", "mirror", "instance_quarantined", "2" * 64, "InvalidDicomError"),
        Audited("instance:S1:r1", "admission", "instance_unreadable", "3" * 64, "malformed"),
        Audited("instance:S1:r2", "admission", "instance_unreadable", "3" * 64, "malformed"),
    )
    with linked(tmp_path, *events) as connection:
        flow = study_flow(connection)
        assert flow.messages_quarantined == (Reason("not_hl7", 2),)
        assert flow.instances_quarantined == (Reason("InvalidDicomError", 1), Reason("malformed", 1))


def test_a_cancelled_report_leaves_the_study_pending(tmp_path: Path) -> None:
    events = (registered(), study("S1"), locked("S1", 0.9), report("S1", "X"), label("S1", "not_mentioned"))
    with linked(tmp_path, *events) as connection:
        assert study_flow(connection).pending == (Reason("cancelled", 1),)


def test_groups_count_each_scanner_and_shift_once(tmp_path: Path) -> None:
    events: list[Event] = [registered()]
    for number, (scanner, shift) in enumerate(
        [("riverside-ct-1", "Day"), ("riverside-ct-1", "Night"), ("hillside-ct-1", "Night")]
    ):
        key = f"S{number}"
        events += [study(key, scanner, shift), locked(key, 0.9), report(key, "F"), label(key, "present")]
    with linked(tmp_path, *events) as connection:
        counts = {(one.dimension, one.site, one.scanner, one.shift): one.found for one in count_groups(connection)}
    assert counts == {
        ("all", "", "", ""): 3,
        ("site", "riverside", "", ""): 2,
        ("site", "hillside", "", ""): 1,
        ("scanner", "riverside", "riverside-ct-1", ""): 2,
        ("scanner", "hillside", "hillside-ct-1", ""): 1,
        ("shift", "", "", "Day"): 1,
        ("shift", "", "", "Night"): 2,
        ("cell", "riverside", "riverside-ct-1", "Day"): 1,
        ("cell", "riverside", "riverside-ct-1", "Night"): 1,
        ("cell", "hillside", "hillside-ct-1", "Night"): 1,
    }


BREACHES: dict[str, tuple[Event, ...]] = {
    "answer_and_failure": (registered(), study("S1"), locked("S1", 0.9), failed("S1")),
    "prediction_of_no_eligible_study": (registered(), locked("S1", 0.9), study("S1")),
    "exclusion_of_no_study": (registered(), StudyExcluded("S1", 1, "age_unknown", "")),
    "label_of_no_report": (registered(), label("S1", "present")),
    "protocol_after_data": (study("S1"), registered()),
    "threshold_moved": (
        registered(),
        *(study("S1"), locked("S1", 0.9), study("S2")),
        PredictionLocked("S2", 1, MODEL.identifier, MODEL.sha256, "2.25.1", 16, "0" * 64, 0.55, 0.6, False, ()),
    ),
}


@pytest.mark.parametrize("promise", BREACHES)
def test_a_broken_promise_is_found(tmp_path: Path, promise: str) -> None:
    with linked(tmp_path, *BREACHES[promise]) as connection:
        assert promise in broken_promises(connection)


def test_kept_promises_return_no_row(tmp_path: Path) -> None:
    events = (registered(), study("S1"), locked("S1", 0.9), report("S1", "F"), label("S1", "present"))
    with linked(tmp_path, *events) as connection:
        assert broken_promises(connection) == ()
