"""The protocol's acceptance rules: met, not yet known, or not met, under daily looks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from shadow.assessment.snapshot import CriterionResult, Group, MaturedCounts, Proportion, Verdict
from shadow.assessment.statistics.sequential import (
    acceptance_lower_limit,
    acceptance_upper_limit,
    log_acceptance_e_value,
    log_floor_e_value,
)
from shadow.protocol.trial import Criterion, Measure, Scope

MORE_CASES_SEARCHED = 2000


def judge(matured: MaturedCounts, criterion: Criterion) -> Verdict:
    """The verdict on the matured counts of one group; it may be asked any day.

    Met when the evidence against "at most the floor" has reached 1/alpha, not met when the evidence against "at
    least the floor" has, else not yet known; alpha is half of what the confidence leaves. P(ever met, though at or
    below the floor) is at most alpha, and so is P(ever not met, though at or above it). The criteria of a trial are
    an intersection-union test: all must be met, so no correction for their number is needed (Berger 1982,
    Technometrics 24:295).
    """
    count, of = measured(matured, criterion)
    limit = math.log(2 / (1 - criterion.confidence))
    if float(log_acceptance_e_value(count, of - count, criterion.floor)) >= limit:
        return Verdict.MET
    if float(log_floor_e_value(count, of - count, criterion.floor)) >= limit:
        return Verdict.NOT_MET
    return Verdict.NOT_YET_KNOWN


def judge_criterion(criterion: Criterion, groups: Sequence[Group], plural: str) -> CriterionResult:
    """One rule over the groups of its scope.

    A rule for every cell is not met as soon as one cell is not met, met when all are, else not yet known; it
    shows the cell that decided: of those not met, else of those not yet known, else of all, the one with the
    lowest estimate, preferring cells with enough positives to show.
    """
    if criterion.scope is Scope.ALL:
        candidates = [group for group in groups if group.dimension == "all"]
    else:
        candidates = [group for group in groups if group.dimension == "cell"]
    judged = [(judge(group.matured, criterion), group) for group in candidates]
    verdict = _overall([one for one, _ in judged])
    deciding = [group for one, group in judged if one is verdict] or candidates
    shown = min(deciding, key=lambda group: _rank(group, criterion))
    count, of = measured(shown.matured, criterion)
    alpha = (1 - criterion.confidence) / 2
    where = "all sites" if criterion.scope is Scope.ALL else "every scanner and shift"
    return CriterionResult(
        identifier=criterion.identifier,
        title=f"{criterion.measure.value.capitalize()}, {where}",
        measure=criterion.measure.value,
        scope=criterion.scope.value,
        floor=criterion.floor,
        confidence=criterion.confidence,
        rule=f"lower limit at least {criterion.floor * 100:g}%",
        scope_label=shown.label,
        proportion=_shown(shown, criterion),
        matured_count=count,
        matured_of=of,
        lower=acceptance_lower_limit(count, of, alpha) if of else None,
        upper=acceptance_upper_limit(count, of, alpha) if of else None,
        verdict=verdict,
        remark=_remark(verdict, count, of, criterion, plural),
    )


def measured(matured: MaturedCounts, criterion: Criterion) -> tuple[int, int]:
    """Right answers and studies of the criterion's measure."""
    if criterion.measure is Measure.SENSITIVITY:
        return matured.found, matured.present
    return matured.cleared, matured.absent


def _overall(verdicts: Sequence[Verdict]) -> Verdict:
    if Verdict.NOT_MET in verdicts:
        return Verdict.NOT_MET
    if Verdict.NOT_YET_KNOWN in verdicts:
        return Verdict.NOT_YET_KNOWN
    return Verdict.MET


def _shown(group: Group, criterion: Criterion) -> Proportion:
    return group.sensitivity if criterion.measure is Measure.SENSITIVITY else group.specificity_worst_case


def _rank(group: Group, criterion: Criterion) -> tuple[bool, float]:
    estimate = _shown(group, criterion).estimate
    return (not group.enough, 1.0 if estimate is None else estimate)


def _remark(verdict: Verdict, count: int, of: int, criterion: Criterion, plural: str) -> str:
    """How many more cases would decide, were they to go on at this rate."""
    if verdict is not Verdict.NOT_YET_KNOWN:
        return ""
    counted = plural if criterion.measure is Measure.SENSITIVITY else f"studies without {plural}"
    if of == 0:
        return f"no {counted} in a closed week yet"
    totals = np.arange(of + 1, of + MORE_CASES_SEARCHED + 1)
    counts = np.floor(count / of * totals)
    limit = math.log(2 / (1 - criterion.confidence))
    decided = (log_acceptance_e_value(counts, totals - counts, criterion.floor) >= limit) | (
        log_floor_e_value(counts, totals - counts, criterion.floor) >= limit
    )
    if not decided.any():
        return f"too near the floor: more than {MORE_CASES_SEARCHED:,} more {counted} needed at this rate"
    return f"{counted} still needed at this rate: about {int(decided.argmax()) + 1:,}"
