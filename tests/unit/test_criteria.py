from dataclasses import replace

import pytest

from shadow.assessment.accuracy import proportion
from shadow.assessment.criteria import judge, judge_criterion
from shadow.assessment.snapshot import Group, MaturedCounts, Verdict
from shadow.assessment.statistics.sequential import acceptance_lower_limit
from shadow.protocol.trial import Criterion, Measure, Scope

OVERALL = Criterion("se", Measure.SENSITIVITY, Scope.ALL, floor=0.80, confidence=0.95)
EVERY_CELL = replace(OVERALL, scope=Scope.SCANNER_AND_SHIFT)
SPECIFICITY = replace(OVERALL, measure=Measure.SPECIFICITY)


def group(label: str, found: int, present: int, dimension: str = "cell", failed: int = 0) -> Group:
    return Group(
        dimension=dimension,
        site="s",
        scanner="c",
        shift="Night",
        label=label,
        eligible=present + 100,
        pending=0,
        failed=failed,
        late=0,
        indeterminate=0,
        sensitivity=proportion(found, present),
        sensitivity_evaluable=proportion(found, present),
        specificity=proportion(95, 100),
        specificity_worst_case=proportion(95 - failed, 100),
        matured=MaturedCounts(found, present, 95 - failed, 100),
        enough=present >= 10,
        verdict=Verdict.NOT_YET_KNOWN,
    )


@pytest.mark.parametrize(
    ("count", "of", "verdict"),
    [
        # evidence of 40 is needed; the mixtures' integrals by quadrature: 92/100 -> 87, 91/100 -> 31 for,
        # 65/100 -> 151, 69/100 -> 13 against
        (92, 100, Verdict.MET),
        (91, 100, Verdict.NOT_YET_KNOWN),
        (69, 100, Verdict.NOT_YET_KNOWN),
        (85, 100, Verdict.NOT_YET_KNOWN),
        (65, 100, Verdict.NOT_MET),
        (0, 0, Verdict.NOT_YET_KNOWN),
        (3, 3, Verdict.NOT_YET_KNOWN),
    ],
)
def test_a_verdict_needs_evidence_that_holds_on_every_day(count: int, of: int, verdict: Verdict) -> None:
    assert judge(MaturedCounts(count, of, 0, 0), OVERALL) is verdict


def test_one_bad_cell_fails_the_rule_for_every_cell_and_is_named() -> None:
    groups = [group("A, Day", 96, 100), group("B, Night", 12, 30), group("C, Day", 5, 6)]
    result = judge_criterion(EVERY_CELL, groups, "bleeds")
    assert (result.verdict, result.scope_label) == (Verdict.NOT_MET, "B, Night")
    assert result.proportion.of == 30


def test_a_cell_with_few_positives_keeps_the_rule_open_but_is_not_paraded() -> None:
    groups = [group("A, Day", 96, 100), group("B, Night", 24, 28), group("C, Day", 1, 4)]
    result = judge_criterion(EVERY_CELL, groups, "bleeds")
    assert (result.verdict, result.scope_label) == (Verdict.NOT_YET_KNOWN, "B, Night")


def test_all_cells_good_is_met() -> None:
    groups = [group("A, Day", 96, 100), group("B, Night", 97, 100)]
    assert judge_criterion(EVERY_CELL, groups, "bleeds").verdict is Verdict.MET


def test_an_open_rule_says_how_many_more_are_needed() -> None:
    result = judge_criterion(OVERALL, [group("All studies", 85, 100, "all")], "bleeds")
    assert result.verdict is Verdict.NOT_YET_KNOWN
    needed = int(result.remark.split()[-1])
    at, before = 100 + needed, 99 + needed
    assert acceptance_lower_limit(int(0.85 * at), at) >= 0.80
    assert acceptance_lower_limit(int(0.85 * before), before) < 0.80
    assert "bleeds" in result.remark


def test_a_failure_counts_against_specificity_in_the_verdict() -> None:
    good = judge_criterion(SPECIFICITY, [group("All studies", 9, 10, "all")], "bleeds")
    failing = judge_criterion(SPECIFICITY, [group("All studies", 9, 10, "all", failed=30)], "bleeds")
    assert good.verdict is Verdict.MET
    assert failing.proportion.count == 65
    assert failing.verdict is Verdict.NOT_MET
