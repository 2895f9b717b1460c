"""The family of monitors: alarms latch, weights are paid for, and the whole family errs rarely."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shadow.assessment.statistics.detectors import log_cell_below_rest, log_shiryaev_roberts
from shadow.assessment.statistics.family import NEVER, FamilyRule, monitor_family, positives_for_alarm

RULE = FamilyRule(floor=0.85, alpha=0.05, horizon_weeks=52, watch_weeks=260)


def test_an_alarm_stays_where_it_first_crossed_though_the_cell_recovers() -> None:
    of = np.full((1, 80), 6)
    detected = np.where(np.arange(80) < 5, 2, 6)[None, :]
    nothing = np.zeros((1, 80))
    found = monitor_family(RULE, [1.0], detected, of, nothing, nothing)
    week = int(found.alarm_week[0])
    assert 0 < week < 5
    assert found.log_detector[0, week] >= math.log(52 / 0.05) > found.log_detector[0, week - 1]
    assert found.log_detector[0, -1] < math.log(52 / 0.05)
    assert not found.watch[0]


def test_half_of_a_weight_pays_for_each_monitor_and_all_of_it_where_there_is_no_rest() -> None:
    ones = np.ones((2, 3))
    rest = np.stack([np.ones(3), np.zeros(3)])
    found = monitor_family(RULE, [0.4, 0.1], ones, ones, rest, rest)
    assert found.log_detector_limit == pytest.approx(np.log([52 / (0.05 * 0.2), 52 / (0.05 * 0.1)]))
    assert found.log_comparison_limit == pytest.approx([-math.log(0.05 * 0.2), math.inf])
    assert found.alarm_week.tolist() == [NEVER, NEVER]


def test_each_member_is_what_its_two_monitors_say_alone() -> None:
    generator = np.random.default_rng(5)
    of = generator.integers(0, 5, (3, 30))
    detected = generator.binomial(of, 0.7)
    rest_of, rest_detected = of.sum(axis=0) - of, detected.sum(axis=0) - detected
    found = monitor_family(RULE, [0.2, 0.2, 0.2], detected, of, rest_detected, rest_of)
    for member in range(3):
        assert found.log_detector[member] == pytest.approx(log_shiryaev_roberts(detected[member], of[member], 0.85))
        comparison = log_cell_below_rest(detected[member], of[member], rest_detected[member], rest_of[member])
        assert found.log_comparison[member] == pytest.approx(comparison)


def test_before_the_first_closed_week_nothing_is_said() -> None:
    empty = np.zeros((2, 0))
    found = monitor_family(RULE, [0.5, 0.5], empty, empty, empty, empty)
    assert found.alarm_week.tolist() == [NEVER, NEVER] and not found.watch.any()


def test_a_member_at_its_floor_needs_no_number_of_positives() -> None:
    assert positives_for_alarm(RULE, 0.1, 0.85) is None
    fewer, more = positives_for_alarm(RULE, 0.1, 0.5), positives_for_alarm(RULE, 0.1, 0.7)
    assert fewer is not None and more is not None and fewer < more
    assert positives_for_alarm(RULE, 0.1, 0.0) == math.ceil(math.log(52 / 0.05 / 0.05) / -math.log(0.15))


def test_weights_that_spend_more_than_all_are_refused() -> None:
    ones = np.ones((2, 1))
    for weights in ([0.6, 0.6], [0.5, 0.0], [0.5]):
        with pytest.raises(ValueError, match="weights"):
            monitor_family(RULE, weights, ones, ones, ones, ones)
