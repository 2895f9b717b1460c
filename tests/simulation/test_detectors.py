"""S4-S8: the detectors' run lengths, delays and family-wise errors are those the design measured."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from shadow.assessment.statistics.detectors import log_cell_below_rest, log_shiryaev_roberts
from shadow.assessment.statistics.family import NEVER, FamilyRule, monitor_family

pytestmark = pytest.mark.slow

Repetitions = Callable[[int, int], int]

RATES = np.array(  # positives a week in each scanner (rows, two sites of four) and shift (day, evening, night)
    [[3.9, 2.1, 1.5]] * 8
)
SITE = np.repeat([0, 1], 4)


def members() -> tuple[np.ndarray, np.ndarray]:
    """The 40 groups as indicators over the 24 cells, and their weights: overall, 13 one-way, 6 of sites, 20 cells."""
    scanner, shift = np.divmod(np.arange(24), 3)
    site = SITE[scanner]
    rows, weights = [np.ones(24)], [0.10]
    one_way = [site == s for s in range(2)] + [scanner == s for s in range(8)] + [shift == s for s in range(3)]
    pairs = [(site == s) & (shift == t) for s in range(2) for t in range(3)]
    cells = [np.arange(24) == cell for cell in range(24)]
    for group, share in ((one_way, 0.40), (pairs, 0.25), (cells, 0.25)):
        rows += [one.astype(float) for one in group]
        weights += [share / len(group)] * len(group)
    return np.array(rows), np.array(weights)


def simulate(generator: np.random.Generator, weeks: int, chance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts of the 24 cells, shape (24, weeks); `chance` broadcasts to it."""
    of = generator.poisson(RATES.ravel()[:, None], (24, weeks))
    return generator.binomial(of, chance), of


def test_s4_a_family_at_its_floor_for_a_year_rarely_raises_any_alarm(repetitions: Repetitions) -> None:
    trials = repetitions(150, 2000)
    groups, weights = members()
    rule = FamilyRule(floor=0.88, alpha=0.05, horizon_weeks=52, watch_weeks=260)
    generator = np.random.default_rng(11)
    alarms = 0
    for _ in range(trials):
        detected, of = simulate(generator, 52, np.array(0.88))
        mine, all_mine = groups @ detected, groups @ of
        rest, all_rest = detected.sum(axis=0) - mine, of.sum(axis=0) - all_mine
        alarms += bool((monitor_family(rule, weights, mine, all_mine, rest, all_rest).alarm_week != NEVER).any())
    assert alarms / trials <= 0.05


def test_s5_a_drift_that_all_cells_share_is_no_difference_between_them(repetitions: Repetitions) -> None:
    trials = repetitions(2000, 20_000)
    generator = np.random.default_rng(12)
    chance = np.linspace(0.95, 0.80, 52)
    of, rest_of = generator.poisson(3, (trials, 52)), generator.poisson(30, (trials, 52))
    evidence = log_cell_below_rest(generator.binomial(of, chance), of, generator.binomial(rest_of, chance), rest_of)
    assert (evidence >= math.log(20)).any(axis=1).mean() <= 0.05


@pytest.mark.parametrize(("weekly", "limit"), [(5, 52), (12, 52), (30, 52), (12, 260)])
def test_s6_a_healthy_cell_runs_at_least_as_long_as_promised(weekly: int, limit: int, repetitions: Repetitions) -> None:
    trials, weeks = repetitions(200, 400), 3000 if limit == 260 else 1000
    generator = np.random.default_rng(13)
    of = generator.poisson(weekly, (trials, weeks))
    path = log_shiryaev_roberts(generator.binomial(of, 0.88), of, 0.88)
    crossed = path >= math.log(limit)
    run = np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, weeks)
    assert run.mean() >= limit


def test_s7_a_fall_to_80_percent_is_seen_within_months(repetitions: Repetitions) -> None:
    trials = repetitions(600, 3000)
    generator = np.random.default_rng(14)
    of = generator.poisson(12, (trials, 130))
    chance = np.where(np.arange(130) < 26, 0.92, 0.80)
    crossed = log_shiryaev_roberts(generator.binomial(of, chance), of, 0.88) >= math.log(260)
    after = crossed[~crossed[:, :26].any(axis=1), 26:]
    delay = np.where(after.any(axis=1), after.argmax(axis=1) + 1, 1000)
    assert 11 <= np.median(delay) <= 15


def test_s8_the_family_finds_the_nights_that_fell(repetitions: Repetitions) -> None:
    trials = repetitions(400, 1000)
    groups, weights = members()
    generator = np.random.default_rng(15)
    limits = np.log(52 / (0.05 * weights))
    night = np.arange(24) % 3 == 2
    chance = np.where(night[:, None] & (np.arange(78) >= 26)[None, :], 0.80, 0.92)
    found = 0
    for _ in range(trials):
        detected, of = simulate(generator, 78, chance)
        path = log_shiryaev_roberts(groups @ detected, groups @ of, 0.90)
        found += bool((path[:, :52] >= limits[:, None]).any())
    assert 0.75 <= found / trials <= 0.88  # the design, full size: .79 to .87
