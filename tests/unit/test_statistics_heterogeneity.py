from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from statistics_vectors import vector

from shadow.assessment.statistics.heterogeneity import (
    chi_square,
    exact_heterogeneity,
    inconsistency,
    permutation_chi_square,
    subgroup_versus_rest,
)

CELLS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 4)), min_size=2, max_size=4).filter(
    lambda cells: sum(hits + misses > 0 for hits, misses in cells) >= 2
)


def test_heterogeneity_of_four_published_cells() -> None:
    published = vector("het-01")
    detected, missed = published["inputs"]["detected"], published["inputs"]["missed"]
    expected = published["expected"]
    found = chi_square(detected, missed)
    assert (found.statistic, found.p_value) == pytest.approx((expected["chi2"], expected["chi2_p"]), abs=1e-12)
    assert found.degrees_of_freedom == 3
    assert exact_heterogeneity(detected, missed) == pytest.approx(expected["exact_p"], abs=1e-12)


def test_two_cells_are_fishers_test_whichever_outcome_is_rarer() -> None:
    # Fisher's tea tasting, 3 and 1 of 4 cups: .4857 two-sided.
    assert exact_heterogeneity([3, 1], [1, 3]) == pytest.approx(34 / 70, abs=1e-15)
    assert exact_heterogeneity([1, 3], [3, 1]) == pytest.approx(34 / 70, abs=1e-15)


@given(CELLS)
def test_the_exact_p_value_is_that_of_all_tables_counted_one_by_one(cells: list[tuple[int, int]]) -> None:
    sizes, misses = [sum(one) for one in cells], [one[1] for one in cells]

    def ways(table: tuple[int, ...]) -> int:
        found = 1
        for size, count in zip(sizes, table, strict=True):
            found *= comb(size, count)
        return found

    observed = ways(tuple(misses))
    tables = [ways(one) for one in product(*(range(size + 1) for size in sizes)) if sum(one) == sum(misses)]
    by_hand = sum(one for one in tables if one <= observed) / sum(tables)
    found = exact_heterogeneity([one[0] for one in cells], misses)
    assert found == pytest.approx(by_hand, rel=1e-12)


@given(CELLS)
def test_cells_in_another_order_and_empty_cells_change_nothing(cells: list[tuple[int, int]]) -> None:
    detected, missed = [one[0] for one in cells], [one[1] for one in cells]
    turned = ([*detected[::-1], 0], [*missed[::-1], 0])
    assert exact_heterogeneity(*turned) == pytest.approx(exact_heterogeneity(detected, missed), rel=1e-12)
    assert chi_square(*turned).statistic == pytest.approx(chi_square(detected, missed).statistic, abs=1e-9)
    assert chi_square(*turned).degrees_of_freedom == chi_square(detected, missed).degrees_of_freedom


def test_the_permutation_p_value_is_near_the_exact_one_of_the_same_statistic() -> None:
    detected, missed = np.array([9, 7, 4]), np.array([0, 2, 4])
    sizes = detected + missed
    observed = chi_square(detected, missed).statistic
    tables = [one for one in product(*(range(size + 1) for size in sizes)) if sum(one) == 6]
    weights = np.array([comb(9, a) * comb(9, b) * comb(8, c) for a, b, c in tables], dtype=float)
    reached = [chi_square(sizes - np.array(one), np.array(one)).statistic >= observed - 1e-9 for one in tables]
    exact = float(weights[reached].sum() / weights.sum())
    found = permutation_chi_square(detected, missed, permutations=20_000, seed=4)
    assert found == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 20_000) ** 0.5)


def test_a_permutation_p_value_is_never_zero_and_repeats_with_its_seed() -> None:
    assert permutation_chi_square([500, 0], [0, 500], permutations=99) == 1 / 100
    first = permutation_chi_square([20, 15, 18], [2, 5, 1], permutations=499, seed=11)
    assert first == permutation_chi_square([20, 15, 18], [2, 5, 1], permutations=499, seed=11)
    assert first != permutation_chi_square([20, 15, 18], [2, 5, 1], permutations=499, seed=12)


@pytest.mark.parametrize(("detected", "missed"), [([20, 30], [0, 0]), ([0, 0], [4, 9])])
def test_cells_that_are_all_alike_by_their_margins_have_p_1(detected: list[int], missed: list[int]) -> None:
    assert (chi_square(detected, missed).statistic, chi_square(detected, missed).p_value) == (0.0, 1.0)
    assert exact_heterogeneity(detected, missed) == 1.0
    assert permutation_chi_square(detected, missed, permutations=9) == 1.0


def test_a_table_too_large_to_enumerate_is_refused_not_sampled() -> None:
    random = np.random.default_rng(3)
    sizes = random.integers(20, 60, 16)
    missed = random.binomial(sizes, 0.1)
    with pytest.raises(ValueError, match="too large"):
        exact_heterogeneity(sizes - missed, missed)


def test_one_published_subgroup_against_the_rest() -> None:
    published = vector("fisher-01")
    found = subgroup_versus_rest(*published["inputs"]["sub"], *published["inputs"]["rest"])
    assert found.p_worse == pytest.approx(published["expected"]["p_less"], abs=1e-13)
    assert found.p_two_sided == pytest.approx(published["expected"]["p_two"], abs=1e-13)


@settings(max_examples=60)
@given(*[st.integers(0, 40)] * 4)
def test_fisher_agrees_with_an_independent_implementation(a: int, b: int, c: int, d: int) -> None:
    from scipy.stats import hypergeom

    assume(a + b + c + d > 0)
    found = subgroup_versus_rest(a, b, c, d)
    table = hypergeom(a + b + c + d, a + c, a + b)
    chances = table.pmf(np.arange(min(a + b, a + c) + 1))
    assert found.p_worse == pytest.approx(table.cdf(a), abs=1e-9)
    assert found.p_better == pytest.approx(table.sf(a - 1), abs=1e-9)
    assert found.p_two_sided == pytest.approx(chances[chances <= table.pmf(a) * (1 + 1e-7)].sum(), abs=1e-9)


def test_fisher_counts_the_mirrored_table_as_a_tie() -> None:
    # Equal groups, 2 against 8 of 10: the mirrored table is exactly as likely, so two-sided is twice one-sided.
    found = subgroup_versus_rest(2, 8, 8, 2)
    assert found.p_two_sided == pytest.approx(2 * found.p_worse, rel=1e-15)
    assert found.p_two_sided == exact_heterogeneity([2, 8], [8, 2])


def test_an_empty_cell_is_no_evidence() -> None:
    found = subgroup_versus_rest(0, 0, 30, 4)
    assert (found.p_worse, found.p_better, found.p_two_sided) == (1.0, 1.0, 1.0)


def test_fisher_stays_exact_and_quick_in_large_tables() -> None:
    from scipy.stats import fisher_exact

    table = [[900, 100], [8500, 500]]
    found = subgroup_versus_rest(900, 100, 8500, 500)
    assert found.p_worse == pytest.approx(fisher_exact(table, "less").pvalue, rel=1e-8)
    assert found.p_two_sided == pytest.approx(fisher_exact(table).pvalue, rel=1e-8)


def test_inconsistency_agrees_with_an_independent_meta_analysis() -> None:
    from statsmodels.stats.meta_analysis import combine_effects

    detected, missed = np.array([48, 47, 27, 45, 20]), np.array([2, 3, 8, 5, 0])
    added = np.where(missed == 0, 0.5, 0)
    hits, misses = detected + added, missed + added
    other = combine_effects(np.log(hits / misses), 1 / hits + 1 / misses, method_re="dl")
    found = inconsistency(detected, missed)
    assert found.q == pytest.approx(other.q, abs=1e-10)
    assert found.tau_squared == pytest.approx(other.tau2, abs=1e-10)
    assert found.i_squared == pytest.approx(other.i2, abs=1e-10)
    assert found.p_value == pytest.approx(other.test_homogeneity().pvalue, abs=1e-10)
    assert found.pooled == pytest.approx(1 / (1 + np.exp(-other.mean_effect_fe)), abs=1e-10)


def test_cells_that_are_alike_are_not_inconsistent() -> None:
    found = inconsistency([45, 90, 180], [5, 10, 20])
    assert (found.q, found.i_squared, found.tau_squared) == pytest.approx((0, 0, 0), abs=1e-12)
    assert found.pooled == pytest.approx(0.9)


@pytest.mark.parametrize("test", [chi_square, exact_heterogeneity, permutation_chi_square, inconsistency])
def test_what_is_no_table_is_refused(test: object) -> None:
    assert callable(test)
    for detected, missed, word in [
        ([1, 2], [1], "same length"),
        ([1, -2], [1, 2], "detected"),
        ([1, 2], [1, -2], "missed"),
        ([1, 2.5], [1, 2], "detected"),
        ([1, 0], [1, 0], "two cells"),
    ]:
        with pytest.raises(ValueError, match=word):
            test(detected, missed)


def test_a_negative_count_or_no_permutation_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        subgroup_versus_rest(1, -1, 2, 3)
    with pytest.raises(ValueError, match="permutations"):
        permutation_chi_square([1, 2], [2, 1], permutations=0)
