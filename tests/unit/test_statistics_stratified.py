import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shadow.assessment.statistics.heterogeneity import chi_square
from shadow.assessment.statistics.stratified import (
    Strata,
    breslow_day,
    cochran_mantel_haenszel,
    common_odds_ratio,
)

# Admissions to Berkeley by department, men admitted and rejected, women admitted and rejected (Bickel 1975, Science).
ADMISSIONS = Strata(
    [512, 353, 120, 138, 53, 22],
    [313, 207, 205, 279, 138, 351],
    [89, 17, 202, 131, 94, 24],
    [19, 8, 391, 244, 299, 317],
)
COUNT = st.integers(1, 30)


def test_admissions_to_berkeley_as_printed_by_r() -> None:
    # mantelhaen.test(UCBAdmissions): X-squared 1.4269, p .2323 corrected; 1.5246, p .2169 without; OR .9046968.
    corrected = cochran_mantel_haenszel(ADMISSIONS, continuity_correction=True)
    assert (corrected.statistic, corrected.p_value) == pytest.approx((1.4269, 0.2323), abs=5e-5)
    plain = cochran_mantel_haenszel(ADMISSIONS)
    assert (plain.statistic, plain.p_value) == pytest.approx((1.5246, 0.2169), abs=5e-5)
    ratio = common_odds_ratio(ADMISSIONS)
    assert (ratio.odds_ratio, ratio.lower, ratio.upper) == pytest.approx((0.9046968, 0.7719074, 1.0603298), abs=5e-8)


@settings(max_examples=40)
@given(st.lists(st.tuples(COUNT, COUNT, COUNT, COUNT), min_size=2, max_size=6), st.booleans())
def test_an_independent_implementation_agrees(tables: list[tuple[int, int, int, int]], adjust: bool) -> None:
    from statsmodels.stats.contingency_tables import StratifiedTable

    other = StratifiedTable([np.array(one).reshape(2, 2) for one in tables])
    strata = Strata(*([one[i] for one in tables] for i in range(4)))
    found = cochran_mantel_haenszel(strata)
    assert found.statistic == pytest.approx(other.test_null_odds().statistic, rel=1e-9, abs=1e-9)
    assert found.p_value == pytest.approx(other.test_null_odds().pvalue, abs=1e-9)
    ratio = common_odds_ratio(strata, 0.9)
    assert ratio.odds_ratio == pytest.approx(other.oddsratio_pooled, rel=1e-10)
    assert (ratio.lower, ratio.upper) == pytest.approx(other.oddsratio_pooled_confint(alpha=0.1), rel=1e-9)
    assume(abs(other.oddsratio_pooled - 1) > 1e-3)  # near 1 the other implementation divides by nothing
    alike, theirs = breslow_day(strata, tarone=adjust), other.test_equal_odds(adjust=adjust)
    assert alike.statistic == pytest.approx(theirs.statistic, rel=1e-7, abs=1e-8)
    assert alike.p_value == pytest.approx(theirs.pvalue, abs=1e-7)


def test_with_one_stratum_it_is_pearson_but_for_one_positive() -> None:
    alone = cochran_mantel_haenszel(Strata([18], [4], [55], [5])).statistic
    assert alone == pytest.approx(chi_square([18, 55], [4, 5]).statistic * 81 / 82, rel=1e-12)


def test_a_cell_that_sees_harder_cases_is_like_the_rest_within_strata() -> None:
    # Small bleeds .70, large .95 everywhere; the cell sees mostly small ones.
    strata = Strata([70, 19], [30, 1], [14, 190], [6, 10])
    assert common_odds_ratio(strata).odds_ratio == pytest.approx(1, abs=1e-12)
    assert cochran_mantel_haenszel(strata).statistic == pytest.approx(0, abs=1e-12)
    crude = Strata([89], [31], [204], [16])
    assert cochran_mantel_haenszel(crude).p_worse < 1e-4


def test_a_worse_cell_has_an_odds_ratio_below_1_and_a_small_one_sided_p() -> None:
    worse = Strata([10, 20], [10, 10], [40, 60], [5, 6])
    better = Strata([40, 60], [5, 6], [10, 20], [10, 10])
    assert (common_odds_ratio(worse).odds_ratio or 0) < 1 < (common_odds_ratio(better).odds_ratio or 0)
    assert cochran_mantel_haenszel(worse).p_worse < 0.01
    assert cochran_mantel_haenszel(worse).p_worse + cochran_mantel_haenszel(better).p_worse == pytest.approx(1)


def test_empty_strata_say_nothing() -> None:
    with_empty = Strata([18, 0, 30, 9], [4, 0, 2, 0], [55, 0, 60, 0], [5, 0, 4, 0])
    without = Strata([18, 30], [4, 2], [55, 60], [5, 4])
    assert cochran_mantel_haenszel(with_empty) == cochran_mantel_haenszel(without)
    assert common_odds_ratio(with_empty) == common_odds_ratio(without)
    assert breslow_day(with_empty) == breslow_day(without)


def test_a_table_without_misses_has_no_odds_ratio_and_p_1() -> None:
    never_missed = Strata([10, 5], [0, 0], [8, 9], [0, 0])
    assert common_odds_ratio(never_missed).odds_ratio is None
    found = cochran_mantel_haenszel(never_missed)
    assert (found.statistic, found.p_value, found.p_worse) == (0.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="breslow_day"):
        breslow_day(never_missed)


def test_misses_on_one_side_only_give_a_ratio_without_limits() -> None:
    none_in_cell = common_odds_ratio(Strata([10], [0], [8], [2]))
    assert none_in_cell.odds_ratio == math.inf and none_in_cell.lower is None and none_in_cell.upper is None
    none_in_rest = common_odds_ratio(Strata([8], [2], [10], [0]))
    assert none_in_rest.odds_ratio == 0 and none_in_rest.lower is None


@pytest.mark.parametrize(
    ("counts", "word"),
    [
        (([1], [1], [1], [1, 2]), "same length"),
        (([1], [-1], [1], [1]), "none negative"),
        (([1.5], [1], [1], [1]), "whole"),
        (([0], [0], [0], [0]), "no positive"),
    ],
)
def test_what_are_no_strata_is_refused(counts: tuple[list[int], ...], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Strata(*counts)


def test_a_confidence_outside_0_to_1_is_refused() -> None:
    with pytest.raises(ValueError, match="confidence"):
        common_odds_ratio(ADMISSIONS, 95)
