"""S11-S13: intervals of nested studies and of an adjudication sample cover what they say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from shadow.assessment.statistics.clusters import clustered_proportion
from shadow.assessment.statistics.delayed_labels import weighted_sensitivity
from shadow.assessment.statistics.proportions import wilson
from shadow.assessment.statistics.reference_error import AdjudicatedStratum, adjudicated_accuracy

pytestmark = pytest.mark.slow

Repetitions = Callable[[int, int], int]


def test_s12_nested_studies_are_covered_and_the_naive_interval_falls_short(repetitions: Repetitions) -> None:
    trials, covered, naive = repetitions(600, 3000), 0, 0
    generator = np.random.default_rng(21)
    spread = 1 / 0.3 - 1
    for _ in range(trials):
        of = generator.integers(1, 7, 100)
        hits = generator.binomial(of, generator.beta(0.92 * spread, 0.08 * spread, 100))
        limits = clustered_proportion(hits, of).limits
        covered += limits.lower <= 0.92 <= limits.upper
        plain = wilson(int(hits.sum()), int(of.sum()))
        naive += plain.lower <= 0.92 <= plain.upper
    assert 0.92 <= covered / trials <= 0.975
    assert naive / trials < 0.92


def test_s13_an_adjudication_sample_covers_the_truth(repetitions: Repetitions) -> None:
    trials, covered = repetitions(300, 2000), 0
    generator = np.random.default_rng(22)
    studies, chance, sampled = [180, 120, 20, 1680], [0.95, 0.15, 0.75, 0.0125], [60, 60, 20, 160]
    for _ in range(trials):
        present = generator.binomial(studies, chance)
        truth = present[:2].sum() / present.sum()
        strata = [
            AdjudicatedStratum(row < 2, of, m, int(generator.hypergeometric(int(x), of - int(x), m)))
            for row, (of, x, m) in enumerate(zip(studies, present, sampled, strict=True))
        ]
        limits = adjudicated_accuracy(strata, generator, draws=2000).sensitivity_limits
        covered += limits.lower <= truth <= limits.upper
    assert 0.91 <= covered / trials <= 0.985


def test_s11_weights_and_maturity_take_off_what_slow_reports_flatter(repetitions: Repetitions) -> None:
    trials = repetitions(150, 1000)
    generator = np.random.default_rng(23)
    weighted, naive = [], []
    for _ in range(trials):
        cases = generator.poisson(30 * 8)
        called = generator.random(cases) < 0.85
        age = generator.uniform(0, 56, cases)
        delay = np.where(called, 2.0, 21.0) * generator.lognormal(0, 0.75, cases)
        known = np.where(delay <= age, delay, np.nan)
        found = weighted_sensitivity(called, np.ones(cases), known, age)
        assert found.estimate is not None
        weighted.append(found.estimate)
        naive.append(float(called[~np.isnan(known)].mean()))
    assert abs(np.mean(weighted) - 0.85) < 0.015
    assert np.mean(naive) > 0.88
