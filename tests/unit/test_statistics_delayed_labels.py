"""Pending reports: Kaplan-Meier by hand, weights that undo a selection, weeks that wait for each other."""

from __future__ import annotations

import numpy as np
import pytest

from shadow.assessment.statistics.delayed_labels import (
    bootstrap_by_week,
    closed_weeks,
    turnaround,
    weighted_sensitivity,
)

NAN = float("nan")


def test_turnaround_is_kaplan_and_meiers() -> None:
    # At risk 5, 4, then one censored at 3, so 2 at day 4: survival 4/5, 3/5, 3/10.
    found = turnaround([1, 2, NAN, 4, NAN], [9, 9, 3, 9, 9])
    assert found.labelled == pytest.approx([0.2, 0.4, 0.7])
    assert found.at([0.5, 1, 3.9, 4, 99]).tolist() == pytest.approx([0, 0.2, 0.4, 0.7, 0.7])


def test_weights_undo_that_missed_bleeds_are_reported_late() -> None:
    generator = np.random.default_rng(1)
    cases = 40_000
    called = generator.random(cases) < 0.85
    age = generator.uniform(0, 56, cases)
    delay = np.where(called, 1.0, 10.0) * generator.lognormal(0, 0.8, cases)
    delay = np.where(delay <= age, delay, NAN)
    found = weighted_sensitivity(called, np.ones(cases), delay, age, maturity_days=7)
    assert found.estimate == pytest.approx(0.85, abs=0.01)
    assert found.unweighted is not None and found.unweighted > 0.865
    assert found.limits is not None and found.limits.lower < 0.85 < found.limits.upper
    assert found.effective_positives < found.labelled_positives


def test_without_a_labelled_positive_there_is_no_estimate() -> None:
    found = weighted_sensitivity([1, 0], [1, 1], [NAN, NAN], [20, 20])
    assert found.estimate is None and found.labelled_positives == 0


def test_a_week_waits_for_the_week_before_it() -> None:
    assert closed_weeks([40, 33, 26], [0.9, 1.0, 1.0]).tolist() == [False, False, False]
    assert closed_weeks([40, 33, 26], [0.9, 1.0, 1.0], latest_days=35).tolist() == [True, True, True]
    assert closed_weeks([20, 13.9], [1.0, 1.0]).tolist() == [True, False]


def test_resampling_weeks_sees_that_weeks_differ() -> None:
    generator = np.random.default_rng(2)
    week = np.repeat(np.arange(12), 30)
    hit = generator.random(360) < np.repeat(generator.uniform(0.5, 1.0, 12), 30)
    found = bootstrap_by_week(lambda rows: float(hit[rows].mean()), week, generator)
    alone = bootstrap_by_week(lambda rows: float(hit[rows].mean()), np.arange(360), generator)
    assert found.upper - found.lower > 1.5 * (alone.upper - alone.lower)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: turnaround([5], [3]),
        lambda: turnaround([-1], [3]),
        lambda: turnaround([], []),
        lambda: weighted_sensitivity([1], [1, 1], [1, 1], [2, 2]),
        lambda: closed_weeks([1], [1.5]),
        lambda: bootstrap_by_week(lambda _: 1.0, [1, 1], np.random.default_rng(1)),
        lambda: bootstrap_by_week(lambda _: None, [1, 2], np.random.default_rng(1)),
    ],
)
def test_impossible_input_is_named(wrong: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        wrong()  # type: ignore[operator]
