"""S16, S17: limits of drift know their sample size, and unlabelled estimates miss a failing scanner."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import expit

from shadow.assessment.statistics.drift import population_stability_index, stability_limit
from shadow.assessment.statistics.label_shift import expected_performance

pytestmark = pytest.mark.slow

Repetitions = Callable[[int, int], int]


def test_s16_a_fixed_limit_cries_wolf_and_one_that_knows_the_sample_does_not(repetitions: Repetitions) -> None:
    trials, shares = repetitions(3000, 20_000), np.full(10, 0.1)
    generator = np.random.default_rng(31)
    # Half a case is added to each bin: without it the index of 100 cases exceeds even its own limit in .075 of samples.
    samples = generator.multinomial(100, shares, trials) + 0.5
    values = np.array([population_stability_index(shares, one) for one in samples])
    assert 0.27 < (values > 0.1).mean() < 0.40
    assert (values > stability_limit(1_000_000, 100, 10)).mean() <= 0.065


def test_s17_an_unlabelled_estimate_misses_positives_that_turn_subtle(repetitions: Repetitions) -> None:
    cases = repetitions(100_000, 400_000)
    generator = np.random.default_rng(32)
    present = generator.random(cases) < 0.1
    line = generator.normal(-3.2 + 3.0 * present, 1.0)  # equal spreads: the posterior below is exact
    score = expit(np.log(0.1 / 0.9) + 3.0 * (line + 3.2) - 4.5)
    estimate = expected_performance(score, 0.5)
    truth = float((score[present] >= 0.5).mean())
    assert estimate.sensitivity is not None and abs(estimate.sensitivity - truth) < 0.02
    subtle = present & (generator.random(cases) < 0.15)
    turned = np.where(subtle, generator.normal(-3.2, 1.0, cases), line)
    failing = expit(np.log(0.1 / 0.9) + 3.0 * (turned + 3.2) - 4.5)
    later = expected_performance(failing, 0.5)
    now = float((failing[present] >= 0.5).mean())
    assert later.sensitivity is not None and later.sensitivity - now > 0.05
    assert "misses precisely" in later.caveat
