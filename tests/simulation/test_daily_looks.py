"""S1-S3, S9, S10: what is promised under continuous looks holds, and the naive methods break it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import betainc, ndtri
from scipy.stats import binom

from shadow.assessment.statistics.sequential import (
    log_acceptance_e_value,
    log_episode_floor_process,
    log_floor_e_value,
    log_mixture_e_value,
)

pytestmark = pytest.mark.slow

Repetitions = Callable[[int, int], int]


def within(count: int, of: int, bound: float) -> bool:
    """Whether a share is at most the bound, three standard errors of the simulation allowed."""
    return count / of <= bound + 3 * math.sqrt(bound * (1 - bound) / of)


def running(chance: float, cases: int, trials: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Detected so far and cases so far, shapes (trials, cases) and (cases,)."""
    outcomes = np.random.default_rng(seed).random((trials, cases)) < chance
    return np.cumsum(outcomes, axis=1), np.arange(1, cases + 1)


def test_s1_a_model_at_its_floor_rarely_ever_alarms_however_often_one_looks(repetitions: Repetitions) -> None:
    trials = repetitions(1500, 4000)
    hits, of = running(0.85, 1000, trials, seed=1)
    ever = (log_floor_e_value(hits, of - hits, 0.85) >= math.log(20)).any(axis=1)
    assert within(int(ever.sum()), trials, 0.05)
    assert ever.mean() > 0.01  # and is no mute test


def test_s1n_the_naive_p_value_alarms_in_a_quarter_of_them(repetitions: Repetitions) -> None:
    trials = repetitions(500, 4000)
    hits, of = running(0.85, 1000, trials, seed=2)
    assert (binom.cdf(hits, of, 0.85) < 0.05).any(axis=1).mean() > 0.25


def test_s2_the_band_rarely_ever_misses_and_wilson_often_does(repetitions: Repetitions) -> None:
    trials = repetitions(1500, 4000)
    hits, of = running(0.92, 1000, trials, seed=3)
    missed = (log_mixture_e_value(hits, of - hits, 0.92, (9, 1)) >= math.log(20)).any(axis=1)
    assert within(int(missed.sum()), trials, 0.05)
    z = ndtri(0.975)
    share = hits / of
    centre = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * np.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    assert (np.abs(centre - 0.92) > half)[:, 9:].any(axis=1).mean() > 0.35


@pytest.mark.parametrize("floor", [0.85, 0.88, 0.90])
def test_s3_a_model_at_its_floor_is_rarely_ever_accepted(floor: float, repetitions: Repetitions) -> None:
    trials = repetitions(1000, 4000)
    hits, of = running(floor, 1000, trials, seed=4)
    accepted = (log_acceptance_e_value(hits, of - hits, floor) >= math.log(40)).any(axis=1)
    assert within(int(accepted.sum()), trials, 0.025)


def test_s9_studies_of_one_patient_fed_one_by_one_break_the_promise_and_episodes_keep_it(
    repetitions: Repetitions,
) -> None:
    trials, patients = repetitions(300, 2000), 200
    generator = np.random.default_rng(5)
    spread = 1 / 0.3 - 1  # intra-class correlation .3
    per_episode = per_study = 0
    for _ in range(trials):
        studies = generator.integers(1, 7, patients)
        chance = generator.beta(0.85 * spread, 0.15 * spread, patients)
        detected = generator.binomial(studies, chance)
        path = log_episode_floor_process(detected, studies, 0.85)
        per_episode += bool((path >= math.log(20)).any())
        hits, of = np.cumsum(detected), np.cumsum(studies)
        per_study += bool((log_floor_e_value(hits, of - hits, 0.85) >= math.log(20)).any())
    assert within(per_episode, trials, 0.05)
    assert per_study / trials > 0.09


def test_s10_labels_in_order_of_arrival_accept_a_bad_model_and_index_order_does_not(repetitions: Repetitions) -> None:
    trials, cases = repetitions(600, 4000), 400
    generator = np.random.default_rng(6)
    detected = generator.random((trials, cases)) < 0.85
    index_time = np.sort(generator.random((trials, cases)) * 26 * 7, axis=1)
    delay = np.where(detected, 1.0, 6.0) * generator.lognormal(0, 1, (trials, cases))  # subtle bleeds take longer
    arrival = np.argsort(index_time + delay, axis=1)

    def accepted(order: np.ndarray) -> float:
        hits, of = np.cumsum(np.take_along_axis(detected, order, axis=1), axis=1), np.arange(1, cases + 1)
        return float((log_acceptance_e_value(hits, of - hits, 0.85, (9, 1)) >= math.log(20)).any(axis=1).mean())

    by_index = np.broadcast_to(np.arange(cases), (trials, cases))
    assert within(round(accepted(by_index) * trials), trials, 0.05)
    assert accepted(arrival) > 0.12


def test_the_incomplete_beta_here_is_no_other_than_scipys() -> None:
    exact = math.log(betainc(48, 12, 0.85)) - math.log(betainc(8, 2, 0.85))
    plain = float(log_mixture_e_value(40, 10, 0.85, (8, 2)))
    assert float(log_floor_e_value(40, 10, 0.85)) - plain == pytest.approx(exact)
