"""Sizes against published figures, exact enumeration and the design's simulations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from statistics_vectors import vector

from shadow.assessment.statistics.family import NEVER, FamilyRule, monitor_family
from shadow.assessment.statistics.proportions import clopper_pearson
from shadow.assessment.statistics.sample_size import (
    alarm_chance,
    positives_for_exact_limit,
    positives_for_precision,
    positives_under_daily_looks,
    total_for_precision,
)

pytestmark = pytest.mark.slow

PRECISION = {
    0.92: {0.10: 32, 0.075: 55, 0.05: 118, 0.03: 320, 0.02: 713},
    0.85: {0.10: 49, 0.075: 87, 0.05: 196, 0.03: 545, 0.02: 1225},
    0.95: {0.10: 25, 0.075: 41, 0.05: 83, 0.03: 215, 0.02: 469},
}
POWER = [
    (0.92, 0.85, 0.8, 169, 185),
    (0.92, 0.85, 0.9, 225, 240),
    (0.92, 0.80, 0.8, 69, 75),
    (0.92, 0.80, 0.9, 88, 101),
    (0.92, 0.88, 0.8, 456, 485),
    (0.92, 0.88, 0.9, 598, 635),
    (0.95, 0.90, 0.8, 231, 255),
    (0.95, 0.90, 0.9, 292, 316),
]


@pytest.mark.parametrize("sensitivity", PRECISION)
def test_positives_for_a_wilson_half_width(sensitivity: float) -> None:
    found = {half: positives_for_precision(sensitivity, half) for half in PRECISION[sensitivity]}
    assert found == PRECISION[sensitivity]


def test_the_literatures_total_is_reproduced() -> None:
    inputs = vector("n-01")["inputs"]
    found = total_for_precision(inputs["sens"], inputs["half_width"], inputs["prevalence"])
    assert found == pytest.approx(vector("n-01")["expected"]["N"], abs=1e-6)


@pytest.mark.parametrize(("sensitivity", "floor", "power", "first", "stable"), POWER)
def test_the_exact_criterion_has_its_first_and_its_stable_size(
    sensitivity: float, floor: float, power: float, first: int, stable: int
) -> None:
    found = positives_for_exact_limit(sensitivity, floor, power)
    assert (found.first, found.stable) == (first, stable)


def test_the_smallest_size_without_a_miss_reaches_the_floor_and_one_less_does_not() -> None:
    for floor, fewest in ((0.80, 17), (0.85, 23), (0.88, 29), (0.90, 36), (0.95, 72)):
        assert clopper_pearson(fewest, fewest, 0.95).lower >= floor
        assert clopper_pearson(fewest - 1, fewest - 1, 0.95).lower < floor


@pytest.mark.parametrize(("floor", "median", "ninetieth"), [(0.80, 75, 150), (0.85, 180, 385)])
def test_daily_looks_cost_what_the_design_measured(floor: float, median: int, ninetieth: int) -> None:
    found = positives_under_daily_looks(0.92, floor, np.random.default_rng(2))
    assert found.median is not None and found.ninetieth is not None
    assert found.median == pytest.approx(median, rel=0.12)
    assert found.ninetieth == pytest.approx(ninetieth, rel=0.15)


def test_a_model_at_its_floor_is_hardly_ever_accepted() -> None:
    found = positives_under_daily_looks(0.85, 0.85, np.random.default_rng(3), trials=300, largest=1000)
    assert found.median is None and found.accepted < 0.06


def test_a_cell_with_many_cases_alarms_sooner_than_one_with_few_and_a_healthy_one_hardly_ever() -> None:
    rule = FamilyRule(floor=0.85, alpha=0.05, horizon_weeks=52, watch_weeks=260)
    generator = np.random.default_rng(4)
    many = alarm_chance(rule, 0.1, (20, 40), (0.6, 0.92), generator)
    few = alarm_chance(rule, 0.1, (0.5, 40), (0.6, 0.92), generator)
    healthy = alarm_chance(rule, 0.1, (20, 40), (0.92, 0.92), generator)
    assert many.alarmed == 1 and many.median_week is not None and many.median_week < 10
    assert few.alarmed < 0.9 and (few.median_week is None or few.median_week > many.median_week)
    assert healthy.alarmed <= 0.01 and healthy.median_week is None
    assert few.watched >= few.alarmed


def test_a_chance_of_alarm_is_that_of_the_family_itself() -> None:
    rule = FamilyRule(floor=0.85, alpha=0.05, horizon_weeks=30, watch_weeks=260)
    generator = np.random.default_rng(5)
    alarms = 0
    for _ in range(300):
        of = generator.poisson([[4.0], [16.0]], (2, 30))
        detected = generator.binomial(of, [[0.65], [0.9]])
        found = monitor_family(rule, [0.2, 0.2], detected, of, detected[::-1], of[::-1])
        alarms += found.alarm_week[0] != NEVER
    share = alarm_chance(rule, 0.2, (4, 16), (0.65, 0.9), np.random.default_rng(6), trials=2000).alarmed
    assert alarms / 300 == pytest.approx(share, abs=0.09)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: positives_for_precision(1.0, 0.05),
        lambda: total_for_precision(0.9, 0.05, 0.0),
        lambda: positives_for_exact_limit(0.85, 0.85, 0.9),
        lambda: positives_for_exact_limit(0.8501, 0.85, 0.9),
        lambda: positives_under_daily_looks(0.9, 1.2, np.random.default_rng(1)),
    ],
)
def test_impossible_input_is_named(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"expected|exceed|more than"):
        wrong()
