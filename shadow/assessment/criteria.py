"""The protocol's acceptance rules: met, not yet known, or not met, by the exact interval."""

from __future__ import annotations

from collections.abc import Sequence

from shadow.assessment.snapshot import CriterionResult, Group, Proportion, Verdict
from shadow.assessment.statistics.proportions import clopper_pearson
from shadow.protocol.trial import Criterion, Measure, Scope

MORE_CASES_SEARCHED = 2000


def judge(proportion: Proportion, criterion: Criterion) -> Verdict:
    """The verdict on one proportion.

    Met when the lower exact limit reaches the floor, not met when the upper exact limit is below it, else
    not yet known. No cases is not yet known.
    """
    if proportion.of == 0:
        return Verdict.NOT_YET_KNOWN
    limits = clopper_pearson(proportion.count, proportion.of, criterion.confidence)
    if limits.lower >= criterion.floor:
        return Verdict.MET
    if limits.upper < criterion.floor:
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
    judged = [(judge(_measured(group, criterion), criterion), group) for group in candidates]
    verdict = _overall([one for one, _ in judged])
    deciding = [group for one, group in judged if one is verdict] or candidates
    shown = min(deciding, key=lambda group: _rank(group, criterion))
    proportion = _measured(shown, criterion)
    limits = clopper_pearson(proportion.count, proportion.of, criterion.confidence) if proportion.of else None
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
        proportion=proportion,
        exact_lower=limits.lower if limits else None,
        exact_upper=limits.upper if limits else None,
        verdict=verdict,
        remark=_remark(verdict, proportion, criterion, plural),
    )


def _overall(verdicts: Sequence[Verdict]) -> Verdict:
    if Verdict.NOT_MET in verdicts:
        return Verdict.NOT_MET
    if Verdict.NOT_YET_KNOWN in verdicts:
        return Verdict.NOT_YET_KNOWN
    return Verdict.MET


def _measured(group: Group, criterion: Criterion) -> Proportion:
    return group.sensitivity if criterion.measure is Measure.SENSITIVITY else group.specificity_worst_case


def _rank(group: Group, criterion: Criterion) -> tuple[bool, float]:
    estimate = _measured(group, criterion).estimate
    return (not group.enough, 1.0 if estimate is None else estimate)


def _remark(verdict: Verdict, proportion: Proportion, criterion: Criterion, plural: str) -> str:
    if verdict is not Verdict.NOT_YET_KNOWN:
        return ""
    counted = plural if criterion.measure is Measure.SENSITIVITY else f"studies without {plural}"
    if proportion.estimate is None:
        return f"no {counted} yet"
    for of in range(proportion.of + 1, proportion.of + MORE_CASES_SEARCHED):
        count = int(proportion.estimate * of)
        limits = clopper_pearson(count, of, criterion.confidence)
        if limits.lower >= criterion.floor or limits.upper < criterion.floor:
            return f"about {of - proportion.of} more {counted} needed at this rate"
    return f"more than {MORE_CASES_SEARCHED} more {counted} needed at this rate"
