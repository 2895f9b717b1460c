"""Subgroups by simulation: heterogeneity (S14), the winner's curse (S15) and the power of the scan."""

from collections.abc import Callable

import numpy as np
import pytest

from shadow.assessment.statistics.heterogeneity import permutation_chi_square
from shadow.assessment.statistics.pooling import beta_binomial
from shadow.assessment.statistics.proportions import wilson
from shadow.assessment.statistics.scan import scan

pytestmark = pytest.mark.slow

CELLS = 24


def within_three_errors(share: float, of: int) -> float:
    return 3 * (share * (1 - share) / of) ** 0.5


def test_s14_the_permutation_test_keeps_its_level_in_sparse_cells(repetitions: Callable[[int, int], int]) -> None:
    random = np.random.default_rng(14)
    trials = repetitions(1_500, 8_000)
    sizes = random.integers(8, 81, CELLS)
    rejected = 0
    for seed in range(trials):
        missed = random.binomial(sizes, 0.03)
        rejected += permutation_chi_square(sizes - missed, missed, permutations=199, seed=seed) <= 0.05
    assert 0.03 <= rejected / trials <= 0.065


@pytest.mark.parametrize(("positives", "worst"), [(10, 0.724), (25, 0.801), (50, 0.838), (100, 0.863)])
def test_s15_the_worst_of_24_equal_cells_looks_bad_by_selection(
    positives: int, worst: float, repetitions: Callable[[int, int], int]
) -> None:
    random = np.random.default_rng(15)
    trials = repetitions(2_000, 20_000)
    worst_cells = random.binomial(positives, 0.92, (trials, CELLS)).min(axis=1)
    assert float(np.mean(worst_cells / positives)) == pytest.approx(worst, abs=0.01)


def test_s15_two_times_in_three_some_equal_cell_lies_below_the_truth(repetitions: Callable[[int, int], int]) -> None:
    random = np.random.default_rng(16)
    trials = repetitions(2_000, 20_000)
    for positives in (10, 25, 50):
        below = np.array([wilson(count, positives).upper < 0.92 for count in range(positives + 1)])
        worst_cells = random.binomial(positives, 0.92, (trials, CELLS)).min(axis=1)
        assert 0.58 < float(np.mean(below[worst_cells])) < 0.71


def test_empirical_bayes_means_are_nearer_the_truth_yet_hide_the_bad_cell(
    repetitions: Callable[[int, int], int],
) -> None:
    random = np.random.default_rng(17)
    trials = repetitions(60, 2_000)
    sizes = np.array([40] * (CELLS - 1) + [15])
    truth = np.array([0.92] * (CELLS - 1) + [0.75])
    raw, shrunken = [], []
    for _ in range(trials):
        detected = random.binomial(sizes, truth)
        raw.append(detected / sizes)
        shrunken.append(beta_binomial(detected, sizes).means)
    good, bad = slice(0, CELLS - 1), CELLS - 1
    errors = [np.sqrt(np.mean((np.array(one) - truth)[:, good] ** 2)) for one in (raw, shrunken)]
    assert errors[1] < 0.75 * errors[0]
    assert float(np.mean(np.array(raw)[:, bad])) == pytest.approx(0.75, abs=0.05)
    assert float(np.mean(np.array(shrunken)[:, bad])) > 0.86


def test_the_scan_finds_a_bad_cell_of_40_positives_in_one_trial_of_three(
    repetitions: Callable[[int, int], int],
) -> None:
    random = np.random.default_rng(18)
    trials = repetitions(100, 2_000)
    sizes = random.integers(8, 81, CELLS)
    sizes[0] = 40
    cells = np.repeat([f"cell {number:02}" for number in range(CELLS)], sizes)
    found = 0
    for seed in range(trials):
        missed = random.random(cells.size) < np.where(cells == "cell 00", 0.20, 0.08)
        first = scan(missed, {"cell": cells}, permutations=199, seed=seed)[0]
        found += first.adjusted_p <= 0.05 and first.conditions[0].level == "cell 00"
    assert found / trials == pytest.approx(0.33, abs=within_three_errors(0.33, trials) + 0.03)
