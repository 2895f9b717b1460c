"""What a snapshot holds beside counts by group: figures of the champion, trust in the score, rivals, drift, worklist.

Everything here is one value that a page can print; what was not asked for, or cannot be said yet, is None or empty.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its n and its 95 % interval.

    Attributes:
        identifier: stable name. name: in words. section: under which heading a page shows it.
        value, lower, upper: None where it is not defined. share: whether it is printed as a percentage.
        count, of: what it rests on; count None where it is no proportion.
        method: how the interval was found, in words.
    """

    identifier: str
    name: str
    section: str
    value: float | None
    lower: float | None
    upper: float | None
    share: bool
    count: int | None
    of: int
    method: str


@dataclass(frozen=True, slots=True)
class ShiftTurnaround:
    """Days from acquisition to the time of the first final report, Kaplan-Meier over a shift; None while unknown."""

    shift: str
    studies: int
    pending: int
    median_days: float | None
    ninetieth_days: float | None


@dataclass(frozen=True, slots=True)
class PendingBounds:
    """A cell's sensitivity over every outcome of its pending reports, and of its studies that never reached us.

    `never`: studies that the archive lists and that are not here; they count as pending without a result.
    """

    label: str
    found: int
    present: int
    pending: int
    never: int
    lowest: float | None
    highest: float | None


@dataclass(frozen=True, slots=True)
class DelayedReports:
    """Sensitivity weighted for reports that are still to come.

    Attributes:
        weighted, lower, upper: by the turnaround within the model's result, from mature studies; None without one.
        unweighted: what the same studies say without weights.
        labelled_positives, effective_positives: what it rests on.
        maturity_days: studies at least this old count.
    """

    weighted: float | None
    lower: float | None
    upper: float | None
    unweighted: float | None
    labelled_positives: int
    effective_positives: float
    maturity_days: int
    shifts: tuple[ShiftTurnaround, ...]
    cells: tuple[PendingBounds, ...]


@dataclass(frozen=True, slots=True)
class ReferenceWhatIf:
    """Sensitivity as it would truly be, did the reports find only this share of what the model misses."""

    reports_find: float
    sensitivity: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A step of the reliability curve with the band in which it would lie, were the score calibrated."""

    score: float
    observed: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class ScoreBin:
    """A tenth of the studies by score: how many, how many with the target condition, with Wilson's interval."""

    mean_score: float
    present: int
    of: int
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class RecalibrationWhatIf:
    """Brier score as it is and as it would be, cross-fitted. A what-if for the next protocol, never applied."""

    method: str
    brier_before: float
    brier_after: float


@dataclass(frozen=True, slots=True)
class ScoreCalibration:
    """Whether the score can be read as a probability; over labelled studies with a score.

    Attributes:
        cases, events: n. figures: intercept, slope and the rest. verdict: in words, or why there is none.
        fits: there are events enough, and intercept 0 and slope 1 are not rejected.
        curve: CORP. bins: equal counts. what_ifs: Platt and isotonic.
        exploratory: fewer events than a smooth curve needs.
        sampled: cases drawn for the curve's band, where there are more than it takes; else 0.
    """

    cases: int
    events: int
    verdict: str
    fits: bool
    exploratory: bool
    figures: tuple[Figure, ...]
    curve: tuple[CurvePoint, ...]
    bins: tuple[ScoreBin, ...]
    what_ifs: tuple[RecalibrationWhatIf, ...]
    sampled: int


@dataclass(frozen=True, slots=True)
class ThresholdPoint:
    """What another threshold would have done on these studies: found of present, flagged of absent."""

    threshold: float
    found: int
    flagged: int


@dataclass(frozen=True, slots=True)
class ThresholdWhatIf:
    """The champion at other thresholds. A what-if: another threshold needs a new protocol version and new data."""

    present: int
    absent: int
    days: float
    points: tuple[ThresholdPoint, ...]


@dataclass(frozen=True, slots=True)
class PairedFigure:
    """Champion and challenger on the same studies of one kind.

    Attributes:
        both, champion_only, challenger_only, neither: right answers; they add up to the studies.
        difference, lower, upper: challenger minus champion, Tango's 95 % interval; None without a study.
        p_value: McNemar mid-p, for one look.
        non_inferior: by the protocol's margin; None where it sets none or without a study.
        anytime_p: of no difference, by an e-process on the discordant pairs: true under daily looks.
    """

    both: int
    champion_only: int
    challenger_only: int
    neither: int
    difference: float | None
    lower: float | None
    upper: float | None
    p_value: float | None
    non_inferior: bool | None
    anytime_p: float | None

    @property
    def of(self) -> int:
        """Studies compared."""
        return self.both + self.champion_only + self.challenger_only + self.neither


@dataclass(frozen=True, slots=True)
class PairedGroup:
    """Positives of one group: who found what."""

    label: str
    both: int
    champion_only: int
    challenger_only: int
    neither: int


@dataclass(frozen=True, slots=True)
class RelativePredictiveValue:
    """Challenger's predictive value over the champion's, its interval and the score test's p; None if undefined."""

    name: str
    champion: float
    challenger: float
    ratio: float | None
    lower: float | None
    upper: float | None
    p_value: float | None


@dataclass(frozen=True, slots=True)
class PairedArea:
    """Areas under the ROC curve on the same studies, DeLong paired, clustered by patient."""

    champion: float
    challenger: float
    difference: float
    lower: float
    upper: float
    p_value: float
    positives: int
    negatives: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """One challenger against the champion; a result that is late, failed or missing is not right, for both alike.

    Attributes:
        challenger: identifier. product: what it is, in words. vendor: whether it runs elsewhere.
        answered: eligible studies of closed weeks with a result of it in time. eligible: all of them.
        margin: the protocol's, or None.
        sensitivity, specificity: over closed weeks, one study a patient.
        groups: positives by shift and scanner. predictive: positive and negative. area: None without scores.
    """

    challenger: str
    product: str
    vendor: bool
    answered: int
    eligible: int
    margin: float | None
    sensitivity: PairedFigure
    specificity: PairedFigure
    groups: tuple[PairedGroup, ...]
    predictive: tuple[RelativePredictiveValue, ...]
    area: PairedArea | None


@dataclass(frozen=True, slots=True)
class UnreadResult:
    """Why results of vendors' products could not be read, and how many."""

    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class GroupsDiffer:
    """Whether sensitivity differs between the groups of a dimension: p by permuting misses, given the margins."""

    dimension: str
    groups: int
    positives: int
    p_value: float | None


@dataclass(frozen=True, slots=True)
class CellComparison:
    """One cell against the rest of the trial. A description at one look; alarms come from the declared family.

    Attributes:
        found, present: over closed weeks, one study a patient.
        lower_998, lower_95, upper_95, upper_998: exact funnel limits around the rest's share, at this cell's n.
        p_worse: one-sided, against the rest. holm_p, bh_p: adjusted over the cells.
        listed: on today's list by e-BH at the family's alpha; it comes and goes.
        crude, standardised: cell minus rest, the latter within age bands; each value, lower, upper, or None.
        pooled, pooled_lower, pooled_upper: partially pooled, FOR DISPLAY: it hides a small bad cell.
    """

    label: str
    found: int
    present: int
    listed: bool
    lower_998: float | None = None
    lower_95: float | None = None
    upper_95: float | None = None
    upper_998: float | None = None
    p_worse: float | None = None
    holm_p: float | None = None
    bh_p: float | None = None
    crude: Figure | None = None
    standardised: Figure | None = None
    pooled: float | None = None
    pooled_lower: float | None = None
    pooled_upper: float | None = None


@dataclass(frozen=True, slots=True)
class BetweenGroups:
    """Differences between groups, honestly adjusted. `over_dispersion` is the funnel's factor; None with few cells."""

    tests: tuple[GroupsDiffer, ...]
    cells: tuple[CellComparison, ...]
    over_dispersion: float | None


@dataclass(frozen=True, slots=True)
class DriftRow:
    """One thing watched in one group: the reference weeks against the weeks after them.

    Attributes:
        kind: quality, alerts, score, attribute or input, in order of reading. group: label. what: in words.
        reference, current: the value in each; None where a distance is all there is. share: printed as percentages.
        reference_cases, current_cases: n.
        distance: in the unit that `measure` names; None for rates.
        p_value: weeks permuted or exact, for one look; None where limits decide.
        outside: beyond what no change explains, at one look.
        watch: the weekly sequential detector stands above its limit; None where it is not run.
    """

    kind: str
    group: str
    what: str
    share: bool
    reference: float | None
    current: float | None
    reference_cases: int
    current_cases: int
    measure: str
    distance: float | None
    p_value: float | None
    outside: bool
    watch: bool | None


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """What unlabelled scores would say, with the sentence that must stand beside it.

    `watch`: whether the weekly detector holds on to a change in what it is estimated from, the rate of flags or the
    scores; None where that is not watched.
    """

    name: str
    value: float
    caveat: str
    watch: bool | None = None


@dataclass(frozen=True, slots=True)
class Drift:
    """Explanation and early warning, never proof of performance. No rows before there are weeks to compare."""

    reference_weeks: int
    current_weeks: int
    rows: tuple[DriftRow, ...]
    unlabelled: tuple[Unlabelled, ...]
    caveat: str


@dataclass(frozen=True, slots=True)
class WorklistChange:
    """Minutes by which studies of one kind would have been reported earlier (below 0: later), had flags led."""

    shift: str
    present: bool
    studies: int
    mean: float
    median: float
    lower: float | None
    upper: float | None


@dataclass(frozen=True, slots=True)
class Worklist:
    """The triage replay. `flag_minutes` is the median from acquisition to flag, the wait for completeness included."""

    studies: int
    flag_minutes: float | None
    changes: tuple[WorklistChange, ...]


@dataclass(frozen=True, slots=True)
class CusumPath:
    """A risk-adjusted CUSUM of misses over one group's positives, in index order.

    Attributes:
        cases, missed, expected_missed: so far. value: now. limit: it signals at or above.
        signalled_case: number of the positive at which it first signalled, from 1; None if it never did.
        run_length: mean positives until a healthy model signals. run_length_worse: at the odds ratio tuned for.
        path: its values, thinned to at most 200.
    """

    label: str
    odds_ratio: float
    cases: int
    missed: int
    expected_missed: float
    value: float
    limit: float
    signalled_case: int | None
    run_length: float
    run_length_worse: float
    path: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class AdjudicatedKind:
    """Studies of one kind in one shift: how many there are, are drawn, are settled, and what the readers saw.

    `share`: of them that the protocol reads. `unsure`: the images do not tell, or the readers differ so far.
    """

    index_test: str
    report: str
    shift: str
    share: float
    studies: int
    drawn: int
    settled: int
    present: int
    unsure: int


@dataclass(frozen=True, slots=True)
class ReaderAgreement:
    """The first two readers of each study, before anybody settled anything; limits None where undefined."""

    label: str
    cases: int
    observed: float
    kappa: float | None
    kappa_lower: float | None
    kappa_upper: float | None
    ac1: float | None
    ac1_lower: float | None
    ac1_upper: float | None


@dataclass(frozen=True, slots=True)
class Adjudicated:
    """Blinded double reading of a sample.

    Attributes:
        eligible: studies with a final report and a settled result. drawn: of them, by the plan.
        under_embargo, unread, read_once, differ, settled: where the drawn ones are; they add up.
        minutes_left: of reading, arbiters' reads aside.
        kinds: the strata. agreement: over all and by shift.
        figures: the model's and the reports' accuracy against the readers, weighted back to all studies.
        missing: strata without a read, for whose group no figure can be given.
    """

    eligible: int
    drawn: int
    under_embargo: int
    unread: int
    read_once: int
    differ: int
    settled: int
    minutes_left: float
    kinds: tuple[AdjudicatedKind, ...]
    agreement: tuple[ReaderAgreement, ...]
    figures: tuple[Figure, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """All of it. `adjudicated` is None where the protocol plans no blinded reading."""

    figures: tuple[Figure, ...]
    delayed: DelayedReports
    what_ifs: tuple[ReferenceWhatIf, ...]
    calibration: ScoreCalibration | None
    thresholds: ThresholdWhatIf | None
    comparisons: tuple[Comparison, ...]
    unread_results: tuple[UnreadResult, ...]
    between: BetweenGroups
    drift: Drift
    worklist: Worklist
    cusums: tuple[CusumPath, ...]
    adjudicated: Adjudicated | None = None
