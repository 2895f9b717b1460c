import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import expit, gammaln, logit
from statistics_vectors import vector

from shadow.assessment.statistics.pooling import beta_binomial, partial_pooling

pytestmark = pytest.mark.slow

CELLS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), min_size=2, max_size=8).filter(
    lambda cells: max(hits + misses for hits, misses in cells) >= 2
)


def test_published_beta_binomial_and_empirical_bayes_means() -> None:
    published = vector("eb-01")
    found, expected = beta_binomial(published["inputs"]["x"], published["inputs"]["n"]), published["expected"]
    assert found.mean == pytest.approx(expected["mu"], abs=2e-9)
    assert found.intraclass_correlation == pytest.approx(expected["icc"], abs=2e-9)
    assert found.prior_size == pytest.approx(expected["M"], abs=1e-7)
    assert found.means == pytest.approx(expected["eb"], abs=2e-9)
    assert found.log_likelihood == pytest.approx(-28.793672690647, abs=1e-11)


@settings(max_examples=40, deadline=None)
@given(CELLS)
@example([(0, 1), (23, 1)])  # its profile starts downhill and has a higher peak beyond
def test_no_other_beta_distribution_is_likelier(cells: list[tuple[int, int]]) -> None:
    from scipy.stats import betabinom

    detected = np.array([hits for hits, _ in cells])
    of = np.array([hits + misses for hits, misses in cells])
    found = beta_binomial(detected, of)
    assert all(0 <= one <= 1 for one in found.means)
    for mean in np.clip([found.mean, found.mean * 0.97, 0.5, 0.9, 0.99], 1e-6, 1 - 1e-6):
        for size in (0.01, 0.3, 3, 30, 3_000):
            other = betabinom.logpmf(detected, of, mean * size, (1 - mean) * size).sum()
            assert found.log_likelihood >= other - 1e-6
    if 1e-3 < found.prior_size < 1e3 and 0 < found.mean < 1:
        prior = (found.mean * found.prior_size, (1 - found.mean) * found.prior_size)
        assert found.log_likelihood == pytest.approx(betabinom.logpmf(detected, of, *prior).sum(), abs=1e-8)


def test_cells_that_scatter_no_more_than_chance_all_show_the_mean() -> None:
    found = beta_binomial([9, 18, 27, 0], [10, 20, 30, 0])
    assert found.mean == pytest.approx(0.9, abs=1e-14)
    assert (found.intraclass_correlation, found.prior_size) == (0.0, math.inf)
    assert found.means == pytest.approx([0.9] * 4, abs=1e-14)


def test_without_a_miss_or_a_detection_the_mean_is_at_its_edge() -> None:
    assert beta_binomial([10, 5], [10, 5]).means == (1.0, 1.0)
    assert beta_binomial([0, 0], [10, 5]).means == (0.0, 0.0)
    assert beta_binomial([0, 0], [10, 5]).log_likelihood == 0.0


def test_cells_wholly_detected_or_wholly_missed_have_a_correlation_of_1() -> None:
    found = beta_binomial([10, 0, 4, 0], [10, 5, 4, 0])
    assert (found.intraclass_correlation, found.prior_size) == (1.0, 0.0)
    assert found.mean == pytest.approx(2 / 3) and found.means == (1.0, 0.0, 1.0, found.mean)
    assert found.log_likelihood == pytest.approx(2 * math.log(2 / 3) + math.log(1 / 3))


def test_the_shrunken_mean_hides_the_one_bad_cell() -> None:
    # 23 cells at .92 with 40 positives and one at .73 with 15: why an alarm never reads these figures.
    random = np.random.default_rng(1)
    detected, of = [*random.binomial(40, 0.92, 23), 11], [40] * 23 + [15]
    assert beta_binomial(detected, of).means[-1] > 0.87
    assert partial_pooling(detected, of).cells[-1].mean > 0.85


def by_brute_force(detected: list[int], of: list[int], sd_scale: float) -> tuple[list[float], list[float], float]:
    """Means, 2.5 % limits and the mean SD by plain sums over (centre, SD) and Gauss-Hermite within."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    centres, spreads = np.linspace(-4, 10, 141), (np.arange(120) + 0.5) / 120 * 4 * sd_scale
    logits = centres[:, None, None] + spreads[None, :, None] * nodes
    posterior = np.zeros(logits.shape[:2])
    moments = []
    for hits, size in zip(detected, of, strict=True):
        coefficient = gammaln(size + 1) - gammaln(hits + 1) - gammaln(size - hits + 1)
        chance = np.exp(coefficient + hits * np.log(expit(logits)) + (size - hits) * np.log(expit(-logits))) * weights
        moments.append((chance.sum(axis=2), (chance * expit(logits)).sum(axis=2), chance))
        posterior += np.log(moments[-1][0])
    posterior += np.log(expit(centres) * expit(-centres))[:, None] - (spreads / sd_scale) ** 2 / 2
    posterior = np.exp(posterior - posterior.max())
    posterior /= posterior.sum()
    lower = []
    for held, _, chance in moments:
        mass, places = (posterior / held)[:, :, None] * chance, np.argsort(logits, axis=None)
        reached = np.searchsorted(np.cumsum(mass.ravel()[places]), 0.025)
        lower.append(float(expit(logits.ravel()[places[reached]])))
    means = [float((posterior * moment / held).sum()) for held, moment, _ in moments]
    return means, lower, float((posterior.sum(axis=0) * spreads).sum())


@pytest.mark.parametrize("sd_scale", [0.5, 1.0])
def test_partial_pooling_agrees_with_brute_force(sd_scale: float) -> None:
    detected, of = [17, 12, 20, 6], [20, 20, 21, 6]
    means, lower, sd = by_brute_force(detected, of, sd_scale)
    found = partial_pooling(detected, of, sd_scale)
    assert [cell.mean for cell in found.cells] == pytest.approx(means, abs=2e-4)
    assert [cell.limits.lower for cell in found.cells] == pytest.approx(lower, abs=1e-3)
    assert found.sd_between == pytest.approx(sd, abs=2e-3)


def test_a_narrow_prior_pools_wholly_and_a_wide_one_hardly() -> None:
    detected, of = [90, 70], [100, 100]
    pooled = partial_pooling(detected, of, sd_scale=1e-3)
    assert [cell.mean for cell in pooled.cells] == pytest.approx([161 / 202] * 2, abs=1e-3)  # Beta(161, 41)
    apart = partial_pooling(detected, of, sd_scale=20.0)
    assert [cell.mean for cell in apart.cells] == pytest.approx([0.9, 0.7], abs=0.01)


def test_each_cell_lies_between_its_raw_share_and_the_typical_cell() -> None:
    found = partial_pooling([180, 150, 12, 0], [200, 200, 20, 0])
    for cell in found.cells[:3]:
        low, high = sorted((cell.detected / cell.of, found.typical))
        assert low - 0.01 <= cell.mean <= high + 0.01
        assert 0 < cell.limits.lower < cell.mean < cell.limits.upper < 1
    assert found.sd_lower < found.sd_between < found.sd_upper
    # A cell without positives shows what a new cell is expected to be: the widest limits.
    widths = [cell.limits.upper - cell.limits.lower for cell in found.cells]
    assert widths[3] == max(widths)


def test_large_conflicting_cells_stay_finite() -> None:
    found = partial_pooling([9_900, 9_905, 2_000], [10_000, 10_000, 10_000])
    assert [cell.mean for cell in found.cells] == pytest.approx([0.99, 0.9905, 0.2], abs=1e-3)
    assert found.cells[2].limits.upper - found.cells[2].limits.lower == pytest.approx(4 * 0.004, abs=1e-3)


def test_full_bayes_intervals_cover_cells_drawn_from_their_population() -> None:
    random = np.random.default_rng(2)
    covered = []
    for _ in range(12):
        truth = expit(logit(0.9) + 0.5 * random.standard_normal(20))
        of = np.full(20, 25)
        found = partial_pooling(random.binomial(of, truth), of)
        covered += [cell.limits.lower <= one <= cell.limits.upper for cell, one in zip(found.cells, truth, strict=True)]
    assert np.mean(covered) > 0.91


def test_what_are_no_cells_is_refused() -> None:
    for pool in (beta_binomial, partial_pooling):
        for detected, of, word in [
            ([], [], "same length"),
            ([1], [2, 3], "same length"),
            ([3], [2], "whole numbers"),
            ([-1], [2], "whole numbers"),
            ([0.5], [2], "whole numbers"),
        ]:
            with pytest.raises(ValueError, match=word):
                pool(detected, of)
    with pytest.raises(ValueError, match="two positives"):
        beta_binomial([1, 0], [1, 1])
    with pytest.raises(ValueError, match="sd_scale"):
        partial_pooling([1], [2], sd_scale=0.0)
    with pytest.raises(ValueError, match="confidence"):
        partial_pooling([1], [2], confidence=95)
