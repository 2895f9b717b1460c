"""What one assessment found, as an immutable file: all that a page or a status line reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shadow.assessment.evidence import Evidence


class IndexState(StrEnum):
    """What the champion said about an eligible study; exactly one a study."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    LATE = "late"  # locked after the first version of its report had arrived: counts as no result
    FAILED = "failed"
    AWAITING = "awaiting"


class ReferenceState(StrEnum):
    """What the first final report said about an eligible study; exactly one a study."""

    PRESENT = "present"
    ABSENT = "absent"
    INDETERMINATE = "indeterminate"
    PENDING = "pending"


class Verdict(StrEnum):
    """Three states only: never a colour in between."""

    MET = "met"
    NOT_YET_KNOWN = "not yet known"
    NOT_MET = "not met"


@dataclass(frozen=True, slots=True)
class Proportion:
    """A figure with its n and its interval.

    Attributes:
        count, of: numerator and denominator.
        estimate: count / of, or None where `of` is 0.
        lower, upper: 95 % Wilson score interval for display, within [0, 1]; None where `of` is 0.
    """

    count: int
    of: int
    estimate: float | None
    lower: float | None
    upper: float | None


@dataclass(frozen=True, slots=True)
class Span:
    """The smallest and the largest value that a figure can take."""

    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class FlowCell:
    """Eligible studies with this index state and this reference state."""

    index_state: IndexState
    reference_state: ReferenceState
    count: int


@dataclass(frozen=True, slots=True)
class Reason:
    """A stable reason code with its count."""

    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Flow:
    """Where every study and every report went. The boxes add up: see `broken_sums`.

    Attributes:
        received: studies closed (revision 1).
        excluded: of these, not admitted, by reason.
        eligible: of these, admitted.
        cells: the eligible studies by index and reference state, every combination listed.
        failures: the studies in state `failed`, by reason.
        pending: the studies in reference state `pending`, by reason (no_report, preliminary_only, cancelled).
        late_revisions: studies with a second revision (later instances), counted, not re-run.
        report_versions: versions of reports received.
        reports_linked: accessions with a report, linked to a received study.
        reports_unmatched: accessions with a report but no received study.
        messages_quarantined: messages that could not become a report version, by reason.
        instances_quarantined: DICOM instances that could not be read, by reason.
        messages_not_used: messages that are neither reports, orders nor merges of patients.
        links_corrected: corrections of linkage that stand, by source (adt_merge, person).
        orders, orders_without_study: that the protocol admits and that are due; 0 where no site sends orders.
    """

    received: int
    excluded: tuple[Reason, ...]
    eligible: int
    cells: tuple[FlowCell, ...]
    failures: tuple[Reason, ...]
    pending: tuple[Reason, ...]
    late_revisions: int
    report_versions: int
    reports_linked: int
    reports_unmatched: int
    messages_quarantined: tuple[Reason, ...]
    instances_quarantined: tuple[Reason, ...]
    messages_not_used: int = 0
    links_corrected: tuple[Reason, ...] = ()
    orders: int = 0
    orders_without_study: int = 0

    def count(self, index_state: IndexState | None = None, reference_state: ReferenceState | None = None) -> int:
        """Eligible studies with these states; None means any."""
        return sum(
            cell.count
            for cell in self.cells
            if index_state in (None, cell.index_state) and reference_state in (None, cell.reference_state)
        )

    def broken_sums(self) -> tuple[str, ...]:
        """The sums that do not add up, in words; empty when every study is in exactly one box."""
        checks = (
            ("received = excluded + eligible", self.received, _total(self.excluded) + self.eligible),
            ("eligible = sum of all index and reference states", self.eligible, self.count()),
            ("failed = sum over reasons", self.count(IndexState.FAILED), _total(self.failures)),
            (
                "pending = sum over reasons",
                self.count(reference_state=ReferenceState.PENDING),
                _total(self.pending),
            ),
        )
        return tuple(f"{name}: {left} is not {right}" for name, left, right in checks if left != right)


def _total(reasons: tuple[Reason, ...]) -> int:
    return sum(one.count for one in reasons)


@dataclass(frozen=True, slots=True)
class MaturedCounts:
    """What decides, under daily looks: closed weeks only, and each patient's first study of a kind only.

    Attributes:
        found, present: of the studies with the target condition those found, and all.
        cleared, absent: of the studies without it those cleared, and all; a failure is not cleared.
    """

    found: int
    present: int
    cleared: int
    absent: int


@dataclass(frozen=True, slots=True)
class Group:
    """Accuracy in one group of eligible studies.

    Attributes:
        dimension: all, site, scanner, shift or cell (scanner x shift).
        site, scanner, shift: identifiers; empty where the group spans them.
        label: how pages name the group, for example `Riverside CT-2, Night`.
        eligible, pending, failed, late, indeterminate: counts of studies.
        sensitivity: found / reference present; failures, late results and missing results are misses.
        sensitivity_evaluable: the same over studies with a result in time only.
        specificity: no alert / reference absent; a failure raises no alert.
        specificity_worst_case: the same with each failure counted as a false alert.
        matured: the counts that verdicts rest on.
        enough: whether `sensitivity.of` reaches the protocol's minimum for showing a figure.
        verdict: of the sensitivity criterion of the group's scope; not yet known where there is none.
    """

    dimension: str
    site: str
    scanner: str
    shift: str
    label: str
    eligible: int
    pending: int
    failed: int
    late: int
    indeterminate: int
    sensitivity: Proportion
    sensitivity_evaluable: Proportion
    specificity: Proportion
    specificity_worst_case: Proportion
    matured: MaturedCounts
    enough: bool
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class CriterionResult:
    """One acceptance rule of the protocol, judged so that it may be asked any day.

    Attributes:
        identifier, title: of the rule.
        measure: sensitivity or specificity. scope: all or scanner-and-shift. floor: the limit, a share.
        confidence: two-sided, of limits that hold at all times at once.
        rule: the rule in words, for example `lower limit at least 85 %`.
        scope_label: what it was judged on; for a cell rule the worst judged cell.
        proportion: observed over all weeks, with the Wilson interval for display.
        matured_count, matured_of: the matured counts that decided.
        lower, upper: their time-uniform limits; None without a case.
        verdict: met, not yet known, not met.
        remark: for example how many more positives are needed; may be empty.
    """

    identifier: str
    title: str
    measure: str
    scope: str
    floor: float
    confidence: float
    rule: str
    scope_label: str
    proportion: Proportion
    matured_count: int
    matured_of: int
    lower: float | None
    upper: float | None
    verdict: Verdict
    remark: str


class MonitorState(StrEnum):
    """What the declared monitors say about a group today."""

    ALARM = "alarm"
    WATCH = "watch"
    QUIET = "quiet"


@dataclass(frozen=True, slots=True)
class Week:
    """A week of index time, from `start` (Monday, UTC): its eligible studies, those labelled, and whether it closed."""

    start: datetime
    eligible: int
    labelled: int
    closed: bool


@dataclass(frozen=True, slots=True)
class WeekOfGroup:
    """A group in one closed week: cases found and present, and the time-uniform band over all weeks until then."""

    found: int
    present: int
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Monitor:
    """A declared group under daily looks.

    Attributes:
        dimension: all, site, scanner, shift, site_and_shift or cell. site, scanner, shift, label: as in `Group`.
        weight: its share of the family's alpha.
        found, present: monitored cases over the closed weeks, one a patient.
        lower, upper: the 95 % band that holds at all times at once; None without a case.
        state: alarm, watch or quiet.
        alarm_week: start of the week in which it alarmed, or None. alarm_reason: in words, or empty.
        positives_for_alarm: roughly how many cases an alarm takes at the observed rate; None at or above the floor,
            without a case, and once it has alarmed.
        weeks: one a closed week, in order.
    """

    dimension: str
    site: str
    scanner: str
    shift: str
    label: str
    weight: float
    found: int
    present: int
    lower: float | None
    upper: float | None
    state: MonitorState
    alarm_week: datetime | None
    alarm_reason: str
    positives_for_alarm: int | None
    weeks: tuple[WeekOfGroup, ...]


@dataclass(frozen=True, slots=True)
class Monitoring:
    """The declared family: P(any false alarm within `horizon_weeks`) is at most `alpha`.

    Attributes:
        floor, alpha, horizon_weeks, watch_weeks: the protocol's promise.
        weeks: every week of the index window so far; the closed ones come first.
        monitors: the declared groups; all studies first.
    """

    floor: float
    alpha: float
    horizon_weeks: int
    watch_weeks: int
    weeks: tuple[Week, ...]
    monitors: tuple[Monitor, ...]

    @property
    def alarms(self) -> tuple[Monitor, ...]:
        """The monitors that have alarmed, the earliest first."""
        raised = [one for one in self.monitors if one.alarm_week is not None]
        return tuple(sorted(raised, key=lambda one: (one.alarm_week, one.label)))


@dataclass(frozen=True, slots=True)
class ExploredSlice:
    """Studies with one attribute in common, and the misses among their confirmed positives.

    Attributes:
        conditions: the attribute at its level, in words; several where they hold the very same studies.
        missed, positives: in the slice, one a patient. rest_missed, rest_positives: outside it.
        adjusted_p: chance that any slice looked at would stand out as much, were misses dealt out at random.
        worst_missed_inside, worst_missed: of the misses of the worst cell those in the slice, and all; 0 without one.
    """

    conditions: tuple[str, ...]
    missed: int
    positives: int
    rest_missed: int
    rest_positives: int
    adjusted_p: float
    worst_missed_inside: int
    worst_missed: int


@dataclass(frozen=True, slots=True)
class Exploration:
    """Where misses gather: a hypothesis for new data to test, never a verdict.

    Attributes:
        looked_at: slices compared. slices: the most striking ones, the most striking first.
    """

    looked_at: int
    slices: tuple[ExploredSlice, ...]


@dataclass(frozen=True, slots=True)
class Latency:
    """Real seconds from study closed to prediction locked; None where nothing is locked."""

    locked: int
    median_seconds: float | None
    p95_seconds: float | None
    quiet_locked: int
    quiet_median_seconds: float | None


@dataclass(frozen=True, slots=True)
class ArchiveAsked:
    """A site whose archive is asked what it had.

    Attributes:
        site: its identifier.
        asked_until: the last day that it answered for, as 00:00 UTC; None where it never did.
        days_without_answer: days of the index window so far that it never answered for, asked or not.
    """

    site: str
    asked_until: datetime | None
    days_without_answer: int


@dataclass(frozen=True, slots=True)
class CompletenessRow:
    """Studies of a group that an archive lists and the protocol admits.

    Attributes:
        dimension, site, scanner, shift, label: as in `Group`.
        listed: all of them.
        later: those that were missing when they were listed, and came or were fetched since.
        never: those that are missing still.
        received: those that were here when they were listed, of all.
    """

    dimension: str
    site: str
    scanner: str
    shift: str
    label: str
    listed: int
    later: int
    never: int
    received: Proportion


@dataclass(frozen=True, slots=True)
class Completeness:
    """Whether every study that should have reached us did.

    Attributes:
        asked: every site, and any other whose archive was asked.
        rows: all studies first, then sites, scanners, shifts and cells.
        short_of_instances: received studies of which the archive listed more instances than were here.
        monitoring: the family of monitors over the share received; None where the protocol sets no floor.
    """

    asked: tuple[ArchiveAsked, ...]
    rows: tuple[CompletenessRow, ...]
    short_of_instances: int
    monitoring: Monitoring | None

    @property
    def unknown(self) -> bool:
        """Whether some archive never answered, or there are days without an answer: then nobody knows all."""
        return any(one.asked_until is None or one.days_without_answer for one in self.asked)

    def never_from(self, site: str, scanner: str, shift: str) -> int:
        """Studies of a cell that never reached us."""
        cell = (site, scanner, shift)
        return sum(
            one.never for one in self.rows if (one.dimension, one.site, one.scanner, one.shift) == ("cell", *cell)
        )

    @property
    def alarms(self) -> tuple[Monitor, ...]:
        """The monitors that have alarmed."""
        return () if self.monitoring is None else self.monitoring.alarms


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One assessment. `sha256_of` its file names it.

    Attributes:
        trial, trial_title, protocol_version, protocol_sha256: the registered protocol.
        model, model_version, model_sha256, threshold: the champion.
        target_condition: its name for code; target_plural: for sentences, for example `bleeds`.
        demonstration: true where the model's contract says it is a demonstration.
        data_until: the trial's clock when the ledger was read.
        ledger_seq, ledger_hash: the ledger position the snapshot speaks for.
        planned_positives, minimum_positives_shown: from the protocol.
        flow, groups, criteria, latency: the findings. `groups` holds dimension `all` first, then site,
            scanner, shift and cell, in the order of the site files.
        monitoring: the declared family under daily looks.
        completeness: whether every study reached us; None where no archive has been asked.
        exploration: where misses gather.
        evidence: the champion's other figures, its rivals, trust in its score, drift and the worklist.
        sensitivity_if_pending: sensitivity over all studies whatever the pending reports will say; None without a
            confirmed positive.
        worst: label of the cell with the lowest sensitivity among those with enough positives, or empty.
        broken_promises: names of sql/checks that returned rows; empty when every promise is kept.
    """

    trial: str
    trial_title: str
    protocol_version: str
    protocol_sha256: str
    model: str
    model_version: str
    model_sha256: str
    threshold: float
    target_condition: str
    target_plural: str
    demonstration: bool
    data_until: datetime
    ledger_seq: int
    ledger_hash: str
    planned_positives: int
    minimum_positives_shown: int
    flow: Flow
    groups: tuple[Group, ...]
    criteria: tuple[CriterionResult, ...]
    latency: Latency
    monitoring: Monitoring
    completeness: Completeness | None
    exploration: Exploration
    evidence: Evidence
    sensitivity_if_pending: Span | None
    worst: str
    broken_promises: tuple[str, ...]

    @property
    def overall(self) -> Group:
        """The group over all eligible studies."""
        return self.groups[0]

    def of_dimension(self, dimension: str) -> tuple[Group, ...]:
        """The groups of one dimension, in order."""
        return tuple(group for group in self.groups if group.dimension == dimension)

    def worst_cell(self) -> Group | None:
        """The cell named by `worst`, or None."""
        return next((cell for cell in self.of_dimension("cell") if cell.label == self.worst), None)
