"""A trial of 1,540 studies with the figures that a reader would meet, published like a real one.

Cases are written out first, one row a study; the snapshot counts them with the assessment's own rules for
groups and criteria.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import random
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shadow.assessment.adjudication import StudyToAdjudicate, adjudicated
from shadow.assessment.analysed import AnalysedCases
from shadow.assessment.cohorts import Cohorts
from shadow.assessment.comparison import ChallengerAnswers
from shadow.assessment.completeness import completeness
from shadow.assessment.criteria import judge_criterion
from shadow.assessment.evidence import Adjudicated, UnreadResult
from shadow.assessment.evidence_of import gather_evidence
from shadow.assessment.flow import sensitivity_if_pending
from shadow.assessment.linkage import CaseCounts
from shadow.assessment.monitors import watch_family
from shadow.assessment.snapshot import (
    Completeness,
    Exploration,
    ExploredSlice,
    Flow,
    FlowCell,
    IndexState,
    Latency,
    Reason,
    ReferenceState,
    Snapshot,
    Week,
)
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
from shadow.protocol.adjudication import IndexTest, Report
from shadow.protocol.monitoring import Completeness as CompletenessRule
from shadow.protocol.site import read_site
from shadow.protocol.trial import ModelUnderTrial, Role, read_trial
from shadow.protocol.vendor import ResultCoding, VendorProduct
from shadow.store.lake import in_memory

CONFIGS = Path(__file__).parents[2] / "configs"
PROTOCOL = read_trial(CONFIGS / "trials" / "demo-head-ct.toml")
SITES = tuple(read_site(CONFIGS / "sites" / f"{name}.toml") for name in PROTOCOL.sites)

START = datetime(2026, 8, 24, tzinfo=UTC)
DATA_UNTIL = datetime(2026, 11, 22, 6, tzinfo=UTC)
SEED = 20261122

WORST = ("riverside-ct-2", "Night")
# Found, missed and without a result among the confirmed positives of each scanner, by shift.
POSITIVES: dict[str, dict[str, tuple[int, int, int]]] = {
    "riverside-ct-1": {"Day": (18, 1, 0), "Evening": (13, 1, 0), "Night": (11, 0, 1)},
    "riverside-ct-2": {"Day": (16, 0, 0), "Evening": (12, 1, 0), "Night": (16, 14, 1)},
    "riverside-ct-3": {"Day": (10, 0, 0), "Evening": (5, 1, 0), "Night": (6, 0, 0)},
    "hillside-ct-1": {"Day": (14, 1, 0), "Evening": (10, 0, 0), "Night": (5, 1, 0)},
    "hillside-ct-2": {"Day": (7, 0, 0), "Evening": (4, 0, 0), "Night": (2, 0, 0)},
}
NEGATIVES_PER_CELL = 78
PENDING_PER_CELL = 6
ALARM_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("stream", "dimension", "site", "scanner", "shift", "reason")]
    + [("week", pa.timestamp("us", "UTC")), ("seq", pa.int64())]
)
STUDIES_AT_MOST = 1540


@dataclass(frozen=True, slots=True)
class ExampleCase:
    """One row of the case list."""

    study_key: str
    site: str
    scanner: str
    shift: str
    acquired_at: datetime
    index_state: str | None
    reference_state: str | None
    exclusion_reason: str | None
    failure_reason: str | None
    pending_reason: str | None


@functools.cache
def example_cases() -> tuple[ExampleCase, ...]:
    """Every study of the example, in a fixed order."""
    chance = random.Random(SEED)
    cases: list[ExampleCase] = []
    times = chance.sample(range(STUDIES_AT_MOST), STUDIES_AT_MOST)

    def add(scanner: str, shift: str, index: str | None, reference: str | None, reason: str | None = None) -> None:
        number = len(cases)
        cases.append(
            ExampleCase(
                study_key=f"S{chance.getrandbits(48):012x}",
                site=scanner.split("-")[0],
                scanner=scanner,
                shift=shift,
                acquired_at=START + timedelta(minutes=54 * times[number]),
                index_state=index,
                reference_state=reference,
                exclusion_reason=reason if index is None else None,
                failure_reason=chance.choice(("series_not_found", "too_few_slices")) if index == "failed" else None,
                pending_reason=reason if reference == "pending" else None,
            )
        )

    for scanner, shifts in POSITIVES.items():
        for shift, (found, missed, without) in shifts.items():
            for _ in range(found):
                add(scanner, shift, "positive", "present")
            for _ in range(missed):
                add(scanner, shift, "negative", "present")
            for _ in range(without):
                add(scanner, shift, "failed", "present")
            for number in range(NEGATIVES_PER_CELL):
                index = "positive" if number < 7 else "failed" if number == 7 else "late" if number == 8 else "negative"
                add(scanner, shift, index, "absent")
            add(scanner, shift, "negative", "indeterminate")
            for number in range(PENDING_PER_CELL):
                index = "awaiting" if number == 0 else "positive" if number == 1 else "negative"
                add(scanner, shift, index, "pending", "preliminary_only" if number == 2 else "no_report")
            add(scanner, shift, None, None, "under_age" if shift == "Night" else "study_description")
    return tuple(cases)


def count_cases(cases: tuple[ExampleCase, ...]) -> tuple[CaseCounts, ...]:
    """The counts of every group, by plain loops."""
    groups: dict[tuple[str, str, str, str], list[ExampleCase]] = {}
    for case in cases:
        if case.exclusion_reason is None:
            for place in (
                ("all", "", "", ""),
                ("site", case.site, "", ""),
                ("scanner", case.site, case.scanner, ""),
                ("shift", "", "", case.shift),
                ("cell", case.site, case.scanner, case.shift),
            ):
                groups.setdefault(place, []).append(case)
    return tuple(_count(place, members) for place, members in groups.items())


def _count(place: tuple[str, str, str, str], members: list[ExampleCase]) -> CaseCounts:
    pairs = Counter((one.index_state, one.reference_state) for one in members)
    index = Counter(one.index_state for one in members)
    reference = Counter(one.reference_state for one in members)
    return CaseCounts(
        *place,
        eligible=len(members),
        pending=reference["pending"],
        failed=index["failed"],
        late=index["late"],
        indeterminate=reference["indeterminate"],
        present=reference["present"],
        found=pairs["positive", "present"],
        present_evaluable=pairs["positive", "present"] + pairs["negative", "present"],
        absent=reference["absent"],
        cleared=pairs["negative", "absent"],
        flagged=pairs["positive", "absent"],
    )


def labelled(case: ExampleCase) -> bool:
    return case.reference_state != "pending"


def count_weeks(cases: tuple[ExampleCase, ...]) -> Cohorts:
    """The weekly cohorts, by plain loops; every patient has one study, and every week with a case is old enough."""
    eligible = [one for one in cases if one.exclusion_reason is None]
    numbers = sorted({(one.acquired_at - START).days // 7 for one in eligible})
    weeks = tuple(
        Week(
            START + timedelta(weeks=number),
            len(members),
            sum(one.reference_state != "pending" for one in members),
            True,
        )
        for number in numbers
        for members in [[one for one in eligible if (one.acquired_at - START).days // 7 == number]]
    )
    counts: dict[tuple[str, str, str, str], np.ndarray] = {}
    for one in eligible:
        rows = {"present": (0, 1, "positive"), "absent": (2, 3, "negative")}.get(one.reference_state or "")
        if rows is None:
            continue
        for place in (
            ("all", "", "", ""),
            ("site", one.site, "", ""),
            ("scanner", one.site, one.scanner, ""),
            ("shift", "", "", one.shift),
            ("site_and_shift", one.site, "", one.shift),
            ("cell", one.site, one.scanner, one.shift),
        ):
            group = counts.setdefault(place, np.zeros((4, len(weeks)), dtype=np.int64))
            group[rows[1], (one.acquired_at - START).days // 7] += 1
            group[rows[0], (one.acquired_at - START).days // 7] += one.index_state == rows[2]
    return Cohorts(weeks, counts)


EXPLORATION = Exploration(
    21,
    (
        ExploredSlice(("slices of 10 mm", "kernel STD+", "140 kVp"), 16, 60, 6, 111, 0.001, 15, 15),
        ExploredSlice(("age >= 80",), 5, 22, 17, 149, 0.81, 2, 15),
    ),
)


def _reasons(codes: list[str | None]) -> tuple[Reason, ...]:
    return tuple(Reason(code, count) for code, count in Counter(one for one in codes if one).most_common())


@functools.cache
def example_snapshot(cases: tuple[ExampleCase, ...]) -> Snapshot:
    """The snapshot of these cases."""
    eligible = [one for one in cases if one.exclusion_reason is None]
    pairs = Counter((one.index_state, one.reference_state) for one in eligible)
    cohorts = count_weeks(cases)
    groups = all_groups(count_cases(cases), cohorts, SITES, PROTOCOL)
    flow = Flow(
        received=len(cases),
        excluded=_reasons([one.exclusion_reason for one in cases]),
        eligible=len(eligible),
        cells=tuple(
            FlowCell(index, reference, pairs[index.value, reference.value])
            for index, reference in product(IndexState, ReferenceState)
        ),
        failures=_reasons([one.failure_reason for one in eligible]),
        pending=_reasons([one.pending_reason for one in eligible]),
        late_revisions=4,
        report_versions=2731,
        reports_linked=1382,
        reports_unmatched=9,
        messages_quarantined=(Reason("not_hl7", 2), Reason("no_accession_number", 1)),
        instances_quarantined=(Reason("truncated", 3),) if cases else (),
    )
    analysed = analysed_example(cases, cohorts.closed)
    return Snapshot(
        trial=PROTOCOL.identifier,
        trial_title=PROTOCOL.title,
        protocol_version=PROTOCOL.version,
        protocol_sha256="a" * 64,
        model="demo-head-ct-haemorrhage",
        model_version="1.0.0",
        model_sha256="b" * 64,
        threshold=0.5,
        target_condition=PROTOCOL.target_condition,
        target_plural=PROTOCOL.target_condition_plural,
        demonstration=True,
        data_until=DATA_UNTIL,
        ledger_seq=9000,
        ledger_hash="c" * 64,
        planned_positives=PROTOCOL.planned_positives,
        minimum_positives_shown=PROTOCOL.minimum_positives_shown,
        flow=flow,
        groups=groups,
        criteria=tuple(judge_criterion(one, groups, PROTOCOL.target_condition_plural) for one in PROTOCOL.criteria),
        latency=Latency(1400, 3.4, 9.8, 1200, 3.1),
        monitoring=watch_family(cohorts, {}, SITES, PROTOCOL),
        completeness=example_completeness() if cases else None,
        exploration=EXPLORATION if cases else Exploration(0, ()),
        evidence=gather_evidence(
            analysed,
            example_challengers(analysed),
            cohorts,
            groups,
            SITES,
            PROTOCOL,
            unread=(UnreadResult("unknown_value", 3),),
            threshold=0.5,
            wait=1.0,
            read_blind=example_adjudicated(cases) if cases else None,
        ),
        sensitivity_if_pending=sensitivity_if_pending(flow),
        worst=worst_cell_label(groups),
        broken_promises=(),
    )


def example_adjudicated(cases: tuple[ExampleCase, ...]) -> Adjudicated | None:
    """Reports miss a sixth of what the AI misses by day and half of it at night; readers err once in thirty."""
    plan, chance = PROTOCOL.adjudication, np.random.default_rng(SEED)
    assert plan is not None
    eligible = [one for one in cases if one.exclusion_reason is None and one.reference_state != "pending"]
    studies = []
    for number, one in enumerate(eligible):
        index = one.index_state if one.index_state in ("positive", "negative") else "none"
        kind = IndexTest(index), Report(str(one.reference_state))
        share = plan.share_of(*kind, one.shift)
        drawn = bool(chance.random() < share) and one.index_state != "awaiting"
        overlooked = kind == (IndexTest.NEGATIVE, Report.ABSENT) and chance.random() < 0.03
        truth = kind[1] is Report.PRESENT or (kind[1] is Report.INDETERMINATE and number % 2 == 0) or overlooked
        answers = ["present" if truth != bool(chance.random() < 1 / 30) else "absent" for _ in range(3)]
        first, second, third = answers if drawn and number % 17 else ("", "", "")
        settled = "" if not first or number % 41 == 0 else first if first == second else third
        studies.append(
            StudyToAdjudicate(one.study_key, *kind, one.shift, share, drawn, number, True, first, second, settled)
        )
    return adjudicated(studies, plan)


def example_completeness() -> Completeness:
    """Riverside CT-2 routes three of four studies at night; everything else arrives."""
    chance = np.random.default_rng(SEED)
    connection = in_memory()
    rows = []
    for number in range(900):
        site = SITES[number % 2]
        scanner = site.scanners[number % len(site.scanners)]
        acquired_at = START + timedelta(hours=2.4 * number)
        shift = site.calendar().shift_at(acquired_at)
        bad = scanner.identifier == "riverside-ct-2" and shift == "Night"
        in_time = bool(chance.random() > (0.4 if bad else 0.004))
        here_now = in_time or bool(chance.random() < 0.2)
        rows.append((site.identifier, scanner.identifier, shift, acquired_at, in_time, here_now, number == 7))
    names = ("site", "scanner", "shift", "acquired_at", "in_time", "here_now", "short_of_instances")
    connection.register("listed_study", pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows]))
    audits = [
        {"action": "archive_asked", "object": f"{site.identifier}:{first_day + timedelta(days=day)}"}
        for site in SITES
        for first_day in (START.astimezone(site.time_zone).date(),)
        for day in range(90)
    ]
    connection.register("primary_study", pa.table({"acquired_at": [START + timedelta(days=90)]}))
    connection.register("audit", pa.Table.from_pylist(audits))
    connection.register("alarm", pa.Table.from_pylist([], schema=ALARM_SCHEMA))
    found = completeness(connection, SITES, replace(PROTOCOL, completeness=CompletenessRule(0.95)))
    assert found is not None
    return found


def analysed_example(cases: tuple[ExampleCase, ...], closed_weeks: int) -> AnalysedCases:
    """The eligible example cases as columns, with scores and times drawn around their states."""
    chosen = sorted((one for one in cases if one.exclusion_reason is None), key=lambda one: one.acquired_at)
    chance = np.random.default_rng(SEED)
    size = len(chosen)
    index, reference = (np.array([getattr(one, name) or "" for one in chosen], dtype=object) for name in
                        ("index_state", "reference_state"))  # fmt: skip
    found, evaluable = index == "positive", np.isin(index.astype(str), ("positive", "negative"))
    day = np.array([(one.acquired_at - START) / timedelta(days=1) for one in chosen], dtype=float)
    score = np.where(found, chance.uniform(0.5, 1.0, size), chance.uniform(0.0, 0.5, size))
    pending = reference == "pending"
    scanner = np.array([one.scanner for one in chosen], dtype=object)
    thick = scanner == "riverside-ct-2"
    return AnalysedCases(
        study=np.array([one.study_key for one in chosen], dtype=object),
        patient=np.array([f"P{number // 2 if number % 9 == 0 else number}" for number in range(size)], dtype=object),
        site=np.array([one.site for one in chosen], dtype=object),
        scanner=scanner,
        shift=np.array([one.shift for one in chosen], dtype=object),
        found=found,
        evaluable=evaluable,
        answered=evaluable | (index == "late"),
        present=reference == "present",
        absent=reference == "absent",
        pending=pending,
        indeterminate=reference == "indeterminate",
        not_mentioned=(reference == "absent") & (chance.random(size) < 0.1),
        latest_present=reference == "present",
        latest_absent=reference == "absent",
        score=np.where(evaluable, score, np.nan),
        summary=np.column_stack([np.where(thick, 16.0, 30.0), chance.normal(30, 4, size)]),
        age_years=np.floor(chance.uniform(18, 90, size)),
        thickness_mm=np.where(thick, 10.0, 5.0),
        kvp=np.full(size, 120.0),
        kernel=np.where(thick, "STD+", "H30").astype(object),
        week=(day // 7).astype(np.int64),
        closed=day // 7 < closed_weeks,
        index_day=day,
        age_days=(DATA_UNTIL - START) / timedelta(days=1) - day,
        delay_days=np.where(pending, np.nan, np.minimum(0.3, 91 - day)),
        turnaround_days=np.where(pending, np.nan, np.minimum(0.3, 91 - day)),
        reported_after=np.where(pending, np.nan, chance.uniform(20, 300, size)),
        locked_after=np.where(evaluable, 0.05, np.nan),
        first=np.ones(size, dtype=bool),
        mentions_model=np.arange(size) % 97 == 0,
    )


def example_challengers(cases: AnalysedCases) -> tuple[ChallengerAnswers, ...]:
    """A vendor's product that finds nine of ten everywhere, also on the worst scanner."""
    chance = np.random.default_rng(SEED + 1)
    model = ModelUnderTrial(
        "acme-ich", Role.CHALLENGER, vendor=VendorProduct("Acme ICH", "3.2", csv=ResultCoding(
            "result", ("POS",), ("NEG",), accession="accession"
        )),
    )  # fmt: skip
    found = np.where(cases.present, chance.random(len(cases)) < 0.9, chance.random(len(cases)) < 0.08)
    evaluable = chance.random(len(cases)) < 0.98
    score = np.where(found, chance.uniform(0.5, 1.0, len(cases)), chance.uniform(0.0, 0.5, len(cases)))
    return (ChallengerAnswers(model, evaluable, found & evaluable, np.where(evaluable, score, np.nan)),)


def publish_example(
    folder: Path,
    snapshot: Snapshot | None = None,
    cases: tuple[ExampleCase, ...] | None = None,
    withheld: tuple[str, ...] = (),
) -> Published:
    """Write a snapshot with its lists under its digest and move the pointer, as the assessment does."""
    cases = example_cases() if cases is None else cases
    snapshot = example_snapshot(cases) if snapshot is None else snapshot
    content = to_bytes(snapshot)
    sha256 = sha256_of(content)
    target = folder / sha256[:16]
    target.mkdir(parents=True, exist_ok=True)
    columns = [one.name for one in dataclasses.fields(ExampleCase)]
    table = pa.table(
        {name: [getattr(case, name) for case in cases] for name in columns},
        schema=pa.schema(
            [(name, pa.timestamp("us", tz="UTC") if name == "acquired_at" else pa.string()) for name in columns]
        ),
    ).append_column("withheld", pa.array([case.study_key in withheld for case in cases], pa.bool_()))
    pq.write_table(table, target / CASES_FILE)
    pq.write_table(pa.table({"study_key": pa.array(withheld, pa.string())}), target / READING_LIST_FILE)
    (target / SNAPSHOT_FILE).write_bytes(content)
    pointer = folder / ".pointer.tmp"
    pointer.write_text(json.dumps({"sha256": sha256}), encoding="utf-8")
    pointer.replace(folder / POINTER_FILE)
    return Published(sha256, snapshot, target / CASES_FILE)
